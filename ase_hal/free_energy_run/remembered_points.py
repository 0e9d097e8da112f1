"""Proposals and points that are on disk once they are there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np

from ase_hal.free_energy import Point, Proposal, Sampler, Strategy, measure
from ase_hal.free_energy.points import FailedPoint
from ase_hal.free_energy.strategy import Model, propose
from ase_hal.free_energy_run.store import PointStore


@dataclass(frozen=True)
class RememberedPoints:
    """`propose` and `measure` for the loop, which take from the disk what was done before.

    Attributes
    ----------
    store : PointStore
    executor : Executor
        Where windows run.
    show : callable
        ``show(event, **record)``: told of everything, also of what was on disk.
    """

    store: PointStore
    executor: Executor
    show: Callable[..., None]

    def propose(
        self, strategy: Strategy, model: Model, *, rng: np.random.Generator
    ) -> list[Proposal]:
        """Proposals of a round."""
        proposals = self.store.proposals(model.round, lambda: propose(strategy, model, rng=rng))
        self.show("proposed", round=model.round, n_proposed=len(proposals))
        return proposals

    def measure(
        self,
        proposals: Sequence[Proposal],
        samplers: Mapping[float, Sampler],
        *,
        rng: np.random.Generator,
        on_failure: Callable[[FailedPoint], None],
    ) -> list[Point]:
        """Points at proposals; only those that are not known are asked for."""

        def reject(failure: FailedPoint) -> None:
            self.store.reject(failure)
            self._show_failure(failure)
            on_failure(failure)

        known = [self.store.known(proposal) for proposal in proposals]
        for point in known:
            if isinstance(point, FailedPoint):
                self._show_failure(point)
                on_failure(point)
            elif point is not None:
                self._show_point(point)
        fresh = [p for p, point in zip(proposals, known, strict=True) if point is None]
        if fresh:
            self.show("sampling", round=fresh[0].round, n_points=len(fresh))
            measure(
                fresh,
                samplers,
                rng=rng,
                executor=self.executor,
                on_point=self._keep,
                on_failure=reject,
            )
        found = [self.store.known(proposal) for proposal in proposals]
        return [point for point in found if isinstance(point, Point)]

    def _keep(self, point: Point) -> None:
        self.store.keep(point)
        self._show_point(point)

    def _show_point(self, point: Point) -> None:
        self.show(
            "point",
            round=point.round,
            criterion=point.criterion,
            temperature_K=point.temperature_K,
            converged=point.converged,
        )

    def _show_failure(self, failure: FailedPoint) -> None:
        self.show(
            "failed_point",
            round=failure.proposal.round,
            criterion=failure.proposal.criterion,
            reason=failure.reason,
        )
