"""A surface in the place of Monte Carlo: what a bias makes of a known free energy."""

import numpy as np
import pytest
from ase.units import kB
from free_energy_cases import alloy, l1_2, zigzag
from free_energy_surfaces import PolynomialG

from ase_hal.free_energy import RunLength, SurrogateMC, UmbrellaMC, billiard_walk


def polynomial(found=None, scale=0.05):
    invariants = (found or l1_2()).invariants(4)
    coefficients = scale * np.random.default_rng(1).normal(size=len(invariants))
    return PolynomialG(invariants, coefficients)


def surrogate(surface=None, found=None, seed=0, **changes):
    found = found or l1_2()
    settings = {"temperature_K": 300, "phi": (5.0, 0.5)} | changes
    return SurrogateMC(
        surface or polynomial(found), found, rng=np.random.default_rng(seed), **settings
    )


def inside(found, n, seed=0):
    points = billiard_walk(found.domain, n, rng=np.random.default_rng(seed))
    return found.domain.centre + 0.8 * (points - found.domain.centre)


class Harmonic:
    """g = (eta - a)^T K (eta - a) / 2: windows have closed solutions."""

    dimension = 4
    K = np.array([[2.0, 0.1, 0, 0], [0.1, 0.3, 0.05, 0], [0, 0.05, 0.2, 0], [0, 0, 0, -0.1]])
    a = np.array([0.45, 0.02, -0.03, 0.01])

    def free_energy(self, eta, temperature_K=None):
        return np.einsum("ni,ij,nj->n", eta - self.a, self.K, eta - self.a) / 2

    def chemical_potentials(self, eta, temperature_K=None):
        return (eta - self.a) @ self.K

    def hessian(self, eta, temperature_K=None):
        return np.broadcast_to(self.K, (len(eta), 4, 4)).copy()


def test_a_harmonic_free_energy_has_a_closed_solution():
    calculator = surrogate(Harmonic())
    kappa = np.array([0.55, 0.1, 0.05, 0.02])
    sample = calculator.sample(kappa=kappa)
    springs = 2 * np.diag(calculator.phi)
    expected = np.linalg.solve(Harmonic.K + springs, Harmonic.K @ Harmonic.a + springs @ kappa)
    assert sample.converged
    # the walls have a potential of 1e-7 eV
    assert np.allclose(sample.eta, expected, atol=1e-5)
    assert np.allclose(sample.mu, (expected - Harmonic.a) @ Harmonic.K, atol=1e-5)


@pytest.mark.parametrize("case", [l1_2, zigzag])
def test_mu_is_that_of_the_surface_where_the_window_settles(case):
    found = case()
    surface, points = polynomial(found), inside(found, 30)
    samples = surrogate(surface, found).sample_many(points)
    assert all(s.converged for s in samples)
    eta, mu = np.array([s.eta for s in samples]), np.array([s.mu for s in samples])
    assert found.domain.contains(eta).all()
    assert np.abs(eta - points).max() > 1e-3
    apart = found.domain.wall_distance(eta) > 0.01
    assert apart.sum() > 20
    difference = mu - surface.chemical_potentials(eta)
    assert np.abs(difference[apart]).max() < 1e-4


def test_a_right_guess_of_mu_holds_the_point():
    surface, points = polynomial(), inside(l1_2(), 10)
    samples = surrogate(surface).sample_many(points, mu=surface.chemical_potentials(points))
    assert np.abs([s.eta - p for s, p in zip(samples, points, strict=True)]).max() < 1e-4


def test_windows_beyond_the_domain_end_at_its_walls():
    calculator = surrogate()
    sample = calculator.sample(kappa=[1.3, 0.8, 0, 0])
    distance = l1_2().domain.wall_distance(sample.eta)
    assert sample.converged
    assert 0 < distance < 1e-3
    corner = l1_2().wells[0]
    assert l1_2().domain.contains(calculator.sample(corner).eta)


def test_properties_of_one_point_are_of_one_run():
    calculator = surrogate(precision=1e-3)
    point = l1_2().domain.centre
    mu = calculator.get_property("mu", point)
    assert np.array_equal(calculator.get_property("mu", point), mu)
    eta = calculator.get_property("eta", point)
    assert np.allclose(mu, -2 * calculator.phi * (eta - point))
    calculator.precision = 0.0
    assert not np.array_equal(calculator.get_property("mu", point), mu)
    with pytest.raises(ValueError, match="'energy' is none of"):
        calculator.get_property("energy", point)


