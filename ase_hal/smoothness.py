"""Smoothness: a prior that expects less of functions of higher degree and correlation order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_hal.ace.basis import ACEBasis
from ase_hal.prediction import Array


@dataclass(frozen=True)
class Smoothness:
    r"""Prior standard deviations of the coefficients relative to each other.

    .. math:: s_i \propto D_i^{-p} \, q^{-(\nu_i - 1)}, \qquad
              D_i = \sum_t n_t + w \sum_t l_t

    for a function of correlation order nu with radial indices n and angular indices l. The
    isotropic prior of van der Oord et al. 2022, Eq. 23, is p = 0, q = 1. The overall width stays
    what the evidence makes it.

    Attributes
    ----------
    degree : float
        p, how fast coefficients are expected to fall with the total degree D.
    order : float
        q, how much smaller each further neighbour makes them.
    angular_weight : float
        w, how much an angular index counts against a radial one.
    """

    degree: float = 2.0
    order: float = 2.0
    angular_weight: float = 1.5

    def __post_init__(self) -> None:
        if not (self.degree >= 0 and self.order > 0 and self.angular_weight >= 0):
            raise ValueError(
                "smoothness needs degree >= 0, order > 0 and angular_weight >= 0, got "
                f"{self.degree}, {self.order} and {self.angular_weight}"
            )

    def scale(self, basis: ACEBasis) -> Array:
        """Relative standard deviations of the coefficients of a basis, (n,).

        Their geometric mean is 1, so that precisions, and with them the thresholds of automatic
        relevance determination, mean the same with and without a smoothness prior.
        """
        functions = basis.functions
        degree = np.array([sum(f.ns) + self.angular_weight * sum(f.ls) for f in functions])
        rank = np.array([f.rank for f in functions])
        log_scale = -self.degree * np.log(degree) - (rank - 1.0) * np.log(self.order)
        return np.asarray(np.exp(log_scale - log_scale.mean()), dtype=float)
