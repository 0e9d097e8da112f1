"""Where the bias of an umbrella window is centred, and how stiff it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.ensemble import Ensemble
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True, eq=False)
class Windows:
    """Makes umbrella ensembles out of what a caller asks for.

    Attributes
    ----------
    order_parameters : OrderParameters
    temperature_K : float
    phi : (d,) array
        Stiffness where none is asked for, eV per site; see `each`.
    """

    order_parameters: OrderParameters
    temperature_K: float
    phi: Array

    def __call__(
        self,
        eta: npt.ArrayLike | None = None,
        *,
        kappa: npt.ArrayLike | None = None,
        mu: npt.ArrayLike | None = None,
        phi: npt.ArrayLike | None = None,
        temperature_K: float | None = None,
    ) -> Ensemble:
        """Window near `eta` (d,), centred at eta + mu / (2 phi), or centred at `kappa` (d,)."""
        stiffness = self.phi if phi is None else self.each(self.order_parameters, phi)
        if (eta is None) == (kappa is None):
            raise ValueError("a window is near eta or centred at kappa: give one of them")
        if eta is None:
            if mu is not None:
                raise ValueError("mu moves the centre of a window at eta; kappa is the centre")
            centre = self.order_parameters.checked(np.array(kappa))
        else:
            centre = self._shifted(self.order_parameters.checked(np.array(eta)), mu, stiffness)
        temperature = self.temperature_K if temperature_K is None else float(temperature_K)
        return Ensemble.umbrella(temperature, centre, stiffness)

    def _shifted(self, point: Array, mu: npt.ArrayLike | None, stiffness: Array) -> Array:
        """Where a bias has to be centred to hold a point."""
        if not self.order_parameters.domain.contains(point):
            raise ValueError(
                f"the point {point} is outside the domain: its mean occupations of sites go "
                f"beyond 0 and 1"
            )
        if mu is None:
            return point
        guess = self.order_parameters.checked(mu)
        if (stiffness[guess != 0] <= 0).any():
            raise ValueError(f"a guess of mu needs stiffnesses above 0, got {stiffness}")
        return np.asarray(point + guess / np.where(stiffness > 0, 2 * stiffness, 1.0))

    @staticmethod
    def each(order_parameters: OrderParameters, phi: npt.ArrayLike) -> Array:
        """Stiffness (d,) of each order parameter, of one for the trivial and one for the others."""
        d, n_trivial = order_parameters.dimension, order_parameters.n_trivial
        values = np.asarray(phi, dtype=float)
        if values.shape == (2,) and d != 2:
            values = np.repeat(values, [n_trivial, d - n_trivial])
        if values.shape != (d,):
            raise ValueError(f"phi takes 2 or {d} numbers, got shape {values.shape}")
        return values
