"""learn(): the loop on small real problems, and what it must never do."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed
from ase.calculators.emt import EMT
from datasets_emt import al_cu_basis, al_cu_dataset

from ase_hal import ExplorationEnded, LinearFit, learn
from ase_hal.dynamics import Barostat, HALExplorer, Stage, Trigger
from ase_hal.dynamics.explorer import Trajectory, run_trajectory
from ase_hal.dynamics.trace import Trace
from ase_hal.loop import iteration_rng
from ase_hal.prediction import Prediction


def rattle(committee, *, dataset, rng):
    """Two rattled copies of a structure of the dataset."""
    for _ in range(2):
        atoms = dataset[int(rng.integers(len(dataset)))].copy()
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        yield atoms


def seeds(n=3):
    return [atoms.copy() for atoms in al_cu_dataset()[:n]]


def fingerprint(dataset):
    return [(a.positions.tobytes(), a.calc.results["energy"]) for a in dataset]


def test_every_step_says_what_happened():
    steps = list(
        learn(seeds(), LinearFit(al_cu_basis()), rattle, EMT(), rng=np.random.default_rng(1),
              max_iterations=3)
    )  # fmt: skip
    assert [step.iteration for step in steps] == [1, 2, 3, 4]
    assert [step.finished for step in steps] == [None, None, None, "iterations"]
    for before, after in itertools.pairwise(steps):
        assert len(after.dataset) == len(before.dataset) + len(after.labelled)
    provenance = [(a.info["hal_iteration"], a.info["hal_index"]) for a in steps[-1].dataset]
    assert provenance == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]


def test_label_budget_is_exact():
    *_, last = learn(
        seeds(), LinearFit(al_cu_basis()), rattle, EMT(), rng=np.random.default_rng(1), max_labels=3
    )
    assert last.finished == "labels"
    assert len(last.dataset) == 6


def test_the_last_committee_knows_the_whole_dataset():
    fit = LinearFit(al_cu_basis())
    *_, last = learn(seeds(), fit, rattle, EMT(), rng=np.random.default_rng(1), max_labels=2)
    fresh = LinearFit(al_cu_basis())(last.dataset, rng=np.random.default_rng(1))
    assert np.array_equal(last.committee.posterior.mean, fresh.posterior.mean)


def test_continuing_is_the_same_as_never_having_stopped():
    whole = list(
        learn(seeds(), LinearFit(al_cu_basis()), rattle, EMT(), rng=np.random.default_rng(7),
              max_iterations=4)
    )  # fmt: skip
    halfway = whole[1].dataset
    rest = list(
        learn(halfway, LinearFit(al_cu_basis()), rattle, EMT(), rng=np.random.default_rng(7),
              max_iterations=4, first_iteration=3)
    )  # fmt: skip
    assert fingerprint(rest[-1].dataset) == fingerprint(whole[-1].dataset)


def test_an_explorer_that_finds_nothing_ends_the_loop():
    def explore(committee, *, dataset, rng):
        return []

    (only,) = learn(seeds(), LinearFit(al_cu_basis()), explore, EMT(), rng=np.random.default_rng(1))
    assert only.finished == "converged"


class OneInThree(EMT):
    """Refuses structures by their content, as a code that does not converge would."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=()):
        if int(abs(atoms.positions[0, 0]) * 1e6) % 3 == 0:
            raise CalculationFailed("SCF did not converge")
        super().calculate(atoms, properties, system_changes)


def test_failures_are_reported_and_the_loop_goes_on():
    steps = list(
        learn(al_cu_dataset()[:3], LinearFit(al_cu_basis()), rattle, OneInThree,
              rng=np.random.default_rng(2), max_iterations=8)
    )  # fmt: skip
    failures = [failure for step in steps for failure in step.failures]
    assert failures
    assert all("SCF did not converge" in failure.reason for failure in failures)
    assert steps[-1].finished == "iterations"
    assert len(steps[-1].dataset) == 3 + 2 * 8 - len(failures)


class Broken(EMT):
    def calculate(self, *args, **kwargs):
        raise CalculationFailed("no licence")


def test_a_reference_that_never_works_ends_the_loop():
    steps = list(
        learn(al_cu_dataset()[:3], LinearFit(al_cu_basis()), rattle, Broken,
              rng=np.random.default_rng(2))
    )  # fmt: skip
    assert steps[-1].finished == "failures"
    with pytest.raises(ValueError, match=r"none of the 2 seeds .* no licence"):
        learn(seeds(2), LinearFit(al_cu_basis()), rattle, Broken, rng=np.random.default_rng(2))


