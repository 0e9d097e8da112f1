"""From one ordering of a lattice to its variants and the supercell they share."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ase_hal.free_energy.lattice import Lattice, Supercell, from_cell, hermite_form
from ase_hal.free_energy.orientation import orientations
from ase_hal.free_energy.symmetry import IntArray


@dataclass(frozen=True, eq=False)
class Variants:
    """The orderings that the symmetry of a lattice makes equivalent to one.

    Attributes
    ----------
    supercell : Supercell
        The mutually commensurate one: the smallest in which every variant is periodic.
    occupations : (V, N) integers
        Of its N sites in each of the V variants; the ordering given is the first.
    permutations : (G, N) integers
        Where each symmetry operation takes each site, all translations included.
    n_translations : int
        The first so many permutations are the lattice translations.
    """

    supercell: Supercell
    occupations: IntArray
    permutations: IntArray
    n_translations: int


def find_variants(lattice: Lattice, ordering: Atoms, occupied: str | None = None) -> Variants:
    """Apply the space group of a lattice to an ordering of it.

    Parameters
    ----------
    lattice : Lattice
    ordering : Atoms
        A cell of the ordering, which is a supercell of the lattice in any orientation, with its
        atoms on sites.
    occupied : str, optional
        The element whose sites count as occupied, if not every atom of `ordering` does.
    """
    ordering, *others = orientations(lattice, ordering, occupied)
    own = from_cell(lattice, ordering)
    pattern = own.occupations(ordering, occupied)
    if not 0 < pattern.sum() < own.n_sites:
        raise ValueError(
            f"an ordering has occupied and empty sites; here {pattern.sum()} of {own.n_sites} are "
            f"occupied" + ("" if occupied else " (say which element is, unless all atoms are)")
        )
    # A cube of primitive cells is a supercell for each image of the ordering.
    edge = _exponent(own)
    cube = Supercell(lattice, edge * np.eye(3, dtype=np.int64))
    first = pattern[own.index(cube.offsets, cube.basis)]
    turned = [_moved(first, cube.permutation(g)) for g in lattice.operations]
    rotated = np.unique(turned, axis=0).astype(np.uint8)  # translations of these are many
    shifts = [cube.index(cube.offsets + shift, cube.basis) for shift in cube.cell_offsets]
    images = np.unique(np.concatenate([rotated[:, shift] for shift in shifts]), axis=0)
    periods = [
        offset
        for offset, shift in zip(cube.cell_offsets, shifts, strict=True)
        if np.array_equal(images[:, shift], images)
    ]
    shared = Supercell(lattice, hermite_form([*cube.matrix, *periods]))
    occupations = images[:, cube.index(shared.offsets, shared.basis)].astype(np.int64)
    given = pattern[own.index(shared.offsets, shared.basis)]
    is_given = (occupations == given).all(axis=1)
    occupations = np.concatenate([occupations[is_given], occupations[~is_given][::-1]])
    permutations = [
        shared.permutation(g, shift) for g in lattice.operations for shift in shared.cell_offsets
    ]
    found = Variants(shared, occupations, np.array(permutations), shared.n_cells)
    if not all(_is_variant(found, other, occupied) for other in others):
        raise ValueError(
            "the structure fits the lattice in several orientations that are different orderings: "
            "give it in that of the crystal, in a format that keeps it (not CIF)"
        )
    return found


def _is_variant(variants: Variants, ordering: Atoms, occupied: str | None) -> bool:
    """Whether a structure on the lattice is one of the variants."""
    shared = variants.supercell
    own = from_cell(shared.lattice, ordering)
    edge = np.lcm(_exponent(own), _exponent(shared))
    cube = Supercell(shared.lattice, edge * np.eye(3, dtype=np.int64))
    pattern = own.occupations(ordering, occupied)[own.index(cube.offsets, cube.basis)]
    known = variants.occupations[:, shared.index(cube.offsets, cube.basis)]
    return bool((known == pattern).all(axis=1).any())


def _moved(occupations: IntArray, permutation: IntArray) -> IntArray:
    result = np.empty_like(occupations)
    result[permutation] = occupations
    return result


def _exponent(supercell: Supercell) -> int:
    """Smallest n for which n times every lattice vector is one of the supercell."""
    inverse = np.linalg.inv(supercell.matrix)
    for n in range(1, supercell.n_cells + 1):
        if np.allclose(n * inverse, np.rint(n * inverse), atol=1e-6):
            return n
    raise AssertionError("the determinant is always such a number")
