"""The command line in processes that are ready at once and can be killed.

A program imports the package a single time and then forks itself for every command: most of
what a short run costs is the imports. Its children are what `ase-hal` would be, but that they
write no report, whose figures take longer than everything else together.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from label_calculators import environment, is_alive

# In the environment of all processes that come from here.
MARK = "ASE_HAL_FORKED_RUNS"
# A file with this name makes a command kill its process group while it writes something.
STRIKE = "strike"


class Command:
    """A command that runs, in a process group of its own."""

    def __init__(self, pid: int, answers: IO[str]) -> None:
        self.pid = pid
        self._answers = answers
        self._status: int | None = None

    def wait(self) -> int:
        """Exit status; negative is the signal that killed it."""
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(int(self._answers.readline()))
        return self._status

    def goes_on(self) -> bool:
        return is_alive(self.pid)

    def kill(self, *, group: bool = True) -> bool:
        """Kill it, with its process group or alone; False if it had ended."""
        with suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, signal.SIGKILL)
        return self.wait() == -signal.SIGKILL


class Forge:
    """Starts commands, one at a time."""

    def __init__(
        self, program: subprocess.Popen[str], folder: Path, variables: dict[str, str]
    ) -> None:
        self.program = program
        self.folder = folder
        self.variables = variables

    @property
    def scratch(self) -> Path:
        """Where labels have their private folders."""
        return Path(self.variables["TMPDIR"])

    @property
    def output(self) -> str:
        """What the commands have written so far."""
        return (self.folder / "output").read_text()

    def start(self, *arguments: object) -> Command:
        """Start ``ase-hal`` with these arguments."""
        assert self.program.stdin is not None
        assert self.program.stdout is not None
        self.program.stdin.write(json.dumps([str(argument) for argument in arguments]) + "\n")
        self.program.stdin.flush()
        return Command(int(self.program.stdout.readline()), self.program.stdout)

    @contextmanager
    def striking(self) -> Iterator[None]:
        """Have the command kill its process group in the midst of the next thing it writes."""
        file = self.folder / STRIKE
        file.touch()
        try:
            yield
        finally:
            file.unlink()

    def descendants(self) -> set[int]:
        """All processes of the commands, also those that have left their group and parent."""
        found, mark = set(), f"{MARK}={self.variables[MARK]}".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                variables = (folder / "environ").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark in variables:
                found.add(int(folder.name))
        return found - {self.program.pid}

    def await_silence(self, patience: float = 30.0) -> None:
        """Wait until no process of a command is left."""
        stop = time.monotonic() + patience
        while left := self.descendants():
            commands = [Path(f"/proc/{pid}/cmdline") for pid in left]
            assert time.monotonic() < stop, [c.read_bytes() for c in commands if c.exists()]
            time.sleep(0.05)


@contextmanager
def forge(folder: Path) -> Iterator[Forge]:
    """Where commands are started: in `folder`, and their output goes to ``output`` there."""
    (folder / "scratch").mkdir(exist_ok=True)
    variables = {
        **environment(),
        MARK: f"{os.getpid()}-{folder}",
        "TMPDIR": str(folder / "scratch"),
        "OMP_NUM_THREADS": "1",
    }
    with (folder / "output").open("w") as output:
        program = subprocess.Popen(
            [sys.executable, "-c", "from forked_runs import serve; serve()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True,
            cwd=folder, env=variables, start_new_session=True,
        )  # fmt: skip
        try:
            yield Forge(program, folder, variables)
        finally:
            program.communicate(timeout=60)


def serve() -> None:
    """Fork a command for every line of standard input; answer its number and its status."""
    from datasets_emt import al_cu_basis, al_cu_dataset

    import ase_hal.display
    import ase_hal.run
    from ase_hal import LinearFit
    from ase_hal.cli import app

    ase_hal.run.write_report = _no_report
    # Compiled functions are read from their files now, once for all commands.
    committee = LinearFit(al_cu_basis())(al_cu_dataset()[:2], rng=np.random.default_rng(1))
    committee.predict(al_cu_dataset()[0], members=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            _become(app, json.loads(line))
        os.setpgid(pid, pid)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(status, flush=True)


def _no_report(directory: str | Path) -> Path:
    return Path(directory)


def _struck(fsync: Callable[[int], None], strike: Path) -> Callable[[int], None]:
    """Everything that is written is synchronised before it takes effect."""

    def struck(descriptor: int) -> None:
        if strike.exists():
            os.killpg(os.getpgrp(), signal.SIGKILL)
        fsync(descriptor)

    return struck


def _become(app: Any, arguments: list[str]) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        os.dup2(2, 1)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.fsync = _struck(os.fsync, Path.cwd() / STRIKE)
        sys.argv = ["ase-hal", *arguments]
        app()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
