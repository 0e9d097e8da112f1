"""HALLangevin: the documented script, ramps, records, and what the user set."""

import json

import numpy as np
import pytest
from analytic import HarmonicCrystal, IdealGas
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.io import Trajectory
from langevin_cases import crystal, dynamics

from ase_hal.calculators import CommitteeCalculator, HALCalculator
from ase_hal.dynamics import AdaptiveTau, Barostat, CellMC, HALLangevin, Ramp, SwapMC, Trigger


def test_the_documented_script_runs(capsys):
    atoms = bulk("Al", cubic=True) * 2
    spread = np.random.default_rng(0).normal(scale=0.3, size=(8, 32))
    committee = HarmonicCrystal.around(atoms, spread=spread - spread.mean(axis=0), noise=0.05)

    atoms.calc = HALCalculator(committee)
    dyn = HALLangevin(
        atoms,
        1 * units.fs,
        temperature_K=800,
        friction=0.01 / units.fs,
        tau=AdaptiveTau(0.1),
        trigger=Trigger("softmax", 0.5),
        rng=np.random.default_rng(1),
        logfile="-",
    )
    dyn.run(200)
    assert dyn.outcome == "stable"
    assert dyn.reason == ""
    assert len(dyn.trace) == 201
    assert dyn.trace.tau[-1] > 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == [
        "Step", "Time[fs]", "T[K]", "P[GPa]", "tau", "Emean[eV]", "sigma[eV]", "score",
    ]  # fmt: skip
    assert len(lines) == 202
    assert {len(line) for line in lines} == {len(lines[0])}


def test_temperature_ramps_reach_the_thermostat_and_the_moves():
    seen = []

    class Spy:
        interval, attempts = 5, 1

        def check(self, atoms):
            pass

        def attempt(self, atoms, *, temperature_K, rng, step=0):
            seen.append((step, temperature_K))
            return False

    atoms, committee = crystal()
    dyn = dynamics(atoms, committee, temperature_K=Ramp(300, 100, 20), moves=[Spy()])
    thermostat = []
    dyn.attach(lambda: thermostat.append(dyn.temp / units.kB))
    dyn.run(25)
    assert thermostat[1:] == pytest.approx([300 - 10 * n for n in range(20)] + [100] * 5)
    assert seen == [(5, 250.0), (10, 200.0), (15, 150.0), (20, 100.0)]


def test_ramps():
    ramp = Ramp(2.0, 4.0, 10)
    assert [ramp(n) for n in (0, 5, 10, 99)] == [2.0, 3.0, 4.0, 4.0]
    with pytest.raises(ValueError, match="at least one step, got 0"):
        Ramp(0, 1, 0)
    with pytest.raises(ValueError, match="finite ends"):
        Ramp(0, np.inf, 5)


# What the user set


def test_constraints_stay():
    atoms, committee = crystal()
    atoms.symbols[::2] = "Si"
    constraint = FixAtoms([0, 1])
    atoms.set_constraint(constraint)
    fixed = atoms.positions[:2].copy()
    dyn = dynamics(atoms, committee, moves=[SwapMC(2)], trigger=Trigger("relative", 1e9))
    dyn.run(40)
    assert np.array_equal(atoms.positions[:2], fixed)
    assert not atoms.get_momenta()[:2].any()
    assert len(atoms.constraints) == 1
    assert atoms.constraints[0].index.tolist() == [0, 1]
    # 6 free atoms: the thermometer does not count the others
    kinetic = atoms.get_kinetic_energy()
    assert dyn.trace.temperature_K[-1] == pytest.approx(2 * kinetic / (18 * units.kB))


