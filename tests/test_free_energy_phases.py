"""Phases in equilibrium, and Monte Carlo along the composition."""

import numpy as np
import pytest
from free_energy_cases import root_three, two_sublattices, zigzag
from free_energy_oracles import Landau
from test_free_energy_monte_carlo import monte_carlo

from ase_hal.free_energy.branches import CurveTask, biased_tasks, composition_curve
from ase_hal.free_energy.ideal_mixing import IdealMixing
from ase_hal.free_energy.paths import PathGrid, lowest_path, polished
from ase_hal.free_energy.phase_diagram import common_tangents, isotherm, phase_diagram


def test_common_tangent_of_a_double_well():
    x = np.linspace(0, 1, 101)
    g = (x - 0.2) ** 2 * (x - 0.7) ** 2 + 3.0 * x - 1.0  # a linear part changes no tangent
    assert common_tangents(x, g) == ((20, 70),)
    assert common_tangents(x, x**2) == ()
    assert common_tangents(x, g, tolerance=1.0) == ()
    wells = [(x - c) ** 2 + depth for c, depth in ((0.0, 0.0), (0.5, -0.02), (1.0, 0.0))]
    (a, b), (c, d) = common_tangents(x, np.minimum.reduce(wells))
    assert a < 5 < 45 < b <= 50 <= c < 55 < 95 < d
    assert common_tangents(x, -(x**2)) == ((0, 100),)


def test_polishing_finds_the_minimum_between_grid_points():
    surface = Landau(7, a0=-0.061, b=-0.1, c=0.35)
    found = zigzag()
    grid = PathGrid(half_width=0.01, composition_step=0.01, order_step=0.05)
    coarse = lowest_path(surface, found, grid)
    fine = polished(coarse, surface, found)
    assert np.allclose(fine.eta[:, 1], np.sqrt(0.061 / 0.5), atol=1e-6)
    assert (fine.free_energy <= coarse.free_energy).all()
    assert np.allclose(fine.free_energy, surface.free_energy(fine.eta))
    assert np.array_equal(fine.eta[:, 0], coarse.eta[:, 0])
    # a minimum outside of the domain is not gone to
    steep = Landau(7, a0=-5.0, b=0.0, c=0.1)
    held = polished(lowest_path(steep, found, grid), steep, found)
    assert found.domain.contains(held.eta).all()


def test_phases_of_a_surface_that_orders():
    """With a growing as T the ordered phase is there below a temperature, and not above."""
    surface = Landau(7, k=0.05, a0=-0.16, a1=4e-4, b=-0.12, c=0.4)
    cold, hot = phase_diagram(surface, zigzag(), [300.0, 500.0])
    middle = len(cold.path.eta) // 2
    assert cold.path.eta[middle, 1] > 0.2
    assert np.allclose(hot.path.eta[:, 1:], 0)
    assert hot.tangents == ()
    # the domain is narrower away from the ordering: order costs, and phases separate
    for first, last in cold.tangents:
        assert last - first > 1
    assert isotherm(surface, zigzag(), 300.0).tangents == cold.tangents


class Preference:
    """Ideal mixing on two kinds of sites, one of which costs more to occupy."""

    dimension, cost = 4, 0.03

    def __init__(self):
        self.mixing = IdealMixing(two_sublattices().inverse)

    def free_energy(self, eta, temperature_K=None):
        return self.mixing.free_energy(eta, np.full(len(eta), 300.0)) + self.cost * eta[:, 1]

    def chemical_potentials(self, eta, temperature_K=None):
        slope = self.cost * np.eye(4)[1]
        return self.mixing.chemical_potentials(eta, np.full(len(eta), 300.0)) + slope

    def hessian(self, eta, temperature_K=None):
        return self.mixing.hessian(eta, np.full(len(eta), 300.0))


def test_sites_of_two_kinds_are_filled_as_they_cost():
    """The lowest state has the chemical potential zero for moving atoms between the kinds."""
    found, surface = two_sublattices(), Preference()
    phases = isotherm(surface, found, 300.0)
    eta, energy = phases.path.eta, phases.path.free_energy
    assert found.domain.contains(eta).all()
    assert np.isfinite(energy).all()
    assert eta[0, 0] == pytest.approx(0)
    assert eta[-1, 0] == pytest.approx(1)
    assert phases.tangents == ()
    inner = eta[5:-5]
    assert np.abs(surface.chemical_potentials(inner)[:, 1]).max() < 1e-5
    # the criterion, which takes the path as it comes, stays inside too
    path = lowest_path(surface, found, PathGrid())
    assert found.domain.contains(path.eta).all()
    assert np.allclose(path.free_energy, np.interp(path.eta[:, 0], eta[:, 0], energy), atol=1e-4)


class Doubling(Preference):
    """A first-order transition to the ordering, whose trivial order parameters are others."""

    cost, a, b = 0.0, 0.3, 5.0

    def free_energy(self, eta, temperature_K=None):
        q = (eta[:, 2:] ** 2).sum(axis=1)
        mixing = self.mixing.free_energy(eta, np.full(len(eta), 100.0))
        return mixing + self.a * q - self.b * q**2

    def chemical_potentials(self, eta, temperature_K=None):
        mu, y = self.mixing.chemical_potentials(eta, np.full(len(eta), 100.0)), eta[:, 2:]
        mu[:, 2:] += 2 * y * (self.a - 2 * self.b * (y**2).sum(axis=1))[:, None]
        return mu

    def hessian(self, eta, temperature_K=None):
        result, y = self.mixing.hessian(eta, np.full(len(eta), 100.0)), eta[:, 2:]
        q = (y**2).sum(axis=1)[:, None, None]
        result[:, 2:, 2:] += 2 * (self.a - 2 * self.b * q) * np.eye(2)
        result[:, 2:, 2:] -= 8 * self.b * y[:, :, None] * y[:, None]
        return result


