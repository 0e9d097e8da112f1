"""Where labels are calculated, and that nothing of them is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator
from label_calculators import (
    Harmonic,
    assert_gone,
    descendants,
    environment,
    failure_of,
    is_alive,
    rattled,
)

from ase_hal.label_child import Job
from ase_hal.label_process import LabelProcess
from ase_hal.reference import label


def test_time_out_kills_the_label_and_its_descendants(tmp_path: Path) -> None:
    def hangs(atoms: Atoms) -> None:
        children = [
            subprocess.Popen(["sleep", "1000"]),
            subprocess.Popen(["sleep", "1000"], start_new_session=True),
            subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"]),
        ]
        pids = [os.getpid(), *(child.pid for child in children)]
        (tmp_path / "pids").write_text(" ".join(map(str, pids)))
        while True:
            time.sleep(1)

    start = time.monotonic()
    failure = failure_of(Harmonic(hangs), timeout=1.0)
    assert failure.reason == "timed out after 1 s"
    assert 1.0 <= failure.seconds < time.monotonic() - start < 30.0
    assert_gone({int(pid) for pid in (tmp_path / "pids").read_text().split()}, patience=0.5)
    assert len(label(rattled(1), Harmonic(), timeout=60.0)) == 1


def test_leftover_processes_of_a_success_are_ended(tmp_path: Path) -> None:
    def leaves_a_server(atoms: Atoms) -> None:
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        (tmp_path / "pid").write_text(str(child.pid))

    assert len(label(rattled(1), Harmonic(leaves_a_server))) == 1
    assert_gone({int((tmp_path / "pid").read_text())}, patience=0.5)


# --- surroundings ------------------------------------------------------------------------


def test_private_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "parameters").write_text("2.0")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))

    def make() -> Calculator:
        assert Path("parameters").read_text() == "2.0"
        return Harmonic(works_here)

    def works_here(atoms: Atoms) -> None:
        assert list(Path().iterdir()) == []
        Path("out").write_text("x")
        assert Path.cwd().parent == scratch

    assert len(label(rattled(2), make)) == 2
    assert list(scratch.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["parameters", "scratch"]


def test_absolute_directories_keep_the_files_of_each_label(tmp_path: Path) -> None:
    class Writes(Harmonic):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            Path(self.directory, "out").write_text("x")

    calculator = Writes()
    calculator.directory = str(tmp_path / "kept")
    assert len(label(rattled(3), calculator)) == 3
    assert len(list((tmp_path / "kept").glob("label-*/out"))) == 3


def test_environment_is_that_of_the_call(monkeypatch: pytest.MonkeyPatch) -> None:
    label(rattled(1), Harmonic())
    monkeypatch.setenv("HAL_TEST", "now")

    def looks(atoms: Atoms) -> None:
        raise RuntimeError(os.environ["HAL_TEST"])

    assert failure_of(Harmonic(looks)).reason == "RuntimeError: now"


SCRIPT = """
from ase.build import bulk
from ase.calculators.emt import EMT
from ase_hal.reference import label

class Shifted(EMT):
    def calculate(self, *args):
        super().calculate(*args)
        self.results["free_energy"] = 1.5

print(len(label([bulk("Al")] * 2, EMT())))
print(label([bulk("Al")], Shifted)[0].get_potential_energy())
print(label([bulk("Al")], lambda: Shifted())[0].get_potential_energy())
"""


def test_script_without_main_guard(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    # Nothing in the user's folder may stand in for what the server imports.
    for name in ("random", "ase", "ase_hal", "numpy", "label_server"):
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        (other / f"{name}.py").write_text("raise SystemExit('wrong module')")
    run = subprocess.run(
        [sys.executable, str(tmp_path / "script.py")],
        cwd=tmp_path / "other",
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.stdout, run.stderr) == ("2\n1.5\n1.5\n", "")


# --- the end of the caller ---------------------------------------------------------------

CALLER = """
import os, signal, subprocess, sys
from concurrent.futures import ThreadPoolExecutor
from ase import Atoms
from ase.calculators.calculator import Calculator
from ase_hal.reference import label

pids, executor = sys.argv[1:]
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it

class Hangs(Calculator):
    implemented_properties = ["energy", "forces"]
    def calculate(self, *args):
        child = subprocess.Popen(["sleep", "1000"])
        with open(pids, "w") as file:
            file.write(f"{os.getpid()} {os.getppid()} {child.pid}\\n")
        child.wait()

