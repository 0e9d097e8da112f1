"""Reducing a labelled set, extrapolation grades, and the tail of their distribution."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from datasets_emt import al_cu_basis, al_cu_dataset, rattled

from ase_hal import LinearFit
from ase_hal.ace import ACEBasis, PairPart
from ase_hal.metrics import compare
from ase_hal.selection import ExtrapolationGrade, filter_greedily, select_tail
from ase_hal.uncertainty import relative_force_error


class TestGreedyFilter:
    def test_every_pick_has_the_largest_error_of_those_left(self):
        dataset, fit = al_cu_dataset()[:10], LinearFit(al_cu_basis(), members=8)
        filtered = filter_greedily(dataset, fit, n=4, rng=np.random.default_rng(1), first=3)
        assert filtered.selected[0] is dataset[3]
        assert len(filtered.selected) + len(filtered.remaining) == 10
        assert set(map(id, filtered.selected)).isdisjoint(map(id, filtered.remaining))
        forces = np.concatenate([a.calc.results["forces"] for a in dataset])
        eps = np.linalg.norm(forces, axis=1).mean()
        generators = np.random.default_rng(1).spawn(4)
        for k in range(1, 4):
            committee = LinearFit(al_cu_basis(), members=8)(
                filtered.selected[:k], rng=generators[k - 1]
            )
            errors = [
                relative_force_error(committee.predict(a, members=True), eps).max()
                for a in (*filtered.selected[k:], *filtered.remaining)
            ]
            assert errors[0] == pytest.approx(max(errors))
            assert filtered.scores[k] == pytest.approx(errors[0], rel=1e-6)
        assert np.isnan(filtered.scores[0])

    def test_it_takes_the_odd_ones(self):
        """Ten rattled crystals of Al and two of Cu in disguise of the same set."""
        rng = np.random.default_rng(5)
        dataset = [*rattled("Al", 12, rng=rng), *rattled("Cu", 2, rng=rng)]
        filtered = filter_greedily(dataset, LinearFit(al_cu_basis()), n=3, rng=rng, first=0)
        assert set(filtered.selected[1].symbols) == {"Cu"}

    def test_it_learns_faster_than_chance(self):
        """Errors on what is left, against random subsets of the same size."""
        rng = np.random.default_rng(8)
        gentle = list(rattled("Al", 20, rng=rng, amplitude=0.02))
        dataset = gentle + list(rattled("Al", 4, rng=rng, second="Cu", amplitude=0.12))
        fit = LinearFit(al_cu_basis())
        greedy = compare(filter_greedily(dataset, fit, n=8, rng=rng).committee, dataset).errors()
        chance = []
        for _ in range(4):
            some = [dataset[i] for i in rng.choice(len(dataset), 8, replace=False)]
            chance.append(compare(fit(some, rng=rng), dataset).errors().forces_rmse)
        assert greedy.forces_rmse < 0.7 * np.mean(chance)

    def test_a_tolerance_ends_it_and_rounds_may_be_larger(self):
        dataset, fit = al_cu_dataset()[:12], LinearFit(al_cu_basis())
        rng = np.random.default_rng
        few = filter_greedily(dataset, fit, n=12, rng=rng(1), tolerance=1e6)
        assert len(few.selected) == 1
        counted = []

        def counting(structures, *, rng):
            counted.append(len(structures))
            return fit(structures, rng=rng)

        filter_greedily(dataset, counting, n=6, rng=rng(1), per_round=2)
        assert counted == [1, 3, 5, 6]

    def test_bad_input(self):
        dataset, rng = al_cu_dataset()[:3], np.random.default_rng(0)
        for wrong in ({"n": 0}, {"n": 4}, {"first": 3}, {"per_round": 0}, {"tolerance": -1.0}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                filter_greedily(dataset, None, **{"n": 2, "rng": rng, **wrong})
        with pytest.raises(ValueError, match="no force labels: give eps"):
            filter_greedily([bulk("Al")] * 3, None, n=2, rng=rng)


@pytest.fixture(scope="module")
def pure_elements():
    """A model of Al and Ni that has never seen them together."""
    basis = ACEBasis(
        ("Al", "Ni"), rcut=4.5, nradmax_by_orders=[6, 3], lmax_by_orders=[0, 2],
        pair=PairPart(rcut=5.5, nradmax=6),
    )  # fmt: skip
    rng = np.random.default_rng(2)
    dataset = [*rattled("Al", 12, rng=rng), *rattled("Ni", 12, rng=rng)]
    return LinearFit(basis)(dataset, rng=rng), dataset


class TestExtrapolationGrade:
    def test_one_nickel_atom_in_aluminium(self, pure_elements):
        """pyace's gamma counts this as interpolation."""
        grade = ExtrapolationGrade(*pure_elements)
        atoms = bulk("Al", a=4.0, cubic=True) * 2
        assert grade(atoms).max() < 1.1
        atoms.symbols[0] = "Ni"
        grades = grade(atoms)
        assert grades[0] > 3
        assert np.argmax(grades) == 0
        nearest = np.argsort(atoms.get_distances(0, range(32), mic=True))[1:13]
        assert grades[nearest].min() > 3

    def test_the_training_set_is_interpolation(self, pure_elements):
        committee, dataset = pure_elements
        grade = ExtrapolationGrade(committee, dataset)
        grades = [grade(atoms).max() for atoms in dataset]
        assert max(grades) == pytest.approx(1)
        assert sum(g == pytest.approx(1) for g in grades) == 2  # one for each element

    def test_it_grows_away_from_the_training_set(self, pure_elements):
        grade = ExtrapolationGrade(*pure_elements)
        strained = [grade(bulk("Al", a=a)).max() for a in (4.0, 3.6, 3.3)]
        assert strained[0] < strained[1] < strained[2]
        assert strained[2] > 2

    def test_it_is_a_variance(self, pure_elements):
        """Against samples of the posterior: the spread of the energy of each atom."""
        committee, dataset = pure_elements
        grade = ExtrapolationGrade(committee, dataset)
        atoms = dataset[0]
        samples = committee.posterior.sample(4000, rng=np.random.default_rng(0))
        spread = (committee.basis.evaluator().atomic_descriptors(atoms) @ samples.T).std(axis=1)
        ratio = spread / grade(atoms)
        assert ratio == pytest.approx(np.full(len(atoms), ratio.mean()), rel=0.08)

    def test_elements_that_were_never_seen(self, pure_elements):
        committee, dataset = pure_elements
        only = [a for a in dataset if set(a.symbols) == {"Al"}]
        assert np.isinf(ExtrapolationGrade(committee, only)(bulk("Ni"))).all()

    def test_bad_input(self, pure_elements):
        with pytest.raises(ValueError, match="empty"):
            ExtrapolationGrade(pure_elements[0], [])
        with pytest.raises(TypeError, match="LinearCommittee, got list"):
            ExtrapolationGrade([], pure_elements[1])


