"""Points to judge surfaces by, which are never fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from ase_hal.free_energy.criteria.criterion import Criterion
from ase_hal.free_energy.learning import Fit, Measure, Propose
from ase_hal.free_energy.measuring import check_temperatures, measure
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.points import FailedPoint, Point, Points
from ase_hal.free_energy.sample import Sampler
from ase_hal.free_energy.strategy import Model, Strategy, propose
from ase_hal.free_energy.surface_committee import committee_of
from ase_hal.randomness import stream


def make_test_set(
    sampler: Mapping[float, Sampler],
    order_parameters: OrderParameters,
    criteria: Sequence[Criterion],
    fit: Fit,
    *,
    rng: np.random.Generator,
    n_candidates: int = 100_000,
    propose: Propose = propose,
    measure: Measure = measure,
) -> Points:
    """Find points by criteria, without any of the points that a surface is learned from.

    First those criteria are asked that need no surface. Where there are others, they ask one
    that is fitted to the points of the first, and which is then thrown away: runs that are to be
    compared can share a test set that favours none of them.

    Parameters
    ----------
    sampler, order_parameters, fit, propose, measure
        As for `learn_free_energy`.
    criteria : sequence of Criterion
        The regions of the test set; errors are told apart by their names.
    rng : np.random.Generator
    n_candidates : int
        Points that the criteria choose from which ask the surface.

    Returns
    -------
    Points
        Their rounds are 0 and 1.

    Raises
    ------
    ValueError
        If some points succeed, but none at one of the temperatures.
    """
    first = [criterion for criterion in criteria if criterion.requires == "nothing"]
    strategy = Strategy(first, n_candidates=n_candidates)
    model = Model(order_parameters, 0, tuple(sampler), Points.of([], order_parameters.dimension))
    known: list[Point] = []
    for turn in range(2):
        failed: list[FailedPoint] = []
        proposals = propose(strategy, model, rng=stream(rng, turn, 0))
        asking = stream(rng, turn, 1)
        known += measure(proposals, sampler, rng=asking, on_failure=failed.append)
        check_temperatures(known, failed if known else [])
        points = Points.of(known, order_parameters.dimension)
        rest = [criterion for criterion in criteria if criterion.requires != "nothing"]
        if turn or not rest or not len(points):
            break
        surface = fit(points, rng=stream(rng, turn, 2))
        strategy = replace(strategy, criteria=rest)
        model = replace(
            model, round=1, points=points, surface=surface, committee=committee_of(surface)
        )
    return points
