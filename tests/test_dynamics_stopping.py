"""HALLangevin: when it stops, what it leaves behind, and how it goes on."""

import math
from dataclasses import replace

import numpy as np
import pytest
from analytic import Counting, IdealGas
from ase import Atoms
from langevin_cases import crystal, dynamics

from ase_hal.dynamics import AdaptiveTau, Barostat, CellMC, SwapMC, Trigger
from ase_hal.dynamics.sanity import StructureRefused


def mean_energy(prediction):
    return prediction.energy


class After:
    """A committee that changes its mind for every structure after the first n."""

    elements = ("Al",)

    def __init__(self, committee, n, change):
        self.committee, self.n, self.change = committee, n, change

    def predict(self, atoms, members=False, stress=False):
        self.n -= 1
        prediction = self.committee.predict(atoms, members=members, stress=stress)
        return self.change(prediction) if self.n < 0 else prediction


def plain_run(steps, **keywords):
    """Positions and trace of a run that nothing stops."""
    atoms, committee = crystal()
    dyn = dynamics(atoms, committee, **keywords)
    positions = []
    dyn.attach(lambda: positions.append(atoms.positions.copy()))
    assert dyn.run(steps)
    assert dyn.outcome == "stable"
    return positions, dyn.trace


def test_it_stops_at_the_first_uncertain_structure_that_is_judged():
    positions, trace = plain_run(60)
    tolerance = 0.7 * trace.energy.max()
    expected = next(n for n in range(5, 61, 5) if trace.energy[n] > tolerance)

    atoms, committee = crystal()
    dyn = dynamics(atoms, committee, trigger=Trigger(mean_energy, tolerance, interval=5))
    assert dyn.run(60) is False
    assert (dyn.outcome, dyn.nsteps) == ("uncertain", expected)
    assert f"(step {expected})" in dyn.reason
    assert np.array_equal(atoms.positions, positions[expected])
    assert np.array_equal(dyn.last_sane.positions, atoms.positions)
    assert committee.predict(atoms).energy == dyn.trace.score[-1] > tolerance
    judged = np.isfinite(dyn.trace.score)
    assert dyn.trace.step[judged].tolist() == list(range(5, expected + 1, 5))
    assert (dyn.trace.score[judged][:-1] <= tolerance).all()
    assert any(trace.energy[1:5] > 0)


def test_a_stopped_run_goes_on_and_does_not_fire_where_it_stands():
    positions, _ = plain_run(60)
    atoms, committee = crystal()
    dyn = dynamics(atoms, committee, trigger=Trigger(mean_energy, -1.0, interval=10))
    stops = []
    while dyn.nsteps < 60:
        dyn.run(60 - dyn.nsteps)
        stops.append(dyn.nsteps)
        assert np.array_equal(atoms.positions, positions[dyn.nsteps])
    assert stops == [10, 20, 30, 40, 50, 60]
    assert dyn.trace.step.tolist() == list(range(61))


@pytest.mark.parametrize("tau", [AdaptiveTau(0.1, burn_in=10), 0.5])
def test_one_long_run_equals_two_short_ones(tau):
    positions, trace = plain_run(50, tau=tau)
    atoms, committee = crystal()
    dyn = dynamics(atoms, committee, tau=tau)
    dyn.run(20)
    dyn.run(30)
    assert np.array_equal(atoms.positions, positions[-1])
    assert np.array_equal(dyn.trace.energy, trace.energy)


def everything(seed):
    atoms, committee = crystal(bulk_modulus=0.5)
    atoms.symbols[::2] = "Si"
    dyn = dynamics(
        atoms,
        committee,
        seed=seed,
        barostat=Barostat(0.01),
        moves=[SwapMC(3), CellMC(4, "strain", pressure=0.01)],
        trigger=Trigger("softmax", 0.9),
    )
    dyn.run(60)
    return atoms, dyn


def test_runs_follow_the_generator():
    (first, one), (second, two), (other, _) = everything(5), everything(5), everything(6)
    assert np.array_equal(first.positions, second.positions)
    assert np.array_equal(first.cell.array, second.cell.array)
    assert np.array_equal(one.trace.tau, two.trace.tau)
    assert not np.array_equal(first.positions, other.positions)
    assert [count.attempted for count in one.move_counts] == [19, 14]
    assert [count.move for count in one.move_counts] == list(one.moves)


def test_the_committee_is_asked_once_per_step():
    atoms, committee = crystal()
    committee = Counting(committee)
    dyn = dynamics(atoms, committee, trigger=Trigger("relative", 1e9, interval=10))
    dyn.attach(atoms.get_forces)
    dyn.run(40)
    assert len(committee.asked) == 41
    assert sum(members for members, _ in committee.asked) == 4
    assert not any(stress for _, stress in committee.asked)


# Guards


