"""filter_greedily(): a labelled set reduced to the structures that a model needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ase_hal.committee import Committee
from ase_hal.metrics import mean_force
from ase_hal.uncertainty import relative_force_error


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
