"""What kernels are given: tuples of flat arrays, and how the arrays are laid out.

Two layouts alternate. In stages over neighbours the eight lanes of a vector are eight neighbours
of one species, a *chunk*; in stages over products they are eight atoms of one central species, a
*block*. Between them stands a *row* per atom, whose lanes are eight radial indices.

chunk
    One record of ``chunk_size`` vectors per eight neighbours: displacement (3), 1/r, R_nl,
    dR_nl/dr, dg_k/dr. Records of atom ``slot``, species s start at
    ``List.chunk_first[slot * S + s]``. Lanes to spare hold displacement (1, 0, 0) and zero
    radial functions. Harmonics are cheaper to compute twice than to keep.
row
    Of each atom: sums of g_k for each species, then A for each species, component and n. The
    (l_max + 1)^2 components of a real Y are numbered l^2 for m = 0, and l^2 + 2m - 1 and
    l^2 + 2m for the real and imaginary part of m > 0.
values
    X (and Z = dE/dX) of one block, real and imaginary part in turn, numbered as in
    ``ase_hal.ace.program``.

No numba here: this is imported by the code that fills the tuples.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_hal.ace.program import Program, compile_program
from ase_hal.ace.tables import FunctionTables

LANES = 8
Array = NDArray[Any]


class Basis(NamedTuple):
    """One compiled basis; species pairs are numbered central * S + neighbour."""

    n_species: int
    n_base: int  # number of g_k that rank 1 uses
    n_max: int  # number of radial indices of A
    l_max: int
    n_lm: int
    identity: bool  # R_nl = g_n for all pairs: no coefficients are applied
    n_knot_vectors: int  # vectors per value of a knot: all g_k in use
    n_base_vectors: int
    n_vectors: int  # vectors per row of n_max
    row_size: int  # in vectors
    # radial functions
    squared_cutoff: Array
    squared_bound: Array  # of one spline bin
    inverse_width: Array
    last_bin: Array
    first_knot: Array
    knots: Array
    crad: Array  # (pair, l, k), vectors over n
    # harmonics
    legendre_a: Array
    legendre_b: Array
    legendre_diagonal: Array
    quads: Array  # (., 5) flat: four components, and their l
    # positions within a chunk record
    chunk_size: int
    at_radial: int
    at_radial_slope: int
    at_base_slope: int
    l_stride: int  # from R_nl to R_n,l+1
    # products
    first_base: int
    first_atomic: int
    first_product: int
    n_values: int
    node_left: Array
    node_right: Array
    node_first: Array
    group_left: Array
    group_right: Array
    tile_group: Array  # (tiles + 1,) first group of each tile
    tile_first: Array  # (S + 1,) tiles of each central species
    leaf_first: Array
    partner: Array


class List(NamedTuple):
    """Neighbours, and the blocks atoms are evaluated in. Slot = position in a block."""

    order: Array  # (blocks * 8,) atom of each slot, -1 for none
    block_species: Array
    pair_first: Array  # (N * S + 1,) pairs of each atom and species
    neighbour: Array
    shift: Array  # index into ``shifts``
    chunk_first: Array  # (blocks * 8 * S + 1,)


class Work(NamedTuple):
    """Buffers, kept between calls."""

    chunks: Array
    neighbour: Array  # of each lane of each chunk
    counts: Array  # neighbours within the cutoff, of each slot and species
    values: Array
    adjoint: Array
    rows: Array
    radial: Array  # g_k of an atom's neighbours, one row each
    radial_slope: Array
    mixed: Array  # R_nl of an atom's neighbours, one row for each neighbour and l
    mixed_slope: Array
    harmonics: Array  # components of Y, lanes are neighbours
    sums: Array  # over n of Z R and Z dR/dr, for each component
    square: Array  # room for transposition


def vectors(size: int) -> int:
    """Number of vectors for ``size`` doubles."""
    return -(-size // LANES)


def aligned(n_vectors: int) -> NDArray[np.float64]:
    """Zeros for so many vectors, each within one cache line."""
    buffer = np.zeros(max(n_vectors, 1) * LANES + LANES)
    start = (-buffer.ctypes.data // buffer.itemsize) % LANES
    return buffer[start : start + max(n_vectors, 1) * LANES]


def build_basis(tables: FunctionTables) -> tuple[Basis, Program]:
    """Arrays for the kernels, and the program with its couplings."""
    program = compile_program(tables)
    numbering = program.numbering
    n_species, n_base, n_max = numbering.n_species, numbering.n_base, numbering.n_max
    l_max, n_lm = numbering.l_max, numbering.n_lm
    crad = tables.crad[:, :, :n_max, : l_max + 1]
    delta = np.eye(n_max, tables.crad.shape[-1])[:, None, :]
    crad = np.where(_used(tables, crad.shape[:-1])[..., None], crad, delta)
    identity = bool((crad == delta).all())
    used = np.flatnonzero(crad.any(axis=(0, 1, 2, 3)))
    n_knots = max(n_base, n_max if identity else int(used.max(initial=-1)) + 1)
    n_rows = 1 if identity else l_max + 1
    at_radial = 4
    at_slope = at_radial + n_rows * n_max
    at_base_slope = at_slope if identity else at_slope + n_rows * n_max
    chunk_size = at_base_slope + (max(n_base, n_max) if identity else n_base)
    legendre = _legendre_recursion(l_max)
    first_knot = np.zeros(tables.spline.max() + 1, dtype=np.int64)
    first_knot[tables.spline] = tables.bins + 1
    first_knot = np.cumsum(first_knot) - first_knot
    width = tables.cutoffs / tables.bins
    basis = Basis(
        n_species=n_species,
        n_base=n_base,
        n_max=n_max,
        l_max=l_max,
        n_lm=n_lm,
        identity=identity,
        n_knot_vectors=vectors(n_knots),
        n_base_vectors=vectors(n_base),
        n_vectors=vectors(n_max),
        row_size=n_species * (vectors(n_base) + n_lm * vectors(n_max)),
        squared_cutoff=(tables.cutoffs**2).ravel(),
        squared_bound=(width**2).ravel(),
        inverse_width=(tables.bins / tables.cutoffs).ravel(),
        last_bin=(tables.bins - 1).ravel(),
        first_knot=first_knot[tables.spline].ravel(),
        knots=_padded(tables.knots[:, :, :n_knots]),
        crad=_padded(np.empty(0) if identity else crad[..., :n_knots].transpose(0, 1, 3, 4, 2)),
        legendre_a=legendre[0],
        legendre_b=legendre[1],
        legendre_diagonal=legendre[2],
        quads=_quads(l_max, identity) if n_max else np.empty(0, dtype=np.int64),
        chunk_size=chunk_size,
        at_radial=at_radial,
        at_radial_slope=at_slope,
        at_base_slope=at_base_slope,
        l_stride=0 if identity else n_max,
        first_base=numbering.base,
        first_atomic=numbering.atomic,
        first_product=numbering.product,
        n_values=program.max_nodes,
        **{
            name: getattr(program, name).astype(np.int32)
            for name in (
                "node_left",
                "node_right",
                "node_first",
                "group_left",
                "group_right",
                "tile_group",
                "tile_first",
                "leaf_first",
                "partner",
            )
        },
    )
    return basis, program


def _used(tables: FunctionTables, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which R_nl (central, neighbour, n, l) occur in functions of rank 2 and higher."""
    used = np.zeros(shape, dtype=bool)
    higher = np.repeat(tables.rank > 1, tables.rank)
    central = np.repeat(tables.central, tables.rank)
    index = (central[higher], tables.species[higher], tables.n[higher], tables.l[higher])
    used[index] = True
    return used


