"""Problem: a linear regression with Gaussian prior, solved for given precisions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg.lapack import dtpqrt, dtrtri

from ase_hal.prediction import Array
from ase_hal.regression.factor import Factor
from ase_hal.regression.posterior import Posterior

_PANEL = 32


class Solution(NamedTuple):
    r"""Posterior of v, where ``c_i = deviation_i v_i`` and v has a unit normal prior.

    Attributes
    ----------
    root : (n, n) array
        Upper triangular; the covariance of v is ``root @ root.T``.
    mean : (n,) array
    log_evidence : float
    """

    root: Array
    mean: Array
    log_evidence: float


@dataclass(frozen=True, eq=False)
class Problem:
    r"""Reduced observations, in units of the prior: unknowns are u_i = c_i / scale_i.

    Attributes
    ----------
    triangle : (n + 1, n + 1) array
        Upper triangular factor of [Psi diag(scale) | y].
    scale : (n,) array
        Standard deviations of the prior relative to each other.
    n_observations : float
        Number of rows behind the triangle.
    noise_bound : float
        lambda is not to be larger, because labels are known to be no more accurate.
    """

    triangle: Array
    scale: Array
    n_observations: float
    noise_bound: float = np.inf

    @classmethod
    def from_factor(
        cls,
        factor: Factor,
        combination: ArrayLike | None,
        scale: ArrayLike | None,
        noise_bound: float = np.inf,
    ) -> Problem:
        """Take the targets ``Y @ combination`` of a factor, and check ``scale`` and the bound."""
        if not noise_bound > 0:
            raise ValueError(f"a bound on lambda is positive, got {noise_bound}")
        n = factor.n_basis
        widths = np.ones(n) if scale is None else np.asarray(scale, dtype=float)
        if widths.shape != (n,):
            raise ValueError(f"scale must have shape ({n},), got {widths.shape}")
        if not (np.isfinite(widths) & (widths > 0)).all():
            worst = int(np.argmin(np.isfinite(widths) & (widths > 0)))
            raise ValueError(f"scale must be positive and finite, entry {worst} is {widths[worst]}")
        R, z, rss = factor.reduced(combination)
        triangle = np.zeros((n + 1, n + 1), order="F")
        triangle[:n, :n] = R * widths
        triangle[:n, n] = z
        triangle[n, n] = np.sqrt(rss)
        return cls(triangle, widths, factor.n_observations, noise_bound)

    @property
    def rows(self) -> Array:
        """R diag(scale), (n + 1, n); its last row is zero."""
        return self.triangle[:, :-1]

    @property
    def target(self) -> Array:
        """z and, last, the square root of rss, (n + 1,)."""
        return self.triangle[:, -1]

    @property
    def seen(self) -> np.ndarray:
        """Functions that occur in the observations, (n,) of bool."""
        return np.asarray(self.rows.any(axis=0))

    @property
    def largest_noise_precision(self) -> float:
        """Precision of noise at the level of the rounding errors of y, or the bound."""
        rounding = len(self.scale) * np.finfo(float).eps * np.linalg.norm(self.target)
        resolved = np.inf if rounding == 0 else self.n_observations / rounding**2
        return float(min(resolved, self.noise_bound))

    def subset(self, functions: np.ndarray) -> Problem:
        """The problem of some of its functions, given by a mask or by indices."""
        columns = np.append(np.arange(len(self.scale))[functions], len(self.scale))
        triangle = np.linalg.qr(self.triangle[:, columns], mode="r")
        return Problem(
            np.asfortranarray(triangle),
            self.scale[functions],
            self.n_observations,
            self.noise_bound,
        )

    def solve(self, noise_precision: float, deviation: Array) -> Solution:
        r"""Solve for given precisions without forming normal equations.

        Parameters
        ----------
        noise_precision : float
            lambda.
        deviation : (n,) array
            Prior standard deviation of every u_i; 0 leaves a function out.

        Notes
        -----
        QR of ``[sqrt(lambda) R D; 1]``, both triangular, costs about n^3 operations together
        with the inverse of its factor T. No diagonal element of T is below 1, so neither step
        can fail. ln p(y) = (N ln(lambda / 2 pi) - ln det T^T T - rho^2) / 2, where rho is the
        last diagonal element when y is carried along.
        """
        n = len(deviation)
        constant = 0.5 * self.n_observations * np.log(noise_precision / (2 * np.pi))
        if n == 0:
            misfit = noise_precision * float(self.target @ self.target)
            return Solution(np.zeros((0, 0)), np.zeros(0), constant - 0.5 * misfit)
        folded, _, _, _ = dtpqrt(
            n,
            min(_PANEL, n + 1),
            np.asfortranarray(self.triangle * (np.sqrt(noise_precision) * np.append(deviation, 1))),
            np.eye(n, n + 1, order="F"),
            overwrite_a=True,
            overwrite_b=True,
        )
        # With a positive diagonal the factor is unique: samples drawn with one generator
        # then depend continuously on the data.
        folded *= np.where(np.diag(folded) < 0, -1.0, 1.0)[:, None]
        root, _ = dtrtri(np.asfortranarray(folded[:n, :n]), overwrite_c=True)
        determinant = np.log(np.diag(folded)[:n]).sum()
        return Solution(
            root, root @ folded[:n, n], float(constant - determinant - 0.5 * folded[n, n] ** 2)
        )

    def posterior(
        self,
        noise_precision: float,
        prior_precision: Array,
        *,
        iterations: int = 0,
        converged: bool = True,
    ) -> Posterior:
        """Eq. 22 and Eq. 27 for given lambda and (n,) precisions of u; infinite ones prune."""
        active = np.isfinite(prior_precision)
        part = self if active.all() else self.subset(active)
        deviation = prior_precision[active] ** -0.5
        solution = part.solve(noise_precision, deviation)
        amplitude = part.scale * deviation
        mean, root = np.zeros(len(active)), np.zeros((len(active), len(amplitude)))
        mean[active] = amplitude * solution.mean
        root[active] = amplitude[:, None] * solution.root
        return Posterior(
            mean=mean,
            covariance_factor=root,
            noise_precision=float(noise_precision),
            prior_precision=prior_precision / self.scale**2,
            log_evidence=solution.log_evidence,
            n_observations=self.n_observations,
            iterations=iterations,
            converged=converged,
        )


def positive(name: str, value: float, *, zero: bool = False) -> float:
    """Check a number that must be positive (or zero, if allowed) and finite."""
    if not np.isfinite(value) or value < 0 or (value == 0 and not zero):
        allowed = "non-negative" if zero else "positive"
        raise ValueError(f"{name} must be {allowed} and finite, got {value}")
    return float(value)


def checked_prior(prior_precision: ArrayLike, n_basis: int) -> Array:
    """Precisions as an array (n,) of positive numbers, infinite ones included."""
    given = np.asarray(prior_precision, dtype=float)
    if given.shape not in ((), (n_basis,)):
        raise ValueError(
            f"prior_precision must be a number or have shape ({n_basis},), got {given.shape}"
        )
    alpha = np.broadcast_to(given, (n_basis,))
    if not (alpha > 0).all():
        worst = int(np.argmin(alpha > 0))
        raise ValueError(f"prior_precision must be positive, entry {worst} is {alpha[worst]}")
    return alpha


def require_observations(problem: Problem, hyperprior: float) -> None:
    """Refuse data that determine no precision at all."""
    if problem.n_observations == 0:
        raise ValueError("no observations: nothing determines the precisions")
    if not problem.seen.any():
        raise ValueError("every row is zero: nothing determines the precisions")
    if hyperprior == 0 and not problem.target.any():
        raise ValueError("every target is zero: without a hyperprior nothing bounds the precisions")
