"""Bayesian ridge regression: one prior precision, found by maximising the evidence."""

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
from ase_hal.regression.posterior import Posterior
from ase_hal.regression.problem import Problem, checked_prior, positive, require_observations

logger = logging.getLogger(__name__)

_POINTS_PER_DECADE = 10


class Terms(NamedTuple):
    """What the evidence is made of at given alpha / lambda."""

    determined: Array  # gamma, the number of well-determined coefficients
    norm: Array  # |u|^2 of the mean
    residual: Array  # |y - Psi c|^2 at the mean
    log_determinant: Array  # ln det(1 + lambda Psi^T Psi / alpha)


class Optimum(NamedTuple):
    """Where the evidence is largest."""

    noise_precision: float
    prior_precision: float
    iterations: int
    interior: bool


@dataclass(frozen=True, eq=False)
class Spectrum:
    r"""The evidence as a function of lambda and alpha, at O(n) a point.

    Attributes
    ----------
    singular : (n,) array
        Singular values s of R, largest first.
    projections : (n,) array
        b = U^T z, the target along the left singular vectors.
    rss : float
        The part of ``|y|^2`` that no coefficients can explain.
    n_observations : int
        N.
    largest_noise_precision : float
        Bound of lambda.
    """

    singular: Array
    projections: Array
    rss: float
    n_observations: int
    largest_noise_precision: float

    @classmethod
    def from_problem(cls, problem: Problem) -> Spectrum:
        """The singular value decomposition: the one O(n^3) step of a search."""
        left, singular, _ = svd(
            problem.rows[:-1], overwrite_a=False, check_finite=False, lapack_driver="gesdd"
        )
        return cls(
            singular,
            left.T @ problem.target[:-1],
            float(problem.target[-1] ** 2),
            problem.n_observations,
            problem.largest_noise_precision,
        )

    def terms(self, ratio: ArrayLike) -> Terms:
        """Evaluate at one or many values of ``alpha / lambda``; ratio (...) gives arrays (...)."""
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
        """ln p(y | alpha, lambda), Eq. 27, for scalars or arrays of one shape."""
        lam, alpha = np.asarray(noise_precision), np.asarray(prior_precision)
        terms = self.terms(alpha / lam)
        return 0.5 * (
            self.n_observations * np.log(lam / (2 * np.pi))
            - lam * terms.residual
            - alpha * terms.norm
            - terms.log_determinant
        )

    def maximise(
        self,
        *,
        hyperprior: float,
        noise_precision: float | None = None,
        prior_precision: float | None = None,
    ) -> Optimum:
        r"""Find the largest evidence over the precisions that are not given.

        Notes
        -----
        At fixed eta = alpha / lambda the best lambda is known in closed form, which leaves one
        variable. A grid over all of its meaningful range finds every local maximum, and the
        root of the derivative polishes each: the result depends on no starting point and is
        converged to rounding. Its stationary conditions are MacKay's,
        ``alpha (|c|^2 + 2h) = gamma + 2h`` and ``lambda (rss + 2h) = N - gamma + 2h``.
        """
        h, n = hyperprior, self.n_observations

        def precisions(eta: Array, terms: Terms) -> tuple[Array, Array]:
            if noise_precision is not None:
                lam = np.full_like(eta, noise_precision)
            elif prior_precision is not None:
                lam = prior_precision / eta
            else:
                misfit = terms.residual + eta * terms.norm
                lam = (n + 4 * h) / (misfit + 2 * h * (1 + eta))
                lam = np.minimum(lam, self.largest_noise_precision)
            return lam, eta * lam

        def slope(log_eta: ArrayLike) -> Array:
            """Twice the derivative of the objective by ln eta."""
            eta = np.exp(log_eta)
            terms = self.terms(eta)
            lam, alpha = precisions(eta, terms)
            if prior_precision is None:
                return terms.determined + 2 * h - alpha * (terms.norm + 2 * h)
            return lam * (terms.residual + 2 * h) - (n - terms.determined + 2 * h)

        def objective(log_eta: Array) -> Array:
            eta = np.exp(log_eta)
            lam, alpha = precisions(eta, self.terms(eta))
            value = self.log_evidence(lam, alpha)
            value += 0.0 if noise_precision is not None else h * (np.log(lam) - lam)
            return value + (0.0 if prior_precision is not None else h * (np.log(alpha) - alpha))

        grid = self._grid()
        slopes = slope(grid)
        candidates, iterations = [grid[0], grid[-1]], 0
        for k in np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0)):
            root, result = brentq(
                slope, grid[k], grid[k + 1], xtol=1e-14, rtol=1e-14, full_output=True
            )
            candidates.append(root)
            iterations += result.function_calls
        values = objective(np.array(candidates))
        best = int(np.argmax(values))
        eta = np.exp(np.array(candidates[best]))
        lam, alpha = precisions(eta, self.terms(eta))
        return Optimum(float(lam), float(alpha), iterations, best > 1)

    def _grid(self) -> Array:
        """ln eta from where the smallest real singular value rules to where the largest does not.

        Singular values below n eps s_max are rounding errors, and a prior that lets the
        functions explain less than a part eps of the noise is as good as none at all.
        """
        eps = np.finfo(float).eps
        low = 2 * np.log(len(self.singular) * eps)
        high = -np.log(eps)
        points = int((high - low) / np.log(10) * _POINTS_PER_DECADE)
        return np.linspace(low, high, points) + 2 * np.log(self.singular[0])


