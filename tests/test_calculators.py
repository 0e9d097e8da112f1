"""HALCalculator and CommitteeCalculator: derivatives, caching, and ASE's habits."""

import json
import pickle

import numpy as np
import pytest
from analytic import Counting, HarmonicCrystal, IdealGas, voigt
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import PropertyNotImplementedError, all_properties
from ase.constraints import FixAtoms
from ase.io import read, write
from ase.md.contour_exploration import ContourExploration
from ase.optimize import BFGS

from ase_hal.calculators import CommitteeCalculator, HALCalculator
from ase_hal.committee import Committee


def rattled(atoms, rng, stdev=0.1):
    moved = atoms.copy()
    moved.positions += rng.normal(scale=stdev, size=(len(atoms), 3))
    return moved


def crystal(rng, **keywords):
    """A strained, rattled crystal and a committee with every term switched on."""
    atoms = bulk("Al", cubic=True) * (2, 1, 1)
    spread = rng.normal(scale=0.3, size=(6, len(atoms)))
    volume_spread = rng.normal(scale=0.01, size=6)
    terms = {
        "spread": spread - spread.mean(axis=0),
        "volume_spread": volume_spread - volume_spread.mean(),
        "noise": 0.05,
        "bulk_modulus": 0.4,
    }
    committee = HarmonicCrystal.around(atoms, **{**terms, **keywords})
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    return rattled(atoms, rng), committee


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.mark.parametrize("tau", [-0.7, 0.0, 0.3, 2.0, 40.0])
def test_forces_are_derivatives_of_the_biased_energy(tau, rng):
    atoms, committee = crystal(rng)
    atoms.calc = HALCalculator(committee, tau=tau)
    forces, step = atoms.get_forces(), 1e-4
    for i, x in [(0, 0), (3, 1), (7, 2)]:
        energies = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.calc = HALCalculator(committee, tau=tau)
            moved.positions[i, x] += sign * step
            energies.append(moved.get_potential_energy())
        assert -(energies[0] - energies[1]) / (2 * step) == pytest.approx(
            forces[i, x], abs=1e-7 * (1 + abs(tau))
        )


@pytest.mark.parametrize("tau", [-0.7, 0.0, 0.3, 2.0, 40.0])
def test_stress_is_a_derivative_of_the_biased_energy(tau, rng):
    atoms, committee = crystal(rng)
    atoms.calc = HALCalculator(committee, tau=tau)
    step, numerical = 1e-5, np.zeros((3, 3))
    for a in range(3):
        for b in range(3):
            energies = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += sign * step / 2
                strain[b, a] += sign * step / 2
                strained = atoms.copy()
                strained.set_cell(atoms.cell @ strain, scale_atoms=True)
                strained.calc = HALCalculator(committee, tau=tau)
                energies.append(strained.get_potential_energy())
            numerical[a, b] = (energies[0] - energies[1]) / (2 * step) / atoms.get_volume()
    assert atoms.get_stress() == pytest.approx(voigt(numerical), abs=1e-8 * (1 + abs(tau)))


def test_energy_is_the_mean_less_tau_sigma(rng):
    atoms, committee = crystal(rng)
    p = committee.predict(atoms)
    atoms.calc = HALCalculator(committee, tau=1.5)
    assert atoms.get_potential_energy() == pytest.approx(p.energy - 1.5 * p.energy_std)
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()
    atoms.calc = CommitteeCalculator(committee)
    assert atoms.get_potential_energy() == p.energy
    assert np.array_equal(atoms.get_forces(), p.forces)


def test_a_change_of_tau_refreshes_results_and_costs_nothing(rng):
    atoms, committee = crystal(rng)
    committee = Counting(committee)
    atoms.calc = HALCalculator(committee)
    p = atoms.calc.predict(atoms, stress=True)
    before = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    atoms.calc.tau = 2.0
    after = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    assert after[0] - before[0] == pytest.approx(-2 * p.energy_std)
    assert after[1] - before[1] == pytest.approx(2 * p.energy_std_gradient)
    assert after[2] - before[2] == pytest.approx(-2 * p.energy_std_stress)
    assert len(committee.asked) == 1


