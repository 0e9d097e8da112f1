"""A run that is killed again and again gives what a run gives that is left alone."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from datasets_emt import al_cu_dataset
from forked_runs import Command, Forge, forge
from small_runs import SMALL_RUN, fingerprint

from ase_hal.data import write_dataset
from ase_hal.frames import Frames
from ase_hal.journal import Log
from ase_hal.linear_committee import LinearCommittee
from ase_hal.report.models import comparisons, read_models
from ase_hal.report.record import read_run
from ase_hal.report.tables import summary

pytestmark = pytest.mark.slow

N_GIVEN = 3
STRUCTURES = ("dataset.extxyz", "test.extxyz", "failed.extxyz")
RUN = SMALL_RUN | {"test": {"file": "given.xyz", "energy_key": "energy", "per_stage": 1}}


@dataclass(frozen=True)
class Runs:
    """A run that was left alone, and the place where others can be made."""

    folder: Path
    forge: Forge
    seconds_to_start: float

    @property
    def reference(self) -> Path:
        return self.folder / "reference"

    def file(self, workers: int) -> Path:
        return self.folder / f"workers{workers}.yaml"

    def command(self, directory: Path, *, workers: int = 1) -> Command:
        return self.forge.start("run", self.file(workers), "--directory", directory)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("runs")
    write_dataset(folder / "given.xyz", al_cu_dataset()[:N_GIVEN])
    for workers in (1, 2):
        text = yaml.safe_dump(RUN | {"workers": workers})
        (folder / f"workers{workers}.yaml").write_text(text)
    with forge(folder) as program:
        directory = folder / "reference"
        command = program.start("run", folder / "workers1.yaml", "--directory", directory)
        began = time.monotonic()
        wait_until(lambda: len(events(directory)) > 0, command)
        seconds = time.monotonic() - began
        assert command.wait() == 0, program.output
        program.await_silence()
        yield Runs(folder, program, seconds)


def events(directory: Path) -> list[dict[str, Any]]:
    log = directory / "log.jsonl"
    return Log.read(log) if log.exists() else []


def effective(log: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The events without what was interrupted and done again, and without times."""
    kept: list[dict[str, Any]] = []
    for event in log:
        if event["event"] == "start":
            while kept and kept[-1]["event"] != "step":
                kept.pop()
        else:
            kept.append({k: v for k, v in event.items() if k not in NOT_REPEATED})
    return kept


# What an interruption may change in an event. The end of a traceback is in the log of the
# session that saw it.
NOT_REPEATED = ("time", "seconds", "sessions", "details")


def wait_until(condition: Callable[[], bool], command: Command, patience: float = 120.0) -> bool:
    """Wait; False if the command ended before."""
    stop = time.monotonic() + patience
    while not condition():
        if not command.goes_on():
            return False
        assert time.monotonic() < stop, "it takes too long"
        time.sleep(0.001)
    return True


# --- what is there at the end ------------------------------------------------------------


def test_the_run_is_worth_interrupting(runs: Runs) -> None:
    log = events(runs.reference)
    counts = {kind: sum(e["event"] == kind for e in log) for kind in {e["event"] for e in log}}
    assert counts["step"] >= 4
    assert counts["failure"] >= 3
    assert counts["test"] == 2
    assert {e["stage"] for e in log if e["event"] == "label"} == {None, "warm", "hot"}


def test_times_are_in_the_log(runs: Runs) -> None:
    log = events(runs.reference)
    (end,) = (event for event in log if event["event"] == "end")
    seconds = [event["seconds"] for event in log if event["event"] == "trajectory"]
    assert all(0 < s < 60 for s in seconds)
    assert sum(seconds) < end["seconds"] < log[-1]["time"] - log[0]["time"] + 1
    assert all(before["time"] <= after["time"] for before, after in itertools.pairwise(log))
    assert sum(t.seconds for t in read_run(runs.reference).trajectories) == pytest.approx(
        sum(e["seconds"] for e in log if e["event"] == "trajectory" and e["iteration"] > 0)
    )


