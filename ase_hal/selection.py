"""Which of the candidates are worth a reference calculation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ase_hal.committee import Committee
from ase_hal.prediction import Array


def select(
    candidates: Sequence[Atoms], committee: Committee, *, n: int, min_gain: float = 0.05
) -> list[Atoms]:
    """Take the n most uncertain candidates without taking one thing twice.

    After each pick the covariance of the energies of all candidates is conditioned on that
    structure having been labelled, so that its duplicates and near relatives lose their claim.
    For a linear committee this is the exact update of the posterior by the energy row; other
    committees give the covariance over their members.

    Parameters
    ----------
    candidates : sequence of Atoms
        Structures to choose from.
    committee : Committee
        Its model uncertainty per atom, ``model_std / N``, is what ranks candidates.
    n : int
        How many to take at most.
    min_gain : float
        A candidate whose remaining standard deviation is below this fraction of the one it
        started from is a duplicate of what was picked and never taken.

    Returns
    -------
    list of Atoms
        At most n of the candidates, the most uncertain first.
    """
    if n < 1:
        raise ValueError(f"n is the number of structures to take, at least 1, got {n}")
    if not 0 <= min_gain < 1:
        raise ValueError(f"min_gain is a fraction between 0 and 1, got {min_gain}")
    if not len(candidates):
        return []
    sizes = np.array([len(atoms) for atoms in candidates], dtype=float)
    covariance = _energy_covariance(candidates, committee) / np.outer(sizes, sizes)
    order = _conditional_order(covariance, n, min_gain)
    return [candidates[i] for i in order]


def _conditional_order(covariance: Array, n: int, min_gain: float) -> list[int]:
    """Order of a Gaussian's components by what is left of them: a pivoted Cholesky."""
    initial = np.diag(covariance).copy()
    remaining = covariance.copy()
    order: list[int] = []
    available = np.ones(len(initial), dtype=bool)
    while len(order) < min(n, len(initial)):
        variance = np.clip(np.diag(remaining), 0.0, None)
        available &= variance > min_gain**2 * initial
        available[order] = False
        if not available.any():
            break
        pick = int(np.argmax(np.where(available, variance, -1.0)))
        order.append(pick)
        if variance[pick] > 0:
            column = remaining[:, pick]
            remaining = remaining - np.outer(column, column) / variance[pick]
    return order


def _energy_covariance(candidates: Sequence[Atoms], committee: Committee) -> Array:
    exact = getattr(committee, "energy_covariance", None)
    if exact is not None:
        return np.asarray(exact(candidates))
    members = np.array([committee.predict(atoms).member_energies for atoms in candidates])
    deviations = members - members.mean(axis=1, keepdims=True)
    return deviations @ deviations.T / max(members.shape[1] - 1, 1)
