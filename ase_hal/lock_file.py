"""A lock on a directory for file systems that have none: a file that tells who holds it.

The file is created by whoever comes first. It tells host, process and the time when that process
began, and its own time is renewed while the holder lives. A holder on this machine is looked for;
one on another machine counts as gone when its file has not been renewed for some minutes.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import socket
import subprocess
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

logger = logging.getLogger(__name__)

NAME = ".lock-holder"
_BEAT = 15.0  # between two renewals, s
_SILENCE = 180.0  # without renewal, after which a holder elsewhere counts as gone, s
_TRIES = 20
_MOMENT = 0.1  # which others need to finish what they have begun, s


class DirectoryInUse(RuntimeError):
    """Another run is working in the directory."""


@dataclass(frozen=True)
class Holder:
    """A process, such that no other is taken for it.

    Attributes
    ----------
    host : str
    machine : str
        What tells apart machines, their restarts and their containers.
    pid : int
    started : str
        When the process began, in whatever unit the machine has.
    token : str
        Different each time.
    """

    host: str
    machine: str
    pid: int
    started: str
    token: str

    @classmethod
    def of_this_process(cls) -> Holder:
        """Describe this process."""
        host, pid = socket.gethostname(), os.getpid()
        return cls(host, _machine(), pid, _started(pid) or "", secrets.token_hex(4))

    @property
    def is_here(self) -> bool:
        """Whether its machine is this one, where processes can be looked for."""
        return (self.host, self.machine) == (socket.gethostname(), _machine())

    @property
    def is_alive(self) -> bool:
        """Whether the process, of this machine, goes on."""
        started = _started(self.pid)
        return started is not None and started in (self.started, "")

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class LockFile:
    """The lock of this process on a directory; a context manager.

    Raises
    ------
    DirectoryInUse
        If another process holds it. The message tells which one.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._me = Holder.of_this_process()
        self._renewed = time.time()
        self._released = threading.Event()

    def __enter__(self) -> LockFile:
        self._acquire()
        self._renewed = time.time()
        threading.Thread(target=self._keep_renewing, daemon=True).start()
        _held[self.path.parent] = self
        return self

    def __exit__(self, *exception: object) -> None:
        # A forked process inherits the object, but not the lock.
        if os.getpid() == self._me.pid:
            _held.pop(self.path.parent, None)
            self._released.set()
            if _read(self.path) == self._me:
                self.path.unlink()

    def check(self) -> None:
        """Raise DirectoryInUse if the lock was lost while this process was suspended."""
        if time.time() - self._renewed > _SILENCE and os.getpid() == self._me.pid:
            self._renew()

    def _renew(self) -> None:
        holder = _read(self.path)
        if holder != self._me:
            raise DirectoryInUse(
                f"{holder or 'another process'} has taken over {self.path.parent}, as this process "
                f"did not go on for more than {_SILENCE:.0f} s"
            )
        os.utime(self.path)
        self._renewed = time.time()

    def _keep_renewing(self) -> None:
        while not self._released.wait(_BEAT) and self._is_renewed():
            pass

    def _is_renewed(self) -> bool:
        """Renew; False if the lock is lost."""
        try:
            self._renew()
        except DirectoryInUse as lost:
            logger.error("%s", lost)
            self._renewed = 0.0  # for `check`
            return False
        except OSError as error:
            logger.debug("%s cannot be renewed: %s", self.path, error)
        return True

    def _acquire(self) -> None:
        content = json.dumps(asdict(self._me)).encode()
        for _ in range(_TRIES):
            if _create(self.path, content):
                return
            holder, age = _read(self.path), _age(self.path)
            if age is None:
                continue  # it was just released
            if holder is None and age < _SILENCE:
                time.sleep(_MOMENT)  # it is just being written
                continue
            if holder is not None:
                refuse(self.path.parent, holder, age)
            if self._take_over(holder, content):
                return
        raise DirectoryInUse(f"another process is just starting in {self.path.parent}")

    def _take_over(self, stale: Holder | None, content: bytes) -> bool:
        """Take the place of a holder that is gone, unless somebody else has."""
        claim = self.path.with_name(f"{NAME}.{stale.token if stale else '0' * 8}")
        if not _create(claim, content):
            age = _age(claim)
            if age is not None and age > _SILENCE:  # of a process that was killed at this
                claim.unlink(missing_ok=True)
            time.sleep(_MOMENT)
            return False
        try:
            # Whoever has claimed the same before has put its own file there.
            if _read(self.path) != stale:
                return False
            logger.warning(
                "%s held %s and is gone; its place is taken", stale or "somebody", self.path.parent
            )
            mine = self.path.with_name(f"{NAME}.{secrets.token_hex(4)}")
            _create(mine, content)
            mine.replace(self.path)
            return True
        finally:
            claim.unlink(missing_ok=True)


_held: dict[Path, LockFile] = {}


def refuse(folder: Path, holder: Holder, age: float) -> None:
    """Raise DirectoryInUse if a holder whose file is so old, in s, is not gone."""
    if holder.is_here:
        if holder.is_alive:
            raise DirectoryInUse(f"{holder} is running in {folder}")
    elif age < _SILENCE:
        raise DirectoryInUse(
            f"{holder} is running in {folder}: it has shown itself {max(age, 0):.0f} s ago. If it "
            f"is gone, try again when {_SILENCE:.0f} s have passed, or remove {folder / NAME}"
        )


def refuse_holder(folder: Path) -> None:
    """Raise DirectoryInUse where a process that has found no other lock holds a directory."""
    path = folder / NAME
    if (holder := _read(path)) is not None and (age := _age(path)) is not None:
        refuse(folder, holder, age)
        path.unlink(missing_ok=True)


def check_held(path: Path) -> None:
    """Raise DirectoryInUse if the lock on a folder of a path has been lost."""
    for folder, lock in list(_held.items()):
        if path.resolve().is_relative_to(folder):
            lock.check()


def _create(path: Path, content: bytes) -> bool:
    """Create a file; False if it is there."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(descriptor, content)
    except OSError:  # the disk is full
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)
    return True


def _read(path: Path) -> Holder | None:
    try:
        return Holder(**json.loads(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _age(path: Path) -> float | None:
    """Seconds since a file was renewed, None without it.

    Both times are those of the file system: clocks of machines differ.
    """
    probe = path.with_name(f"{NAME}.{secrets.token_hex(4)}")
    try:
        # Network file systems look anew at a file that is opened.
        with path.open("rb") as file:
            renewed = os.fstat(file.fileno()).st_mtime
        _create(probe, b"")
        return probe.stat().st_mtime - renewed
    except FileNotFoundError:
        return None
    finally:
        probe.unlink(missing_ok=True)


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str | None:
    """When a process of this machine began, "" if that is not to be known; None if it is gone."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:  # somebody else's
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return None if fields[0] in (b"Z", b"X") else fields[19].decode()
    except (OSError, IndexError):
        pass
    try:
        words = ["ps", "-o", "lstart=", "-p", str(pid)]
        done = subprocess.run(words, capture_output=True, check=False)
        return done.stdout.strip().decode("latin1")
    except OSError:
        return ""
