"""Monte Carlo moves: what they may change, and distributions that are known exactly."""

from dataclasses import replace

import numpy as np
import pytest
from analytic import IdealGas, LatticeOccupation, z_score
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms, FixCom, FixSymmetry
from ase.md.velocitydistribution import thermalize_momenta

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import CellMC, HALLangevin, SwapMC
from ase_hal.dynamics.moves.metropolis import metropolis

CELL_MOVES = [CellMC(1, kind) for kind in ("cell", "strain", "volume", "log_volume")]
MOVES = [SwapMC(1), *CELL_MOVES]
name = lambda move: getattr(move, "kind", "swap")  # noqa: E731


class Scripted:
    """E = the next of a list for every new structure; sigma = 1."""

    elements = ("Al", "Si")

    def __init__(self, *energies):
        self.energies = list(energies)

    def predict(self, atoms, members=False, stress=False):
        energy = self.energies.pop(0)
        if isinstance(energy, Exception):
            raise energy
        return replace(IdealGas().predict(atoms), energy=energy)


def alloy(rng):
    atoms = bulk("Al", cubic=True) * (2, 1, 1)
    atoms.symbols[[1, 4, 6]] = "Si"
    atoms.positions += rng.normal(scale=0.1, size=(8, 3))
    atoms.set_momenta(rng.normal(size=(8, 3)))
    atoms.set_cell(atoms.cell + rng.normal(scale=0.05, size=(3, 3)), scale_atoms=True)
    return atoms


def state(atoms):
    return [atoms.positions.copy(), atoms.cell.array.copy(), atoms.get_momenta()]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.mark.parametrize("move", MOVES, ids=name)
@pytest.mark.parametrize("energy", [1e6, np.nan, np.inf, ValueError("atoms overlap")])
def test_a_rejected_move_leaves_no_trace(move, energy, rng):
    atoms = alloy(rng)
    before = state(atoms)
    atoms.calc = HALCalculator(Scripted(0.0, energy), tau=0.5)
    assert not move.attempt(atoms, temperature_K=300, rng=rng)
    for old, new in zip(before, state(atoms), strict=True):
        assert np.array_equal(old, new)
    assert atoms.get_potential_energy() == -0.5  # still known: nothing is left in the script


@pytest.mark.parametrize("move", MOVES, ids=name)
def test_an_accepted_move_changes_only_what_it_says(move, rng):
    atoms = alloy(rng)
    old_positions, old_cell, momenta = state(atoms)
    numbers, scaled = atoms.numbers.copy(), atoms.cell.scaled_positions(atoms.positions)
    atoms.calc = HALCalculator(Scripted(0.0, -1e6), tau=0.5)
    assert move.attempt(atoms, temperature_K=300, rng=rng)
    assert np.array_equal(atoms.get_momenta(), momenta)
    assert np.array_equal(atoms.numbers, numbers)
    assert atoms.calc.tau == 0.5
    if isinstance(move, SwapMC):
        assert np.array_equal(atoms.cell.array, old_cell)
        i, j = np.flatnonzero((atoms.positions != old_positions).any(axis=1))
        assert np.array_equal(atoms.positions[[i, j]], old_positions[[j, i]])
        assert numbers[i] != numbers[j]
    else:
        assert not np.allclose(atoms.cell.array, old_cell, atol=1e-6)
        assert atoms.cell.scaled_positions(atoms.positions) == pytest.approx(scaled)


@pytest.mark.parametrize("move", MOVES, ids=name)
def test_moves_follow_the_generator(move):
    ends = []
    for seed in (1, 1, 2):
        atoms = alloy(np.random.default_rng(0))
        atoms.calc = HALCalculator(IdealGas(), tau=0.5)
        rng = np.random.default_rng(seed)
        for _ in range(10):
            move.attempt(atoms, temperature_K=3000, rng=rng)
        ends.append(atoms.positions.copy())
    assert np.array_equal(ends[0], ends[1])
    assert not np.array_equal(ends[0], ends[2])


@pytest.mark.parametrize("move", MOVES, ids=name)
def test_a_fixed_centre_of_mass_stays_where_it_is(move, rng):
    atoms = alloy(rng)
    atoms.set_constraint(FixCom())
    atoms.calc = HALCalculator(IdealGas())
    centre = atoms.get_center_of_mass()
    move.check(atoms)
    assert sum(move.attempt(atoms, temperature_K=300, rng=rng) for _ in range(20)) > 0
    assert atoms.get_center_of_mass() == pytest.approx(centre)


def test_metropolis_accepts_with_the_right_probability(rng):
    accepted = sum(metropolis(np.log(0.3), rng) for _ in range(20000))
    assert abs(accepted - 6000) / np.sqrt(20000 * 0.3 * 0.7) < 4
    assert metropolis(0.0, rng)
    assert metropolis(np.inf, rng)
    assert not metropolis(-np.inf, rng)
    assert not metropolis(np.nan, rng)


# Swaps


def occupation(masses=(27.0, 108.0)):
    """A ring of six sites with three atoms of either element and a non-trivial surface."""
    angle = np.arange(6) * np.pi / 3
    sites = 4 * np.column_stack([np.cos(angle), np.sin(angle), 0 * angle]) + 10
    rng = np.random.default_rng(11)
    model = LatticeOccupation(
        sites,
        fields=rng.normal(scale=0.06, size=6),
        spread=rng.uniform(0, 0.1, size=6),
        coupling=-0.05,
    )
    atoms = Atoms("AlSiAlSiAlSi", positions=sites, cell=[20] * 3, pbc=False)
    atoms.set_masses([masses[int(z == 14)] for z in atoms.numbers])
    return atoms, model