def test_an_ordering_on_one_of_two_kinds_of_sites_is_found():
    found, surface = two_sublattices(), Doubling()
    order = found.wells[0]
    path = lowest_path(surface, found, PathGrid(half_width=0.02))
    middle = int(np.abs(path.eta[:, 0] - order[0]).argmin())
    flat = np.array([[order[0], 0.0, 0.0, 0.0]])
    assert path.free_energy[middle] < surface.free_energy(flat)[0] - 0.03
    assert np.linalg.norm(path.eta[middle, 2:]) > 0.9 * np.linalg.norm(order[2:])
    phases = isotherm(surface, found, 100.0).path
    assert (
        phases.free_energy[np.abs(phases.eta[:, 0] - order[0]).argmin()] <= path.free_energy[middle]
    )


def test_the_ends_of_the_composition_are_on_the_path():
    compositions = PathGrid(half_width=1.0, composition_step=0.01).compositions(root_three())
    assert compositions[[0, -1]] == pytest.approx([0, 1])
    assert np.abs(compositions - 1 / 3).min() < 1e-12
    assert np.diff(compositions).min() > 1e-3


class FirstOrder(Landau):
    """Landau's g - s (x - 0.473) q + t q^3 with q = sum eta_i^2: order of 0.3 sets in at 0.473."""

    s, t = 0.444, 3.0

    def free_energy(self, eta, temperature_K=None):
        q = (eta[:, 1:] ** 2).sum(1)
        return super().free_energy(eta) - self.s * (eta[:, 0] - 0.473) * q + self.t * q**3

    def chemical_potentials(self, eta, temperature_K=None):
        mu, y = super().chemical_potentials(eta), eta[:, 1:]
        q = (y**2).sum(1)
        mu[:, 0] -= self.s * q
        mu[:, 1:] += 2 * (3 * self.t * q**2 - self.s * (eta[:, 0] - 0.473))[:, None] * y
        return mu

    def hessian(self, eta, temperature_K=None):
        result, y = super().hessian(eta), eta[:, 1:]
        q = (y**2).sum(1)
        slope = 2 * (3 * self.t * q**2 - self.s * (eta[:, 0] - 0.473))
        result[:, 1:, 1:] += slope[:, None, None] * np.eye(6)
        result[:, 1:, 1:] += 24 * self.t * q[:, None, None] * y[:, :, None] * y[:, None]
        return result


def test_phases_that_are_close_together():
    """Their compositions differ by 0.01, a step of the grid."""
    surface = FirstOrder(7, a0=0.0243, b=-0.1, c=-0.44)
    grid = PathGrid(half_width=0.08, composition_step=0.01, order_step=0.02)
    found = isotherm(surface, zigzag(), 300.0, grid=grid)
    x = found.path.eta[:, 0]
    assert zigzag().domain.contains(found.path.eta).all()
    assert np.allclose(found.path.free_energy, surface.free_energy(found.path.eta))
    ((first, last),) = found.tangents
    # the slopes of g differ by s q there, its curvature is 2 k without order
    assert x[first] == pytest.approx(0.473 - 0.444 * 0.09 / 8, abs=0.002)
    assert x[last] == pytest.approx(0.473 + 0.444 * 0.09 / 8, abs=0.002)
    fine = PathGrid(half_width=0.08, composition_step=0.002, order_step=0.02)
    same = lowest_path(surface, zigzag(), fine)
    shared = np.isin(np.round(same.eta[:, 0], 6), np.round(x, 6))
    assert shared.sum() > len(grid.compositions(zigzag()))
    mine = np.isin(np.round(x, 6), np.round(same.eta[:, 0], 6))
    # nowhere is a lower state left out
    assert (found.path.free_energy[mine] <= same.free_energy[shared] + 1e-12).all()


def test_branches_agree_where_the_free_energy_is_convex():
    calculator = monte_carlo(repeat=(4, 4, 4), temperature_K=2500)
    found = list(composition_curve(calculator, 5, rng=np.random.default_rng(1)))
    assert [task.branch for task, _ in found] == ["biased"] * 5 + ["unbiased"] * 5
    biased = np.array([(s.eta[0], s.mu[0]) for task, s in found if task.branch == "biased"])
    free = np.array([(s.eta[0], s.mu[0]) for task, s in found if task.branch == "unbiased"])
    assert (np.diff(biased, axis=0) > 0).all()
    assert free[:, 1] == pytest.approx(np.linspace(biased[0, 1], biased[-1, 1], 5))
    between = np.interp(free[1:-1, 1], biased[:, 1], biased[:, 0])
    assert np.abs(free[1:-1, 0] - between).max() < 0.05
    # only the composition is biased
    assert all((s.ensemble.phi[1:] == 0).all() for task, s in found if task.branch == "biased")


def test_a_point_of_a_branch_has_its_own_random_numbers():
    one, other = monte_carlo(seed=1), monte_carlo(seed=2)
    task = biased_tasks(one, 5)[3]
    assert (task.branch, task.index) == ("biased", 3)
    assert task.value == pytest.approx(4 / 6)
    rng = np.random.default_rng(9)
    assert task.run(one, rng).mu[0] == task.run(other, rng).mu[0]
    assert task.run(one, rng).mu[0] != CurveTask("biased", 2, 4 / 6).run(one, rng).mu[0]
