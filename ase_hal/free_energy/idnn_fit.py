"""An IDNN as the fit of `learn_free_energy`."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ase_hal.free_energy.idnn import IDNN
from ase_hal.free_energy.learning import Fit
from ase_hal.free_energy.points import Points
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.free_energy.symmetry import Array
from ase_hal.process_pool import ProcessPool


@dataclass(frozen=True, eq=False)
class IDNNFit:
    """Trains networks with points; a callable for the loop.

    Attributes
    ----------
    idnn : IDNN
    members : int
        Train so many and take their mean, which makes them a committee; one alone by default.
    weigh_errors : bool
        Let points with large statistical errors count less (`Points.weights_by_error`).
    workers : int
        Processes that train members side by side; the surfaces do not depend on it.
    """

    idnn: IDNN
    members: int = 1
    weigh_errors: bool = False
    workers: int = 1

    def __post_init__(self) -> None:
        if self.members < 1 or self.workers < 1:
            raise ValueError(
                f"members and workers are 1 or more, got {self.members} and {self.workers}"
            )

    def __call__(self, points: Points, *, rng: np.random.Generator) -> Surface:
        """Train anew.

        Parameters
        ----------
        points : Points
        rng : np.random.Generator
            Draws the parameters to begin with.
        """
        weights = self.weights(points)
        if self.members == 1:
            return self.idnn.fit(
                points.eta,
                points.mu,
                temperature_K=points.temperature_K,
                rng=rng,
                weights=weights,
            )
        with ProcessPool(min(self.workers, self.members)) as executor:
            return self.idnn.fit_committee(
                points.eta,
                points.mu,
                n_members=self.members,
                temperature_K=points.temperature_K,
                rng=rng,
                weights=weights,
                executor=executor,
            )

    def weights(self, points: Points) -> Array | None:
        """Weights (n,) of the points; None where all count alike."""
        return points.weights_by_error() if self.weigh_errors else None


@dataclass(frozen=True, eq=False)
class FoundIDNN:
    """What a search for hyperparameters found.

    Attributes
    ----------
    improved : bool
        Whether others than those to begin with are the best.
    fit : Fit
        With the best ones.
    surface : Surface
    committee : SurfaceCommittee or None
        The best few.
    """

    improved: bool
    fit: Fit
    surface: Surface
    committee: SurfaceCommittee | None


@dataclass(frozen=True, eq=False)
class IDNNSearch:
    """Looks for better hyperparameters; a callable for the loop (section 2.2).

    Attributes
    ----------
    n_trials : int
        The first are the hyperparameters that there are.
    members : int
        The best so many surfaces become the committee.
    """

    n_trials: int = 20
    members: int = 5

    def __call__(self, points: Points, fit: Fit, *, rng: np.random.Generator) -> FoundIDNN:
        """Search with all points; what is not searched is taken from the present fit."""
        from ase_hal.free_energy.idnn_search import search

        if not isinstance(fit, IDNNFit):
            raise TypeError(f"hyperparameters are those of an IDNNFit, got {type(fit).__name__}")
        found = search(
            fit.idnn,
            points.eta,
            points.mu,
            temperature_K=points.temperature_K,
            n_trials=self.n_trials,
            rng=rng,
            weights=fit.weights(points),
        )
        committee = found.committee(self.members)
        improved = found.best.idnn is not fit.idnn
        best = replace(fit, idnn=found.best.idnn)
        return FoundIDNN(
            improved,
            best,
            # trials have not seen the points that they are compared on
            best(points, rng=rng) if improved else found.best.surface,
            committee if len(committee.members) > 1 else None,
        )
