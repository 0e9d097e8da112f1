"""Many points about which only the surface is asked, for criteria to choose from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.sampling import billiard_section, billiard_walk
from ase_hal.free_energy.surface import Surface, hessian_eigenvalues
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.free_energy.symmetry import Array

CHUNK = 20_000  # points that are asked about at once: a bound on memory


@dataclass(frozen=True, eq=False)
class Candidates:
    """Points and what a surface says about them, each asked for once.

    Attributes
    ----------
    eta : (n, d) array
    surface : Surface
    """

    eta: Array
    surface: Surface

    @classmethod
    def draw(
        cls,
        order_parameters: OrderParameters,
        surface: Surface,
        n: int,
        *,
        rng: np.random.Generator,
        section: float = 0.05,
        width: float = 0.05,
    ) -> Candidates:
        """Fill the domain as section 2.1 does.

        Parameters
        ----------
        order_parameters : OrderParameters
        surface : Surface
        n : int
            How many points; the paper has a million.
        rng : np.random.Generator
        section : float
            Fraction of the points in which only the trivial and the first other order parameter
            vary freely.
        width : float
            By how much at most the others differ from zero there.
        """
        domain, axes = order_parameters.domain, range(order_parameters.n_trivial + 1)
        flat = round(section * n)
        parts = [billiard_walk(domain, n - flat, rng=rng)] if n > flat else []
        if flat:
            parts.append(billiard_section(domain, flat, free=tuple(axes), width=width, rng=rng))
        return cls(np.concatenate(parts), surface)

    def __len__(self) -> int:
        return len(self.eta)

    @cached_property
    def eigenvalues(self) -> Array:
        """Eigenvalues (n, d) of the Hessians, the smallest first, eV per site."""
        return hessian_eigenvalues(self.surface, self.eta)

    @cached_property
    def slope(self) -> Array:
        """Lengths (n,) of the vectors of chemical potentials, eV per site."""
        return self._in_chunks(
            lambda eta: np.linalg.norm(self.surface.chemical_potentials(eta), axis=1)
        )

    def disagreement(self, committee: SurfaceCommittee) -> Array:
        """Variance (n,) of the chemical potentials of a committee (Eqs. 10 to 12), eV^2."""
        return self._in_chunks(committee.disagreement)

    def _in_chunks(self, function: Callable[[Array], Array]) -> Array:
        starts = range(0, len(self), CHUNK)
        return np.concatenate([function(self.eta[i : i + CHUNK]) for i in starts])