def occupation_z_scores(occupied, probabilities):
    """z-score of the frequency of every common state, and of all rare ones together.

    An error estimated from a series that visits a state a few tens of times is too uncertain
    itself for z to be normal.
    """
    codes = np.asarray(occupied) @ 2.0 ** np.arange(6)
    names = {state: sum(2.0**site for site in state) for state in probabilities}
    rare = [state for state, p in probabilities.items() if p < 0.03]
    scores = {s: z_score(codes == names[s], p) for s, p in probabilities.items() if s not in rare}
    scores["rare"] = z_score(
        np.isin(codes, [names[s] for s in rare]), sum(probabilities[s] for s in rare)
    )
    return scores


@pytest.mark.parametrize("tau", [0.0, 1.5])
def test_swaps_reproduce_an_enumerable_occupation(tau):
    atoms, model = occupation()
    atoms.calc = HALCalculator(model, tau=tau)
    rng = np.random.default_rng(2)
    move = SwapMC(1)
    occupied = []
    for _ in range(4000):
        move.attempt(atoms, temperature_K=700, rng=rng)
        occupied.append(model.occupation(atoms)[2])
    exact = model.probabilities(3, 700, tau)
    z = occupation_z_scores(occupied, exact)
    assert len(z) > 6
    assert max(map(abs, z.values())) < 4.5
    # and the bias is not a detail: without it the test above would fail
    unbiased = model.probabilities(3, 700)
    if tau:
        assert max(abs(exact[s] - unbiased[s]) for s in exact) > 0.05


@pytest.mark.slow
def test_swaps_between_dynamics_steps_keep_occupation_and_both_temperatures_exact():
    atoms, model = occupation()
    atoms.calc = HALCalculator(model)
    temperature, rng = 700, np.random.default_rng(4)
    thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
    dyn = HALLangevin(
        atoms,
        3 * units.fs,
        temperature_K=temperature,
        friction=0.05 / units.fs,
        tau=1.5,
        trigger=None,
        rng=rng,
        moves=[SwapMC(2)],
    )
    occupied, kinetic = [], []

    def observe():
        occupied.append(model.occupation(atoms)[2])
        energies = 0.5 * (atoms.get_momenta() ** 2).sum(axis=1) / atoms.get_masses()
        kinetic.append([energies[atoms.numbers == z].sum() for z in (13, 14)])

    dyn.attach(observe, interval=2)
    dyn.run(5000)
    z = occupation_z_scores(occupied, model.probabilities(3, temperature, tau=1.5))
    assert max(map(abs, z.values())) < 4.5
    expected = 3 * 1.5 * units.kB * temperature
    for series in np.array(kinetic).T:  # light and heavy atoms
        assert abs(z_score(series, expected)) < 4
        assert series.mean() == pytest.approx(expected, rel=0.15)
    (count,) = dyn.move_counts
    assert count.attempted == 2499
    assert 0.1 < count.rate < 0.9


def test_all_unlike_pairs_are_equally_likely(rng):
    atoms = Atoms("Al3Si2Mg", positions=np.arange(18).reshape(6, 3))
    pairs = [tuple(sorted(SwapMC(1)._pair(atoms, rng))) for _ in range(5500)]
    unlike = {(i, j) for i in range(6) for j in range(i) if atoms.numbers[i] != atoms.numbers[j]}
    counts = np.array([pairs.count((j, i)) for i, j in unlike])
    assert counts.sum() == 5500  # like pairs never
    assert len(unlike) == 11
    assert ((counts - 500) ** 2 / 500).sum() < 35  # chi squared of 10 degrees: p = 1e-4


def test_swaps_keep_to_their_elements_and_leave_fixed_atoms_alone(rng):
    atoms = Atoms("Al3Si3Mg3", positions=np.arange(27).reshape(9, 3))
    atoms.set_constraint(FixAtoms([0, 3]))
    move = SwapMC(1, elements=("Al", "Si"))
    move.check(atoms)
    assert {i for _ in range(200) for i in move._pair(atoms, rng)} == {1, 2, 4, 5}


def test_nothing_to_swap_is_said_before_the_run():
    with pytest.raises(ValueError, match="nothing to swap in Al4"):
        SwapMC(1).check(bulk("Al", cubic=True))
    atoms = Atoms("Al2Si2Mg", positions=np.arange(15).reshape(5, 3))
    with pytest.raises(ValueError, match="among Al, Cu"):
        SwapMC(1, elements=("Al", "Cu")).check(atoms)
    atoms.set_constraint(FixAtoms([0, 1, 4]))
    with pytest.raises(ValueError, match="that no constraint holds"):
        SwapMC(1).check(atoms)
    atoms.set_constraint()
    atoms.set_constraint(FixSymmetry.__new__(FixSymmetry))
    with pytest.raises(ValueError, match="which atoms a FixSymmetry holds"):
        SwapMC(1).check(atoms)


@pytest.mark.parametrize("elements", [("Al",), ("Al", "Al"), ("Al", "Xx9")])
def test_bad_elements(elements):
    with pytest.raises(ValueError, match="two different chemical symbols"):
        SwapMC(10, elements=elements)


def test_bad_schedules():
    with pytest.raises(ValueError, match="interval and attempts"):
        SwapMC(0)
