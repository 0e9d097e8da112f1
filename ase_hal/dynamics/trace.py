"""Trace: what happened along a trajectory, as arrays."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, fields

import numpy as np

from ase_hal.prediction import Array


@dataclass(frozen=True)
class Trace:
    """One entry per recorded step, the starting structure included.

    Attributes
    ----------
    step : (n,) integer array
        Dynamics step.
    time_fs : (n,) array
        Time, fs.
    temperature_K : (n,) array
        Instantaneous temperature, K.
    pressure_GPa : (n,) array
        Of the biased surface with the kinetic term; not a number where the committee gave
        no stress.
    tau : (n,) array
        Strength of the bias that acts from this step on.
    energy : (n,) array
        Mean energy, without the bias, eV.
    energy_std : (n,) array
        sigma, eV.
    score : (n,) array
        Of the trigger; not a number where it was not evaluated.
    """

    step: np.ndarray
    time_fs: Array
    temperature_K: Array
    pressure_GPa: Array
    tau: Array
    energy: Array
    energy_std: Array
    score: Array

    def __len__(self) -> int:
        return len(self.step)


COLUMNS = tuple(field.name for field in fields(Trace))


class Recorder:
    """Collects rows of a `Trace`, 64 bytes each."""

    def __init__(self) -> None:
        self._values = array("d")

    def append(self, row: tuple[float, ...]) -> None:
        """Add one row, in the order of `COLUMNS`."""
        self._values.extend(row)

    def trace(self) -> Trace:
        """Everything so far, copied."""
        table = np.array(self._values, dtype=float).reshape(-1, len(COLUMNS))
        columns = {name: table[:, k].copy() for k, name in enumerate(COLUMNS)}
        return Trace(**{**columns, "step": columns["step"].astype(int)})
