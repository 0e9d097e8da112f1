"""Which points a round asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ase_hal.free_energy.candidates import Candidates
from ase_hal.free_energy.criteria.criterion import Criterion, Knowledge
from ase_hal.free_energy.fixed_temperature import AtTemperature
from ase_hal.free_energy.novelty import Novelty
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.points import Points, Proposal
from ase_hal.free_energy.reweighting import Reweighting
from ase_hal.free_energy.stopping import Stopping
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.free_energy.symmetry import Array
from ase_hal.randomness import stream


@dataclass(frozen=True)
class Strategy:
    """How points are chosen, and how long.

    Attributes
    ----------
    criteria : sequence of Criterion
        Each name occurs once.
    novelty : Novelty, optional
        Which of the proposed points are kept; by default all.
    reweighting : Reweighting, optional
        How the counts of the criteria follow what the rounds improve; by default they stay.
    stopping : Stopping
    n_candidates : int
        Points that the criteria choose from which ask the surface.
    aim : bool
        Move the centre of each window so that its mean should be at the point, from what the
        surface says of mu there.
    """

    criteria: Sequence[Criterion]
    novelty: Novelty | None = None
    reweighting: Reweighting | None = None
    stopping: Stopping = field(default_factory=Stopping)
    n_candidates: int = 1_000_000
    aim: bool = True

    def __post_init__(self) -> None:
        names = [criterion.name for criterion in self.criteria]
        if not names:
            raise ValueError("a strategy needs at least one criterion")
        if len(set(names)) < len(names):
            raise ValueError(f"a criterion occurs twice in {', '.join(names)}")
        if self.n_candidates < 1:
            raise ValueError(f"there is at least one candidate, got {self.n_candidates}")


@dataclass(frozen=True, eq=False)
class Model:
    """What the rounds up to one have learned.

    Attributes
    ----------
    order_parameters : OrderParameters
    round : int
        The round that is to come.
    temperatures_K : sequence of float
        At which points are asked for; the counts of the criteria are those of each.
    points : Points
    surface : Surface or None
    committee : SurfaceCommittee or None
    weights : mapping of str to float
        Of the criteria; 1 for one that is not in it.
    """

    order_parameters: OrderParameters
    round: int
    temperatures_K: Sequence[float]
    points: Points
    surface: Surface | None = None
    committee: SurfaceCommittee | None = None
    weights: Mapping[str, float] = field(default_factory=dict)

    def at(self, temperature_K: float) -> Knowledge:
        """What criteria may know at one temperature, without candidates."""
        committee = self.committee and SurfaceCommittee(
            tuple(AtTemperature(member, temperature_K) for member in self.committee.members)
        )
        return Knowledge(
            self.order_parameters,
            temperature_K,
            self.round,
            self.points[self.points.temperature_K == temperature_K],
            self.surface and AtTemperature(self.surface, temperature_K),
            committee,
        )


def propose(strategy: Strategy, model: Model, *, rng: np.random.Generator) -> list[Proposal]:
    """Ask the criteria for the points of a round.

    Every criterion has a stream of random numbers of its own, told by its place and that of the
    temperature.

    Raises
    ------
    ValueError
        If a criterion proposes a point outside the domain.
    """
    proposals: list[Proposal] = []
    for number, temperature in enumerate(model.temperatures_K):
        for name, eta, mu in _at_one_temperature(strategy, model, temperature, stream(rng, number)):
            proposals += [
                Proposal(model.round, len(proposals) + i, name, point, temperature, guess)
                for i, (point, guess) in enumerate(zip(eta, mu, strict=True))
            ]
    return proposals


def _at_one_temperature(
    strategy: Strategy, model: Model, temperature: float, rng: np.random.Generator
) -> list[tuple[str, Array, Sequence[Array | None]]]:
    """Name, points (n, d) and guesses of mu of each criterion."""
    known = model.at(temperature)
    if known.surface is not None and any(c.needs_candidates for c in strategy.criteria):
        drawn = Candidates.draw(
            model.order_parameters, known.surface, strategy.n_candidates, rng=stream(rng, 0)
        )
        known = replace(known, candidates=drawn)
    found = []
    for number, criterion in enumerate(strategy.criteria):
        if criterion.is_ready(known):
            weight = model.weights.get(criterion.name, 1.0)
            eta = criterion.propose(known, rng=stream(rng, 1, number), weight=weight)
            _check(criterion.name, eta, model.order_parameters)
            found.append((criterion.name, eta))
    if strategy.novelty is not None and known.surface is not None and len(known.points):
        found = _novel(found, known, strategy.novelty, stream(rng, 2))
    return [(name, eta, _guesses(eta, known, strategy.aim)) for name, eta in found]


def _check(name: str, eta: Array, order_parameters: OrderParameters) -> None:
    points = order_parameters.checked(eta)
    outside = np.flatnonzero(~order_parameters.domain.contains(points))
    if len(outside):
        raise ValueError(
            f"criterion {name!r} proposes a point outside the domain: "
            f"{np.round(points[outside[0]], 6).tolist()}"
        )


def _novel(
    found: list[tuple[str, Array]], known: Knowledge, novelty: Novelty, rng: np.random.Generator
) -> list[tuple[str, Array]]:
    """Leave points out, by their scores among all of the round."""
    assert known.surface is not None
    everything = np.concatenate([eta for _, eta in found])
    if not len(everything):
        return found
    scores = novelty.scores(everything, known.points.eta, known.surface, known.order_parameters)
    kept = np.split(novelty.keep(scores, rng=rng), np.cumsum([len(eta) for _, eta in found])[:-1])
    return [(name, eta[mask]) for (name, eta), mask in zip(found, kept, strict=True)]


def _guesses(eta: Array, known: Knowledge, aim: bool) -> Sequence[Array | None]:
    """What the surface says of mu at points, within what was found so far; None without one."""
    if not aim or known.surface is None or not len(known.points) or not len(eta):
        return [None] * len(eta)
    mu = known.points.mu
    return list(np.clip(known.surface.chemical_potentials(eta), mu.min(axis=0), mu.max(axis=0)))
