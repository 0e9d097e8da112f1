"""EvolutionExplorer: the three schemes find what is uncertain and stay with what is sane."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.optimize import FIRE
from datasets_emt import al_cu_basis, al_cu_dataset

from ase_hal import LinearFit, learn
from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.dynamics import (
    ContourWalk,
    EvolutionExplorer,
    EvolutionStage,
    HALExplorer,
    MolecularDynamics,
    Pick,
    Ramp,
    Relaxation,
)
from ase_hal.exploration import ExplorationEnded

SCHEMES = {
    "relaxation": lambda bias: Relaxation(alpha=6.0 * bias, steps=60),
    "dynamics": lambda bias: MolecularDynamics(300.0, alpha=4.0 * bias, steps=100),
    "contour": lambda bias: ContourWalk(0.05, gamma=0.3 * bias, steps=80, maxstep=0.2),
}


def springs(size=1):
    """Crystal and committee: the members differ in how stiff the bonds of each atom are."""
    atoms = bulk("Al", a=4.0, cubic=True) * (size, 1, 1)
    spread = np.random.default_rng(0).normal(scale=0.3, size=(6, len(atoms)))
    committee = HarmonicCrystal.around(atoms, spread=spread - spread.mean(axis=0), noise=0.01)
    return atoms, committee


def pair():
    return CalculatorCommittee([EMT(), LennardJones(sigma=2.5, epsilon=0.1, rc=5.0, smooth=True)])


@pytest.mark.parametrize("scheme", SCHEMES)
def test_bias_finds_more_than_no_bias(scheme):
    atoms, committee = springs(2)
    best = []
    for bias in (0.0, 1.0):
        stds = []
        explore = EvolutionExplorer(
            SCHEMES[scheme](bias), starts=[atoms], walkers=5, rattle=0.05,
            on_evolved=lambda evolved, stds=stds: stds.append(evolved.std),
        )  # fmt: skip
        found = explore(committee, dataset=[], rng=np.random.default_rng(3))
        assert len(found) == 5
        for structure, std in zip(found, stds, strict=True):
            assert committee.predict(structure).model_std / 8 == pytest.approx(std)
        best.append(np.mean(stds))
    # A contour of springs is an ellipsoid, on which a random walk is soon near the maximum.
    assert best[1] > (1.1 if scheme == "contour" else 1.3) * best[0]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_found_is_sane(scheme):
    """With limits that the unlimited evolution exceeds."""
    atoms, committee = springs()
    evolution = {
        "relaxation": Relaxation(alpha=20.0, steps=40),
        "dynamics": MolecularDynamics(300, alpha=20.0, steps=150),
        "contour": ContourWalk(1.0, gamma=0.3, steps=60),
    }[scheme]
    limit = 0.8 * 2 * covalent_radii[13]
    worst = []
    for pick in (Pick(1e6, min_distance=0.0), Pick(2.0, min_distance=0.8)):
        explore = EvolutionExplorer(evolution, starts=[atoms], walkers=3, pick=pick, rattle=0.05)
        found = explore(committee, dataset=[], rng=np.random.default_rng(1))
        assert len(found) == 3
        forces = [np.linalg.norm(committee.predict(a).forces, axis=1).max() for a in found]
        contact = [a.get_all_distances(mic=True)[np.triu_indices(4, 1)].min() for a in found]
        worst.append((max(forces), min(contact)))
    assert worst[0][0] > 2.0
    assert worst[1][0] < 2.0
    assert worst[1][1] >= limit


def test_sanity():
    atoms, committee = springs()
    prediction = committee.predict(atoms)
    assert Pick().distrust(atoms, prediction) is None
    atoms.positions[0] = atoms.positions[1] + [0.5, 0, 0]
    assert "distance of 0.50 Å between atoms 0 and 1" in Pick().distrust(atoms, prediction)
    force = "force of 8"
    assert force in Pick(max_force=8).distrust(atoms, replace(prediction, forces=np.eye(3)[:1] * 8))
    for wrong in ({"forces": np.full((4, 3), np.nan)}, {"model_std": np.inf}):
        assert "not finite" in Pick().distrust(atoms, replace(prediction, **wrong))


def test_an_evolution_ends_where_it_leaves_what_is_sane():
    ended = []
    atoms, committee = springs()
    explore = EvolutionExplorer(
        Relaxation(alpha=20.0, steps=200), starts=[atoms], walkers=1, pick=Pick(max_force=2.0),
        rattle=0.05, on_evolved=ended.append,
    )  # fmt: skip
    explore(committee, dataset=[], rng=np.random.default_rng(1))
    assert ended[0].steps < 200
    assert "eV/Å" in ended[0].reason


def test_a_start_that_is_insane_may_recover():
    """Two atoms far too close, as in a random structure: relaxation parts them."""
    dimer = Atoms("Al2", [[0, 0, 0], [0, 0, 1.2]])
    pick = Pick(max_force=2.0, min_distance=0.7)
    short, long = (
        EvolutionExplorer(
            Relaxation(steps=steps, optimizer=FIRE), starts=[dimer], walkers=1, pick=pick, rattle=0
        )
        for steps in (1, 60)
    )
    with pytest.raises(ExplorationEnded, match="broken"):
        short(pair(), dataset=[], rng=np.random.default_rng(1))
    found = long(pair(), dataset=[], rng=np.random.default_rng(1))
    assert len(found) == 1
    assert found[0].get_distance(0, 1) > 1.6
    assert found[0].info["hal_step"] > 0


def test_nothing_uncertain_nothing_found():
    atoms, committee = springs()
    explore = EvolutionExplorer(Relaxation(), starts=[atoms], pick=Pick(min_std=10.0))
    assert explore(committee, dataset=[], rng=np.random.default_rng(0)) == []


def test_a_model_that_answers_nothing_is_not_converged(caplog):
    """A loop ends as broken, and says what the model raised."""

    class Broken(EMT):
        def calculate(self, *arguments, **options):
            super().calculate(*arguments, **options)
            self.results["forces"] *= np.nan

    atoms = bulk("Al", a=4.0, cubic=True)
    explore = EvolutionExplorer(Relaxation(steps=5), walkers=2)
    steps = learn(
        [atoms], lambda dataset, rng: CalculatorCommittee([EMT(), Broken()]), explore, EMT,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert [step.finished for step in steps][-1] == "broken"
    assert "member 1 (Broken) gave forces with NaN" in caplog.text


@pytest.mark.parametrize("scheme", SCHEMES)
def test_it_is_reproducible_and_independent_of_the_executor(scheme):
    atoms, committee = springs()
    explored = []
    with ThreadPoolExecutor(3) as pool:
        for executor in (None, None, pool):
            explore = EvolutionExplorer(
                SCHEMES[scheme](1.0), starts=[atoms], walkers=3, executor=executor
            )
            found = explore(committee, dataset=[], rng=np.random.default_rng(5))
            explored.append([a.positions for a in found])
    assert np.array_equal(explored[0], explored[1])
    assert np.array_equal(explored[0], explored[2])


def test_it_does_not_depend_on_what_the_committee_was_asked_before():
    atoms, _ = springs()
    explore = EvolutionExplorer(ContourWalk(0.05, steps=20), starts=[atoms], walkers=1)
    used = pair()
    used.predict(atoms * 2)
    used.predict(atoms)
    first = explore(used, dataset=[], rng=np.random.default_rng(5))[0]
    second = explore(pair(), dataset=[], rng=np.random.default_rng(5))[0]
    assert np.array_equal(first.positions, second.positions)


def test_provenance_and_inputs():
    atoms, committee = springs()
    atoms.info |= {"hal_origin": "by hand", "hal_iteration": 0, "hal_step": 4, "mine": 1}
    before = atoms.positions.copy()
    explore = EvolutionExplorer(ContourWalk(0.05, gamma=0.2, steps=5), walkers=2)
    found = explore(committee, dataset=[atoms], rng=np.random.default_rng(0))
    assert np.array_equal(atoms.positions, before)
    assert atoms.info["hal_step"] == 4
    for walker, structure in enumerate(found):
        assert structure.calc is None
        step = structure.info.pop("hal_step")
        assert 0 <= step <= 5
        assert structure.info == {
            "hal_origin": "by hand", "mine": 1, "hal_walker": walker,
            "hal_scheme": "contour", "hal_bias": 0.2,
        }  # fmt: skip


def test_starts():
    """From seeds by default, and from a function that makes them."""
    _, committee = springs()
    seed, later = (bulk("Al", a=a, cubic=True) for a in (4.0, 4.4))
    seed.info["hal_iteration"], later.info["hal_iteration"] = 0, 3
    rng = np.random.default_rng(0)
    explore = EvolutionExplorer(Relaxation(steps=2), walkers=4, rattle=0.1)
    found = explore(committee, dataset=[later, seed], rng=rng)
    assert {round(a.cell[0, 0], 3) for a in found} == {4.0}

    def strained(rng):
        return bulk("Al", a=rng.uniform(3.9, 4.1), cubic=True)

    explore = EvolutionExplorer(Relaxation(steps=2), starts=strained, walkers=4, rattle=0.1)
    found = explore(committee, dataset=[], rng=rng)
    assert len({a.cell[0, 0] for a in found}) == 4


def test_constraints_of_a_start_hold():
    atoms, committee = springs()
    atoms.set_constraint(FixAtoms([0, 1]))
    for make in SCHEMES.values():
        explore = EvolutionExplorer(make(1.0), starts=[atoms], walkers=1, rattle=0.1)
        found = explore(committee, dataset=[], rng=np.random.default_rng(2))[0]
        assert np.array_equal(found.positions[:2], atoms.positions[:2])
        assert not np.array_equal(found.positions[2:], atoms.positions[2:])


def test_a_target_out_of_reach_ends_one_walker_and_says_so():
    atoms, committee = springs()
    ended = []
    explore = EvolutionExplorer(
        ContourWalk(-5.0), starts=[atoms], walkers=2, on_evolved=ended.append
    )
    assert len(explore(committee, dataset=[], rng=np.random.default_rng(2))) == 2
    assert all("can't be reached" in evolved.reason for evolved in ended)


def test_a_ramped_contour():
    atoms, committee = springs()
    walk = ContourWalk(Ramp(0.0, 0.2, 40), steps=60, maxstep=0.1)
    explore = EvolutionExplorer(walk, starts=[atoms], walkers=1)
    found = explore(committee, dataset=[], rng=np.random.default_rng(2))[0]
    assert found.info["hal_step"] > 30
    assert committee.predict(found).energy / 4 == pytest.approx(0.2, abs=0.03)


def test_cell_relaxation():
    """Towards the volume that costs least; sigma grows with the volume and draws it further."""
    atoms, _ = springs()
    volume = atoms.get_volume()
    committee = HarmonicCrystal.around(
        atoms, spread=np.zeros((2, 4)), bulk_modulus=0.5, volume_spread=np.array([-0.05, 0.05])
    )
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    found = {}
    for alpha in (0.0, 1.0):
        relaxation = Relaxation(alpha, steps=100, fmax=1e-4, cell=True)
        explore = EvolutionExplorer(relaxation, starts=[atoms], walkers=1, rattle=0)
        found[alpha] = explore(committee, dataset=[], rng=np.random.default_rng(2))[0]
    # E = B V0 (V / V0 - 1)^2 / 2 - alpha 0.05 |V - V0| has its minimum at V0 (1 + 0.05 / B)
    assert found[0.0].get_volume() == pytest.approx(volume * 1.01**3)  # the start is the best
    assert found[1.0].get_volume() == pytest.approx(volume * 1.1, rel=0.01)


@pytest.mark.slow
def test_learn_takes_it():
    fit = LinearFit(al_cu_basis())
    explore = EvolutionExplorer(ContourWalk(0.1, steps=30), walkers=3)
    seeds = al_cu_dataset()[:12]
    steps = list(
        learn(seeds, fit, explore, EMT, rng=np.random.default_rng(1), n_select=2, max_iterations=2)
    )
    assert [step.finished for step in steps] == [None, None, "iterations"]
    assert len(steps[-1].dataset) == 16
    assert steps[-1].dataset[-1].info["hal_scheme"] == "contour"


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: EvolutionExplorer("relaxation"), "must be callable"),
        (lambda: EvolutionExplorer(Relaxation(), starts=[]), "starts is empty"),
        (lambda: EvolutionExplorer(Relaxation(), walkers=0), "walkers"),
        (lambda: Relaxation(alpha=np.nan), "finite"),
        (lambda: Relaxation(optimizer="BFGS"), "optimizer"),
        (lambda: Relaxation(fmax=-1), "fmax"),
        (lambda: MolecularDynamics(-1.0), "temperature_K"),
        (lambda: ContourWalk(np.inf), "excess"),
        (lambda: ContourWalk(0.1, gamma=2.0), "gamma"),
        (lambda: ContourWalk(0.1, steps=0), "steps"),
        (lambda: Pick(max_force=0), "max_force"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises((ValueError, TypeError), match=match):
        make()


class TestStages:
    def test_stages_of_evolutions_follow_each_other(self):
        atoms, committee = springs()
        atoms.info["hal_origin"] = "by hand()"
        ended = []
        explore = HALExplorer(
            [
                EvolutionStage("relax", Relaxation(alpha=6.0, steps=20), max_labels=1),
                EvolutionStage("walk", ContourWalk(0.05, steps=20), start="previous"),
            ],
            walkers=2,
            on_trajectory=ended.append,
        )
        (first,) = explore(committee, dataset=[atoms], rng=np.random.default_rng(0))
        assert first.info["hal_stage"] == "relax"
        assert first.info["hal_origin"] == "by hand()"
        assert first.info["hal_outcome"] == "uncertain"
        assert len(ended) == 2
        assert ended[0].trace.step.tolist() == list(range(ended[0].steps + 1))
        assert ended[0].trace.score.max() * len(atoms) == pytest.approx(
            committee.predict(first).model_std
        )
        found = explore(committee, dataset=[atoms, first], rng=np.random.default_rng(0))
        assert [a.info["hal_stage"] for a in found] == ["walk", "walk"]
        assert [a.info["hal_walker"] for a in found] == [0, 1]

    def test_a_stage_ends_when_nothing_is_uncertain(self):
        atoms, committee = springs()
        stage = EvolutionStage("a", Relaxation(steps=3), pick=Pick(min_std=10.0), patience=3)
        ended = []
        explore = HALExplorer([stage], on_trajectory=ended.append)
        assert explore(committee, dataset=[atoms], rng=np.random.default_rng(0)) == []
        assert [t.outcome for t in ended] == ["stable"] * 3
        assert len(ended[0].final) == len(atoms)

    def test_arguments(self):
        with pytest.raises(ValueError, match="start is 'seeds'"):
            EvolutionStage("a", Relaxation(), start="here")
        with pytest.raises(ValueError, match="rattle >= 0"):
            EvolutionStage("a", Relaxation(), rattle=-1)
