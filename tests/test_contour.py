"""BiasedContourExploration: ASE's trajectory at gamma = 0, steering, resume, and refusals."""

import copy
import functools
import re

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.io import Trajectory
from ase.md.contour_exploration import ContourExploration
from datasets_emt import rattled

from ase_hal import LinearFit
from ase_hal.ace import ACEBasis, PairPart
from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.calculators import CommitteeCalculator, HALCalculator
from ase_hal.dynamics import (
    BiasedContourExploration,
    ContourState,
    Ramp,
    UnreachableTarget,
    run_until,
)
from ase_hal.dynamics.contour import steered_tangent

EXCESS = 0.1  # eV per atom above the perfect crystal


@functools.cache
def aluminium():
    """A linear ACE model of Al/EMT, with its exact posterior."""
    basis = ACEBasis(
        ("Al",), rcut=5.0, nradmax_by_orders=[6, 3], lmax_by_orders=[0, 2],
        pair=PairPart(rcut=5.5, nradmax=6),
    )  # fmt: skip
    dataset = tuple(rattled("Al", 20, rng=np.random.default_rng(3)))
    return LinearFit(basis)(dataset, rng=np.random.default_rng(0))


def members():
    lj = LennardJones(sigma=2.5, epsilon=0.1, rc=5.0, smooth=True)
    return CalculatorCommittee([EMT(), lj])


def crystal(rng, committee=None, size=2):
    atoms = bulk("Al", a=4.0, cubic=True) * size
    atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
    # A copy has a neighbour list of its own, whose history would change the last digits.
    atoms.calc = CommitteeCalculator(copy.copy(committee or aluminium()))
    return atoms


def springs(rng, **keywords):
    """Exactly solvable: the contour is an ellipsoid; no neighbour list, no memory."""
    atoms = bulk("Al", a=4.0, cubic=True)
    spread = np.array([[0.4, -0.2, 0.1, -0.3], [-0.4, 0.2, -0.1, 0.3]])
    committee = HarmonicCrystal.around(atoms, spread=spread, noise=0.01, **keywords)
    atoms.positions += rng.normal(scale=0.1, size=(4, 3))
    atoms.calc = CommitteeCalculator(committee)
    return atoms


def walk(dyn, steps):
    """Positions after each of the steps."""
    return np.array([dyn.atoms.get_positions() for _ in dyn.irun(steps=steps)])


@pytest.mark.parametrize(
    "keywords",
    [
        {},
        {"maxstep": 0.2, "parallel_drift": 0.3, "angle_limit": 10},
        {"remove_translation": True},
        {"use_frenet_serret": False, "maxstep": 0.1},
        {"use_tangent_curvature": True, "use_target_shift": False},
    ],
    ids=lambda k: "-".join(k) or "defaults",
)
def test_gamma_zero_is_ases_trajectory(keywords):
    walks = []
    for kind in (ContourExploration, functools.partial(BiasedContourExploration, gamma=0.0)):
        rng = np.random.default_rng(5)
        atoms = crystal(rng, size=1)
        target = atoms.get_potential_energy() + 4 * EXCESS
        walks.append(walk(kind(atoms, energy_target=target, rng=rng, **keywords), 40))
    assert np.ptp(walks[0], axis=0).max() > 0.1
    assert np.array_equal(*walks)


def test_the_tangent_is_steered():
    rng = np.random.default_rng(0)
    velocities, gradient, forces = rng.normal(size=(3, 5, 3))
    normal = forces / np.linalg.norm(forces)
    tangent = velocities - np.vdot(velocities, normal) * normal
    uphill = gradient - np.vdot(gradient, normal) * normal
    tangent, uphill = tangent / np.linalg.norm(tangent), uphill / np.linalg.norm(uphill)
    for gamma in (0.0, 0.3, 1.0):
        steered = steered_tangent(velocities, gradient, forces, gamma)
        mixed = gamma * uphill + (1 - gamma) * tangent
        assert steered == pytest.approx(mixed / np.linalg.norm(mixed))
        assert np.vdot(steered, forces) == pytest.approx(0, abs=1e-12)
    assert steered_tangent(velocities, -tangent, forces, 0.5) is None  # they cancel
    assert steered_tangent(velocities, 2 * forces, forces, 0.5) is None  # nothing along it
    assert steered_tangent(velocities, 0 * forces, forces, 0.5) is None


