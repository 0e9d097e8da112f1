"""Automatic relevance determination: a prior precision for every function, pruning."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ase_hal.prediction import Array
from ase_hal.regression.evidence import most_probable
from ase_hal.regression.factor import Factor
from ase_hal.regression.posterior import Posterior
from ase_hal.regression.problem import Problem, checked_prior, positive, require_observations

logger = logging.getLogger(__name__)

_SMALLEST = np.finfo(float).eps  # a gamma_i below it is rounding
_WORTH_SHRINKING = 0.9


def automatic_relevance(
    factor: Factor,
    *,
    threshold: float,
    combination: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    hyperprior: float = 1e-6,
    largest_noise_precision: float = np.inf,
    start: tuple[float, ArrayLike] | None = None,
    tolerance: float = 1e-2,
    max_iterations: int = 1000,
) -> Posterior:
    r"""Automatic relevance determination: sparse Bayesian regression.

    van der Oord et al. 2022, section III.E. Every coefficient has a prior precision of its own,
    ``c_i ~ N(0, scale_i^2 / alpha_i)``, and the evidence is maximised over all of them and
    lambda. A function whose alpha_i reaches the threshold is pruned for good: those are kept
    for which ``alpha_i < threshold``.

    Parameters
    ----------
    factor : Factor
        The observations; lambda is the precision of weighted residuals (see
        `Posterior.noise_precision`).
    threshold : float
        alpha'. It is relative to the functions as they are scaled, so values from the
        literature do not transfer: look at `relevance_path` instead. The hyperprior keeps
        alpha_i below 1 / 2h + 1, beyond which no threshold prunes anything.
    combination, scale, hyperprior
        As for `bayesian_ridge`.
    largest_noise_precision : float
        A bound on lambda, from the accuracy of the labels.
    start : (float, float or (n,) array), optional
        lambda and alpha (relative to ``scale``; infinite for functions left out) to start from.
        By default those of `bayesian_ridge`. The evidence of ARD has many local maxima, and
        this start led to clearly higher ones, and to lower test errors, than scikit-learn's
        ``(1 / var(y), 1)``, whose overestimate of the noise prunes functions that matter.
    tolerance : float
        Converged when nothing was pruned and no coefficient moved by more than this part of
        its posterior standard deviation.
    max_iterations : int
        Give up after so many steps, with a warning and ``converged=False``.

    Returns
    -------
    Posterior
        ``active`` says which functions were kept. Pruned ones have zero mean and variance and
        an infinite ``prior_precision``. Functions that never occur in the observations keep
        the prior of ``start``: the data say nothing about their relevance.

    Notes
    -----
    Updates are MacKay's (Tipping 2001), as in scikit-learn's ``ARDRegression``:
    ``alpha_i = (gamma_i + 2h) / (c_i^2 + 2h)`` with ``gamma_i = 1 - alpha_i Sigma_ii``, and
    ``lambda = (N - sum gamma + 2h) / (rss + 2h)``, with the true number of observations. An
    iteration costs about n^3 operations for the n functions that are left and works on the
    triangular factor, not on its square.
    """
    (posterior,) = relevance_path(
        factor,
        (threshold,),
        combination=combination,
        scale=scale,
        hyperprior=hyperprior,
        largest_noise_precision=largest_noise_precision,
        start=start,
        tolerance=tolerance,
        max_iterations=max_iterations,
    )
    return posterior


def relevance_path(
    factor: Factor,
    thresholds: Sequence[float],
    *,
    combination: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    hyperprior: float = 1e-6,
    largest_noise_precision: float = np.inf,
    start: tuple[float, ArrayLike] | None = None,
    tolerance: float = 1e-2,
    max_iterations: int = 1000,
) -> tuple[Posterior, ...]:
    """Fits of growing sparsity for several thresholds, as in Table II of van der Oord et al.

    The fit of the largest threshold comes first and each goes on from the one before it. That
    is cheaper than separate calls of `automatic_relevance` and usually better: a function is
    pruned when the others have settled, not while they move. The models are nested.

    Parameters
    ----------
    factor, combination, scale, hyperprior, start, tolerance, max_iterations
        As for `automatic_relevance`; ``start`` is that of the largest threshold.
    thresholds : sequence of float
        alpha', in any order.
    largest_noise_precision : float
        As for `automatic_relevance`.

    Returns
    -------
    tuple of Posterior
        In the order of ``thresholds``.
    """
    if bad := [threshold for threshold in thresholds if not threshold > 0]:
        raise ValueError(f"a threshold is a positive precision, got {bad[0]}")
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, got {max_iterations}")
    problem = Problem.from_factor(factor, combination, scale, largest_noise_precision)
    h = positive("hyperprior", hyperprior, zero=True)
    search = _Search(problem, h, positive("tolerance", tolerance), max_iterations)
    lam, alpha = _starting_point(problem, h, start)
    lam = min(lam, problem.noise_bound)
    fits = {}
    for threshold in sorted(set(thresholds), reverse=True):
        lam, alpha, iterations, converged = search.run(lam, alpha, threshold)
        fits[threshold] = problem.posterior(lam, alpha, iterations=iterations, converged=converged)
    return tuple(fits[threshold] for threshold in thresholds)


def _starting_point(
    problem: Problem, hyperprior: float, start: tuple[float, ArrayLike] | None
) -> tuple[float, Array]:
    require_observations(problem, hyperprior)
    n = len(problem.scale)
    if start is None:
        lam, alpha, _ = most_probable(problem, hyperprior)
        return lam, np.full(n, alpha)
    return positive("the noise precision to start from", start[0]), checked_prior(start[1], n)


class _Step(NamedTuple):
    """One update of lambda and alpha, and the posterior it was computed from."""

    noise_precision: float
    prior_precision: Array
    mean: Array
    deviation: Array

    def near(self, mean: Array, tolerance: float) -> bool:
        """Whether the posterior mean is where it was, measured by its standard deviation."""
        return bool((np.abs(self.mean - mean) <= tolerance * self.deviation).all())


@dataclass(frozen=True)
class _Search:
    problem: Problem
    hyperprior: float
    tolerance: float
    max_iterations: int

    def run(self, lam: float, alpha: Array, threshold: float) -> tuple[float, Array, int, bool]:
        """Update until nothing moves: lambda, alpha (n,), iterations, converged.

        Pruned functions have an infinite alpha. They remain as empty columns of the triangle
        until there are enough of them to make its reduction worthwhile.
        """
        alpha = alpha.copy()
        columns = np.flatnonzero(self.problem.seen & np.isfinite(alpha))
        part, mean = self.problem.subset(columns), None
        for iteration in range(1, self.max_iterations + 1):
            before = np.isfinite(alpha[columns]).sum()
            step = self._step(part, lam, alpha[columns])
            still = mean is not None and step.near(mean, self.tolerance)
            lam = step.noise_precision
            alpha[columns] = np.where(
                step.prior_precision < threshold, step.prior_precision, np.inf
            )
            left = np.isfinite(alpha[columns])
            if still and left.sum() == before:
                return lam, alpha, iteration, True
            mean = np.where(left, step.mean, 0)
            if left.sum() < _WORTH_SHRINKING * len(left):
                columns, mean, part = columns[left], mean[left], part.subset(left)
        logger.warning(
            "automatic relevance determination has not converged in %d iterations "
            "(threshold %g, %d of %d functions left)",
            self.max_iterations,
            threshold,
            np.isfinite(alpha).sum(),
            len(alpha),
        )
        return lam, alpha, self.max_iterations, False

    def _step(self, part: Problem, lam: float, alpha: Array) -> _Step:
        """MacKay's update of both precisions."""
        width = alpha**-0.5
        solution = part.solve(lam, width)
        variance = (solution.root**2).sum(axis=1)
        mean = width * solution.mean
        live = np.isfinite(alpha)
        determined = np.where(live, np.clip(1 - variance, _SMALLEST, 1), 0)
        residual = part.target - part.rows @ mean
        h, n = self.hyperprior, part.n_observations
        # Without a hyperprior a coefficient of zero is irrelevant and a perfect fit noiseless.
        with np.errstate(divide="ignore"):
            precision = np.full(len(alpha), np.inf)
            precision[live] = (determined[live] + 2 * h) / (mean[live] ** 2 + 2 * h)
            noisy = max(n - determined.sum(), _SMALLEST)
            noise = np.divide(noisy + 2 * h, residual @ residual + 2 * h)
        noise = min(float(noise), part.largest_noise_precision)
        return _Step(noise, precision, mean, width * np.sqrt(variance))
