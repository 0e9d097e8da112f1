"""The caller's side of the label server: start it, hand it jobs, and end it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import weakref
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from ase_hal.label_child import Job, Outcome, Surroundings

# The server's first act is to find modules where the caller does, whatever is in its folder.
_PROGRAM = (
    "import sys; path = sys.argv[3:]; sys.path[:] = path; del sys.argv[3:]; "
    "from ase_hal.label_server import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)
# How long after a time-out the server may be silent before it is taken for hung, seconds.
_PATIENCE = 60.0
_SHUTDOWN_PATIENCE = 15.0
# How long a label that failed waits before it says so, seconds, or this share of its own time.
# What has ended its processes may be on its way to the caller, too: the end of a batch job sends
# a signal to all of them, one after another. The caller then asks for the label again another day,
# and it must not be known as one that fails.
_PAUSE = 0.5
_SHARE = 0.05

_of_thread = threading.local()


class LabelProcess:
    """A label server of the thread that starts it, ready for one job after another."""

    def __init__(self) -> None:
        self._owner = os.getpid()
        self._connection, theirs = Pipe()
        self._sent = b""
        self._ready = False
        self._cancelled = threading.Event()
        path = Surroundings.of_this_process().path
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, str(number), str(self._owner), *path],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[number],
                start_new_session=True,  # Ctrl-C is for the caller, who decides.
            )
        self._end = weakref.finalize(self, _end, self._owner, self._process, self._connection)

    @classmethod
    def of_this_thread(cls) -> LabelProcess:
        """Return the server of the calling thread; start one if it has none that is alive."""
        server: LabelProcess | None = getattr(_of_thread, "server", None)
        if server is None or not server._is_usable():
            server = _of_thread.server = cls()
        return server

    def _is_usable(self) -> bool:
        # A forked process inherits the object, but the server answers somebody else.
        return self._owner == os.getpid() and self._end.alive and self._process.poll() is None

    def run(self, job: Job) -> Outcome:
        """Calculate one label; whatever happens to it is an Outcome.

        Raises
        ------
        RuntimeError
            If the server cannot be started.
        """
        outcome = self._run(job)
        if outcome.results is None:
            killed = self._process.returncode is not None or outcome.reason.startswith("killed by")
            self._cancelled.wait(_PAUSE if killed else min(_PAUSE, _SHARE * outcome.seconds))
        return outcome

    def _run(self, job: Job) -> Outcome:
        child = None
        try:
            self._await_start()
            new = job.calculator != self._sent
            message = job if new else replace(job, calculator=b"")
            self._connection.send((message, Surroundings.of_this_process()))
            self._sent = job.calculator
            child = self._connection.recv()
            patience = None if job.timeout is None else job.timeout + _PATIENCE
            if not self._connection.poll(patience):
                self._process.kill()
            outcome: Outcome = self._connection.recv()
        except (EOFError, ConnectionError):
            self._end()
            if child is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child, signal.SIGKILL)
            return Outcome(None, f"the label server ended ({_exit_status(self._process)})")
        except BaseException:
            self._end()
            raise
        return outcome

    def cancel(self) -> None:
        """End the server and the label it is at; for other threads than its own."""
        self._cancelled.set()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()

    def _await_start(self) -> None:
        if self._ready:
            return
        try:
            self._connection.recv()
        except (EOFError, ConnectionError):
            raise RuntimeError(
                f"cannot start a process for labels: {sys.executable} ended "
                f"({_exit_status(self._process)}); its standard error says why"
            ) from None
        self._ready = True


def _end(owner: int, process: subprocess.Popen[bytes], connection: Connection) -> None:
    connection.close()
    if os.getpid() != owner:
        return
    try:
        process.wait(_SHUTDOWN_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _exit_status(process: subprocess.Popen[bytes]) -> str:
    code = process.wait()
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
