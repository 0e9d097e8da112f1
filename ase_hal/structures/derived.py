"""Derived structures: known ones displaced, strained, with atoms taken out and replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from ase_hal.randomness import check_generator
from ase_hal.structures.origin import check_range, record
from ase_hal.structures.strain import Range, deformed, random_deformation, von_mises_strain


@dataclass(frozen=True)
class Derivation:
    """Distributions from which `derive` draws; the defaults are those of the slides for metals.

    Parameters
    ----------
    displacement : float
        Standard deviation of every coordinate, Å.
    volume_strain : (float, float)
        Range of the relative change of volume.
    von_mises : float
        Largest von Mises strain; uniform from 0.
    deletion : float
        Chance of every atom to be taken out; one always stays.
    substitution : float
        Chance of every atom to become another element.
    """

    displacement: float = 0.4
    volume_strain: Range = (-0.025, 0.075)
    von_mises: float = 0.2
    deletion: float = 0.05
    substitution: float = 0.5

    def __post_init__(self) -> None:
        if not (self.displacement >= 0 and self.von_mises >= 0):
            raise ValueError(
                "displacement and von_mises are 0 or more, got "
                f"{self.displacement} and {self.von_mises}"
            )
        check_range("volume_strain", self.volume_strain, above=-1)
        if not (0 <= self.deletion <= 1 and 0 <= self.substitution <= 1):
            raise ValueError(
                "deletion and substitution are chances between 0 and 1, got "
                f"{self.deletion} and {self.substitution}"
            )


METALS = Derivation()
OXIDES = Derivation(displacement=0.3, substitution=0.1)


def derive(
    atoms: Atoms,
    derivation: Derivation = METALS,
    *,
    rng: np.random.Generator,
    elements: Sequence[str] | None = None,
) -> Atoms:
    """Derive a structure from a known one: substitute, delete, strain, displace, in this order.

    Parameters
    ----------
    atoms : ase.Atoms
        A known structure, with three cell vectors unless no strain is asked for.
    derivation : Derivation
        How far to go; `METALS` and `OXIDES` are those of the slides.
    rng : numpy.random.Generator
    elements : sequence of str, optional
        What atoms may become; by default what there is in the structure. An atom for which
        there is nothing else stays.

    Returns
    -------
    ase.Atoms
        Without calculator and constraints.
    """
    check_generator(rng)
    if not len(atoms):
        raise ValueError("an empty structure has nothing to derive from")
    derived = atoms.copy()
    derived.set_constraint()
    derived.arrays.pop("momenta", None)
    replaced = _substitute(derived, derivation.substitution, elements, rng)
    deleted = rng.random(len(derived)) < derivation.deletion
    if deleted.all():
        deleted[rng.integers(len(deleted))] = False
    del derived[np.flatnonzero(deleted)]
    deformation = np.eye(3)
    v_low, v_high = derivation.volume_strain
    if derivation.von_mises > 0 or v_low != 0 or v_high != 0:
        strains = (v_low, v_high), (0.0, derivation.von_mises)
        deformation = random_deformation(*strains, rng=rng)
        derived = deformed(derived, deformation)
    derived.positions += rng.normal(0.0, derivation.displacement, derived.positions.shape)
    record(
        derived,
        "derived",
        displacement=derivation.displacement,
        volume=float(np.linalg.det(deformation)),
        von_mises=von_mises_strain(deformation),
        deleted=int(deleted.sum()),
        substituted=replaced,
    )
    return derived


def _substitute(
    atoms: Atoms, chance: float, elements: Sequence[str] | None, rng: np.random.Generator
) -> int:
    """Replace elements in place; how many were."""
    symbols = sorted(set(atoms.symbols)) if elements is None else list(dict.fromkeys(elements))
    if unknown := [symbol for symbol in symbols if symbol not in atomic_numbers]:
        raise ValueError(f"elements are chemical symbols, got {unknown}")
    chosen = np.flatnonzero(rng.random(len(atoms)) < chance)
    replaced = 0
    for index in chosen:
        others = [symbol for symbol in symbols if symbol != atoms.symbols[index]]
        if others:
            atoms.symbols[index] = others[int(rng.integers(len(others)))]
            replaced += 1
    return replaced
