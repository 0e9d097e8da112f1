"""Free energy of ideal mixing on the sublattices of an ordering (Bragg and Williams)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase.units import kB
from scipy.special import xlogy

from ase_hal.free_energy.symmetry import Array

EDGE = 1e-6  # occupations closer than this to 0 and 1 have the derivatives that belong there


@dataclass(frozen=True, eq=False)
class IdealMixing:
    r"""Free energy of independent sites, per site.

    .. math:: g = \frac{k_B T}{N} \sum_i [x_i \ln x_i + (1 - x_i) \ln(1 - x_i)], \quad x = Q^+ \eta

    It has the right divergence of mu where sites become full or empty.

    Attributes
    ----------
    inverse : (N, d) array
        Q^+ (`OrderParameters.inverse`).
    """

    inverse: Array

    def free_energy(self, eta: Array, temperature_K: Array) -> Array:
        """Values (n,) at points (n, d) and temperatures (n,), eV per site."""
        x = np.clip(eta @ self.inverse.T, 0, 1)
        return kB * temperature_K * (xlogy(x, x) + xlogy(1 - x, 1 - x)).mean(axis=1)

    def chemical_potentials(self, eta: Array, temperature_K: Array) -> Array:
        """First derivatives (n, d), eV per site."""
        x = self._interior(eta)
        return kB * temperature_K[:, None] * (np.log(x / (1 - x)) @ self.inverse) / len(x.T)

    def hessian(self, eta: Array, temperature_K: Array) -> Array:
        """Second derivatives (n, d, d), eV per site."""
        x = self._interior(eta)
        pairs = self.inverse[:, :, None] * self.inverse[:, None]
        flat = (1 / (x * (1 - x))) @ pairs.reshape(len(pairs), -1) / len(x.T)
        return np.asarray(kB * temperature_K[:, None, None] * flat.reshape(-1, *pairs.shape[1:]))

    def _interior(self, eta: Array) -> Array:
        return np.clip(eta @ self.inverse.T, EDGE, 1 - EDGE)
