"""Shortest distances between the elements of a structure."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from ase_hal.ace.neighbors import NeighborList

Pair = tuple[str, str]

# Å beyond twice the largest covalent radius: neighbours in any crystal are nearer.
_MARGIN = 0.6


def closest_pairs(atoms: Atoms) -> dict[Pair, tuple[float, int, int]]:
    """The closest atoms of every pair of elements that is within reach of a bond.

    Returns
    -------
    dict of (str, str) to (float, int, int)
        Distance (Å) and indices of the two atoms, by symbols in alphabetical order.
    """
    elements = tuple(sorted(set(atoms.symbols)))
    cutoff = 2 * float(covalent_radii[atoms.numbers].max()) + _MARGIN
    pairs, positions, shifts = NeighborList(elements, cutoff, 0.0).update(atoms)
    n_pairs = int(pairs.pair_first[-1])
    if not n_pairs:
        return {}
    counts = np.diff(pairs.pair_first).reshape(len(atoms), -1).sum(axis=1)
    first = np.repeat(np.arange(len(atoms)), counts)
    second = pairs.neighbour[:n_pairs]
    vectors = positions[second] + shifts[pairs.shift[:n_pairs]] - positions[first]
    distances = np.linalg.norm(vectors, axis=1)
    species = np.array([elements.index(symbol) for symbol in atoms.symbols])
    kind = species[first] * len(elements) + species[second]
    found: dict[Pair, tuple[float, int, int]] = {}
    for number in np.unique(kind):
        a, b = divmod(int(number), len(elements))
        if a <= b:
            members = np.flatnonzero(kind == number)
            best = members[int(np.argmin(distances[members]))]
            found[elements[a], elements[b]] = (
                float(distances[best]),
                int(first[best]),
                int(second[best]),
            )
    return found


def bond_length(pair: Pair) -> float:
    """Sum of the covalent radii of two elements, Å."""
    from ase.data import atomic_numbers

    return float(sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair))
