"""What a criterion is, and what it may know."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ase_hal.free_energy.candidates import Candidates
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.points import Points
from ase_hal.free_energy.sampling import perturbed
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True, eq=False)
class Knowledge:
    """What is known at one temperature when a round begins.

    Attributes
    ----------
    order_parameters : OrderParameters
    temperature_K : float
    round : int
        Number of the round, from 0.
    points : Points
        Found in the rounds before.
    surface : Surface or None
        Fitted to them; None in the first round.
    committee : SurfaceCommittee or None
        Several surfaces fitted to the same points, where there are such.
    candidates : Candidates or None
        Points all over the domain, with what the surface says about them.
    """

    order_parameters: OrderParameters
    temperature_K: float
    round: int
    points: Points
    surface: Surface | None = None
    committee: SurfaceCommittee | None = None
    candidates: Candidates | None = None


@dataclass(frozen=True, kw_only=True)
class Criterion(ABC):
    """Where more points of the free energy are wanted.

    A criterion of your own has a `name` and the method `find`.

    Attributes
    ----------
    count : int
        Places to find.
    repeats : int
        Points at each of them.
    perturbation : float
        Half the edge of a box around each place, in which its points are distributed uniformly
        as far as it is inside the domain. Where places are tips of the domain, the points are
        anywhere on the way from the tip to such a point.
    """

    count: int
    repeats: int = 1
    perturbation: float = 0.0

    name: ClassVar[str]
    # What there must be before the criterion can say anything.
    requires: ClassVar[Literal["nothing", "surface", "committee"]] = "nothing"
    # Whether it looks among candidates all over the domain.
    needs_candidates: ClassVar[bool] = False
    # Whether a place may be replaced by any that symmetry makes equivalent (section 2.1.4).
    spreads_by_symmetry: ClassVar[bool] = False
    # Whether places are tips of the domain: in many dimensions most of a box is far from them.
    around_tips: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.count < 1 or self.repeats < 1:
            raise ValueError(
                f"{self.name}: count and repeats are at least 1, got {self.count}, {self.repeats}"
            )
        if not 0 <= self.perturbation < np.inf:
            raise ValueError(f"{self.name}: a perturbation is 0 or more, got {self.perturbation}")

    @abstractmethod
    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Find about `count` places (n, d) inside the domain or on its boundary."""

    def is_ready(self, known: Knowledge) -> bool:
        """Whether what the criterion requires is there."""
        return {
            "nothing": True,
            "surface": known.surface is not None,
            "committee": known.committee is not None,
        }[self.requires]

    def propose(self, known: Knowledge, *, rng: np.random.Generator, weight: float = 1.0) -> Array:
        """Propose points (n, d) inside the domain.

        Parameters
        ----------
        known : Knowledge
        rng : np.random.Generator
        weight : float
            `count` is multiplied by it; at least one place remains.
        """
        places = self.find(known, max(round(self.count * weight), 1), rng=rng)
        places = np.repeat(places, self.repeats, axis=0)
        if self.spreads_by_symmetry:
            places = known.order_parameters.images(places, rng=rng)
        moved = perturbed(known.order_parameters.domain, places, self.perturbation, rng=rng)
        if self.around_tips:
            moved = places + rng.uniform(size=(len(places), 1)) * (moved - places)
        return moved


def dealt(places: Array, count: int, *, rng: np.random.Generator) -> Array:
    """Take `count` of some places (m, d), each as often as any other, give or take one."""
    whole, rest = divmod(count, len(places))
    more = rng.permutation(len(places))[:rest]
    return np.concatenate([np.tile(places, (whole, 1)), places[np.sort(more)]])