def test_trace_and_pressure():
    atoms, committee = crystal(bulk_modulus=0.5, free_stress=True)
    dyn = dynamics(atoms, committee, tau=0.8)
    dyn.run(7)
    trace = dyn.trace
    assert trace.time_fs == pytest.approx(2.0 * np.arange(8))
    assert trace.temperature_K[-1] == pytest.approx(atoms.get_temperature())
    stress = atoms.get_stress(include_ideal_gas=True)  # biased
    assert trace.pressure_GPa[-1] == pytest.approx(-stress[:3].mean() / units.GPa)
    assert np.isnan(trace.score).all()
    atoms, committee = crystal()
    dyn = dynamics(atoms, committee)
    dyn.run(2)
    assert np.isnan(dyn.trace.pressure_GPa).all()


def test_log_and_trajectory_files(tmp_path):
    atoms, committee = crystal()
    with dynamics(
        atoms,
        committee,
        trigger=Trigger(lambda prediction: 1.0, 0.5, interval=25),
        logfile=str(tmp_path / "md.log"),
        trajectory=str(tmp_path / "md.traj"),
        loginterval=10,
    ) as dyn:
        dyn.run(40)
    table = np.loadtxt(tmp_path / "md.log", skiprows=1)
    assert table[:, 0].tolist() == [0, 10, 20, 25]  # and where it stopped
    assert table[-1, 7] == pytest.approx(dyn.trace.score[-1], abs=1e-4)
    with Trajectory(tmp_path / "md.traj") as frames:
        assert len(frames) == 3
        tau = frames[-1].calc.parameters["tau"]
        p = committee.predict(frames[-1])
        assert tau == pytest.approx(dyn.trace.tau[20])
        assert frames[-1].get_potential_energy() == pytest.approx(p.energy - tau * p.energy_std)
        assert json.dumps(frames.description)
        assert "AdaptiveTau" in frames.description["tau"]


def test_atoms_without_a_cell_run_too():
    rng = np.random.default_rng(0)
    atoms = Atoms("Al3", positions=rng.normal(scale=3, size=(3, 3)))
    committee = HarmonicCrystal.around(atoms, spread=np.outer([0.1, -0.1], np.ones(3)))
    dyn = dynamics(atoms, committee, tau=1.0, trigger=Trigger("relative", 1e9, min_distance=0))
    dyn.run(20)
    assert dyn.outcome == "stable"


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"temperature_K": -5}, ValueError, "temperature_K must not be negative"),
        ({"temperature_K": Ramp(300, -5, 9)}, ValueError, "temperature_K must not be negative"),
        ({"friction": -1}, ValueError, "friction must not be negative"),
        ({"rng": np.random}, TypeError, "rng must be a numpy Generator, got module"),
        ({"tau": float("nan")}, ValueError, "tau must be a finite number"),
        ({"moves": [SwapMC(5)]}, ValueError, "nothing to swap"),
        ({"temperature_K": Ramp(300, 0, 9), "moves": [CellMC(5)]}, ValueError, "moves need"),
        ({"fixcm": True}, TypeError, "fixcm"),
    ],
)
def test_bad_arguments_are_told_before_the_run(keywords, error, message):
    atoms, committee = crystal()
    with pytest.raises(error, match=message):
        dynamics(atoms, committee, **keywords)


@pytest.mark.parametrize("part", [{"moves": [CellMC(5)]}, {"barostat": Barostat(0.0)}])
def test_partly_periodic_cells_are_refused_before_the_run(part):
    atoms, committee = crystal()
    atoms.pbc = (True, True, False)
    with pytest.raises(ValueError, match="three periodic directions"):
        dynamics(atoms, committee, **part)


@pytest.mark.parametrize("calc", [CommitteeCalculator(IdealGas()), EMT(), None])
def test_it_needs_a_hal_calculator(calc):
    atoms = bulk("Al", cubic=True)
    atoms.calc = calc
    with pytest.raises(TypeError, match="must be a HALCalculator"):
        HALLangevin(
            atoms,
            units.fs,
            temperature_K=300,
            friction=0.1,
            tau=0.0,
            trigger=None,
            rng=np.random.default_rng(0),
        )
