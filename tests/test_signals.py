"""Signals, full disks and lost processes end commands in a line that says how to go on."""

from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
import yaml
from ase import Atoms
from free_energy_runs import changed, written
from label_calculators import Harmonic, environment, failure_of, rattled
from small_runs import SMALL_RUN
from typer.testing import CliRunner

import ase_hal.free_energy_run.run
import ase_hal.run
from ase_hal import label_process, signals
from ase_hal.cli import app
from ase_hal.command_line import errors_in_a_line
from ase_hal.free_energy_run.store import PointStore
from ase_hal.parallel import CancellableThreads, check_cancelled
from ase_hal.process_pool import ProcessKilled
from ase_hal.reference import label
from ase_hal.signals import EndedBySignal

AGAIN = "run the same command to go on"


@pytest.fixture(autouse=True)
def _handlers() -> Iterator[None]:
    """Once a command was ended it ignores signals; the tests go on."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)
    signals._ignored.clear()


def ended(action: Callable[[Any], object], *, directory: Path | None = Path("run")) -> int:
    """Exit code of a command that does something."""
    with pytest.raises(typer.Exit) as caught, errors_in_a_line(False, directory) as ending:  # noqa: PT012
        action(ending)
        time.sleep(60)
    return int(caught.value.exit_code)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU"])
def test_a_signal_ends_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    number = getattr(signal, name)
    # A second command in this process heeds it, too.
    for directory, more in ((Path("run"), f"; {AGAIN}"), (None, "")):
        code = ended(lambda ending: os.kill(os.getpid(), number), directory=directory)
        assert code == 128 + number
        assert capsys.readouterr().err == f"ended by {name}{more}\n"


def test_the_next_signal_does_not_interrupt_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    steps = []

    def work(ending: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            for _ in range(3):
                os.kill(os.getpid(), signal.SIGTERM)
                steps.append("file is closed")

    assert ended(work) == 143
    assert steps == ["file is closed"] * 3
    os.kill(os.getpid(), signal.SIGTERM)


def test_what_a_signal_has_led_to_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    def work(ending: Any) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        finally:
            raise RuntimeError("a process ended")

    assert ended(work) == 143
    assert capsys.readouterr().err == f"ended by SIGTERM; {AGAIN}\n"


def test_a_signal_is_not_lost_in_a_finalizer(capsys: pytest.CaptureFixture[str]) -> None:
    class Final:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(0.01)

    def work(ending: Any) -> None:
        one = Final()
        del one
        gc.collect()

    began = time.monotonic()
    assert ended(work) == 143
    assert time.monotonic() - began < 5
    assert capsys.readouterr().err == f"ended by SIGTERM; {AGAIN}\n"


def test_a_signal_that_was_caught_ends_the_run_at_the_next_event() -> None:
    def work(ending: Any) -> None:
        told: list[int] = []
        tell = ending.before(told.append)
        tell(1)
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except BaseException:
            pass
        assert told == [1]
        with pytest.raises(EndedBySignal):
            tell(2)
        assert told == [1]
        tell(3)

    assert ended(work) == 143


def test_waiting_for_a_thread_does_not_hold_a_signal_up() -> None:
    """Another thread receives it."""

    def work(ending: Any) -> None:
        with ThreadPoolExecutor(1) as pool:
            release = threading.Event()
            future = pool.submit(release.wait, 60)
            pool.submit(lambda: None)
            threading.Timer(
                0.1, lambda: signal.pthread_kill(next(iter(pool._threads)).ident, signal.SIGTERM)
            ).start()
            try:
                future.result()
            finally:
                release.set()

    began = time.monotonic()
    assert ended(work) == 143
    assert time.monotonic() - began < 5


def test_signals_that_are_ignored_stay_so() -> None:
    """As after `nohup`."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with errors_in_a_line(False):
        os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_nothing_is_installed_in_other_threads_and_by_the_library() -> None:
    program = (
        "import signal, ase_hal.command_line, ase_hal.process_pool, ase_hal.journal\n"
        "assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL"
    )
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)

    def work() -> object:
        with errors_in_a_line(False):
            return signal.getsignal(signal.SIGTERM)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result() is signal.SIG_DFL


# --- runs --------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    small = {key: SMALL_RUN[key] for key in SMALL_RUN if key not in ("test", "final")}
    text = yaml.safe_dump(small | {"loop": {"max_iterations": 1}}, allow_unicode=True)
    Path("small.yaml").write_text(text, encoding="utf-8")
    return tmp_path


