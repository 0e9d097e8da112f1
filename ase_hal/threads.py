"""What makes objects that threads share give each of them the same."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, Protocol, TypeVar, overload

from ase_hal.parallel import in_order

T = TypeVar("T")


class threadsafe_cached_property(Generic[T]):
    """A `functools.cached_property` whose value is one and the same object for all threads.

    Two threads that ask first may both work it out, as with that of Python 3.12 and later, but
    both are then given the value of one of them.
    """

    def __init__(self, function: Callable[[Any], T]) -> None:
        self.function = function
        self.__doc__ = function.__doc__

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> threadsafe_cached_property[T]: ...
    @overload
    def __get__(self, instance: object, owner: type) -> T: ...
    def __get__(self, instance: object | None, owner: type) -> T | threadsafe_cached_property[T]:
        if instance is None:
            return self
        value: T = instance.__dict__.setdefault(self.name, self.function(instance))
        return value


def with_help(
    function: Callable[..., T], jobs: Sequence[tuple[Any, ...]], executor: Executor | None
) -> list[T]:
    """Results of ``function(*job)``, in the order of the jobs; the caller works, too.

    What no thread of a `ThreadPoolExecutor` has begun is done by the caller. It may therefore be
    one of these threads itself, and all of them may be callers: none waits for another that waits.
    """
    if not isinstance(executor, ThreadPoolExecutor):
        return list(in_order(function, jobs, executor))
    futures = [executor.submit(function, *job) for job in jobs]
    for i in reversed(range(len(jobs))):  # the pool begins with the first
        if futures[i].cancel():
            futures[i] = _done(function, jobs[i])
    return [future.result() for future in futures]


def _done(function: Callable[..., T], job: tuple[Any, ...]) -> Future[T]:
    future: Future[T] = Future()
    try:
        future.set_result(function(*job))
    except Exception as error:
        future.set_exception(error)
    return future


class Lock(Protocol):
    """One of those of `threading`."""

    def acquire(self, blocking: bool = True) -> bool: ...
    def release(self) -> None: ...


@contextmanager
def all_held(locks: Sequence[Lock]) -> Iterator[None]:
    """Hold several locks at once, whatever order others take some of them in."""
    first = 0
    while True:
        with ExitStack() as stack:
            locks[first].acquire()
            stack.callback(locks[first].release)
            for i, lock in enumerate(locks):
                if i == first:
                    continue
                if not lock.acquire(blocking=False):
                    first = i  # wait for it with none of the others in hand
                    break
                stack.callback(lock.release)
            else:
                yield
                return


class ProcessWideLimit:
    """A limit of the whole process that holds as long as one of its users is there.

    Whoever comes first sets it, whoever leaves last puts back what was before: a user that leaves
    while others are there would otherwise take the limit from them, or leave it behind.

    Parameters
    ----------
    impose : callable
        Sets the limit, and returns a callable that undoes it.
    """

    def __init__(self, impose: Callable[[], Callable[[], object]]) -> None:
        self._impose = impose
        self._lock = threading.Lock()
        self._users = 0
        self._undo: Callable[[], object] | None = None

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Be one of the users."""
        with self._lock:
            if not self._users:
                self._undo = self._impose()
            self._users += 1
        try:
            yield
        finally:
            with self._lock:
                self._users -= 1
                if not self._users and self._undo is not None:
                    self._undo()
                    self._undo = None
