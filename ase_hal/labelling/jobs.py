"""Outcomes of labels in their order, wherever they are calculated."""

from __future__ import annotations

import logging
import threading
import uuid
from collections import defaultdict
from collections.abc import Generator
from concurrent.futures import Executor, Future
from dataclasses import replace

from ase_hal.label_child import Job, Outcome
from ase_hal.label_process import LabelProcess
from ase_hal.labelling.derivatives import MOST_CALCULATIONS

logger = logging.getLogger(__name__)

# Servers at work for each call of label() that may have to be cancelled.
_at_work: defaultdict[str, set[LabelProcess]] = defaultdict(set)
_cancelled: set[str] = set()
_guard = threading.Lock()


def _calculate(job: Job, call: str) -> Outcome:
    """Calculate one label here, in whatever thread or process of an executor that is."""
    server = LabelProcess.of_this_thread()
    with _guard:
        if call in _cancelled:
            return Outcome(None, "cancelled")
        _at_work[call].add(server)
    try:
        return server.run(job)
    finally:
        with _guard:
            _at_work[call].discard(server)
            if not _at_work[call]:
                del _at_work[call]


def first_checked(jobs: list[Job], executor: Executor | None) -> Generator[Outcome, None, None]:
    """Calculate labels, but none beside the first whose forces can be compared with the energy."""
    succeeded = False
    for number, job in enumerate(jobs, start=1):
        (outcome,) = calculated([_checking(job)], executor)
        yield outcome
        succeeded = succeeded or outcome.results is not None
        if outcome.inconsistent:
            reason = f"not calculated, since of another structure {outcome.reason}"
            yield from (Outcome(None, reason) for _ in jobs[number:])
            return
        if outcome.verified:
            yield from calculated(jobs[number:], executor)
            return
    if succeeded:
        logger.warning("no structure has forces that could be compared with its energy")


def _checking(job: Job) -> Job:
    timeout = None if job.timeout is None else job.timeout * (1 + MOST_CALCULATIONS)
    return replace(job, check_forces=True, timeout=timeout)


def calculated(jobs: list[Job], executor: Executor | None) -> Generator[Outcome, None, None]:
    """Calculate labels here one after another, or where an executor does; outcomes in order."""
    if executor is not None:
        yield from _in_parallel(jobs, executor)
    else:
        for job in jobs:
            yield _calculate(job, "")


def _in_parallel(jobs: list[Job], executor: Executor) -> Generator[Outcome, None, None]:
    call = uuid.uuid4().hex
    futures: list[Future[Outcome]] = []
    try:
        futures += [executor.submit(_calculate, job, call) for job in jobs]
        for future in futures:
            yield future.result()
    except BaseException:
        _cancel(call, futures)
        raise


def _cancel(call: str, futures: list[Future[Outcome]]) -> None:
    """Nobody waits any more: start no further labels, and kill those of this process."""
    for future in futures:
        future.cancel()
    with _guard:
        _cancelled.add(call)
        servers = list(_at_work[call])
    for server in servers:
        server.cancel()