def bayesian_ridge(
    factor: Factor,
    *,
    combination: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    hyperprior: float = 1e-6,
    noise_precision: float | None = None,
    prior_precision: float | None = None,
) -> Posterior:
    r"""Bayesian ridge regression by evidence maximisation.

    van der Oord et al. 2022, section III.D. ``y = Psi c + noise`` with noise of precision
    lambda and the prior ``c_i ~ N(0, scale_i^2 / alpha)``; alpha and lambda are those of the
    largest evidence (Eq. 27) unless they are given.

    Parameters
    ----------
    factor : Factor
        The observations. Their rows carry weights, so lambda is the precision of weighted
        residuals (see `Posterior.noise_precision`).
    combination : (m,) array, optional
        Targets are ``Y @ combination``; needed where the factor holds several.
    scale : (n,) array, optional
        Prior standard deviations of the coefficients relative to each other, such as one that
        decays with the degree of a function (a smoothness prior). Default 1.
    hyperprior : float
        h, shape and rate of the Gamma priors of both alpha and lambda. The default is
        scikit-learn's and does not matter to real data. It has the units of y^2 and keeps
        lambda below about N / 2h and alpha below 1 / 2h; 0 is allowed.
    noise_precision, prior_precision : float, optional
        Fix lambda, alpha or both. With both fixed this is a plain ridge with the penalty
        alpha / lambda, several times faster because no singular values are needed.

    Returns
    -------
    Posterior
        Its prior precisions are ``alpha / scale^2``. A function that never occurs in the
        observations keeps its prior.

    Raises
    ------
    ValueError
        Without observations, or where every row is zero, unless both precisions are given;
        where y is zero and there is no hyperprior either: nothing then bounds the precisions.

    Notes
    -----
    The stationary point is that of scikit-learn's ``BayesianRidge(fit_intercept=False)``, whose
    ``alpha_`` is our lambda and whose ``lambda_`` is our alpha, but the largest one and
    converged to rounding errors.

    Data that the model reproduces exactly (with no more observations than functions, for
    example) have no largest evidence: it may grow with lambda for ever. Then the hyperprior
    bounds lambda, and where it is 0 the rounding errors do: the noise is never taken to be
    smaller than ``n eps`` times the root mean square of y, nor ``alpha / lambda`` smaller than
    ``(n eps s_max)^2``, with s_max the largest singular value. A bound that is met is logged.
    """
    h = positive("hyperprior", hyperprior, zero=True)
    lam, alpha = (
        None if value is None else positive(name, value)
        for name, value in (
            ("noise_precision", noise_precision),
            ("prior_precision", prior_precision),
        )
    )
    problem = Problem.from_factor(factor, combination, scale)
    if lam is None or alpha is None:
        lam, alpha, iterations = most_probable(problem, h, lam, alpha)
    else:
        iterations = 0
    return problem.posterior(lam, np.full(factor.n_basis, alpha), iterations=iterations)


def most_probable(
    problem: Problem,
    hyperprior: float,
    noise_precision: float | None = None,
    prior_precision: float | None = None,
) -> tuple[float, float, int]:
    """lambda and alpha of the largest evidence, and the number of evaluations it took."""
    require_observations(problem, hyperprior)
    optimum = Spectrum.from_problem(problem).maximise(
        hyperprior=hyperprior, noise_precision=noise_precision, prior_precision=prior_precision
    )
    if not optimum.interior:
        logger.warning(
            "the evidence has no maximum for these %d observations of %d coefficients; "
            "noise and prior precision are held at %.3g and %.3g",
            problem.n_observations,
            len(problem.scale),
            optimum.noise_precision,
            optimum.prior_precision,
        )
    return optimum.noise_precision, optimum.prior_precision, optimum.iterations


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
    Weights change it: N rows multiplied by w lower it by N ln w at the precision lambda / w^2.
    """
    problem = Problem.from_factor(factor, combination, scale)
    alpha = checked_prior(prior_precision, factor.n_basis)
    return problem.solve(positive("noise_precision", noise_precision), alpha**-0.5).log_evidence
