"""Compiled sum over pairs for :mod:`ase_hal.repulsion`, without a neighbour list.

Most structures have no pair within reach of the repulsion, and finding that out must cost next
to nothing. Atoms are sorted into bins not much narrower than the cutoff, and each looks into
the bins around its own.
"""

# Loops over components instead of array expressions: they compile several times faster.

from __future__ import annotations

import math

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def invert(cell, inverse):  # type: ignore[no-untyped-def]
    """Invert a cell; return its volume in units of that of a box with the same edges."""
    edges = 1.0
    for k in range(3):
        a, b = cell[(k + 1) % 3], cell[(k + 2) % 3]
        inverse[0, k] = a[1] * b[2] - a[2] * b[1]
        inverse[1, k] = a[2] * b[0] - a[0] * b[2]
        inverse[2, k] = a[0] * b[1] - a[1] * b[0]
        edges *= math.sqrt(a[0] * a[0] + a[1] * a[1] + a[2] * a[2])
    volume = 0.0
    for axis in range(3):
        volume += cell[0, axis] * inverse[axis, 0]
    for axis in range(3):
        for k in range(3):
            inverse[axis, k] = inverse[axis, k] / volume if volume != 0.0 else math.nan
    return volume / edges


@njit(cache=True, nogil=True)
def _bin(positions, cell, inverse, pbc, cutoff, wrapped, bins, counts, reach):  # type: ignore[no-untyped-def]
    """Wrap the atoms and find the bin of each.

    Fills wrapped positions (N, 3), bins of the atoms (N, 3), numbers of bins (3,), and how
    many bins away an atom within the cutoff may be (3,).
    """
    n = len(positions)
    most = math.ceil(n ** (1 / 3))
    fractional = np.empty(n)
    for k in range(3):
        a, b, c = inverse[0, k], inverse[1, k], inverse[2, k]
        height = 1 / math.sqrt(a * a + b * b + c * c)
        low, high = math.inf, -math.inf
        for i in range(n):
            f = a * positions[i, 0] + b * positions[i, 1] + c * positions[i, 2]
            if pbc[k]:
                turns = math.floor(f)
                f -= turns
                for axis in range(3):
                    wrapped[i, axis] -= turns * cell[k, axis]
            fractional[i] = f
            low, high = min(low, f), max(high, f)
        if pbc[k]:
            low, high = 0.0, 1.0
        counts[k] = max(1, min(most, int((high - low) * height / cutoff)))
        reach[k] = 0
        width = (high - low) / counts[k]
        if width > 0.0:
            reach[k] = math.ceil(cutoff / (width * height))
            for i in range(n):
                bins[i, k] = min(counts[k] - 1, int((fractional[i] - low) / width))
        if not pbc[k]:
            reach[k] = min(reach[k], counts[k] - 1)


@njit(cache=True, nogil=True)
def _pair(r, charge, inverse_length, a, b, c, exponents, coefficients, inner):  # type: ignore[no-untyped-def]
    """Energy of a pair (eV) and its derivative (eV/Å)."""
    phi, dphi = 0.0, 0.0
    for k in range(4):
        decay = exponents[k] * inverse_length
        term = coefficients[k] * math.exp(-decay * r)
        phi += term
        dphi -= decay * term
    energy = charge * phi / r + c
    slope = charge * (dphi - phi / r) / r
    if r > inner:
        t = r - inner
        energy += t * t * t * (a / 3 + b / 4 * t)
        slope += t * t * (a + b * t)
    return energy, slope


@njit(cache=True, nogil=True)
def sum_pairs(  # type: ignore[no-untyped-def]
    positions, cell, inverse, pbc, numbers, table, exponents, coefficients, inner, outer,
    forces, virial,
):  # fmt: skip
    """Sum energies of all pairs closer than `outer`; add to forces (N, 3) and virial (6,).

    Returns
    -------
    energy : float
        eV.
    i, j : int
        Two atoms at the same place, or -1.
    """
    n = len(positions)
    energy = 0.0
    if n == 0:
        return energy, -1, -1
    wrapped = positions.copy()
    bins = np.zeros((n, 3), np.int64)
    counts = np.ones(3, np.int64)
    reach = np.zeros(3, np.int64)
    _bin(positions, cell, inverse, pbc, outer, wrapped, bins, counts, reach)
    # First atom of each bin, and the one that follows each atom in its bin; -1 is none.
    first = np.full((counts[0], counts[1], counts[2]), -1, np.int64)
    following = np.full(n, -1, np.int64)
    for i in range(n):
        following[i] = first[bins[i, 0], bins[i, 1], bins[i, 2]]
        first[bins[i, 0], bins[i, 1], bins[i, 2]] = i
    for i in range(n):
        for nx in range(bins[i, 0] - reach[0], bins[i, 0] + reach[0] + 1):
            sx = nx // counts[0]
            if sx != 0 and not pbc[0]:
                continue
            for ny in range(bins[i, 1] - reach[1], bins[i, 1] + reach[1] + 1):
                sy = ny // counts[1]
                if sy != 0 and not pbc[1]:
                    continue
                for nz in range(bins[i, 2] - reach[2], bins[i, 2] + reach[2] + 1):
                    sz = nz // counts[2]
                    if sz != 0 and not pbc[2]:
                        continue
                    j = first[nx - sx * counts[0], ny - sy * counts[1], nz - sz * counts[2]]
                    x = sx * cell[0, 0] + sy * cell[1, 0] + sz * cell[2, 0] - wrapped[i, 0]
                    y = sx * cell[0, 1] + sy * cell[1, 1] + sz * cell[2, 1] - wrapped[i, 1]
                    z = sx * cell[0, 2] + sy * cell[1, 2] + sz * cell[2, 2] - wrapped[i, 2]
                    while j >= 0:
                        dx, dy, dz = x + wrapped[j, 0], y + wrapped[j, 1], z + wrapped[j, 2]
                        rr = dx * dx + dy * dy + dz * dz
                        if rr < outer * outer and (j != i or sx != 0 or sy != 0 or sz != 0):
                            if rr == 0.0:
                                return math.inf, i, j
                            r = math.sqrt(rr)
                            charge, inverse_length, a, b, c = table[numbers[i], numbers[j]]
                            e, slope = _pair(
                                r, charge, inverse_length, a, b, c, exponents, coefficients, inner
                            )
                            # Every pair is met twice, from either side.
                            energy += 0.5 * e
                            slope /= r
                            forces[i, 0] += slope * dx
                            forces[i, 1] += slope * dy
                            forces[i, 2] += slope * dz
                            virial[0] -= 0.5 * slope * dx * dx
                            virial[1] -= 0.5 * slope * dy * dy
                            virial[2] -= 0.5 * slope * dz * dz
                            virial[3] -= 0.5 * slope * dy * dz
                            virial[4] -= 0.5 * slope * dx * dz
                            virial[5] -= 0.5 * slope * dx * dy
                        j = following[j]
    return energy, -1, -1
