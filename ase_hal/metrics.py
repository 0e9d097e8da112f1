"""Errors of a committee against labels, of a whole set and by kinds of structures."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_hal.committee import Committee
from ase_hal.data.left_out import LeftOut, count_forces
from ase_hal.labels import VANISHING_FORCE
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
    force_angle : float
        Mean angle between predicted and labelled forces, degrees; see `force_angles`.
    """

    energy_rmse: float
    forces_rmse: float
    energy_mae: float
    forces_mae: float
    n_structures: int
    force_angle: float = float("nan")


@dataclass(frozen=True)
class Comparison:
    """Predictions beside labels, for parity plots and calibration.

    Energies (n,) are per atom in eV; ``energy_std`` (n,) is sigma per atom, in eV; forces are
    components, (3 sum N,), eV/Å; angles between forces, (sum N,), are in degrees. ``structures``
    (n,) are the indices of those whose energies are compared.
    """

    energy: Array
    energy_label: Array
    energy_std: Array
    forces: Array
    forces_label: Array
    angles: Array = field(default_factory=lambda: np.empty(0))
    structures: NDArray[np.intp] = field(default_factory=lambda: np.empty(0, dtype=np.intp))

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
            force_angle=_mean_angle(self.angles),
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
        Leave out force components whose label is larger than this, eV/Å, and energies of
        structures far beyond it, as a fit does (see `ase_hal.data.left_out`). Components that
        constraints have taken out of the label are never compared.
    """
    energy, energy_label, energy_std, forces, forces_label, angles = [], [], [], [], [], []
    compared = []
    for index, atoms in enumerate(dataset):
        prediction, results = committee.predict(atoms), atoms.calc.results
        n, left_out = len(atoms), LeftOut()
        if results.get("forces") is not None:
            label = np.asarray(results["forces"])
            keep, left_out = count_forces(atoms, label, force_bound)
            forces.append(prediction.forces[keep])
            forces_label.append(label[keep])
            angles.append(force_angles(prediction.forces, label)[keep.all(axis=1)])
        if left_out.energy_share > 0:
            compared.append(index)
            energy.append(prediction.energy / n)
            energy_label.append(results["energy"] / n)
            energy_std.append(prediction.energy_std / n)
    return Comparison(
        np.array(energy),
        np.array(energy_label),
        np.array(energy_std),
        np.concatenate(forces) if forces else np.empty(0),
        np.concatenate(forces_label) if forces_label else np.empty(0),
        np.concatenate(angles) if angles else np.empty(0),
        np.array(compared, dtype=np.intp),
    )


def force_angles(forces: Array, labels: Array, *, smallest: float = 1e-3) -> Array:
    r"""Angle between predicted and labelled force of every atom (Waters & Rondinelli 2024).

    .. math:: \theta_F = \cos^{-1} \frac{F \cdot F_\mathrm{label}}{|F| |F_\mathrm{label}|}

    Near a saddle forces vanish, and so do their errors, whatever their directions are. The angle
    still tells whether a search goes the right way.

    Parameters
    ----------
    forces, labels : (N, 3) arrays
        eV/Å.
    smallest : float
        Labels below this have no direction to speak of, eV/Å.

    Returns
    -------
    (N,) array
        Degrees, 90 on average for a guess; nan for labels that are too small.
    """
    if forces.shape != labels.shape:
        raise ValueError(f"forces of shape {forces.shape} beside labels of shape {labels.shape}")
    sizes, products = np.linalg.norm(labels, axis=1), np.sum(forces * labels, axis=1)
    across = np.linalg.norm(np.cross(forces, labels), axis=1)  # exact for small angles, too
    angles = np.degrees(np.arctan2(across, products))
    angles[~forces.any(axis=1)] = 90.0
    angles[sizes < smallest] = np.nan
    return angles


def structure_kind(atoms: Atoms) -> str:
    """What a structure is by what its info says about how it came about.

    The role in a saddle search (start, saddle, end), else the stage of the exploration, else the
    scheme of an evolution, else how it was made (``hal_origin``; alloy, derived, ...), else "seed".
    """
    for key in ("hal_role", "hal_stage", "hal_scheme"):
        if key in atoms.info:
            return str(atoms.info[key])
    return str(atoms.info.get("hal_origin", "seed")).split("(")[0].strip()


def errors_by_kind(
    committee: Committee,
    dataset: Sequence[Atoms],
    kind: Callable[[Atoms], Hashable] = structure_kind,
    *,
    force_bound: float = np.inf,
) -> dict[Hashable, Errors]:
    """Errors of every kind of structure in a labelled dataset, in the order they appear.

    Parameters
    ----------
    committee : Committee
    dataset : sequence of Atoms
    kind : callable
        What kind a structure is of: ``lambda a: "oxide" if "O" in a.symbols else "metal"``.
    force_bound : float
        See `compare`.
    """
    groups: dict[Hashable, list[Atoms]] = {}
    for atoms in dataset:
        groups.setdefault(kind(atoms), []).append(atoms)
    return {
        name: compare(committee, group, force_bound=force_bound).errors()
        for name, group in groups.items()
    }


def _mean_angle(angles: Array) -> float:
    known = angles[~np.isnan(angles)]
    return float(known.mean()) if len(known) else float("nan")


def mean_force(dataset: Sequence[Atoms], *, bound: float = np.inf) -> float | None:
    """Mean norm of the labelled forces, eV/Å; None where there are none.

    Forces with a component larger than the bound (eV/Å) do not count, nor do those that vanish by
    symmetry: what is a typical force should not depend on how many perfect crystals there are.
    """
    forces = [
        np.asarray(atoms.calc.results["forces"])
        for atoms in dataset
        if atoms.calc is not None and atoms.calc.results.get("forces") is not None
    ]
    counted = [f[(np.abs(f) <= bound).all(axis=1)] for f in forces]
    norms = np.linalg.norm(np.concatenate([*counted, np.empty((0, 3))]), axis=1)
    norms = norms[norms > VANISHING_FORCE]
    return float(norms.mean()) if len(norms) else None
