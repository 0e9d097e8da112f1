"""What makes a structure unphysical: atoms too close, or a model that refuses it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.constraints import FixCom
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ase_hal.committee import REFUSALS
from ase_hal.prediction import Array

_ALL_PAIRS = 300  # up to this many atoms all pairs at once are faster than a neighbour list


class StructureRefused(RuntimeError):
    """A model could not evaluate the structure that a dynamics arrived at."""


@contextmanager
def refusals_named() -> Iterator[None]:
    """Turn what a model raises on an impossible structure into `StructureRefused`."""
    try:
        yield
    except REFUSALS as error:
        raise StructureRefused(f"the model refused the structure: {error}") from error


def volume_of(atoms: Atoms) -> float:
    """Volume in Å^3; 0 without three cell vectors. Ten times faster than ASE's."""
    (a, b, c), (d, e, f), (g, h, i) = atoms.cell.array.tolist()
    return abs(a * (e * i - f * h) + b * (f * g - d * i) + c * (d * h - e * g))


def movable(vectors: Array, atoms: Atoms | None) -> Array:
    """What constraints leave of vectors (N, 3), such as forces; all of them without atoms."""
    if atoms is None or not atoms.constraints:
        return vectors
    vectors = vectors.copy()
    for constraint in atoms.constraints:
        constraint.adjust_forces(atoms, vectors)
    return vectors


def closest_contact(atoms: Atoms, fraction: float) -> tuple[float, int, int] | None:
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
        The worst pair, distance in Å; None where no pair is too close.
    """
    limits = fraction * covalent_radii[atoms.numbers]
    if not len(atoms) or 2 * limits.max() <= 0:
        return None
    pairs = _all_pairs if len(atoms) <= _ALL_PAIRS else _listed_pairs
    i, j, distance = pairs(atoms, limits)
    if not len(i):
        return None
    worst = int(np.argmin(distance / (limits[i] + limits[j])))
    return float(distance[worst]), int(i[worst]), int(j[worst])


def _listed_pairs(atoms: Atoms, limits: Array) -> tuple[np.ndarray, np.ndarray, Array]:
    i, j, distance = neighbor_list("ijd", atoms, cutoff=limits)
    return i, j, distance


@lru_cache(maxsize=8)
def _pair_indices(n: int, diagonal: int) -> tuple[np.ndarray, np.ndarray]:
    return np.triu_indices(n, diagonal)


def _all_pairs(atoms: Atoms, limits: Array) -> tuple[np.ndarray, np.ndarray, Array]:
    """Pairs within the limits, from all pairs of atoms.

    A vector shorter than half the distance between opposite faces of the cell has scaled
    components below 1/2, so that rounding finds it. Thinner cells need more images, and with
    them the images of the atom itself.
    """
    pbc, cell = atoms.pbc, np.eye(3)
    images: list[tuple[int, ...]] = [(0, 0, 0)]
    if pbc.any():
        cell = atoms.cell.array if volume_of(atoms) > 0 else atoms.cell.complete().array
        inverse = np.linalg.inv(cell)
        # |scaled component| <= |vector| |column of the inverse| = |vector| / height
        reach = np.floor(2 * limits.max() * np.linalg.norm(inverse, axis=0) + 0.5) * pbc
        if reach.any():
            images = [*itertools.product(*(range(-n, n + 1) for n in reach.astype(int).tolist()))]
    i, j = _pair_indices(len(atoms), 1 if len(images) == 1 else 0)
    vectors = atoms.positions[i] - atoms.positions[j]
    if pbc.any():
        vectors -= np.rint(vectors @ inverse) * pbc @ cell
    limit = (limits[i] + limits[j]) ** 2
    found = []
    for image in images:
        shifted = vectors + np.array(image, float) @ cell if any(image) else vectors
        squares = np.einsum("px,px->p", shifted, shifted)
        close = squares < limit
        if not any(image):
            close &= i != j
        found.append((i[close], j[close], np.sqrt(squares[close])))
    first, second, distance = (np.concatenate(column) for column in zip(*found, strict=True))
    return first, second, distance


def check_cell_may_change(atoms: Atoms, who: str) -> None:
    """Raise ValueError where changing the cell of these atoms is not defined."""
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(
            f"{who} changes the cell, which needs three periodic directions, "
            f"got pbc={atoms.pbc.tolist()} and a cell of rank {atoms.cell.rank}"
        )
    others = [type(c).__name__ for c in atoms.constraints if type(c) is not FixCom]
    if others:
        raise ValueError(
            f"{who} moves all atoms with the cell, which {', '.join(others)} forbids: "
            "of the constraints, only FixCom can stay"
        )
