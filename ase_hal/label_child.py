"""What happens in the process that calculates one label and then ends."""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

import cloudpickle
import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError, all_changes
from ase.stress import full_3x3_to_voigt_6_stress

from ase_hal.labelling.checks import (
    LabelRejected,
    check_converged,
    check_plausible,
    one_line,
)
from ase_hal.labelling.derivatives import InconsistentLabel, check_derivatives

_REASON_LENGTH = 500
_TRACEBACK_LINES = 12
_FILE_LINES = 10


@dataclass(frozen=True)
class Job:
    """A label to be calculated.

    Attributes
    ----------
    calculator : bytes
        Pickled calculator, or function that makes one.
    is_factory : bool
        Which of the two.
    modules : tuple of str
        Modules worth importing before the process for the label is forked.
    structure : bytes
        Pickled Atoms.
    properties : tuple of str
        Some of energy, forces, stress.
    timeout : float or None
        Wall time allowed, s.
    allow_unconverged : bool
        Take results of a calculation that has not converged, too.
    check_forces : bool
        Compare forces and stress with finite differences of the energy.
    """

    calculator: bytes
    is_factory: bool
    modules: tuple[str, ...]
    structure: bytes
    properties: tuple[str, ...]
    timeout: float | None
    allow_unconverged: bool = False
    check_forces: bool = False


@dataclass(frozen=True)
class Surroundings:
    """Where the caller is: what a label must find as if it were calculated there."""

    environment: dict[str, str]
    directory: str
    path: list[str]
    scratch: str

    @classmethod
    def of_this_process(cls) -> Surroundings:
        directory = os.getcwd()
        path = [entry or directory for entry in sys.path]
        return cls(dict(os.environ), directory, path, tempfile.gettempdir())


@dataclass(frozen=True)
class Outcome:
    """Results of a label (None: it failed, for this reason) and the seconds it took.

    Where forces were compared with the energy, they have been ``verified``, or the label failed
    and is ``inconsistent``; neither where they were too small to tell.
    """

    results: dict[str, Any] | None
    reason: str = ""
    details: str = ""
    seconds: float = 0.0
    verified: bool = False
    inconsistent: bool = False


def calculate_and_exit(
    job: Job, surroundings: Surroundings, folder: str, connection: Connection
) -> NoReturn:
    """Send the outcome of a job through a connection, and end this process."""
    atexit._clear()  # What the server has registered is not for its children.
    faulthandler.enable(2)
    try:
        results, verified = _calculate(job, surroundings, folder)
        outcome = Outcome(results, verified=verified)
    except BaseException as error:
        inconsistent = isinstance(error, InconsistentLabel)
        details = _details(Path(folder))
        outcome = Outcome(None, _summary(error), details, inconsistent=inconsistent)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    connection.send(outcome)
    # Libraries of the calculator may have something to give back (MPI its shared memory).
    atexit._run_exitfuncs()
    os._exit(0)


def _calculate(job: Job, surroundings: Surroundings, folder: str) -> tuple[dict[str, Any], bool]:
    """The results of a job, and whether its forces have been verified."""
    os.environ.clear()
    os.environ.update(surroundings.environment)
    sys.path[:] = surroundings.path
    # A factory may read files that it names relative to the caller's folder.
    os.chdir(surroundings.directory)
    calculator = cloudpickle.loads(job.calculator)
    if job.is_factory:
        calculator = calculator()
    os.chdir(folder)
    _keep_apart(calculator, "label-")
    atoms = cloudpickle.loads(job.structure)

    def ask(atoms: Atoms, properties: Sequence[str]) -> dict[str, Any]:
        return evaluate(calculator, atoms, properties, allow_unconverged=job.allow_unconverged)

    results = ask(atoms, job.properties)
    if not job.check_forces:
        return results, False
    _keep_apart(calculator, "check-")  # The files of the label stay as they are.
    try:
        return results, check_derivatives(atoms, results, ask)
    except InconsistentLabel:
        raise
    except Exception as error:
        raise LabelRejected(f"the forces could not be checked: {_summary(error)}") from error


def _keep_apart(calculator: Any, prefix: str) -> None:
    """Give a calculator with an absolute directory a new folder within it.

    A relative directory is within the private folder of the label already.
    """
    directory = getattr(calculator, "directory", None)
    if isinstance(directory, str | os.PathLike) and os.path.isabs(directory):
        os.makedirs(directory, exist_ok=True)
        folder = tempfile.mkdtemp(prefix=prefix, dir=directory)
        calculator.directory = folder if isinstance(directory, str) else Path(folder)


