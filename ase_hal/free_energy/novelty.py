"""Keeping points that are new and leave others out (section 2.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.surface import Surface, hessian_eigenvalues
from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True)
class Novelty:
    r"""Random selection by distance from known points and by curvature.

    The score of a point is :math:`s = \lambda \langle x \rangle` (Eq. 13): the mean distance to
    its nearest known points times the largest magnitude of an eigenvalue of the Hessian. In
    random order, a point is kept if its score is larger than that of the point kept before, or
    than a random threshold; one with the score zero never is.

    Attributes
    ----------
    threshold : str
        ``"mean"``: up to the mean score of the round (r_1); ``"max"``: up to the largest, which
        leaves more points out (r_2).
    neighbours : int
        k, known points whose distance counts: that of the nearest of all their symmetric images.
    closest : float
        A point nearer than this to a known one has the score zero.
    cap : float
        Eigenvalues larger than this quantile of those of the round count as much as it. Where
        sites become full or empty the curvature is large, and a few points at the walls of the
        domain would leave out all others.
    """

    threshold: Literal["mean", "max"] = "mean"
    neighbours: int = 5
    closest: float = 1e-3
    cap: float = 0.9

    def __post_init__(self) -> None:
        if self.threshold not in ("mean", "max"):
            raise ValueError(f"threshold is 'mean' or 'max', got {self.threshold!r}")
        if self.neighbours < 1 or not self.closest >= 0:
            raise ValueError(
                f"neighbours is at least 1, closest not negative, got {self.neighbours} and "
                f"{self.closest}"
            )
        if not 0 < self.cap <= 1:
            raise ValueError(f"cap is a quantile above 0 and at most 1, got {self.cap}")

    def scores(
        self, eta: Array, known: Array, surface: Surface, order_parameters: OrderParameters
    ) -> Array:
        """Scores (n,) of points (n, d), eV per site, beside known ones (m, d), m > 0."""
        k = min(self.neighbours, len(known))
        distances = order_parameters.distances(eta, known, k)
        curvature = np.abs(hessian_eigenvalues(surface, eta)).max(axis=1)
        curvature = np.minimum(curvature, np.quantile(curvature, self.cap))
        scores = distances.mean(axis=1) * curvature
        return np.asarray(np.where(distances[:, 0] < self.closest, 0.0, scores))

    def keep(self, scores: Array, *, rng: np.random.Generator) -> np.ndarray:
        """Choose points by their scores (n,): a mask (n,)."""
        kept = np.zeros(len(scores), dtype=bool)
        if not len(scores):
            return kept
        bound = scores.mean() if self.threshold == "mean" else scores.max()
        thresholds = rng.uniform(0, bound, size=len(scores))
        last = 0.0
        for i, threshold in zip(rng.permutation(len(scores)), thresholds, strict=True):
            if scores[i] > 0 and (scores[i] > last or scores[i] > threshold):
                kept[i], last = True, scores[i]
        return kept
