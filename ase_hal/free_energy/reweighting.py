"""More points for the criteria in whose regions the surface still improves (section 2.4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Reweighting:
    r"""Weights of criteria from what the last round improved.

    .. math:: w_c \propto \max(1 + \alpha [E_c(\text{before}) - E_c(\text{after})], w_{min})

    with a mean of 1; E_c is the error of the surfaces fitted before and after a round at all
    points that the criterion ever asked for. Every round starts from equal weights.

    Attributes
    ----------
    alpha : float
        Per error in units of (10 meV)^2 (see `ase_hal.free_energy.errors`); the paper's 10000
        belongs to eV^2, which is 1 here.
    smallest : float
        w_min: every criterion keeps some influence.
    """

    alpha: float = 1.0
    smallest: float = 0.05

    def __post_init__(self) -> None:
        if not self.alpha >= 0 or not 0 < self.smallest <= 1:
            raise ValueError(
                f"alpha is 0 or more and smallest between 0 and 1, got {self.alpha} and "
                f"{self.smallest}"
            )

    def weights(self, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
        """Weights from the errors of each criterion, (10 meV)^2, before and after a round."""
        raw = {
            name: max(1 + self.alpha * (before[name] - after[name]), self.smallest)
            for name in after
            if name in before
        }
        mean = sum(raw.values()) / max(len(raw), 1)
        return {name: weight / mean for name, weight in raw.items()}