def test_given_test_structures_are_kept_with_those_found(runs: Runs) -> None:
    kept = Frames.read(runs.reference / "test.extxyz")
    assert len(kept) == N_GIVEN + 2
    for given, copy in zip(al_cu_dataset(), kept[:N_GIVEN], strict=False):
        assert np.array_equal(copy.positions, given.positions)
        for name, value in given.calc.results.items():
            assert np.array_equal(copy.calc.results[name], value)
    assert [atoms.info["hal_stage"] for atoms in kept[N_GIVEN:]] == ["warm", "hot"]
    record, models = read_run(runs.reference), read_models(runs.reference)
    found = comparisons(record, models)["test"]
    assert len(found.energy) == len(kept)
    # The errors at the end are those of the final model on all of them, ...
    assert record.end is not None
    assert record.end.test_energy_rmse == pytest.approx(found.errors().energy_rmse)
    assert record.end.test_forces_rmse == pytest.approx(found.errors().forces_rmse)
    # ... and while the run was looking for more, of those that were given.
    assert all(np.isfinite(fit.test_energy_rmse) for fit in record.fits)


def test_the_test_set_plays_no_part_in_the_choice_of_the_final_model(runs: Runs) -> None:
    fits = [e for e in Log.read(runs.reference / "log.jsonl") if e["event"] == "relevance"]
    assert len(fits) == len(SMALL_RUN["final"]["relevance_thresholds"])
    kept = LinearCommittee.read(runs.reference / "final.json").posterior
    assert kept.log_evidence == max(fit["log_evidence"] for fit in fits)


# --- interruptions -----------------------------------------------------------------------


@dataclass(frozen=True)
class Moment:
    """When and how a session is killed.

    Attributes
    ----------
    position : int
        After so many events of the whole run; 0 is at any time from the first instruction on.
    during : str
        Then wait for a ``"label"`` or a ``"write"``.
    delay : float
        And so many seconds more.
    workers : int
        Of the session. Where there are two, only the process that leads them is killed.
    """

    position: int
    during: str = ""
    delay: float = 0.0
    workers: int = 1


def moments(kinds: list[str], seconds_to_start: float, rng: np.random.Generator) -> list[Moment]:
    """Moments from the first to the last of some events; each lets the run get further."""
    drawn = []
    for number, position in enumerate(np.sort(rng.integers(1, len(kinds) - 3, size=10)).tolist()):
        during, workers = ("", "label", "write")[number % 3], 2 if number == 3 else 1
        if during == "write" and "step" in kinds[position:]:
            # The next to be written is a model: a file that replaces another.
            position = kinds.index("step", position) + 1
        elif workers == 2:
            position = kinds.index("trajectory", position) + 1
        drawn.append(Moment(position, during, 0.05 * rng.integers(2) * rng.random(), workers))
    for _ in range(3):
        early = Moment(0, delay=seconds_to_start * rng.random())
        drawn.insert(int(rng.integers(len(drawn))), early)
    return drawn


def strike(moment: Moment, command: Command, program: Forge, directory: Path) -> bool:
    """Kill a command at a moment of a run; False if it has ended before."""
    sessions = sum(event["event"] == "start" for event in events(directory))
    seen, position = -1, 0

    def reached(wanted: int) -> bool:
        nonlocal seen, position
        log = directory / "log.jsonl"
        if log.exists() and (size := log.stat().st_size) != seen:
            seen, past = size, events(directory)
            begun = sum(event["event"] == "start" for event in past) > sessions
            position = len(effective(past)) if begun else 0
        return position >= wanted

    def late() -> bool:
        return reached(moment.position + 8)

    if moment.position:
        wait_until(lambda: reached(moment.position), command)
    if moment.during == "label":
        wait_until(lambda: any(program.scratch.glob("ase-hal-label-*")) or late(), command)
    elif moment.during == "write":
        with program.striking():
            wait_until(late, command)
    time.sleep(moment.delay)
    return command.kill(group=moment.workers == 1)


