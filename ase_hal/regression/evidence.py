"""The evidence of one prior precision and one noise precision, and where it is largest."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import svd
from scipy.optimize import brentq

from ase_hal.prediction import Array
from ase_hal.regression.factor import Factor
from ase_hal.regression.problem import Problem, checked_prior, positive, require_observations

logger = logging.getLogger(__name__)

_POINTS_PER_DECADE = 10
_LEVEL = 0.01  # a difference of log evidences that means nothing


def log_evidence(
    factor: Factor,
    *,
    noise_precision: float,
    prior_precision: ArrayLike,
    combination: ArrayLike | None = None,
    scale: ArrayLike | None = None,
) -> float:
    r"""ln p(y | alpha, lambda), van der Oord et al. 2022, Eq. 27.

    Parameters
    ----------
    factor : Factor
        The observations.
    noise_precision : float
        lambda.
    prior_precision : float or (n,) array
        alpha, relative to ``scale``; infinite for a function that is left out.
    combination, scale
        As for `bayesian_ridge`.

    Notes
    -----
    It belongs to the weighted rows: multiply N rows and their targets by w, and at the
    precision lambda / w^2 it is lower by N ln w.
    """
    problem = Problem.from_factor(factor, combination, scale)
    alpha = checked_prior(prior_precision, factor.n_basis)
    return problem.solve(positive("noise_precision", noise_precision), alpha**-0.5).log_evidence


class Terms(NamedTuple):
    """What the evidence is made of at a given alpha / lambda."""

    determined: Array  # gamma, the number of well-determined coefficients
    norm: Array  # |u|^2 of the mean
    residual: Array  # |y - Psi c|^2 at the mean
    log_determinant: Array  # ln det(1 + lambda Psi^T Psi / alpha)


@dataclass(frozen=True, eq=False)
class Spectrum:
    r"""The reduced problem in its singular basis, where the evidence costs O(n) a point.

    Attributes
    ----------
    singular : (n,) array
        Singular values s of R, largest first; those below n eps s_max, which are rounding
        errors, are 0.
    projections : (n,) array
        b = U^T z, the targets along the left singular vectors.
    rss : float
        The part of ``|y|^2`` that no coefficients can explain.
    n_observations : float
        N.
    """

    singular: Array
    projections: Array
    rss: float
    n_observations: float

    @classmethod
    def from_problem(cls, problem: Problem) -> Spectrum:
        """The singular value decomposition: the most expensive step of a fit."""
        left, singular, _ = svd(problem.rows[:-1], check_finite=False, lapack_driver="gesdd")
        singular[singular < len(singular) * np.finfo(float).eps * singular[0]] = 0.0
        rss = float(problem.target[-1] ** 2)
        return cls(singular, left.T @ problem.target[:-1], rss, problem.n_observations)

    def terms(self, ratio: ArrayLike) -> Terms:
        """Evaluate at values of alpha / lambda of any shape."""
        eta = np.asarray(ratio, dtype=float)[..., None]
        s, b = self.singular, self.projections
        damping = 1 / (eta + s**2)
        return Terms(
            (s**2 * damping).sum(axis=-1),
            ((s * b * damping) ** 2).sum(axis=-1),
            ((eta * b * damping) ** 2).sum(axis=-1) + self.rss,
            np.log1p(s**2 / eta).sum(axis=-1),
        )

    def log_evidence(self, noise_precision: ArrayLike, prior_precision: ArrayLike) -> Array:
        """ln p(y | alpha, lambda), Eq. 27, for arrays of one shape."""
        lam, alpha = np.asarray(noise_precision), np.asarray(prior_precision)
        terms = self.terms(alpha / lam)
        return 0.5 * (
            self.n_observations * np.log(lam / (2 * np.pi))
            - lam * terms.residual
            - alpha * terms.norm
            - terms.log_determinant
        )


@dataclass(frozen=True)
class Search:
    r"""Search for the largest evidence over the precisions that are not given.

    At fixed eta = alpha / lambda the best lambda has a closed form, which leaves one variable.
    A grid over all of its meaningful range finds every maximum and the root of the derivative
    polishes each, so that the result depends on no starting point and is converged to rounding.
    The stationary conditions are MacKay's, with h for the Gamma priors of both precisions::

        alpha (|u|^2 + 2h) = gamma + 2h
        lambda (rss + 2h) = N - gamma + 2h
    """

    spectrum: Spectrum
    hyperprior: float
    largest_noise_precision: float
    noise_precision: float | None = None
    prior_precision: float | None = None

    def precisions(self, eta: Array, terms: Terms) -> tuple[Array, Array]:
        """The best lambda and alpha at given alpha / lambda."""
        if self.noise_precision is not None:
            lam = np.full_like(eta, self.noise_precision)
        elif self.prior_precision is not None:
            lam = self.prior_precision / eta
        else:
            h, misfit = self.hyperprior, terms.residual + eta * terms.norm
            lam = (self.spectrum.n_observations + 4 * h) / (misfit + 2 * h * (1 + eta))
            lam = np.minimum(lam, self.largest_noise_precision)
        return lam, eta * lam

    def slope(self, log_eta: ArrayLike) -> Array:
        """Twice the derivative of the objective by ln eta."""
        h, eta = self.hyperprior, np.exp(log_eta)
        terms = self.spectrum.terms(eta)
        lam, alpha = self.precisions(eta, terms)
        if self.prior_precision is None:
            return terms.determined + 2 * h - alpha * (terms.norm + 2 * h)
        noisy = self.spectrum.n_observations - terms.determined
        return lam * (terms.residual + 2 * h) - (noisy + 2 * h)

    def objective(self, log_eta: Array) -> Array:
        """The log evidence with the Gamma priors of the precisions that are not given."""
        h, eta = self.hyperprior, np.exp(log_eta)
        lam, alpha = self.precisions(eta, self.spectrum.terms(eta))
        value = self.spectrum.log_evidence(lam, alpha)
        if self.noise_precision is None:
            value = value + h * (np.log(lam) - lam)
        if self.prior_precision is None:
            value = value + h * (np.log(alpha) - alpha)
        return value

    def grid(self) -> Array:
        """ln eta from where the prior does nothing to where it allows nothing.

        The first is the square of the smallest singular value that can be told from 0. At the
        other end the functions can explain no more than a part eps of the noise.
        """
        eps = np.finfo(float).eps
        low, high = 2 * np.log(len(self.spectrum.singular) * eps), -np.log(eps)
        points = int((high - low) / np.log(10) * _POINTS_PER_DECADE)
        return np.linspace(low, high, points) + 2 * np.log(self.spectrum.singular[0])

    def run(self) -> tuple[float, float, int]:
        """lambda, alpha and the number of steps; says so where there is no maximum."""
        grid = self.grid()
        slopes = self.slope(grid)
        candidates, steps = [grid[0], grid[-1]], 0
        for k in np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0)):
            root, result = brentq(
                self.slope, grid[k], grid[k + 1], xtol=1e-14, rtol=1e-14, full_output=True
            )
            candidates.append(root)
            steps += result.iterations
        values = self.objective(np.array(candidates))
        # Where the evidence levels off as lambda grows, roots on the plateau are rounding errors.
        best = 0 if values[0] > values.max() - _LEVEL else int(np.argmax(values))
        eta = np.exp(np.array(candidates[best]))
        lam, alpha = self.precisions(eta, self.spectrum.terms(eta))
        if best < 2:
            logger.warning(
                "the evidence of %d observations of %d coefficients has no maximum; the "
                "precisions of noise and prior are held at %.3g and %.3g",
                self.spectrum.n_observations,
                len(self.spectrum.singular),
                lam,
                alpha,
            )
        if self.prior_precision is not None:  # the evidence falls from its maximum to the bound
            lam = np.minimum(lam, self.largest_noise_precision)
        return float(lam), float(alpha), steps


def most_probable(
    problem: Problem,
    hyperprior: float,
    noise_precision: float | None = None,
    prior_precision: float | None = None,
) -> tuple[float, float, int]:
    """lambda and alpha of the largest evidence, and the number of steps it took to find them."""
    require_observations(problem, hyperprior)
    search = Search(
        Spectrum.from_problem(problem),
        hyperprior,
        problem.largest_noise_precision,
        noise_precision,
        prior_precision,
    )
    return search.run()
