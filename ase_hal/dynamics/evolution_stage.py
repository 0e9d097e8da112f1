"""EvolutionStage: relaxations, contour walks and dynamics as a stage of an exploration."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from ase_hal.committee import Committee
from ase_hal.dynamics.evolution import Evolution
from ase_hal.dynamics.evolution_explorer import Pick, evolve
from ase_hal.dynamics.stage import Trajectory


@dataclass(frozen=True)
class EvolutionStage:
    """A part of an exploration that evolves structures, see `EvolutionExplorer`.

    Each trajectory runs its full length, or until it is no longer sane, and hands over its most
    uncertain sane structure.

    Attributes
    ----------
    name : str
        Recorded in the structures found.
    evolution : Evolution
        `Relaxation`, `MolecularDynamics` or `ContourWalk`.
    pick : Pick
        What is sane, and how uncertain a structure has to be. With ``min_std`` = 0 every
        trajectory finds something, and only `max_labels` ends the stage.
    rattle : float
        Standard deviation of Gaussian displacements of the starts, Å.
    start, patience, max_labels
        As for `Stage`.
    """

    name: str
    evolution: Evolution
    pick: Pick = field(default_factory=Pick)
    rattle: float = 0.02
    start: str = "seeds"
    patience: int = 3
    max_labels: int | None = None

    def __post_init__(self) -> None:
        if self.start not in ("seeds", "previous", "any"):
            raise ValueError(f"start is 'seeds', 'previous' or 'any', got {self.start!r}")
        if self.patience < 1 or not 0 <= self.rattle < np.inf:
            raise ValueError(
                f"patience >= 1 and rattle >= 0, got {self.patience} and {self.rattle}"
            )

    def run(
        self, committee: Committee, start: Atoms, walker: int, rng: np.random.Generator
    ) -> Trajectory:
        """One evolution from a structure."""
        atoms = start.copy()
        if self.rattle > 0:
            shifts = rng.normal(0.0, self.rattle, (len(atoms), 3))
            atoms.set_positions(atoms.positions + shifts)
        evolved = evolve(committee, self.evolution, atoms, self.pick, rng)
        outcome = "untrustworthy" if evolved.reason else "stable"
        reason = evolved.reason
        if evolved.found is not None:
            outcome = "uncertain"
            reason = f"sigma was {1000 * evolved.std:.3g} meV/atom. {reason}".strip()
            evolved.found.info |= {
                "hal_stage": self.name, "hal_walker": walker, "hal_outcome": outcome
            }  # fmt: skip
        return Trajectory(
            self.name, walker, outcome, reason, evolved.steps, evolved.found, evolved.final,
            evolved.trace, {},
        )  # fmt: skip