def test_a_continued_loop_remembers_how_long_nothing_was_labelled():
    seeds = al_cu_dataset()[:3]
    whole = list(
        learn(seeds, LinearFit(al_cu_basis()), rattle, OneInThree,
              rng=np.random.default_rng(2), max_iterations=2)
    )  # fmt: skip
    dataset = whole[-1].dataset
    for first, more in ((3, 10), (9, 4), (13, 0)):
        rest = list(
            learn(dataset, LinearFit(al_cu_basis()), rattle, Broken,
                  rng=np.random.default_rng(2), first_iteration=first)
        )  # fmt: skip
        assert rest[-1].finished == "failures"
        assert len(rest) == more + 1
    # A dataset that does not say where it is from has not failed.
    steps = learn(seeds, LinearFit(al_cu_basis()), rattle, EMT(), rng=np.random.default_rng(2),
                  first_iteration=50, max_iterations=50)  # fmt: skip
    assert [step.finished for step in steps] == [None, "iterations"]


def test_hal_explorer_goes_through_its_stages():
    """A loose tolerance is never exceeded: the second stage is reached, and the loop ends."""
    seen = []
    explorer = HALExplorer(
        [
            Stage("cold", 300, steps=30, trigger=Trigger("relative", 1e6), patience=2),
            Stage("hot", 600, steps=20, trigger=Trigger("relative", 1e6), patience=3, start="any"),
        ],
        walkers=2,
        on_trajectory=seen.append,
    )
    (last,) = learn(
        al_cu_dataset(), LinearFit(al_cu_basis()), explorer, EMT(), rng=np.random.default_rng(3)
    )
    assert last.finished == "converged"
    assert [t.stage for t in seen] == ["cold"] * 2 + ["hot"] * 4
    assert [t.steps for t in seen] == [30] * 2 + [20] * 4


@dataclass
class Scripted:
    """A stage whose trajectories end as they are told to; what breaks leaves nothing to label."""

    outcomes: list[str]
    patience: int = 3
    name: str = "scripted"
    start: str = "seeds"
    max_labels: int | None = None
    ran: list[str] = field(default_factory=list)

    def run(self, committee, start, walker, rng):
        outcome = self.outcomes[len(self.ran)]
        self.ran.append(outcome)
        found = None
        if outcome == "uncertain":
            found = start.copy()
            found.rattle(0.05, rng=rng)
            found.info |= {"hal_stage": self.name, "hal_outcome": outcome}
        trace = Trace(*np.zeros((8, 1)))
        return Trajectory(self.name, walker, outcome, "", 1, found, start, trace, {})


@pytest.mark.parametrize("interruption", ["uncertain", "untrustworthy"])
def test_a_stage_ends_only_after_stable_trajectories_in_a_row(interruption):
    script = ["stable", "stable", interruption, "stable", "stable", "stable"]
    stage = Scripted([*script, "stable"])
    *_, last = learn(
        seeds(), LinearFit(al_cu_basis()), HALExplorer([stage]), EMT(),
        rng=np.random.default_rng(4),
    )  # fmt: skip
    assert last.finished == "converged"
    assert stage.ran == script
    assert len(last.dataset) == 3 + (interruption == "uncertain")


def test_hal_explorer_finds_what_is_uncertain():
    explorer = HALExplorer([Stage("hot", 900, steps=400, trigger=Trigger("relative", 0.6))])
    fit = LinearFit(al_cu_basis())
    first, *_ = learn(
        [bulk("Al", a=a, cubic=True) for a in (3.95, 4.0, 4.1)], fit, explorer, EMT(),
        rng=np.random.default_rng(3), max_labels=1,
    )  # fmt: skip
    (found,) = first.labelled
    assert found.info["hal_stage"] == "hot"
    assert found.info["hal_outcome"] in ("uncertain", "untrustworthy")


def test_iteration_streams_are_independent_of_order():
    rng = np.random.default_rng(5)
    late = iteration_rng(rng, 9).random(3)
    iteration_rng(rng, 2).random(100)
    assert np.array_equal(iteration_rng(rng, 9).random(3), late)
    assert not np.array_equal(iteration_rng(rng, 8).random(3), late)


