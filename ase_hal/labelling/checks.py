"""What a reference calculation must not be: unconverged, absurdly large, or not done at all."""

from __future__ import annotations

import inspect
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

# Forces of 1e5 eV/Å: two tungsten atoms 0.4 Å apart (screened nuclear repulsion), closer than any
# method of electronic structure is meant for.
LARGEST_FORCE = 1e5  # eV/Å, a component
# All electrons of the heaviest elements weigh 1.5e6 eV (uranium: 7.6e5 eV).
LARGEST_ENERGY = 1e7  # eV per atom
# 160 TPa; solids have been calculated to 30 TPa.
LARGEST_STRESS = 1e3  # eV/Å^3, a component

# Words before "converged" that turn it round, or that make it mean something else.
_DENIALS = ("un", "non", "not")
_OTHERS = (
    "geom", "geometry", "ionic", "ion", "ions", "opt", "optimization", "optimizer", "relax",
    "relaxation", "md",
)  # fmt: skip
# Asked for by name even where a calculator does not list them, because it passes them on.
_FLAGS = ("converged", "scf_converged", "is_converged")
_MOST_OBJECTS = 200

# A structure without symmetry: forces of a generic pair potential that are, relative to the sum
# of their sizes, as large as those of atoms some 0.01 Å away from where symmetry wants them.
_ASYMMETRY = 0.02
_BOND = 1.3  # times the sum of the covalent radii


class LabelRejected(ValueError):
    """Results that are not taken as a label; its text alone is the reason."""


class NotConverged(LabelRejected):
    """The calculator says that its calculation did not converge."""


# --- convergence -------------------------------------------------------------------------


def check_converged(calculator: Any) -> None:
    """Raise `NotConverged` where a calculator, or one inside it, says so after a calculation.

    Calculators tell it in an attribute, a method or an entry of ``results`` whose name ends in
    ``converged``, each in its own way: Vasp and Turbomole (``converged``), GPAW
    (``scf.converged``), PySCF's (``mf.converged``) and others. Nothing is concluded from None, from
    what raises, and from calculators without results, which were not asked.

    Parameters
    ----------
    calculator : ASE calculator
        After its calculation.
    """
    seen = {id(calculator)}
    waiting: list[tuple[str, Any]] = [(type(calculator).__name__, calculator)]
    while waiting and len(seen) < _MOST_OBJECTS:
        name, here = waiting.pop(0)
        said = list(_statements(here))
        for flag, converged in said:
            if not converged:
                raise NotConverged(f"did not converge ({name}{flag} says so)")
        if said:
            continue  # Who speaks for a calculation speaks for its parts.
        for step, child in _parts(here):
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append((name + step, child))


def _statements(here: Any) -> Iterator[tuple[str, bool]]:
    """What an object says about the convergence of its calculation, and where."""
    results = _attribute(here, "results")
    if isinstance(results, Mapping):
        for key in results:
            sign = _meaning(key) if isinstance(key, str) else None
            if sign is not None and (value := _truth(results[key])) is not None:
                yield f".results[{key!r}]", value is sign
    names = {name for name in dir(here) if _meaning(name) is not None and name[0] != "_"}
    for name in sorted(names.union(_FLAGS)):
        if (value := _truth(_attribute(here, name))) is not None:
            yield f".{name}", value is _meaning(name)


def _attribute(here: Any, name: str) -> Any:
    """An attribute; None where there is none or it cannot be had."""
    try:
        return getattr(here, name, None)
    except Exception:  # properties of other people's classes raise anything
        return None


def _meaning(name: str) -> bool | None:
    """What an attribute of this name is where all is well; None if it is about something else."""
    word = name.lower()
    if not word.endswith("converged"):
        return None
    words = word.removesuffix("converged").strip("_").split("_")
    if set(words) & set(_OTHERS):
        return None
    return not (words[-1] in _DENIALS or words[-1].endswith("not"))


def _truth(value: Any) -> bool | None:
    """The boolean that a value stands for; None if it stands for none."""
    if callable(value):
        try:
            inspect.signature(value).bind()
            value = value()
        except Exception:  # methods of other people's classes raise anything
            return None
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer) and value in (0, 1):
        return bool(value)
    if isinstance(value, list | tuple | np.ndarray):
        array = np.asarray(value)
        return bool(array.all()) if array.dtype.kind == "b" and array.size else None
    return None


