"""Monte Carlo along the composition, with a bias on it and without (Fig. 2 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ase_hal.free_energy.sample import Sample
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy.umbrella import UmbrellaMC
from ase_hal.randomness import stream

Branch = Literal["biased", "unbiased"]


@dataclass(frozen=True)
class CurveTask:
    """One point of a composition curve.

    Attributes
    ----------
    branch : {"biased", "unbiased"}
        At a composition, all other order parameters being free; or at a chemical potential.
    index : int
        Its place in the branch.
    value : float
        The composition, or the chemical potential in eV per site.
    """

    branch: Branch
    index: int
    value: float

    def run(self, calculator: UmbrellaMC, rng: np.random.Generator) -> Sample:
        """Sample it, with a stream of random numbers that its branch and place tell."""
        parameters = calculator.order_parameters
        own = calculator.with_generator(stream(rng, int(self.branch == "unbiased"), self.index))
        if self.branch == "unbiased":
            return own.semigrand(self.value)
        point = np.zeros(parameters.dimension)
        point[0] = self.value
        free = np.where(np.arange(parameters.dimension) == 0, calculator.phi, 0.0)
        return own.sample(point, phi=free)


def biased_tasks(calculator: UmbrellaMC, n: int) -> list[CurveTask]:
    """Evenly spaced compositions, all but the very ends."""
    low, high = calculator.order_parameters.domain.bounds[0]
    values = np.linspace(low, high, n + 2)[1:-1]
    return [CurveTask("biased", i, float(value)) for i, value in enumerate(values)]


def unbiased_tasks(mu: Array, n: int) -> list[CurveTask]:
    """Evenly spaced chemical potentials over the range of those (m,) of the biased branch."""
    values = np.linspace(mu.min(), mu.max(), n)
    return [CurveTask("unbiased", i, float(value)) for i, value in enumerate(values)]


def composition_curve(
    calculator: UmbrellaMC, n: int, *, rng: np.random.Generator
) -> Iterator[tuple[CurveTask, Sample]]:
    """Sample both branches, one point after another.

    Parameters
    ----------
    calculator : UmbrellaMC
    n : int
        Points of each branch.
    rng : np.random.Generator
    """
    mu = []
    for task in biased_tasks(calculator, n):
        sample = task.run(calculator, rng)
        mu.append(sample.mu[0])
        yield task, sample
    for task in unbiased_tasks(np.array(mu), n):
        yield task, task.run(calculator, rng)
