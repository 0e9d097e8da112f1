"""What a run directory is made of: append-only files, atomic files, and a lock.

A process may be killed between any two instructions. Two rules keep its files usable:

- A file that grows (:class:`Log`, and :class:`ase_hal.frames.Frames`) is only appended to, one
  whole record at a time, and the record is on the disk before ``append`` returns. What a
  killed writer left of an unfinished record is cut off when the file is opened for writing
  again, and passed over when it is read.
- A file that changes is replaced (:func:`replacing`, :func:`write_atomically`): whoever reads
  it finds the old content or the new one.

Only one process at a time works in a directory (:func:`locked`).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import io
import json
import logging
import os
import re
import secrets
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

import numpy as np

from ase_hal.lock_file import DirectoryInUse, LockFile, check_held, refuse_holder

__all__ = [
    "DirectoryInUse",
    "Journal",
    "Log",
    "locked",
    "read_json",
    "remove_leftovers",
    "replacing",
    "to_json",
    "write_atomically",
    "write_json",
]

logger = logging.getLogger(__name__)

StrPath = str | os.PathLike[str]
# What file systems say that cannot do what is asked of them.
_UNSUPPORTED = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EROFS)
# Names of the files that wait to replace another.
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")

Record = TypeVar("Record")
Self = TypeVar("Self", bound="Journal[Any]")


class Journal(ABC, Generic[Record]):
    """An append-only file of records; opening it for writing cuts off a torn last one."""

    def __init__(self, path: StrPath):
        self.path = Path(path)
        self._file = self.path.open("ab", buffering=0)
        try:
            _sync_directory(self.path.parent)
            content = self.path.read_bytes()
            self._ends = [0, *self._record_ends(content, self.path)]
            torn = len(content) - self._ends[-1]
            if torn:
                logger.warning(
                    "%s: cutting off an unfinished record (%d bytes) after %d whole ones",
                    self.path,
                    torn,
                    len(self),
                )
                self._cut()
        except BaseException:
            self._file.close()
            raise

    @staticmethod
    @abstractmethod
    def _record_ends(content: bytes, path: Path) -> list[int]:
        """Offsets where the whole records end; ValueError for what never was a record."""

    @staticmethod
    @abstractmethod
    def _parse(content: bytes) -> list[Record]:
        """Records of a string of whole ones."""

    @classmethod
    def read(cls, path: StrPath) -> list[Record]:
        """Read the whole records of a file, which another process may be writing to."""
        content = Path(path).read_bytes()
        ends = cls._record_ends(content, Path(path))
        return cls._parse(content[: ends[-1]]) if ends else []

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __iter__(self) -> Iterator[Record]:
        return iter(self._parse(self.path.read_bytes()[: self._ends[-1]]))

    def truncate(self, length: int) -> None:
        """Keep the first `length` records; the others might never have been appended."""
        if not 0 <= length <= len(self):
            raise ValueError(f"{self.path} holds {len(self)} records, cannot keep {length}")
        del self._ends[length + 1 :]
        self._cut()

    def close(self) -> None:
        """Close the file; everything appended is on the disk already."""
        self._file.close()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write(self, record: bytes) -> None:
        check_held(self.path.parent)
        try:
            with _naming(self.path):
                rest = memoryview(record)
                while rest:
                    rest = rest[self._file.write(rest) :]
                _sync(self._file.fileno())
        except BaseException:
            # A full disk or Ctrl-C: no later record may follow half of this one.
            try:
                self._cut()
            except OSError:
                self._file.close()
            raise
        self._ends.append(self._ends[-1] + len(record))

    def _cut(self) -> None:
        os.ftruncate(self._file.fileno(), self._ends[-1])
        _sync(self._file.fileno())


class Log(Journal[dict[str, Any]]):
    """A file of JSON records, one per line.

    Parameters
    ----------
    path : path-like
        Created if it does not exist; its folder must exist.

    Examples
    --------
    >>> with Log('log.jsonl') as log:
    ...     log.append({'event': 'label', 'iteration': 3, 'seconds': 12.1})
    >>> records = Log.read('log.jsonl')
    """

    def append(self, record: Mapping[str, Any]) -> None:
        """Append one record.

        Numpy scalars and arrays become numbers and lists, paths become strings. NaN and
        infinities are written as Python's json module does, which also reads them.
        """
        if not isinstance(record, Mapping):
            raise TypeError(f"a log record is a mapping, got {type(record).__name__}")
        self._write(to_json(dict(record)).encode() + b"\n")

    @staticmethod
    def _record_ends(content: bytes, path: Path) -> list[int]:
        ends: list[int] = []
        position = 0
        for number, line in enumerate(io.BytesIO(content), start=1):
            if not line.endswith(b"\n"):
                break
            try:
                json.loads(line)
            except ValueError as error:
                raise ValueError(f"{path}, line {number}: not a JSON record: {error}") from error
            position += len(line)
            ends.append(position)
        return ends

    @staticmethod
    def _parse(content: bytes) -> list[dict[str, Any]]:
        return [json.loads(line) for line in io.BytesIO(content)]


@contextlib.contextmanager
def replacing(path: StrPath) -> Iterator[Path]:
    """Replace a file as a whole: write to the path this yields.

    The new content takes the place of the old in one step when the block ends, and is on the
    disk by then; if the block raises, the old content stays.

    Examples
    --------
    >>> with replacing('committee.npz') as temporary:
    ...     numpy.savez(temporary, mean=mean)
    """
    target = Path(path)
    # The suffix stays, for writers that go by it.
    temporary = target.with_name(f".{target.stem}.{secrets.token_hex(4)}{target.suffix}")
    check_held(target.parent)
    try:
        with _naming(target):
            yield temporary
            with temporary.open("rb+") as file:
                _sync(file.fileno())
            temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def remove_leftovers(directory: StrPath) -> None:
    """Remove what killed processes have not come to put in its place (:func:`replacing`).

    Looks in a directory and its ``iterations``; nobody else may be writing there.
    """
    for folder in (Path(directory), *Path(directory).glob("iterations/*")):
        for path in folder.glob(".*"):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink()


def write_atomically(path: StrPath, content: bytes) -> None:
    """Replace a file by `content` in one step; it is on the disk on return."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: StrPath, value: Any) -> None:
    """Replace a file by a value as JSON; numpy and paths are converted as in :class:`Log`."""
    write_atomically(path, to_json(value, indent=1).encode() + b"\n")


