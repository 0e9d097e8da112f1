"""Composition curves on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from ase_hal.free_energy import Sample, UmbrellaMC
from ase_hal.free_energy.branches import CurveTask, biased_tasks, unbiased_tasks
from ase_hal.free_energy.measuring import problem
from ase_hal.journal import Log
from ase_hal.parallel import in_order

FILE = "curve.jsonl"


class Curve:
    """Points of composition curves, ``curve.jsonl``; a context manager."""

    def __init__(self, directory: Path) -> None:
        self._log = Log(directory / FILE)
        self._known = {_key(record): record for record in self._log}

    def __enter__(self) -> Curve:
        return self

    def __exit__(self, *exception: object) -> None:
        self._log.close()

    def lacks(self, calculator: UmbrellaMC, n: int) -> bool:
        """Whether there is anything left to sample of n points of each branch."""
        mine = [key for key in self._known if key[0] == calculator.temperature_K]
        return len(mine) < 2 * n

    def complete(
        self, calculator: UmbrellaMC, n: int, executor: Executor, *, rng: np.random.Generator
    ) -> Iterator[dict[str, Any]]:
        """Sample what is missing of both branches, n points each; all records as they come.

        A point about which Monte Carlo has nothing to say has a record with the reason, ``failed``.
        """
        biased = []
        for record in self._sampled(calculator, biased_tasks(calculator, n), executor, rng):
            if "failed" not in record:
                biased.append(record["mu"])
            yield record
        if biased:
            tasks = unbiased_tasks(np.array(biased), n)
            yield from self._sampled(calculator, tasks, executor, rng)

    def _sampled(
        self,
        calculator: UmbrellaMC,
        tasks: Sequence[CurveTask],
        executor: Executor,
        rng: np.random.Generator,
    ) -> Iterator[dict[str, Any]]:
        keys = [(calculator.temperature_K, task.branch, task.index) for task in tasks]
        fresh = [t for t, key in zip(tasks, keys, strict=True) if key not in self._known]
        found = in_order(CurveTask.run, [(t, calculator, rng) for t in fresh], executor)
        waiting = iter(zip(fresh, found, strict=False))
        for task, key in zip(tasks, keys, strict=True):
            if key not in self._known:
                asked, sample = next(waiting)
                assert asked is task
                record = _record(task, sample)
                self._log.append(record)
                self._known[key] = record
            yield self._known[key]


def _record(task: CurveTask, sample: Sample) -> dict[str, Any]:
    asked = {
        "temperature_K": sample.ensemble.temperature_K,
        "branch": task.branch,
        "index": task.index,
        "value": task.value,
    }
    reason = problem(sample, len(sample.eta))
    if reason is not None:
        return {**asked, "failed": reason}
    return {
        **asked,
        "composition": sample.eta[0],
        "composition_error": sample.eta_error[0],
        "mu": sample.mu[0],
        "mu_error": sample.mu_error[0],
        "order": sample.order,
        "converged": sample.converged,
    }


def _key(record: dict[str, Any]) -> tuple[float, str, int]:
    return float(record["temperature_K"]), str(record["branch"]), int(record["index"])
