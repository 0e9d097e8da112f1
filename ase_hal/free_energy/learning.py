"""learn_free_energy(): propose, measure, fit, and again (section 1.1.5)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from ase_hal.free_energy.errors import errors_by_criterion, mean_squared_error
from ase_hal.free_energy.measuring import check_samplers, check_temperatures, measure
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.points import FailedPoint, Point, Points, Proposal
from ase_hal.free_energy.sample import Sampler
from ase_hal.free_energy.stopping import rises
from ase_hal.free_energy.strategy import Model, Strategy, propose
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.surface_committee import SurfaceCommittee, committee_of
from ase_hal.randomness import stream

# Streams of the parts of a round.
_PROPOSE, _MEASURE, _FIT, _SEARCH = range(4)
MISSED = 0.1  # by which points are missed where windows do not hold
_RISES = 2  # rounds in a row with a larger error before better hyperparameters are looked for


class Fit(Protocol):
    """Points in, a surface out. Any callable of this shape will do."""

    def __call__(self, points: Points, *, rng: np.random.Generator) -> Surface: ...


class Found(Protocol):
    """What a search for hyperparameters found."""

    @property
    def improved(self) -> bool:
        """Whether the best hyperparameters are others than those that the search began with."""

    @property
    def fit(self) -> Fit:
        """With the best hyperparameters."""

    @property
    def surface(self) -> Surface:
        """What this makes of the points."""

    @property
    def committee(self) -> SurfaceCommittee | None:
        """Surfaces with other hyperparameters, if there are several."""


class Search(Protocol):
    """Points and the present fit in, better hyperparameters out."""

    def __call__(self, points: Points, fit: Fit, *, rng: np.random.Generator) -> Found: ...


class Measure(Protocol):
    """The shape of `measure`."""

    def __call__(
        self,
        proposals: Sequence[Proposal],
        samplers: Mapping[float, Sampler],
        *,
        rng: np.random.Generator,
        on_failure: Callable[[FailedPoint], None],
    ) -> list[Point]: ...


class Propose(Protocol):
    """The shape of `propose`."""

    def __call__(
        self, strategy: Strategy, model: Model, *, rng: np.random.Generator
    ) -> list[Proposal]: ...


@dataclass(frozen=True, eq=False)
class Round:
    """One round of the learning. Errors are mean squares in (10 meV)^2.

    Attributes
    ----------
    round : int
        Counts from 0.
    proposed : tuple of Proposal
    found : tuple of Point
        What Monte Carlo found at those where it succeeded.
    failed : tuple of FailedPoint
    points : Points
        Everything found up to now.
    surface : Surface
        Fitted to `points`.
    committee : SurfaceCommittee or None
        Fitted to `points`, too; the next round may query it.
    weights : mapping of str to float
        Of the criteria in this round.
    train, test : mapping of str to float
        Errors at the points that each criterion asked for.
    train_error, test_error : float
        Errors at all points; nan without a test set.
    searched, improved : bool
        Whether better hyperparameters were looked for at the end of the round, and found.
    finished : str or None
        Why this is the last round: ``"target"``, ``"converged"``, ``"rounds"`` (`Stopping`),
        ``"nothing new"`` (no point was proposed), ``"failures"`` (every point failed). After
        the latter two everything else is as in the round before.
    """

    round: int
    proposed: tuple[Proposal, ...]
    found: tuple[Point, ...]
    failed: tuple[FailedPoint, ...]
    points: Points
    surface: Surface
    committee: SurfaceCommittee | None
    weights: Mapping[str, float]
    train: Mapping[str, float]
    test: Mapping[str, float]
    train_error: float
    test_error: float
    searched: bool
    improved: bool
    finished: str | None

    @property
    def missed_by(self) -> float:
        """How far the points of this round are from where they were asked for.

        See `Points.missed_by`: some hundredths where windows hold. More than `MISSED` says that
        they do not, and that the points are not where the criteria wanted them.
        """
        return Points.of(self.found, self.points.dimension).missed_by


def learn_free_energy(
    sampler: Mapping[float, Sampler],
    order_parameters: OrderParameters,
    strategy: Strategy,
    fit: Fit,
    *,
    rng: np.random.Generator,
    test: Points | None = None,
    search: Search | None = None,
    propose: Propose = propose,
    measure: Measure = measure,
) -> Iterator[Round]:
    """Learn a free energy from points that are chosen by what is known of it.

    Parameters
    ----------
    sampler : mapping of float to Sampler
        Whom to ask at each temperature, K: `UmbrellaMC`, or whatever has its methods.
    order_parameters : OrderParameters
    strategy : Strategy
        Criteria that propose points, and when to stop.
    fit : callable
        ``fit(points, *, rng) -> surface``.
    rng : np.random.Generator
        Its seed sequence gives every part of every round a stream of its own, by number.
    test : Points, optional
        Never fitted to; its error decides when to stop. Without it that of the training set does.
    search : callable, optional
        Looks for better hyperparameters where the error has risen twice in a row. What it finds
        is kept if it says that they are better and the error of the test set, if there is one, is
        smaller with them. The committee it finds is queried in the round after it: later on its
        members would not know the newest points.
    propose, measure : callable
        Replace the functions of these names, for example to pass an executor, or to remember
        what was done.

    Yields
    ------
    Round
        The last one has ``finished`` set.

    Raises
    ------
    ValueError
        If a sampler is one at another temperature, no point of the first round succeeds, or none
        at one of the temperatures, or a criterion proposes a point outside the domain.

    Examples
    --------
    >>> strategy = Strategy([GlobalSampling(count=200), HighError(count=20, perturbation=0.05)])
    >>> for step in learn_free_energy({300.0: mc}, order_parameters, strategy, fit, rng=rng):
    ...     print(step.round, len(step.points), step.train_error)
    """
    check_samplers(sampler)
    fits = _Fits(fit, search, test, rng)
    model = Model(order_parameters, 0, tuple(sampler), Points.of([], order_parameters.dimension))
    known: list[Point] = []
    last: Round | None = None
    while True:
        proposals = propose(strategy, model, rng=stream(rng, model.round, _PROPOSE))
        failed: list[FailedPoint] = []
        measuring = stream(rng, model.round, _MEASURE)
        found = measure(proposals, sampler, rng=measuring, on_failure=failed.append)
        if not found:
            yield _fruitless(last, model.round, proposals, failed)
            return
        known += found
        check_temperatures(known, failed)
        points = Points.of(known, order_parameters.dimension)
        surface, committee = fits(points, model.round)
        if model.round == 0 and committee is None and search is None:
            _warn_of_no_committee(strategy)
        last = Round(
            model.round,
            tuple(proposals),
            tuple(found),
            tuple(failed),
            points,
            surface,
            committee,
            {c.name: model.weights.get(c.name, 1.0) for c in strategy.criteria},
            train=errors_by_criterion(surface, points),
            test={} if test is None else errors_by_criterion(surface, test),
            train_error=mean_squared_error(surface, points),
            test_error=float("nan") if test is None else mean_squared_error(surface, test),
            searched=fits.searched,
            improved=fits.improved,
            finished=strategy.stopping.reason(fits.errors),
        )
        yield last
        if last.finished is not None:
            return
        weights = _weights(strategy, model.surface, last)
        model = Model(
            order_parameters,
            model.round + 1,
            model.temperatures_K,
            points,
            surface,
            last.committee,
            weights,
        )


class _Fits:
    """Fits of one round after another, and the hyperparameters they have come to."""

    def __init__(
        self, fit: Fit, search: Search | None, test: Points | None, rng: np.random.Generator
    ) -> None:
        self.errors: list[float] = []
        self._fit, self._search, self._test, self._rng = fit, search, test, rng
        self.searched = self.improved = False
        self._since = 0  # the round of the last search

    def __call__(self, points: Points, number: int) -> tuple[Surface, SurfaceCommittee | None]:
        """Surface and committee of a round."""
        surface = self._fit(points, rng=stream(self._rng, number, _FIT))
        self.errors.append(self._error(surface, points))
        self.searched = self.improved = False
        if self._search is None or rises(self.errors[self._since :]) < _RISES:
            return surface, committee_of(surface)
        self.searched = True
        found = self._search(points, self._fit, rng=stream(self._rng, number, _SEARCH))
        self._since = len(self.errors) - 1
        error = self._error(found.surface, points) if found.improved else np.inf
        # without a test set the search knows better: it has held points out
        self.improved = found.improved and (self._test is None or error < self.errors[-1])
        if self.improved:
            self._fit, surface = found.fit, found.surface
            self.errors[-1] = error
        return surface, found.committee or committee_of(surface)

    def _error(self, surface: Surface, points: Points) -> float:
        """What is to fall: the error of the test set, or else of the training set."""
        return mean_squared_error(surface, self._test if self._test is not None else points)


def _weights(strategy: Strategy, before: Surface | None, last: Round) -> Mapping[str, float]:
    if strategy.reweighting is None or before is None:
        return {}
    return strategy.reweighting.weights(errors_by_criterion(before, last.points), last.train)


def _warn_of_no_committee(strategy: Strategy) -> None:
    idle = [c.name for c in strategy.criteria if c.requires == "committee"]
    if idle:
        warnings.warn(
            f"the fit makes no committee: the criteria {idle} propose nothing; fit several members",
            stacklevel=3,
        )


def _fruitless(
    last: Round | None, number: int, proposals: Sequence[Proposal], failed: Sequence[FailedPoint]
) -> Round:
    """The last round, which has added nothing."""
    reasons = "; ".join(dict.fromkeys(point.reason for point in failed))
    if last is None and not proposals:
        raise ValueError("the criteria propose nothing in the first round: all need a surface")
    if last is None:
        raise ValueError(f"none of the first {len(proposals)} points succeeded: {reasons[:300]}")
    return replace(
        last,
        round=number,
        proposed=tuple(proposals),
        found=(),
        failed=tuple(failed),
        finished="failures" if proposals else "nothing new",
    )