def test_a_step_goes_where_it_is_steered():
    """Without drift and potentiostat the step is the tangent, and it is remembered."""
    rng = np.random.default_rng(3)
    atoms = springs(rng)
    dyn = BiasedContourExploration(
        atoms, energy_target=atoms.get_potential_energy(), gamma=0.4, rng=rng, parallel_drift=0.0
    )
    expected = steered_tangent(
        atoms.get_velocities(),
        atoms.calc.predict(atoms).energy_std_gradient,
        atoms.get_forces(),
        0.4,
    )
    before = atoms.get_positions()
    dyn.run(1)
    assert dyn.Told == pytest.approx(expected, abs=1e-12)
    step = atoms.positions - before
    assert step / np.linalg.norm(step) == pytest.approx(expected, abs=1e-12)


def explore(seed, gamma, steps):
    """RMS deviation per atom and gain of sigma, after 50 steps of burn-in."""
    rng = np.random.default_rng(seed)
    atoms = crystal(rng)
    perfect = bulk("Al", a=4.0, cubic=True) * 2
    perfect.calc = CommitteeCalculator(aluminium())
    target = perfect.get_potential_energy() + EXCESS * len(atoms)
    start = atoms.calc.predict(atoms).model_std
    dyn = BiasedContourExploration(atoms, energy_target=target, gamma=gamma, rng=rng)
    deviations, sigmas = [], []
    for _ in dyn.irun(steps=steps):
        deviations.append(atoms.get_potential_energy() - target)
        sigmas.append(atoms.calc.predict(atoms).model_std)
    rms = np.sqrt(np.mean(np.square(deviations[51:]))) / len(atoms)
    return rms, np.mean(sigmas[51:]) - start


@pytest.mark.slow
def test_bias_finds_uncertainty_and_keeps_the_energy():
    """The acceptance of the method: on Al/EMT at the default settings, ten seeds."""
    plain = np.array([explore(seed, 0.0, 120) for seed in range(10)])
    biased = np.array([explore(seed, 0.3, 120) for seed in range(10)])
    assert np.all(biased[:, 0] <= 1.5 * plain[:, 0])
    assert np.all(plain[:, 0] < 0.05 * EXCESS)  # or the comparison would mean little
    assert plain[:, 1].mean() > 0  # a walk that loses sigma is no measure
    assert np.sum(biased[:, 1] >= 1.5 * plain[:, 1]) >= 8


@pytest.mark.parametrize("when", [0, 1, 23])
def test_resume_is_exact(tmp_path, when):
    """To the last bit, through a file, with everything else made anew."""
    keywords = {"energy_target": Ramp(0.5, 0.8, 30), "gamma": 0.3, "maxstep": 0.2}
    rng = np.random.default_rng(11)
    whole = walk(BiasedContourExploration(springs(rng), rng=rng, **keywords), 60)
    rng = np.random.default_rng(11)
    first = BiasedContourExploration(springs(rng), rng=rng, **keywords)
    before = walk(first, when)
    first.state().write(tmp_path / "state.json")

    elsewhere = np.random.default_rng(99)
    second = BiasedContourExploration(
        springs(elsewhere),
        rng=np.random.default_rng(0),
        resume=ContourState.read(tmp_path / "state.json"),
        **keywords,
    )
    assert second.nsteps == when
    after = walk(second, 60 - when)
    assert np.array_equal(np.concatenate([before, after[1:]]), whole)
    assert second.nsteps == 60


@pytest.mark.parametrize("kind", ["ace", "calculators"])
def test_resume_on_a_model_with_a_neighbour_list(tmp_path, kind):
    """To the last bit, too: both go on with a model that remembers nothing."""
    committee, excess = (aluminium(), 3.0) if kind == "ace" else (members(), 0.4)
    rng = np.random.default_rng(2)
    size = 2 if kind == "ace" else 1
    atoms = crystal(rng, committee, size=size)
    keywords = {"energy_target": atoms.get_potential_energy() + excess, "gamma": 0.3}
    first = BiasedContourExploration(atoms, rng=rng, **keywords)
    first.run(20)
    first.state().write(tmp_path / "state.json")
    after = walk(first, 25)
    elsewhere = crystal(np.random.default_rng(1), committee, size=size)
    elsewhere.get_potential_energy()  # the list is made, and in another place
    second = BiasedContourExploration(
        elsewhere,
        rng=np.random.default_rng(0),
        resume=ContourState.read(tmp_path / "state.json"),
        **keywords,
    )
    assert np.ptp(after, axis=0).max() > 0.1
    assert np.array_equal(walk(second, 25), after)


