"""When the learning of a free energy is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Stopping:
    """Ends the rounds.

    Attributes
    ----------
    rounds : int
        So many rounds at most, the first one included.
    target : float
        Stop once the error is this small, (10 meV)^2.
    patience : int, optional
        Stop after so many rounds in a row without an improvement.
    improvement : float
        What counts as one: an error smaller than the smallest before by this fraction.
    """

    rounds: int = 11
    target: float = 0.0
    patience: int | None = None
    improvement: float = 0.05

    def __post_init__(self) -> None:
        if self.rounds < 1 or (self.patience is not None and self.patience < 1):
            raise ValueError(
                f"rounds and patience are at least 1, got {self.rounds} and {self.patience}"
            )
        if not self.target >= 0 or not 0 <= self.improvement < 1:
            raise ValueError(
                f"target is not negative and improvement a fraction, got {self.target} and "
                f"{self.improvement}"
            )

    def reason(self, errors: Sequence[float]) -> str | None:
        """Why to stop after rounds with these errors, (10 meV)^2; None to go on.

        Returns
        -------
        str or None
            ``"target"``, ``"converged"`` or ``"rounds"``.
        """
        if errors and errors[-1] <= self.target:
            return "target"
        if self.patience is not None and self._rounds_without_improvement(errors) >= self.patience:
            return "converged"
        return "rounds" if len(errors) >= self.rounds else None

    def _rounds_without_improvement(self, errors: Sequence[float]) -> int:
        best, since = np.inf, 0
        for error in errors:
            improved = error < (1 - self.improvement) * best
            best, since = (error, 0) if improved else (best, since + 1)
        return since


def rises(errors: Sequence[float]) -> int:
    """How many rounds in a row, up to the last one, the error has risen."""
    count = 0
    for before, after in zip(errors[-2::-1], errors[:0:-1], strict=True):
        if not after > before:
            break
        count += 1
    return count
