"""Real runs of two processes that are told to end, or whose processes are killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from label_calculators import assert_gone, environment
from small_runs import SMALL_RUN
from typer.testing import CliRunner

import ase_hal.run
from ase_hal.cli import app
from ase_hal.journal import Log

pytestmark = pytest.mark.slow

_PROGRAM = """
import ase_hal.run
ase_hal.run.write_report = lambda directory: directory  # it takes longer than the run
from ase_hal.cli import app
app()
"""
STEPS = 3000  # more than half a second
AGAIN = "; run the same command to go on\n"


def document(**changes: Any) -> dict[str, Any]:
    """A run whose last trajectories take a second."""
    run = json.loads(json.dumps(SMALL_RUN))
    del run["test"], run["final"]
    run["reference"] = {"import": "small_runs:Slow", "timeout": "120 s"}
    stage = run["explore"]["stages"][0]
    stage["steps"] = STEPS
    stage["trigger"]["tolerance"] *= 3
    del stage["max_labels"]
    run["explore"]["stages"] = [stage]
    return run | {"loop": {"select": 2, "max_labels": 5}} | changes


@dataclass
class Session:
    """The command, from its start to its end."""

    program: subprocess.Popen[str]
    directory: Path
    n_before: int
    known: set[int] = field(default_factory=set)

    def events(self) -> list[dict[str, Any]]:
        log = self.directory / "log.jsonl"
        return Log.read(log)[self.n_before :] if log.exists() else []

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.program.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        return [p for p in self.children() if "pool_worker" in " ".join(p.cmdline())]

    def wait(self, condition: Callable[[], object], patience: float = 120.0) -> None:
        until = time.monotonic() + patience
        while not condition():
            assert self.program.poll() is None, self.program.communicate()
            assert time.monotonic() < until
            time.sleep(0.005)
        self.known = {child.pid for child in self.children()}

    def seen(self, kind: str, iteration: int) -> bool:
        return any(e["event"] == kind and e["iteration"] == iteration for e in self.events())

    def end(self, code: int) -> tuple[str, str]:
        """What was written to standard output and error; no process is left."""
        output, errors = self.program.communicate(timeout=60)
        assert self.program.returncode == code, errors
        assert len(self.known) >= 2
        assert_gone(self.known)
        return output, errors


@dataclass(frozen=True)
class Place:
    """Where sessions start, and a run that was left alone."""

    folder: Path
    log: list[dict[str, Any]]

    def start(self, name: str, **variables: str) -> Session:
        directory = self.folder / name
        log = directory / "log.jsonl"
        n_before = len(Log.read(log)) if log.exists() else 0
        program = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, "run", "run.yaml", "--directory", name],
            cwd=self.folder, text=True, start_new_session=True,
            env=environment() | {"TMPDIR": str(self.scratch)} | variables,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        return Session(program, directory, n_before)

    @property
    def scratch(self) -> Path:
        """Where labels have their private folders."""
        return self.folder / "scratch"

    def content(self, name: str) -> bytes:
        return (self.folder / name / "dataset.extxyz").read_bytes()

    @property
    def slow_iteration(self) -> int:
        """One with a trajectory of a second."""
        slow = [e for e in self.log if e["event"] == "trajectory" and e["steps"] == STEPS]
        return int(slow[0]["iteration"])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("runs")
    (folder / "scratch").mkdir()
    for name, workers in (("alone", 1), ("run", 2)):
        text = yaml.safe_dump(document(workers=workers), allow_unicode=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(ase_hal.run, "write_report", lambda directory: directory)
        result = CliRunner().invoke(app, ["run", "alone.yaml"])
    assert result.exit_code == 0, result.output
    return Place(folder, Log.read(folder / "alone" / "log.jsonl"))


def test_a_run_that_is_told_to_end_goes_on_later(place: Place) -> None:
    # To the process alone, which has others calculate, and again while it ends.
    session = place.start("told")
    session.wait(lambda: session.seen("fit", 1) and len(session.workers()) == 2)
    for _ in range(3):
        session.program.send_signal(signal.SIGTERM)
        time.sleep(0.02)
    assert session.end(143)[1] == f"ended by SIGTERM{AGAIN}"

    # To all of them, as `timeout` and batch systems do, in the midst of a label.
    session = place.start("told")
    session.wait(lambda: session.seen("trajectory", 1) and any(place.scratch.iterdir()))
    for child in session.children():
        child.terminate()
    os.killpg(session.program.pid, signal.SIGTERM)
    assert session.end(143)[1] == f"ended by SIGTERM{AGAIN}"
    assert (session.directory / "failed.extxyz").read_bytes() == b""

    # Processes are killed: the run goes on.
    session = place.start("told", PYTHONIOENCODING="ascii")
    session.wait(lambda: session.seen("fit", place.slow_iteration))
    time.sleep(0.3)
    for worker in session.workers():
        worker.kill()
    output, errors = session.end(0)
    assert errors == ""
    assert output.isascii()
    assert "eV/A" in output
    text = " ".join(output.split())
    assert "a process was ended (SIGKILL) during a calculation (run_trajectory)" in text
    assert place.content("told") == place.content("alone")
    assert not any(place.scratch.iterdir())
