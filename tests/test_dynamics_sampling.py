"""HALLangevin samples the distributions it should, with and without a bias."""

import numpy as np
import pytest
from analytic import HarmonicCrystal, z_score
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta
from scipy.integrate import quad

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import AdaptiveTau, HALLangevin

STIFFNESS = 5.0  # eV/Å^2


def sample(committee, atoms, *, tau, temperature, steps, seed):
    """Mean energies, displacements and kinetic energies along a run, from its second 1/20 on."""
    rng = np.random.default_rng(seed)
    atoms.calc = HALCalculator(committee)
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    dyn = HALLangevin(
        atoms,
        3 * units.fs,
        temperature_K=temperature,
        friction=0.05 / units.fs,
        tau=tau,
        trigger=None,
        rng=rng,
    )
    sites, u = atoms.positions.copy(), []
    dyn.attach(lambda: u.append((atoms.positions - sites).ravel()))
    dyn.run(steps)
    assert dyn.outcome == "stable"
    start = steps // 20
    kinetic = dyn.trace.temperature_K[start:] * 1.5 * len(atoms) * units.kB
    return dyn.trace.energy[start:], np.array(u[start:]), kinetic


def spread_of(k, n_atoms):
    """Relative deviations of k members with the same standard deviation 0.5 for all atoms."""
    d = np.linspace(-1, 1, k)
    return np.outer(0.5 * d / d.std(), np.ones(n_atoms))


@pytest.mark.slow
def test_without_bias_it_samples_the_boltzmann_distribution():
    temperature = 500.0
    kT = units.kB * temperature
    atoms = bulk("Al", cubic=True)
    committee = HarmonicCrystal.around(
        atoms, stiffness=STIFFNESS, spread=spread_of(4, 4), noise=0.1
    )
    energy, u, kinetic = sample(
        committee, atoms, tau=AdaptiveTau(0.0), temperature=temperature, steps=12000, seed=1
    )
    half = 3 * len(atoms) / 2  # energies follow gamma distributions of this shape
    for series in (energy, kinetic):
        assert abs(z_score(series, half * kT)) < 4
        assert abs(z_score(series**2, half * (half + 1) * kT**2)) < 4
        assert series.mean() == pytest.approx(half * kT, rel=0.03)
    z_means = [z_score(x, 0.0) for x in u.T]
    z_variances = [z_score(x**2, kT / STIFFNESS) for x in u.T]
    assert max(map(abs, z_means + z_variances)) < 4.2
    # positions do not depend on momenta
    assert abs(z_score((energy - half * kT) * (kinetic - half * kT), 0.0)) < 4


@pytest.mark.slow
@pytest.mark.parametrize("tau", [-0.8, 0.9])
def test_a_constant_tau_samples_the_biased_distribution(tau):
    temperature, noise = 600.0, 0.15
    kT = units.kB * temperature
    atoms = bulk("Al", cubic=True)
    committee = HarmonicCrystal.around(
        atoms, stiffness=STIFFNESS, spread=spread_of(4, 4), noise=noise
    )
    energy, _, kinetic = sample(
        committee, atoms, tau=tau, temperature=temperature, steps=12000, seed=2
    )
    half = 3 * len(atoms) / 2

    # sigma = sqrt(noise^2 + E^2 / 4), and E has the density E^(half - 1) exp(-(E - tau sigma)/kT)
    def moment(power):
        def density(x):
            sigma = np.sqrt(noise**2 + 0.25 * x**2)
            return x ** (power + half - 1) * np.exp(-(x - tau * sigma) / kT)

        return quad(density, 0, 80 * kT, limit=200)[0]

    expected = moment(1) / moment(0)
    assert abs(z_score(energy, expected)) < 4
    assert abs(z_score(energy**2, moment(2) / moment(0))) < 4
    assert energy.mean() == pytest.approx(expected, rel=0.04)
    assert abs(expected - half * kT) > 0.1 * half * kT  # what it would be without the bias
    assert abs(z_score(kinetic, half * kT)) < 4