def _parts(here: Any) -> Iterator[tuple[str, Any]]:
    """Calculators within an object, and its other objects that say something of convergence."""
    try:
        attributes = dict(vars(here))
    except TypeError:
        return
    is_calculator = _is_calculator(here)
    for name, value in attributes.items():
        if isinstance(value, Atoms):
            value = value.calc
        if isinstance(value, list | tuple):
            yield from ((f".{name}[{i}]", v) for i, v in enumerate(value) if _was_asked(v))
        elif isinstance(value, Mapping):
            yield from ((f".{name}[{k!r}]", v) for k, v in value.items() if _was_asked(v))
        elif _was_asked(value) or (is_calculator and _is_helper(value)):
            yield f".{name}", value


def _is_calculator(value: Any) -> bool:
    if isinstance(value, type | Atoms):
        return False
    return isinstance(value, BaseCalculator) or callable(
        getattr(type(value), "get_potential_energy", None)
    )


def _was_asked(value: Any) -> bool:
    return _is_calculator(value) and _attribute(value, "results") != {}


def _is_helper(value: Any) -> bool:
    """Whether this is an object of some class with attributes, such as a solver or a mixer."""
    passive = (type, types.ModuleType, types.FunctionType, types.MethodType, np.ndarray)
    return (
        hasattr(value, "__dict__") and not isinstance(value, passive) and not _is_calculator(value)
    )


# --- sizes -------------------------------------------------------------------------------


def check_plausible(atoms: Atoms, results: Mapping[str, Any]) -> None:
    """Raise `LabelRejected` for results that no calculation of this structure gives.

    Parameters
    ----------
    atoms : ase.Atoms
        Structure of N atoms.
    results : mapping
        Some of ``energy`` (eV), ``forces`` (N, 3) (eV/Å), ``stress`` (6,) (eV/Å^3), all finite.
    """
    n = len(atoms)
    if "energy" in results and abs(results["energy"]) > LARGEST_ENERGY * n:
        raise LabelRejected(
            f"an energy of {results['energy']:.4g} eV for {n} atoms is not believed "
            f"(limit: {LARGEST_ENERGY:.0e} eV per atom)"
        )
    if "forces" in results:
        forces = np.abs(results["forces"])
        if forces.max() > LARGEST_FORCE:
            atom = int(forces.max(axis=1).argmax())
            raise LabelRejected(
                f"a force of {forces.max():.4g} eV/Å on atom {atom} is not believed "
                f"(limit: {LARGEST_FORCE:.0e} eV/Å)"
            )
        if not forces.any() and _must_have_forces(atoms):
            raise LabelRejected(
                f"all forces are exactly zero, which the positions of these {n} atoms rule out: "
                "the calculator did not calculate forces"
            )
    if "stress" in results and (largest := np.abs(results["stress"]).max()) > LARGEST_STRESS:
        raise LabelRejected(
            f"a stress of {largest:.4g} eV/Å^3 is not believed (limit: {LARGEST_STRESS:.0e} eV/Å^3)"
        )


def _must_have_forces(atoms: Atoms) -> bool:
    """Whether bonded atoms are where symmetry alone would not make their forces vanish.

    Forces that vanish by symmetry do so for any pair potential; where those of one with no
    equilibrium of its own do not, forces of exactly zero on every atom are no coincidence. Pairs
    of two atoms are left out: the minimum of a model's only bond may be hit exactly.
    """
    if len(atoms) < 3:
        return False
    radii = covalent_radii[atoms.numbers]
    i, j, vectors = neighbor_list("ijD", atoms, 2 * _BOND * float(radii.max()))
    distances = np.linalg.norm(vectors, axis=1)
    reach = _BOND * (radii[i] + radii[j])
    bonded = (distances < reach) & (distances > 0)
    i, vectors, distances, reach = i[bonded], vectors[bonded], distances[bonded], reach[bonded]
    strengths = (1 - distances / reach) ** 2
    pulls = strengths[:, None] * vectors / distances[:, None]
    totals = np.zeros((len(atoms), 3))
    np.add.at(totals, i, pulls)
    sizes = np.bincount(i, weights=strengths, minlength=len(atoms))
    asymmetry = np.linalg.norm(totals, axis=1)
    return bool((asymmetry > _ASYMMETRY * np.maximum(sizes, 1e-3)).any())


def one_line(text: str, longest: int) -> str:
    """A text as one line that any file can hold, cut off where it is too long."""
    line = " ".join(text.encode(errors="replace").decode().split())
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= longest else line[:longest] + "..."
