"""An IDNN as the fit of `learn_free_energy`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_hal.free_energy.idnn import IDNN
from ase_hal.free_energy.points import Points
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.surface_committee import SurfaceCommittee


@dataclass(frozen=True, eq=False)
class IDNNFit:
    """Trains networks with points; a callable for the loop.

    Attributes
    ----------
    idnn : IDNN
    members : int
        Train so many and take their mean, which makes them a committee; one alone by default.
    """

    idnn: IDNN
    members: int = 1

    def __call__(self, points: Points, *, rng: np.random.Generator) -> Surface:
        """Train anew.

        Parameters
        ----------
        points : Points
        rng : np.random.Generator
            Draws the parameters to begin with.
        """
        if self.members == 1:
            return self.idnn.fit(points.eta, points.mu, temperature_K=points.temperature_K, rng=rng)
        return self.idnn.fit_committee(
            points.eta,
            points.mu,
            n_members=self.members,
            temperature_K=points.temperature_K,
            rng=rng,
        )


@dataclass(frozen=True, eq=False)
class FoundIDNN:
    """What a search for hyperparameters found.

    Attributes
    ----------
    fit : IDNNFit
        With the best ones.
    surface : Surface
    committee : SurfaceCommittee or None
        The best few.
    """

    fit: IDNNFit
    surface: Surface
    committee: SurfaceCommittee | None


@dataclass(frozen=True, eq=False)
class IDNNSearch:
    """Looks for better hyperparameters; a callable for the loop (section 2.2).

    Attributes
    ----------
    idnn : IDNN
        The first trial; what is not searched is taken from here.
    n_trials : int
    members : int
        The best so many surfaces become the committee.
    """

    idnn: IDNN
    n_trials: int = 20
    members: int = 5

    def __call__(self, points: Points, *, rng: np.random.Generator) -> FoundIDNN:
        """Search with all points."""
        from ase_hal.free_energy.idnn_search import search

        found = search(
            self.idnn,
            points.eta,
            points.mu,
            temperature_K=points.temperature_K,
            n_trials=self.n_trials,
            rng=rng,
        )
        committee = found.committee(self.members)
        return FoundIDNN(
            IDNNFit(found.best.idnn),
            found.best.surface,
            committee if len(committee.members) > 1 else None,
        )
