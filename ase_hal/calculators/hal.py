"""HALCalculator: the mean of a committee, tilted towards its own uncertainty."""

from __future__ import annotations

import math
from typing import Any

from ase_hal.calculators.committee import CommitteeCalculator
from ase_hal.committee import Committee
from ase_hal.prediction import Array, Prediction


class HALCalculator(CommitteeCalculator):
    r"""The biased surface of hyperactive learning (van der Oord et al. 2022, Eq. 1).

    .. math:: E_{HAL} = E - \tau \sigma

    ================  =====================================  ==========================
    quantity          from ``p = predict(atoms)``            units
    ================  =====================================  ==========================
    energy            ``p.energy - tau * p.energy_std``      eV
    forces            ``p.forces + tau *                     eV/Å
                      p.energy_std_gradient`` (Eqs. 9-11)
    stress            ``p.stress - tau *                     eV/Å^3
                      p.energy_std_stress``
    ================  =====================================  ==========================

    Forces and stress are the exact derivatives of the energy at fixed tau.

    Parameters
    ----------
    committee : Committee
        What predicts the mean E and the uncertainty sigma.
    tau : float
        Strength of the bias, dimensionless. 0 is the mean itself; below 0 the bias leads
        towards what the committee knows.

    Examples
    --------
    >>> atoms.calc = HALCalculator(committee, tau=0.5)
    >>> atoms.get_forces()                    # biased
    >>> atoms.calc.predict(atoms).forces      # unbiased
    """

    def __init__(self, committee: Committee, tau: float = 0.0) -> None:
        super().__init__(committee)
        self._tau = 0.0
        self.tau = tau

    @property
    def tau(self) -> float:
        """Strength of the bias. Setting it refreshes energy, forces and stress at no cost."""
        return self._tau

    @tau.setter
    def tau(self, value: float) -> None:
        if not math.isfinite(value):
            raise ValueError(f"tau must be a finite number, got {value}")
        with self._lock:
            if value != self._tau:
                self.results = {}  # but not what the committee said
            self._tau = float(value)

    def _surface(self, prediction: Prediction) -> tuple[float, Array, Array | None]:
        tau = self._tau
        energy = prediction.energy - tau * prediction.energy_std
        forces = prediction.forces + tau * prediction.energy_std_gradient
        if prediction.stress is None or prediction.energy_std_stress is None:
            return energy, forces, None
        return energy, forces, prediction.stress - tau * prediction.energy_std_stress

    def todict(self) -> dict[str, Any]:
        """What is written into every frame of a trajectory."""
        return {**super().todict(), "tau": self._tau}

    def _get_name(self) -> str:
        return "hal"
