"""Independent calculations, here or wherever an executor runs them, and one thread for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
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


def import_torch() -> Any:
    """torch, which is slow to import, or an ImportError that names the extra."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "networks are trained with torch: pip install 'ase-hal[torch]'"
        ) from error
    return torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Keep torch to one thread: its matrices here are small, and sums do not depend on the machine.

    Limits that were set before torch was imported do not reach it.
    """
    torch = import_torch()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
