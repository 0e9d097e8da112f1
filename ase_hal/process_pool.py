"""A pool of processes that survives the death of one of them."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor, Future
from multiprocessing import Pipe
from typing import Any, NoReturn

import cloudpickle

from ase_hal.pool_worker import Answer

logger = logging.getLogger(__name__)

# Modules are to be found where the caller finds them, whatever is in the working directory.
_PROGRAM = (
    "import sys; path = sys.argv[3:]; sys.path[:] = path; del sys.argv[3:]; "
    "from ase_hal.pool_worker import serve; serve(int(sys.argv[1]), int(sys.argv[2]))"
)
# A calculation whose process died so many times is given up.
_MOST_DEATHS = 3
# How long to wait before it begins again, s: what has ended the process may be on its way to this
# one, too, such as the end of a batch job.
_PAUSE = 1.0
# How often to look whether a process that has not answered is alive, s.
_TICK = 1.0
# How long a process that has nothing to do may take to end, s.
_PATIENCE = 5.0


class ProcessKilled(RuntimeError):
    """The process of a calculation died again and again."""


class ProcessPool(Executor):
    """Calculates in processes where it has more than one, with one thread each.

    A calculation whose process is killed, by the kernel for want of memory or by anybody else, is
    done again in a new process, with the same arguments: generators of random numbers come out as
    if nothing had happened. The others do not notice. The processes end with the one that made
    them, however that ends; where an exception leaves the ``with`` block, at once.

    Parameters
    ----------
    processes : int
        Number of processes. With one, a call is made here, at the moment its result is asked for.

    Attributes
    ----------
    seconds : float
        Wall time of the calculation whose result was asked for last.
    """

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise ValueError(f"a pool has at least one process, got {processes}")
        self.seconds = float("nan")
        self._processes = processes
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._workers: set[_Worker] = set()
        self._guard = threading.Lock()
        self._closed = False
        self._killed = threading.Event()

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any
    ) -> Future[Any]:
        """Have a function called.

        The result raises what the function has raised, and `ProcessKilled` if its process died
        three times.
        """
        call = _Call(self, function, arguments, keywords)
        with self._guard:
            if self._closed:
                raise RuntimeError("cannot submit to a pool that was shut down")
            if self._processes == 1:
                call.is_lazy = True
                return call
            self._calls.put(call)
            if len(self._threads) < self._processes:
                thread = threading.Thread(target=self._serve, daemon=True)
                thread.start()
                self._threads.append(thread)
        return call

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes, once they have done what was submitted."""
        with self._guard:
            self._closed = True
        if cancel_futures:
            self._cancel_waiting()
        for _ in self._threads:
            self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def kill(self) -> None:
        """End the processes now, and forget what they were at."""
        with self._guard:
            self._closed = True
            self._killed.set()
            for worker in self._workers:
                worker.kill()
        self.shutdown(cancel_futures=True)

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        if kind is None:
            self.shutdown()
        else:
            self.kill()

    def _cancel_waiting(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                call = self._calls.get_nowait()
                if call is not None:
                    call.cancel()

    def _serve(self) -> None:
        """What each thread does: hand calls to a process of its own."""
        worker: _Worker | None = None
        while (call := self._calls.get()) is not None:
            if not call.set_running_or_notify_cancel():
                continue
            try:
                request = call.request()
            except Exception as error:
                call.set_exception(error)
                continue
            try:
                worker, content = self._answered(call, request, worker)
            except BaseException as error:
                worker = None
                call.set_exception(error)
            else:
                call.finish(content)
            del call, request
        if worker is not None:
            worker.end()

    def _answered(
        self, call: _Call, request: bytes, worker: _Worker | None
    ) -> tuple[_Worker, bytes]:
        """What a process answers to a request, and the process."""
        causes: list[str] = []
        while True:
            try:
                if worker is None or not worker.is_alive():
                    worker = self._new_worker()
                return worker, worker.call(request)
            except (_Died, OSError) as death:  # the latter where none can be started
                causes.append(str(death))
                worker = None
            if self._killed.wait(_PAUSE):
                raise CancelledError
            if len(causes) == _MOST_DEATHS:
                raise ProcessKilled(_given_up(call.name, causes))
            logger.warning(
                "a process was ended (%s) during a calculation (%s), which is done again",
                causes[-1],
                call.name,
            )

    def _new_worker(self) -> _Worker:
        with self._guard:
            if self._killed.is_set():
                raise CancelledError
            worker = _Worker()
            self._workers = {other for other in self._workers if other.is_alive()} | {worker}
        return worker


class _Call(Future[Any]):
    """A function to be called, here as soon as the result is asked for, or in a process."""

    def __init__(
        self,
        pool: ProcessPool,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
    ) -> None:
        super().__init__()
        self.is_lazy = False
        self.name = getattr(function, "__name__", type(function).__name__)
        self._pool = pool
        self._call: tuple[Any, ...] | None = (function, arguments, keywords)
        self._seconds = float("nan")

    def request(self) -> bytes:
        """The pickled call, which is all that is kept of it."""
        call, self._call = self._call, None
        return cloudpickle.dumps(call)

    def finish(self, content: bytes) -> None:
        """Take what a process has answered."""
        try:
            answer: Answer = pickle.loads(content)
        except Exception as error:
            self.set_exception(error)
            return
        self._seconds = answer.seconds
        if answer.error is None:
            self.set_result(answer.value)
        else:
            answer.error.__cause__ = _RemoteTraceback(answer.traceback)
            self.set_exception(answer.error)

    def result(self, timeout: float | None = None) -> Any:
        """The value, or what the function has raised."""
        if self.is_lazy and not self.done():
            self._call_here()
        value = super().result(timeout)
        self._pool.seconds = self._seconds
        return value

    def _call_here(self) -> None:
        assert self._call is not None
        function, arguments, keywords = self._call
        began = time.monotonic()
        try:
            self.set_result(function(*arguments, **keywords))
        except Exception as error:
            self.set_exception(error)
        self._call = None
        self._seconds = time.monotonic() - began


class _RemoteTraceback(Exception):
    """Traceback of a process, to be shown as the cause of an error."""

    def __str__(self) -> str:
        return f"\n{self.args[0]}"


class _Died(Exception):
    """The process of a worker is gone, for this reason."""


class _Worker:
    """A process that calculates, seen from the thread that waits for it."""

    def __init__(self) -> None:
        self._connection, theirs = Pipe()
        self._is_ready = False
        directory = os.getcwd()
        with theirs:
            number = theirs.fileno()
            self._process = subprocess.Popen(
                [
                    sys.executable, "-c", _PROGRAM, str(number), str(os.getpid()),
                    *(entry or directory for entry in sys.path),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )  # fmt: skip

    def is_alive(self) -> bool:
        """Whether the process goes on."""
        return self._process.poll() is None

    def call(self, request: bytes) -> bytes:
        """The pickled answer to a pickled call; raises _Died."""
        try:
            if not self._is_ready:
                self._receive()
                self._is_ready = True
            self._connection.send_bytes(request)
            return self._receive()
        except (EOFError, OSError):
            self._raise_death()

    def _receive(self) -> bytes:
        # Processes that were forked from the worker may hold the connection open.
        while not self._connection.poll(_TICK):
            if self._process.poll() is not None and not self._connection.poll():
                raise EOFError
        return self._connection.recv_bytes()

    def _raise_death(self) -> NoReturn:
        self._connection.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        self.kill()
        code = self._process.wait()
        raise _Died(signal.Signals(-code).name if code < 0 else f"exit status {code}")

    def kill(self) -> None:
        """End the process; for other threads, too."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def end(self) -> None:
        """Let the process end, which is waiting."""
        self._connection.close()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()


def _given_up(name: str, causes: list[str]) -> str:
    text = (
        f"the process of a calculation ({name}) ended {len(causes)} times before it was done: "
        f"{', '.join(causes)}"
    )
    if "SIGKILL" in causes:
        return (
            f"{text}. Where nobody has killed it, memory has run out, as the log of the kernel or "
            "of the batch system says: take fewer workers, or a machine or job with more memory"
        )
    return f"{text}. What it wrote to standard error may say why"
