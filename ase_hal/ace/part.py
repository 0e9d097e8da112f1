"""One basis, compiled, and together with buffers: the calls into the kernels."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from threading import Lock
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_hal.ace.kernels.layout import LANES, Basis, List, Work, aligned, build_basis
from ase_hal.ace.row_program import RowProgram, compile_rows
from ase_hal.ace.tables import FunctionTables

Array = NDArray[np.float64]

# Chunks and values are kept from one pass to the next if they take less than this (per basis),
# else they are computed again. Passes that need them kept go through larger structures in batches.
_KEPT_BYTES = 2**26

_NOTHING = (np.empty((0, 0)), np.empty(0), np.empty((0, 0, 3)), np.empty((0, 6)))


class Structure:
    """What kernels need to know of some atoms.

    Attributes
    ----------
    blocks : (int, int)
        First and last (exclusive) block.
    """

    __slots__ = ("blocks", "n_atoms", "numbers", "pairs", "positions", "shifts")

    def __init__(self, numbers: Array, pairs: List, positions: Array, shifts: Array) -> None:
        self.numbers = numbers
        self.n_atoms = len(numbers)
        self.pairs = pairs
        self.positions = positions
        self.shifts = shifts
        self.blocks = (0, len(pairs.block_species))


class CompiledTables:
    """One basis as the kernels want it: nothing changes any more, all threads share it.

    Parameters
    ----------
    tables : FunctionTables
    """

    def __init__(self, tables: FunctionTables) -> None:
        from ase_hal.ace.kernels import passes, rows, single_atoms

        self.passes, self.rows, self.single_atoms = passes, rows, single_atoms
        self.tables = tables
        self.basis, self.program = build_basis(tables)
        self.couplings = self.program.couplings
        self.expansion = self.couplings.T.tocsr()
        self.function_first = np.searchsorted(tables.central, np.arange(len(tables.elements) + 1))
        self._row_program: RowProgram | None = None
        self._lock = Lock()

    @property
    def row_program(self) -> RowProgram:
        """Of the derivatives of every function; compiled when it is first asked for."""
        with self._lock:
            if self._row_program is None:
                self._row_program = compile_rows(self.tables, self.program.numbering)
            return self._row_program


class Part:
    """One basis with its buffers, for one thread at a time.

    Parameters
    ----------
    compiled : CompiledTables
    column : int
        Number of functions of the parts before this one.
    """

    def __init__(self, compiled: CompiledTables, column: int) -> None:
        self.compiled = compiled
        self.tables = tables = compiled.tables
        self.columns = slice(column, column + tables.size)
        self.basis, self._program = compiled.basis, compiled.program
        self._passes, self._rows = compiled.passes, compiled.rows
        self._single_atoms = compiled.single_atoms
        self._couplings, self._expansion = compiled.couplings, compiled.expansion
        self._function_first = compiled.function_first
        self._leaves = aligned(len(self._program.partner))
        self._by_function = aligned(tables.size + LANES)
        self._row_program: RowProgram | None = None
        self._row_buffers: tuple[Array, ...] = ()
        self._work = _new_work(self.basis)
        self._kept: Structure | None = None
        # what batches and room were last worked out for
        self._batched: tuple[List, list[tuple[int, int]]] | None = None
        self._room: tuple[List, tuple[int, int], bool] | None = None

    def descriptors(self, structure: Structure) -> Array:
        """B summed over atoms."""
        keep = self._batches(structure) == [structure.blocks]
        self._leaves[:] = 0.0
        self._evaluate(structure, structure.blocks, True, keep, self._leaves, *_NOTHING)
        return self._sums()

    def differentiate(
        self, structure: Structure, vectors: Array, energies: Array, forces: Array, virials: Array
    ) -> None:
        """Add energies (K,), forces (K, N, 3) and virials (K, 6) for coefficients (K, n)."""
        coefficients = np.empty((len(vectors), len(self._program.partner)))
        self._passes.expand_coefficients(
            *_sparse(self._expansion), vectors, self.columns.start, coefficients
        )
        kept = self._kept is structure
        self._evaluate(
            structure, structure.blocks, not kept, kept, np.empty(0), coefficients, energies,
            forces, virials,
        )  # fmt: skip

    def atomic_descriptors(self, structure: Structure, result: Array) -> None:
        """Set the columns of this part in ``result`` (N, n)."""
        for batch in self._kept_batches(structure, np.empty(0)):
            self._single_atoms.atomic_functions(
                self.basis, structure.pairs, self._work, batch, self._function_first,
                *_sparse(self._couplings), self._leaves, self._by_function, self.columns.start,
                result,
            )  # fmt: skip

    def differentiate_atoms(
        self, structure: Structure, weights: Array, forces: Array, virial: Array
    ) -> None:
        """Add forces (N, 3) and virial (6,) for one coefficient vector per atom (N, n)."""
        for batch in self._kept_batches(structure, np.empty(0)):
            self._single_atoms.differentiate_atoms(
                self.basis, structure.pairs, self._work, batch, self._function_first,
                *_sparse(self._expansion), weights, self.columns.start,
                self._leaves.reshape(-1, LANES), self._by_function, forces, virial,
            )  # fmt: skip

    def rows(self, structure: Structure, forces: Array, virial: Array) -> Array:
        """Add to the columns of this part in forces (N, 3, n) and virial (6, n); return B."""
        if self._row_program is None:
            self._row_program = self.compiled.row_program
            n_entries = int(np.diff(self._row_program.entry_start).max())
            n_alpha = self.basis.n_base + self.basis.n_lm * self.basis.n_max
            sizes = (n_entries + LANES, n_entries + LANES, 3 * n_alpha, 3 * LANES)
            self._row_buffers = tuple(aligned(size) for size in sizes)
        self._leaves[:] = 0.0
        for batch in self._kept_batches(structure, self._leaves):
            self._rows.add_rows(
                self.basis, structure.pairs, self._work, batch, self._row_program,
                self.columns.start, forces.shape[-1], *self._row_buffers, forces.reshape(-1),
                virial.reshape(-1),
            )  # fmt: skip
        return self._sums()

    def _sums(self) -> Array:
        result = np.empty(self.tables.size)
        self._passes.sum_functions(*_sparse(self._couplings), self._leaves, result)
        return result

    def _evaluate(
        self,
        structure: Structure,
        blocks: tuple[int, int],
        fresh: bool,
        keep: bool,
        leaves: Array,
        *derivatives: Array,
    ) -> None:
        """One pass of the main kernel over some blocks."""
        if fresh:
            self._kept = None
            self._make_room(structure.pairs, blocks, keep)
        trouble = np.zeros(3)
        self._passes.evaluate(
            self.basis, structure.pairs, self._work, structure.positions, structure.shifts, blocks,
            fresh, keep, trouble, leaves, *derivatives,
        )  # fmt: skip
        if trouble[0]:
            i, j = int(trouble[0]) - 1, int(trouble[1])
            symbols = [chemical_symbols[structure.numbers[atom]] for atom in (i, j)]
            species = [self.tables.elements.index(symbol) for symbol in symbols]
            bound = (self.tables.cutoffs / self.tables.bins)[species[0], species[1]]
            raise ValueError(
                f"atoms {i} ({symbols[0]}) and {j} ({symbols[1]}) are "
                f"{trouble[2]:.3g} Å apart; radial functions start at {bound:.3g} Å"
            )
        if keep and blocks == structure.blocks:
            self._kept = structure

    def _kept_batches(self, structure: Structure, leaves: Array) -> Iterator[tuple[int, int]]:
        """Ranges of blocks, whose chunks and values are in the buffers while each is handled."""
        if self._kept is structure and not leaves.size:
            yield structure.blocks
            return
        for batch in self._batches(structure):
            self._evaluate(structure, batch, True, True, leaves, *_NOTHING)
            yield batch

    def _batches(self, structure: Structure) -> list[tuple[int, int]]:
        """Ranges of blocks that fit into the buffers."""
        if self._batched is not None and self._batched[0] is structure.pairs:
            return self._batched[1]
        first, last = structure.blocks
        bounds = structure.pairs.chunk_first[:: LANES * self.basis.n_species]
        per_block = 2 * self.basis.n_values
        sizes = 8 * LANES * (np.diff(bounds) * self.basis.chunk_size + per_block)
        batch = (np.cumsum(sizes) // _KEPT_BYTES).astype(np.int64)
        edges = [first, *(np.flatnonzero(np.diff(batch)) + 1).tolist(), last]
        batches = list(pairwise(edges))
        self._batched = structure.pairs, batches
        return batches

    def _make_room(self, pairs: List, blocks: tuple[int, int], keep: bool) -> None:
        """Make the buffers large enough; they only ever grow."""
        if self._room is not None and self._room[0] is pairs and self._room[1:] == (blocks, keep):
            return
        self._room = pairs, blocks, keep
        basis = self.basis
        n_slots = LANES * (blocks[1] - blocks[0]) if keep else LANES
        bounds = pairs.chunk_first[:: LANES * basis.n_species]
        if keep:
            n_chunks = int(bounds[blocks[1]] - bounds[blocks[0]])
        else:
            n_chunks = int(np.diff(bounds).max(initial=0))
        n_local = int(np.diff(pairs.chunk_first).max(initial=0))
        sizes = {
            "chunks": n_chunks * basis.chunk_size * LANES,
            "neighbour": n_chunks * LANES,
            "counts": n_slots * basis.n_species,
            "values": 2 * basis.n_values * n_slots,
            "radial": n_local * LANES * basis.n_knot_vectors * LANES,
            "mixed": n_local * LANES * (basis.l_max + 1) * basis.n_vectors * LANES,
            "harmonics": n_local * basis.n_lm * LANES,
        }
        work = self._work
        small = {name: size for name, size in sizes.items() if getattr(work, name).size < size}
        if small:
            grown = {name: _room(getattr(work, name).dtype, size) for name, size in small.items()}
            self._work = work._replace(**grown)


def _sparse(matrix: Any) -> tuple[NDArray[Any], ...]:
    return matrix.indptr, matrix.indices, matrix.data


def _room(dtype: Any, size: int) -> NDArray[Any]:
    size += size // 8
    return aligned(-(-size // LANES)) if dtype == np.float64 else np.zeros(size, dtype=dtype)


def _new_work(basis: Basis) -> Work:
    return Work(
        chunks=aligned(1),
        neighbour=np.zeros(1, dtype=np.int32),
        counts=np.zeros(1, dtype=np.int64),
        values=aligned(1),
        adjoint=aligned(2 * basis.n_values),
        rows=aligned(LANES * basis.row_size),
        radial=aligned(1),
        radial_slope=aligned(LANES * basis.n_knot_vectors),
        mixed=aligned(1),
        mixed_slope=aligned(LANES * (basis.l_max + 1) * basis.n_vectors),
        harmonics=aligned(1),
        sums=aligned(2 * basis.n_lm),
        square=aligned(LANES),
    )
