"""The labels that a structure carries, checked before anything is fitted to them."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal.prediction import Array


def labels_of(atoms: Atoms) -> dict[str, Array]:
    """Energy (eV) and, where they are known, forces (eV/Å) and stress (eV/Å^3).

    Raises
    ------
    ValueError
        Where there are none, the energy is missing, a number is not finite, or there is a stress
        without a volume.
    """
    if not isinstance(atoms.calc, SinglePointCalculator):
        raise ValueError(
            "it has no labels; label() and read_dataset() attach them in a SinglePointCalculator"
        )
    results = atoms.calc.results
    labels = {
        name: np.asarray(results[name], dtype=float)
        for name in ("energy", "forces", "stress")
        if results.get(name) is not None
    }
    if "energy" not in labels:
        raise ValueError(f"it has no energy, only {', '.join(labels) or 'nothing'}")
    for name, value in labels.items():
        if not np.isfinite(value).all():
            raise ValueError(f"its {name} is not finite")
    if "stress" in labels and atoms.cell.rank < 3:
        raise ValueError("it has a stress, but no cell with a volume")
    return labels
