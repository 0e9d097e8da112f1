"""What all moves share: the protocol, the acceptance rule and the statistics."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from ase import Atoms

from ase_hal.committee import REFUSALS

logger = logging.getLogger(__name__)


class Move(Protocol):
    """A Monte Carlo move: a value without state, that changes `atoms` or leaves them alone.

    A move samples exp(-E/kT) of the surface that the calculator of `atoms` defines, which must
    not change during a trial: for a `HALCalculator` that means one fixed tau. Momenta are not
    touched.

    Attributes
    ----------
    interval : int
        Dynamics steps between calls.
    attempts : int
        Trials per call.
    """

    @property
    def interval(self) -> int: ...

    @property
    def attempts(self) -> int: ...

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where the move can't be made with these atoms."""
        ...

    def attempt(
        self, atoms: Atoms, *, temperature_K: float, rng: np.random.Generator, step: int = 0
    ) -> bool:
        """One trial; True where it was accepted. `step` is for what is ramped."""
        ...


@dataclass(frozen=True)
class MoveCount:
    """Trials of one move so far."""

    move: Move
    attempted: int
    accepted: int

    @property
    def rate(self) -> float:
        """Accepted fraction; not a number before the first trial."""
        return self.accepted / self.attempted if self.attempted else math.nan


def check_schedule(interval: int, attempts: int) -> None:
    """Raise ValueError on an interval or a number of attempts below 1."""
    if interval < 1 or attempts < 1:
        raise ValueError(f"interval and attempts must be at least 1, got {interval} and {attempts}")


def trial_energy(atoms: Atoms) -> float:
    """Energy of a trial structure in eV; not a number where the model refuses it."""
    try:
        return float(atoms.get_potential_energy())
    except REFUSALS as error:
        logger.info("a trial structure was refused and rejected: %s", error)
        return math.nan


def metropolis(exponent: float, rng: np.random.Generator) -> bool:
    """Accept with probability min(1, exp(exponent)); never where it is not a number."""
    return exponent >= 0 or bool(rng.random() < math.exp(exponent))