label([Atoms("Al")], Hangs, executor=eval(executor))
"""


@pytest.mark.parametrize(
    ("executor", "how"),
    [
        ("None", signal.SIGKILL),
        ("None", signal.SIGTERM),
        ("None", signal.SIGINT),
        ("ThreadPoolExecutor(1)", signal.SIGINT),
    ],
)
def test_nothing_outlives_the_caller(tmp_path: Path, executor: str, how: signal.Signals) -> None:
    pids = tmp_path / "pids"
    caller = subprocess.Popen(
        [sys.executable, "-c", CALLER, str(pids), executor],
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    stop = time.monotonic() + 60
    while not (pids.exists() and pids.read_text().endswith("\n")):
        assert caller.poll() is None, caller.stderr and caller.stderr.read()
        assert time.monotonic() < stop
        time.sleep(0.05)
    started = {int(pid) for pid in pids.read_text().split()}
    assert all(is_alive(pid) for pid in started)
    caller.send_signal(how)
    _, errors = caller.communicate(timeout=30)
    assert_gone(started)
    if how is signal.SIGINT:
        assert "KeyboardInterrupt" in errors


def test_server_killed_in_the_middle() -> None:
    def kills_its_server(atoms: Atoms) -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(1000)

    failure = failure_of(Harmonic(kills_its_server))
    assert failure.reason == "the label server ended (killed by SIGKILL)"
    assert len(label(rattled(1), Harmonic())) == 1


def test_server_of_a_thread_ends_with_it() -> None:
    before = descendants()
    thread = threading.Thread(target=label, args=(rattled(1), Harmonic()))
    thread.start()
    thread.join()
    assert_gone(descendants() - before)


def test_server_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("false")
    monkeypatch.setattr(sys, "executable", program)
    with (
        ThreadPoolExecutor(1) as executor,
        pytest.raises(RuntimeError, match=f"cannot start a process for labels: {program}"),
    ):
        label(rattled(1), Harmonic(), executor=executor)


# --- executors ---------------------------------------------------------------------------


def sleepy(atoms: Atoms) -> None:
    time.sleep(0.3 if atoms.info["number"] == 0 else 0.0)
    if atoms.info["number"] == 4:
        raise RuntimeError("the fourth")
    if atoms.info["number"] == 5:
        time.sleep(1000)


@pytest.fixture(params=["threads", "fork", "spawn"])
def executor(request: pytest.FixtureRequest) -> Any:
    made: Executor
    if request.param == "threads":
        made = ThreadPoolExecutor(2)
    else:
        made = ProcessPoolExecutor(2, mp_context=get_context(request.param))
    with made:
        yield made


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork")
def test_executors_keep_the_order(executor: Executor) -> None:
    before = descendants()
    structures = rattled(8)
    events: list[int] = []
    out = label(
        structures,
        Harmonic(sleepy),
        executor=executor,
        timeout=4.0,
        on_label=lambda atoms: events.append(atoms.info["number"]),
        on_failure=lambda failure: events.append(-failure.atoms.info["number"]),
    )
    assert events == [0, 1, 2, 3, -4, -5, 6, 7]
    assert [atoms.info["number"] for atoms in out] == [0, 1, 2, 3, 6, 7]
    for atoms in out:
        np.testing.assert_array_equal(atoms.get_forces(), -atoms.positions)
    executor.shutdown()
    assert_gone(descendants() - before)


def test_executors_work_in_parallel(tmp_path: Path) -> None:
    """Two labels that wait for each other."""

    def meets(atoms: Atoms) -> None:
        number = atoms.info["number"]
        (tmp_path / str(number)).touch()
        while not (tmp_path / str(1 - number)).exists():
            time.sleep(0.01)

    with ThreadPoolExecutor(2) as executor:
        out = label(rattled(2), Harmonic(meets), executor=executor, timeout=60)
    assert len(out) == 2


def test_a_callback_that_raises_stops_the_work() -> None:
    before = descendants()

    def waits(atoms: Atoms) -> None:
        if atoms.info["number"]:
            time.sleep(1000)

    def stop(atoms: Atoms) -> None:
        raise ZeroDivisionError

    with ThreadPoolExecutor(2) as executor, pytest.raises(ZeroDivisionError):
        label(rattled(5), Harmonic(waits), executor=executor, on_label=stop)
    # Leaving the pool has waited for its threads: they were not left to sleep.
    assert_gone(descendants() - before)


def test_a_server_that_missed_its_end_sees_to_it_later(tmp_path: Path) -> None:
    """SIGTERM during an import that catches everything."""
    module = tmp_path / "catches_everything.py"
    module.write_text(
        "import os, pathlib, time\n"
        "here = pathlib.Path(__file__).parent\n"
        "try:\n"
        "    (here / str(os.getpid())).touch()\n"
        "    time.sleep(1000)\n"
        "except BaseException:\n"
        "    (here / 'caught').touch()\n"
        "def make():\n"
        "    time.sleep(1000)\n"
    )
    server = LabelProcess()
    job = Job(cloudpickle.dumps(len), True, ("catches_everything",), b"", ("energy",), timeout=None)
    with ThreadPoolExecutor(1) as executor, pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(tmp_path))
        future = executor.submit(server.run, job)
        until = time.monotonic() + 60
        while not any(path.name.isdigit() for path in tmp_path.iterdir()):
            assert time.monotonic() < until
            time.sleep(0.05)
        server.cancel()
        outcome = future.result(timeout=60)
    assert (tmp_path / "caught").exists()
    assert outcome.results is None
