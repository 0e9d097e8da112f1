"""Runs on file systems that know no locks, or cannot synchronise."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from label_calculators import environment

from ase_hal import lock_file
from ase_hal.journal import DirectoryInUse, Log, locked, read_json, write_json
from ase_hal.lock_file import NAME, Holder, LockFile

NO_LOCKS = ["ENOLCK", "EOPNOTSUPP", "ENOTSUP", "ENOSYS", "EINVAL", "EPERM", "EIO", "EREMOTEIO"]


def refuse_locks(patch: pytest.MonkeyPatch, number: int = errno.ENOLCK) -> None:
    def lockf(*arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    patch.setattr(fcntl, "lockf", lockf)


@pytest.fixture
def no_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_locks(monkeypatch)


HOLDER = """
import fcntl, os, sys, time

def lockf(*arguments):
    raise OSError(37, "No locks available")

fcntl.lockf = lockf
from ase_hal.journal import DirectoryInUse, locked
try:
    with locked("."):
        if sys.argv[1] == "fork" and os.fork() == 0:
            sys.exit()  # and leaves the block
        print("held", flush=True)
        time.sleep(60)
except DirectoryInUse as error:
    print(error)
"""


@contextlib.contextmanager
def holding(folder: Path, how: str) -> Iterator[subprocess.Popen[str]]:
    """Another process that has the directory."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLDER, how],
        cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "held\n"
        yield program
    finally:
        program.kill()
        program.communicate()


def elsewhere() -> Holder:
    """A holder on another machine."""
    return replace(Holder.of_this_process(), host="node7", machine="another", token="0a1b2c3d")


def write(folder: Path, holder: Holder, *, age: float = 0.0) -> None:
    path = folder / NAME
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - age,) * 2)


