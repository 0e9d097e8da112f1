"""Networks as the fit of the loop, and what a run keeps of fits and searches."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from free_energy_cases import l1_2
from free_energy_oracles import Landau, exact_points

from ase_hal.free_energy import (
    LBFGS,
    Architecture,
    GlobalSampling,
    HighError,
    IDNNFit,
    IDNNSearch,
    PolynomialFit,
    Round,
    Stopping,
    Strategy,
    SurfaceCommittee,
    SurrogateMC,
    Training,
    billiard_walk,
    idnn_search,
    learn_free_energy,
    learning,
)
from ase_hal.free_energy.idnn_fit import FoundIDNN
from ase_hal.free_energy_run.fit_sections import FitSection
from ase_hal.free_energy_run.remembered import RememberedFit, RememberedSearch

NETWORKS = FitSection(
    name="idnn", iterations=20, hidden=(6,), trivial_hidden=(4,), members=2, degree=4
)


@pytest.fixture
def points():
    eta = billiard_walk(l1_2().domain, 40, rng=np.random.default_rng(1))
    return exact_points(Landau(4, x0=0.25), eta)


class Counted:
    """How often something was done, and about how many points."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, n_points: int) -> None:
        self.calls.append(n_points)


def test_a_fit_is_done_once(points, tmp_path: Path) -> None:
    how = PolynomialFit(l1_2(), degree=4, composition_degree=3, members=2)
    counted = Counted()
    fit = RememberedFit(how, tmp_path, counted)
    one, other = (fit(points, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert counted.calls == [40]
    assert np.array_equal(one.members[0].coefficients, other.members[0].coefficients)
    assert (tmp_path / "rounds" / "0000" / "surface.json").is_file()


def test_networks_and_searches_are_done_once(points, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("optuna")
    fit, counted = NETWORKS.build(l1_2()), Counted()
    assert isinstance(fit, IDNNFit)
    remembered = RememberedFit(fit, tmp_path, counted)
    one, other = (remembered(points, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert isinstance(one, SurfaceCommittee)
    assert len(one.members) == 2
    assert np.array_equal(
        one.chemical_potentials(points.eta), other.chemical_potentials(points.eta)
    )
    search = RememberedSearch(IDNNSearch(2, 2), tmp_path, counted)
    first, again = (search(points, remembered, rng=np.random.default_rng(seed)) for seed in (1, 2))
    assert counted.calls == [40, 40]
    one, other = (found.fit.fit for found in (first, again))
    assert one.idnn.training == other.idnn.training
    assert one.idnn.architecture == other.idnn.architecture
    assert one.members == 2
    assert first.improved == again.improved
    assert first.committee is not None
    assert again.committee is not None
    assert len(again.committee.members) == 2


def test_a_run_with_two_searches_is_remembered(tmp_path: Path) -> None:
    """Fits after a better network was found are on disk, too, and a second search begins there."""
    pytest.importorskip("torch")
    pytest.importorskip("optuna")
    rng = np.random.default_rng(1)
    surrogate = SurrogateMC(Landau(4, x0=0.25), l1_2(), temperature_K=300, rng=rng)
    strategy = Strategy([GlobalSampling(count=10)], stopping=Stopping(rounds=5))
    # of a fit that is hardly trained the error rises often enough; no test set: that of training
    idnn = NETWORKS.idnn(l1_2())
    weak = replace(idnn, training=Training(LBFGS(1), validation=0.0))
    asked: list[IDNNFit] = []

    class Better(IDNNSearch):
        """Finds another architecture each time."""

        def __call__(self, points, fit, *, rng):
            asked.append(fit)
            width = fit.idnn.architecture.hidden[0] + 1
            other = fit.idnn.with_architecture(Architecture((width,), ()))
            better = replace(fit, idnn=other)
            return FoundIDNN(True, better, better(points, rng=rng), None)

    def learned() -> tuple[list[Round], Counted]:
        counted = Counted()
        rounds = learn_free_energy(
            {300.0: surrogate},
            l1_2(),
            strategy,
            RememberedFit(IDNNFit(weak), tmp_path, counted),
            rng=np.random.default_rng(3),
            search=RememberedSearch(Better(), tmp_path, counted),
        )
        return list(rounds), counted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning, "rises", lambda errors: len(errors) - 1)
        rounds, counted = learned()
        again, nothing = learned()
    assert [step.improved for step in rounds] == [False, False, True, False, True]
    assert [fit.idnn.architecture.hidden for fit in asked] == [(6,), (7,)]
    assert rounds[3].surface.architecture.hidden == (7,)
    assert sorted(path.parent.name for path in tmp_path.glob("rounds/*/surface.json")) == [
        f"{number:04d}" for number in range(5)
    ]
    assert len(counted.calls) == 7
    assert nothing.calls == []
    eta = l1_2().domain.centre[None]
    for one, other in zip(rounds, again, strict=True):
        assert np.array_equal(one.surface.free_energy(eta), other.surface.free_energy(eta))


def test_counts_can_be_tuned_with_a_surrogate() -> None:
    """A surface in the place of Monte Carlo: the loop does not notice."""
    rng = np.random.default_rng(1)
    surrogate = SurrogateMC(Landau(4, x0=0.25), l1_2(), temperature_K=300, rng=rng, precision=1e-4)
    criteria = [GlobalSampling(count=30), HighError(count=3, perturbation=0.05)]
    strategy = Strategy(criteria, stopping=Stopping(rounds=2))
    fit = PolynomialFit(l1_2(), degree=4, composition_degree=3, mixing=False)
    runs = [
        list(learn_free_energy({300.0: surrogate}, l1_2(), strategy, fit, rng=rng))
        for _ in range(2)
    ]
    last = runs[0][-1]
    assert [len(step.points) for step in runs[0]] == [30, 63]
    assert not any(step.failed for step in runs[0])
    assert np.array_equal(last.points.mu, runs[1][-1].points.mu)
    assert last.train_error < 1.0  # the noise of mu is 2 phi times 1e-4: 1 meV for the composition


def test_what_a_search_finds_is_fitted_to_all_points(points) -> None:
    """Trials do without the points that they are compared on."""

    @dataclass
    class Trained:
        n_points: int

    class Wider:
        def fit(self, eta, mu, **options):
            return Trained(len(eta))

    best = SimpleNamespace(idnn=Wider(), surface=Trained(36))
    found = SimpleNamespace(best=best, committee=lambda n: SurfaceCommittee((Landau(4),)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(idnn_search, "search", lambda *arguments, **options: found)
        fit = NETWORKS.build(l1_2())
        discovery = IDNNSearch(2, 2)(points, replace(fit, members=1), rng=np.random.default_rng(1))
    assert discovery.improved
    assert discovery.surface == Trained(len(points))


def test_a_search_of_committees_is_remembered(points, tmp_path: Path) -> None:
    """What is found is a committee then, whose members have the same architecture."""
    pytest.importorskip("torch")
    fit = NETWORKS.build(l1_2())
    assert fit.members == 2
    wider = fit.idnn.with_architecture(Architecture((7,), ()))

    class Wider(IDNNSearch):
        def __call__(self, points, fit, *, rng):
            better = replace(fit, idnn=wider)
            return FoundIDNN(True, better, better(points, rng=rng), None)

    search = RememberedSearch(Wider(), tmp_path, Counted())
    for _ in range(2):
        found = search(points, fit, rng=np.random.default_rng(1))
        assert isinstance(found.surface, SurfaceCommittee)
        assert found.fit.fit.idnn.architecture.hidden == (7,)
