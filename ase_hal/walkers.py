"""Where trajectories and members are calculated, and how long each of them takes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from loky import ProcessPoolExecutor

# How often a process looks whether the run that it works for is still there, s.
_TICK = 1.0


class Walkers(Executor):
    """Calculates trajectories, or anything else, in processes where it has more than one.

    The processes end with the one that made them, however that ends.

    Parameters
    ----------
    processes : int
        With one, a trajectory is calculated here, at the moment its result is asked for.

    Attributes
    ----------
    seconds : float
        Wall time of the calculation whose result was asked for last.
    """

    def __init__(self, processes: int) -> None:
        self.seconds = float("nan")
        self._pool: Executor | None = None
        if processes > 1:
            self._pool = ProcessPoolExecutor(
                processes,
                initializer=_end_with,
                initargs=(os.getpid(),),
                env={"OMP_NUM_THREADS": "1"},
            )

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **keywords: Any
    ) -> Future[Any]:
        """Have a function called."""
        call = partial(_timed, function, *arguments, **keywords)
        return _Timed(self, call if self._pool is None else self._pool.submit(call).result)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait)


class _Timed(Future[Any]):
    """What is still to be calculated or waited for."""

    def __init__(self, walkers: Walkers, finish: Callable[[], tuple[Any, float]]) -> None:
        super().__init__()
        self._walkers = walkers
        self._finish = finish

    def result(self, timeout: float | None = None) -> Any:
        value, self._walkers.seconds = self._finish()
        return value


def _timed(function: Callable[..., Any], *arguments: Any, **keywords: Any) -> tuple[Any, float]:
    began = time.monotonic()
    value = function(*arguments, **keywords)
    return value, time.monotonic() - began


def _end_with(parent: int) -> None:
    """Have this process end as soon as its parent has."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_TICK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
