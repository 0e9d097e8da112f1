"""Calculators as members of committees: each answers one question at a time."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Sequence
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.data import atomic_numbers, chemical_symbols

from ase_hal.committee import REFUSALS
from ase_hal.identity import IdentityMap
from ase_hal.prediction import Array


class Answer(NamedTuple):
    """What a calculator says about a structure of N atoms."""

    energy: float  # eV, the one whose derivative the forces are
    forces: Array  # (N, 3), eV/Å
    stress: Array | None  # (6,), eV/Å^3


class Usage:
    """What a calculator was used for last, by whichever committees."""

    def __init__(self) -> None:
        self.lock = RLock()
        self._last: deque[weakref.ref[Atoms]] = deque(maxlen=2)
        self._given: Atoms | None = None

    def begin(self, calculator: Any, owner: Atoms, bare: Atoms) -> Atoms:
        """What to ask the calculator about, which starts afresh where it was about others.

        It goes on with what it remembers if the last two questions, or the only one before, were
        about the same object. A single one would leave it to chance whether objects that take
        turns in several threads start afresh.
        """
        goes_on = all(reference() is owner for reference in self._last)
        if not goes_on:
            forget([calculator])
        if not (goes_on and self._given is not None and _moved(self._given, bare)):
            self._given = bare.copy()
        self._last.append(weakref.ref(owner))
        return self._given


_usages: IdentityMap[Any, Usage] = IdentityMap()
_usage_of_others = Usage()  # of calculators that cannot be referred to weakly


def usage_of(calculator: Any) -> Usage:
    """Of a calculator, the same for all committees."""
    usage = _usages.get(calculator)
    if usage is None:
        try:
            usage = _usages.setdefault(calculator, Usage())
        except TypeError:
            usage = _usage_of_others
    return usage


def _moved(given: Atoms, bare: Atoms) -> bool:
    """Make one structure equal to another one; False where that takes a new one."""
    if given.arrays.keys() != bare.arrays.keys() or len(given) != len(bare):
        return False
    for name, array in bare.arrays.items():
        given.arrays[name][:] = array
    given.cell[:] = bare.cell
    given.pbc = bare.pbc
    return True


def answer(calculator: Any, number: int, bare: Atoms, stress: bool, owner: Atoms | None) -> Answer:
    """One member's answer, checked. At module level so that it can be pickled.

    The owner is the object that the bare structure was taken from, where it is known.
    """
    usage = usage_of(calculator)
    with usage.lock:
        atoms = usage.begin(calculator, bare if owner is None else owner, bare)
        return _asked(calculator, f"member {number} ({type(calculator).__name__})", atoms, stress)


def _asked(calculator: Any, who: str, atoms: Atoms, stress: bool) -> Answer:
    try:
        # Forces first: asked for an energy alone, many calculators compute nothing else.
        forces = np.array(calculator.get_property("forces", atoms), dtype=float)
        free = "free_energy" in calculator.implemented_properties
        energy = float(calculator.get_property("free_energy" if free else "energy", atoms))
        stresses = None
        if stress:
            stresses = np.array(calculator.get_property("stress", atoms), dtype=float)
    except PropertyNotImplementedError as error:
        raise PropertyNotImplementedError(f"{who} does not give all of this: {error}") from error
    except REFUSALS as error:
        raise CalculationFailed(f"{who} refused the structure: {error}") from error
    except Exception as error:
        raise RuntimeError(f"{who} failed: {type(error).__name__}: {error}") from error
    if forces.shape != (len(atoms), 3) or (stresses is not None and stresses.shape != (6,)):
        shapes = (forces.shape, None if stresses is None else stresses.shape)
        raise RuntimeError(f"{who} gave forces and stress of shapes {shapes}")
    for name, value in (("energy", energy), ("forces", forces), ("stress", stresses)):
        if value is not None and not np.isfinite(value).all():
            raise CalculationFailed(f"{who} gave {name} with NaN or infinity")
    return Answer(energy, forces, stresses)


def forget(calculators: Sequence[Any]) -> None:
    """Make members start afresh: neighbour lists with a memory change the last digits."""
    for calculator in calculators:
        reset = getattr(calculator, "reset", None)
        if callable(reset):
            reset()


def check_members(calculators: Sequence[Any]) -> None:
    """Refuse what cannot be the members of a committee."""
    if len(calculators) < 2:
        raise ValueError(f"a committee has at least two members, got {len(calculators)}")
    for number, calculator in enumerate(calculators):
        if not callable(getattr(calculator, "get_property", None)):
            raise TypeError(
                f"member {number} is not an ASE calculator but a {type(calculator).__name__}"
            )
        if "forces" not in calculator.implemented_properties:
            raise ValueError(f"member {number} ({type(calculator).__name__}) gives no forces")
    if len({id(calculator) for calculator in calculators}) < len(calculators):
        raise ValueError("the members are different objects, got the same calculator twice")


def common_elements(calculators: Sequence[Any], elements: Sequence[str] | None) -> tuple[str, ...]:
    """Elements as given, or as all members that know their own agree on."""
    if elements is not None:
        if wrong := [symbol for symbol in elements if symbol not in atomic_numbers]:
            raise ValueError(f"elements are chemical symbols, got {wrong}")
        if not elements:
            raise ValueError("elements is empty: a committee knows at least one")
        elements = tuple(elements)
    source = "the committee"
    for number, calculator in enumerate(calculators):
        declared = getattr(calculator, "elements", None)
        if declared is None:
            continue
        declared = tuple(declared)
        here = f"member {number} ({type(calculator).__name__})"
        if elements is None:
            elements, source = declared, here
        elif set(declared) != set(elements):
            raise ValueError(
                f"members with different elements: {source} has {', '.join(elements)}, "
                f"{here} has {', '.join(declared)}"
            )
    return tuple(chemical_symbols[1:]) if elements is None else tuple(elements)
