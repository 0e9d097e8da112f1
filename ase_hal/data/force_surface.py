"""What forces alone say about energies and stresses: a small linear fit to nothing but forces.

Forces are derivatives of the energy, so they determine it up to constants: one for each element,
and a pressure that hardly any force feels. Energies and stresses that a fit to forces predicts can
therefore be compared with labels of which nothing has been used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_hal.ace import ACEBasis
from ase_hal.ace.neighbors import NeighborList
from ase_hal.data.force_rows import zeroed_components
from ase_hal.prediction import Array
from ase_hal.regression import Factor, bayesian_ridge

Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

# Radial functions and largest angular momenta by correlation order, largest basis first.
_LADDER: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((10, 5, 2), (0, 4, 1)),
    ((8, 4, 2), (0, 3, 1)),
    ((8, 4), (0, 3)),
    ((6, 3), (0, 2)),
    ((6, 2), (0, 2)),
    ((5, 2), (0, 1)),
    ((6,), (0,)),
    ((4,), (0,)),
    ((3,), (0,)),
)
_MOST_FUNCTIONS = 400
# Cutoff over the distance of nearest neighbours: two shells of a crystal; and its bounds, Å.
_REACH, _NEAREST, _FARTHEST = 1.8, 4.0, 8.0
_SAMPLE_ATOMS = 3000  # whose neighbours are looked for
_HOMOGENEOUS = 0.3  # relative difference of densities where there is no vacuum
_ZERO = 1e-8  # eV/Å; what files write for 0
VANISHING = 1e-3  # eV/Å; what calculations give for forces that vanish by symmetry


class ForceRows(NamedTuple):
    """A structure as far as a linear model of q functions is concerned.

    Attributes
    ----------
    energy : (q,) array
        Per atom.
    stress : (6, q) array or None
        1/Å^3; None unless it is periodic in three directions.
    forces : (m, q) array
        1/Å, of force components that tell something.
    labels : (m,) array
        eV/Å.
    zeros : (z, q) array
        1/Å, of components whose label is exactly 0 without a constraint that tells why.
    """

    energy: Array
    stress: Array | None
    forces: Array
    labels: Array
    zeros: Array

    @property
    def size(self) -> float:
        """Root mean square force, eV/Å."""
        return float(np.sqrt(np.mean(self.labels**2))) if len(self.labels) else 0.0

    def without_forces(self) -> ForceRows:
        """The same without rows and labels of forces, which are large."""
        none = self.forces[:0]
        return self._replace(forces=none.copy(), labels=self.labels[:0], zeros=none.copy())


def spread_out(n: int) -> Ints:
    """Indices 0 to n - 1 in an order of which every beginning is spread over all of them.

    By multiples of the golden ratio modulo 1: unlike a stride, they follow no period of a file.
    """
    return np.argsort(np.arange(n) * (np.sqrt(5) - 1) / 2 % 1.0, kind="stable")


def usual_cutoff(structures: Sequence[Atoms]) -> float:
    """Cutoff (Å) that reaches the second neighbours of most atoms of every element."""
    nearest: dict[str, list[Array]] = {}
    seen = 0
    for index in spread_out(len(structures)):
        atoms = structures[index]
        distances = _nearest_neighbours(atoms)
        symbols = np.array(atoms.get_chemical_symbols())
        for symbol in set(symbols):
            found = distances[(symbols == symbol) & np.isfinite(distances)]
            nearest.setdefault(str(symbol), []).append(found)
        seen += len(atoms)
        if seen > _SAMPLE_ATOMS:
            break
    by_element = [np.concatenate(found) for found in nearest.values()]
    typical = [float(np.median(found)) for found in by_element if len(found)]
    return float(np.clip(_REACH * max(typical, default=0.0), _NEAREST, _FARTHEST))


def _nearest_neighbours(atoms: Atoms) -> Array:
    """Distance of the nearest neighbour of every atom, Å; infinite where there is none."""
    first, distances = _pairs(atoms, _FARTHEST)
    found = np.full(len(atoms), np.inf)
    np.minimum.at(found, first, distances)
    return found


def _pairs(atoms: Atoms, cutoff: float) -> tuple[Ints, Array]:
    """First atoms and distances (Å) of all pairs, each of which is there twice."""
    elements = tuple(sorted(set(atoms.symbols)))
    pairs, positions, shifts = NeighborList(elements, cutoff, 0.0).update(atoms)
    n_pairs = int(pairs.pair_first[-1])
    counts = np.diff(pairs.pair_first).reshape(len(atoms), -1).sum(axis=1)
    first = np.repeat(np.arange(len(atoms)), counts)
    vectors = positions[pairs.neighbour[:n_pairs]] + shifts[pairs.shift[:n_pairs]]
    return first, np.linalg.norm(vectors - positions[first], axis=1)


def density(atoms: Atoms, cutoff: float) -> float:
    """Number of atoms by volume around the atoms of a structure, 1/Å^3.

    In a crystal or a liquid it is that of the cell. Where there is vacuum, it is a mean with the
    weight (1 - (r / cutoff)^2)^3.
    """
    _, distances = _pairs(atoms, cutoff)
    weights = (1 - np.minimum(distances / cutoff, 1.0) ** 2) ** 3
    # the integral of the weight; it is 1 at the atom itself
    around = (1 + weights.sum() / len(atoms)) / (4 * np.pi * cutoff**3 * 16 / 315)
    if atoms.pbc.all():
        of_cell = len(atoms) / atoms.get_volume()
        if abs(around / of_cell - 1) < _HOMOGENEOUS:
            return float(of_cell)
    return float(around)


def choose_basis(
    elements: Sequence[str],
    cutoff: float,
    n_rows: float,
    rows_per_function: float,
    most: int = _MOST_FUNCTIONS,
) -> ACEBasis | None:
    """The largest basis that so many force components determine; None if there is none."""
    allowed = min(n_rows / rows_per_function, most)
    for radial, angular in _LADDER:
        if _size(len(elements), radial, angular) <= allowed:
            return ACEBasis(elements, rcut=cutoff, nradmax_by_orders=radial, lmax_by_orders=angular)
    return None


def _size(n: int, radial: tuple[int, ...], angular: tuple[int, ...]) -> int:
    """Number of functions for n elements: products of one, two and three neighbour densities."""
    size = n * n * radial[0]
    if len(radial) > 1:
        channels = n * radial[1]
        size += n * (angular[1] + 1) * channels * (channels + 1) // 2
    if len(radial) > 2:  # angular momenta 0, 0, 0 and 0, 1, 1
        channels = n * radial[2]
        size += n * channels * (channels + 1) * (channels + 2) // 6
        size += n * channels * channels * (channels + 1) // 2
    return size


def rows_of(basis: ACEBasis, atoms: Atoms, most_atoms: int | None = None) -> ForceRows:
    """Rows of a structure; forces of at most so many atoms, spread over it."""
    rows = basis.rows(atoms)
    n, none = len(atoms), np.zeros((0, basis.size))
    stress = -rows.virial / atoms.get_volume() if atoms.pbc.all() else None
    forces = atoms.calc.results.get("forces")
    if forces is None:
        return ForceRows(rows.energy / n, stress, none, np.zeros(0), none)
    labels = np.asarray(forces, dtype=float)
    kept = np.zeros((n, 1), dtype=bool)
    kept[spread_out(n)[:most_atoms]] = True
    free = kept & ~zeroed_components(atoms, labels)
    zero = np.abs(labels) < _ZERO
    return ForceRows(
        rows.energy / n,
        stress,
        rows.forces[free & ~zero],
        labels[free & ~zero],
        rows.forces[free & zero],
    )


@dataclass(frozen=True, eq=False)
class ForceSurface:
    """A linear model fitted to forces.

    Attributes
    ----------
    coefficients : (q,) array
        eV.
    root : (q, r) array
        A root of their covariance as the posterior sees it, eV.
    noise : float
        Standard deviation of weighted residuals as the posterior sees it.
    typical : float
        Root mean square force of the middle one of its structures, eV/Å. Errors are expected to
        grow with forces: weights are 1 over this, the size of all forces of a structure, or the
        component itself, whatever is largest.
    """

    coefficients: Array
    root: Array = field(repr=False)
    noise: float
    typical: float

    @classmethod
    def fit(cls, parts: Sequence[ForceRows]) -> ForceSurface:
        """Fit to the forces of some structures, which are not all zero."""
        typical = float(np.median([part.size for part in parts]))
        factor = Factor.empty(parts[0].forces.shape[1])
        for part in parts:
            weights = _weights(part, typical)
            factor = factor.update(weights[:, None] * part.forces, weights * part.labels)
        posterior = bayesian_ridge(factor)
        noise = posterior.noise_precision**-0.5
        return cls(posterior.mean, posterior.covariance_factor, noise, typical)

    def predicted(self, part: ForceRows) -> Array:
        """Forces (m,) of a structure that is not part of the fit, eV/Å."""
        return part.forces @ self.coefficients

    def held_out(self, part: ForceRows) -> Array:
        """Forces (m,) that a fit without this structure, which is part of it, predicts, eV/Å."""
        weights = _weights(part, self.typical)
        whitened = weights[:, None] * (part.forces @ self.root) / self.noise
        residuals = weights * (part.labels - self.predicted(part))
        if len(whitened) <= whitened.shape[1]:
            left = np.linalg.solve(np.eye(len(whitened)) - whitened @ whitened.T, residuals)
        else:  # the same by the matrix inversion lemma
            inner = np.eye(whitened.shape[1]) - whitened.T @ whitened
            left = residuals + whitened @ np.linalg.solve(inner, whitened.T @ residuals)
        return part.labels - left / weights

    def residuals_if_fitted(self, part: ForceRows) -> Array:
        """What a fit with this structure, which is not part of it, leaves of its forces, eV/Å."""
        weights = _weights(part, self.typical)
        whitened = weights[:, None] * (part.forces @ self.root) / self.noise
        residuals = weights * (part.labels - self.predicted(part))
        inner = np.eye(whitened.shape[1]) + whitened.T @ whitened
        left = residuals - whitened @ np.linalg.solve(inner, whitened.T @ residuals)
        return np.asarray(left / weights)

    def doubt(self, part: ForceRows) -> float:
        """Standard deviation of its forces as the posterior sees it, root mean square, eV/Å."""
        rows = np.concatenate([part.forces, part.zeros])
        return float(np.sqrt(np.mean(np.sum((rows @ self.root) ** 2, axis=1)))) if len(rows) else 0


def _weights(part: ForceRows, typical: float) -> Array:
    return 1.0 / np.maximum(np.abs(part.labels), max(typical, part.size, VANISHING))