def test_bad_arguments():
    fit = LinearFit(al_cu_basis())
    with pytest.raises(ValueError, match="at least one starting structure"):
        learn([], fit, rattle, EMT(), rng=np.random.default_rng(1))
    with pytest.raises(ValueError, match="n_select >= 1"):
        learn(seeds(), fit, rattle, EMT(), rng=np.random.default_rng(1), n_select=0)


class Swelling:
    """Claims to be sure of everything, and pulls a cell apart."""

    elements = ("Al",)

    def predict(self, atoms, members=False, stress=False):
        zeros = np.zeros((len(atoms), 3))
        return Prediction(
            energy=0.0,
            forces=zeros,
            energy_std=0.0,
            energy_std_gradient=zeros,
            model_std=0.0,
            force_scale=1.0,
            member_energies=np.zeros(2),
            member_forces=np.zeros((2, len(atoms), 3)),
            stress=np.array([-5.0, -5.0, -5.0, 0.0, 0.0, 0.0]),
            energy_std_stress=np.zeros(6),
        )


def test_what_a_guard_refused_is_not_what_is_labelled():
    barostat = Barostat(pressure=0.0, relaxation_time=1 * units.fs, interval=1, max_strain=0.09)
    stage = Stage(
        "swelling",
        300,
        steps=50,
        tau=0.0,
        trigger=Trigger("relative", 0.5, interval=5, max_volume_change=1.5),
        barostat=barostat,
    )
    start = bulk("Al", cubic=True)
    ended = run_trajectory(Swelling(), stage, start, 0, np.random.default_rng(1))
    assert ended.outcome == "untrustworthy"
    assert "volume" in ended.reason
    assert ended.found is not None
    assert ended.found.cell.volume <= 1.5 * start.cell.volume
    assert ended.found.info["hal_step"] < ended.steps


def test_a_stage_ended_by_its_labels_has_not_converged():
    stage = Stage("hot", temperature_K=2000, steps=60, trigger=Trigger("relative", 1e-6),
                  max_labels=2)  # fmt: skip
    *_, last = learn(
        seeds(), LinearFit(al_cu_basis()), HALExplorer([stage]), EMT(),
        rng=np.random.default_rng(5), n_select=1,
    )  # fmt: skip
    assert last.finished == "stages"
    assert len(last.dataset) == 5


def test_a_stage_whose_trajectories_all_break_is_given_up(caplog):
    # a distance that no metal has: every structure is refused, the first one included
    stage = Stage("broken", temperature_K=300, steps=20, patience=1,
                  trigger=Trigger("relative", 0.1, min_distance=1.5))  # fmt: skip
    *_, last = learn(
        seeds(), LinearFit(al_cu_basis()), HALExplorer([stage]), EMT(), rng=np.random.default_rng(6)
    )
    assert last.finished == "broken"
    assert len(last.dataset) == 3
    assert "given up" in caplog.text


def test_what_another_loop_noted_about_seeds_says_nothing():
    found = seeds()
    for number, (atoms, labelled) in enumerate(zip(found, al_cu_dataset(), strict=False)):
        atoms.calc = labelled.calc
        atoms.info |= {"hal_iteration": number + 1, "hal_stage": "liquid", "hal_origin": "x()"}
    *_, last = learn(
        found, LinearFit(al_cu_basis()), rattle, EMT(), rng=np.random.default_rng(1), max_labels=2
    )
    assert last.finished == "labels"
    assert len(last.dataset) == len(found) + 2
    assert last.dataset[0].info["hal_origin"] == "x()"
    assert "hal_stage" not in last.dataset[0].info
    assert found[0].info["hal_stage"] == "liquid", "the caller's own are left alone"


def test_a_stage_that_only_breaks_is_given_up():
    stage = Stage("hot", temperature_K=300, trigger=Trigger("relative", 0.1), steps=5)
    dataset = al_cu_dataset()[:2] * 6
    dataset = [atoms.copy() for atoms in dataset]
    for atoms in dataset[2:]:
        atoms.info |= {"hal_stage": "hot", "hal_outcome": "untrustworthy"}
    committee = LinearFit(al_cu_basis())(al_cu_dataset(), rng=np.random.default_rng(1))
    with pytest.raises(ExplorationEnded, match="broken"):
        HALExplorer([stage])(committee, dataset=dataset, rng=np.random.default_rng(1))
