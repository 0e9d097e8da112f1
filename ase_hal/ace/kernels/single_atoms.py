"""Descriptors of single atoms and forces of weights per atom.

Both read the chunks and values that `evaluate` kept.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

from ase_hal.ace.kernels.density import turn_rows
from ase_hal.ace.kernels.inline import FINGERPRINT, kernel
from ase_hal.ace.kernels.passes import backward, place
from ase_hal.ace.kernels.products import add_leaves, adjoint
from ase_hal.ace.kernels.simd import fma, item, load, splat, splat_at, store


def _make_atomic_functions(fingerprint: str) -> Any:
    def atomic_functions(
        basis, pairs, work, blocks, function_first, indptr, indices, data, leaves, by_function,
        column, result,
    ):  # fmt: skip
        """Functions of each atom into ``result`` (N, n) from ``column`` on.

        ``indptr, indices, data`` is the sparse matrix (functions, leaves) of the couplings.
        """
        fingerprint  # noqa: B018
        for block in range(blocks[0], blocks[1]):
            species = item(pairs.block_species, block)
            _, _, at = place(basis, pairs, block, blocks[0], True)
            group0, group1 = basis.group_first[species], basis.group_first[species + 1]
            for leaf in range(basis.leaf_first[group0], basis.leaf_first[group1]):
                store(leaves, leaf, splat(0.0))
            add_leaves(basis, species, work.values, at, leaves)
            begin, end = function_first[species], function_first[species + 1]
            for function in range(begin, end):
                value = splat(0.0)
                for entry in range(item(indptr, function), item(indptr, function + 1)):
                    value = fma(splat_at(data, entry), load(leaves, item(indices, entry)), value)
                store(by_function, function - begin, value)
            for f in range(0, end - begin, 8):
                turn_rows(by_function, f, 1, work.square)
                for lane in range(8):
                    atom = item(pairs.order, block * 8 + lane)
                    if atom >= 0:
                        for q in range(min(8, end - begin - f)):
                            result[atom, column + begin + f + q] = item(work.square, lane * 8 + q)

    return kernel(atomic_functions)


def _make_differentiate_atoms(fingerprint: str) -> Any:
    def differentiate_atoms(
        basis, pairs, work, blocks, function_first, indptr, indices, data, weights, column,
        coefficients, by_function, forces, virial,
    ):  # fmt: skip
        """Add forces (N, 3) and virial (6,) for weights (N, n), one vector per atom.

        ``indptr, indices, data`` is the sparse matrix (leaves, functions) of the couplings.
        """
        fingerprint  # noqa: B018
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
                    by_function[8 * f + lane] = value
            group0, group1 = basis.group_first[species], basis.group_first[species + 1]
            for leaf in range(basis.leaf_first[group0], basis.leaf_first[group1]):
                value = splat(0.0)
                for entry in range(item(indptr, leaf), item(indptr, leaf + 1)):
                    function = item(indices, entry) - begin
                    value = fma(splat_at(data, entry), load(by_function, function), value)
                store(coefficients, leaf, value)
            adjoint(basis, species, work.values, at, coefficients, work.adjoint)
            backward(basis, pairs, work, block, slot, chunk, forces, virial)

    return kernel(differentiate_atoms)


atomic_functions = _make_atomic_functions(FINGERPRINT)
differentiate_atoms = _make_differentiate_atoms(FINGERPRINT)
