"""Several free energy surfaces as one, and where they disagree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True, eq=False)
class SurfaceCommittee:
    """Mean of surfaces, which is a `Surface` itself, and their variance (section 2.1.5).

    Attributes
    ----------
    members : tuple of Surface
    """

    members: tuple[Surface, ...]

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("a committee has at least one member")
        if len({member.dimension for member in self.members}) > 1:
            raise ValueError(
                f"the members have {[member.dimension for member in self.members]} order parameters"
            )

    @property
    def dimension(self) -> int:
        """Number of order parameters d."""
        return self.members[0].dimension

    def free_energy(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """Mean g (n,) at points (n, d), eV per site."""
        return np.asarray(
            np.mean([m.free_energy(eta, temperature_K) for m in self.members], axis=0)
        )

    def chemical_potentials(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """Mean mu (n, d) at points (n, d), eV per site (Eq. 10)."""
        return np.asarray(
            np.mean([m.chemical_potentials(eta, temperature_K) for m in self.members], axis=0)
        )

    def hessian(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """Mean of the second derivatives (n, d, d) at points (n, d), eV per site."""
        return np.asarray(np.mean([m.hessian(eta, temperature_K) for m in self.members], axis=0))

    def disagreement(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        r"""Variance (n,) of mu over the members, summed over its components, eV^2 (Eqs. 11, 12).

        .. math:: V = \frac{1}{N_m} \sum_m \sum_j (\mu_{mj} - \bar\mu_j)^2
        """
        mu = np.array([m.chemical_potentials(eta, temperature_K) for m in self.members])
        return np.asarray(mu.var(axis=0).sum(axis=1))


def committee_of(surface: Surface) -> SurfaceCommittee | None:
    """The committee that a surface brings along in its ``members``, if they are several."""
    members = tuple(getattr(surface, "members", ()))
    return SurfaceCommittee(members) if len(members) > 1 else None
