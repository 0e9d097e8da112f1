"""Errors of a committee against labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ase_hal.committee import Committee
from ase_hal.prediction import Array


@dataclass(frozen=True)
class Errors:
    """Root-mean-square errors over a set of structures.

    Attributes
    ----------
    energy_rmse : float
        Of the energy per atom, eV/atom.
    forces_rmse : float
        Of the force components, eV/Å; nan without force labels.
    energy_mae, forces_mae : float
        Mean absolute errors in the same units.
    n_structures : int
        Number of structures compared.
    """

    energy_rmse: float
    forces_rmse: float
    energy_mae: float
    forces_mae: float
    n_structures: int


@dataclass(frozen=True)
class Comparison:
    """Predictions beside labels, for parity plots and calibration.

    Energies (n,) are per atom in eV; ``energy_std`` (n,) is sigma per atom, in eV; forces are
    components, (3 sum N,), eV/Å.
    """

    energy: Array
    energy_label: Array
    energy_std: Array
    forces: Array
    forces_label: Array

    def errors(self) -> Errors:
        """Condense to root-mean-square and mean absolute errors."""
        energy = self.energy - self.energy_label
        forces = self.forces - self.forces_label
        none = float("nan")
        return Errors(
            energy_rmse=float(np.sqrt(np.mean(energy**2))) if len(energy) else none,
            forces_rmse=float(np.sqrt(np.mean(forces**2))) if len(forces) else none,
            energy_mae=float(np.mean(np.abs(energy))) if len(energy) else none,
            forces_mae=float(np.mean(np.abs(forces))) if len(forces) else none,
            n_structures=len(energy),
        )


def compare(
    committee: Committee, dataset: Sequence[Atoms], *, force_bound: float = np.inf
) -> Comparison:
    """Predict a labelled dataset.

    Parameters
    ----------
    committee : Committee
        What predicts.
    dataset : sequence of Atoms
        Labelled structures (n).
    force_bound : float
        Leave out force components whose label is larger than this, eV/Å, as the fit does.
    """
    energy, energy_label, energy_std, forces, forces_label = [], [], [], [], []
    for atoms in dataset:
        prediction, results = committee.predict(atoms), atoms.calc.results
        n = len(atoms)
        energy.append(prediction.energy / n)
        energy_label.append(results["energy"] / n)
        energy_std.append(prediction.energy_std / n)
        if results.get("forces") is not None:
            keep = np.abs(results["forces"]) <= force_bound
            forces.append(prediction.forces[keep])
            forces_label.append(results["forces"][keep])
    return Comparison(
        np.array(energy),
        np.array(energy_label),
        np.array(energy_std),
        np.concatenate(forces) if forces else np.empty(0),
        np.concatenate(forces_label) if forces_label else np.empty(0),
    )


def mean_force(dataset: Sequence[Atoms], *, bound: float = np.inf) -> float | None:
    """Mean norm of the labelled forces, eV/Å; None where there are none.

    Forces with a component larger than the bound (eV/Å) do not count.
    """
    forces = [
        np.asarray(atoms.calc.results["forces"])
        for atoms in dataset
        if atoms.calc is not None and atoms.calc.results.get("forces") is not None
    ]
    counted = [f[(np.abs(f) <= bound).all(axis=1)] for f in forces]
    norms = np.linalg.norm(np.concatenate([*counted, np.empty((0, 3))]), axis=1)
    return float(norms.mean()) if len(norms) else None