def nan_forces(prediction):
    return replace(prediction, forces=np.full_like(prediction.forces, np.nan))


def nan_sigma(prediction):
    return replace(prediction, energy_std=math.nan)


def infinite_energy(prediction):
    return replace(prediction, energy=math.inf)


@pytest.mark.parametrize("change", [nan_forces, nan_sigma, infinite_energy])
@pytest.mark.parametrize("trigger", [None, Trigger("softmax", 0.9)])
def test_what_is_not_finite_ends_a_trajectory_at_once(change, trigger):
    atoms, committee = crystal()
    dyn = dynamics(atoms, After(committee, 8, change), trigger=trigger)
    assert dyn.run(40) is False
    assert (dyn.outcome, dyn.nsteps) == ("untrustworthy", 8)
    assert "not finite" in dyn.reason


def nan_member(prediction):
    if prediction.member_forces is not None:
        prediction.member_forces[0, 0, 0] = np.nan
    return prediction


def test_a_score_that_is_not_a_number_is_no_reason_to_label():
    atoms, committee = crystal()
    dyn = dynamics(atoms, After(committee, 0, nan_member), trigger=Trigger("softmax", 0.5))
    dyn.run(40)
    assert (dyn.outcome, dyn.nsteps) == ("untrustworthy", 10)
    assert dyn.last_sane is None


def refuse(prediction):
    raise ValueError("Al 0 and Al 1 are 0.1 Å apart")


def test_a_structure_that_the_committee_refuses_ends_the_trajectory():
    atoms, committee = crystal()
    dyn = dynamics(atoms, After(committee, 26, refuse), trigger=Trigger("relative", 1e9))
    assert dyn.run(40) is False
    assert (dyn.outcome, dyn.nsteps) == ("untrustworthy", 25)
    assert "refused the structure: Al 0 and Al 1 are 0.1 Å apart" in dyn.reason
    assert dyn.trace.step[-1] == 25
    assert np.isfinite(dyn.last_sane.positions).all()
    with pytest.raises(StructureRefused):
        dyn.step()


def test_a_refusal_at_the_start_and_an_error_of_the_user_come_through():
    atoms, committee = crystal()
    with pytest.raises(ValueError, match="apart"):
        dynamics(atoms, After(committee, 0, refuse)).run(5)
    atoms, committee = crystal()
    dyn = dynamics(atoms, committee)
    dyn.attach(lambda: int("not a number"), interval=3)
    with pytest.raises(ValueError, match="invalid literal"):
        dyn.run(5)


def test_the_temperature_guard_keeps_the_last_sane_structure():
    atoms, committee = crystal()
    dyn = dynamics(atoms, committee, trigger=Trigger("relative", 1e9, interval=5))
    sane = []

    def kick():
        if dyn.nsteps == 10:
            sane.append(atoms.positions.copy())
            atoms.set_momenta(20 * atoms.get_momenta())

    dyn.attach(kick)
    dyn.run(40)
    assert (dyn.outcome, dyn.nsteps) == ("untrustworthy", 15)
    assert "temperature" in dyn.reason
    assert np.array_equal(dyn.last_sane.positions, sane[0])
    assert math.isnan(dyn.trace.score[-1])


def test_guards_come_before_the_score():
    atoms, committee = crystal()
    atoms.set_momenta(20 * atoms.get_momenta())
    dyn = dynamics(atoms, committee, friction=0.0, trigger=Trigger(mean_energy, -1.0, interval=1))
    dyn.run(5)
    assert (dyn.outcome, dyn.nsteps) == ("untrustworthy", 1)


def test_the_volume_guard():
    atoms, committee = crystal(bulk_modulus=0.01)
    dyn = dynamics(
        atoms,
        committee,
        barostat=Barostat(1.0, interval=1, max_strain=0.05),
        trigger=Trigger("relative", 1e9, max_volume_change=1.1),
    )
    dyn.run(50)
    assert dyn.outcome == "untrustworthy"
    assert "times the initial one" in dyn.reason


def test_atoms_that_come_too_close():
    atoms = Atoms("Al3", positions=[[0, 0, 0], [4, 0, 0], [0, 9, 0]], cell=[20] * 3, pbc=True)
    atoms.set_velocities([[0.1, 0, 0], [-0.1, 0, 0], [0, 0, 0]])
    dyn = dynamics(
        atoms,
        IdealGas(),
        temperature_K=3000,
        friction=0.0,
        tau=0.0,
        trigger=Trigger("relative", 1.0, interval=1),
    )
    dyn.run(200)
    assert dyn.outcome == "untrustworthy"
    assert "between Al 0 and Al 1" in dyn.reason
    limit = 0.6 * 2 * 1.21
    assert atoms.get_distance(0, 1) < limit <= dyn.last_sane.get_distance(0, 1)