@pytest.mark.parametrize("name", NO_LOCKS)
def test_a_file_takes_the_place_of_locks(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_locks(monkeypatch, getattr(errno, name))
    with caplog.at_level(logging.WARNING), locked(tmp_path):
        with pytest.raises(DirectoryInUse, match="this process"), locked(tmp_path):
            pass
        with pytest.raises(DirectoryInUse, match=f"process {os.getpid()} on"), LockFile(tmp_path):
            pass
        with Log(tmp_path / "log.jsonl") as log:
            log.append({"n": 1})
    assert [r.getMessage() for r in caplog.records] == [
        f"{tmp_path} is on a file system without locks ({os.strerror(getattr(errno, name))}): a "
        "file tells other processes that this one is working there"
    ]
    assert {path.name for path in tmp_path.iterdir()} == {".lock", "log.jsonl"}
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("name", ["EAGAIN", "EACCES"])
def test_a_lock_of_another_process_is_no_missing_lock(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_locks(monkeypatch, getattr(errno, name))
    with pytest.raises(DirectoryInUse, match="another process is running"), locked(tmp_path):
        pass


@pytest.mark.parametrize("how", ["alone", "fork"])
def test_it_excludes_and_dies_with_its_process(
    how: str, tmp_path: Path, no_locks: None, caplog: pytest.LogCaptureFixture
) -> None:
    with holding(tmp_path, how) as holder:
        name = f"process {holder.pid} on {socket.gethostname()}"
        for _ in range(2):
            with pytest.raises(DirectoryInUse, match=f"^{name} is running in"), locked(tmp_path):
                pass
        holder.kill()
        # Nobody has asked yet how it ended.
        time.sleep(0.1)
        with locked(tmp_path):
            assert json.loads((tmp_path / NAME).read_text())["pid"] == os.getpid()
    assert f"{name} held {tmp_path} and is gone" in caplog.text
    assert not (tmp_path / NAME).exists()


def test_where_one_process_has_locks_it_heeds_those_that_have_none(tmp_path: Path) -> None:
    with (
        holding(tmp_path, "alone") as holder,
        pytest.raises(DirectoryInUse, match=f"process {holder.pid} on"),
        locked(tmp_path),
    ):
        pass
    with locked(tmp_path):
        assert not (tmp_path / NAME).exists()


def test_a_number_that_was_given_to_another_process(tmp_path: Path, no_locks: None) -> None:
    write(tmp_path, replace(Holder.of_this_process(), started="1"))
    with locked(tmp_path):
        pass


def test_holders_elsewhere_show_themselves(
    tmp_path: Path, no_locks: None, caplog: pytest.LogCaptureFixture
) -> None:
    holder = elsewhere()
    write(tmp_path, holder, age=60)
    message = (
        rf"process {os.getpid()} on node7 is running in {tmp_path}: it has shown itself 6\d s ago. "
        rf"If it is gone, try again when 180 s have passed, or remove {tmp_path / NAME}"
    )
    with pytest.raises(DirectoryInUse, match=message), locked(tmp_path):
        pass
    assert [path.name for path in tmp_path.glob(f"{NAME}*")] == [NAME]
    write(tmp_path, holder, age=200)
    with locked(tmp_path):
        assert json.loads((tmp_path / NAME).read_text())["host"] == socket.gethostname()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_the_file_is_renewed(
    tmp_path: Path, no_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_file, "_BEAT", 0.01)
    with locked(tmp_path):
        os.utime(tmp_path / NAME, (0, 0))
        until = time.monotonic() + 10
        while (tmp_path / NAME).stat().st_mtime < time.time() - 60:
            assert time.monotonic() < until
            time.sleep(0.01)


@pytest.mark.parametrize("content", ["", "{}", "not JSON"])
def test_files_that_nobody_has_finished(content: str, tmp_path: Path, no_locks: None) -> None:
    path = tmp_path / NAME
    path.write_text(content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lock_file, "_MOMENT", 0.001)
        with pytest.raises(DirectoryInUse, match="just starting"), locked(tmp_path):
            pass
    os.utime(path, (0, 0))
    with locked(tmp_path):
        pass


def test_one_of_many_takes_over(tmp_path: Path) -> None:
    for _ in range(10):
        write(tmp_path, elsewhere(), age=1000)
        start, entered, refused = threading.Barrier(8), [], []

        def compete(
            start: threading.Barrier = start, entered: list = entered, refused: list = refused
        ) -> None:
            start.wait()
            try:
                lock = LockFile(tmp_path)
                lock.__enter__()
                entered.append(lock)
            except DirectoryInUse as error:
                refused.append(str(error))

        threads = [threading.Thread(target=compete) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(entered) == 1
        assert len(refused) == 7
        entered[0].__exit__()
        assert list(tmp_path.iterdir()) == []


def test_who_was_suspended_and_replaced_writes_no_more(
    tmp_path: Path, no_locks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locked(tmp_path), Log(tmp_path / "log.jsonl") as log:
        log.append({"n": 1})
        write(tmp_path, elsewhere())
        monkeypatch.setattr(lock_file, "_SILENCE", 0.01)
        time.sleep(0.02)
        with pytest.raises(DirectoryInUse, match=r"node7 has taken over .* more than 0 s"):
            log.append({"n": 2})
        with pytest.raises(DirectoryInUse, match="node7 has taken over"):
            write_json(tmp_path / "state.json", {})
    assert Log.read(tmp_path / "log.jsonl") == [{"n": 1}]
    assert json.loads((tmp_path / NAME).read_text())["host"] == "node7", "it is not ours"


@pytest.mark.parametrize("name", ["EINVAL", "ENOTSUP", "ENOSYS", "EIO", "ENOSPC"])
def test_files_that_cannot_be_synchronised(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = getattr(errno, name)

    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    with Log(tmp_path / "log.jsonl") as log:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            if name in ("EIO", "ENOSPC"):
                with pytest.raises(OSError, match=r"log\.jsonl") as caught:
                    log.append({"n": 1})
                assert caught.value.errno == number
                return
            log.append({"n": 1})
            write_json(tmp_path / "state.json", {"n": 2})
        assert list(log) == [{"n": 1}]
    assert read_json(tmp_path / "state.json") == {"n": 2}
