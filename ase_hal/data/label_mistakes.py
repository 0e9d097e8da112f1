"""Known mistakes in labels: how each changes the numbers, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from ase import units

from ase_hal.prediction import Array

Label = Literal["energies", "forces", "stresses"]

_VOIGT = (0, 1, 2, 3, 4, 5)
# Where xx yy zz yz xz xy are among components in other orders.
_ORDERS = {
    "xx yy zz xy yz zx, as VASP prints them": (0, 1, 2, 4, 5, 3),
    "xx yy zz xy xz yz, as LAMMPS prints them": (0, 1, 2, 5, 4, 3),
    "xx xy xz yy yz zz": (0, 3, 5, 4, 2, 1),
}
_ENERGIES = {
    "Hartree": units.Hartree,
    "Rydberg": units.Rydberg,
    "kcal/mol": units.kcal / units.mol,
    "kJ/mol": units.kJ / units.mol,
    "meV": 1e-3,
}
_FORCES = {
    "Hartree/Bohr": units.Hartree / units.Bohr,
    "Rydberg/Bohr": units.Rydberg / units.Bohr,
    "eV/Bohr": 1 / units.Bohr,
    "kcal/mol/Å": units.kcal / units.mol,
    "kJ/mol/Å": units.kJ / units.mol,
    "kJ/mol/nm": units.kJ / units.mol / 10,
    "eV/nm": 0.1,
    "meV/Å": 1e-3,
    "kcal/mol/Bohr": units.kcal / units.mol / units.Bohr,
    "Hartree/Å": units.Hartree,
    "Rydberg/Å": units.Rydberg,
}
_STRESSES = {
    "kbar": 0.1 * units.GPa,
    "GPa": units.GPa,
    "Hartree/Bohr^3": units.Hartree / units.Bohr**3,
    "Rydberg/Bohr^3": units.Rydberg / units.Bohr**3,
    "bar": 1e-4 * units.GPa,
    "MPa": 1e-3 * units.GPa,
    "Pa": 1e-9 * units.GPa,
    "kcal/mol/Å^3": units.kcal / units.mol,
}


@dataclass(frozen=True)
class Mistake:
    """One way in which labels are wrong.

    Attributes
    ----------
    label : {"energies", "forces", "stresses"}
    kind : str
        For programs, such as ``"stress_sign"``; empty for labels as they should be.
    words : str
        What the labels are, as in "the energies are in Hartree".
    factor : float
        The right label is ``factor * label * N^atoms * V^volumes``, its components in `order`,
        for N atoms and the volume V (Å^3).
    atoms, volumes : int
    order : tuple of int
    """

    label: Label
    kind: str = ""
    words: str = "as they should be"
    factor: float = 1.0
    atoms: int = 0
    volumes: int = 0
    order: tuple[int, ...] = _VOIGT

    @property
    def family(self) -> tuple[int, int]:
        """What depends on the structure."""
        return self.atoms, self.volumes

    @property
    def correction(self) -> str:
        """What makes single labels right."""
        if self.order != _VOIGT:
            return "sort the components as xx yy zz yz xz xy"
        factors = [f"{self.factor:.8g}"] if self.factor != 1.0 else []
        factors += ["the number of atoms"] if self.atoms else []
        steps = [f"multiply them by {' and '.join(factors)}"] if factors else []
        return " and ".join(steps + ["divide by the volume"] * bool(self.volumes))

    @property
    def remedy(self) -> str:
        """What to do where all labels of a file are wrong."""
        if self.label != "stresses" or self.order != _VOIGT or self.atoms:
            return self.correction
        if not self.volumes:
            return f"read them with stress_factor={self.factor:.6g}"
        factor = "" if self.factor == -1.0 else f" and stress_factor={-self.factor:.6g}"
        return f"read them with virial_key in place of stress_key{factor}"

    def undo(self, labels: Array, n_atoms: Array, volumes: Array) -> Array:
        """The right ones of labels (n, d), of structures with these sizes (n,)."""
        scale = self.factor * n_atoms.astype(float) ** self.atoms * volumes**self.volumes
        ordered = labels[:, list(self.order)] if labels.shape[1] == 6 else labels
        return np.asarray(scale[:, None] * ordered, dtype=float)


@cache
def mistakes(label: Label) -> tuple[Mistake, ...]:
    """Known mistakes of a kind of labels but for the order of components, common ones first."""
    return tuple({"energies": _energies, "forces": _forces, "stresses": _stresses}[label]())


@cache
def order_mistakes() -> tuple[Mistake, ...]:
    """Stresses with their components in another order."""
    return tuple(
        Mistake("stresses", "stress_order", f"in the order {name}", order=order)
        for name, order in _ORDERS.items()
    )


def _energies() -> Iterator[Mistake]:
    for per_atom in (0, 1):
        for sign in (1, -1):
            for unit, size in {"": 1.0, **_ENERGIES}.items():
                if not unit and sign == 1 and not per_atom:
                    continue
                kind = "energy_unit" if unit else "energy_per_atom" if per_atom else "energy_sign"
                words = ["energies per atom"] if per_atom else []
                words += [f"in {unit}"] if unit else []
                words += ["of the other sign"] if sign < 0 else []
                yield Mistake("energies", kind, " and ".join(words), sign * size, per_atom)


def _forces() -> Iterator[Mistake]:
    yield Mistake("forces", "force_sign", "gradients (forces of the other sign)", -1.0)
    for sign in (1, -1):
        for unit, size in _FORCES.items():
            words = f"in {unit}" if sign > 0 else f"gradients in {unit} (of the other sign)"
            yield Mistake("forces", "force_unit", words, sign * size)


def _stresses() -> Iterator[Mistake]:
    yield Mistake("stresses", "stress_sign", "of the other sign", -1.0)
    for sign in (1, -1):
        for unit, size in _STRESSES.items():
            words = f"in {unit}" + (" and of the other sign" if sign < 0 else "")
            if sign < 0 and unit == "kbar":
                words += ", as VASP prints them"
            yield Mistake("stresses", "stress_unit", words, sign * size)
    for per_atom in (0, 1):
        for sign in (-1, 1):
            for unit, size in {"": 1.0, **_ENERGIES}.items():
                words = "virials (-volume times stress)" if sign < 0 else "volume times stress"
                words += " per atom" * per_atom + (f" in {unit}" if unit else "")
                yield Mistake("stresses", "stress_is_virial", words, sign * size, per_atom, -1)