def evaluate(
    calculator: Any, atoms: Atoms, properties: Sequence[str], *, allow_unconverged: bool = False
) -> dict[str, Any]:
    """Ask a calculator for energy, forces and stress of a structure.

    Parameters
    ----------
    calculator : ASE calculator
        Asked directly: constraints play no part.
    atoms : ase.Atoms
        Structure of N atoms.
    properties : sequence of str
        Some of energy, forces, stress.
    allow_unconverged : bool
        Take results of a calculation that has not converged, too.

    Returns
    -------
    dict
        ``energy`` (eV; the one whose gradient the forces are, where the calculator knows two),
        ``forces`` (N, 3) (eV/Å), ``stress`` (6,) (xx, yy, zz, yz, xz, xy; eV/Å^3). No stress
        where the cell is not periodic in three directions or the calculator has none.

    Raises
    ------
    NotConverged
        If the calculator says so.
    ValueError
        For results that are not finite, of the wrong shape or that no calculation gives, and if
        the structure is not what it was before.
    """
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        raise ValueError("positions or cell of the structure are not finite")
    original = atoms.copy()
    wanted = [name for name in properties if name != "stress" or _stress_exists(calculator, atoms)]
    _calculate_together(calculator, atoms, wanted)

    def given(value: Any) -> Any:
        """What the calculator gives, which may be nonsense where it has not converged."""
        if not allow_unconverged:
            check_converged(calculator)
        return value

    results: dict[str, Any] = {}
    if "energy" in wanted:
        results["energy"] = float(_array("energy", given(_energy(calculator, atoms)), ()))
    if "forces" in wanted:
        forces = given(calculator.get_forces(atoms))
        results["forces"] = _array("forces", forces, (len(atoms), 3))
    if "stress" in wanted:
        with contextlib.suppress(PropertyNotImplementedError):
            results["stress"] = _stress(given(calculator.get_stress(atoms)))
    if not results:
        raise ValueError(f"the calculator has no {', '.join(properties)} for this structure")
    for name in ("numbers", "positions", "cell", "pbc"):
        if not np.array_equal(getattr(atoms, name), getattr(original, name)):
            raise ValueError(f"the calculator changed the {name} of the structure")
    check_plausible(atoms, results)
    return results


def _stress_exists(calculator: Any, atoms: Atoms) -> bool:
    implemented = getattr(calculator, "implemented_properties", ["stress"])
    return bool(atoms.pbc.all()) and atoms.cell.rank == 3 and "stress" in implemented


def _calculate_together(calculator: Any, atoms: Atoms, properties: Sequence[str]) -> None:
    """Announce all properties at once: asked one by one, some codes run once for each."""
    if not isinstance(calculator, BaseCalculator) or not getattr(calculator, "use_cache", True):
        return
    names = [*properties, *(["free_energy"] if "energy" in properties else [])]
    names = [name for name in names if name in calculator.implemented_properties]
    if len(names) > 1:
        calculator.atoms = atoms.copy()
        calculator.results = {}
        calculator.calculate(atoms, names, all_changes)


def _energy(calculator: Any, atoms: Atoms) -> Any:
    try:
        return calculator.get_potential_energy(atoms, force_consistent=True)
    except PropertyNotImplementedError:
        return calculator.get_potential_energy(atoms)


def _stress(value: Any) -> np.ndarray:
    stress = np.asarray(value)
    if stress.shape == (3, 3):
        stress = full_3x3_to_voigt_6_stress(stress)
    return _array("stress", stress, (6,))


def _array(name: str, value: Any, shape: tuple[int, ...]) -> np.ndarray:
    array = np.array(value, dtype=float)
    if array.shape != shape:
        if shape or array.size != 1:
            raise ValueError(f"{name} of shape {array.shape} where {shape} was expected")
        array = array.reshape(())
    bad = array.size - np.count_nonzero(np.isfinite(array))
    if bad:
        raise ValueError(f"{name} not finite ({bad} of {array.size} numbers)")
    return array


def _summary(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception as another:  # exceptions of other people's classes raise anything
        text = f"(its message raises {type(another).__name__})"
    name = "" if isinstance(error, LabelRejected) else f"{type(error).__name__}: "
    return one_line(name + text, _REASON_LENGTH)


def _details(folder: Path) -> str:
    """End of the traceback, and of the file that the calculator wrote to last."""
    lines = traceback.format_exc().splitlines()[-_TRACEBACK_LINES:]
    with contextlib.suppress(OSError):
        files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
        if files:
            last = max(files, key=lambda path: path.stat().st_mtime)
            with last.open("rb") as file:
                file.seek(max(0, last.stat().st_size - 10_000))
                text = file.read().decode(errors="replace")
            lines += [f"--- end of {last.name}:", *text.splitlines()[-_FILE_LINES:]]
    return "\n".join(lines)
