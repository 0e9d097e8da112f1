"""Posterior: a Gaussian over the coefficients of a linear model."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from ase_hal.prediction import Array


@dataclass(frozen=True, eq=False)
class Posterior:
    r"""Gaussian posterior N(mean, covariance) of n coefficients.

    van der Oord et al. 2022, Eq. 22: ``covariance = (A + lambda Psi^T Psi)^-1`` and
    ``mean = lambda covariance Psi^T y`` with ``A = diag(alpha)``.

    Attributes
    ----------
    mean : (n,) array
        c-bar. Units are those of y over those of Psi: eV where the functions are dimensionless.
    covariance_factor : (n, r) array
        F with ``covariance = F F^T``. ``|F^T B|^2`` is the variance of ``B @ c``, free of the
        cancellation that can make ``B^T covariance B`` negative. Rows of pruned functions are 0.
    noise_precision : float
        lambda. It is the precision of *weighted* residuals: a row of Psi and y that was
        multiplied by w has the noise variance ``1 / (lambda w^2)`` in its own units. For a
        structure of N atoms whose energy row carries ``w_E / sqrt(N)`` the variance of Eq. 3 is
        ``N / (lambda w_E^2) + B^T covariance B``.
    prior_precision : (n,) array
        alpha_i, the precision of the prior of each coefficient; infinite where the function was
        pruned. All are equal for a Bayesian ridge without a ``scale``.
    log_evidence : float
        ln p(y | alpha, lambda), Eq. 27, for the weighted rows.
    n_observations : float
        Number of rows.
    iterations : int
        Steps the search for alpha and lambda took; 0 where both were given.
    converged : bool
        Whether that search met its tolerance.
    """

    mean: Array = field(repr=False)
    covariance_factor: Array = field(repr=False)
    noise_precision: float
    prior_precision: Array = field(repr=False)
    log_evidence: float
    n_observations: float
    iterations: int = 0
    converged: bool = True

    def __post_init__(self) -> None:
        n = len(self.mean)
        if self.covariance_factor.ndim != 2 or len(self.covariance_factor) != n:
            raise ValueError(
                f"covariance_factor must have shape ({n}, r), got {self.covariance_factor.shape}"
            )
        if self.prior_precision.shape != (n,):
            raise ValueError(
                f"prior_precision must have shape ({n},), got {self.prior_precision.shape}"
            )

    @cached_property
    def covariance(self) -> Array:
        """Sigma, (n, n)."""
        return self.covariance_factor @ self.covariance_factor.T

    def __getstate__(self) -> dict[str, object]:
        # The covariance follows from its factor; walkers need not be sent both.
        return {name: value for name, value in self.__dict__.items() if name != "covariance"}

    @property
    def active(self) -> np.ndarray:
        """Functions that are part of the model, (n,) of bool."""
        return np.isfinite(self.prior_precision)

    def sample(self, size: int, *, rng: np.random.Generator) -> Array:
        """Draw coefficients from N(mean, covariance).

        Parameters
        ----------
        size : int
            Number of samples K.
        rng : numpy.random.Generator
            Source of randomness.

        Returns
        -------
        (K, n) array
            One sample in a row (Eq. 5); zero for pruned functions.
        """
        if size < 0:
            raise ValueError(f"the number of samples cannot be negative, got {size}")
        normal = rng.standard_normal((size, self.covariance_factor.shape[1]))
        return self.mean + normal @ self.covariance_factor.T

    def standard_deviation(self, rows: ArrayLike) -> Array:
        """Standard deviation of the model's value ``rows @ c``, without noise.

        Parameters
        ----------
        rows : (k, n) array
            Descriptors B, or rows of a design matrix.

        Returns
        -------
        (k,) array
        """
        rows = np.asarray(rows, dtype=float)
        if rows.ndim != 2 or rows.shape[1] != len(self.mean):
            raise ValueError(f"rows must have shape (k, {len(self.mean)}), got {rows.shape}")
        return np.linalg.norm(rows @ self.covariance_factor, axis=1)