def test_the_committee_is_asked_once_per_structure_and_only_for_what_is_needed(rng):
    atoms, committee = crystal(rng)
    committee = Counting(committee)
    atoms.calc = HALCalculator(committee)
    for _ in range(3):
        atoms.get_forces()
        atoms.get_potential_energy()
        atoms.calc.predict(atoms)
    assert committee.asked == [(False, False)]
    atoms.get_stress()
    assert committee.asked[1:] == [(False, True)]
    assert atoms.calc.predict(atoms, members=True).member_forces is not None
    assert committee.asked[2:] == [(True, True)]  # what was known already is not lost
    atoms.get_stress()
    atoms.calc.predict(atoms)
    atoms.calc.predict(atoms, members=True, stress=True)
    assert len(committee.asked) == 3


def test_a_rejected_trial_costs_nothing_more(rng):
    atoms, committee = crystal(rng)
    committee = Counting(committee)
    atoms.calc = HALCalculator(committee, tau=1.0)
    energy, positions = atoms.get_potential_energy(), atoms.positions.copy()
    for _ in range(4):
        atoms.positions += rng.normal(scale=0.01)
        assert atoms.get_potential_energy() != energy
        atoms.positions[:] = positions
        assert atoms.get_potential_energy() == energy
    assert len(committee.asked) == 5


def test_eager_members_saves_an_evaluation(rng):
    atoms, committee = crystal(rng)
    committee = Counting(committee)
    atoms.calc = HALCalculator(committee)
    atoms.get_forces()
    atoms.calc.eager_members = True
    atoms.get_forces()  # nothing new, nothing asked
    atoms.positions[0, 0] += 0.01
    atoms.get_forces()
    atoms.calc.predict(atoms, members=True)
    assert committee.asked == [(False, False), (True, False)]


def change_positions(atoms):
    atoms.positions[1, 2] += 1e-12


def change_cell(atoms):
    atoms.cell[0, 0] += 1e-12


def change_numbers(atoms):
    atoms.numbers[0] = 14


def change_pbc(atoms):
    atoms.pbc = (True, True, False)


def change_magmoms(atoms):
    atoms.set_initial_magnetic_moments(np.ones(len(atoms)))


@pytest.mark.parametrize(
    "change", [change_positions, change_cell, change_numbers, change_pbc, change_magmoms]
)
def test_every_change_of_the_structure_is_noticed(change, rng):
    atoms, committee = crystal(rng)
    committee = Counting(committee)
    atoms.calc = CommitteeCalculator(committee)
    atoms.get_potential_energy()
    assert not atoms.calc.calculation_required(atoms, ["energy", "forces"])
    change(atoms)
    assert atoms.calc.check_state(atoms)
    assert atoms.calc.calculation_required(atoms, ["energy"])
    atoms.get_potential_energy()
    assert len(committee.asked) == 2
    assert not atoms.calc.check_state(atoms)


def test_what_is_no_part_of_the_structure_is_ignored(rng):
    atoms, committee = crystal(rng)
    committee = Counting(committee)
    atoms.calc = CommitteeCalculator(committee)
    atoms.get_potential_energy()
    atoms.set_momenta(rng.normal(size=(len(atoms), 3)))
    atoms.set_constraint(FixAtoms([0]))
    atoms.info["hal"] = 1
    atoms.get_potential_energy()
    assert len(committee.asked) == 1


@pytest.mark.parametrize(
    "build",
    [
        lambda: molecule("H2O"),
        lambda: molecule("H2O", vacuum=3.0),
        lambda: fcc111("Al", (1, 1, 3)),
    ],
)
def test_molecules_and_slabs_without_volume_work_and_have_no_stress(build, rng):
    atoms = build()
    spread = np.outer([0.2, -0.2], np.ones(len(atoms)))
    committee = Counting(HarmonicCrystal.around(atoms, spread=spread))
    atoms = rattled(atoms, rng)
    atoms.calc = HALCalculator(committee, tau=1.0)
    atoms.get_forces()
    BFGS(atoms, logfile=None).run(fmax=0.05, steps=5)
    assert not any(stress for _, stress in committee.asked)
    with pytest.raises(PropertyNotImplementedError, match="periodic volume"):
        atoms.get_stress()


