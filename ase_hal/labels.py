"""The labels that a structure carries, checked before anything is fitted to them."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from ase_hal.prediction import Array

VANISHING_FORCE = 1e-3  # eV/Å; what a calculation gives for forces that vanish by symmetry


def labels_of(atoms: Atoms) -> dict[str, Array]:
    """Energy (eV) and, where they are known, forces (eV/Å) and stress (eV/Å^3).

    A stress counts where there are three periodic directions: molecules in a box come with one
    that means nothing.

    Raises
    ------
    ValueError
        Where there are none, the energy is missing or a number is not finite.
    """
    if not isinstance(atoms.calc, SinglePointCalculator):
        raise ValueError(
            "it has no labels; label() and read_dataset() attach them in a SinglePointCalculator"
        )
    results = atoms.calc.results
    labels = {
        name: np.asarray(results[name], dtype=float)
        for name in ("energy", "forces", "stress")
        if results.get(name) is not None and (name != "stress" or atoms.pbc.all())
    }
    if "energy" not in labels:
        raise ValueError(f"it has no energy, only {', '.join(labels) or 'nothing'}")
    if "stress" in labels and labels["stress"].shape == (3, 3):
        labels["stress"] = full_3x3_to_voigt_6_stress(labels["stress"])
    for name, value in labels.items():
        shape = {"energy": (), "forces": (len(atoms), 3), "stress": (6,)}[name]
        if value.shape != shape:
            raise ValueError(f"its {name} has the shape {value.shape} instead of {shape}")
        if not np.isfinite(value).all():
            raise ValueError(f"its {name} is not finite")
    return labels
