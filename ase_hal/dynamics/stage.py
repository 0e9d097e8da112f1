"""Stage: the conditions of biased trajectories, and how one of them is run."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.velocitydistribution import thermalize_momenta

from ase_hal.calculators.hal import HALCalculator
from ase_hal.committee import Committee
from ase_hal.dynamics.barostat import Barostat
from ase_hal.dynamics.langevin import HALLangevin
from ase_hal.dynamics.ramp import Ramp, value_at
from ase_hal.dynamics.tau import AdaptiveTau
from ase_hal.dynamics.trace import Trace
from ase_hal.dynamics.trigger import Trigger
from ase_hal.prediction import Array


@dataclass(frozen=True)
class Stage:
    """The conditions of one part of the exploration, such as "solid" or "liquid".

    Attributes
    ----------
    name : str
        Recorded in the structures found.
    temperature_K : float or Ramp
        Temperature of the thermostat, K.
    steps : int
        Length of one trajectory.
    timestep : float
        In ASE's unit of time (``1 * units.fs``).
    friction : float
        Of the Langevin thermostat, per ASE unit of time.
    tau : AdaptiveTau or float
        Biasing; ``AdaptiveTau(0.0)`` is plain active learning.
    trigger : Trigger
        When a structure is uncertain, and when a trajectory is not to be trusted.
    barostat : Barostat, optional
        Pressure control.
    moves : tuple
        Monte Carlo moves, such as `SwapMC` and `CellMC`.
    start : {"seeds", "previous", "any"}
        Trajectories start from the seeds, from what the stage before found, or from any
        structure of the dataset.
    patience : int
        The stage ends when this many trajectories in a row reached their full length without
        triggering.
    max_labels : int, optional
        The stage also ends once the dataset holds this many structures found in it.
    """

    name: str
    temperature_K: float | Ramp
    steps: int = 5000
    timestep: float = 1.0 * units.fs
    friction: float = 0.01 / units.fs
    tau: AdaptiveTau | float = field(default_factory=lambda: AdaptiveTau(0.1))
    trigger: Trigger = field(default_factory=lambda: Trigger("softmax", 0.5))
    barostat: Barostat | None = None
    moves: tuple[Any, ...] = ()
    start: str = "seeds"
    patience: int = 3
    max_labels: int | None = None

    def __post_init__(self) -> None:
        if self.start not in ("seeds", "previous", "any"):
            raise ValueError(f"start is 'seeds', 'previous' or 'any', got {self.start!r}")
        if self.steps < 1 or self.patience < 1 or not self.timestep > 0:
            raise ValueError(
                "steps, patience and timestep are positive, got "
                f"{self.steps}, {self.patience} and {self.timestep}"
            )

    def run(
        self, committee: Committee, start: Atoms, walker: int, rng: np.random.Generator
    ) -> Trajectory:
        """One biased trajectory from a structure, which moves."""
        return _run_dynamics(committee, self, start, walker, rng)


@dataclass(frozen=True)
class Trajectory:
    """How one biased trajectory went.

    Attributes
    ----------
    stage : str
        Name of its stage.
    walker : int
        Counts the trajectories of one iteration from 0.
    outcome : str
        ``"uncertain"``, ``"stable"`` or ``"untrustworthy"``.
    reason : str
        In words.
    steps : int
        Steps it ran.
    found : Atoms or None
        What to ask the reference about; None for a stable trajectory.
    final : Atoms
        Where it ended, sane or not.
    trace : Trace
        Temperature, pressure, tau, sigma and score along it.
    acceptance : dict
        Accepted fraction of each kind of Monte Carlo move.
    """

    stage: str
    walker: int
    outcome: str
    reason: str
    steps: int
    found: Atoms | None
    final: Atoms
    trace: Trace
    acceptance: dict[str, float]


class _Recent:
    """The steps since the last judgement, to look back at when a trajectory breaks.

    A poor model can tear a structure apart within one interval of the trigger. What should be
    labelled then is not the wreck but the structure at which the model began to be uncertain.
    """

    def __init__(self, dyn: HALLangevin, trigger: Trigger) -> None:
        self.dyn = dyn
        self.trigger = trigger
        self.frames: deque[tuple[int, Array, Array, Array]] = deque(maxlen=trigger.interval)

    def __call__(self) -> None:
        atoms = self.dyn.atoms
        self.frames.append(
            (
                self.dyn.nsteps,
                atoms.positions.copy(),
                atoms.cell.array.copy(),
                atoms.get_momenta(),
            )
        )

    def first_uncertain(self, committee: Committee) -> Atoms | None:
        """The first one above the tolerance, or else the last one that passes the guards.

        Its ``hal_outcome`` tells which: "uncertain" or "untrustworthy".
        """
        last = None
        for step, positions, cell, momenta in self.frames:
            atoms = self.dyn.atoms.copy()
            atoms.set_cell(cell)
            atoms.positions = positions
            atoms.set_momenta(momenta, apply_constraint=False)
            if not np.isfinite(positions).all():
                break
            if self.dyn.distrust(atoms, atoms.get_temperature()) is not None:
                break
            score = self.trigger.score(committee.predict(atoms, members=True))
            if not np.isfinite(score):
                break
            last = atoms
            uncertain = score > self.trigger.tolerance
            last.info["hal_step"] = step
            last.info["hal_outcome"] = "uncertain" if uncertain else "untrustworthy"
            if uncertain:
                break
        return last


def _run_dynamics(
    committee: Committee, stage: Stage, atoms: Atoms, walker: int, rng: np.random.Generator
) -> Trajectory:
    # A copy has no neighbour list yet: the trajectory then does not depend, not even in the
    # last digit, on what else the committee was asked before.
    atoms.calc = HALCalculator(copy.copy(committee))
    dyn = HALLangevin(
        atoms,
        stage.timestep,
        temperature_K=stage.temperature_K,
        friction=stage.friction,
        tau=stage.tau,
        trigger=stage.trigger,
        barostat=stage.barostat,
        moves=stage.moves,
        rng=rng,
    )
    thermalize_momenta(atoms, temperature_K=value_at(stage.temperature_K, 0), rng=rng)
    recent = _Recent(dyn, stage.trigger)
    dyn.attach(recent)
    dyn.run(stage.steps)
    outcome = dyn.outcome or "untrustworthy"
    found = None
    if outcome == "uncertain":
        found = atoms.copy()
    elif outcome == "untrustworthy":
        found = recent.first_uncertain(atoms.calc.committee) or dyn.last_sane
    if found is not None:
        found.info |= {
            "hal_stage": stage.name,
            "hal_walker": walker,
            "hal_step": int(found.info.get("hal_step", dyn.nsteps)),
            "hal_outcome": found.info.get("hal_outcome", outcome),
        }
    acceptance = {type(count.move).__name__: count.rate for count in dyn.move_counts}
    return Trajectory(
        stage.name, walker, outcome, dyn.reason, dyn.nsteps, found, atoms.copy(), dyn.trace,
        acceptance,
    )  # fmt: skip
