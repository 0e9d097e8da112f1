"""label(): structures and a reference calculator in, labelled structures out."""

from __future__ import annotations

import inspect
import io
import logging
import math
import pickletools
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import cloudpickle
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal.data.label_keys import drop_standard_labels
from ase_hal.label_child import Job, Outcome
from ase_hal.labelling.jobs import calculated, first_checked

logger = logging.getLogger(__name__)

PROPERTIES = ("energy", "forces", "stress")


@dataclass(frozen=True)
class Failure:
    """A label that could not be calculated.

    Attributes
    ----------
    atoms : ase.Atoms
        Copy of the structure, without calculator.
    reason : str
        One line: type and message of the exception, the signal that killed the process, the
        time-out, or what is wrong with the results.
    seconds : float
        Wall time it took to fail.
    details : str
        End of the traceback, of the file the calculator wrote to last, and of its output.
    inconsistent : bool
        Whether forces or stress were compared with the energy and are not its derivative: those
        of all other labels of this calculator are then in doubt.
    """

    atoms: Atoms
    reason: str
    seconds: float
    details: str = ""
    inconsistent: bool = False


def label(
    structures: Iterable[Atoms],
    calculator: Any,
    *,
    executor: Executor | None = None,
    timeout: float | None = None,
    properties: Sequence[str] = PROPERTIES,
    allow_unconverged: bool = False,
    check_forces: bool = False,
    on_label: Callable[[Atoms], object] | None = None,
    on_failure: Callable[[Failure], object] | None = None,
) -> list[Atoms]:
    """Calculate energies, forces and stresses of structures with a reference calculator.

    Each label is calculated in a process of its own, which a time-out or Ctrl-C can kill, with
    everything that it has started, and which cannot harm the caller however it dies. A failed
    label is reported and left out; it never raises.

    Parameters
    ----------
    structures : iterable of Atoms
        Left as they are, with their calculators.
    calculator : ASE calculator, or function or class that makes one when called with nothing
        It travels to the label's process by cloudpickle: functions, lambdas and classes of a
        script or notebook will do. Calculators that cannot travel (those that hold an open
        library or a GPU) are given as a function.
    executor : concurrent.futures.Executor, optional
        Where labels are calculated in parallel: a thread pool is enough on one machine, since
        the work is in processes anyway; executors of dask or executorlib reach others.
        Without one, they are calculated here, one after another.
    timeout : float, optional
        Wall time that one label may take, s.
    properties : sequence of str
        Some of ``"energy"``, ``"forces"``, ``"stress"``. Energy and forces must come out, the
        stress only where the cell is periodic in three directions and the calculator has it.
    allow_unconverged : bool
        Take labels of calculations that have not converged. Otherwise a calculator that says so,
        or one inside it, in an attribute, method or entry of ``results`` whose name ends in
        ``converged``, gives a failed label.
    check_forces : bool
        Compare forces and stress of the first label that succeeds with finite differences of the
        energy. If they are not its derivative (gradients instead of forces, other units, forces
        of another energy), that label fails, and nothing else is calculated. Where forces are too
        small to tell even after the atoms have been moved, the next label is compared as well.
        It takes 4 to 7 more calculations, and 13 where something seems to be wrong.
    on_label : callable, optional
        Called with each labelled structure as soon as it and all before it are done: in the
        order of the input, so that a file appended to here has an order that depends on
        nothing else.
    on_failure : callable, optional
        Called in the same order with each `Failure`; without it, failures are logged.

    Returns
    -------
    list of Atoms
        Copies of the structures whose labels succeeded, in order, with a
        SinglePointCalculator: ``energy`` (eV; the free energy where the calculator tells the
        two apart, since that is what the forces belong to), ``forces`` (N, 3) (eV/Å, of the
        calculator: constraints do not zero them), ``stress`` (6,) (eV/Å^3).
        ``info['hal_label_seconds']`` is the wall time of the label, and
        ``info['hal_forces_checked']`` is True for one whose forces have been compared.

    Raises
    ------
    TypeError, ValueError
        For unsuitable arguments, before any work starts.
    RuntimeError
        If no process can be started at all. Errors of the executor itself are passed on.

    Notes
    -----
    Results fail that no calculation of the structure gives: not finite, a force above 1e5 eV/Å,
    an energy above 1e7 eV per atom, a stress above 1e3 eV/Å^3, or forces of exactly zero on every
    atom where no symmetry is the reason for it.

    A label that is compared with finite differences may take the time-out once for itself and for
    each of the calculations that it can need, 14 times altogether.

    A function that makes a calculator is called in the caller's working directory. During the
    calculation the working directory is a private temporary folder (in ``$TMPDIR``), removed
    afterwards, so that parallel labels of a code that writes files do not collide: name files
    that the calculator reads *then* by absolute paths. A calculator whose ``directory`` is an
    absolute path keeps its files: each label gets a new folder inside it.

    Examples
    --------
    >>> from ase.calculators.emt import EMT
    >>> dataset = label(structures, EMT(), timeout=60)
    """
    _check_arguments(executor, timeout)
    inputs = _checked_structures(structures)
    names = _checked_properties(properties)
    if check_forces and not {"energy", "forces"} <= set(names):
        raise ValueError(f"check_forces needs energy and forces among the properties, got {names}")
    jobs = _jobs(inputs, calculator, names, timeout, allow_unconverged=allow_unconverged)
    outcomes = (first_checked if check_forces else calculated)(jobs, executor)
    labelled: list[Atoms] = []
    with closing(outcomes):
        for atoms, outcome in zip(inputs, outcomes, strict=True):
            if outcome.results is not None:
                labelled.append(_with_labels(atoms, outcome))
                if on_label is not None:
                    on_label(labelled[-1])
            else:
                failure = Failure(
                    _bare_copy(atoms),
                    outcome.reason,
                    outcome.seconds,
                    outcome.details,
                    outcome.inconsistent,
                )
                (on_failure or _log)(failure)
    return labelled