def test_results_hold_standard_names_only_and_can_be_exported(rng):
    atoms, committee = crystal(rng)
    atoms.calc = HALCalculator(committee, tau=0.2)
    atoms.get_stress()
    assert set(atoms.calc.results) == {"energy", "free_energy", "forces", "stress"}
    assert set(atoms.calc.results) <= set(all_properties)
    assert atoms.calc.export_properties()["energy"] == atoms.get_potential_energy()
    assert CommitteeCalculator.implemented_properties == [
        "energy", "free_energy", "forces", "stress",
    ]  # fmt: skip
    with pytest.raises(PropertyNotImplementedError, match="dipole"):
        atoms.get_dipole_moment()


def test_todict_is_json_and_travels_with_a_trajectory(tmp_path, rng):
    atoms, committee = crystal(rng)
    atoms.calc = HALCalculator(committee, tau=0.25)
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    assert json.loads(json.dumps(atoms.calc.todict())) == {
        "committee": "HarmonicCrystal",
        "tau": 0.25,
    }
    write(tmp_path / "a.traj", atoms)
    back = read(tmp_path / "a.traj")
    assert back.calc.parameters["tau"] == 0.25
    assert back.get_potential_energy() == energy
    write(tmp_path / "a.xyz", atoms, format="extxyz")
    assert read(tmp_path / "a.xyz").get_forces() == pytest.approx(forces, abs=1e-7)


def test_what_is_returned_is_not_what_is_kept(rng):
    atoms, committee = crystal(rng)
    atoms.calc = CommitteeCalculator(committee)
    forces = atoms.get_forces()
    forces[:] = 0
    assert atoms.get_forces().any()


def test_without_atoms_the_last_results_are_given(rng):
    atoms, committee = crystal(rng)
    calc = CommitteeCalculator(committee)
    with pytest.raises(ValueError, match="needs the atoms"):
        calc.get_potential_energy()
    atoms.calc = calc
    energy = atoms.get_potential_energy()
    assert calc.get_potential_energy() == energy
    assert calc.get_property("stress", atoms, allow_calculation=False) is None


def test_calculators_can_be_pickled(rng):
    atoms, committee = crystal(rng)
    calc = HALCalculator(committee, tau=0.5)
    copy = pickle.loads(pickle.dumps(calc))
    assert copy.tau == 0.5
    assert copy.get_potential_energy(atoms) == calc.get_potential_energy(atoms)


def test_contour_exploration_runs_on_the_mean(rng):
    atoms, committee = crystal(rng)
    atoms.calc = CommitteeCalculator(committee)
    target = atoms.get_potential_energy() + 0.5
    generator = np.random.RandomState(1)
    dyn = ContourExploration(atoms, energy_target=target, maxstep=0.1, rng=generator)
    dyn.run(100)
    assert atoms.get_potential_energy() == pytest.approx(target, abs=0.05)


def test_errors_of_the_committee_come_through():
    class Picky:
        elements = ("Al",)

        def predict(self, atoms, members=False, stress=False):
            raise ValueError(f"unknown element {atoms.symbols[0]}")

    atoms = Atoms("He", calculator=HALCalculator(Picky()))
    with pytest.raises(ValueError, match="unknown element He"):
        atoms.get_potential_energy()


def test_not_a_number_is_passed_on():
    class Broken(IdealGas):
        def predict(self, atoms, members=False, stress=False):
            p = super().predict(atoms)
            p.forces[:] = np.nan
            return p

    atoms = bulk("Al")
    atoms.calc = HALCalculator(Broken(), tau=1.0)
    assert np.isnan(atoms.get_forces()).all()


def test_arguments_are_checked():
    with pytest.raises(TypeError, match="committee must have"):
        HALCalculator(object())
    with pytest.raises(ValueError, match="tau must be a finite number, got nan"):
        HALCalculator(IdealGas(), tau=float("nan"))
    calc = HALCalculator(IdealGas())
    with pytest.raises(ValueError, match="finite"):
        calc.tau = float("inf")
    assert isinstance(IdealGas(), Committee)


def test_another_committee_is_asked_anew(rng):
    atoms = bulk("Al", a=4.0, cubic=True)
    moved = atoms.copy()
    moved.rattle(0.1, seed=1)
    first, second = HarmonicCrystal.around(atoms), HarmonicCrystal.around(moved)
    atoms.calc = CommitteeCalculator(first)
    before = atoms.get_potential_energy()
    atoms.calc.committee = second
    assert atoms.get_potential_energy() == second.predict(atoms).energy != before