def lognormal(rng, count=None):
    """Structures whose x is the logarithm of their grade."""
    while count is None or count > 0:
        count = None if count is None else count - 1
        yield Atoms("H", [[rng.normal(2.0, 1.3), 0, 0]])


def gamma(atoms):
    return np.exp(atoms.positions[0, 0])


class TestTail:
    def test_a_gaussian_leaves_what_the_error_function_says(self):
        rng = np.random.default_rng(0)
        tail = select_tail(lognormal(rng), gamma, n=200, rng=rng)
        assert len(tail.train) == 160
        assert len(tail.test) == 40
        assert np.log(tail.threshold) == pytest.approx(2.0 + 1.5 * 1.3, abs=0.15)
        expected = 0.0668  # 1.5 standard deviations
        assert abs(tail.fraction - expected) < 4 * np.sqrt(expected / tail.sampled)
        assert all(gamma(a) > tail.threshold for a in (*tail.train, *tail.test))

    def test_cutoff(self):
        rng = np.random.default_rng(0)
        tail = select_tail(lognormal(rng), gamma, n=50, rng=rng, cutoff=2.0, test_share=0.5)
        assert len(tail.test) == 25
        assert abs(tail.fraction - 0.0228) < 4 * np.sqrt(0.0228 / tail.sampled)

    def test_the_split_is_random_and_reproducible(self):
        sources = [list(lognormal(np.random.default_rng(4), 400)) for _ in range(2)]
        tails = [
            select_tail(s, gamma, n=20, rng=np.random.default_rng(seed))
            for s, seed in [(sources[0], 1), (sources[1], 1), (sources[0], 2)]
        ]
        tests = [sorted(gamma(a) for a in tail.test) for tail in tails]
        assert tests[0] == tests[1] != tests[2]
        assert {gamma(a) for a in (*tails[0].train, *tails[0].test)} == {
            gamma(a) for a in (*tails[2].train, *tails[2].test)
        }

    def test_what_comes_again_is_not_counted(self):
        """Every structure three times: the same tail, once."""
        rng = np.random.default_rng
        once = list(lognormal(rng(4), 400))
        thrice = []
        for atoms in once:
            thrice += [atoms, atoms.copy(), atoms.copy()]
        tails = [select_tail(s, gamma, n=500, rng=rng(1)) for s in (once, thrice)]
        assert tails[0].sampled == tails[1].sampled == 400
        assert tails[0].fraction == tails[1].fraction
        grades = [sorted(gamma(a) for a in (*tail.train, *tail.test)) for tail in tails]
        assert grades[0] == grades[1]
        assert len(grades[0]) > 10

    def test_a_source_that_ends(self):
        rng = np.random.default_rng(0)
        tail = select_tail(lognormal(rng, 120), gamma, n=200, rng=rng)
        assert tail.sampled == 120
        assert 0 < len(tail.train) + len(tail.test) < 30
        assert select_tail(lognormal(rng), gamma, n=200, rng=rng, max_sampled=70).sampled == 70
        nothing = select_tail([], gamma, n=2, rng=rng)
        assert nothing.sampled == 0
        assert np.isnan(nothing.fraction)

    def test_bad_input(self):
        rng = np.random.default_rng(0)
        with pytest.raises(ValueError, match="positive number, got inf"):
            select_tail(lognormal(rng), lambda atoms: np.inf, n=2, rng=rng)
        for wrong in ({"n": 0}, {"batch": 1}, {"cutoff": np.nan}, {"test_share": 2}):
            with pytest.raises(ValueError, match=next(iter(wrong))):
                select_tail(lognormal(rng), gamma, **{"n": 2, "rng": rng, **wrong})
