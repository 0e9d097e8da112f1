"""Free energy of ideal mixing on the sublattices of an ordering (Bragg and Williams)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from ase.units import kB

from ase_hal.free_energy.symmetry import Array

# Occupations closer than this to 0 and 1, or beyond, have the Taylor expansion of second order
# about it: means of Monte Carlo leave the domain a little, where logarithms would tell nonsense.
EDGE = 0.01


def mixing_function(x: Any, xp: Any = np) -> tuple[Any, Any, Any]:
    """x ln x + (1 - x) ln(1 - x) with its first and second derivative, finite for every x.

    Parameters
    ----------
    x : array or tensor
        Occupations.
    xp : module
        numpy or torch.
    """
    inside = xp.clip(x, EDGE, 1 - EDGE)
    beyond = x - inside
    full, empty = xp.log(inside), xp.log1p(-inside)
    first, second = full - empty, 1 / (inside * (1 - inside))
    value = inside * full + (1 - inside) * empty + beyond * (first + beyond * second / 2)
    return value, first + beyond * second, second


@dataclass(frozen=True, eq=False)
class IdealMixing:
    r"""Free energy of independent sites, per site.

    .. math:: g = \frac{k_B T}{N} \sum_i [x_i \ln x_i + (1 - x_i) \ln(1 - x_i)], \quad x = Q^+ \eta

    It has the steep rise of mu where sites become full or empty.

    Attributes
    ----------
    inverse : (N, d) array
        Q^+ (`OrderParameters.inverse`).
    """

    inverse: Array

    def free_energy(self, eta: Array, temperature_K: Array) -> Array:
        """Values (n,) at points (n, d) and temperatures (n,), eV per site."""
        value, _, _ = mixing_function(eta @ self.inverse.T)
        return np.asarray(kB * temperature_K * value.mean(axis=1))

    def chemical_potentials(self, eta: Array, temperature_K: Array) -> Array:
        """First derivatives (n, d), eV per site."""
        _, first, _ = mixing_function(eta @ self.inverse.T)
        return np.asarray(kB * temperature_K[:, None] * (first @ self.inverse) / len(self.inverse))

    def hessian(self, eta: Array, temperature_K: Array) -> Array:
        """Second derivatives (n, d, d), eV per site."""
        _, _, second = mixing_function(eta @ self.inverse.T)
        pairs = self.inverse[:, :, None] * self.inverse[:, None]
        flat = second @ pairs.reshape(len(pairs), -1) / len(pairs)
        return np.asarray(kB * temperature_K[:, None, None] * flat.reshape(-1, *pairs.shape[1:]))
