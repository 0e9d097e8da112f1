"""Structures that are turned against their lattice, as those from CIF files are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from ase import Atoms

from ase_hal.free_energy.lattice import Lattice, Supercell
from ase_hal.free_energy.symmetry import Array, IntArray


def turned_to(lattice: Lattice, atoms: Atoms, occupied: str | None = None) -> Atoms:
    """Turn a structure so that its cell is a supercell of a lattice, if that can be.

    Parameters
    ----------
    lattice : Lattice
    atoms : Atoms
        In any orientation. Atoms of the element `occupied`, or all, are on sites then.
    occupied : str, optional

    Returns
    -------
    Atoms
        The structure itself where it need not be turned, or cannot.

    Raises
    ------
    ValueError
        If it fits in several orientations between which the symmetry of the lattice does not
        mediate, so that they are different orderings.
    """
    cell = np.array(atoms.cell)
    matrix = cell @ np.linalg.inv(lattice.cell)
    if np.abs((matrix - np.rint(matrix)) @ lattice.cell).max() <= 10 * lattice.tolerance:
        return atoms
    found: list[tuple[IntArray, Atoms]] = []
    for matrix in _embeddings(lattice, cell):
        turned = atoms.copy()
        turned.set_cell(matrix @ lattice.cell, scale_atoms=True)
        try:
            Supercell(lattice, matrix).occupations(turned, occupied)
        except ValueError:
            continue
        found.append((matrix, turned))
    if not found:
        return atoms
    alike = {(found[0][0] @ g.rotation.T).tobytes() for g in lattice.operations}
    if any(matrix.tobytes() not in alike for matrix, _ in found):
        raise ValueError(
            "the structure fits the lattice in several orientations that are different orderings: "
            "give it in that of the crystal, in a format that keeps it (not CIF)"
        )
    return found[0][1]


def _embeddings(lattice: Lattice, cell: Array) -> Iterator[IntArray]:
    """Integer matrices whose supercells have the shape and the handedness of a cell."""
    gram = lattice.cell @ lattice.cell.T
    wanted = cell @ cell.T
    lengths = np.sqrt(np.diag(wanted))
    allowed = 20 * lattice.tolerance * lengths.max()
    reach = np.ceil(lengths.max() * np.linalg.norm(np.linalg.inv(lattice.cell), axis=0)).astype(int)
    vectors = np.array(list(itertools.product(*(range(-r, r + 1) for r in reach))), dtype=np.int64)
    squares = np.einsum("ni,ij,nj->n", vectors, gram, vectors)
    first, second, third = (
        vectors[np.abs(squares - wanted[i, i]) <= allowed] for i in range(3)
    )  # fmt: skip
    hand = np.linalg.det(cell) > 0
    for a in first:
        for b in second[np.abs(second @ gram @ a - wanted[0, 1]) <= allowed]:
            near = np.abs(third @ gram @ a - wanted[0, 2]) <= allowed
            near &= np.abs(third @ gram @ b - wanted[1, 2]) <= allowed
            for c in third[near]:
                matrix = np.array([a, b, c])
                if (np.linalg.det(matrix @ lattice.cell) > 0) == hand:
                    yield matrix
