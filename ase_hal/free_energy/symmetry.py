"""Symmetry operations of a crystal: what maps a sublattice onto itself."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Operation:
    """A symmetry operation in terms of sites, up to a lattice translation.

    Site b of the primitive cell at the lattice vector o goes to site ``targets[b]`` of the cell
    at ``rotation @ o + offsets[b]``.

    Attributes
    ----------
    rotation : (3, 3) integers
        Acts on lattice vectors in units of the primitive cell (columns).
    targets : (B,) integers
    offsets : (B, 3) integers
    """

    rotation: IntArray
    targets: IntArray
    offsets: IntArray

    def __call__(self, offsets: IntArray, basis: IntArray) -> tuple[IntArray, IntArray]:
        """Images of the sites `basis` (...,) of the cells at `offsets` (..., 3)."""
        return offsets @ self.rotation.T + self.offsets[basis], self.targets[basis]


def crystal_operations(
    cell: Array, sites: Array, framework: Array, species: IntArray, tolerance: float
) -> tuple[Operation, ...]:
    """Find the space group of a crystal, as its action on some of its sites.

    Parameters
    ----------
    cell : (3, 3) array
        Lattice vectors as rows, Å.
    sites : (B, 3) array
        Fractional positions of the sites that the operations are about; all are alike.
    framework : (F, 3) array
        Fractional positions of all other atoms.
    species : (F,) integers
        What they are.
    tolerance : float
        How far an image may be from what it is the image of, Å.

    Returns
    -------
    tuple of Operation
        The identity first.
    """
    everything = np.concatenate([sites, framework])
    kinds = np.concatenate([np.full(len(sites), -1), species])
    found = []
    for rotation in lattice_rotations(cell, tolerance):
        # an atom of the rarest kind can go to few places
        rarest = min(set(kinds.tolist()), key=lambda kind: int((kinds == kind).sum()))
        candidates = np.flatnonzero(kinds == rarest)
        moved = everything @ rotation.T
        for target in candidates:
            shift = everything[target] - moved[candidates[0]]
            match = _match(moved + shift, everything, kinds, cell, tolerance)
            if match is not None:
                targets = match[: len(sites)]
                offsets = np.rint(moved[: len(sites)] + shift - sites[targets])
                found.append(Operation(rotation, targets, offsets.astype(np.int64)))
    return tuple(sorted(found, key=lambda g: not np.array_equal(g.rotation, np.eye(3))))


def lattice_rotations(cell: Array, tolerance: float) -> list[IntArray]:
    """Rotations and reflections that a lattice allows, as integer matrices (3, 3) on columns."""
    metric = cell @ cell.T
    lengths = np.sqrt(np.diag(metric))
    reach = np.floor(lengths.max() * np.linalg.norm(np.linalg.inv(cell), axis=0) + 1e-6)
    ranges = [np.arange(-r, r + 1) for r in reach]
    vectors = np.array(list(itertools.product(*ranges)), dtype=np.int64)
    norms = np.linalg.norm(vectors @ cell, axis=1)
    images = [vectors[np.abs(norms - length) < tolerance] for length in lengths]
    slack = 2 * tolerance * lengths.max()
    found = []
    for a, b in itertools.product(images[0], images[1]):
        if abs(a @ metric @ b - metric[0, 1]) > slack:
            continue
        for c in images[2]:
            rotation = np.stack([a, b, c], axis=1)
            if np.abs(rotation.T @ metric @ rotation - metric).max() < slack:
                found.append(rotation)
    return found


def _match(
    moved: Array, everything: Array, kinds: IntArray, cell: Array, tolerance: float
) -> IntArray | None:
    """Which atom each moved one falls on, up to lattice vectors; None unless all do."""
    difference = moved[:, None] - everything[None]
    difference -= np.rint(difference)
    distance = np.linalg.norm(difference @ cell, axis=2)
    distance[kinds[:, None] != kinds[None]] = np.inf
    match = distance.argmin(axis=1)
    fits = distance[np.arange(len(match)), match] < tolerance
    if not fits.all() or len(set(match.tolist())) < len(match):
        return None
    return match.astype(np.int64)
