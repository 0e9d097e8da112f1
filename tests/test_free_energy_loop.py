"""Rounds of proposing, measuring and fitting."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import pytest
from free_energy_cases import l1_2
from free_energy_oracles import Landau, Oracle, exact_points

from ase_hal.free_energy import (
    Criterion,
    EndPoints,
    FindWells,
    GlobalSampling,
    HighError,
    Novelty,
    Point,
    PolynomialFit,
    PolynomialSurface,
    Proposal,
    QueryByCommittee,
    Reweighting,
    SectionSampling,
    Stopping,
    Strategy,
    SurfaceCommittee,
    UmbrellaMC,
    Wells,
    billiard_walk,
    learn_free_energy,
    make_test_set,
    measure,
)
from ase_hal.free_energy.errors import errors_by_criterion, mean_squared_error

CRITERIA = (
    GlobalSampling(count=20),
    SectionSampling(count=5),
    Wells(count=5, perturbation=0.05),
    HighError(count=3, repeats=2, perturbation=0.05),
    FindWells(count=3, perturbation=0.05),
)
STRATEGY = Strategy(CRITERIA, stopping=Stopping(rounds=3), n_candidates=300)
LANDAU = Landau(4, x0=0.25)


@pytest.fixture
def rng():
    return np.random.default_rng(2)


def fit(**settings):
    return PolynomialFit(
        l1_2(), **({"degree": 4, "composition_degree": 3, "mixing": False} | settings)
    )


def learned(strategy=STRATEGY, *, oracle=None, seed=5, how=None, **options):
    samplers = {300.0: oracle or Oracle(LANDAU)}
    return list(
        learn_free_energy(
            samplers, l1_2(), strategy, how or fit(), rng=np.random.default_rng(seed), **options
        )
    )


def test_rounds_learn_the_surface(rng):
    rounds = learned()
    assert [step.round for step in rounds] == [0, 1, 2]
    assert [step.finished for step in rounds] == [None, None, "rounds"]
    first, _, last = rounds
    assert {p.criterion for p in first.proposed} == {"global", "section", "wells"}
    counts = [sum(p.criterion == c.name for p in last.proposed) for c in CRITERIA]
    assert counts == [20, 5, 5, 6, 3]
    assert [len(step.points) for step in rounds] == [30, 69, 108]
    # the noise of the potentials is 0.1 meV
    test = exact_points(LANDAU, billiard_walk(l1_2().domain, 200, rng=rng))
    assert mean_squared_error(last.surface, test) < 1e-4
    assert last.train.keys() == {c.name for c in CRITERIA}
    assert last.train_error == pytest.approx(mean_squared_error(last.surface, last.points))
    assert np.isnan(last.test_error)


def test_same_seed_same_points():
    one, other, third = (learned(seed=seed)[-1].points for seed in (5, 5, 6))
    assert np.array_equal(one.mu, other.mu)
    assert not np.array_equal(one.mu, third.mu)


def test_points_are_found_near_where_they_are_wanted():
    point = learned()[-1].found[-1]
    assert isinstance(point, Point)
    assert np.array_equal(point.target, point.eta)
    assert Point.from_record(point.to_record()).to_record() == point.to_record()
    points = learned()[-1].points
    assert np.array_equal(points.round, np.sort(points.round))
    assert points.criteria[:3] == ("global", "section", "wells")
    assert 0.8 < points.converged.mean() < 1  # imprecise points are kept, and known as such


def test_windows_are_aimed_with_what_is_known():
    first, second, _ = learned()
    assert all(proposal.mu is None for proposal in first.proposed)
    guesses = np.array([proposal.mu for proposal in second.proposed])
    found = np.array([point.mu for point in second.found])
    assert np.corrcoef(guesses[:, 0], found[:, 0])[0, 1] > 0.99
    assert (guesses <= first.points.mu.max(axis=0)).all()
    plain = learned(replace(STRATEGY, aim=False))
    assert all(proposal.mu is None for step in plain for proposal in step.proposed)


def test_test_set_decides(rng):
    test = exact_points(LANDAU, billiard_walk(l1_2().domain, 50, rng=rng), criterion="global")
    target = replace(STRATEGY, stopping=Stopping(rounds=9, target=0.01))
    rounds = learned(target, test=test)
    assert rounds[-1].finished == "target"
    assert rounds[-1].test == {"global": pytest.approx(rounds[-1].test_error)}
    patient = replace(STRATEGY, stopping=Stopping(rounds=9, patience=2, improvement=0.9))
    assert learned(patient, test=test)[-1].finished == "converged"


def test_criteria_gain_weight_where_the_surface_improves():
    strategy = replace(STRATEGY, reweighting=Reweighting(alpha=1e4))
    rounds = learned(strategy)
    assert set(rounds[0].weights.values()) == set(rounds[1].weights.values()) == {1.0}
    weights = rounds[2].weights
    assert np.mean(list(weights.values())) == pytest.approx(1)
    assert np.ptp(list(weights.values())) > 0.1
    before, after = (errors_by_criterion(step.surface, rounds[1].points) for step in rounds[:2])
    gain = {name: before[name] - after[name] for name in after}
    assert max(gain, key=gain.get) == max(weights, key=weights.get)
    counts = {c.name: sum(p.criterion == c.name for p in rounds[2].proposed) for c in CRITERIA}
    assert counts["global"] == max(round(20 * weights["global"]), 1)


def test_novelty_leaves_points_out():
    rounds = learned(replace(STRATEGY, novelty=Novelty("max")))
    assert len(rounds[0].proposed) == 30
    assert 0 < len(rounds[1].proposed) < 39
    indices = [proposal.index for proposal in rounds[1].proposed]
    assert indices == list(range(len(indices)))


def test_nothing_new_ends():
    only = Strategy([EndPoints(count=2)], novelty=Novelty(), stopping=Stopping(rounds=5))
    rounds = learned(only)
    assert [step.finished for step in rounds] == [None, "nothing new"]
    assert rounds[-1].points is rounds[0].points


def test_failed_points_are_recorded_and_the_others_kept(caplog):
    awkward = Oracle(LANDAU, refuses=lambda eta: "licence server is gone" if eta[0] > 0.7 else None)
    rounds = learned(oracle=awkward)
    failed = [point for step in rounds for point in step.failed]
    assert failed
    assert all(point.proposal.eta[0] > 0.7 for point in failed)
    assert {point.reason for point in failed} == {"licence server is gone"}
    assert all(len(step.found) + len(step.failed) == len(step.proposed) for step in rounds)
    # the others are those of a sampler that knows all points
    good = learned()[0]
    kept = {p.index: p for p in good.found}
    assert all(np.array_equal(p.mu, kept[p.index].mu) for p in rounds[0].found)


def test_a_temperature_without_points_is_named():
    """No surface can be asked there: not a later error about something else."""
    lost = Oracle(LANDAU, temperature_K=500.0, refuses=lambda eta: "no licence")
    samplers = {300.0: Oracle(LANDAU), 500.0: lost}
    options = {"rng": np.random.default_rng(1)}
    with pytest.raises(ValueError, match="no point at 500 K succeeded: no licence"):
        list(learn_free_energy(samplers, l1_2(), STRATEGY, fit(), **options))
    with pytest.raises(ValueError, match="no point at 500 K succeeded: no licence"):
        make_test_set(samplers, l1_2(), CRITERIA, fit(), **options)


def test_a_sampler_of_another_temperature_is_refused():
    sampler = Oracle(LANDAU, temperature_K=500.0)
    with pytest.raises(ValueError, match="the sampler for 1300 K is one at 500 K"):
        next(
            learn_free_energy(
                {1300.0: sampler}, l1_2(), STRATEGY, fit(), rng=np.random.default_rng(1)
            )
        )
    with pytest.raises(ValueError, match="the sampler for 1300 K is one at 500 K"):
        measure([], {1300.0: sampler}, rng=np.random.default_rng(1))


def test_potentials_that_are_not_finite_are_failures(caplog):
    class Broken(Oracle):
        def sample(self, eta, **options):
            sample = super().sample(eta, **options)
            return replace(sample, mu=sample.mu * np.nan) if eta[0] > 0.7 else sample

    step = learned(oracle=Broken(LANDAU))[0]
    assert step.failed
    assert all("mu is not finite" in point.reason for point in step.failed)
    assert np.isfinite(step.points.mu).all()


def test_when_nothing_succeeds_that_is_said():
    lost = Oracle(LANDAU, refuses=lambda eta: "no such file")
    with pytest.raises(ValueError, match=r"none of the first 30 points succeeded: no such file"):
        learned(oracle=lost)
    calls = iter(range(1000))
    later = Oracle(LANDAU, refuses=lambda eta: "disk full" if next(calls) >= 30 else None)
    rounds = learned(oracle=later)
    assert [step.finished for step in rounds] == [None, "failures"]
    assert len(rounds[-1].points) == 30
    assert len(rounds[-1].failed) == len(rounds[-1].proposed) == 39
    with pytest.raises(ValueError, match="all need a surface"):
        learned(Strategy([HighError(count=2)]))


def test_what_is_done_with_a_point_may_fail(rng):
    proposals = [Proposal(0, i, "given", np.array([0.25, 0, 0, 0]), 300.0) for i in range(3)]

    def full(point):
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        measure(proposals, {300.0: Oracle(LANDAU)}, rng=rng, on_point=full)


def test_a_point_does_not_depend_on_the_others(rng):
    eta = billiard_walk(l1_2().domain, 6, rng=rng)
    proposals = [Proposal(0, i, "given", point, 300.0) for i, point in enumerate(eta)]
    samplers = {300.0: Oracle(LANDAU)}
    everything = measure(proposals, samplers, rng=rng)
    some = measure(proposals[2::3], samplers, rng=rng)
    assert [p.index for p in some] == [2, 5]
    assert all(np.array_equal(p.mu, everything[p.index].mu) for p in some)


def test_monte_carlo_in_threads_gives_the_same_points(rng):
    from test_free_energy_monte_carlo import monte_carlo

    eta = np.tile([0.4, 0.05, 0, 0], (3, 1))
    proposals = [Proposal(0, i, "given", point, 600.0) for i, point in enumerate(eta)]
    alone = measure(proposals, {600.0: monte_carlo(seed=1)}, rng=rng)
    with ThreadPoolExecutor(2) as executor:
        others = measure(proposals[::-1], {600.0: monte_carlo(seed=2)}, rng=rng, executor=executor)
    assert [p.index for p in others] == [2, 1, 0]
    for one, other in zip(alone, others[::-1], strict=True):
        assert np.array_equal(one.mu, other.mu)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_window_that_fails_costs_no_other(workers, rng, monkeypatch):
    from test_free_energy_monte_carlo import monte_carlo

    calculator, run, asked = monte_carlo(), UmbrellaMC._run_window, []

    def window(self, point, *others):
        asked.append(point[0])
        if point[0] == 0.3:
            raise RuntimeError("no licence")
        return run(self, point, *others)

    monkeypatch.setattr(UmbrellaMC, "_run_window", window)
    compositions = (0.4, 0.3, 0.5, 0.6)
    eta = np.array([[x, 0, 0, 0] for x in compositions])
    proposals = [Proposal(0, i, "given", point, 600.0) for i, point in enumerate(eta)]
    failed = []
    with ThreadPoolExecutor(2) as pool:
        executor = pool if workers else None
        found = measure(proposals, {600.0: calculator}, rng=rng, executor=executor,
                        on_failure=failed.append)  # fmt: skip
    assert [p.index for p in found] == [0, 2, 3]
    assert [(f.proposal.index, f.reason) for f in failed] == [(1, "no licence")]
    # only what failed is asked for again
    assert sorted(asked) == [0.3, 0.3, 0.4, 0.5, 0.6]


def test_points_outside_the_domain_name_their_criterion():
    @dataclass(frozen=True, kw_only=True)
    class Astray(Criterion):
        name = "astray"

        def find(self, known, count, *, rng):
            return np.full((count, 4), 0.9)

        def propose(self, known, *, rng, weight=1.0):
            return self.find(known, self.count, rng=rng)

    with pytest.raises(ValueError, match=r"'astray' proposes a point outside the domain: \[0.9"):
        learned(Strategy([GlobalSampling(count=5), Astray(count=1)]))
    with pytest.raises(ValueError, match="occurs twice in global, global"):
        Strategy([GlobalSampling(count=5), GlobalSampling(count=9)])


def test_committee_of_the_fit_is_queried():
    criteria = (GlobalSampling(count=30), QueryByCommittee(count=4, perturbation=0.02))
    strategy = Strategy(criteria, stopping=Stopping(rounds=2), n_candidates=200)
    rounds = learned(strategy, how=fit(members=3))
    assert isinstance(rounds[0].committee, SurfaceCommittee)
    assert sum(p.criterion == "committee" for p in rounds[1].proposed) == 4
    with pytest.warns(UserWarning, match=r"criteria \['committee'\] propose nothing"):
        without = learned(strategy)
    assert not any(p.criterion == "committee" for p in without[1].proposed)
    options = {"rng": np.random.default_rng(3), "n_candidates": 200}
    test = make_test_set({300.0: Oracle(LANDAU)}, l1_2(), criteria, fit(members=3), **options)
    assert test.criteria == ("global", "committee")


@dataclass
class Discovery:
    improved: bool
    fit: PolynomialFit
    surface: PolynomialSurface
    committee: SurfaceCommittee | None


def test_search_after_two_rises(rng):
    """Hyperparameters are looked for after two rises, and kept only where they are better."""
    searches = []

    def looking(better):
        def search(points, present, *, rng):
            searches.append(present)
            committee = SurfaceCommittee((Landau(4), Landau(4, a0=0.1)))
            found = fit()(points, rng=rng) if better else Landau(4, x0=0.9)
            return Discovery(better, fit(), found, committee)

        return search

    class Worsening:
        """Each round is worse than the one before."""

        def __init__(self):
            self.calls = 0

        def __call__(self, points, *, rng):
            self.calls += 1
            return Landau(4, x0=0.25 + 0.01 * self.calls)

    strategy = replace(STRATEGY, stopping=Stopping(rounds=5))
    test = exact_points(LANDAU, billiard_walk(l1_2().domain, 30, rng=rng))
    rounds = learned(strategy, how=Worsening(), search=looking(True), test=test)
    assert [step.searched for step in rounds] == [False, False, True, False, False]
    assert isinstance(rounds[2].surface, PolynomialSurface)
    assert isinstance(rounds[4].surface, PolynomialSurface)
    # the next rounds' points are not known to the members that were found
    assert [step.committee is None for step in rounds] == [True, True, False, True, True]
    # said to be better by the search, but not by the error that was to fall
    worse = learned(
        strategy,
        how=Worsening(),
        test=test,
        search=lambda points, fit, *, rng: Discovery(True, fit, Landau(4, x0=0.9), None),
    )
    assert [step.searched for step in worse][:3] == [False, False, True]
    assert not any(step.improved for step in worse)
    # without a test set nothing but the search has held points out
    assert learned(
        strategy,
        how=Worsening(),
        search=lambda points, fit, *, rng: Discovery(True, fit, Landau(4, x0=0.9), None),
    )[2].improved
    searches.clear()
    how = Worsening()
    rounds = learned(strategy, how=how, search=looking(False), test=test)
    assert [step.searched for step in rounds] == [False, False, True, False, True]
    assert not any(step.improved for step in rounds)
    assert isinstance(rounds[2].surface, Landau)
    assert searches == [how, how]


def test_test_set_in_two_turns():
    criteria = (GlobalSampling(count=30), Wells(count=5), FindWells(count=4))
    samplers = {300.0: Oracle(LANDAU)}
    sets = [
        make_test_set(
            samplers, l1_2(), criteria, fit(), rng=np.random.default_rng(3), n_candidates=200
        )
        for _ in range(2)
    ]
    assert sets[0].criteria == ("global", "wells", "find_wells")
    assert len(sets[0]) == 39
    assert np.array_equal(sets[0].mu, sets[1].mu)


def test_several_temperatures():
    surface = Landau(4, x0=0.25, a0=-0.06, a1=1.5e-4)
    samplers = {t: Oracle(surface, temperature_K=t) for t in (300.0, 500.0)}
    how = fit(degree=4)
    rounds = list(learn_free_energy(samplers, l1_2(), STRATEGY, how, rng=np.random.default_rng(1)))
    last = rounds[-1]
    assert last.points.temperatures_K == (300.0, 500.0)
    assert len(last.points) == 216
    assert last.train_error < 1e-3
    between = last.surface.chemical_potentials(last.points.eta, 400.0)
    assert np.abs(between - surface.chemical_potentials(last.points.eta, 400.0)).max() < 1e-3
