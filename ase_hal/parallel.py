"""Independent calculations, here or wherever an executor runs them, and one thread for each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, Executor, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


def in_order(
    function: Callable[..., T], jobs: Sequence[tuple[Any, ...]], executor: Executor | None
) -> Iterator[T]:
    """Results of ``function(*job)``, in the order of the jobs.

    Without an executor each is calculated when it is asked for; with one all are handed over
    before the first result is waited for.
    """
    if executor is None:
        yield from (function(*job) for job in jobs)
        return
    futures = [executor.submit(function, *job) for job in jobs]
    yield from (future.result() for future in futures)


_of_thread = threading.local()


class CancellableThreads(ThreadPoolExecutor):
    """Threads whose work ends early, where it asks `check_cancelled`, once it is not wanted.

    Parameters
    ----------
    n_threads : int
    """

    def __init__(self, n_threads: int) -> None:
        self._cancelled = threading.Event()
        super().__init__(n_threads, initializer=_remember, initargs=(self._cancelled,))

    def cancel(self) -> None:
        """Start nothing more, and have the threads end as soon as they ask."""
        self._cancelled.set()
        self.shutdown(wait=False, cancel_futures=True)

    def __exit__(self, kind: type[BaseException] | None, *exception: Any) -> None:
        if kind is not None:
            self.cancel()
        self.shutdown()


def _remember(cancelled: threading.Event) -> None:
    _of_thread.cancelled = cancelled


def check_cancelled() -> None:
    """Raise CancelledError if this is a thread of `CancellableThreads` that were cancelled."""
    cancelled = getattr(_of_thread, "cancelled", None)
    if cancelled is not None and cancelled.is_set():
        raise CancelledError("the work of this thread is not wanted any more")


def import_torch() -> Any:
    """torch, which is slow to import, or an ImportError that names the extra."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "networks are trained with torch: pip install 'ase-hal[torch]'"
        ) from error
    return torch


class _TorchThreads:
    """Who keeps torch to one thread at the moment, and how many threads it had before."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.before = 1
        self.of_thread = threading.local()


_torch_threads = _TorchThreads()


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch to one thread: its matrices here are small, and sums do not depend on the machine.

    Limits that were set before torch was imported do not reach it.
    """
    torch, state = import_torch(), _torch_threads
    if getattr(state.of_thread, "inside", False):
        yield
        return
    with state.lock:
        # Every thread has a number of its own, which it takes from whoever set one last. A new
        # thread may have taken the limit that another one of us has set for the moment.
        own = torch.get_num_threads()
        if not state.users:
            state.before = own
        elif own == 1:
            own = state.before
        state.users += 1
        torch.set_num_threads(1)
    state.of_thread.inside = True
    try:
        yield
    finally:
        state.of_thread.inside = False
        with state.lock:
            state.users -= 1
            torch.set_num_threads(own)
