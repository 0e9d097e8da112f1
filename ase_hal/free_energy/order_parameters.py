r"""Order parameters of an ordering, and what its symmetry does to them.

================  ==============  ==================================================
paper             here            meaning
================  ==============  ==================================================
x                 `occupations`   of the N sites of the mutually commensurate cell
Q                 `matrix`        (d, N), eta = Q x
Q^-1 (Eq. 7)      `inverse`       (N, d), pseudo-inverse of Q
P                 permutations    of the sites by the symmetry of the lattice
M                 `group`         (G, d, d), M = Q P Q^+, distinct ones
h (Eq. 5)         `invariants`    polynomials with h(M eta) = h(eta)
================  ==============  ==================================================

Equations: J. Holber and K. Garikipati, "Physics- and data-driven active learning of neural
network representations for free energy functions of materials from statistical mechanics".
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from ase import Atoms
from scipy.spatial import cKDTree

from ase_hal.free_energy.domain import Domain
from ase_hal.free_energy.invariants import find_generators, find_invariants, molien_series
from ase_hal.free_energy.irreducible import adapted_basis
from ase_hal.free_energy.lattice import Lattice, Supercell
from ase_hal.free_energy.ordering import find_variants
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.symmetry import Array, IntArray


@dataclass(frozen=True, eq=False)
class OrderParameters:
    """Symmetry-adapted order parameters eta = Q x of one ordering.

    The first is the composition (fraction of occupied sites); `n_trivial` of them, the
    composition included, do not change under any symmetry operation. Rows of Q are orthogonal
    with squared norm 1/N: a fully ordered variant of a two-fold ordering has eta_i = 1/2.

    Attributes
    ----------
    supercell : Supercell
        The mutually commensurate one, of N sites.
    variants : (V, N) integers
        Occupations of the equivalent orderings; the one given is the first.
    matrix : (d, N) array
        Q.
    n_trivial : int
    group : (G, d, d) array
        What symmetry does to order parameters; each matrix once.
    """

    supercell: Supercell
    variants: IntArray
    matrix: Array
    n_trivial: int
    group: Array

    def __repr__(self) -> str:
        return (
            f"<OrderParameters: {self.dimension}, {self.n_trivial} of them trivial, "
            f"{len(self.variants)} variants, cell of {self.n_sites} sites>"
        )

    @classmethod
    def from_ordering(
        cls, lattice: Lattice, ordering: Atoms, occupied: str | None = None
    ) -> OrderParameters:
        """Derive them from the parent lattice and one ordering.

        Parameters
        ----------
        lattice : Lattice
        ordering : Atoms
            A cell of the ordering, which is a supercell of the lattice in any orientation (one
            that fits as it is is not turned), with its atoms on sites.
        occupied : str, optional
            The element whose sites count as occupied, if not every atom of `ordering` does.

        Raises
        ------
        ValueError
            If the atoms are not on sites of the lattice, or the ordering breaks none of its
            symmetry.
        """
        found = find_variants(lattice, ordering, occupied)
        basis, n_trivial = adapted_basis(
            found.occupations, found.permutations, found.n_translations
        )
        if n_trivial == len(basis):
            raise ValueError(
                "this ordering has the symmetry of the lattice: occupations of sites that are not "
                "equivalent tell it from disorder, and there is no order parameter to sample"
            )
        matrix = basis / np.sqrt(basis.shape[1])
        return cls(
            found.supercell,
            found.occupations,
            matrix,
            n_trivial,
            _representation(matrix, found.permutations),
        )

    @property
    def dimension(self) -> int:
        """How many order parameters there are (d), the composition included."""
        return len(self.matrix)

    @property
    def n_sites(self) -> int:
        """Sites of the mutually commensurate supercell (N)."""
        return self.matrix.shape[1]

    @cached_property
    def inverse(self) -> Array:
        """Q^+ (N, d): mean occupations of the sites for given order parameters."""
        return self.n_sites * self.matrix.T

    @cached_property
    def wells(self) -> Array:
        """Order parameters (V, d) of the perfectly ordered variants."""
        return np.asarray(self.variants @ self.matrix.T)

    @cached_property
    def domain(self) -> Domain:
        """Where every site has an occupation between 0 and 1 (Eq. 7)."""
        return Domain.of_slabs(self.inverse)

    def __call__(self, occupations: npt.ArrayLike, supercell: Supercell | None = None) -> Array:
        """Order parameters (..., d) of occupations (..., n_sites) of any multiple of the cell."""
        cell = supercell or self.supercell
        weights = self.matrix[:, self.supercell.kinds(cell)] * (self.n_sites / cell.n_sites)
        return np.asarray(cell.checked(occupations) @ weights.T)

    def checked(self, eta: npt.ArrayLike) -> Array:
        """Return points (..., d); ValueError if they are not such."""
        points = np.asarray(eta, dtype=float)
        if points.shape[-1:] != (self.dimension,) or not np.isfinite(points).all():
            raise ValueError(
                f"{self.dimension} finite order parameters are needed, got shape {points.shape}"
            )
        return points

    def molien(self, degree: int) -> IntArray:
        """How many independent invariants the non-trivial order parameters have (degree + 1,)."""
        return molien_series(self._nontrivial, degree)

    def invariants(self, degree: int, *, minimal: bool = False) -> Polynomials:
        """Find polynomials of the order parameters that no symmetry operation changes.

        Parameters
        ----------
        degree : int
            The highest degree.
        minimal : bool
            Leave out those that are polynomials of the others. By default a basis of all
            invariants of the non-trivial order parameters up to the degree is given, as the
            paper does.

        Returns
        -------
        Polynomials
            Of all d order parameters; the trivial ones come first.
        """
        found = (find_generators if minimal else find_invariants)(self._nontrivial, degree)
        trivial = Polynomials(np.eye(self.n_trivial, dtype=np.int64), np.eye(self.n_trivial))
        return trivial.beside(found)

    def reduce(self, eta: npt.ArrayLike) -> Array:
        """Move points (..., d) into one fundamental domain of the group.

        Points that symmetry makes equivalent end up at the same place (a Dirichlet domain: of
        all images of a point, that closest to a fixed general direction).
        """
        points = self.checked(eta)
        flat = points.reshape(-1, self.dimension)
        scores = flat @ (_direction(self.dimension) @ self.group).T
        best = scores.argmax(axis=1)
        return np.einsum("nij,nj->ni", self.group[best], flat).reshape(points.shape)

    def distances(self, eta: npt.ArrayLike, known: npt.ArrayLike, k: int = 1) -> Array:
        """Distances (n, k) of points (n, d) from the k nearest of known ones (m, d), k <= m.

        That of a known point is that of the nearest of its symmetric images. Distances of
        representatives in one fundamental domain (`reduce`) would not do: images of neighbours
        may lie at different ends of it. A group of 384 and 2,000 known points take some 8 ms for
        each point.
        """
        tree = cKDTree(self.checked(known))
        points = self.checked(eta)
        if not 0 < k <= tree.n:
            raise ValueError(f"the distances from {k} of {tree.n} known points are asked for")
        result = np.empty((len(points), k))
        for row, point in enumerate(points):
            found, which = tree.query(self.group @ point, k=np.arange(1, k + 1))
            order = np.argsort(found, axis=None)
            _, first = np.unique(which.ravel()[order], return_index=True)
            result[row] = found.ravel()[order[np.sort(first)[:k]]]
        return result

    def images(self, eta: npt.ArrayLike, *, rng: np.random.Generator) -> Array:
        """Replace points (..., d) by random ones of their symmetric images."""
        points = self.checked(eta)
        chosen = self.group[rng.integers(len(self.group), size=points.shape[:-1])]
        return np.asarray(np.einsum("...ij,...j->...i", chosen, points))

    @property
    def _nontrivial(self) -> Array:
        block = self.group[:, self.n_trivial :, self.n_trivial :]
        return np.asarray(np.unique(block, axis=0))


def _representation(matrix: Array, permutations: IntArray) -> Array:
    """Distinct M = Q P Q^+ (G, d, d), the identity first."""
    inverse = matrix.shape[1] * matrix.T
    found = matrix[:, permutations].transpose(1, 0, 2) @ inverse
    rounded = np.rint(found)
    if np.abs(found - rounded).max() < 1e-9:
        found = rounded  # signed permutations, exactly
    _, first = np.unique(np.round(found, 8), axis=0, return_index=True)
    distinct = found[np.sort(first)]
    return np.asarray(distinct + 0.0)  # no negative zeros


def _direction(dimension: int) -> Array:
    """A direction that no symmetry keeps: decreasing, without rational relations."""
    return np.asarray(1 / (1 + np.sqrt(2) * np.arange(dimension) ** 1.3))
