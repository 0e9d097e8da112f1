"""What Python calls: whole passes over the blocks of a structure."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from ase_hal.ace.kernels.density import clear_row, density, fold, gather
from ase_hal.ace.kernels.force import pair_force
from ase_hal.ace.kernels.geometry import expand, pack
from ase_hal.ace.kernels.products import add_leaves, adjoint, contract, multiply_nodes
from ase_hal.ace.kernels.simd import item, load, put, splat, store, total
from ase_hal.compiled import inlined, kernel


@inlined
def place(basis, pairs, block, first_block, keep):
    """First slot, chunk and value of a block in the buffers.

    With ``keep`` blocks from ``first_block`` on have places of their own, else they share one.
    """
    if not keep:
        return 0, 0, 0
    n = 8 * basis.n_species
    chunk = pairs.chunk_first[block * n] - pairs.chunk_first[first_block * n]
    return (block - first_block) * 8, chunk, (block - first_block) * 2 * basis.n_values


@inlined
def forward(basis, pairs, work, block, slot, chunk, at, positions, shifts, trouble):
    """Chunks and values X of one block, written where `place` says."""
    species = item(pairs.block_species, block)
    for lane in range(8):
        atom = item(pairs.order, block * 8 + lane)
        if atom < 0:
            clear_row(basis, work, lane)
            for other in range(basis.n_species):
                work.counts[(slot + lane) * basis.n_species + other] = 0
            continue
        start = (block * 8 + lane) * basis.n_species
        first = chunk + pairs.chunk_first[start] - pairs.chunk_first[block * 8 * basis.n_species]
        pack(basis, pairs, work, atom, species, slot + lane, first, positions, shifts, trouble)
        for other in range(basis.n_species):
            count = item(work.counts, (slot + lane) * basis.n_species + other)
            offset = pairs.chunk_first[start + other] - pairs.chunk_first[start]
            for c in range((count + 7) >> 3):
                record = (first + offset + c) * basis.chunk_size
                pair = species * basis.n_species + other
                expand(basis, work, pair, count - 8 * c, record, c)
            density(basis, work, other, count, 0, lane)
    gather(basis, work, at)
    multiply_nodes(basis, species, work.values, at)


@inlined
def backward(basis, pairs, work, block, slot, chunk, forces, virial):
    """From Z of a block to forces, and the virial -dE/d(strain) (Voigt)."""
    fold(basis, work)
    wxx, wyy, wzz = splat(0.0), splat(0.0), splat(0.0)
    wyz, wxz, wxy = splat(0.0), splat(0.0), splat(0.0)
    for lane in range(8):
        atom = item(pairs.order, block * 8 + lane)
        if atom < 0:
            continue
        start = (block * 8 + lane) * basis.n_species
        first = chunk + pairs.chunk_first[start] - pairs.chunk_first[block * 8 * basis.n_species]
        sx, sy, sz = splat(0.0), splat(0.0), splat(0.0)
        for other in range(basis.n_species):
            count = item(work.counts, (slot + lane) * basis.n_species + other)
            offset = pairs.chunk_first[start + other] - pairs.chunk_first[start]
            for c in range((count + 7) >> 3):
                index = first + offset + c
                record = index * basis.chunk_size
                fx, fy, fz = pair_force(basis, work, record, other, lane)
                dx, dy = load(work.chunks, record), load(work.chunks, record + 1)
                dz = load(work.chunks, record + 2)
                sx, sy, sz = sx + fx, sy + fy, sz + fz
                wxx, wyy, wzz = wxx + dx * fx, wyy + dy * fy, wzz + dz * fz
                wyz, wxz, wxy = wyz + dy * fz, wxz + dx * fz, wxy + dx * fy
                store(work.square, 0, fx)
                store(work.square, 1, fy)
                store(work.square, 2, fz)
                for q in range(min(8, count - 8 * c)):
                    j = 3 * item(work.neighbour, index * 8 + q)
                    put(forces, j, item(forces, j) - item(work.square, q))
                    put(forces, j + 1, item(forces, j + 1) - item(work.square, 8 + q))
                    put(forces, j + 2, item(forces, j + 2) - item(work.square, 16 + q))
        forces[atom, 0] += total(sx)
        forces[atom, 1] += total(sy)
        forces[atom, 2] += total(sz)
    virial[0] -= total(wxx)
    virial[1] -= total(wyy)
    virial[2] -= total(wzz)
    virial[3] -= total(wyz)
    virial[4] -= total(wxz)
    virial[5] -= total(wxy)


@kernel
def evaluate(
    basis, pairs, work, positions, shifts, blocks, fresh, keep, trouble, leaves, coefficients,
    energies, forces, virials,
):  # fmt: skip
    """One pass over blocks[0] <= block < blocks[1].

    ``fresh``: compute chunks and values, else take those a pass with ``keep`` left.
    ``keep``: leave chunks and values of all these blocks, not of one at a time.
    ``leaves`` (8 * leaves,): add every leaf, by lanes; empty if not wanted.
    ``coefficients`` (K, leaves): add energies (K,), forces (K, N, 3) and virials (K, 6).
    """
    for block in range(blocks[0], blocks[1]):
        species = item(pairs.block_species, block)
        slot, chunk, at = place(basis, pairs, block, blocks[0], keep)
        if fresh:
            forward(basis, pairs, work, block, slot, chunk, at, positions, shifts, trouble)
        if leaves.size > 0:
            add_leaves(basis, species, work.values, at, leaves)
        for k in range(coefficients.shape[0]):
            energy = adjoint(basis, species, work.values, at, coefficients[k], work.adjoint)
            energies[k] += total(energy)
            backward(basis, pairs, work, block, slot, chunk, forces[k], virials[k])


@kernel
def sum_functions(indptr, indices, data, leaves, result):
    """Functions (n,) from leaves summed by lanes and the couplings (n, leaves)."""
    for function in range(result.size):
        result[function] = total(contract(indptr, indices, data, function, leaves))


@kernel
def expand_coefficients(indptr, indices, data, vectors, column, result):
    """Coefficients (K, leaves) from vectors (K, n) and the couplings (leaves, functions).

    Functions start at ``column`` of the vectors.
    """
    for k in range(result.shape[0]):
        first = k * vectors.shape[1] + column
        for leaf in range(result.shape[1]):
            value = 0.0
            for entry in range(item(indptr, leaf), item(indptr, leaf + 1)):
                value += item(data, entry) * item(vectors, first + item(indices, entry))
            result[k, leaf] = value