def read_json(path: StrPath) -> Any:
    """Read what `write_json` wrote."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


_held: set[tuple[int, Path]] = set()
_held_guard = threading.Lock()


@contextlib.contextmanager
def locked(directory: StrPath) -> Iterator[None]:
    """Keep a directory to this process while the block runs.

    The lock dies with the process that holds it, however that ends. The file `.lock` that it
    leaves behind means nothing; do not open it while the lock is held. On a file system without
    locks a file tells who is there (:mod:`ase_hal.lock_file`).

    Raises
    ------
    DirectoryInUse
        If another process, or another place in this one, holds the lock.
    """
    folder = Path(directory).resolve()
    key = (os.getpid(), folder)
    with _held_guard:
        if key in _held:
            raise DirectoryInUse(f"this process is already running in {folder}")
        _held.add(key)
    try:
        with (folder / ".lock").open("a+", encoding="utf-8") as file:
            if _lock(file, folder):
                refuse_holder(folder)
                file.truncate(0)
                file.write(f"process {os.getpid()} on {socket.gethostname()}")
                file.flush()
                yield
            else:
                with LockFile(folder):
                    yield
    finally:
        _held.discard(key)


def _lock(file: TextIO, folder: Path) -> bool:
    """Lock a file; False where the file system has no locks."""
    # A lock of the process, not of the open file (flock): pool workers forked by a run that was
    # killed must not keep it.
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno == errno.EACCES:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise DirectoryInUse(f"{holder} is running in {folder}") from None
        logger.warning(
            "%s is on a file system without locks (%s): a file tells other processes that this "
            "one is working there",
            folder,
            error.strerror or error,
        )
        return False
    return True


def to_json(value: Any, indent: int | None = None) -> str:
    """Format as JSON; numpy scalars and arrays become numbers and lists, paths strings."""
    return json.dumps(value, default=_plain, indent=indent)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _sync(descriptor: int) -> None:
    """Put a file on the disk, as far as the file system can."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        logger.debug("the file system cannot synchronise files: %s", error)


def _sync_directory(directory: Path) -> None:
    """Put a file's name on the disk; file systems that cannot keep the promise say so."""
    with contextlib.suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Name the file in what the system says about a write, such as a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            error.filename = os.fspath(path)
        raise
