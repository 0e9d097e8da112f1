"""Trigger: when a trajectory has found something to label, and when it can't be trusted."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from functools import lru_cache

from ase import Atoms
from scipy.special import chdtri

from ase_hal.dynamics.sanity import closest_contact
from ase_hal.prediction import Prediction
from ase_hal.uncertainty import relative_force_error, softmax_score

_CRITERIA = ("relative", "softmax")

Criterion = str | Callable[[Prediction], float]


@dataclass(frozen=True)
class Trigger:
    """Stop a trajectory where the committee is uncertain, or where it has become unphysical.

    Every `interval` steps the structure is first checked by the guards, which end a trajectory
    as untrustworthy, then scored. Energies and forces that are not finite end a trajectory at
    once.

    Parameters
    ----------
    criterion : 'softmax', 'relative' or callable
        ``max_i s_i`` (van der Oord et al. 2022, Eq. 8), ``max_i f_i`` (Eq. 7), or any function
        of a `Prediction` (members included) that returns a number.
    tolerance : float
        The structure is uncertain where the score exceeds it. The softmax score of N atoms lies
        between 1/N and 1; see `ase_hal.uncertainty.softmax_score` for how it depends on N.
    interval : int
        Steps between judgements.
    min_distance : float
        Guard: shortest distance, as a fraction of the sum of the two covalent radii. Bonds
        vibrate between 0.8 and 1.2; below 0.6 cores overlap and a reference calculation means
        little. 0 switches this guard off.
    max_temperature : float
        Guard: instantaneous temperature over the highest temperature that was asked for. Not
        applied where that is 0 K. For a few atoms, whose temperature fluctuates more, the guard
        lets pass what thermal motion exceeds once in 10^9 times.
    max_volume_change : float
        Guard: factor by which the volume may grow or shrink from where the dynamics began.
    eps : float, optional
        Epsilon of Eq. 6 in eV/Å; by default the typical force of the training set.
    """

    criterion: Criterion = "softmax"
    tolerance: float = 0.5
    _: KW_ONLY
    interval: int = 10
    min_distance: float = 0.6
    max_temperature: float = 5.0
    max_volume_change: float = 2.0
    eps: float | None = None

    def __post_init__(self) -> None:
        if not callable(self.criterion) and self.criterion not in _CRITERIA:
            raise ValueError(
                f"criterion must be one of {_CRITERIA} or a function, got {self.criterion!r}"
            )
        if not math.isfinite(self.tolerance):
            raise ValueError(f"tolerance must be a finite number, got {self.tolerance}")
        if self.criterion == "softmax" and not 0 < self.tolerance < 1:
            raise ValueError(f"a softmax score lies between 0 and 1, got {self.tolerance}")
        if self.interval < 1:
            raise ValueError(f"interval must be at least 1 step, got {self.interval}")
        if not self.min_distance >= 0:
            raise ValueError(f"min_distance must not be negative, got {self.min_distance}")
        if not (self.max_temperature > 1 and self.max_volume_change > 1):
            raise ValueError(
                "max_temperature and max_volume_change are factors above 1, "
                f"got {self.max_temperature} and {self.max_volume_change}"
            )
        if self.eps is not None and not (math.isfinite(self.eps) and self.eps > 0):
            raise ValueError(f"eps must be a positive force in eV/Å, got {self.eps}")

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where the criterion makes no sense for these atoms."""
        if self.criterion == "softmax" and self.tolerance * len(atoms) <= 1:
            raise ValueError(
                f"the softmax score of {len(atoms)} atoms is never below {1 / len(atoms):.3g}, "
                f"and the tolerance is {self.tolerance}: use criterion='relative' for so few"
            )

    def score(self, prediction: Prediction) -> float:
        """Score of a prediction with member forces; not finite where the members are not."""
        if callable(self.criterion):
            return float(self.criterion(prediction))
        atomic = softmax_score if self.criterion == "softmax" else relative_force_error
        return float(atomic(prediction, self.eps).max())

    def distrust(
        self,
        atoms: Atoms,
        *,
        temperature_K: float = 0.0,
        target_K: float = 0.0,
        volume: float = 0.0,
        initial_volume: float = 0.0,
    ) -> str | None:
        """Why a structure can't be trusted, or None.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure.
        temperature_K, target_K : float
            Instantaneous temperature and the highest one that was asked for, K.
        volume, initial_volume : float
            Now and where the dynamics began, Å^3; 0 without a cell.
        """
        hottest = (
            max(self.max_temperature, _thermal_extreme(atoms.get_number_of_degrees_of_freedom()))
            * target_K
        )
        if target_K > 0 and temperature_K > hottest:
            return (
                f"temperature {temperature_K:.0f} K, more than {hottest / target_K:.3g} times "
                f"the {target_K:.0f} K asked for"
            )
        if initial_volume > 0:
            change = volume / initial_volume
            if not 1 / self.max_volume_change <= change <= self.max_volume_change:
                return f"volume {volume:.1f} Å^3, {change:.2f} times the initial one"
        contact = closest_contact(atoms, self.min_distance)
        if contact is not None:
            distance, i, j = contact
            pair = f"{atoms.symbols[i]} {i} and {atoms.symbols[j]} {j}"
            return (
                f"distance {distance:.2f} Å between {pair}, less than {self.min_distance:g} "
                "times the sum of their covalent radii"
            )
        return None


@lru_cache(maxsize=64)
def _thermal_extreme(degrees_of_freedom: int) -> float:
    """What the kinetic temperature over its mean exceeds with a probability of 10^-9."""
    freedom = max(degrees_of_freedom, 1)
    return float(chdtri(freedom, 1e-9)) / freedom
