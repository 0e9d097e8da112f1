"""Bayesian ridge regression: one prior precision, found by maximising the evidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ase_hal.regression.evidence import most_probable
from ase_hal.regression.factor import Factor
from ase_hal.regression.posterior import Posterior
from ase_hal.regression.problem import Problem, positive


def bayesian_ridge(
    factor: Factor,
    *,
    combination: ArrayLike | None = None,
    scale: ArrayLike | None = None,
    hyperprior: float = 1e-6,
    largest_noise_precision: float = np.inf,
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
    largest_noise_precision : float
        A bound on the lambda that is searched for, from the accuracy of the labels.
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
    problem = Problem.from_factor(factor, combination, scale, largest_noise_precision)
    if lam is None or alpha is None:
        lam, alpha, iterations = most_probable(problem, h, lam, alpha)
    else:
        iterations = 0
    return problem.posterior(lam, np.full(factor.n_basis, alpha), iterations=iterations)
