"""Polynomial free energies, fitted to their derivatives."""

from dataclasses import replace

import numpy as np
import pytest
from free_energy_cases import b2, l1_2, zigzag
from free_energy_oracles import Landau, exact_points

from ase_hal.free_energy import PolynomialFit, PolynomialSurface, billiard_walk
from ase_hal.free_energy.errors import mean_squared_error

LANDAU = Landau(4, x0=0.25)


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def fit(**settings):
    return PolynomialFit(
        l1_2(), **({"degree": 4, "composition_degree": 3, "mixing": False} | settings)
    )


@pytest.mark.parametrize("case", [l1_2, b2, zigzag])
def test_derivatives_of_polynomials(case, rng):
    found = case()
    eta = billiard_walk(found.domain, 60, rng=rng)
    points = exact_points(Landau(found.dimension), eta)
    surface = PolynomialFit(found, degree=4, composition_degree=4)(points, rng=rng)
    assert surface.temperature_K == 300
    x, h = eta[:5], 1e-5 * np.eye(found.dimension)
    difference = lambda f: np.stack([(f(x + e) - f(x - e)) / 2e-5 for e in h], axis=-1)  # noqa: E731
    slope = difference(surface.free_energy)
    assert np.allclose(slope, surface.chemical_potentials(x), atol=1e-7)
    hessian = surface.hessian(x)
    assert np.allclose(difference(surface.chemical_potentials), hessian, atol=1e-5)
    assert np.allclose(hessian, hessian.swapaxes(1, 2), atol=1e-12)
    turned = found.images(x, rng=rng)
    assert np.allclose(surface.free_energy(turned), surface.free_energy(x), atol=1e-10)


def test_polynomials_are_fitted_exactly_and_kept(rng, tmp_path):
    points = exact_points(LANDAU, billiard_walk(l1_2().domain, 60, rng=rng))
    surface = fit(members=2)(points, rng=rng)
    assert mean_squared_error(surface, points) < 1e-8
    path = tmp_path / "surface.npz"
    surface.write(path)
    again = PolynomialSurface.read(path)
    assert np.array_equal(again.free_energy(points.eta), surface.free_energy(points.eta))
    assert len(again.members) == 2
    assert np.array_equal(again.members[1].coefficients, surface.members[1].coefficients)
    with pytest.raises(ValueError, match="one at 300 K only, got 400"):
        surface.free_energy(points.eta, 400.0)
    path.write_bytes(b"no")
    with pytest.raises(ValueError, match="holds no polynomial surface"):
        PolynomialSurface.read(path)
    with pytest.raises(ValueError, match="degree is at least 2"):
        fit(degree=0)


def test_components_count_by_how_much_they_vary(rng):
    """An offset of the composition's potential, whose zero is arbitrary, changes no weight."""
    points = exact_points(LANDAU, billiard_walk(l1_2().domain, 60, rng=rng))
    plain = fit()._weights(points.mu)
    assert np.allclose(plain, fit()._weights(points.mu + np.array([5.0, 0, 0, 0])))
    assert np.allclose(plain[0], points.mu[:, 0].std() ** -0.5)


def test_points_that_are_not_settled_count_less(rng):
    points = exact_points(LANDAU, billiard_walk(l1_2().domain, 60, rng=rng))
    assert np.array_equal(points.weights_by_error(), np.ones(60))
    error = np.full((60, 4), 1e-4)
    error[:10] = 0.05
    noisy = replace(points, mu_error=error, mu=points.mu + rng.normal(0, error))
    weights = noisy.weights_by_error()
    assert np.allclose(weights[10:], 0.5)
    assert weights[:10].max() < 1e-5
    alike, weighed = (fit(weigh_errors=flag)(noisy, rng=rng) for flag in (False, True))
    assert mean_squared_error(weighed, points) < 0.1 * mean_squared_error(alike, points)


def test_ideal_mixing_is_exact_where_sites_are_independent(rng):
    """Without interactions the free energy is that of ideal mixing on the sublattices."""
    found = l1_2()
    points = exact_points(Landau(4), 0.9 * billiard_walk(found.domain, 40, rng=rng))
    how = PolynomialFit(found, degree=2, composition_degree=1)
    mu = how.mixing.chemical_potentials(points.eta, points.temperature_K)
    ideal = replace(points, mu=mu)
    surface = how(ideal, rng=rng)
    assert mean_squared_error(surface, ideal) < 1e-12
    assert np.abs(surface.coefficients).max() < 1e-9
