"""What a Monte Carlo run keeps fixed: temperature, and forces on order parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True, eq=False)
class Ensemble:
    r"""Umbrella and semi-grand ensembles of M sites.

    The weight of an occupation is :math:`\exp(-(E + U) / k_B T)` (Eq. 2) with

    .. math:: U = M \sum_j [\phi_j (\eta_j - \kappa_j)^2 - \mu_j \eta_j]

    Attributes
    ----------
    temperature_K : float
    kappa : (d,) array
        Centre of the bias.
    phi : (d,) array
        Its stiffness, eV per site; zero for unbiased runs.
    mu : (d,) array
        Chemical potentials that are imposed, eV per site; zero under a bias.
    """

    temperature_K: float
    kappa: Array
    phi: Array
    mu: Array

    @classmethod
    def umbrella(cls, temperature_K: float, kappa: npt.ArrayLike, phi: npt.ArrayLike) -> Ensemble:
        """Bias order parameters towards `kappa` (d,) with stiffness `phi` (d,)."""
        centre, stiffness = np.asarray(kappa, dtype=float), np.asarray(phi, dtype=float)
        return cls(temperature_K, centre, stiffness, np.zeros_like(centre))

    @classmethod
    def semigrand(cls, temperature_K: float, mu: npt.ArrayLike) -> Ensemble:
        """Impose chemical potentials (d,)."""
        potentials = np.asarray(mu, dtype=float)
        return cls(temperature_K, np.zeros_like(potentials), np.zeros_like(potentials), potentials)

    def __post_init__(self) -> None:
        for name in ("kappa", "phi", "mu"):
            value = getattr(self, name)
            if np.shape(value) != np.shape(self.kappa) or np.ndim(value) != 1:
                raise ValueError(
                    f"{name} has the shape {np.shape(value)}, kappa {self.kappa.shape}"
                )
            if not np.isfinite(value).all():
                raise ValueError(f"{name} is not finite: {value}")
        if (self.phi < 0).any():
            raise ValueError(f"stiffnesses phi are not negative, got {self.phi}")
        if not 0 < self.temperature_K < np.inf:
            raise ValueError(f"a temperature is positive, got {self.temperature_K} K")

    def force(self, eta: Array) -> Array:
        """Derivative of U / M by the order parameters at eta (..., d), eV per site."""
        return np.asarray(2 * self.phi * (eta - self.kappa) - self.mu)
