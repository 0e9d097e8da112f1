"""Regression: identities, exact arithmetic, scikit-learn, coverage."""

import logging
import pickle
from fractions import Fraction

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.stats import multivariate_normal

from ase_hal.regression import (
    Factor,
    Posterior,
    automatic_relevance,
    bayesian_ridge,
    log_evidence,
    relevance_path,
)
from ase_hal.regression.evidence import Spectrum
from ase_hal.regression.problem import Problem

linear_model = pytest.importorskip("sklearn.linear_model")


def problem(seed, n_obs, n, *, noise=0.1, decay=1.0, relevant=1.0):
    """Rows with column norms over ``decay`` decades, and targets with noise."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n_obs, n)) * np.logspace(0, -decay, n)
    coefficients = rng.normal(size=n) * (rng.random(n) < relevant)
    return rows, rows @ coefficients + noise * rng.normal(size=n_obs)


def factor_of(rows, targets):
    return Factor.empty(rows.shape[1]).update(rows, targets)


def gamma_priors(hyperprior, *precisions):
    """What scikit-learn adds to the log evidence."""
    return hyperprior * sum(np.sum(np.log(p) - p) for p in precisions)


class TestFactor:
    @pytest.mark.parametrize("n_obs", [1, 7, 11, 300, 700])
    def test_loss_is_kept_for_every_combination(self, n_obs):
        rng = np.random.default_rng(n_obs)
        rows, targets = rng.normal(size=(n_obs, 10)), rng.normal(size=(n_obs, 3))
        factor = Factor.empty(10, 3).update(rows, targets)
        for _ in range(5):
            combination, c = rng.normal(size=3), rng.normal(size=10)
            R, z, rss = factor.reduced(combination)
            loss = np.sum((targets @ combination - rows @ c) ** 2)
            assert np.sum((z - R @ c) ** 2) + rss == pytest.approx(loss, rel=1e-13)
            assert np.array_equal(R, np.triu(R))
        assert factor.n_observations == n_obs

    def test_blocks_make_no_difference_at_all(self):
        rng = np.random.default_rng(0)
        rows, targets = rng.normal(size=(1500, 40)), rng.normal(size=(1500, 2))
        at_once = Factor.empty(40, 2).update(rows, targets).reduced([1, -0.5])
        for size in (1, 97, 256, 700):
            factor = Factor.empty(40, 2)
            for start in range(0, 1500, size):
                stop = start + size
                factor = factor.update(rows[start:stop], targets[start:stop])
            assert all(
                np.array_equal(a, b)
                for a, b in zip(factor.reduced([1, -0.5]), at_once, strict=True)
            )

    def test_is_backward_stable_where_normal_equations_are_not(self):
        rows, targets = problem(1, 3000, 30, decay=10)
        R, z, _ = factor_of(rows, targets).reduced()
        norms = np.linalg.norm(rows, axis=0)
        error = (R.T @ R - rows.T @ rows) / np.outer(norms, norms)
        assert np.abs(error).max() < 2e-14
        # Column scaling commutes with QR, so small columns are as accurate as large ones.
        expected = np.linalg.lstsq(rows / norms, targets, rcond=None)[0]
        assert np.allclose(np.linalg.solve(R / norms, z), expected, rtol=1e-10)

    def test_size_is_independent_of_the_number_of_observations(self):
        rows, targets = problem(2, 600, 5)
        factor = Factor.empty(5)
        for _ in range(20):
            factor = factor.update(rows, targets)
        assert factor.n_observations == 12000
        assert factor.triangle.size == 36
        assert factor.pending.size < 256 * 6
        assert len(pickle.dumps(factor)) < 256 * 6 * 8 + 2000

    def test_update_changes_nothing_else(self):
        rows, targets = problem(3, 300, 5)
        rows_before, first = rows.copy(), factor_of(rows, targets)
        before = first.reduced()
        first.update(2 * rows, targets)
        assert all(np.array_equal(a, b) for a, b in zip(first.reduced(), before, strict=True))
        assert np.array_equal(rows, rows_before)
        assert first.n_observations == 300

    def test_no_rows(self):
        factor = Factor.empty(3).update(np.zeros((0, 3)), [])
        R, z, rss = factor.reduced()
        assert not R.any()
        assert not z.any()
        assert (rss, factor.n_observations) == (0, 0)

    def test_names_the_row_that_is_not_finite(self):
        rows, targets = problem(4, 20, 3)
        rows[13, 1] = np.nan
        with pytest.raises(ValueError, match=r"row 13 has a basis function .* \(1 of 20"):
            factor_of(rows, targets)
        rows[13, 1], targets[[5, 17]] = 0, np.inf
        with pytest.raises(ValueError, match=r"row 5 has a target .* \(2 of 20"):
            factor_of(rows, targets)

    @pytest.mark.parametrize(
        ("rows", "targets", "message"),
        [
            (np.ones((4, 2)), np.ones(4), r"rows must have shape \(k, 3\), got \(4, 2\)"),
            (np.ones(3), np.ones(1), r"rows must have shape \(k, 3\), got \(3,\)"),
            (np.ones((4, 3)), np.ones(5), r"must have shape \(4, 1\), got \(5, 1\)"),
            (np.ones((4, 3)), np.ones((4, 2)), r"must have shape \(4, 1\), got \(4, 2\)"),
        ],
    )
    def test_refuses_wrong_shapes(self, rows, targets, message):
        with pytest.raises(ValueError, match=message):
            Factor.empty(3).update(rows, targets)

    def test_refuses_wrong_sizes_and_combinations(self):
        with pytest.raises(ValueError, match="at least one basis function"):
            Factor.empty(0)
        factor = Factor.empty(2, 3)
        with pytest.raises(ValueError, match="3 targets: give the combination"):
            factor.reduced()
        for combination in ([1.0], [1, np.nan, 0]):
            with pytest.raises(ValueError, match="must be 3 finite numbers"):
                factor.reduced(combination)


def exact_posterior(rows, targets, noise_precision, prior_precision):
    """Eq. 22 in rational arithmetic: mean, covariance and ln det of its inverse."""
    to_exact = np.vectorize(Fraction, otypes=[object])
    rows, targets = to_exact(rows), to_exact(targets)
    lam, n = Fraction(noise_precision), rows.shape[1]
    matrix = lam * rows.T @ rows + np.diag(to_exact(prior_precision))
    system = np.concatenate([matrix, (lam * rows.T @ targets)[:, None], to_exact(np.eye(n))], 1)
    log_determinant = 0.0
    for k in range(n):
        log_determinant += np.log(float(system[k, k]))
        system[k] = system[k] / system[k, k]
        for i in range(n):
            if i != k:
                system[i] = system[i] - system[i, k] * system[k]
    solved = system.astype(float)
    return solved[:, n], solved[:, n + 1 :], log_determinant


class TestRidge:
    @pytest.mark.parametrize("decay", [0, 4, 9])
    def test_is_the_closed_form_in_exact_arithmetic(self, decay):
        rng = np.random.default_rng(decay)
        n, lam, alpha = 9, 1e2, 1e-12
        mixing = np.linalg.qr(rng.normal(size=(n, n)))[0]
        rows = rng.normal(size=(25, n)) * np.logspace(0, -decay, n) @ mixing
        targets = rng.normal(size=25)
        fit = bayesian_ridge(factor_of(rows, targets), noise_precision=lam, prior_precision=alpha)
        mean, covariance, log_determinant = exact_posterior(rows, targets, lam, np.full(n, alpha))
        std = np.sqrt(np.diag(covariance))
        # Condition numbers to 1e9, where normal equations are wrong in the first digit.
        assert np.abs((fit.mean - mean) / std).max() < 1e-7
        assert np.abs((fit.covariance - covariance) / np.outer(std, std)).max() < 1e-8
        residual = targets - rows @ mean
        evidence = 0.5 * (
            n * np.log(alpha) + 25 * np.log(lam) - lam * residual @ residual
            - alpha * mean @ mean - log_determinant - 25 * np.log(2 * np.pi)
        )  # fmt: skip
        assert fit.log_evidence == pytest.approx(evidence, rel=1e-9)

    @pytest.mark.parametrize(
        ("n_obs", "n", "decay"), [(300, 20, 1), (300, 20, 5), (60, 50, 0), (30, 80, 0), (40, 40, 1)]
    )
    @pytest.mark.parametrize("scaled", [False, True])
    def test_is_that_of_scikit_learn(self, n_obs, n, decay, scaled):
        rows, targets = problem(n_obs + n, n_obs, n, decay=decay, noise=0.5)
        scale = np.linspace(1, 0.1, n) if scaled else np.ones(n)
        fit = bayesian_ridge(factor_of(rows, targets), scale=scale if scaled else None)
        theirs = linear_model.BayesianRidge(
            fit_intercept=False, compute_score=True, tol=1e-13, max_iter=100_000
        ).fit(rows * scale, targets)
        assert fit.noise_precision == pytest.approx(theirs.alpha_, rel=1e-7)
        assert fit.prior_precision == pytest.approx(theirs.lambda_ / scale**2, rel=1e-7)
        assert np.allclose(fit.mean, scale * theirs.coef_, rtol=1e-6, atol=1e-8)
        covariance = theirs.sigma_ * np.outer(scale, scale)
        assert np.allclose(fit.covariance, covariance, rtol=1e-6, atol=1e-8 * covariance.max())
        score = fit.log_evidence + gamma_priors(1e-6, theirs.alpha_, theirs.lambda_)
        assert score == pytest.approx(theirs.scores_[-1], abs=1e-7)

    @pytest.mark.parametrize(("n_obs", "n"), [(40, 6), (5, 8)])
    def test_evidence_is_the_density_of_the_targets(self, n_obs, n):
        rows, targets = problem(5, n_obs, n)
        rng = np.random.default_rng(0)
        alpha, lam = rng.lognormal(size=n), 3.0
        alpha[2] = np.inf
        covariance = (rows / alpha) @ rows.T + np.eye(n_obs) / lam
        expected = multivariate_normal(np.zeros(n_obs), covariance).logpdf(targets)
        factor = factor_of(rows, targets)
        value = log_evidence(factor, noise_precision=lam, prior_precision=alpha)
        assert value == pytest.approx(expected, rel=1e-11)
        scaled = log_evidence(
            factor, noise_precision=lam, prior_precision=4.0, scale=2 * alpha**-0.5 + 1e-300
        )
        assert scaled == pytest.approx(expected, rel=1e-11)
        spectrum = Spectrum.from_problem(Problem.from_factor(factor, None, None))
        same = log_evidence(factor, noise_precision=lam, prior_precision=0.7)
        assert spectrum.log_evidence(lam, 0.7) == pytest.approx(same, rel=1e-11)

    @pytest.mark.parametrize("hyperprior", [0.0, 1e-6, 0.3])
    def test_maximises_the_evidence(self, hyperprior):
        rows, targets = problem(6, 80, 10, decay=2)
        factor = factor_of(rows, targets)

        def loss(log_precisions):
            lam, alpha = np.exp(log_precisions)
            value = log_evidence(factor, noise_precision=lam, prior_precision=alpha)
            return -value - gamma_priors(hyperprior, lam, alpha)

        fit = bayesian_ridge(factor, hyperprior=hyperprior)
        found = np.log([fit.noise_precision, fit.prior_precision[0]])
        best = minimize(
            loss, found + np.array([0.7, -1.1]), method="Nelder-Mead", options={"xatol": 1e-7}
        )
        assert found == pytest.approx(best.x, abs=1e-4)
        step = 1e-4
        for direction in np.eye(2):
            slope = loss(found + step * direction) - loss(found - step * direction)
            assert abs(slope / (2 * step)) < 1e-6

    def test_finds_the_largest_of_several_maxima(self):
        # A strong coefficient that calls for a wide prior, many weak ones for a narrow one.
        missed = 0
        for seed in range(40):
            rows, targets = problem(seed, 8, 6, decay=3, noise=0.3)
            spectrum = Spectrum.from_problem(
                Problem.from_factor(factor_of(rows, targets), None, None)
            )
            fit = bayesian_ridge(factor_of(rows, targets), hyperprior=1e-3)
            lam, alpha = np.exp(np.meshgrid(np.linspace(-12, 12, 97), np.linspace(-16, 12, 113)))
            everywhere = spectrum.log_evidence(lam, alpha) + 1e-3 * (
                np.log(lam) - lam + np.log(alpha) - alpha
            )
            here = fit.log_evidence + gamma_priors(
                1e-3, fit.noise_precision, fit.prior_precision[0]
            )
            missed += here < everywhere.max()
        assert missed == 0

    @pytest.mark.parametrize("given", ["noise_precision", "prior_precision"])
    def test_one_precision_given(self, given):
        factor = factor_of(*problem(7, 60, 8))
        other = {"noise_precision": "prior_precision", "prior_precision": "noise_precision"}[given]
        fit = bayesian_ridge(factor, hyperprior=0, **{given: 2.5})
        best = minimize_scalar(
            lambda x: -log_evidence(factor, **{given: 2.5, other: np.exp(x)}), (-5, 5), tol=1e-12
        )
        assert np.all(getattr(fit, given) == 2.5)
        assert np.log(getattr(fit, other)) == pytest.approx(best.x, abs=1e-5)

    def test_targets_recombine(self):
        rng = np.random.default_rng(8)
        rows, labels = problem(8, 200, 12)
        counts = rng.integers(0, 9, size=(200, 2)).astype(float)
        shifts = np.array([-3.7, 1.2])
        factor = Factor.empty(12, 3).update(rows, np.column_stack([labels, counts]))
        fit = bayesian_ridge(factor, combination=[1.0, *(-shifts)])
        direct = bayesian_ridge(factor_of(rows, labels - counts @ shifts))
        assert fit.noise_precision == pytest.approx(direct.noise_precision, rel=1e-11)
        assert np.allclose(fit.mean, direct.mean, rtol=1e-10)

    def test_order_of_observations_does_not_matter(self):
        rows, targets = problem(9, 400, 30, decay=6)
        order = np.random.default_rng(9).permutation(400)
        one = bayesian_ridge(factor_of(rows, targets))
        two = bayesian_ridge(factor_of(rows[order], targets[order]))
        draws = [fit.sample(4, rng=np.random.default_rng(1)) for fit in (one, two)]
        std = np.sqrt(np.diag(one.covariance))
        assert np.abs((draws[0] - draws[1]) / std).max() < 1e-7

    def test_weights_and_units(self):
        rows, targets = problem(10, 90, 10)
        one = bayesian_ridge(factor_of(rows, targets), hyperprior=0)
        two = bayesian_ridge(factor_of(15 * rows, 15 * targets), hyperprior=0)
        assert two.noise_precision == pytest.approx(one.noise_precision / 15**2, rel=1e-9)
        assert np.allclose(two.covariance, one.covariance, rtol=1e-9)
        assert two.log_evidence == pytest.approx(one.log_evidence - 90 * np.log(15), rel=1e-10)

    def test_functions_that_never_occur_keep_their_prior(self):
        rows, targets = problem(11, 50, 9)
        rows[:, [0, 4, 8]] = 0
        scale = np.linspace(1, 2, 9)
        fit = bayesian_ridge(factor_of(rows, targets), scale=scale)
        assert np.array_equal(fit.mean[[0, 4, 8]], np.zeros(3))
        prior = np.diag(1 / fit.prior_precision[[0, 4, 8]])
        assert np.allclose(fit.covariance[[0, 4, 8]][:, [0, 4, 8]], prior, rtol=1e-14, atol=0)
        assert not fit.covariance[np.ix_([0, 4, 8], [1, 2, 3, 5, 6, 7])].any()
        without = bayesian_ridge(
            factor_of(rows[:, [1, 2, 3, 5, 6, 7]], targets), scale=scale[[1, 2, 3, 5, 6, 7]]
        )
        assert fit.noise_precision == pytest.approx(without.noise_precision, rel=1e-12)

    def test_zero_targets(self):
        rows, _ = problem(12, 50, 5)
        fit = bayesian_ridge(factor_of(rows, np.zeros(50)))
        assert not fit.mean.any()
        assert np.isfinite(fit.covariance).all()
        assert np.isfinite(fit.noise_precision)
        with pytest.raises(ValueError, match="every target is zero"):
            bayesian_ridge(factor_of(rows, np.zeros(50)), hyperprior=0)

    @pytest.mark.parametrize("hyperprior", [0.0, 1e-6])
    @pytest.mark.parametrize("n_obs", [1, 4, 40])
    def test_data_without_noise(self, n_obs, hyperprior, caplog):
        rows, targets = problem(13, n_obs, 10, noise=0)
        with caplog.at_level(logging.WARNING):
            fit = bayesian_ridge(factor_of(rows, targets), hyperprior=hyperprior)
        assert np.isfinite(fit.covariance_factor).all()
        assert np.isfinite(fit.log_evidence)
        assert np.abs(rows @ fit.mean - targets).max() < 3 / np.sqrt(fit.noise_precision)
        if hyperprior:
            assert fit.noise_precision < (n_obs + 2e-6) / 2e-6
            assert not caplog.text
        else:
            rounding = 10 * np.finfo(float).eps * np.sqrt(np.mean(targets**2))
            assert fit.noise_precision < 1.001 / rounding**2
        assert (fit.noise_precision > 1e3) == (n_obs == 40 or not hyperprior)
        assert ("has no maximum" in caplog.text) == (not hyperprior)

    def test_no_observations(self):
        with pytest.raises(ValueError, match="no observations"):
            bayesian_ridge(Factor.empty(3))
        with pytest.raises(ValueError, match="every row is zero"):
            bayesian_ridge(factor_of(np.zeros((4, 3)), np.ones(4)))
        fit = bayesian_ridge(Factor.empty(3), noise_precision=2.0, prior_precision=4.0)
        assert not fit.mean.any()
        assert np.array_equal(fit.covariance, np.eye(3) / 4)
        assert fit.log_evidence == 0

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"scale": [1.0, 2.0]}, r"scale must have shape \(3,\), got \(2,\)"),
            ({"scale": [1.0, 0.0, 1.0]}, "entry 1 is 0.0"),
            ({"scale": [1.0, 1.0, np.nan]}, "entry 2 is nan"),
            ({"hyperprior": -1.0}, "hyperprior must be non-negative"),
            ({"noise_precision": 0.0}, "noise_precision must be positive"),
            ({"prior_precision": np.inf}, "prior_precision must be positive and finite"),
        ],
    )
    def test_refuses_nonsense(self, options, message):
        with pytest.raises(ValueError, match=message):
            bayesian_ridge(factor_of(*problem(14, 9, 3)), **options)


class TestPosterior:
    def fit(self):
        rows, targets = problem(20, 60, 6, decay=2)
        return bayesian_ridge(factor_of(rows, targets))

    def test_samples_have_its_mean_and_covariance(self):
        fit, size = self.fit(), 40_000
        draws = fit.sample(size, rng=np.random.default_rng(0))
        covariance = fit.covariance
        variance = np.diag(covariance)
        z_mean = (draws.mean(axis=0) - fit.mean) / np.sqrt(variance / size)
        assert np.abs(z_mean).max() < 4
        deviations = draws - fit.mean
        error = np.sqrt((np.outer(variance, variance) + covariance**2) / size)
        z_covariance = (deviations.T @ deviations / size - covariance) / error
        assert np.abs(z_covariance).max() < 4.5
        assert np.std(z_mean) > 0.2

    def test_singular_covariance(self):
        factor = np.array([[1.0, 0], [2.0, 0], [0, 0], [0, 1e-9]])
        fit = Posterior(np.arange(4.0), factor, 1.0, np.ones(4), 0.0, 3)
        draws = fit.sample(100, rng=np.random.default_rng(0))
        assert np.allclose(draws[:, 1] - 1, 2 * draws[:, 0])
        assert np.array_equal(draws[:, 2], np.full(100, 2.0))
        assert 1e-10 < np.std(draws[:, 3]) < 1e-8
        assert np.array_equal(fit.covariance, factor @ factor.T)

    def test_standard_deviation(self):
        fit = self.fit()
        rows = np.random.default_rng(1).normal(size=(5, 6))
        expected = np.sqrt(np.einsum("ki,ij,kj->k", rows, fit.covariance, rows))
        assert np.allclose(fit.standard_deviation(rows), expected, rtol=1e-12)
        with pytest.raises(ValueError, match=r"rows must have shape \(k, 6\)"):
            fit.standard_deviation(rows[:, :3])

    def test_same_generator_same_samples(self):
        fit = self.fit()
        copy = pickle.loads(pickle.dumps(fit))
        one, two = (f.sample(3, rng=np.random.default_rng(5)) for f in (fit, copy))
        assert np.array_equal(one, two)
        assert fit.sample(0, rng=np.random.default_rng(5)).shape == (0, 6)
        with pytest.raises(ValueError, match="cannot be negative"):
            fit.sample(-1, rng=np.random.default_rng(5))

    @pytest.mark.parametrize("given", [True, False], ids=["precisions given", "evidence"])
    def test_covers_the_truth_at_its_nominal_rate(self, given):
        """One held-out value a draw, with and without the noise of a label."""
        rng = np.random.default_rng(30)
        draws, n, n_obs, lam, alpha = 400, 40, 160, 25.0, 4.0
        options = {"noise_precision": lam, "prior_precision": alpha} if given else {}
        scores = np.empty((draws, 2))
        for k in range(draws):
            truth = rng.normal(size=n) / np.sqrt(alpha)
            rows = rng.normal(size=(n_obs, n)) * np.logspace(0, -1.5, n)
            targets = rows @ truth + rng.normal(size=n_obs) / np.sqrt(lam)
            fit = bayesian_ridge(factor_of(rows, targets), **options)
            row = rng.normal(size=n)
            std = fit.standard_deviation(row[None])[0]
            error = row @ (fit.mean - truth)
            noise = rng.normal() / np.sqrt(lam)
            scores[k] = error / std, (error + noise) / np.hypot(std, fit.noise_precision**-0.5)
        for bound, nominal in ((1.0, 0.6827), (1.96, 0.95)):
            rates = (np.abs(scores) < bound).mean(axis=0)
            z = (rates - nominal) / np.sqrt(nominal * (1 - nominal) / draws)
            assert np.abs(z).max() < 3.5, (bound, rates)


class TestRelevance:
    @pytest.mark.parametrize("threshold", [1e2, 1e4, 1e5])
    @pytest.mark.parametrize(("n_obs", "n"), [(300, 40), (900, 15)])
    def test_is_that_of_scikit_learn(self, n_obs, n, threshold):
        rows, targets = problem(40, n_obs, n, relevant=0.4)
        theirs = linear_model.ARDRegression(
            fit_intercept=False, threshold_lambda=threshold, tol=1e-11, max_iter=10_000
        ).fit(rows, targets)
        fit = automatic_relevance(
            factor_of(rows, targets),
            threshold=threshold,
            start=(1 / np.var(targets), 1.0),
            tolerance=1e-9,
            max_iterations=10_000,
        )
        kept = theirs.lambda_ < threshold
        assert fit.converged
        assert np.array_equal(fit.active, kept)
        assert fit.noise_precision == pytest.approx(theirs.alpha_, rel=1e-7)
        assert np.allclose(fit.mean, theirs.coef_, atol=1e-8)
        assert np.allclose(fit.covariance[np.ix_(kept, kept)], theirs.sigma_, atol=1e-8)
        assert np.allclose(fit.prior_precision[kept], theirs.lambda_[kept], rtol=1e-4)

    def test_default_start_agrees_where_there_is_one_maximum(self):
        rows, targets = problem(41, 500, 10)
        theirs = linear_model.ARDRegression(fit_intercept=False, tol=1e-11).fit(rows, targets)
        fit = automatic_relevance(factor_of(rows, targets), threshold=1e4, tolerance=1e-9)
        assert np.array_equal(fit.active, theirs.lambda_ < 1e4)
        assert np.allclose(fit.mean, theirs.coef_, rtol=1e-6)

    def test_maximises_the_evidence(self):
        rows, targets = problem(42, 200, 12, relevant=0.5)
        factor, h = factor_of(rows, targets), 1e-6
        fit = automatic_relevance(factor, threshold=1e3, tolerance=1e-10, max_iterations=10_000)
        kept = np.flatnonzero(fit.active)

        def objective(log_precisions):
            alpha = np.full(12, np.inf)
            alpha[kept] = np.exp(log_precisions[1:])
            lam = np.exp(log_precisions[0])
            value = log_evidence(factor, noise_precision=lam, prior_precision=alpha)
            return value + gamma_priors(h, lam, alpha[kept])

        found = np.log([fit.noise_precision, *fit.prior_precision[kept]])
        assert objective(found) - gamma_priors(h, np.exp(found)) == pytest.approx(fit.log_evidence)
        for direction in np.eye(len(found)):
            up, down = (objective(found + step * direction) for step in (1e-3, -1e-3))
            assert abs(up - down) / 2e-3 < 1e-4
            assert objective(found) >= max(up, down) - 1e-9

    def test_finds_what_is_relevant(self):
        rng = np.random.default_rng(43)
        rows = rng.normal(size=(400, 60))
        truth = np.zeros(60)
        truth[[3, 17, 44]] = 1.0, -2.0, 0.5
        targets = rows @ truth + 0.05 * rng.normal(size=400)
        fit = automatic_relevance(factor_of(rows, targets), threshold=1e3)
        assert list(np.flatnonzero(fit.active)) == [3, 17, 44]
        assert np.isinf(fit.prior_precision[~fit.active]).all()
        assert not fit.mean[~fit.active].any()
        assert not fit.covariance[~fit.active].any()
        assert fit.covariance_factor.shape == (60, 3)
        z = (fit.mean - truth)[fit.active] / np.sqrt(np.diag(fit.covariance)[fit.active])
        assert np.abs(z).max() < 4
        assert not fit.sample(5, rng=rng)[:, ~fit.active].any()
        assert fit.noise_precision == pytest.approx(1 / 0.05**2, rel=0.3)
        ridge = bayesian_ridge(factor_of(rows, targets))
        assert fit.log_evidence > ridge.log_evidence + 50

    def test_path(self):
        rows, targets = problem(44, 300, 40, relevant=0.5, decay=2)
        factor = factor_of(rows, targets)
        thresholds = [50.0, 1e4, 5.0]
        path = relevance_path(factor, thresholds, tolerance=1e-5)
        small, large, smallest = (fit.active for fit in path)
        assert smallest.sum() < small.sum() < large.sum()
        assert not (small & ~large).any()
        assert not (smallest & ~small).any()
        for threshold, fit in zip(thresholds, path, strict=True):
            assert fit.prior_precision[fit.active].max() < threshold
        alone = automatic_relevance(factor, threshold=1e4, tolerance=1e-5)
        assert np.array_equal(alone.mean, path[1].mean)
        # Where each fit ends is a stationary point of its own.
        again = automatic_relevance(
            factor,
            threshold=50.0,
            tolerance=1e-5,
            start=(path[0].noise_precision, path[0].prior_precision),
        )
        assert np.array_equal(again.active, small)
        assert np.allclose(again.mean, path[0].mean, atol=1e-3)

    def test_scale_is_a_change_of_units(self):
        rows, targets = problem(45, 200, 15, relevant=0.5)
        scale = np.logspace(0, 1, 15)
        one = automatic_relevance(factor_of(rows, targets), threshold=1e3, scale=scale)
        two = automatic_relevance(factor_of(rows * scale, targets), threshold=1e3)
        assert np.array_equal(one.active, two.active)
        assert np.allclose(one.mean, scale * two.mean, rtol=1e-9)
        assert np.allclose(
            one.prior_precision[one.active], (two.prior_precision / scale**2)[two.active], rtol=1e-9
        )

    def test_functions_that_never_occur_keep_their_prior(self):
        rows, targets = problem(46, 200, 10)
        rows[:, 6] = 0
        factor = factor_of(rows, targets)
        fit = automatic_relevance(factor, threshold=1e5)
        prior = bayesian_ridge(factor).prior_precision[6]
        assert fit.mean[6] == 0
        assert fit.covariance[6, 6] == pytest.approx(1 / prior)
        without = automatic_relevance(factor_of(np.delete(rows, 6, axis=1), targets), threshold=1e5)
        assert np.allclose(np.delete(fit.mean, 6), without.mean, rtol=1e-8)

    @pytest.mark.parametrize("hyperprior", [0.0, 1e-6])
    def test_nothing_relevant(self, hyperprior):
        rng = np.random.default_rng(47)
        targets = 1e-3 * rng.normal(size=50)
        fit = automatic_relevance(
            factor_of(rng.normal(size=(50, 5)), targets), threshold=1.0, hyperprior=hyperprior
        )
        assert not fit.active.any()
        assert not fit.mean.any()
        assert fit.covariance_factor.shape == (5, 0)
        expected = (50 + 2 * hyperprior) / (targets @ targets + 2 * hyperprior)
        assert fit.noise_precision == pytest.approx(expected)
        assert np.array_equal(fit.sample(2, rng=rng), np.zeros((2, 5)))
        assert np.isfinite(fit.log_evidence)

    def test_fewer_observations_than_functions(self):
        rng = np.random.default_rng(48)
        rows = rng.normal(size=(30, 80))
        truth = np.zeros(80)
        truth[[5, 50]] = 3.0, -2.0
        fit = automatic_relevance(
            factor_of(rows, rows @ truth + 0.1 * rng.normal(size=30)), threshold=1e3
        )
        assert set(np.flatnonzero(fit.active)) >= {5, 50}
        assert fit.mean[[5, 50]] == pytest.approx([3, -2], abs=0.2)

    @pytest.mark.parametrize("hyperprior", [0.0, 1e-6])
    @pytest.mark.parametrize("n_obs", [1, 8, 60])
    def test_data_without_noise(self, n_obs, hyperprior):
        rows, targets = problem(51, n_obs, 20, noise=0)
        fit = automatic_relevance(
            factor_of(rows, targets), threshold=np.inf, hyperprior=hyperprior, tolerance=1e-3
        )
        assert np.isfinite(fit.covariance_factor).all()
        assert np.isfinite(fit.log_evidence)
        assert 0 < fit.noise_precision < np.inf
        assert np.abs(rows @ fit.mean - targets).max() < 4 / np.sqrt(fit.noise_precision) + 1e-9

    def test_says_when_it_gives_up(self, caplog):
        factor = factor_of(*problem(49, 200, 20, relevant=0.5))
        with caplog.at_level(logging.WARNING):
            fit = automatic_relevance(factor, threshold=1e5, max_iterations=3)
        assert (fit.converged, fit.iterations) == (False, 3)
        assert "not converged in 3 iterations" in caplog.text

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"threshold": 0.0}, "a threshold is a positive precision, got 0.0"),
            ({"threshold": np.nan}, "a threshold is a positive precision, got nan"),
            ({"threshold": 1e3, "max_iterations": 0}, "max_iterations must be at least 1"),
            ({"threshold": 1e3, "tolerance": 0.0}, "tolerance must be positive"),
            ({"threshold": 1e3, "start": (1.0, [1.0, -1.0, 1.0])}, "entry 1 is -1.0"),
            ({"threshold": 1e3, "start": (0.0, 1.0)}, "noise precision to start from"),
            ({"threshold": 1e3, "start": (1.0, [1.0])}, r"or have shape \(3,\)"),
        ],
    )
    def test_refuses_nonsense(self, options, message):
        with pytest.raises(ValueError, match=message):
            automatic_relevance(factor_of(*problem(50, 9, 3)), **options)
        with pytest.raises(ValueError, match="no observations"):
            automatic_relevance(Factor.empty(3), threshold=1e3)


def test_merging_and_scaling_factors_is_the_same_as_having_seen_all_rows():
    rng = np.random.default_rng(8)
    rows, targets = rng.normal(size=(700, 12)), rng.normal(size=(700, 2))
    weights = np.repeat([1.0, 3.0], [300, 400])
    whole = Factor.empty(12, 2).update(weights[:, None] * rows, weights[:, None] * targets)
    first = Factor.empty(12, 2).update(rows[:300], targets[:300])
    second = Factor.empty(12, 2).update(rows[300:], targets[300:]).scaled(3.0)
    merged = first.merged(second)
    assert merged.n_observations == 700
    for combination in ([1.0, 0.0], [1.0, -2.0]):
        mine, truth = (bayesian_ridge(f, combination=combination) for f in (merged, whole))
        np.testing.assert_allclose(mine.mean, truth.mean, rtol=1e-10)
        assert mine.noise_precision == pytest.approx(truth.noise_precision, rel=1e-8)
        assert mine.log_evidence == pytest.approx(truth.log_evidence, rel=1e-10)
    with pytest.raises(ValueError, match="cannot be merged"):
        first.merged(Factor.empty(11, 2))


def test_noise_is_bounded_where_the_prior_is_given():
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(30, 4))
    factor = Factor.empty(4).update(rows, rows @ rng.normal(size=4) + 1e-3 * rng.normal(size=30))
    free = bayesian_ridge(factor, prior_precision=1.0)
    bound = 0.1 * free.noise_precision
    held = bayesian_ridge(factor, prior_precision=1.0, largest_noise_precision=bound)
    assert held.noise_precision == pytest.approx(bound)
