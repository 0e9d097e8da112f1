"""Products of A for a block: lanes are eight atoms of one central species.

With P = X_left X_right of a group and partners X_k, a leaf is Re(P X_k). Two groups with the same
partners make a tile, which reads each partner once. See ``ase_hal.ace.program``.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import overload

from ase_hal.ace.kernels.simd import fma, item, load, splat, splat_at, store
from ase_hal.compiled import inlined


def coefficient(coefficients: Any, leaf: Any) -> Any:
    """Coefficient of a leaf: one for all atoms (1-d array), or one per lane (2-d array)."""
    raise NotImplementedError("for kernels only")


@overload(coefficient, inline="always")
def _coefficient(coefficients, leaf):
    if isinstance(coefficients, types.Array) and coefficients.ndim == 1:
        return lambda coefficients, leaf: splat_at(coefficients, leaf)
    return lambda coefficients, leaf: load(coefficients, leaf)


@inlined
def multiply_nodes(basis, species, values, at):
    """Product nodes of the central species, each from two values before it."""
    out = at + 2 * basis.first_product
    for node in range(basis.node_first[species], basis.node_first[species + 1]):
        i = at + 2 * item(basis.node_left, node)
        j = at + 2 * item(basis.node_right, node)
        xr, xi, yr, yi = (
            load(values, i),
            load(values, i + 1),
            load(values, j),
            load(values, j + 1),
        )
        store(values, out, fma(xr, yr, -(xi * yi)))
        store(values, out + 1, fma(xr, yi, xi * yr))
        out += 2


@inlined
def _pair(basis, values, at, group):
    """P of a group."""
    i = at + 2 * item(basis.group_left, group)
    j = at + 2 * item(basis.group_right, group)
    xr, xi, yr, yi = load(values, i), load(values, i + 1), load(values, j), load(values, j + 1)
    return fma(xr, yr, -(xi * yi)), fma(xr, yi, xi * yr)


@inlined
def add_leaves(basis, species, values, at, leaves):
    """Add every leaf, lanes kept apart, to ``leaves``."""
    for tile in range(basis.tile_first[species], basis.tile_first[species + 1]):
        group = item(basis.tile_group, tile)
        first = item(basis.leaf_first, group)
        n_leaves = item(basis.leaf_first, group + 1) - first
        pr, pi = _pair(basis, values, at, group)
        if item(basis.tile_group, tile + 1) - group == 1:
            for leaf in range(first, first + n_leaves):
                k = at + 2 * item(basis.partner, leaf)
                xr, xi = load(values, k), load(values, k + 1)
                store(leaves, leaf, fma(pr, xr, fma(-pi, xi, load(leaves, leaf))))
        else:
            qr, qi = _pair(basis, values, at, group + 1)
            for leaf in range(first, first + n_leaves):
                k = at + 2 * item(basis.partner, leaf)
                xr, xi = load(values, k), load(values, k + 1)
                store(leaves, leaf, fma(pr, xr, fma(-pi, xi, load(leaves, leaf))))
                other = leaf + n_leaves
                store(leaves, other, fma(qr, xr, fma(-qi, xi, load(leaves, other))))


@inlined
def adjoint(basis, species, values, at, coefficients, z):
    """Z with dE = Re(sum Z dX), for E = sum of coefficients times leaves; returns E by lanes."""
    zero = splat(0.0)
    for v in range(2 * basis.n_values):
        store(z, v, zero)
    energy = zero
    for tile in range(basis.tile_first[species], basis.tile_first[species + 1]):
        group = item(basis.tile_group, tile)
        first = item(basis.leaf_first, group)
        n_leaves = item(basis.leaf_first, group + 1) - first
        pr, pi = _pair(basis, values, at, group)
        wr, wi = zero, zero
        if item(basis.tile_group, tile + 1) - group == 1:
            for leaf in range(first, first + n_leaves):
                k = 2 * item(basis.partner, leaf)
                c = coefficient(coefficients, leaf)
                wr = fma(c, load(values, at + k), wr)
                wi = fma(c, load(values, at + k + 1), wi)
                store(z, k, fma(c, pr, load(z, k)))
                store(z, k + 1, fma(c, pi, load(z, k + 1)))
        else:
            qr, qi = _pair(basis, values, at, group + 1)
            vr, vi = zero, zero
            for leaf in range(first, first + n_leaves):
                k = 2 * item(basis.partner, leaf)
                c = coefficient(coefficients, leaf)
                d = coefficient(coefficients, leaf + n_leaves)
                xr, xi = load(values, at + k), load(values, at + k + 1)
                wr, wi = fma(c, xr, wr), fma(c, xi, wi)
                vr, vi = fma(d, xr, vr), fma(d, xi, vi)
                store(z, k, fma(c, pr, fma(d, qr, load(z, k))))
                store(z, k + 1, fma(c, pi, fma(d, qi, load(z, k + 1))))
            energy = energy + fma(qr, vr, -(qi * vi))
            _pull_pair(basis, values, at, z, group + 1, vr, vi)
        energy = energy + fma(pr, wr, -(pi * wi))
        _pull_pair(basis, values, at, z, group, wr, wi)
    for node in range(basis.node_first[species + 1] - 1, basis.node_first[species] - 1, -1):
        out = 2 * (basis.first_product + node - basis.node_first[species])
        left = 2 * item(basis.node_left, node)
        right = 2 * item(basis.node_right, node)
        wr, wi = load(z, out), load(z, out + 1)
        _pull(z, left, wr, wi, load(values, at + right), load(values, at + right + 1))
        _pull(z, right, wr, wi, load(values, at + left), load(values, at + left + 1))
    return energy


@inlined
def _pull_pair(basis, values, at, z, group, wr, wi):
    """Hand w = dE/dP to the factors of P."""
    left, right = 2 * item(basis.group_left, group), 2 * item(basis.group_right, group)
    xr, xi = load(values, at + left), load(values, at + left + 1)
    yr, yi = load(values, at + right), load(values, at + right + 1)
    _pull(z, left, wr, wi, yr, yi)
    _pull(z, right, wr, wi, xr, xi)


@inlined
def _pull(z, at, wr, wi, xr, xi):
    """z[at] += w x, complex."""
    store(z, at, fma(wr, xr, fma(-wi, xi, load(z, at))))
    store(z, at + 1, fma(wr, xi, fma(wi, xr, load(z, at + 1))))


@inlined
def contract(indptr, indices, data, row, source):
    """Row of a sparse matrix times vectors: sum_e data[e] source[indices[e]], by lanes."""
    value = splat(0.0)
    for entry in range(item(indptr, row), item(indptr, row + 1)):
        value = fma(splat_at(data, entry), load(source, item(indices, entry)), value)
    return value


@inlined
def leaves_of(basis, species):
    """Numbers of the leaves of a central species."""
    first = basis.tile_group[basis.tile_first[species]]
    last = basis.tile_group[basis.tile_first[species + 1]]
    return range(basis.leaf_first[first], basis.leaf_first[last])