def test_a_walk_on_its_contour_is_never_stuck():
    """It starts there, and comes no closer for as long as it walks."""
    rng = np.random.default_rng(4)
    atoms = springs(rng)
    target = atoms.get_potential_energy()
    dyn = BiasedContourExploration(
        atoms, energy_target=target, gamma=0.3, rng=rng, use_target_shift=False
    )
    energies = [atoms.get_potential_energy() for _ in dyn.irun(steps=400)]
    assert dyn.nsteps == 400
    assert np.abs(np.array(energies) - target).max() < 0.5


def test_running_twice_is_running_on():
    walks = []
    for parts in ([40], [15, 25]):
        rng = np.random.default_rng(4)
        dyn = BiasedContourExploration(springs(rng), energy_target=0.5, gamma=0.2, rng=rng)
        for part in parts:
            dyn.run(part)
        walks.append(dyn.atoms.get_positions())
    assert np.array_equal(*walks)


def test_a_state_refuses_what_does_not_fit(tmp_path):
    rng = np.random.default_rng(1)
    state = BiasedContourExploration(springs(rng), energy_target=0.5, gamma=0, rng=rng).state()
    with pytest.raises(ValueError, match="4 atoms, got a structure of 32"):
        BiasedContourExploration(crystal(rng), energy_target=0.5, gamma=0, rng=rng, resume=state)
    other = np.random.Generator(np.random.MT19937(1))
    with pytest.raises(ValueError, match="PCG64, got MT19937"):
        BiasedContourExploration(springs(rng), energy_target=0.5, gamma=0, rng=other, resume=state)
    (tmp_path / "wrong.json").write_text("{}")
    with pytest.raises(ValueError, match="not a contour state"):
        ContourState.read(tmp_path / "wrong.json")


def test_a_frozen_surface():
    """As in the slides: the lower layers of a slab are held."""
    rng = np.random.default_rng(6)
    slab = fcc100("Al", (2, 2, 3), a=4.0, vacuum=6)
    held = [atom.index for atom in slab if atom.tag > 1]
    slab.set_constraint(FixAtoms(held))
    slab.rattle(0.05, rng=rng)
    slab.calc = CommitteeCalculator(members())
    before = slab.get_positions()
    target = slab.get_potential_energy() + 0.3
    dyn = BiasedContourExploration(slab, energy_target=target, gamma=0.3, rng=rng)
    energies = [slab.get_potential_energy() for _ in dyn.irun(steps=60)]
    assert np.array_equal(slab.positions[held], before[held])
    free = [i for i in range(len(slab)) if i not in held]
    assert np.abs(slab.positions[free] - before[free]).max() > 0.2
    assert np.mean(energies[30:]) == pytest.approx(target, abs=0.03)
    assert np.abs(dyn.Told[held]).max() == 0


def test_a_ramp_is_followed():
    """The potentiostat lags by less than one step of it."""
    rng = np.random.default_rng(8)
    atoms = springs(rng)
    ramp = Ramp(0.4, 1.6, 100)
    dyn = BiasedContourExploration(atoms, energy_target=ramp, gamma=0.2, maxstep=0.2, rng=rng)
    errors = [atoms.get_potential_energy() - ramp(dyn.nsteps) for _ in dyn.irun(steps=130)]
    assert np.sqrt(np.mean(np.square(errors[20:100]))) < 0.03
    assert np.abs(np.mean(errors[20:100])) < 0.02
    assert dyn.energy_target == 1.6


def test_energy_per_atom():
    rng = np.random.default_rng(8)
    dyn = BiasedContourExploration(
        springs(rng), energy_target=Ramp(0.1, 0.2, 10), per_atom=True, gamma=0.2, rng=rng
    )
    assert dyn.energy_target == pytest.approx(0.4)
    dyn.run(12)
    assert dyn.energy_target == pytest.approx(0.8)


def test_loginterval_is_honoured(tmp_path):
    rng = np.random.default_rng(8)
    dyn = BiasedContourExploration(
        springs(rng), energy_target=0.5, gamma=0.2, rng=rng, loginterval=5,
        logfile=str(tmp_path / "log"), trajectory=str(tmp_path / "walk.traj"),
    )  # fmt: skip
    dyn.run(20)
    dyn.run(5)
    lines = (tmp_path / "log").read_text().splitlines()
    assert [int(line.split()[0]) for line in lines[1:]] == [0, 5, 10, 15, 20, 25]
    with Trajectory(tmp_path / "walk.traj") as frames:
        assert len(frames) == 6
        assert frames.description["interval"] == 5
        assert frames.description["gamma"] == 0.2
        assert np.array_equal(frames[-1].positions, dyn.atoms.positions)


