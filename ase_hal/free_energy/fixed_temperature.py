"""A surface seen at one temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.points import Points
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True)
class AtTemperature:
    """A `Surface` that asks another one at a fixed temperature, whatever it is asked itself.

    Attributes
    ----------
    surface : Surface
    temperature_K : float
    """

    surface: Surface
    temperature_K: float

    @property
    def dimension(self) -> int:
        """Number of order parameters d."""
        return self.surface.dimension

    def free_energy(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """Values g (n,) at points (n, d), eV per site."""
        return self.surface.free_energy(eta, self.temperature_K)

    def chemical_potentials(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """First derivatives (n, d), eV per site."""
        return self.surface.chemical_potentials(eta, self.temperature_K)

    def hessian(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """Second derivatives (n, d, d), eV per site."""
        return self.surface.hessian(eta, self.temperature_K)


def chemical_potentials(surface: Surface, points: Points) -> Array:
    """What a surface says (n, d) at points, each at its own temperature, eV per site."""
    result = np.empty_like(points.mu)
    for temperature in points.temperatures_K:
        mine = points.temperature_K == temperature
        result[mine] = surface.chemical_potentials(points.eta[mine], temperature)
    return result
