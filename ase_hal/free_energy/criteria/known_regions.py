"""Criteria for regions that matter by what is known of the ordering (section 2.1.2)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.criteria.criterion import Criterion, Knowledge, dealt
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.symmetry import Array


def disordered(order_parameters: OrderParameters) -> Array:
    """The disordered state (d,) that has the composition of the ordering."""
    state = order_parameters.wells[0].copy()
    state[order_parameters.n_trivial :] = 0.0
    return state


@dataclass(frozen=True, kw_only=True)
class Wells(Criterion):
    """Perfect order and the disordered state of the same composition (Algorithm 2).

    Each of the wells is taken at least once, and as often as any other, give or take one. Points
    are between a well and the perturbed one: perfect order is at the tips of the domain.
    """

    name: ClassVar[str] = "wells"
    around_tips: ClassVar[bool] = True

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Deal out the wells."""
        centre = disordered(known.order_parameters)
        wells = np.concatenate([known.order_parameters.wells, centre[None]])
        return dealt(wells, max(count, len(wells)), rng=rng)


@dataclass(frozen=True, kw_only=True)
class Vertices(Criterion):
    """The lines from the disordered state to perfect order (Algorithm 3).

    The composition stays, and points are anywhere between no order and a variant's perfect
    order. They deviate from the line by what of a random vector, uniform within perturbation times
    round in each order parameter, is across it: later rounds look around more, round 0 not at all.
    """

    name: ClassVar[str] = "vertices"

    def propose(self, known: Knowledge, *, rng: np.random.Generator, weight: float = 1.0) -> Array:
        """Propose points (n, d), which are perturbed only across their lines."""
        total = max(round(self.count * weight), 1) * self.repeats
        return self.find(known, total, rng=rng)

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Points (count, d) on and around the lines, evenly over the variants."""
        centre = disordered(known.order_parameters)
        along = dealt(known.order_parameters.wells - centre, count, rng=rng)
        places = centre + rng.uniform(0, 1, size=(count, 1)) * along
        width = self.perturbation * known.round
        aside = rng.uniform(-width, width, size=places.shape)
        aside[:, : known.order_parameters.n_trivial] = 0.0
        forward = along / np.linalg.norm(along, axis=1, keepdims=True)
        aside -= (aside * forward).sum(axis=1, keepdims=True) * forward
        return places + aside * known.order_parameters.domain.reach(places, aside)


@dataclass(frozen=True, kw_only=True)
class EndPoints(Criterion):
    """The empty and the full lattice, from where points are perturbed inwards (Algorithm 4)."""

    name: ClassVar[str] = "end_points"
    around_tips: ClassVar[bool] = True

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Deal out the two ends."""
        order_parameters = known.order_parameters
        full = order_parameters.matrix.sum(axis=1)
        return dealt(np.array([np.zeros_like(full), full]), count, rng=rng)


@dataclass(frozen=True, kw_only=True, eq=False)
class GivenPoints(Criterion):
    """Points that somebody wants, in the first round.

    Attributes
    ----------
    points : (n, d) array
        Inside the domain.
    count : int
        By default each of them is taken once.
    """

    name: ClassVar[str] = "given"
    points: npt.ArrayLike
    count: int = 0

    def __post_init__(self) -> None:
        points = np.atleast_2d(np.asarray(self.points, dtype=float))
        object.__setattr__(self, "points", points)
        if not self.count:
            object.__setattr__(self, "count", len(points))
        super().__post_init__()

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Deal out the points; none after the first round."""
        points = known.order_parameters.checked(self.points)
        outside = np.flatnonzero(~known.order_parameters.domain.contains(points))
        if len(outside):
            raise ValueError(
                f"given point {outside[0]} is outside the domain: {points[outside[0]].tolist()} "
                f"needs mean occupations of sites beyond 0 and 1"
            )
        return dealt(points, count, rng=rng) if known.round == 0 else points[:0]
