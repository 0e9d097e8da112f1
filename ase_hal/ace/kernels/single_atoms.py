"""Descriptors of single atoms and forces of weights per atom.

Both read the chunks and values that `evaluate` kept.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from ase_hal.ace.kernels.density import turn_rows
from ase_hal.ace.kernels.passes import backward, place
from ase_hal.ace.kernels.products import add_leaves, adjoint, contract, leaves_of
from ase_hal.ace.kernels.simd import item, splat, store
from ase_hal.compiled import kernel


@kernel
def atomic_functions(
    basis, pairs, work, blocks, function_first, indptr, indices, data, leaves, by_function,
    column, result,
):  # fmt: skip
    """Functions of each atom into ``result`` (N, n) from ``column`` on.

    ``indptr, indices, data`` is the sparse matrix (functions, leaves) of the couplings.
    """
    for block in range(blocks[0], blocks[1]):
        species = item(pairs.block_species, block)
        _, _, at = place(basis, pairs, block, blocks[0], True)
        for leaf in leaves_of(basis, species):
            store(leaves, leaf, splat(0.0))
        add_leaves(basis, species, work.values, at, leaves)
        begin, end = function_first[species], function_first[species + 1]
        for function in range(begin, end):
            value = contract(indptr, indices, data, function, leaves)
            store(by_function, function - begin, value)
        for f in range(0, end - begin, 8):
            turn_rows(by_function, f, 1, work.square)
            for lane in range(8):
                atom = item(pairs.order, block * 8 + lane)
                if atom >= 0:
                    for q in range(min(8, end - begin - f)):
                        result[atom, column + begin + f + q] = item(work.square, lane * 8 + q)


@kernel
def differentiate_atoms(
    basis, pairs, work, blocks, function_first, indptr, indices, data, weights, column,
    coefficients, by_function, forces, virial,
):  # fmt: skip
    """Add forces (N, 3) and virial (6,) for weights (N, n), one vector per atom.

    ``indptr, indices, data`` is the sparse matrix (leaves, functions) of the couplings.
    """
    for block in range(blocks[0], blocks[1]):
        species = item(pairs.block_species, block)
        slot, chunk, at = place(basis, pairs, block, blocks[0], True)
        begin, end = function_first[species], function_first[species + 1]
        for lane in range(8):
            atom = item(pairs.order, block * 8 + lane)
            for f in range(end - begin):
                value = 0.0
                if atom >= 0:
                    value = weights[atom, column + begin + f]
                by_function[8 * (begin + f) + lane] = value
        for leaf in leaves_of(basis, species):
            store(coefficients, leaf, contract(indptr, indices, data, leaf, by_function))
        adjoint(basis, species, work.values, at, coefficients, work.adjoint)
        backward(basis, pairs, work, block, slot, chunk, forces, virial)