def _log(failure: Failure) -> None:
    logger.warning(
        "no label for %s after %.1f s: %s\n%s",
        failure.atoms.get_chemical_formula(),
        failure.seconds,
        failure.reason,
        failure.details,
    )


def _bare_copy(atoms: Atoms) -> Atoms:
    copy: Atoms = atoms.copy()
    return copy


def _with_labels(atoms: Atoms, outcome: Outcome) -> Atoms:
    copy = _bare_copy(atoms)
    # Older labels under such names would make writing the structure fail, or be taken for its own.
    drop_standard_labels(copy)
    copy.info["hal_label_seconds"] = round(outcome.seconds, 3)
    copy.info.pop("hal_forces_checked", None)
    if outcome.verified:
        copy.info["hal_forces_checked"] = True
    copy.calc = SinglePointCalculator(copy, **(outcome.results or {}))
    return copy


# --- arguments ---------------------------------------------------------------------------


def _check_arguments(executor: Any, timeout: Any) -> None:
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise TypeError(f"executor must have a submit method, got {type(executor).__name__}")
    if timeout is not None and not (isinstance(timeout, float | int) and 0 < timeout < math.inf):
        raise ValueError(f"timeout must be a positive number of seconds or None, got {timeout!r}")


def _checked_structures(structures: Iterable[Atoms]) -> list[Atoms]:
    if isinstance(structures, Atoms):
        raise TypeError("structures must be a list of Atoms, got a single Atoms")
    inputs = list(structures)
    for index, atoms in enumerate(inputs):
        if not isinstance(atoms, Atoms):
            raise TypeError(f"structure {index} must be Atoms, got {type(atoms).__name__}")
        if len(atoms) == 0:
            raise ValueError(f"structure {index} has no atoms")
    return inputs


def _checked_properties(properties: Sequence[str]) -> tuple[str, ...]:
    if isinstance(properties, str):
        raise TypeError(f"properties must be a sequence of names, got the string {properties!r}")
    names = tuple(properties)
    if not names or not set(names) <= set(PROPERTIES):
        raise ValueError(f"properties must be some of {PROPERTIES}, got {names}")
    return names


def _jobs(
    structures: list[Atoms],
    calculator: Any,
    properties: tuple[str, ...],
    timeout: float | None,
    *,
    allow_unconverged: bool,
) -> list[Job]:
    is_factory = _is_factory(calculator)
    try:
        payload = cloudpickle.dumps(calculator)
    except Exception as error:
        raise TypeError(
            f"this {type(calculator).__name__} cannot be sent to another process ({error}): "
            "pass a function without arguments that makes it"
        ) from error
    modules = _modules_of(payload)
    jobs = []
    for index, atoms in enumerate(structures):
        copy = _bare_copy(atoms)
        copy.set_constraint()
        try:
            structure = cloudpickle.dumps(copy)
        except Exception as error:
            raise TypeError(
                f"structure {index} cannot be sent to another process: {error}"
            ) from error
        jobs.append(
            Job(payload, is_factory, modules, structure, properties, timeout, allow_unconverged)
        )
    return jobs


def _is_factory(calculator: Any) -> bool:
    asks = ("get_potential_energy", "get_forces")
    if not isinstance(calculator, type) and all(hasattr(calculator, name) for name in asks):
        return False
    if not callable(calculator):
        raise TypeError(
            "calculator must be an ASE calculator or a function that makes one, got "
            f"{type(calculator).__name__}"
        )
    try:
        signature = inspect.signature(calculator)
    except ValueError:
        return True
    try:
        signature.bind()
    except TypeError as error:
        raise TypeError(
            f"the function that makes a calculator is called without arguments: {error}"
        ) from None
    return True


def _modules_of(payload: bytes) -> tuple[str, ...]:
    """Imported modules that a pickle names: what unpickling and calling it is going to need."""
    names = {
        argument
        for _, argument, _ in pickletools.genops(io.BytesIO(payload))
        if isinstance(argument, str) and argument in sys.modules
    }
    return tuple(sorted(names - {"__main__", "__mp_main__"}))
