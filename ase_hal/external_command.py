"""Commands that run beside this process: a working folder, a log, a time-out, and an end."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from ase_hal.parallel import in_order

LOG = "command.log"
_STOP = "stop"  # a file of this name beside the working folders ends the commands
_INTERVAL = 0.1  # between two looks at a running command, s
_LINES = 15  # of a log that an error shows


@dataclass(frozen=True)
class Execution:
    """How the commands of a fit run.

    Attributes
    ----------
    command : str, optional
        Words of a shell, to be used in place of the fit's own command: with another path, say,
        where the program is in an environment of its own, or behind ``srun -n 1``.
    timeout : float, optional
        Wall time of one command, s; then it is killed.
    directory : path, optional
        Here every fit leaves a folder ``fit-1``, ``fit-2``, ... with input, log and output of
        each member. Without it the files are temporary.
    executor : concurrent.futures.Executor, optional
        Runs the commands side by side; one of threads will do, since the work is in processes
        anyway. Workers elsewhere need a `directory` that they see too. Without it one command
        runs after another.
    """

    command: str | None = None
    timeout: float | None = None
    directory: str | Path | None = None
    executor: Executor | None = None

    def __post_init__(self) -> None:
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise ValueError(f"timeout is a positive number of seconds, got {self.timeout}")
        if self.executor is not None and not callable(getattr(self.executor, "submit", None)):
            raise TypeError(
                f"executor must have a submit method, got {type(self.executor).__name__}"
            )
        if self.command is not None and not shlex.split(self.command):
            raise ValueError("command is empty; leave it out for the default")

    def words(self, default: str, hint: str) -> tuple[str, ...]:
        """The command as a list of words, its program found.

        Programs beside the running Python come first, so that an environment need not be
        activated; then those on the PATH.

        Raises
        ------
        FileNotFoundError
            Where there is no such program; the message ends with the hint.
        """
        first, *others = shlex.split(self.command or default)
        here = shutil.which(first, path=str(Path(sys.executable).parent))
        program = here or shutil.which(first)
        if program is None:
            raise FileNotFoundError(f"there is no command {first!r}: {hint}")
        return os.path.abspath(program), *others

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A new folder for the files of one fit; commands in it end when it is left early."""
        with contextlib.ExitStack() as stack:
            if self.directory is None:
                temporary = tempfile.TemporaryDirectory(
                    prefix="ase-hal-fit-", ignore_cleanup_errors=True
                )
                folder = Path(stack.enter_context(temporary)).absolute()
            else:
                folder = _next_folder(Path(self.directory)).absolute()
            try:
                yield folder
            except BaseException:
                (folder / _STOP).touch()
                raise

    def run(self, words: Sequence[str], folders: Sequence[Path]) -> list[str | None]:
        """Run the command once in each folder; None, or why it failed and the end of its log."""
        jobs = [(tuple(words), str(folder), self.timeout) for folder in folders]
        return list(in_order(run_command, jobs, self.executor))


def run_command(words: Sequence[str], folder: str, timeout: float | None) -> str | None:
    """Run a command to its end in a folder; None, or what went wrong.

    Its output goes to the file `LOG`. It is killed, and all it started, after the time-out (s)
    and when a file ``stop`` appears beside the folder.
    """
    log, stop = Path(folder, LOG), Path(folder).parent / _STOP
    start = time.monotonic()
    with log.open("wb") as output:
        try:
            process = subprocess.Popen(
                words, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                stderr=subprocess.STDOUT, start_new_session=True,
                env={**os.environ, "MPLBACKEND": "Agg"},
            )  # fmt: skip
        except OSError as error:
            return f"it does not start: {error}"
        try:
            while process.poll() is None:
                if timeout is not None and time.monotonic() - start > timeout:
                    return f"it was killed after {timeout:g} s{end_of(folder)}"
                if stop.exists() or not stop.parent.exists():
                    return "it was stopped"
                time.sleep(_INTERVAL)
        finally:
            _kill(process)
    if process.returncode:
        return f"it ended with {_status(process.returncode)}{end_of(folder)}"
    return None


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _status(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"


def end_of(folder: str | Path) -> str:
    """The last lines of the log in a folder, as the end of a sentence."""
    text = Path(folder, LOG).read_text(encoding="utf-8", errors="replace")
    lines = [line.rstrip() for line in text.splitlines()]
    lines = [line for line in lines if line][-_LINES:]
    return "; the end of its log:\n" + "\n".join(lines) if lines else "; it said nothing"


def _next_folder(directory: Path) -> Path:
    number = 1
    while True:
        folder = directory / f"fit-{number}"
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            number += 1
        else:
            return folder
