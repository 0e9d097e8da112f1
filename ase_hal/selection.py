"""Which of the candidates are worth a reference calculation."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ase_hal.committee import Committee
from ase_hal.extrapolation import ExtrapolationGrade, Tail, select_tail
from ase_hal.metrics import mean_force
from ase_hal.prediction import Array
from ase_hal.uncertainty import relative_force_error

__all__ = [
    "ExtrapolationGrade",
    "Filtered",
    "Tail",
    "filter_greedily",
    "select",
    "select_tail",
]


def select(
    candidates: Sequence[Atoms], committee: Committee, *, n: int, min_gain: float = 0.05
) -> list[Atoms]:
    """Take the n most uncertain candidates without taking one thing twice.

    After each pick the covariance of the energies of all candidates is conditioned on that
    structure's energy being known without noise, so that its duplicates and near relatives lose
    their claim (what its forces would tell is left out). The covariance is that of the posterior
    for a linear committee. Others give that over their K members, by which no more than K - 1
    candidates can be told apart.

    Parameters
    ----------
    candidates : sequence of Atoms
        Structures to choose from.
    committee : Committee
        Its model uncertainty per atom, ``model_std / N``, is what ranks candidates.
    n : int
        How many to take at most.
    min_gain : float
        A candidate whose remaining standard deviation (or distance) is below this fraction of
        the one it started from is a duplicate of what was picked and never taken.

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
    exact = getattr(committee, "energy_covariance", None)
    if exact is not None:
        covariance = np.asarray(exact(candidates)) / np.outer(sizes, sizes)
        order = _conditional_order(covariance, n, min_gain)
    else:
        deviations = _deviations(candidates, committee) / sizes[:, None]
        covariance = deviations @ deviations.T / max(deviations.shape[1] - 1, 1)
        order = _conditional_order(covariance, n, min_gain)
        _add_distant(order, deviations, n, min_gain)
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


def _add_distant(order: list[int], deviations: Array, n: int, min_gain: float) -> None:
    """Extend an order by what is large and far from all that is in it."""
    sizes = np.linalg.norm(deviations, axis=1)
    score, seen = sizes, 0
    while order and len(order) < n:
        for pick in order[seen:]:
            score = np.minimum(score, np.linalg.norm(deviations - deviations[pick], axis=1))
        seen = len(order)
        allowed = score > min_gain * sizes
        if not allowed.any():
            break
        order.append(int(np.argmax(np.where(allowed, score, -1.0))))


def _deviations(candidates: Sequence[Atoms], committee: Committee) -> Array:
    """Energies of the members less their mean, (structures, K), eV."""
    members = np.array([committee.predict(atoms).member_energies for atoms in candidates])
    return members - members.mean(axis=1, keepdims=True)


@dataclass(frozen=True)
class Filtered:
    """A labelled set reduced by `filter_greedily`.

    Attributes
    ----------
    selected : tuple of Atoms
        In the order they were taken.
    remaining : tuple of Atoms
        The others, in their old order.
    scores : tuple of float
        Largest relative force error of each selected structure when it was taken; nan for the
        first one, which no committee had judged.
    committee : Committee
        The fit to what is selected.
    """

    selected: tuple[Atoms, ...]
    remaining: tuple[Atoms, ...]
    scores: tuple[float, ...]
    committee: Committee


def filter_greedily(
    dataset: Sequence[Atoms],
    fit: Callable[..., Committee],
    *,
    n: int,
    rng: np.random.Generator,
    tolerance: float = 0.0,
    per_round: int = 1,
    first: int | None = None,
    eps: float | None = None,
) -> Filtered:
    """Reduce a labelled set to the structures that a model needs (HAL paper, section II.A).

    Starts from one structure; fits; takes the structure with the largest relative force error
    ``max_i f_i`` (Eq. 6) of those left; and again.

    Parameters
    ----------
    dataset : sequence of Atoms
        Labelled structures.
    fit : callable
        ``fit(dataset, *, rng) -> committee``; a `LinearFit` remembers what it has seen.
    n : int
        How many to take.
    rng : numpy.random.Generator
        Draws the first structure, and a generator for every fit.
    tolerance : float
        End once no structure left has a larger error than this.
    per_round : int
        Structures taken between fits.
    first : int, optional
        Index of the first structure, instead of a random one.
    eps : float, optional
        Epsilon of Eq. 6 in eV/Å; by default the mean force of the labels of the whole set.
    """
    if not 1 <= n <= len(dataset):
        raise ValueError(f"n is 1 to {len(dataset)}, the size of the set, got {n}")
    if per_round < 1 or not tolerance >= 0:
        raise ValueError(
            f"per_round is at least 1 and tolerance 0 or more, got {per_round} and {tolerance}"
        )
    if first is not None and not 0 <= first < len(dataset):
        raise ValueError(f"first is an index into {len(dataset)} structures, got {first}")
    epsilon = mean_force(dataset) if eps is None else eps
    if epsilon is None:
        raise ValueError("the structures have no force labels: give eps")
    taken = [int(rng.integers(len(dataset))) if first is None else first]
    scores = [math.nan]
    committee = fit([dataset[taken[0]]], rng=rng.spawn(1)[0])
    while len(taken) < n:
        left = [i for i in range(len(dataset)) if i not in set(taken)]
        errors = np.array(
            [
                relative_force_error(committee.predict(dataset[i], members=True), epsilon).max()
                for i in left
            ]
        )
        errors[np.isnan(errors)] = np.inf  # a model that breaks there knows nothing about it
        worst = np.argsort(-errors, kind="stable")[: min(per_round, n - len(taken))]
        worst = worst[errors[worst] > tolerance]
        if not len(worst):
            break
        taken += [left[i] for i in worst]
        scores += [float(errors[i]) for i in worst]
        committee = fit([dataset[i] for i in taken], rng=rng.spawn(1)[0])
    others = tuple(dataset[i] for i in range(len(dataset)) if i not in set(taken))
    return Filtered(tuple(dataset[i] for i in taken), others, tuple(scores), committee)
