"""A small process that forks one child per label, watches it, and kills it when it must.

It is started as a program of its own (:mod:`ase_hal.label_process`), so that a label needs
neither a guarded ``__main__`` nor a fork of a big process full of threads, and it ends with the
process that started it.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import FrameType

from ase_hal.label_child import Job, Outcome, Surroundings, calculate_and_exit

# How often to look whether the parent is alive where nothing else would tell.
_TICK = 0.5
# How long children may take to end after SIGTERM (mpirun and srun stop their ranks then), and
# how long to wait for the kernel to end them after SIGKILL, seconds.
_GRACE = 2.0
_KILL_PATIENCE = 10.0
_TAIL_BYTES = 8000
_TAIL_LINES = 40
# What the end of a batch job or of a terminal sends, and the children get as well.
_ENDING = [
    getattr(signal, name)
    for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXCPU")
    if hasattr(signal, name)
]
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def serve(descriptor: int, parent: int) -> None:
    """Answer jobs from a connection until its other end is closed.

    Parameters
    ----------
    descriptor : int
        File descriptor of the connection. Each job is answered by the process id of its child,
        then by its Outcome.
    parent : int
        Process to live no longer than.
    """
    for number in _ENDING:
        signal.signal(number, _exit)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # calculators print what they like
            stream.reconfigure(errors="backslashreplace")
    # SIGTERM and not SIGKILL: there are children to take along.
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Descendants whose own parent is gone become children of this process instead of init's.
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    # numpy's BLAS keeps threads; it handles forks.
    warnings.filterwarnings("ignore", message=".*multi-threaded, use of fork", append=True)
    control = Connection(descriptor)
    control.send("ready")
    calculator = b""
    while os.getppid() == parent and not _told_to_end:
        if not control.poll(_TICK):
            continue
        try:
            job, surroundings = control.recv()
        except EOFError:
            return
        if job.calculator:
            calculator = job.calculator
            _import(job.modules, surroundings.path)
        control.send(_label(replace(job, calculator=calculator), surroundings, control, parent))


# The exception alone might be lost: code that is just being imported may catch everything, and
# what a weak reference calls when its object goes cannot raise.
_told_to_end = False


def _exit(number: int, frame: FrameType | None) -> None:
    global _told_to_end
    if not _told_to_end:  # a second signal would interrupt the end
        _told_to_end = True
        sys.exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _import(modules: tuple[str, ...], path: list[str]) -> None:
    """Import what the labels will need, once for all of them."""
    sys.path[:] = path
    for name in modules:
        # Where it matters, the label itself fails with the same error and reports it.
        with contextlib.suppress(Exception):
            importlib.import_module(name)
    # Collections in the children would copy every page of memory they share with this process.
    gc.collect()
    gc.freeze()


def _label(job: Job, surroundings: Surroundings, control: Connection, parent: int) -> Outcome:
    start = time.monotonic()
    with _scratch_folder(surroundings.scratch) as folder:
        receiver, sender = Pipe(duplex=False)
        output, output_end = os.pipe()
        server = os.getpid()
        family = None
        try:
            with _signals_waiting():
                pid = os.fork()
                if pid == 0:
                    try:
                        control.close()
                        _become_child(server, output_end)
                        calculate_and_exit(job, surroundings, folder, sender)
                    finally:
                        os._exit(1)  # Never back into the server's loop.
                family = _Family(pid)
            sender.close()
            os.close(output_end)
            control.send(pid)
            outcome = _watch(family, receiver, _Tail(output), control, parent, job.timeout)
        finally:
            if family is not None:
                family.end()
            receiver.close()
            os.close(output)
    return replace(outcome, seconds=time.monotonic() - start)


@contextlib.contextmanager
def _scratch_folder(parent: str) -> Iterator[str]:
    folder = None
    try:
        with _signals_waiting():
            folder = tempfile.mkdtemp(prefix="ase-hal-label-", dir=parent)
        yield folder
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _signals_waiting() -> Iterator[None]:
    """Have signals wait; what they raise would be lost in the functions that a fork calls."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _become_child(server: int, output: int) -> None:
    os.setpgid(0, 0)
    for number in _ENDING:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != server:
        os._exit(1)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _watch(
    family: _Family,
    receiver: Connection,
    tail: _Tail,
    control: Connection,
    parent: int,
    timeout: float | None,
) -> Outcome:
    """Wait for the outcome of a child, its death, the time-out, or the end of the parent."""
    deadline = None if timeout is None else time.monotonic() + timeout
    watched: list[Connection | int] = [receiver, tail.descriptor, control]
    while True:
        patience = _TICK if deadline is None else min(_TICK, deadline - time.monotonic())
        if patience <= 0:
            family.end()
            return Outcome(None, f"timed out after {timeout:g} s", tail.text())
        ready = wait(watched, patience)
        # The only news from there while a label runs is that nobody waits for it.
        if control in ready or os.getppid() != parent or _told_to_end:
            sys.exit(1)
        if tail.descriptor in ready and not tail.read():
            watched.remove(tail.descriptor)
        if receiver in ready:
            try:
                outcome: Outcome = receiver.recv()
            except EOFError:
                break
            family.wait_for_child()
            return _with_output(outcome, tail) if outcome.results is None else outcome
        # A process that the child forked may hold the connection open.
        if family.child_has_exited() and not receiver.poll():
            break
    family.end(grace=0.2)
    return Outcome(None, family.cause_of_death(), tail.text())


