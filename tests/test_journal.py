"""Journals survive being killed at any byte, and give back what was put in."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from ase_hal.journal import (
    DirectoryInUse,
    Log,
    locked,
    read_json,
    remove_leftovers,
    replacing,
    write_atomically,
    write_json,
)

# --- log ---------------------------------------------------------------------------------


def test_log_gives_back_records_of_numpy_and_text(tmp_path: Path) -> None:
    records = [
        {"event": "start", "text": 'line\nend "quoted" \\ \r é \u2028'},
        {"array": np.arange(3.0), "scalar": np.float64(0.1), "flag": np.bool_(True)},
        {"path": tmp_path, "nan": float("nan"), "none": None},
    ]
    with Log(tmp_path / "log.jsonl") as log:
        for record in records:
            log.append(record)
        assert len(log) == 3
        back = list(log)
    assert back[0] == records[0]
    assert back[1] == {"array": [0.0, 1.0, 2.0], "scalar": 0.1, "flag": True}
    assert back[2]["path"] == str(tmp_path)
    assert np.isnan(back[2]["nan"])
    assert len((tmp_path / "log.jsonl").read_text().split("\n")) == 4


def test_log_torn_at_every_byte(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path) as log:
        for n in range(3):
            log.append({"n": n, "text": "é{}"})
    whole = path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for cut in range(start, len(whole) + 1):
        path.write_bytes(whole[:cut])
        expected = 3 if cut == len(whole) else 2
        assert len(Log.read(path)) == expected
        assert path.read_bytes() == whole[:cut], "reading must not write"
        with caplog.at_level(logging.WARNING), Log(path) as log:
            assert len(log) == expected
            log.append({"n": "new"})
        assert [record["n"] for record in Log.read(path)] == [*range(expected), "new"]
    assert "unfinished record" in caplog.text


def test_log_refuses_what_it_did_not_write(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text('{"a": 1}\nnot json\n{"a": 2}\n')
    with pytest.raises(ValueError, match="line 2"):
        Log(path)
    assert path.read_text().endswith("2}\n")
    with Log(tmp_path / "b.jsonl") as log:
        with pytest.raises(TypeError, match="mapping, got list"):
            log.append([1])  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="object cannot be written"):
            log.append({"a": object()})
        assert len(log) == 0


def test_truncate_keeps_the_first_records(tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as log:
        for n in range(5):
            log.append({"n": n})
        log.truncate(2)
        log.append({"n": "next"})
        assert [record["n"] for record in log] == [0, 1, "next"]
        with pytest.raises(ValueError, match="holds 3 records, cannot keep 4"):
            log.truncate(4)


def test_failed_write_leaves_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Log(tmp_path / "log.jsonl") as log:
        log.append({"n": 0})
        real = os.fsync
        calls = iter([OSError(28, "No space left on device")])

        def full_once(descriptor: int) -> None:
            for error in calls:
                raise error
            real(descriptor)

        monkeypatch.setattr(os, "fsync", full_once)
        with pytest.raises(OSError, match="No space"):
            log.append({"n": 1})
        log.append({"n": 2})
        assert [record["n"] for record in log] == [0, 2]


# --- whole files -------------------------------------------------------------------------


def test_replacing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_atomically(path, b"{}")
    assert read_json(path) == {}
    write_json(path, {"iteration": 1, "values": np.ones(2)})
    assert read_json(path) == {"iteration": 1, "values": [1.0, 1.0]}
    with contextlib.suppress(ZeroDivisionError), replacing(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert read_json(path)["iteration"] == 1
    with replacing(tmp_path / "arrays.npz") as temporary:
        np.savez(temporary, a=np.arange(3))
    assert (np.load(tmp_path / "arrays.npz")["a"] == np.arange(3)).all()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["arrays.npz", "state.json"]
    umask = os.umask(0)
    os.umask(umask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask


def test_leftovers_of_killed_writers_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "iterations" / "0001"
    folder.mkdir(parents=True)
    program = (
        "import os, sys; from pathlib import Path; from ase_hal.journal import replacing\n"
        "for name in sys.argv[1:]:\n"
        "    replacing(name).__enter__().write_text('half')\n"
        "os.kill(os.getpid(), 9)"
    )
    kept = [tmp_path / "model.npz", folder / "walker0.npz", tmp_path / "run"]
    for path in kept:
        path.write_text("whole")
    mine = [tmp_path / name for name in (".lock", ".hidden.npz", ".a.b.c")]
    for path in mine:
        path.touch()
    subprocess.run([sys.executable, "-c", program, *map(str, kept)], check=False)
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert len(files - {*kept, *mine}) == 3
    remove_leftovers(tmp_path)
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*kept, *mine}
    assert all(path.read_text() == "whole" for path in kept)


REPLACER = """
from ase_hal.journal import write_json
n = 0
while True:
    write_json("state.json", {"n": n, "same": [n] * 2000})
    if n == 0:
        print("ready", flush=True)
    n += 1
"""


def test_killed_replacer_leaves_a_whole_file(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for delay in (0.01, 0.05):
        writer = subprocess.Popen(
            [sys.executable, "-c", REPLACER],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
        )
        assert writer.stdout is not None
        assert writer.stdout.readline()
        time.sleep(delay)
        writer.kill()
        writer.wait()
        writer.stdout.close()
        state = read_json(tmp_path / "state.json")
        assert state["same"] == [state["n"]] * 2000


# --- lock --------------------------------------------------------------------------------

HOLDER = """
import os, sys, time
from ase_hal.journal import locked
with locked("."):
    if sys.argv[1] == "fork" and os.fork() == 0:
        time.sleep(60)
        os._exit(0)
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_lock_excludes_and_dies_with_its_process(tmp_path: Path, how: str) -> None:
    """Also while a child that the killed process forked (a pool worker) lives on."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, how],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline()
        with pytest.raises(DirectoryInUse, match=f"process {holder.pid} on"), locked(tmp_path):
            pass
        holder.kill()
        holder.wait()
        with locked(tmp_path):
            pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(holder.pid, signal.SIGKILL)
        holder.wait()
        holder.stdout.close()


def test_lock_excludes_within_a_process(tmp_path: Path) -> None:
    with (
        locked(tmp_path),
        pytest.raises(DirectoryInUse, match="this process"),
        locked(tmp_path / "."),
    ):
        pass
    with locked(tmp_path):
        pass
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing"):
        pass


def test_json_lines_are_strict_one_per_line(tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as log:
        log.append({"text": "\n\n"})
    (line,) = (tmp_path / "log.jsonl").read_text().splitlines()
    assert json.loads(line) == {"text": "\n\n"}
