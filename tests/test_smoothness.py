"""The smoothness prior and the bound on the noise, in LinearFit."""

import numpy as np
import pytest
from datasets_emt import al_cu_basis, al_cu_dataset
from sklearn.linear_model import BayesianRidge
from test_linear_fit import by_hand

from ase_hal import LinearFit, Smoothness
from ase_hal.repulsion import ZBL


def test_scale_by_hand():
    basis = al_cu_basis()
    smoothness = Smoothness(degree=2.0, order=3.0, angular_weight=1.5)
    scales = smoothness.scale(basis)
    assert np.exp(np.log(scales).mean()) == pytest.approx(1.0)
    expected = np.array(
        [(sum(f.ns) + 1.5 * sum(f.ls)) ** -2 / 3 ** (f.rank - 1) for f in basis.functions]
    )
    assert scales / scales[0] == pytest.approx(expected / expected[0])


def test_fit_is_a_ridge_on_scaled_columns():
    fit = LinearFit(al_cu_basis(), repulsion=ZBL(1.0, 2.0), smoothness=Smoothness())
    committee = fit(al_cu_dataset(), rng=np.random.default_rng(1))
    psi, y = by_hand(fit, al_cu_dataset(), lambda _: fit.weights, committee.baseline.one_body)
    scale = fit.smoothness.scale(fit.basis)
    theirs = BayesianRidge(fit_intercept=False, tol=1e-10, max_iter=10000).fit(psi * scale, y)
    posterior = committee.posterior
    assert posterior.noise_precision == pytest.approx(theirs.alpha_, rel=1e-4)
    assert np.allclose(
        psi @ posterior.mean, psi @ (scale * theirs.coef_), atol=1e-4 * np.abs(y).max()
    )


def test_noise_is_not_taken_below_its_bound():
    dataset = al_cu_dataset()[:3]
    free = LinearFit(al_cu_basis())(dataset, rng=np.random.default_rng(1))
    noise = 2 * free.posterior.noise_precision**-0.5
    bound = LinearFit(al_cu_basis(), label_noise=noise)(dataset, rng=np.random.default_rng(1))
    assert bound.posterior.noise_precision == pytest.approx(noise**-2)
    known = dataset[0]
    assert bound.predict(known).model_std > free.predict(known).model_std
    # a bound below what the data say changes nothing
    loose = LinearFit(al_cu_basis(), label_noise=noise / 4)(dataset, rng=np.random.default_rng(1))
    assert np.array_equal(loose.posterior.mean, free.posterior.mean)


@pytest.mark.parametrize("arguments", [{"degree": -1}, {"order": 0}, {"angular_weight": -0.1}])
def test_bad_smoothness(arguments):
    with pytest.raises(ValueError, match="smoothness needs"):
        Smoothness(**arguments)


def test_bad_label_noise():
    with pytest.raises(ValueError, match="label_noise"):
        LinearFit(al_cu_basis(), label_noise=-0.1)
