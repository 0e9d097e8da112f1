"""Ramp: a quantity that changes linearly with the dynamics step."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Ramp:
    """From ``start`` to ``stop`` in ``steps`` dynamics steps; ``stop`` from then on.

    Parameters
    ----------
    start, stop : float
        In the units of what is ramped: K, eV/Å^3, or none.
    steps : int
        Length of the ramp.

    Examples
    --------
    >>> Ramp(300, 900, steps=1000)(500)
    600.0
    """

    start: float
    stop: float
    steps: int

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.stop)):
            raise ValueError(f"a ramp needs finite ends, got {self.start} and {self.stop}")
        if self.steps < 1:
            raise ValueError(f"a ramp takes at least one step, got {self.steps}")

    def __call__(self, step: int) -> float:
        """Value at a dynamics step."""
        fraction = min(max(step / self.steps, 0.0), 1.0)
        return self.start + fraction * (self.stop - self.start)


def value_at(quantity: float | Ramp, step: int) -> float:
    """Value of a constant or ramped quantity at a dynamics step."""
    return quantity(step) if isinstance(quantity, Ramp) else quantity


def extremes(quantity: float | Ramp) -> tuple[float, float]:
    """Smallest and largest value that a constant or ramped quantity takes."""
    if isinstance(quantity, Ramp):
        return min(quantity.start, quantity.stop), max(quantity.start, quantity.stop)
    return quantity, quantity