def test_run_until_stops_it():
    rng = np.random.default_rng(8)
    atoms = springs(rng)
    dyn = BiasedContourExploration(atoms, energy_target=0.5, gamma=0.3, rng=rng)
    limit = 1.3 * atoms.calc.predict(atoms).model_std
    assert run_until(dyn, lambda: atoms.calc.predict(atoms).model_std > limit, steps=200)
    assert atoms.calc.predict(atoms).model_std > limit
    assert 0 < dyn.nsteps < 200


class TestErrors:
    def test_a_target_below_the_minimum(self):
        rng = np.random.default_rng(1)
        dyn = BiasedContourExploration(springs(rng), energy_target=-1.0, gamma=0.2, rng=rng)
        with pytest.raises(UnreachableTarget, match="target -1 eV can't be reached.* stays at"):
            dyn.run(400)

    def test_a_target_below_the_minimum_of_a_crystal(self):
        rng = np.random.default_rng(1)
        atoms = crystal(rng, size=1)
        dyn = BiasedContourExploration(atoms, energy_target=-10.0, gamma=0.2, rng=rng)
        with pytest.raises(UnreachableTarget, match="can't be reached"):
            dyn.run(400)
        assert np.isfinite(atoms.positions).all()

    @pytest.mark.parametrize("target", [1e3, 1e6])
    def test_a_target_far_above(self, target):
        """Where the energy grows steep it gets nowhere, or jumps onto another atom."""
        rng = np.random.default_rng(3)
        dyn = BiasedContourExploration(
            crystal(rng, members(), size=1), energy_target=target, gamma=0.2, rng=rng
        )
        with pytest.raises(UnreachableTarget, match=re.escape(f"target {target:.6g} eV can't")):
            dyn.run(1000)

    def test_a_target_that_only_atoms_on_top_of_each_other_have(self):
        """A model says any energy somewhere; what it says there is no contour to walk on."""
        rng = np.random.default_rng(1)
        atoms = crystal(rng, size=1)
        dyn = BiasedContourExploration(atoms, energy_target=60.0, gamma=0.2, rng=rng)
        with pytest.raises(UnreachableTarget, match=r"atoms \d and \d are 0\.\d+ Å apart at"):
            dyn.run(1000)
        assert dyn.nsteps < 1000

    def test_a_ramp_that_leaves_the_reachable_behind(self):
        rng = np.random.default_rng(1)
        dyn = BiasedContourExploration(
            springs(rng), energy_target=Ramp(0.5, -5.0, 100), gamma=0.2, rng=rng
        )
        with pytest.raises(UnreachableTarget, match="target -5 eV can't be reached"):
            dyn.run(600)

    def test_a_perfect_crystal_has_no_contour(self):
        rng = np.random.default_rng(1)
        atoms = springs(rng)
        atoms.positions = atoms.calc.committee.sites @ atoms.cell.array
        dyn = BiasedContourExploration(atoms, energy_target=1.0, gamma=0.2, rng=rng)
        with pytest.raises(UnreachableTarget, match="displace the atoms"):
            dyn.run(1)

    def test_calculators(self):
        atoms = springs(np.random.default_rng(1))
        keywords = {"energy_target": 0.5, "gamma": 0.2, "rng": np.random.default_rng(1)}
        committee = atoms.calc.committee
        atoms.calc = HALCalculator(committee, tau=0.3)
        with pytest.raises(ValueError, match="tau of the calculator must be 0, got 0.3"):
            BiasedContourExploration(atoms, **keywords)
        atoms.calc = EMT()
        with pytest.raises(TypeError, match="CommitteeCalculator, got EMT"):
            BiasedContourExploration(atoms, **keywords)

    @pytest.mark.parametrize(
        "wrong",
        [{"gamma": 1.2}, {"energy_target": np.nan}, {"maxstep": 0}, {"loginterval": 0}, {"rng": 1}],
        ids=lambda wrong: next(iter(wrong)),
    )
    def test_arguments(self, wrong):
        rng = np.random.default_rng(1)
        keywords = {"energy_target": 0.5, "gamma": 0.2, "rng": rng, **wrong}
        with pytest.raises((ValueError, TypeError), match=next(iter(wrong))):
            BiasedContourExploration(springs(rng), **keywords)
