"""Closest contacts: which atoms of a structure are too close to each other."""

from __future__ import annotations

import itertools
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.geometry import complete_cell, minkowski_reduce
from ase.neighborlist import neighbor_list

from ase_hal.prediction import Array

Contact = tuple[float, int, int]

_ALL_PAIRS = 300  # up to this many atoms all pairs at once are faster than a neighbour list
# Of the limit: atoms that overlap as much have collapsed, and which pair is worst is no matter.
# Looking for it would take more memory than there is.
_COLLAPSED = 0.5


def closest_contact(atoms: Atoms, fraction: float) -> Contact | None:
    """The pair of atoms that is closest in units of its bond length, if any is too close.

    Parameters
    ----------
    atoms : ase.Atoms
        The structure; an atom and its own periodic image are a pair too.
    fraction : float
        Too close is a distance below this fraction of the sum of the covalent radii.

    Returns
    -------
    (distance, i, j) or None
        The worst pair, distance in Å; None where no pair is too close. Where the structure has
        collapsed, to less than half of what is too close, one of the worst.

    Raises
    ------
    ValueError
        For a periodic cell that is not finite or has no volume.
    """
    limits = fraction * covalent_radii[atoms.numbers]
    if not len(atoms) or 2 * limits.max() <= 0:
        return None
    limit = 2 * float(limits.max())
    cell = inverse = None
    if atoms.pbc.any():
        cell, inverse = _working_cell(atoms, limit)
        if (shortest := _norms(cell[atoms.pbc]).min()) < _COLLAPSED * limit:
            largest = int(limits.argmax())
            return float(shortest), largest, largest
    if len(atoms) <= _ALL_PAIRS:
        return _of_all_pairs(atoms.positions, atoms.pbc, cell, inverse, limits)
    some = np.unique(np.linspace(0, len(atoms) - 1, _ALL_PAIRS).astype(int))
    contact = _of_all_pairs(atoms.positions[some], atoms.pbc, cell, inverse, limits[some])
    if contact is not None:
        distance, i, j = contact[0], int(some[contact[1]]), int(some[contact[2]])
        if distance < _COLLAPSED * (limits[i] + limits[j]):
            return distance, i, j
    return _of_listed_pairs(atoms, cell, limits)


def _norms(rows: Array) -> Array:
    norms: Array = np.sqrt((rows * rows).sum(axis=1))
    return norms


def _working_cell(atoms: Atoms, limit: float) -> tuple[Array, Array]:
    """A cell of the same lattice with few images within the limit (Å), and its inverse.

    Vectors that are not periodic are replaced by unit vectors normal to the rest.
    """
    cell: Array = atoms.cell.array
    if not atoms.pbc.all():
        cell = complete_cell(np.where(atoms.pbc[:, None], cell, 0.0))
    inverse: Array
    try:
        inverse = np.array(np.linalg.inv(cell), dtype=float)
    except np.linalg.LinAlgError:
        inverse = np.full((3, 3), np.inf)
    height = 1 / _norms(inverse.T[atoms.pbc]).max()
    if not height > 1e-12 * np.abs(cell).max():  # nan, too
        raise ValueError(
            f"periodic along {atoms.pbc.tolist()}, but the cell {atoms.cell.tolist()} has no "
            "volume there or is not finite"
        )
    if height >= limit:
        return cell, inverse
    # The cell is thin, as very skewed ones are of a lattice that is not.
    cell = np.array(minkowski_reduce(cell, atoms.pbc)[0])
    inverse = np.array(np.linalg.inv(cell), dtype=float)
    return cell, inverse


def _worst(i: np.ndarray, j: np.ndarray, distance: Array, limits: Array) -> Contact | None:
    if not len(i):
        return None
    worst = int(np.argmin(distance / (limits[i] + limits[j])))
    return float(distance[worst]), int(i[worst]), int(j[worst])


def _of_listed_pairs(atoms: Atoms, cell: Array | None, limits: Array) -> Contact | None:
    bare = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=cell, pbc=atoms.pbc)
    i, j, distance = neighbor_list("ijd", bare, cutoff=limits)
    return _worst(i, j, distance, limits)


@lru_cache(maxsize=8)
def _pair_indices(n: int, diagonal: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(n, diagonal)


def _of_all_pairs(
    positions: Array, pbc: np.ndarray, cell: Array | None, inverse: Array | None, limits: Array
) -> Contact | None:
    """The worst pair within the limits, from all pairs of atoms.

    A vector shorter than half the distance between opposite faces of the cell has scaled
    components below 1/2, so that rounding finds it. Thinner cells need more images, and with
    them the images of the atom itself.
    """
    if not len(positions):
        return None
    images: list[tuple[int, ...]] = [(0, 0, 0)]
    if cell is not None and inverse is not None:
        # |scaled component| <= |vector| |column of the inverse| = |vector| / height
        reach = np.floor(2 * limits.max() * _norms(inverse.T) + 0.5) * pbc
        if reach.any():
            images = [*itertools.product(*(range(-n, n + 1) for n in reach.astype(int).tolist()))]
    i, j = _pair_indices(len(positions), 1 if len(images) == 1 else 0)
    vectors = positions[i] - positions[j]
    if cell is not None and inverse is not None:
        vectors -= np.rint(vectors @ inverse) * pbc @ cell
    limit = (limits[i] + limits[j]) ** 2
    worst: list[Contact] = []
    for image in images:
        shifted = vectors + np.array(image, float) @ cell if any(image) else vectors
        squares = np.einsum("px,px->p", shifted, shifted)
        close = squares < limit
        if not any(image):
            close &= i != j
        contact = _worst(i[close], j[close], np.sqrt(squares[close]), limits)
        worst += [contact] if contact is not None else []
    return min(worst, key=lambda pair: pair[0] / (limits[pair[1]] + limits[pair[2]]), default=None)
