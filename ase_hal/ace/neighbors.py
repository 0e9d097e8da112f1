"""A full neighbour list with a skin, kept while it provably holds every pair within the cutoff."""

from __future__ import annotations

import math
from functools import lru_cache
from threading import Lock
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols
from ase.geometry import complete_cell
from numpy.typing import NDArray

from ase_hal.ace.kernels.layout import LANES, List

_MOST_IMAGES = 50  # of a cell in one direction; more means that it has collapsed

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_NO_SHIFTS: Int = np.zeros((1, 3), dtype=np.int64)
_NO_TRANSLATIONS: Float = np.zeros((1, 3))
_NO_WRAPS: Float = np.empty((0, 3))


class NeighborList:
    """Pairs (i, j, translation) closer than cutoff + skin, sorted by i and the species of j.

    A list made for positions r and cell h serves positions r' and cell h' as long as

        s (cutoff + skin) - 2 max |u| >= cutoff,   u = r' - r F,  F = h^-1 h',

    with s the smallest singular value of F and u counted from its mean: a pair vector d that the
    list does not hold became d F + u_j - u_i. Without a change of the cell this says that no atom
    moved by more than half the skin.

    Its order is that of the positions it was built for: what is summed over it depends in the last
    digits on the structures before. It is therefore meant for one Atoms object; see
    `ase_hal.ace.neighbor_lists.NeighborLists`.

    Parameters
    ----------
    elements : tuple of str
        Chemical symbols; species are numbered in this order.
    cutoff, skin : float
        Å.
    like : NeighborList, optional
        One that was used for similar structures: what it has learned saves work.
    """

    # there is one for each structure of a dataset
    __slots__ = (
        "__weakref__", "_built_cell", "_in_cell", "_kind", "_lock", "_per_atom", "_positions",
        "_shifts", "_translations", "_wrapped", "_wraps", "builds", "cutoff", "elements", "pairs",
        "skin",
    )  # fmt: skip

    def __init__(
        self,
        elements: tuple[str, ...],
        cutoff: float,
        skin: float,
        *,
        like: NeighborList | None = None,
    ) -> None:
        if not skin >= 0.0:
            raise ValueError(f"skin must not be negative, got {skin}")
        self.elements = elements
        self.cutoff = cutoff
        self.skin = skin
        self.builds = 0
        self._lock = Lock()
        # cell and periodicity it was asked for last, and the cell to work with: in one, because
        # other lists may read them while they change
        self._in_cell: tuple[tuple[bytes, ...], Float] = (), np.eye(3)
        self._per_atom = 0.0  # pairs
        if like is not None:
            self.learn(like)
        # what it was built for
        self._kind: tuple[bytes, ...] = ()
        self._positions = np.empty((0, 3))
        self._built_cell = self._in_cell[1]
        self._shifts, self._translations = _NO_SHIFTS, _NO_TRANSLATIONS
        self._wraps, self._wrapped = _NO_WRAPS, False
        self.pairs: List | None = None

    def update(self, atoms: Atoms) -> tuple[List, Float, Float]:
        """List for some atoms, positions (N, 3) to use with it, and translations (., 3) in Å.

        None of them is changed later on.
        """
        with self._lock:
            at, pbc = atoms.positions, atoms.pbc.tobytes()
            given = (atoms.cell.array.tobytes(), pbc)
            if given != self._in_cell[0]:
                self._in_cell = given, _working_cell(atoms)
                self._translations = self._shifts @ self._in_cell[1]
            cell = self._in_cell[1]
            pairs = self.pairs
            if (atoms.numbers.tobytes(), pbc) != self._kind or self._outdated(at):
                pairs = self._build(atoms, np.array(at, dtype=float), cell)
                self.builds += 1
            elif pairs is None:
                pairs = self._build(atoms, self._positions, self._built_cell)
            return pairs, at - (self._wraps @ cell if self._wrapped else 0.0), self._translations

    def release(self) -> None:
        """Give the memory of the pairs back, unless the list is in use.

        It remembers what it was built for, and is built for that again where it still serves: the
        pairs and their order are then the same.
        """
        if self._lock.acquire(blocking=False):
            try:
                self.pairs = None
                self._shifts, self._translations = _NO_SHIFTS, _NO_TRANSLATIONS
                self._wraps = _NO_WRAPS
            finally:
                self._lock.release()

    def learn(self, other: NeighborList) -> None:
        """Take over what does not change the pairs, but saves work where structures are alike."""
        self._in_cell, self._per_atom = other._in_cell, other._per_atom

    @property
    def nbytes(self) -> int:
        """Memory of the pairs."""
        pairs = self.pairs
        return 0 if pairs is None else sum(array.nbytes for array in pairs)

    def _outdated(self, positions: Float) -> bool:
        """Whether the list may lack pairs of the same atoms at such positions."""
        smallest, reference = 1.0, self._positions
        cell = self._in_cell[1]
        if cell is not self._built_cell:
            deformation = np.linalg.solve(self._built_cell, cell)
            smallest = np.linalg.svd(deformation, compute_uv=False)[-1]
            reference = reference @ deformation
        allowed = (smallest * (self.cutoff + self.skin) - self.cutoff) / 2
        moved = positions - reference
        if _largest(moved) <= allowed:
            return False
        # all atoms together may have moved further
        return not _largest(moved - moved.mean(axis=0)) <= allowed

    def _build(self, atoms: Atoms, positions: Float, cell: Float) -> List:
        """Pairs of these atoms at such positions, in such a cell."""
        from ase_hal.ace.kernels.cells import find_pairs

        species = self._species(atoms)
        if not np.isfinite(positions).all():
            raise ValueError(f"position of atom {_first_bad(positions)} is not finite")
        radius = self.cutoff + self.skin
        fractional = positions @ np.linalg.inv(cell)
        wraps = np.where(atoms.pbc, np.floor(fractional), 0.0)
        fractional -= wraps
        box = cell.copy()
        for axis in np.flatnonzero(~atoms.pbc):  # a box around the atoms (cell[axis] is of 1 Å)
            low = fractional[:, axis].min(initial=0.0)
            extent = max(fractional[:, axis].max(initial=0.0) - low, 1.0)
            box[axis] *= extent
            fractional[:, axis] = (fractional[:, axis] - low) / extent
        heights = 1 / np.linalg.norm(np.linalg.inv(box), axis=0)
        bins = _bins(heights, radius, len(atoms))
        reach = np.ceil(radius * bins / heights).astype(np.int64)
        images = np.where(atoms.pbc, np.ceil(radius / heights), 0).astype(np.int64)
        if images.max(initial=0) > _MOST_IMAGES:
            raise ValueError(
                f"the cell is only {heights[atoms.pbc].min():.3g} Å high, which the cutoff of "
                f"{self.cutoff:g} Å spans more than {_MOST_IMAGES} times"
            )
        first = np.zeros(len(atoms) * len(self.elements) + 1, dtype=np.int64)
        room = int(1.1 * self._per_atom * len(atoms))
        while True:
            neighbour, shift = np.empty(room, dtype=np.int32), np.empty(room, dtype=np.int32)
            found = find_pairs(
                fractional, fractional @ box, box, species, len(self.elements), bins, reach, images,
                atoms.pbc, radius, first, neighbour, shift,
            )  # fmt: skip
            if found <= room:
                break
            room = found + found // 10
        self._per_atom = found / max(len(atoms), 1)
        self._kind = (atoms.numbers.tobytes(), atoms.pbc.tobytes())
        self._positions, self._built_cell = positions, cell
        self._shifts = np.indices(tuple(2 * images + 1)).reshape(3, -1).T - images
        self._translations = self._shifts @ self._in_cell[1]
        self._wraps, self._wrapped = wraps, bool(wraps.any())
        self.pairs = _blocks(species, len(self.elements), first, neighbour, shift)
        return self.pairs

    def _species(self, atoms: Atoms) -> Int:
        species = _numbering(self.elements)[atoms.numbers]
        if species.min(initial=0) < 0:
            unknown = sorted(set(atoms.symbols) - set(self.elements))
            raise ValueError(f"unknown elements {unknown}; the model has {list(self.elements)}")
        return species