def _padded(array: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flat and aligned, the last axis filled up to whole vectors."""
    if array.size == 0:
        return aligned(1)
    length = array.shape[-1]
    rows = array.reshape(-1, length)
    result = aligned(len(rows) * vectors(length))
    result.reshape(len(rows), -1)[:, :length] = rows
    return result


def _legendre_recursion(l_max: int) -> tuple[Array, Array, Array]:
    """a and b of P_lm = a (z P_l-1,m + b P_l-2,m) at l (l + 1) / 2 + m, and P_mm."""
    a = np.zeros((l_max + 1) * (l_max + 2) // 2)
    b = np.zeros_like(a)
    diagonal = np.ones(l_max + 1)
    for l in range(1, l_max + 1):  # noqa: E741
        diagonal[l] = -np.sqrt(1 + 1 / (2 * l)) * diagonal[l - 1]
        for m in range(l):
            at = l * (l + 1) // 2 + m
            a[at] = np.sqrt((4 * l * l - 1) / (l * l - m * m))
            b[at] = -np.sqrt(((l - 1) ** 2 - m * m) / (4 * (l - 1) ** 2 - 1))
    return a, b, diagonal


def _quads(l_max: int, identity: bool) -> Array:
    """Components in fours (the last repeated) that share R_nl, and the l they share it for."""
    spans = (
        [(0, (l_max + 1) ** 2, 0)]
        if identity
        else [
            (l * l, (l + 1) ** 2, l)
            for l in range(l_max + 1)  # noqa: E741
        ]
    )
    quads = []
    for start, stop, l in spans:  # noqa: E741
        for first in range(start, stop, 4):
            quads += [*(min(first + i, stop - 1) for i in range(4)), l]
    return np.array(quads, dtype=np.int64)
