"""Threads that share a committee, calculator or sampler find what one finds alone, bit for bit."""

import copy
import gc
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.mep import NEB
from ase.optimize import FIRE
from datasets_emt import al_cu_basis
from small_committees import bits, linear_committee, network_committee, structures

from ase_hal.ace import ACEBasis, neighbor_lists, part
from ase_hal.ace.neighbor_lists import NeighborLists
from ase_hal.ace.neighbors import NeighborList
from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.calculators import CommitteeCalculator, HALCalculator
from ase_hal.dynamics import (
    AdaptiveTau,
    ContourWalk,
    EvolutionExplorer,
    HALExplorer,
    MolecularDynamics,
    Relaxation,
    Stage,
    SwapMC,
    Trigger,
)
from ase_hal.dynamics.evolution_explorer import Pick
from ase_hal.extrapolation import ExtrapolationGrade
from ase_hal.identity import IdentityMap
from ase_hal.threads import ProcessWideLimit, all_held, threadsafe_cached_property, with_help


@pytest.fixture(autouse=True)
def frequent_switches():
    """Threads take turns a thousand times as often as they usually do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def calculators(**keywords) -> CalculatorCommittee:
    lj = LennardJones(sigma=2.3, epsilon=0.15, rc=5.0, smooth=True)
    softer = LennardJones(sigma=2.4, epsilon=0.1, rc=4.5, smooth=True)
    return CalculatorCommittee([EMT(), lj, softer], **keywords)


COMMITTEES = {
    "linear": linear_committee,
    "linear, sigma of the members": lambda: linear_committee(sigma="members"),
    "networks": network_committee,
    "calculators": calculators,
}


def shuffled(n, seed=0):
    """Each number twice, in any order."""
    return np.random.default_rng(seed).permutation(np.tile(np.arange(n), 2))


def from_threads(function, items, n_threads=4):
    with ThreadPoolExecutor(n_threads) as pool:
        return list(pool.map(function, items))


# ------------------------------------------------------------------ committees


@pytest.mark.parametrize("kind", COMMITTEES)
def test_predictions_of_threads_are_those_of_one(kind):
    make, some = COMMITTEES[kind], structures()
    if kind == "calculators":  # slow
        some = some[:40]

    def asked(committee, i):
        stress = bool(some[i].pbc.all())
        return bits(committee.predict(some[i], members=i % 3 == 0, stress=stress))

    alone = make()
    expected = [asked(alone, i) for i in range(len(some))]
    assert len({e["energy"] for e in expected}) == len(some)
    shared, order = make(), shuffled(len(some))
    found = from_threads(lambda i: asked(shared, i), order)
    wrong = [int(i) for i, f in zip(order, found, strict=True) if f != expected[i]]
    assert wrong == []
    # and what one thread finds does not depend on the order either
    backwards = make()
    assert [asked(backwards, i) for i in reversed(range(len(some)))] == expected[::-1]


@pytest.mark.parametrize("kind", ["linear", "networks"])
def test_trajectories_in_threads_are_those_they_are_alone(kind):
    """Each keeps its neighbour list from step to step, whoever asks in between."""
    n_steps, starts = 40, [atoms for atoms in structures()[:24] if len(atoms) > 1]

    def trajectory(committee, number):
        rng, atoms = np.random.default_rng(number), starts[number].copy()
        said = []
        for step in range(n_steps):
            atoms.positions += rng.normal(scale=0.02, size=(len(atoms), 3))
            if step % 9 == 5:
                atoms.set_cell(atoms.cell * (1 + 0.002 * rng.normal()), scale_atoms=True)
            said.append(bits(committee.predict(atoms)))
        return said

    expected = [trajectory(COMMITTEES[kind](), number) for number in range(len(starts))]
    shared = COMMITTEES[kind]()
    numbers = range(len(starts))
    assert from_threads(lambda number: trajectory(shared, number), numbers) == expected


def test_what_else_is_asked_plays_no_part():
    committee, other = linear_committee(), linear_committee()
    atoms, twin, decoys = *(structures()[3].copy() for _ in range(2)), structures()[:50]
    rng = np.random.default_rng(0)
    for _ in range(30):
        atoms.positions += rng.normal(scale=0.03, size=atoms.positions.shape)
        twin.positions[:] = atoms.positions
        committee.predict(decoys[rng.integers(len(decoys))])
        committee.predict(atoms.copy())
        assert bits(committee.predict(atoms)) == bits(other.predict(twin))


def test_energy_covariance_rows_and_grades():
    some = structures()
    basis, committee = al_cu_basis(), linear_committee()
    grade = ExtrapolationGrade(committee, some[:10])

    def rows(i):
        found = basis.rows(some[i])
        return found.energy.tobytes(), found.forces.tobytes(), found.virial.tobytes()

    def grades(i):
        return grade(some[i]).tobytes()

    def covariance(i):
        return committee.energy_covariance(some[i : i + 3]).tobytes()

    for function in (rows, grades, covariance):
        expected = [function(i) for i in range(len(some))]
        order = shuffled(len(some))
        assert from_threads(function, order) == [expected[i] for i in order]


def test_an_evaluator_may_be_shared():
    """Each thread has forces of the atoms that it gave itself."""
    some, basis = structures()[:150], al_cu_basis()
    vectors = np.random.default_rng(0).normal(size=(3, basis.size))

    def everything(evaluator, i):
        energy = evaluator.descriptors(some[i])
        time.sleep(0)  # let another thread in
        forces, virials = evaluator.forces(vectors)
        of_atoms = evaluator.atomic_descriptors(some[i])
        time.sleep(0)
        weighted = evaluator.atomic_forces(np.ones_like(of_atoms))
        plain = evaluator.energy_forces(some[i], vectors[0])
        rows = evaluator.rows(some[i])
        parts = (energy, forces, virials, of_atoms, *weighted, *plain, rows.forces, rows.virial)
        return [np.asarray(part).tobytes() for part in parts]

    alone, shared = basis.evaluator(), basis.evaluator()
    expected = [everything(alone, i) for i in range(len(some))]
    order = shuffled(len(some))
    found = from_threads(lambda i: everything(shared, i), order)
    assert found == [expected[i] for i in order]
    with ThreadPoolExecutor(1) as pool, pytest.raises(RuntimeError, match="in the same thread"):
        pool.submit(shared.forces, vectors).result()


def test_a_pool_lends_each_evaluator_once():
    pool, atoms = al_cu_basis().evaluators(), structures()[3]
    with pool.borrowed() as first, pool.borrowed() as second:
        assert first is not second
        found = [evaluator.rows(atoms).forces.tobytes() for evaluator in (first, second)]
        assert found[0] == found[1]
    for _ in range(3):
        with pytest.raises(ValueError, match="unknown elements"), pool.borrowed() as again:
            again.descriptors(Atoms("H"))
        assert again is first  # given back last
    assert len(pool._idle) == 2
    other = pickle.loads(pickle.dumps(pool))
    with other.borrowed() as evaluator:
        assert evaluator.rows(atoms).forces.tobytes() == found[0]


def test_functions_are_compiled_once_for_all_threads_and_copies(monkeypatch):
    compiled = []
    build = part.build_basis
    monkeypatch.setattr(part, "build_basis", lambda t: compiled.append(t) or build(t))
    known = al_cu_basis()
    basis = ACEBasis.from_specification(known.specification, tables=known.tables)
    committee = linear_committee(basis)
    committee.predict(structures()[0])
    n_parts = len(compiled)
    assert n_parts == len(basis.tables)
    for _ in range(5):  # new threads every time, as ASE's NEB has them
        from_threads(committee.predict, structures()[:20])
    copy.copy(committee).predict(structures()[0])
    basis.rows(structures()[0])
    ExtrapolationGrade(committee, structures()[:2])
    assert len(compiled) == n_parts


def test_copies_and_pickles_hold_no_neighbour_list():
    committee, atoms = linear_committee(), structures()[3].copy()
    start = bits(committee.predict(atoms))
    kept = committee._evaluators.neighbors
    atoms.positions[0] += 0.1
    moved = bits(committee.predict(atoms))
    assert kept.builds == 1
    for other in (copy.copy(committee), pickle.loads(pickle.dumps(committee))):
        assert other._evaluators.neighbors.builds == 0
        assert bits(other.predict(structures()[3].copy())) == start
    assert bits(committee.predict(atoms)) == moved
    assert b"NeighborList" not in pickle.dumps(committee)


# ------------------------------------------------------------------ neighbour lists


@pytest.mark.parametrize("memory", [0, 2**26])
def test_lists_are_those_of_one_object_whatever_memory_is_left(monkeypatch, memory):
    """A list that was released is built again for where it was built before."""
    monkeypatch.setattr(neighbor_lists, "_MOST_BYTES", memory)
    lists = NeighborLists(("Al", "Cu"), 4.5, 0.5)
    walkers = [structures()[i].copy() for i in (3, 4, 9, 16, 22, 46)]
    alone = [NeighborList(("Al", "Cu"), 4.5, 0.5) for _ in walkers]
    rng = np.random.default_rng(1)
    for step in range(60):
        for atoms, own in zip(walkers, alone, strict=True):
            atoms.positions += rng.normal(scale=0.02, size=(len(atoms), 3))
            if step % 7 == 3:
                atoms.set_cell(atoms.cell * (1 + 0.003 * rng.normal()), scale_atoms=True)
            if step == 30:
                atoms.wrap()
            pairs, positions, shifts = lists.update(atoms)
            expected, at, by = own.update(atoms)
            assert positions.tobytes() == at.tobytes()
            assert shifts.tobytes() == by.tobytes()
            n = expected.pair_first[-1]
            assert pairs.pair_first.tobytes() == expected.pair_first.tobytes()
            assert pairs.neighbour[:n].tobytes() == expected.neighbour[:n].tobytes()
            assert pairs.shift[:n].tobytes() == expected.shift[:n].tobytes()
            assert pairs.order.tobytes() == expected.order.tobytes()
    builds = [own.builds for own in alone]
    assert min(builds) < 20  # of 60 steps
    assert lists.builds == sum(builds)
    held = [own.pairs is not None for own in lists._lists.values()]
    assert sum(held) == (len(walkers) if memory else 1)


def test_lists_go_with_their_objects_and_a_new_one_does_not_inherit():
    committee, ids = linear_committee(), set()
    lists = committee._evaluators.neighbors
    for seed in range(30):  # the memory of the last one, and so its id, is used again
        atoms = bulk("Al", a=4.0, cubic=True)
        atoms.rattle(0.05, seed=seed)
        ids.add(id(atoms))
        expected = bits(copy.copy(committee).predict(atoms.copy()))
        assert bits(committee.predict(atoms)) == expected
        assert len(lists._lists) == 1
        del atoms
    assert len(ids) < 30
    assert len(lists._lists) == 0


def test_values_belong_to_objects_and_not_to_equal_ones():
    values = IdentityMap()
    first, second = Atoms("Al"), Atoms("Al")
    assert first == second
    assert values.setdefault(first, 1) == values.setdefault(first, 2) == 1
    assert values.get(second) is None
    assert values.setdefault(second, 3) == 3
    assert values.get(first) == 1
    assert sorted(values.values()) == [1, 3]
    del first
    gc.collect()
    assert values.values() == [3]
    with pytest.raises(TypeError):
        values.setdefault((), 1)


# ------------------------------------------------------------------ calculators


class Overlapping(Calculator):
    """Answers wrongly where a second question comes before the first is answered."""

    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.number = atoms.positions[0, 0]
        time.sleep(2e-4)
        number = self.number
        self.results = {
            "energy": number,
            "forces": np.full((len(self.atoms), 3), number),
            "stress": np.full(6, number),
        }


@pytest.mark.parametrize("own_threads", [False, True])
def test_a_calculator_answers_one_question_after_the_other(own_threads):
    """Also where two committees share it."""
    with ThreadPoolExecutor(2) as pool:
        executor = pool if own_threads else None
        members = [Overlapping() for _ in range(3)]
        committees = [
            CalculatorCommittee(members[:2], executor=executor),
            CalculatorCommittee(members[1:], executor=executor),
        ]

        def asked(i):
            atoms = Atoms("Al", [[i, 0, 0]], cell=[9, 9, 9], pbc=True)
            said = committees[i % 2].predict(atoms, members=True, stress=True)
            return [*said.member_energies, *said.member_forces[:, 0, 0], said.stress[0]]

        found = from_threads(asked, range(120), 6)
    assert found == [[i] * 5 for i in range(120)]


def test_threads_of_the_executor_may_ask_themselves():
    """All of them at once: none is left to answer but those who ask."""
    some = structures()[1:13:3]
    expected = [bits(calculators().predict(atoms)) for atoms in some]
    pool = ThreadPoolExecutor(3)
    try:
        committee = calculators(executor=pool)
        inner = CalculatorCommittee([CommitteeCalculator(committee), EMT()], executor=pool)
        futures = [pool.submit(committee.predict, atoms) for atoms in some]
        futures += [pool.submit(inner.predict, atoms) for atoms in some]
        found = [bits(future.result(timeout=60)) for future in futures]
    finally:
        pool.shutdown(cancel_futures=True)  # also where all wait
    assert found[: len(some)] == expected


def test_copies_are_made_while_members_work():
    committee = calculators()
    with ThreadPoolExecutor(4) as pool:
        asked = [pool.submit(committee.predict, atoms) for atoms in structures()[:20]]
        copies = [pool.submit(copy.copy, committee) for _ in range(10)]
        pickles = [pool.submit(pickle.dumps, committee) for _ in range(5)]
        for future in [*asked, *copies, *pickles]:
            future.result(timeout=60)
    expected = bits(calculators().predict(structures()[2]))
    assert bits(copies[-1].result().predict(structures()[2])) == expected


def test_a_trajectory_goes_on_with_what_members_remember():
    """As it always did: the list with a skin that EMT made stays, and so do the last digits."""
    atoms, alone = bulk("Al", a=4.0, cubic=True) * (2, 1, 1), EMT()
    committee = CalculatorCommittee([EMT(), LennardJones(sigma=2.3, epsilon=0.1)])
    rng = np.random.default_rng(0)
    for _ in range(15):
        atoms.positions += rng.normal(scale=0.03, size=(8, 3))
        said = committee.predict(atoms, members=True).member_forces[0]
        assert said.tobytes() == alone.get_property("forces", atoms.copy()).tobytes()
    assert committee.calculators[0].nl.nupdates < 15


def test_objects_that_take_turns_start_afresh_whoever_is_first():
    """As in a band in parallel, where the last image of one step may be the first of the next."""
    said = []
    for order in (lambda step: (0, 1), lambda step: (step % 2, 1 - step % 2)):
        committee, rng = calculators(), np.random.default_rng(0)
        movers = [bulk("Al", a=4.0, cubic=True) * (2, 1, 1) for _ in range(2)]
        answers = []
        for step in range(12):
            for atoms in movers:
                atoms.positions += rng.normal(scale=0.03, size=(8, 3))
            found = {i: bits(committee.predict(movers[i])) for i in order(step)}
            answers.append((found[0], found[1]))
        said.append(answers)
    assert said[0] == said[1]


def test_members_that_are_committees_keep_their_lists_along_a_trajectory():
    inner = [linear_committee(seed=seed) for seed in (0, 1)]
    committee = CalculatorCommittee([CommitteeCalculator(one) for one in inner])
    alone = [linear_committee(seed=seed) for seed in (0, 1)]
    atoms, rng = structures()[3].copy(), np.random.default_rng(0)
    for _ in range(20):
        atoms.positions += rng.normal(scale=0.02, size=atoms.positions.shape)
        forces = committee.predict(atoms, members=True).member_forces
        assert forces.tobytes() == np.array([a.predict(atoms).forces for a in alone]).tobytes()
    builds = [one._evaluators.neighbors.builds for one in inner]
    assert builds == [one._evaluators.neighbors.builds for one in alone]
    assert max(builds) < 10


@pytest.mark.parametrize("kind", COMMITTEES)
@pytest.mark.parametrize("tau", [None, 0.3])
def test_a_calculator_shared_by_threads_answers_for_the_atoms_it_is_asked_about(kind, tau):
    some = [atoms for atoms in structures()[:60] if atoms.pbc.all()][: 12 if "calc" in kind else 40]

    def calculator():
        committee = COMMITTEES[kind]()
        return CommitteeCalculator(committee) if tau is None else HALCalculator(committee, tau)

    def asked(calc, i):
        names = ("energy", "forces", "stress", "free_energy")
        said = [np.asarray(calc.get_property(name, some[i])).tobytes() for name in names]
        return [*said, bits(calc.predict(some[i]))["energy_std"]]

    alone, shared = calculator(), calculator()
    expected = [asked(alone, i) for i in range(len(some))]
    order = shuffled(len(some))
    assert from_threads(lambda i: asked(shared, i), order) == [expected[i] for i in order]


class Waiting:
    """A committee that answers when it is told to."""

    def __init__(self, committee):
        self.committee, self.elements = committee, committee.elements
        self.asked, self.go_on = threading.Event(), threading.Event()

    def predict(self, atoms, members=False, stress=False):
        self.asked.set()
        assert self.go_on.wait(10)
        return self.committee.predict(atoms, members=members, stress=stress)


@pytest.mark.parametrize("change", ["committee", "tau"])
def test_what_is_calculated_while_the_surface_changes_does_not_stay(change):
    atoms, slow, other = structures()[3], Waiting(linear_committee()), linear_committee(seed=1)
    calc = HALCalculator(slow, 0.5)
    with ThreadPoolExecutor(1) as pool:
        energy = pool.submit(calc.get_potential_energy, atoms)
        assert slow.asked.wait(10)
        if change == "tau":
            calc.tau = 2.0
        else:
            calc.committee = other
        slow.go_on.set()
        energy.result(timeout=10)
    now = (other if change == "committee" else slow.committee).predict(atoms)
    assert calc.get_potential_energy(atoms) == now.energy - calc.tau * now.energy_std
    assert calc.predict(atoms).energy == now.energy


def test_a_change_of_tau_is_never_missed():
    calc, some = HALCalculator(linear_committee()), structures()[:12]
    stop = threading.Event()

    def ask():
        while not stop.is_set():
            for atoms in some:
                calc.get_potential_energy(atoms)

    with ThreadPoolExecutor(3) as pool:
        futures = [pool.submit(ask) for _ in range(2)]
        try:
            said = calc.committee.predict(some[1])
            for tau in np.linspace(0.1, 3.0, 60):
                calc.tau = tau
                assert calc.get_potential_energy(some[1]) == said.energy - tau * said.energy_std
        finally:
            stop.set()
        for future in futures:
            future.result(timeout=60)


def test_calculators_with_locks_are_copied_and_pickled():
    atoms = structures()[1].copy()
    for calc in (CommitteeCalculator(linear_committee()), HALCalculator(linear_committee(), 0.5)):
        energy = calc.get_potential_energy(atoms)
        for other in (copy.deepcopy(calc), copy.copy(calc), pickle.loads(pickle.dumps(calc))):
            assert other.get_potential_energy(atoms) == energy
            atoms.positions[0, 0] += 0.01
            assert other.get_potential_energy(atoms) != energy
            atoms.positions[0, 0] -= 0.01


# ------------------------------------------------------------------ bands of ASE


def band(committee, tau, n_images=5):
    first = bulk("Al", a=4.0, cubic=True) * (2, 1, 1)
    first.symbols[0] = "Cu"
    last = first.copy()
    last.positions[1] += [0.4, 0.5, 0.1]
    images = [first, *(first.copy() for _ in range(n_images)), last]
    neb = NEB(images, method="improvedtangent")
    neb.interpolate()
    rng = np.random.default_rng(0)
    for image in images:
        image.positions += rng.normal(scale=0.02, size=(8, 3))
        image.calc = HALCalculator(committee, tau) if tau else CommitteeCalculator(committee)
    return images


@pytest.mark.parametrize("n_images", [1, 5])
@pytest.mark.parametrize("tau", [0.0, 0.2])
@pytest.mark.parametrize("kind", ["linear", "networks", "calculators"])
def test_bands_in_parallel(kind, tau, n_images):
    paths = []
    for parallel in (False, True):
        images = band(COMMITTEES[kind](), tau, n_images)
        neb = NEB(images, parallel=parallel, method="improvedtangent")
        FIRE(neb, logfile=None).run(fmax=1e-3, steps=12)
        paths.append([image.positions.tobytes() for image in images])
    assert paths[0] == paths[1]


def test_a_band_with_one_calculator():
    paths = []
    for shared in (False, True):
        committee = linear_committee()
        images = band(committee, 0.0)
        if shared:
            calc = CommitteeCalculator(committee)
            for image in images:
                image.calc = calc
        neb = NEB(images, allow_shared_calculator=shared, method="improvedtangent")
        FIRE(neb, logfile=None).run(fmax=1e-3, steps=12)
        paths.append([image.positions.tobytes() for image in images])
    assert paths[0] == paths[1]


# ------------------------------------------------------------------ explorers


def dataset():
    return [atoms.copy() for atoms in structures()[:40] if len(set(atoms.symbols)) == 2][:6]


def stage(**keywords):
    return Stage(
        "warm", 900.0, steps=60, tau=AdaptiveTau(0.2, window=10, burn_in=10),
        trigger=Trigger("relative", 30.0, interval=10, min_distance=0.3, max_temperature=40.0),
        moves=(SwapMC(10),), patience=4, start="any", **keywords,
    )  # fmt: skip


def described(atoms):
    info = sorted((key, value) for key, value in atoms.info.items() if key.startswith("hal"))
    return atoms.positions.tobytes(), atoms.cell.array.tobytes(), info


@pytest.mark.parametrize("kind", ["linear", "networks", "calculators"])
def test_trajectories_of_walkers_in_threads(kind):
    results = []
    with ThreadPoolExecutor(4) as pool:
        for executor in (None, pool):
            committee = COMMITTEES[kind]()
            if kind == "calculators":
                committee.executor = executor  # the very threads of the walkers
            trajectories = []
            explore = HALExplorer(
                [stage()], walkers=4, executor=executor, on_trajectory=trajectories.append
            )
            rng = np.random.default_rng(5)
            found = explore(committee, dataset=dataset(), rng=rng)
            traces = [
                (t.outcome, t.reason, t.steps, t.final.positions.tobytes(), t.acceptance,
                 [np.asarray(value).tobytes() for value in vars(t.trace).values()])
                for t in trajectories
            ]  # fmt: skip
            results.append(([described(atoms) for atoms in found], traces))
    assert len(results[0][1]) >= 4
    assert max(trace[2] for trace in results[0][1]) > 10
    assert results[0] == results[1]


@pytest.mark.parametrize(
    "evolution",
    [
        Relaxation(alpha=0.3, steps=15),
        MolecularDynamics(600.0, alpha=0.2, steps=30),
        ContourWalk(0.05, gamma=0.3, steps=15),
    ],
    ids=lambda evolution: evolution.name,
)
@pytest.mark.parametrize("kind", ["linear", "calculators"])
def test_evolutions_in_threads(kind, evolution):
    results = []
    with ThreadPoolExecutor(4) as pool:
        for executor in (None, pool):
            evolved = []
            explore = EvolutionExplorer(
                evolution, walkers=4, executor=executor, on_evolved=evolved.append,
                pick=Pick(max_force=1e3, min_distance=0.1),
            )  # fmt: skip
            rng = np.random.default_rng(6)
            found = explore(COMMITTEES[kind](), dataset=dataset(), rng=rng)
            ends = [(e.steps, e.reason, e.std, e.final.positions.tobytes()) for e in evolved]
            results.append(([described(atoms) for atoms in found], ends))
    assert len(results[0][0]) == 4
    assert results[0] == results[1]


# ------------------------------------------------------------------ what all that is made of


def test_help_is_in_order_and_raises_what_came_first():
    def job(i):
        time.sleep(1e-3)
        if i in (3, 5):
            raise ValueError(f"job {i}")
        return i

    with ThreadPoolExecutor(2) as pool:
        for executor in (None, pool):
            assert with_help(job, [(i,) for i in (0, 1, 2, 4)], executor) == [0, 1, 2, 4]
            with pytest.raises(ValueError, match="job 3"):
                with_help(job, [(i,) for i in range(7)], executor)


def test_locks_are_taken_in_any_order():
    locks, inside = [threading.RLock() for _ in range(3)], []

    def hold(order):
        for _ in range(300):
            with all_held([locks[i] for i in order]):
                inside.append(order)
                assert len(inside) == 1
                inside.pop()

    with ThreadPoolExecutor(4) as pool:
        orders = [(0, 1, 2), (2, 1, 0), (1, 2, 0), (0, 2, 1)]
        for future in [pool.submit(hold, order) for order in orders]:
            future.result(timeout=60)


def test_one_limit_for_all_users():
    number, seen = [8], []

    def impose():
        before, number[0] = number[0], 1
        return lambda: number.__setitem__(0, before)

    limit, entered, leave = ProcessWideLimit(impose), threading.Event(), threading.Event()

    def first():
        with limit():
            entered.set()
            leave.wait(10)
        seen.append(number[0])

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(first)
        assert entered.wait(10)
        with limit():
            leave.set()
            done.result(timeout=10)
            assert (number[0], seen) == (1, [1])
    assert number[0] == 8


def test_threads_are_given_one_object():
    made = []

    class Slow:
        @threadsafe_cached_property
        def value(self):
            """What it is."""
            time.sleep(0.01)
            made.append(object())
            return made[-1]

    slow = Slow()
    values = from_threads(lambda _: slow.value, range(4))
    assert len({id(value) for value in values}) == 1
    assert slow.value in values
    assert Slow.value.__doc__ == "What it is."