def _with_output(outcome: Outcome, tail: _Tail) -> Outcome:
    return replace(outcome, details="\n".join(filter(None, [outcome.details, tail.text()])))


class _Tail:
    """The last lines of what a child printed."""

    def __init__(self, descriptor: int):
        os.set_blocking(descriptor, False)
        self.descriptor = descriptor
        self._content = b""

    def read(self) -> bool:
        """Take in what there is; False once there will be no more."""
        try:
            new = os.read(self.descriptor, 1 << 16)
        except BlockingIOError:
            return True
        self._content = (self._content + new)[-_TAIL_BYTES:]
        return bool(new)

    def text(self) -> str:
        deadline = time.monotonic() + 0.1
        while wait([self.descriptor], 0) and self.read() and time.monotonic() < deadline:
            pass
        lines = self._content.decode(errors="replace").splitlines()[-_TAIL_LINES:]
        return "\n".join(["--- end of the output:", *lines]) if lines else ""


class _Family:
    """The child that calculates a label and every process that it started.

    They share a process group. Those that left it are found, on Linux, as soon as their parents
    are gone and they become children of this process, which has no others.
    """

    def __init__(self, child: int):
        self.child = child
        self.exit_code: int | None = None
        # Both sides do this: whoever comes first, the group exists from here on.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(child, child)

    def child_has_exited(self) -> bool:
        self._reap()
        return self.exit_code is not None

    def wait_for_child(self, patience: float = _GRACE) -> None:
        """Let the child end by itself, which takes it no longer than its exit handlers do."""
        stop = time.monotonic() + patience
        while not self.child_has_exited() and time.monotonic() < stop:
            time.sleep(0.001)

    def end(self, grace: float = _GRACE) -> None:
        """End them all: SIGTERM, and SIGKILL for who is left after the time of grace (s)."""
        stop = time.monotonic() + grace
        self._signal(signal.SIGTERM if sys.platform == "linux" else signal.SIGKILL)
        while not self._reap() and time.monotonic() < stop:
            time.sleep(0.002)
        stop += _KILL_PATIENCE
        while not self._reap() and time.monotonic() < stop:
            self._signal(signal.SIGKILL)
            time.sleep(0.002)

    def cause_of_death(self) -> str:
        if self.exit_code is None:
            return "the process of the label hung"
        if self.exit_code >= 0:
            return f"the process ended with exit status {self.exit_code} and no result"
        return f"killed by {signal.Signals(-self.exit_code).name}"

    def _reap(self) -> bool:
        """Collect who has ended; True if nobody is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return True
            if pid == 0:
                return False
            if pid == self.child:
                self.exit_code = os.waitstatus_to_exitcode(status)

    def _signal(self, number: int) -> None:
        # Once the child is reaped its number may be a stranger's, and its group is found below.
        if self.exit_code is None or sys.platform != "linux":
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.child, number)
        for pid in _own_children():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)


def _own_children() -> list[int]:
    lists = Path("/proc/self/task").glob("*/children")
    return [int(pid) for file in lists for pid in file.read_text(encoding="ascii").split()]
