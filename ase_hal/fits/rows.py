"""Weighted rows of a linear model from the observation of one structure."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ase_hal.ace.basis import ACEBasis
from ase_hal.fits.observations import Observation
from ase_hal.labels import VANISHING_FORCE
from ase_hal.prediction import Array


class WeightedRows(NamedTuple):
    """Rows of one structure, without those that say nothing.

    Attributes
    ----------
    design : (k, n) array
    targets : (k, 1 + n_elements) array
        Labels, then the numbers of atoms of each element, which count in the row of the energy.
    observations : float
        How many observations the rows are: k, less where their weights say so.
    """

    design: Array
    targets: Array
    observations: float


def weighted_rows(item: Observation, basis: ACEBasis) -> WeightedRows:
    """Rows of energy, forces and virial of a structure, multiplied by their factors."""
    n_targets = 1 + len(item.counts)
    if item.alone:  # all functions vanish: the energy is that of the atoms
        return WeightedRows(np.zeros((0, basis.size)), np.zeros((0, n_targets)), 0.0)
    rows = basis.rows(item.atoms)
    factor, forces, virial = item.energy_factor, item.force_factors, item.virial_factors
    used, strained = forces > 0, virial > 0
    design = np.concatenate(
        [
            (factor or 1.0) * rows.energy[None],
            forces[used][:, None] * rows.forces[used],
            virial[strained][:, None] * rows.virial[strained],
        ]
    )
    targets = np.zeros((len(design), n_targets))
    targets[:, 0] = np.concatenate(
        [
            [factor * item.energy],
            forces[used] * item.forces[used],
            virial[strained] * item.virial[strained],
        ]
    )
    targets[0, 1:] = factor * item.counts
    kept = informative(design, targets[:, 0])
    kept[0] = factor > 0
    shares = np.concatenate(
        [
            [item.shares.energy],
            np.full(int(used.sum()), item.shares.forces),
            np.full(int(strained.sum()), item.shares.virial),
        ]
    )
    return WeightedRows(design[kept], targets[kept], float(shares[kept].sum()))


def informative(design: Array, labels: Array) -> Array:
    """Which rows of one structure say something about the coefficients, (k,) of bool.

    All but those that vanish by symmetry together with their labels, against the first row, that
    of the energy. Where the label does not vanish, it tells of noise.
    """
    sizes = np.abs(design).max(axis=1)
    vanishing = (sizes <= 1e-6 * sizes[0]) & (np.abs(labels) <= VANISHING_FORCE)
    vanishing[0] = False
    return np.asarray(~vanishing)