def test_killed_runs_give_the_same_dataset(runs: Runs) -> None:
    rng = np.random.default_rng(20)
    directory, expected = runs.folder / "killed", effective(events(runs.reference))
    kill_while_it_starts(runs, directory, delay=0.3 * rng.random())
    runs.forge.await_silence()
    killed, reached, torn = 1, [], 0
    kinds = [event["event"] for event in expected]
    for moment in moments(kinds, runs.seconds_to_start, rng):
        command = runs.command(directory, workers=moment.workers)
        if not strike(moment, command, runs.forge, directory):
            break
        runs.forge.await_silence()
        killed += 1
        reached.append(len(effective(events(directory))))
        torn += any(directory.glob(".*.????????.*"))
    assert killed >= 10, runs.forge.output
    # From the first iteration to the time after the last one.
    assert reached[0] < kinds.index("step")
    assert "step" not in kinds[reached[-1] :]
    assert torn, "none was killed while it replaced a file"

    assert runs.command(directory).wait() == 0, runs.forge.output
    runs.forge.await_silence()
    names = {path.name for path in runs.reference.iterdir()}
    assert {path.name for path in directory.iterdir()} == names, "nothing is left behind"
    for name in names - {"log.jsonl", "run.yaml", ".lock", "iterations"}:
        assert (directory / name).read_bytes() == (runs.reference / name).read_bytes(), name
    log = events(directory)
    assert effective(log) == expected
    end = log[-1]
    assert end["sessions"] == sum(event["event"] == "start" for event in log) > 5
    session = [e["time"] for e in log[max(i for i, e in enumerate(log) if e["event"] == "start") :]]
    assert session[-1] - session[0] < end["seconds"] < log[-1]["time"] - log[0]["time"]
    numbers = dict(summary(read_run(directory), read_models(directory)))
    assert numbers["interruptions"] == f"resumed {end['sessions'] - 1} times"
    assert "since" not in numbers["time"]
    seconds = [e["seconds"] for e in log if e["event"] in ("label", "failure", "test")]
    assert min(seconds) > 0, "the time of a label is known however often the run was killed"
    structures = [atoms for name in STRUCTURES for atoms in Frames.read(directory / name)]
    given = {fingerprint(atoms) for atoms in al_cu_dataset()[:N_GIVEN]}
    asked = set((runs.folder / "asked").read_text().split())
    assert {fingerprint(atoms) for atoms in structures} == asked | given


def kill_while_it_starts(runs: Runs, directory: Path, delay: float) -> None:
    """Start the real program, and kill it when it has just come to open its directory."""
    command = [
        sys.executable, "-c", "from ase_hal.cli import app; app()",
        "run", str(runs.file(1)), "--directory", str(directory),
    ]  # fmt: skip
    with subprocess.Popen(
        command, env=runs.forge.variables, stdout=subprocess.DEVNULL, start_new_session=True
    ) as program:
        while not directory.exists():
            assert program.poll() is None
            time.sleep(0.001)
        time.sleep(delay)
        program.kill()
    assert program.returncode < 0


@pytest.mark.parametrize("share", [0.01, 0.99])
def test_half_a_record_is_written_again(runs: Runs, share: float, tmp_path: Path) -> None:
    """Files end anywhere: the log in an event, the dataset in the structure it tells of."""
    log = (runs.reference / "log.jsonl").read_bytes().splitlines(keepends=True)
    kinds = [json.loads(line)["event"] for line in log]
    labels = [i for i, kind in enumerate(kinds) if kind == "label"]
    last = labels[2 * len(labels) // 3]
    torn = log[last][: int(share * len(log[last]))]
    (tmp_path / "log.jsonl").write_bytes(b"".join(log[:last]) + torn)
    for name, n in (
        ("dataset", kinds[:last].count("label")),
        ("failed", kinds[:last].count("failure")),
        ("test", N_GIVEN),
    ):
        file, content = (
            tmp_path / f"{name}.extxyz",
            (runs.reference / f"{name}.extxyz").read_bytes(),
        )
        file.write_bytes(content)
        with Frames(file) as frames:
            frames.truncate(n + 1)
            end = file.stat().st_size
            frames.truncate(n)
            start = file.stat().st_size
        file.write_bytes(content[: start + int(share * (end - start))])
    assert runs.command(tmp_path).wait() == 0, runs.forge.output
    for name in STRUCTURES:
        assert (tmp_path / name).read_bytes() == (runs.reference / name).read_bytes(), name
    assert effective(events(tmp_path)) == effective(events(runs.reference))