def invoked(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stderr


CLOSED = """
import sys, time
import ase_hal.run

def run(*arguments, **keywords):
    print("ready", flush=True)
    try:
        time.sleep(60)
    finally:
        print("ended", flush=True)

ase_hal.run.run = run
from ase_hal.cli import app
app()
"""


def test_a_terminal_that_is_gone(here: Path) -> None:
    """What is written at the end cannot be, and changes nothing."""
    program = subprocess.Popen(
        [sys.executable, "-c", CLOSED, "run", "small.yaml"],
        env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert program.stdout is not None
    assert program.stderr is not None
    assert program.stdout.readline() == b"ready\n"
    program.stdout.close()
    program.stderr.close()
    program.send_signal(signal.SIGHUP)
    assert program.wait(30) == 128 + signal.SIGHUP


def test_full_disks(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first label finds no place; once there is some, the run goes on."""
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}").endswith("dataset.extxyz"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        code, errors = invoked("run", "small.yaml")
    assert code == 1
    assert errors == (
        f"error: No space left on device (small/dataset.extxyz): make room, then {AGAIN}\n"
    )
    monkeypatch.setattr(ase_hal.run, "write_report", lambda directory: directory)
    assert invoked("run", "small.yaml") == (0, "")


def test_a_process_that_is_killed_too_often(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*arguments: object, **keywords: object) -> None:
        raise ProcessKilled("it was killed 3 times: take fewer workers")

    monkeypatch.setattr(ase_hal.run, "run", run)
    code, errors = invoked("run", "small.yaml")
    assert code == 1
    assert errors.splitlines()[0] == (
        f"error: it was killed 3 times: take fewer workers. Then {AGAIN}"
    )


def test_a_learning_run_ends_in_the_midst_of_its_windows(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of them would take minutes."""
    monkeypatch.setattr(ase_hal.free_energy_run.run, "write_report", lambda directory: directory)
    document = changed("monte_carlo", "precision", to=1e-9)
    document["monte_carlo"] |= {"min_sweeps": 10_000_000, "max_sweeps": 100_000_000}
    del document["composition_curve"], document["test"]
    written(here, document, "long.yaml")
    threads = threading.active_count()
    threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGTERM)).start()
    began = time.monotonic()
    code, errors = invoked("free-energy", "run", "long.yaml")
    assert time.monotonic() - began < 20
    assert (code, errors) == (143, f"ended by SIGTERM; {AGAIN}\n")
    assert threading.active_count() <= threads
    with PointStore(here / "long", "points") as store:
        assert store.n_failed == 0


def test_threads_that_are_cancelled_end_where_they_ask() -> None:
    asked = threading.Event()

    def work() -> None:
        while True:
            asked.set()
            check_cancelled()

    with pytest.raises(ZeroDivisionError), CancellableThreads(1) as pool:  # noqa: PT012
        first, second = pool.submit(work), pool.submit(work)
        asked.wait(10)
        raise ZeroDivisionError
    for future in (first, second):
        with pytest.raises(CancelledError):
            future.result()
    with CancellableThreads(1) as pool:
        assert pool.submit(len, "abc").result() == 3
    check_cancelled()


# --- labels ------------------------------------------------------------------------------


def dies(atoms: Atoms) -> None:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)


def server_dies(atoms: Atoms) -> None:
    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)


@pytest.mark.parametrize("prank", [dies, server_dies])
def test_labels_that_the_same_signal_has_ended_are_not_failed(
    prank: Callable[[Atoms], None], capsys: pytest.CaptureFixture[str]
) -> None:
    """It reaches the caller a moment later."""
    failures: list[Any] = []

    def work(ending: Any) -> None:
        threading.Timer(0.7, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with ThreadPoolExecutor(2) as pool:
            label(rattled(2), Harmonic(prank), executor=pool, on_failure=failures.append)

    label(rattled(1), Harmonic())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(label_process, "_PAUSE", 3.0)
        began = time.monotonic()
        assert ended(work) == 143
        assert time.monotonic() - began < 3
    assert failures == []


def test_labels_that_fail_are_told_soon() -> None:
    began = time.monotonic()
    assert "killed by SIGTERM" in failure_of(Harmonic(dies)).reason
    assert time.monotonic() - began < 5
    assert np.isfinite(label(rattled(1), Harmonic())[0].get_potential_energy())
