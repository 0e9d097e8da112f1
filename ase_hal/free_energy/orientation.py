"""Structures that are turned against their lattice, as those from CIF files are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from ase import Atoms

from ase_hal.free_energy.lattice import Lattice, Supercell, fits
from ase_hal.free_energy.symmetry import Array, IntArray


def orientations(lattice: Lattice, atoms: Atoms, occupied: str | None = None) -> list[Atoms]:
    """Turn a structure so that its cell is a supercell of a lattice, in all ways there are.

    Parameters
    ----------
    lattice : Lattice
    atoms : Atoms
        A cell that fits as it is is not turned.
    occupied : str, optional
        Atoms of this element, or all, have to be on sites.

    Returns
    -------
    list of Atoms
        The structure itself where no way is found.
    """
    if fits(lattice, atoms):
        return [atoms]
    found = []
    for embedding in _embeddings(lattice, np.array(atoms.cell)):
        turned = atoms.copy()
        turned.set_cell(embedding @ lattice.cell, scale_atoms=True)
        try:
            Supercell(lattice, embedding).occupations(turned, occupied)
        except ValueError:
            continue
        found.append(turned)
    return found or [atoms]


def _embeddings(lattice: Lattice, cell: Array) -> Iterator[IntArray]:
    """Integer matrices whose supercells have the shape and the handedness of a cell."""
    gram = lattice.cell @ lattice.cell.T
    wanted = cell @ cell.T
    lengths = np.sqrt(np.diag(wanted))
    allowed = 20 * lattice.tolerance * lengths.max()
    reach = np.ceil(lengths.max() * np.linalg.norm(np.linalg.inv(lattice.cell), axis=0)).astype(int)
    vectors = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))), dtype=np.int64)
    squares = np.einsum("ni,ij,nj->n", vectors, gram, vectors)
    first, second, third = (vectors[np.abs(squares - wanted[i, i]) <= allowed] for i in range(3))
    hand = np.linalg.det(cell) > 0
    for a in first:
        for b in second[np.abs(second @ gram @ a - wanted[0, 1]) <= allowed]:
            near = np.abs(third @ gram @ a - wanted[0, 2]) <= allowed
            near &= np.abs(third @ gram @ b - wanted[1, 2]) <= allowed
            for c in third[near]:
                matrix = np.array([a, b, c])
                if (np.linalg.det(matrix @ lattice.cell) > 0) == hand:
                    yield matrix
