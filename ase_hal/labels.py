"""The labels that a structure carries, checked before anything is fitted to them."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

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
    for name, value in labels.items():
        if not np.isfinite(value).all():
            raise ValueError(f"its {name} is not finite")
    return labels
