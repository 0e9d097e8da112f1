"""Runs that are as long as their precision needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_hal.free_energy.ensemble import Ensemble
from ase_hal.free_energy.sample import Sample
from ase_hal.free_energy.statistics import block_average, equilibration
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy.walker import Walker

_STILL = 1e-12  # an order parameter that varies by less does not move
_PATIENCE = 10  # times min_sweeps, until a run in which one does not move is given up


@dataclass(frozen=True)
class RunLength:
    """When a run is long enough.

    Attributes
    ----------
    precision : float
        Standard error of the mean order parameters that is asked for.
    min_sweeps, max_sweeps : int
        A run is no shorter and not longer; one that is ended by the latter is not converged.
    """

    precision: float = 3e-4
    min_sweeps: int = 500
    max_sweeps: int = 100_000

    def __post_init__(self) -> None:
        if not self.precision > 0:
            raise ValueError(f"the precision is a standard error above 0, got {self.precision}")
        if not 64 <= self.min_sweeps <= self.max_sweeps:
            raise ValueError(
                f"a run has at least 64 sweeps and min_sweeps <= max_sweeps, got "
                f"{self.min_sweeps} and {self.max_sweeps}"
            )

    def measure(self, walker: Walker, ensemble: Ensemble, n_trivial: int) -> Sample:
        """Run until the means are known well enough.

        The part of the run before equilibrium is found from its whole length each time, and
        left out of the averages. An order parameter under a bias that never moves says nothing
        of its chemical potential, and has an infinite error; the run is given up early.
        """
        pieces: list[Array] = []
        accepted, done, target = 0.0, 0, self.min_sweeps
        while True:
            eta, energy, acceptance = walker.run(ensemble, target - done)
            pieces.append(np.column_stack([eta, energy]))
            accepted += acceptance * (target - done)
            done = target
            series = np.concatenate(pieces)
            start = equilibration(series)
            average = block_average(series[start:])
            settled = start < 0.45 * done and average.reliable
            frozen = (np.ptp(series[start:, :-1], axis=0) < _STILL) & (ensemble.phi > 0)
            precise = bool((average.error[:-1] <= self.precision).all())
            converged = settled and precise and not frozen.any()
            given_up = frozen.any() and done >= _PATIENCE * self.min_sweeps
            if converged or given_up or done == self.max_sweeps:
                break
            # as long as errors that fall with the square root of the length need, within reason
            missing = (average.error[:-1].max() / self.precision) ** 2 if settled else 2.0
            target = min(int(done * np.clip(1.1 * missing, 1.3, 3.0)), self.max_sweeps)
        mean, error = average.mean, average.error.copy()
        error[:-1][frozen] = np.inf
        ordered = np.linalg.norm(series[start:, n_trivial:-1], axis=1)
        return Sample(
            eta=mean[:-1],
            eta_error=error[:-1],
            mu=-ensemble.force(mean[:-1]),
            mu_error=2 * ensemble.phi * error[:-1],
            energy=float(mean[-1]),
            energy_error=float(error[-1]),
            order=float(ordered.mean()),
            ensemble=ensemble,
            acceptance=accepted / done,
            sweeps=done,
            discarded=start,
            converged=converged,
        )
