"""CalculatorCommittee: statistics of unlike calculators, derivatives, and what goes wrong."""

import copy
import pickle
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.calculator import (
    CalculationFailed,
    Calculator,
    PropertyNotImplementedError,
)
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS

from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.calculators import CommitteeCalculator, HALCalculator
from ase_hal.committee import Committee
from ase_hal.dynamics import HALLangevin, Trigger
from ase_hal.dynamics.sanity import StructureRefused, refusals_named


class Scaled(Calculator):
    """EMT times a factor, without free energy and without stress where told so."""

    def __init__(self, factor, stress=True, **keywords):
        super().__init__(**keywords)
        self.inner = EMT()
        self.factor = factor
        self.implemented_properties = ["energy", "forces", *(["stress"] if stress else [])]

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        for name in self.implemented_properties:
            value = self.inner.get_property("free_energy" if name == "energy" else name, atoms)
            self.results[name] = self.factor * value


class Answers(Calculator):
    """Whatever it was told to answer."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def __init__(self, energy=0.0, forces=None, elements=None):
        super().__init__()
        self.energy, self.forces = energy, forces
        if elements:
            self.elements = elements

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3)) if self.forces is None else self.forces
        self.results = {"energy": self.energy, "forces": forces, "stress": np.zeros(6)}


class Smeared(Answers):
    """An energy and another free energy: the forces belong to the second."""

    implemented_properties = ["energy", "free_energy", "forces"]  # noqa: RUF012

    def calculate(self, atoms, properties, system_changes):
        super().calculate(atoms, properties, system_changes)
        self.results |= {"energy": self.energy + 1.0, "free_energy": self.energy}


class Refuses(Answers):
    def calculate(self, atoms, properties, system_changes):
        raise self.energy


def unlike(stress=True):
    lj = LennardJones(sigma=2.5, epsilon=0.3, rc=6.0, smooth=True)
    return [EMT(), lj, Scaled(1.3, stress)]


def crystal(rng, element="Al"):
    atoms = bulk(element, cubic=True)
    atoms.set_cell(atoms.cell @ (np.eye(3) + 0.02 * rng.normal(size=(3, 3))), scale_atoms=True)
    atoms.positions += rng.normal(scale=0.1, size=(len(atoms), 3))
    return atoms


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def test_is_a_committee():
    assert isinstance(CalculatorCommittee(unlike()), Committee)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_mean_and_sigma_are_those_of_the_members(rng, ddof, floor):
    atoms = crystal(rng)
    said = CalculatorCommittee(unlike(), floor=floor, ddof=ddof).predict(
        atoms, members=True, stress=True
    )
    energies, forces, stresses = [], [], []
    for calc in unlike():
        alone = atoms.copy()
        alone.calc = calc
        forces.append(alone.get_forces())
        energies.append(calc.results.get("free_energy", calc.results["energy"]))
        stresses.append(alone.get_stress())
    assert said.member_energies == pytest.approx(energies)
    assert said.member_forces == pytest.approx(np.array(forces))
    assert said.energy == pytest.approx(np.mean(energies))
    assert said.forces == pytest.approx(np.mean(forces, axis=0))
    assert said.stress == pytest.approx(np.mean(stresses, axis=0))
    assert said.model_std == pytest.approx(np.std(energies, ddof=ddof))
    assert said.energy_std**2 == pytest.approx(np.var(energies, ddof=ddof) + 4 * floor**2)


@pytest.mark.parametrize("ddof", [0, 1])
@pytest.mark.parametrize("floor", [0.0, 2.0])
def test_grad_sigma_is_a_derivative(rng, ddof, floor):
    """With a floor as large as the spread, so that leaving it out of one of the two shows."""
    atoms, step = crystal(rng), 1e-4
    committee = CalculatorCommittee(unlike(), floor=floor, ddof=ddof)
    said = committee.predict(atoms)
    for i, x in [(0, 0), (1, 2), (3, 1)]:
        sigmas = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[i, x] += sign * step
            sigmas.append(committee.predict(moved).energy_std)
        numerical = (sigmas[0] - sigmas[1]) / (2 * step)
        assert said.energy_std_gradient[i, x] == pytest.approx(numerical, abs=2e-7)


@pytest.mark.parametrize("tau", [0.0, 0.8])
def test_biased_stress_is_a_derivative(rng, tau):
    atoms, step = crystal(rng), 1e-5
    atoms.calc = HALCalculator(CalculatorCommittee(unlike(), floor=0.5), tau=tau)
    stress = atoms.get_stress(voigt=False)
    for a, b in [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]:
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ strain, scale_atoms=True)
            strained.calc = atoms.calc
            energies.append(strained.get_potential_energy())
        numerical = (energies[0] - energies[1]) / (2 * step * atoms.get_volume())
        assert stress[a, b] == pytest.approx(numerical, abs=1e-7)


def test_members_that_agree_have_no_direction(rng):
    said = CalculatorCommittee([EMT(), EMT()], floor=0.0).predict(crystal(rng))
    assert said.energy_std == 0
    assert np.array_equal(said.energy_std_gradient, np.zeros((4, 3)))
    floored = CalculatorCommittee([EMT(), EMT()], floor=0.01).predict(crystal(rng))
    assert floored.energy_std == pytest.approx(0.02)  # sqrt(4 atoms) * 0.01
    assert floored.model_std == 0


def test_the_free_energy_is_taken_where_there_is_one():
    said = CalculatorCommittee([Smeared(2.0), Answers(4.0)]).predict(bulk("Al"))
    assert said.member_energies.tolist() == [2.0, 4.0]


def test_stress_is_not_computed_unless_asked_for(rng):
    atoms = crystal(rng)
    committee = CalculatorCommittee(unlike(stress=False))
    assert committee.predict(atoms).stress is None
    with pytest.raises(PropertyNotImplementedError, match=r"member 2 \(Scaled\).*stress"):
        committee.predict(atoms, stress=True)
    atoms.calc = HALCalculator(committee, tau=0.1)
    assert np.isfinite(atoms.get_forces()).all()
    with pytest.raises(PropertyNotImplementedError, match="member 2"):
        atoms.get_stress()


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_an_executor_changes_nothing(rng, kind):
    structures = [crystal(rng) for _ in range(3)]
    alone = [CalculatorCommittee(unlike()).predict(a, True, True) for a in structures]
    pool = ThreadPoolExecutor(3)
    if kind == "processes":
        pool = ProcessPoolExecutor(1, mp_context=get_context("fork"))
    with pool:
        committee = CalculatorCommittee(unlike(), executor=pool)
        for atoms, expected in zip(structures, alone, strict=True):
            said = committee.predict(atoms, True, True)
            for name, value in vars(expected).items():
                assert getattr(said, name) == pytest.approx(value, rel=1e-10, abs=1e-12), name


class Meets(Answers):
    """Answers once another member is being asked at the same time."""

    def __init__(self, barrier):
        super().__init__()
        self.barrier = barrier

    def calculate(self, atoms, properties, system_changes):
        self.barrier.wait(timeout=20)
        super().calculate(atoms, properties, system_changes)


def test_an_executor_asks_members_at_the_same_time(rng):
    """One after the other they would wait for each other until the barrier breaks."""
    barrier = threading.Barrier(3)
    with ThreadPoolExecutor(3) as pool:
        committee = CalculatorCommittee([Meets(barrier) for _ in range(3)], executor=pool)
        assert committee.predict(crystal(rng)).energy == 0.0
    barrier = threading.Barrier(2)
    barrier.abort()
    with pytest.raises(RuntimeError, match="BrokenBarrierError"):
        CalculatorCommittee([Meets(barrier), Meets(barrier)]).predict(crystal(rng))


def test_atoms_are_untouched_and_constraints_play_no_part(rng):
    atoms = crystal(rng)
    free = CalculatorCommittee(unlike()).predict(atoms)
    atoms.set_constraint(FixAtoms([0, 1]))
    atoms.calc = EMT()
    held = CalculatorCommittee(unlike()).predict(atoms)
    assert np.array_equal(free.forces, held.forces)
    assert np.array_equal(free.energy_std_gradient, held.energy_std_gradient)
    assert type(atoms.calc) is EMT
    assert atoms.calc.results == {}


@pytest.mark.parametrize(
    "atoms",
    [
        fcc111("Al", (1, 1, 2), vacuum=5),
        fcc111("Al", (1, 1, 2)),
        molecule("CO"),
        molecule("CO", vacuum=4),
    ],
)
def test_slabs_and_molecules(atoms):
    committee = CalculatorCommittee(unlike(stress=False))
    assert np.isfinite(committee.predict(atoms).energy_std_gradient).all()
    # The member without a stress is reached only where a stress has a meaning.
    slab = atoms.pbc.any() and atoms.cell.rank == 3
    refusal = PropertyNotImplementedError if slab else ValueError
    with pytest.raises(refusal, match="Scaled" if slab else "volume"):
        committee.predict(atoms, stress=True)


def test_copies_and_pickles_answer_alike_and_share_nothing(rng):
    atoms = crystal(rng)
    with ThreadPoolExecutor(1) as pool:
        committee = CalculatorCommittee(unlike(), floor=0.1, ddof=1, executor=pool)
        committee.predict(crystal(rng))
        fresh = CalculatorCommittee(unlike(), floor=0.1, ddof=1).predict(atoms)
        for twin in (copy.copy(committee), pickle.loads(pickle.dumps(committee))):
            assert not {id(c) for c in twin.calculators} & {id(c) for c in committee.calculators}
            assert twin.predict(atoms).energy_std == fresh.energy_std
        assert copy.copy(committee).executor is pool
        assert pickle.loads(pickle.dumps(committee)).executor is None


def test_relaxation_and_langevin_run_on_it(rng):
    atoms = crystal(rng)
    atoms.calc = HALCalculator(CalculatorCommittee(unlike()), tau=0.1)
    assert BFGS(atoms, logfile=None).run(fmax=0.05, steps=100)
    thermalize_momenta(atoms, temperature_K=300, rng=rng)
    dyn = HALLangevin(
        atoms, units.fs, temperature_K=300, friction=0.01, tau=0.1,
        trigger=Trigger("relative", 1e3), rng=rng,
    )  # fmt: skip
    assert dyn.run(20)


class TestErrors:
    def test_too_few_members(self):
        for members in ([], [EMT()]):
            with pytest.raises(ValueError, match="at least two members, got"):
                CalculatorCommittee(members)

    def test_the_same_member_twice(self):
        calc = EMT()
        with pytest.raises(ValueError, match="twice"):
            CalculatorCommittee([calc, calc])

    def test_not_calculators(self):
        with pytest.raises(TypeError, match="member 1 is not an ASE calculator but a str"):
            CalculatorCommittee([EMT(), "EMT"])

    def test_different_elements(self):
        members = [EMT(), Answers(elements=("Al", "Cu")), Answers(elements=("Al", "Ni"))]
        with pytest.raises(ValueError, match="different elements: member 1 .*Cu.*member 2 .*Ni"):
            CalculatorCommittee(members)
        with pytest.raises(ValueError, match="the committee has Al, member 1"):
            CalculatorCommittee(members[:2], elements=["Al"])

        class Copper(HarmonicCrystal):
            elements = ("Cu",)

        kinds = (HarmonicCrystal, Copper)
        means = [CommitteeCalculator(kind.around(bulk("Al"))) for kind in kinds]
        with pytest.raises(ValueError, match="member 0 .* has Al, Si, member 1 .* has Cu"):
            CalculatorCommittee(means)
        assert CalculatorCommittee(members[:2]).elements == ("Al", "Cu")

    def test_unknown_elements(self):
        committee = CalculatorCommittee([EMT(), EMT()], elements=["Al"])
        with pytest.raises(ValueError, match="knows Al, the structure has Cu"):
            committee.predict(bulk("Cu"))
        with pytest.raises(RuntimeError, match=r"member 0 \(EMT\) failed: NotImplementedError"):
            CalculatorCommittee([EMT(), EMT()]).predict(bulk("Nb"))
        with pytest.raises(ValueError, match=r"chemical symbols, got \['Qq'\]"):
            CalculatorCommittee([EMT(), EMT()], elements=["Al", "Qq"])

    @pytest.mark.parametrize(
        ("bad", "what"),
        [(Answers(forces=np.full((1, 3), np.nan)), "forces"), (Answers(np.inf), "energy")],
    )
    def test_numbers_that_are_not_finite(self, bad, what):
        committee = CalculatorCommittee([Answers(), bad])
        with pytest.raises(CalculationFailed, match=rf"member 1 \(Answers\) gave {what} with NaN"):
            committee.predict(bulk("Al"))

    def test_a_refusal_ends_a_trajectory_and_a_fault_ends_the_run(self):
        for error, expected in [
            (ValueError("atoms overlap"), StructureRefused),
            (KeyError("model.pt"), RuntimeError),
        ]:
            committee = CalculatorCommittee([Answers(), Refuses(error)])
            with pytest.raises(expected, match=r"member 1 \(Refuses\)") as caught, refusals_named():
                committee.predict(bulk("Al"))
            assert type(caught.value) is expected

    def test_wrong_shapes(self):
        with pytest.raises(RuntimeError, match=r"member 1.*\(2, 3\)"):
            CalculatorCommittee([Answers(), Answers(forces=np.zeros((2, 3)))]).predict(bulk("Al"))

    @pytest.mark.parametrize(
        "wrong", [{"floor": -1}, {"floor": np.nan}, {"ddof": 2}, {"force_scale": 0}]
    )
    def test_parameters(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            CalculatorCommittee([EMT(), EMT()], **wrong)

    def test_isolated_atoms_agree(self):
        said = CalculatorCommittee([Answers(1.0), Answers(3.0)]).predict(Atoms("Al"))
        assert said.model_std == 1.0
