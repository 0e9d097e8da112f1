"""Independent calculations, here or wherever an executor runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
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
