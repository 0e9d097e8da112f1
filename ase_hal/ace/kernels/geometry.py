"""From positions to the chunks of one atom: which neighbours, their radial functions and harmonics.

Lanes are neighbours. Conventions: r_ij = r_j - r_i; Y_lm = P_lm(z) (x + iy)^m with Y_00 = 1 and
the Condon-Shortley phase, where P_lm has the factor (1 - z^2)^(m/2) taken out.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from ase_hal.ace.kernels.simd import (
    fma,
    item,
    load,
    put,
    splat,
    splat_at,
    sqrt,
    store,
    transpose,
)
from ase_hal.compiled import inlined


@inlined
def pack(basis, pairs, work, atom, species, slot, chunk, positions, shifts, trouble):
    """Write the displacements of all neighbours within the cutoff.

    ``trouble`` receives (1 + atom, neighbour, distance) of a pair below the first spline bin.
    """
    n_species = basis.n_species
    x, y, z = (
        item(positions, 3 * atom),
        item(positions, 3 * atom + 1),
        item(positions, 3 * atom + 2),
    )
    first = chunk
    for other in range(n_species):
        pair = species * n_species + other
        cutoff2, bound2 = item(basis.squared_cutoff, pair), item(basis.squared_bound, pair)
        count = 0
        start = item(pairs.pair_first, atom * n_species + other)
        stop = item(pairs.pair_first, atom * n_species + other + 1)
        for entry in range(start, stop):
            j = item(pairs.neighbour, entry)
            image = 3 * item(pairs.shift, entry)
            dx = item(positions, 3 * j) + item(shifts, image) - x
            dy = item(positions, 3 * j + 1) + item(shifts, image + 1) - y
            dz = item(positions, 3 * j + 2) + item(shifts, image + 2) - z
            r2 = dx * dx + dy * dy + dz * dz
            # written in any case, kept by counting it
            _write(basis, work, first, count, dx, dy, dz, j)
            count += r2 < cutoff2
            if r2 < bound2:
                trouble[0], trouble[1], trouble[2] = 1.0 + atom, j, r2**0.5
        put(work.counts, slot * n_species + other, count)
        for lane in range(count, ((count + 7) >> 3) << 3):
            _write(basis, work, first, lane, 1.0, 0.0, 0.0, -1)
        first += (stop - start + 7) >> 3


@inlined
def _write(basis, work, chunk, index, dx, dy, dz, j):
    """Displacement and number of the neighbour ``index`` counted from the start of a chunk."""
    chunk, lane = chunk + (index >> 3), index & 7
    at = chunk * basis.chunk_size * 8 + lane
    put(work.chunks, at, dx)
    put(work.chunks, at + 8, dy)
    put(work.chunks, at + 16, dz)
    put(work.neighbour, chunk * 8 + lane, np.int32(j))


@inlined
def expand(basis, work, pair, count, record, local):
    """Fill a chunk of ``count`` neighbours from its displacements.

    ``record`` is where the chunk starts in ``work.chunks`` (in vectors), ``local`` the number of
    the chunk among those of its atom, which is where `density` looks for values.
    """
    x, y, z = (
        load(work.chunks, record),
        load(work.chunks, record + 1),
        load(work.chunks, record + 2),
    )
    r = sqrt(fma(x, x, fma(y, y, z * z)))
    inverse = splat(1.0) / r
    store(work.chunks, record + 3, inverse)
    store(work.square, 0, r)
    _splines(basis, work, pair, count, local)
    if not basis.identity:
        _mix(basis, work, pair, local)
    _transpose_radial(basis, work, record, local)
    if basis.n_max > 0:
        _harmonics(basis, work, local, x * inverse, y * inverse, z * inverse)


@inlined
def _splines(basis, work, pair, count, local):
    """Hermite interpolation of all g_k, k in lanes, for each of the eight neighbours."""
    n = basis.n_knot_vectors
    inverse_width = basis.inverse_width[pair]
    scale, two, three = splat(inverse_width), splat(2.0), splat(3.0)
    for lane in range(8):
        out = (local * 8 + lane) * n
        if lane >= count:
            for v in range(n):
                store(work.radial, out + v, splat(0.0))
                store(work.radial_slope, lane * n + v, splat(0.0))
            continue
        position = item(work.square, lane) * inverse_width
        bin_ = min(int(position), basis.last_bin[pair])
        t = splat(position - bin_)
        knot = (basis.first_knot[pair] + bin_) * 2 * n
        for v in range(knot, knot + n):
            f, slope = load(basis.knots, v), load(basis.knots, v + n)
            next_slope = load(basis.knots, v + 3 * n)
            step = load(basis.knots, v + 2 * n) - f
            c2 = three * step - (two * slope + next_slope)
            c3 = slope + next_slope - two * step
            value = fma(t, fma(t, fma(t, c3, c2), slope), f)
            derivative = fma(t, fma(t, three * c3, two * c2), slope)
            store(work.radial, out + v - knot, value)
            store(work.radial_slope, lane * n + v - knot, derivative * scale)


@inlined
def _mix(basis, work, pair, local):
    """R_nl = sum_k c_nlk g_k, n in lanes."""
    n, rows = basis.n_vectors, basis.l_max + 1
    n_knots = 8 * basis.n_knot_vectors
    n_used = basis.crad.size // (basis.n_species**2 * rows * n * 8)
    for lane in range(8):
        g = (local * 8 + lane) * n_knots
        for l in range(rows):  # noqa: E741
            for v in range(n):
                value, slope = splat(0.0), splat(0.0)
                at = (pair * rows + l) * n_used * n + v
                for k in range(n_used):
                    c = load(basis.crad, at + k * n)
                    value = fma(c, splat_at(work.radial, g + k), value)
                    slope = fma(c, splat_at(work.radial_slope, lane * n_knots + k), slope)
                store(work.mixed, ((local * 8 + lane) * rows + l) * n + v, value)
                store(work.mixed_slope, (lane * rows + l) * n + v, slope)


@inlined
def _turn(source, first, stride, target, at, rows):
    """Turn eight vectors (``stride`` apart) into ``rows`` vectors of one element of each."""
    t = transpose(
        load(source, first),
        load(source, first + stride),
        load(source, first + 2 * stride),
        load(source, first + 3 * stride),
        load(source, first + 4 * stride),
        load(source, first + 5 * stride),
        load(source, first + 6 * stride),
        load(source, first + 7 * stride),
    )
    if rows > 0:
        store(target, at, t[0])
    if rows > 1:
        store(target, at + 1, t[1])
    if rows > 2:
        store(target, at + 2, t[2])
    if rows > 3:
        store(target, at + 3, t[3])
    if rows > 4:
        store(target, at + 4, t[4])
    if rows > 5:
        store(target, at + 5, t[5])
    if rows > 6:
        store(target, at + 6, t[6])
    if rows > 7:
        store(target, at + 7, t[7])


@inlined
def _transpose_radial(basis, work, record, local):
    """Radial functions into the record: lanes become neighbours."""
    n, n_max = basis.n_knot_vectors, basis.n_max
    n_slopes = max(basis.n_base, n_max) if basis.identity else basis.n_base
    for v in range((n_slopes + 7) >> 3):
        target = record + basis.at_base_slope + 8 * v
        _turn(work.radial_slope, v, n, work.chunks, target, n_slopes - 8 * v)
    if basis.identity:
        for v in range(basis.n_vectors):
            target = record + basis.at_radial + 8 * v
            _turn(work.radial, local * 8 * n + v, n, work.chunks, target, n_max - 8 * v)
        return
    n, rows = basis.n_vectors, basis.l_max + 1
    for l in range(rows):  # noqa: E741
        for v in range(n):
            target = record + basis.at_radial + l * n_max + 8 * v
            source = (local * 8 * rows + l) * n + v
            _turn(work.mixed, source, rows * n, work.chunks, target, n_max - 8 * v)
            target = record + basis.at_radial_slope + l * n_max + 8 * v
            _turn(work.mixed_slope, l * n + v, rows * n, work.chunks, target, n_max - 8 * v)


@inlined
def _harmonics(basis, work, local, x, y, z):
    """Components of Y at unit vectors (x, y, z)."""
    out = local * basis.n_lm
    cosine, sine = splat(1.0), splat(0.0)
    for m in range(basis.l_max + 1):
        before, p = splat(0.0), splat_at(basis.legendre_diagonal, m)
        for l in range(m, basis.l_max + 1):  # noqa: E741
            if l > m:
                a, b = legendre_coefficients(basis, l, m)
                before, p = p, a * fma(z, p, b * before)
            if m == 0:
                store(work.harmonics, out + l * l, p)
            else:
                store(work.harmonics, out + l * l + 2 * m - 1, p * cosine)
                store(work.harmonics, out + l * l + 2 * m, p * sine)
        cosine, sine = fma(x, cosine, -(y * sine)), fma(x, sine, y * cosine)


@inlined
def next_legendre(basis, l, m, z, before, slope_before, p, slope):  # noqa: E741
    """P_lm and its derivative by z from those of l - 1 and l - 2; first those of l - 1 again."""
    a, b = legendre_coefficients(basis, l, m)
    return p, slope, a * fma(z, p, b * before), a * fma(z, slope, fma(b, slope_before, p))


@inlined
def legendre_coefficients(basis, l, m):  # noqa: E741
    """a and b of P_lm = a (z P_l-1,m + b P_l-2,m) for l > m."""
    at = l * (l + 1) // 2 + m
    return splat_at(basis.legendre_a, at), splat_at(basis.legendre_b, at)
