"""EvolutionExplorer: evolve structures and keep the most uncertain sane one of each."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ase_hal.calculators import HALCalculator
from ase_hal.committee import Committee
from ase_hal.data.lone_atoms import with_neighbours
from ase_hal.dynamics.contour_approach import UnreachableTarget
from ase_hal.dynamics.evolution import Evolution
from ase_hal.dynamics.sanity import StructureRefused, closest_contact, refusals_named
from ase_hal.dynamics.trace import Recorder, Trace
from ase_hal.exploration import ExplorationEnded
from ase_hal.parallel import in_order
from ase_hal.prediction import Prediction
from ase_hal.structures.origin import as_start

logger = logging.getLogger(__name__)

Starts = Sequence[Atoms] | Callable[[np.random.Generator], Atoms]


@dataclass(frozen=True)
class Pick:
    """Which structures of an evolution are worth a label.

    Parameters
    ----------
    max_force : float
        Mean forces on all atoms have to be below, eV/Å (the slides: 25, later 2).
    min_distance : float
        Shortest distance, as a fraction of the sum of the two covalent radii.
    min_std : float
        Model uncertainty that a structure must exceed, eV per atom. An explorer whose
        evolutions stay below finds nothing, which ends a loop as converged.
    """

    max_force: float = 25.0
    min_distance: float = 0.6
    min_std: float = 0.0

    def __post_init__(self) -> None:
        if not (self.max_force > 0 and self.min_distance >= 0 and self.min_std >= 0):
            raise ValueError(
                "max_force is above 0, min_distance and min_std are 0 or more, got "
                f"{self.max_force}, {self.min_distance} and {self.min_std}"
            )

    def distrust(self, atoms: Atoms, prediction: Prediction) -> str | None:
        """Why a structure should not be labelled, or None."""
        forces = np.linalg.norm(prediction.forces, axis=1)
        if not np.isfinite(forces).all() or not np.isfinite(prediction.model_std):
            return "forces or sigma are not finite"
        if forces.max() >= self.max_force:
            return f"a force of {forces.max():.3g} eV/Å"
        contact = closest_contact(atoms, self.min_distance)
        if contact is not None:
            return "a distance of {:.2f} Å between atoms {} and {}".format(*contact)
        return None


@dataclass(frozen=True)
class Evolved:
    """How one evolution went.

    Attributes
    ----------
    found : Atoms or None
        The most uncertain sane structure on the way, where it is uncertain enough.
    std : float
        Its model uncertainty, eV per atom; nan where none was sane.
    steps : int
        Structures seen after the first.
    reason : str
        Why it ended before its steps were done; empty where it did not.
    final : Atoms
        Where it ended, sane or not.
    trace : Trace
        What happened along it, up to the first insane structure. The score is the model
        uncertainty in eV per atom; time counts steps, and the pressure is not known.
    """

    found: Atoms | None
    std: float
    steps: int
    reason: str
    final: Atoms
    trace: Trace


class EvolutionExplorer:
    """Evolves structures and picks the most uncertain sane one of each evolution.

    An evolution ends once it has been sane and is no longer: the maxima of sigma are atoms on
    top of each other, and whoever goes there does not come back. One that starts insane, as
    random structures do, may go on until it is not.

    Parameters
    ----------
    evolution : Evolution
        `Relaxation`, `MolecularDynamics` or `ContourWalk`, or a callable of that kind.
    starts : sequence of Atoms, or callable, optional
        What to start from: structures to draw from, or ``starts(rng) -> Atoms`` which makes
        them (see `ase_hal.structures`). By default the seeds of the dataset.
    walkers : int
        Evolutions in one exploration.
    pick : Pick
        Which structures are sane, and which uncertain.
    rattle : float
        Standard deviation of Gaussian displacements of the starts, Å. A relaxed structure has
        no forces, and nothing to follow.
    executor : concurrent.futures.Executor, optional
        Runs the walkers in parallel; what they find does not depend on it.
    on_evolved : callable, optional
        Called with each `Evolved`, in order.

    Examples
    --------
    >>> explore = EvolutionExplorer(Relaxation(alpha=1.0), pick=Pick(max_force=10), walkers=8)
    >>> for step in learn(seeds, fit, explore, reference, rng=rng): ...
    """

    def __init__(
        self,
        evolution: Evolution,
        *,
        starts: Starts | None = None,
        walkers: int = 4,
        pick: Pick | None = None,
        rattle: float = 0.02,
        executor: Executor | None = None,
        on_evolved: Callable[[Evolved], None] | None = None,
    ) -> None:
        if not callable(evolution):
            raise TypeError(f"evolution must be callable, got {type(evolution).__name__}")
        if starts is not None and not callable(starts) and not len(starts):
            raise ValueError("starts is empty: give structures, or None for those of the dataset")
        if walkers < 1 or not 0 <= rattle < np.inf:
            raise ValueError(f"walkers >= 1 and rattle >= 0, got {walkers} and {rattle}")
        self.evolution = evolution
        self.starts = starts
        self.walkers = walkers
        self.pick = pick or Pick()
        self.rattle = rattle
        self.executor = executor
        self.on_evolved = on_evolved

    def __call__(
        self, committee: Committee, *, dataset: Sequence[Atoms], rng: np.random.Generator
    ) -> list[Atoms]:
        """Evolve; what was found, in the order of the walkers.

        Raises
        ------
        ExplorationEnded
            Where no evolution came upon any sane structure: the model cannot be evaluated, or
            `Pick` forbids what it is asked for.
        """
        jobs = []
        for walker, child in enumerate(rng.spawn(self.walkers)):
            start = self._start(dataset, committee, child)
            start.info["hal_walker"] = walker
            jobs.append((committee, self.evolution, start, self.pick, child))
        found, reasons = [], []
        for evolved in in_order(evolve, jobs, self.executor):
            if np.isnan(evolved.std):
                reasons.append(evolved.reason or "not sane up to its last step")
            if evolved.reason:
                logger.info("%s ended early: %s", self.evolution.name, evolved.reason)
            if self.on_evolved is not None:
                self.on_evolved(evolved)
            if evolved.found is not None:
                found.append(evolved.found)
        if len(reasons) == self.walkers:
            logger.warning("no evolution came upon a sane structure; the first: %s", reasons[0])
            raise ExplorationEnded("broken")
        return found

    def _start(
        self, dataset: Sequence[Atoms], committee: Committee, rng: np.random.Generator
    ) -> Atoms:
        if callable(self.starts):
            start = as_start(self.starts(rng))
        else:
            pool = self.starts
            if pool is None:
                pool = [a for a in dataset if not a.info.get("hal_iteration")] or dataset
            pool = with_neighbours(pool, committee)
            start = as_start(pool[int(rng.integers(len(pool)))])
        if self.rattle > 0:
            start.set_positions(start.positions + rng.normal(0.0, self.rattle, (len(start), 3)))
        return start


def evolve(
    committee: Committee, evolution: Evolution, start: Atoms, pick: Pick, rng: np.random.Generator
) -> Evolved:
    """Run one evolution from one structure. At module level so that it can be pickled."""
    atoms = start.copy()
    # A copy of the committee has no neighbour list yet, and what was asked before plays no part.
    atoms.calc = HALCalculator(copy.copy(committee))
    found, best, steps, reason, sane = None, np.nan, -1, "", False
    recorder = Recorder()
    try:
        with refusals_named():
            for _ in evolution(atoms, rng=rng):
                steps += 1
                prediction = atoms.calc.predict(atoms)
                distrust = pick.distrust(atoms, prediction)
                if distrust is not None and sane:
                    reason = f"{distrust} (step {steps})"
                    break
                if distrust is None:
                    sane = True
                    std = prediction.model_std / len(atoms)
                    recorder.append(_row(steps, atoms, prediction))
                    if not std <= best:  # best is nan at first
                        found, best = atoms.copy(), std
                        found.info |= {"hal_scheme": evolution.name, "hal_step": steps}
    except (StructureRefused, UnreachableTarget) as error:
        reason = f"{error}"
    if found is not None:
        found.arrays.pop("momenta", None)
        found.info["hal_bias"] = evolution.bias
    if not best > pick.min_std:  # it may be nan
        found = None
    final = atoms.copy()
    return Evolved(found, float(best), max(steps, 0), reason, final, recorder.trace())


def _row(step: int, atoms: Atoms, prediction: Prediction) -> tuple[float, ...]:
    """A row of a trace."""
    return (
        step,
        step,
        atoms.get_temperature(),
        np.nan,
        atoms.calc.tau,
        prediction.energy,
        prediction.energy_std,
        prediction.model_std / len(atoms),
    )
