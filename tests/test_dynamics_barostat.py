"""Barostat: its equation, and the pressure it reaches."""

import numpy as np
import pytest
from analytic import HarmonicCrystal, voigt, z_score
from ase import units
from ase.build import bulk
from ase.constraints import FixAtoms, FixCom
from ase.md.velocitydistribution import thermalize_momenta

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import Barostat, HALLangevin, Ramp


def crystal(seed=0):
    rng = np.random.default_rng(seed)
    atoms = bulk("Al", cubic=True)
    v = np.array([0.02, -0.02])
    committee = HarmonicCrystal.around(
        atoms,
        bulk_modulus=80 * units.GPa,
        spread=np.outer([0.2, -0.2], np.ones(4)),
        volume_spread=v,
        noise=0.1,
        free_stress=True,
    )
    thermalize_momenta(atoms, temperature_K=300, rng=rng)
    atoms.positions += rng.normal(scale=0.1, size=(4, 3))
    return atoms, committee


def biased_stress(atoms, committee, tau):
    p = committee.predict(atoms, stress=True)
    kinetic = -(atoms.get_momenta().T @ atoms.get_velocities()) / atoms.get_volume()
    return p.stress - tau * p.energy_std_stress + voigt(kinetic)


@pytest.mark.parametrize("isotropic", [True, False])
def test_one_application_is_the_documented_equation(isotropic):
    atoms, committee = crystal()
    atoms.calc = HALCalculator(committee, tau=1.5)
    s = biased_stress(atoms, committee, 1.5)
    full = np.array([[s[0], s[5], s[4]], [s[5], s[1], s[3]], [s[4], s[3], s[2]]])
    if isotropic:
        full = np.eye(3) * s[:3].mean()
    pressure, modulus, time, dt = 0.02, 0.4, 40.0, 0.2
    strain = -5 * dt / (3 * modulus * time) * (full + pressure * np.eye(3))
    cell, scaled = atoms.cell.array.copy(), atoms.get_scaled_positions(wrap=False)
    momenta = atoms.get_momenta()
    barostat = Barostat(
        pressure, relaxation_time=time, bulk_modulus=modulus, isotropic=isotropic, interval=5
    )
    barostat.apply(atoms, timestep=dt, step=0)
    assert np.abs(strain).max() < barostat.max_strain
    assert atoms.cell.array == pytest.approx(cell @ (np.eye(3) + strain))
    assert atoms.get_scaled_positions(wrap=False) == pytest.approx(scaled)
    assert np.array_equal(atoms.get_momenta(), momenta)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_single_application_is_bounded(sign):
    atoms, committee = crystal()
    atoms.calc = HALCalculator(committee)
    volume = atoms.get_volume()
    Barostat(sign * 1e3, max_strain=1e-3).apply(atoms, timestep=units.fs, step=0)
    assert atoms.get_volume() / volume == pytest.approx((1 - sign * 1e-3) ** 3)


def test_pressure_ramps():
    ends = []
    for pressure, step in [(Ramp(0.0, 0.4, 100), 25), (0.1, 0)]:
        atoms, committee = crystal()
        atoms.calc = HALCalculator(committee)
        Barostat(pressure).apply(atoms, timestep=units.fs, step=step)
        ends.append(atoms.get_volume())
    assert ends[0] == ends[1]


@pytest.mark.slow
@pytest.mark.parametrize("tau", [0.0, 3.0])
def test_it_reaches_the_pressure_on_the_biased_surface(tau):
    atoms, committee = crystal()
    atoms.calc = HALCalculator(committee)
    target = 4 * units.GPa
    dyn = HALLangevin(
        atoms,
        3 * units.fs,
        temperature_K=300,
        friction=0.05 / units.fs,
        tau=tau,
        trigger=None,
        rng=np.random.default_rng(1),
        barostat=Barostat(target, relaxation_time=200 * units.fs, bulk_modulus=80 * units.GPa),
    )
    unbiased, volume = [], []

    def observe():
        p = committee.predict(atoms, stress=True)
        unbiased.append(-p.stress[:3].mean() / units.GPa + 2 * kinetic())
        volume.append(atoms.get_volume())

    def kinetic():
        return atoms.get_kinetic_energy() / (3 * atoms.get_volume()) / units.GPa

    dyn.attach(observe, interval=5)
    dyn.run(4000)
    pressure = dyn.trace.pressure_GPa[1000:]
    assert abs(z_score(pressure, 4.0)) < 4
    assert pressure.mean() == pytest.approx(4.0, abs=0.4)
    if tau:
        assert abs(np.mean(unbiased[200:]) - 4.0) > 1.0  # the bias carries part of the load
    else:
        # springs and motion cancel on average: P = B (1 - V/V0)
        expected = committee.volume * (1 - 4 / 80)
        assert np.mean(volume[200:]) == pytest.approx(expected, rel=0.005)


def test_constraints():
    atoms, committee = crystal()
    atoms.set_constraint(FixAtoms([0]))
    with pytest.raises(ValueError, match="FixAtoms forbids"):
        Barostat(0.0).check(atoms)
    atoms.set_constraint(FixCom())
    atoms.calc = HALCalculator(committee)
    centre = atoms.get_center_of_mass()
    Barostat(0.0).check(atoms)
    Barostat(1.0).apply(atoms, timestep=units.fs, step=0)
    assert atoms.get_center_of_mass() == pytest.approx(centre)


@pytest.mark.parametrize(
    "keywords",
    [
        {"pressure": np.nan},
        {"relaxation_time": 0.0},
        {"bulk_modulus": -1.0},
        {"max_strain": 0.5},
        {"interval": 0},
    ],
)
def test_bad_arguments(keywords):
    with pytest.raises(ValueError, match="must be"):
        Barostat(**{"pressure": 0.0, **keywords})