def test_many_are_as_one_and_seen_in_order():
    points, seen = inside(l1_2(), 5), []
    many = surrogate().sample_many(points, on_sample=lambda i, s: seen.append((i, s)))
    assert [i for i, _ in seen] == list(range(5))
    for point, sample in zip(points, many, strict=True):
        alone = surrogate().sample(point)
        assert np.allclose(alone.eta, sample.eta, atol=1e-8)
        assert np.allclose(alone.mu, sample.mu, atol=1e-7)
    assert surrogate().sample_many(np.empty((0, 4))) == []


def test_noise_is_that_of_the_precision():
    points = np.tile(inside(l1_2(), 1), (400, 1))
    quiet = surrogate().sample(points[0])
    noisy = surrogate(precision=3e-4).sample_many(points)
    deviation = np.array([s.eta for s in noisy]) - quiet.eta
    assert deviation.std() == pytest.approx(3e-4, rel=0.1)
    assert abs(deviation.mean()) < 4 * 3e-4 / np.sqrt(1600)
    mu = np.array([s.mu for s in noisy]) - quiet.mu
    assert np.allclose(mu, -2 * surrogate().phi * deviation)
    assert np.allclose(noisy[0].mu_error, 2 * surrogate().phi * 3e-4)
    same = surrogate(precision=3e-4).sample_many(points)
    assert np.array_equal(same[7].eta, noisy[7].eta)
    other = surrogate(precision=3e-4).with_generator(np.random.default_rng(9))
    assert not np.array_equal(other.sample(points[0]).eta, noisy[0].eta)


class DilutedSites:
    """Ideal mixing of independent sites: what Monte Carlo without interactions samples."""

    dimension = 4

    def __init__(self, found):
        self.inverse = found.inverse

    def _terms(self, eta):
        return eta @ self.inverse.T, kB * 900 / len(self.inverse)

    def free_energy(self, eta, temperature_K=None):
        x, unit = self._terms(eta)
        return unit * (x * np.log(x) + (1 - x) * np.log(1 - x)).sum(axis=1)

    def chemical_potentials(self, eta, temperature_K=None):
        x, unit = self._terms(eta)
        return unit * np.log(x / (1 - x)) @ self.inverse

    def hessian(self, eta, temperature_K=None):
        x, unit = self._terms(eta)
        weights = unit / (x * (1 - x))
        return np.einsum("ns,si,sj->nij", weights, self.inverse, self.inverse)


def test_it_answers_as_monte_carlo_does():
    """Without interactions the surface is exact, and both calculators have to agree."""
    from ase_hal.free_energy import Hamiltonian

    nothing = Hamiltonian(alloy().lattice, {((0, 0, 0, 0),): 0.0})
    settings = {"temperature_K": 900, "phi": (0.5, 0.3)}
    carlo = UmbrellaMC(
        nothing,
        l1_2(),
        **settings,
        repeat=(6, 6, 6),
        run_length=RunLength(precision=1e-3),
        rng=np.random.default_rng(4),
    )
    exact = surrogate(DilutedSites(l1_2()), **settings)
    for point in ([0.4, 0.1, 0.0, 0.0], [0.3, 0.05, -0.05, 0.1]):
        found, expected = carlo.sample(point), exact.sample(point)
        assert np.abs((found.eta - expected.eta) / found.eta_error).max() < 4
        assert np.abs((found.mu - expected.mu) / found.mu_error).max() < 4


def test_wrong_input_is_named():
    with pytest.raises(ValueError, match="has 4 order parameters, not 7"):
        SurrogateMC(polynomial(), zigzag(), temperature_K=300, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="outside the domain"):
        surrogate().sample([0.1, 0.4, 0, 0])
    with pytest.raises(ValueError, match="give one of them"):
        surrogate().sample()
    with pytest.raises(ValueError, match="phi takes 2 or 4"):
        surrogate(phi=[1.0])
    with pytest.raises(ValueError, match="standard error"):
        surrogate(precision=-1)
    with pytest.raises(ValueError, match="temperature"):
        surrogate(temperature_K=-1)
    with pytest.raises(TypeError, match="Generator"):
        SurrogateMC(polynomial(), l1_2(), temperature_K=300, rng=None)
