"""HALExplorer: trajectories in stages, the explorer of hyperactive learning."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Protocol

import numpy as np
from ase import Atoms

from ase_hal.committee import Committee
from ase_hal.data.lone_atoms import with_neighbours
from ase_hal.dynamics.stage import Stage, Trajectory
from ase_hal.exploration import ExplorationEnded
from ase_hal.parallel import in_order
from ase_hal.structures.origin import as_start

__all__ = ["AnyStage", "HALExplorer", "Stage", "Trajectory", "run_trajectory"]

logger = logging.getLogger(__name__)

# A stage whose trajectories neither find anything nor stay sane ends after this many times its
# patience.
_GIVE_UP = 10


class AnyStage(Protocol):
    """What `HALExplorer` goes through: `Stage`, `EvolutionStage`, or a class of yours."""

    @property
    def name(self) -> str: ...
    @property
    def start(self) -> str: ...
    @property
    def patience(self) -> int: ...
    @property
    def max_labels(self) -> int | None: ...

    def run(
        self, committee: Committee, start: Atoms, walker: int, rng: np.random.Generator
    ) -> Trajectory:
        """One trajectory from one structure."""
        ...


class HALExplorer:
    """Runs biased trajectories until some of them find an uncertain structure.

    Parameters
    ----------
    stages : sequence of Stage or EvolutionStage
        Gone through in order; when the last one has ended nothing is found any more, and
        the loop is done.
    walkers : int
        Trajectories that run at a time; no more than the patience of the stage.
    executor : concurrent.futures.Executor, optional
        Runs the walkers in parallel; what they find does not depend on it.
    on_trajectory : callable, optional
        Called with each `Trajectory` as soon as it and those before it are done.

    Notes
    -----
    The explorer keeps no state: which stage it is in follows from the ``hal_stage`` of the
    structures in the dataset, so a resumed loop goes on where it was.
    """

    def __init__(
        self,
        stages: Sequence[AnyStage],
        *,
        walkers: int = 1,
        executor: Executor | None = None,
        on_trajectory: Callable[[Trajectory], None] | None = None,
    ) -> None:
        if not stages or walkers < 1:
            raise ValueError(f"at least one stage and one walker, got {len(stages)} and {walkers}")
        names = [stage.name for stage in stages]
        if len(set(names)) != len(names):
            raise ValueError(f"stages have different names, got {names}")
        self.stages = tuple(stages)
        self.walkers = walkers
        self.executor = executor
        self.on_trajectory = on_trajectory

    def __call__(
        self, committee: Committee, *, dataset: Sequence[Atoms], rng: np.random.Generator
    ) -> list[Atoms]:
        """Explore from the current stage on; empty when every stage has converged.

        Raises
        ------
        ExplorationEnded
            Where stages ended by ``max_labels`` instead, or a stage is given up because its
            trajectories break and leave nothing to label, or nothing the model is unsure of.
        """
        walker = 0
        capped = False
        for index in range(self._current_stage(dataset), len(self.stages)):
            stage = self.stages[index]
            wanted = None
            if stage.max_labels is not None:
                wanted = stage.max_labels - _found_in(dataset, stage.name)
                if wanted <= 0:
                    capped = True
                    continue
            starts = self.starts(index, dataset, committee)
            stable = tried = 0
            while stable < stage.patience:
                if tried >= _GIVE_UP * stage.patience or _only_broken(dataset, stage.name):
                    logger.warning("stage %r is given up: its trajectories break", stage.name)
                    raise ExplorationEnded("broken")
                jobs = [
                    (committee, stage, starts[child.integers(len(starts))], walker + i, child)
                    for i, child in enumerate(rng.spawn(min(self.walkers, stage.patience)))
                ]
                walker += len(jobs)
                found = []
                for trajectory in in_order(run_trajectory, jobs, self.executor):
                    if self.on_trajectory is not None:
                        self.on_trajectory(trajectory)
                    if trajectory.found is not None:
                        found.append(trajectory.found)
                    stable = stable + 1 if trajectory.outcome == "stable" else 0
                if found:
                    return found[:wanted]
                tried += len(jobs)
        if capped:
            raise ExplorationEnded("stages")
        return []

    def _current_stage(self, dataset: Sequence[Atoms]) -> int:
        names = [stage.name for stage in self.stages]
        reached = [names.index(s) for a in dataset if (s := a.info.get("hal_stage")) in names]
        return max(reached, default=0)

    def starts(self, index: int, dataset: Sequence[Atoms], committee: Committee) -> list[Atoms]:
        """Structures that trajectories of a stage start from; never those of lone atoms.

        Raises
        ------
        ValueError
            Where all structures are lone atoms.
        """
        dataset = with_neighbours(dataset, committee)
        seeds = [atoms for atoms in dataset if "hal_stage" not in atoms.info]
        start = self.stages[index].start
        if start == "any":
            return dataset
        if start == "previous" and index > 0:
            name = self.stages[index - 1].name
            previous = [atoms for atoms in dataset if atoms.info.get("hal_stage") == name]
            return previous or seeds
        return seeds or dataset


def _only_broken(dataset: Sequence[Atoms], stage: str) -> bool:
    """Whether one label after the other came from trajectories that broke without uncertainty.

    They do not teach the model what it lacks, or the guards forbid what is only natural.
    """
    latest = [a.info.get("hal_outcome") for a in dataset if a.info.get("hal_stage") == stage]
    return latest[-_GIVE_UP:] == ["untrustworthy"] * _GIVE_UP


def _found_in(dataset: Sequence[Atoms], stage: str) -> int:
    return sum(atoms.info.get("hal_stage") == stage for atoms in dataset)


def run_trajectory(
    committee: Committee, stage: AnyStage, start: Atoms, walker: int, rng: np.random.Generator
) -> Trajectory:
    """Run one trajectory of a stage from one structure. At module level so it can be pickled."""
    return stage.run(committee, as_start(start), walker, rng)