@lru_cache(maxsize=64)
def _numbering(elements: tuple[str, ...]) -> Int:
    """Species of each atomic number, -1 for those of other elements."""
    species = np.full(len(chemical_symbols), -1, dtype=np.int64)
    species[[atomic_numbers[symbol] for symbol in elements]] = np.arange(len(elements))
    return species


def _largest(vectors: Float) -> float:
    """Length of the longest, NaN if there is one."""
    return math.sqrt(np.einsum("ij,ij->i", vectors, vectors).max(initial=0.0))


def _first_bad(positions: Float) -> int:
    return int(np.flatnonzero(~np.isfinite(positions).all(axis=1))[0])


def _working_cell(atoms: Atoms) -> Float:
    """The cell, with vectors that are not periodic replaced by unit vectors normal to the rest."""
    cell = np.array(atoms.cell, dtype=float)
    if not np.isfinite(cell).all():
        raise ValueError(f"the cell is not finite: {cell.tolist()}")
    cell[~atoms.pbc] = 0.0
    if np.linalg.matrix_rank(cell) < atoms.pbc.sum():
        raise ValueError(
            f"periodic along {atoms.pbc.tolist()}, but the cell {cell.tolist()} has no volume there"
        )
    return np.array(complete_cell(cell))


def _bins(heights: Float, radius: float, n_atoms: int) -> Int:
    """Bins of at least half the radius, but not many more than atoms."""
    bins = np.maximum(np.floor(2 * heights / radius), 1.0)
    excess = bins.prod() / (8 * n_atoms + 8)
    if excess > 1.0:
        bins = np.maximum(np.floor(bins / np.cbrt(excess)), 1.0)
    while bins.prod() > 64 * n_atoms + 64:  # one long axis
        bins[bins.argmax()] = np.ceil(bins.max() / 2)
    return bins.astype(np.int64)


def _blocks(
    species: Int, n_species: int, first: Int, neighbour: NDArray[Any], shift: NDArray[Any]
) -> List:
    """Put atoms of one species into blocks of eight, and give each its room for chunks."""
    order, block_species = [], []
    for central in range(n_species):
        members = np.flatnonzero(species == central)
        n_blocks = -(-len(members) // LANES)
        slots = np.full(n_blocks * LANES, -1, dtype=np.int32)
        slots[: len(members)] = members
        order.append(slots)
        block_species.append(np.full(n_blocks, central, dtype=np.int32))
    slots = np.concatenate(order)
    counts = -(-np.diff(first) // LANES).reshape(-1, n_species)
    chunks = np.where(slots[:, None] >= 0, counts[slots], 0) if len(counts) else np.zeros((0, 1))
    return List(
        order=slots,
        block_species=np.concatenate(block_species),
        pair_first=first,
        neighbour=neighbour,
        shift=shift,
        chunk_first=np.concatenate([[0], np.cumsum(chunks)]).astype(np.int64),
    )
