"""Derivatives of every single function, from the chunks and values that `evaluate` kept."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from ase_hal.ace.kernels.density import turn_rows
from ase_hal.ace.kernels.geometry import next_legendre
from ase_hal.ace.kernels.passes import place
from ase_hal.ace.kernels.simd import (
    fma,
    item,
    load,
    load_at,
    splat,
    splat_at,
    store,
    store_at,
)
from ase_hal.compiled import inlined, kernel


@inlined
def _jacobian(basis, program, species, values, at, by_entry):
    """J of every entry, lanes are the atoms of a block."""
    first = program.entry_start[species]
    for entry in range(program.entry_start[species + 1] - first):
        store(by_entry, entry, splat(0.0))
    for term in range(program.term_first[species], program.term_first[species + 1]):
        start, stop = item(program.factor_first, term), item(program.factor_first, term + 1)
        for factor in range(start, stop):
            pr, pi = splat_at(program.coupling, term), splat(0.0)
            for other in range(start, stop):
                if other != factor:
                    x = at + 2 * item(program.factor, other)
                    xr, xi = load(values, x), load(values, x + 1)
                    pr, pi = fma(pr, xr, -(pi * xi)), fma(pr, xi, pi * xr)
            sign = splat_at(program.sign, factor)
            entry = item(program.entry_real, factor) - first
            store(by_entry, entry, fma(sign, pr, load(by_entry, entry)))
            if item(program.entry_imaginary, factor) >= 0:
                # Re(J dA) = Re J dRe(A) - Im J dIm(A); for m < 0 with A_lm = (-1)^m conj(A_l,-m)
                if not program.conjugate[factor]:
                    sign = -sign
                entry = item(program.entry_imaginary, factor) - first
                store(by_entry, entry, fma(sign, pi, load(by_entry, entry)))


@inlined
def _turn_entries(by_entry, n_entries, by_atom, square):
    """(entry, atom) to (atom, entry)."""
    n_vectors = (n_entries + 7) >> 3
    for v in range(n_vectors):
        turn_rows(by_entry, 8 * v, 1, square)
        for lane in range(8):
            store(by_atom, lane * n_vectors + v, load(square, lane))


@inlined
def _slopes(basis, work, record, table):
    """d a / d r_ij of a chunk for all g_k and A, three vectors each. Lanes are neighbours."""
    chunks = work.chunks
    inverse = load(chunks, record + 3)
    x = load(chunks, record) * inverse
    y = load(chunks, record + 1) * inverse
    z = load(chunks, record + 2) * inverse
    for k in range(basis.n_base):
        slope = load(chunks, record + basis.at_base_slope + k)
        store(table, 3 * k, slope * x)
        store(table, 3 * k + 1, slope * y)
        store(table, 3 * k + 2, slope * z)
    if basis.n_max == 0:
        return
    cosine, sine = splat(1.0), splat(0.0)
    dc, ds = splat(0.0), splat(0.0)  # derivative of (x + iy)^m by x; the one by y is i times that
    for m in range(basis.l_max + 1):
        before, slope_before = splat(0.0), splat(0.0)
        p, dp = splat_at(basis.legendre_diagonal, m), splat(0.0)
        for l in range(m, basis.l_max + 1):  # noqa: E741
            if l > m:
                before, slope_before, p, dp = next_legendre(
                    basis, l, m, z, before, slope_before, p, dp
                )
            component = l * l + max(2 * m - 1, 0)
            _slope(
                basis, work, record, table, l, component, p * cosine, x, y, z,
                p * dc, -(p * ds), dp * cosine, inverse,
            )  # fmt: skip
            if m > 0:
                _slope(
                    basis, work, record, table, l, component + 1, p * sine, x, y, z,
                    p * ds, p * dc, dp * sine, inverse,
                )  # fmt: skip
        factor = splat(m + 1.0)
        dc, ds = factor * cosine, factor * sine
        cosine, sine = fma(x, cosine, -(y * sine)), fma(x, sine, y * cosine)


@inlined
def _slope(basis, work, record, table, l, component, value, x, y, z, gx, gy, gz, inverse):  # noqa: E741
    """All n of one component with this value and gradient on the unit sphere."""
    along = fma(gx, x, fma(gy, y, gz * z))
    gx, gy, gz = (gx - along * x) * inverse, (gy - along * y) * inverse, (gz - along * z) * inverse
    x, y, z = value * x, value * y, value * z
    at_r = record + basis.at_radial + l * basis.l_stride
    at_slope = record + basis.at_radial_slope + l * basis.l_stride
    out = 3 * (basis.n_base + component * basis.n_max)
    for n in range(basis.n_max):
        r, slope = load(work.chunks, at_r + n), load(work.chunks, at_slope + n)
        store(table, out + 3 * n, fma(slope, x, r * gx))
        store(table, out + 3 * n + 1, fma(slope, y, r * gy))
        store(table, out + 3 * n + 2, fma(slope, z, r * gz))


@inlined
def _add_pairs(
    basis, program, work, species, other, count, index, atom, by_atom, start, table, room, column,
    row_size, forces, virial,
):  # fmt: skip
    """Add the derivatives of a chunk to the rows of its atoms, eight functions at a time."""
    record = index * basis.chunk_size
    begin, end = program.function_first[species], program.function_first[species + 1]
    list_ = program.first_of[species] + other * (end - begin)
    n_functions = end - begin
    entry0 = program.entry_start[species]
    for f in range(0, n_functions, 8):
        width = min(8, n_functions - f)
        last = item(program.entry_first, list_ + f + width)
        if item(program.entry_first, list_ + f) == last:
            continue
        for q in range(8):
            ax, ay, az = splat(0.0), splat(0.0), splat(0.0)
            if q < width:
                first = item(program.entry_first, list_ + f + q)
                for entry in range(first, item(program.entry_first, list_ + f + q + 1)):
                    c = splat_at(by_atom, start + entry - entry0)
                    at = 3 * item(program.alpha, entry)
                    ax = fma(c, load(table, at), ax)
                    ay = fma(c, load(table, at + 1), ay)
                    az = fma(c, load(table, at + 2), az)
            store(room, q, ax)
            store(room, 8 + q, ay)
            store(room, 16 + q, az)
        turn_rows(room, 0, 1, work.square)
        _copy(work.square, room, 0)
        turn_rows(room, 8, 1, work.square)
        _copy(work.square, room, 8)
        turn_rows(room, 16, 1, work.square)
        _copy(work.square, room, 16)
        sx, sy, sz = splat(0.0), splat(0.0), splat(0.0)
        wxx, wyy, wzz = splat(0.0), splat(0.0), splat(0.0)
        wyz, wxz, wxy = splat(0.0), splat(0.0), splat(0.0)
        for q in range(min(8, count)):
            fx, fy, fz = load(room, q), load(room, 8 + q), load(room, 16 + q)
            sx, sy, sz = sx + fx, sy + fy, sz + fz
            dx = splat_at(work.chunks, record * 8 + q)
            dy = splat_at(work.chunks, record * 8 + 8 + q)
            dz = splat_at(work.chunks, record * 8 + 16 + q)
            wxx, wyy, wzz = fma(dx, fx, wxx), fma(dy, fy, wyy), fma(dz, fz, wzz)
            wyz, wxz, wxy = fma(dy, fz, wyz), fma(dx, fz, wxz), fma(dx, fy, wxy)
            j = item(work.neighbour, index * 8 + q)
            at = j * 3 * row_size + column + begin + f
            _add(forces, at, -fx, width, work.square)
            _add(forces, at + row_size, -fy, width, work.square)
            _add(forces, at + 2 * row_size, -fz, width, work.square)
        at = atom * 3 * row_size + column + begin + f
        _add(forces, at, sx, width, work.square)
        _add(forces, at + row_size, sy, width, work.square)
        _add(forces, at + 2 * row_size, sz, width, work.square)
        at = column + begin + f
        _add(virial, at, -wxx, width, work.square)
        _add(virial, at + row_size, -wyy, width, work.square)
        _add(virial, at + 2 * row_size, -wzz, width, work.square)
        _add(virial, at + 3 * row_size, -wyz, width, work.square)
        _add(virial, at + 4 * row_size, -wxz, width, work.square)
        _add(virial, at + 5 * row_size, -wxy, width, work.square)


@inlined
def _copy(square, room, first):
    for q in range(8):
        store(room, first + q, load(square, q))


@inlined
def _add(array, at, value, width, square):
    """Add the first ``width`` lanes to elements from ``at`` on."""
    if width == 8:
        store_at(array, at, load_at(array, at) + value)
    else:
        store(square, 0, value)
        for q in range(width):
            array[at + q] += item(square, q)


@kernel
def add_rows(
    basis, pairs, work, blocks, program, column, row_size, by_entry, by_atom, table, room,
    forces, virial,
):  # fmt: skip
    """Add to rows of all functions: forces (N, 3, n) and virial (6, n), both flat.

    ``row_size`` is n, of which the functions of this basis start at ``column``.
    """
    for block in range(blocks[0], blocks[1]):
        species = item(pairs.block_species, block)
        slot, chunk, at = place(basis, pairs, block, blocks[0], True)
        _jacobian(basis, program, species, work.values, at, by_entry)
        n_entries = program.entry_start[species + 1] - program.entry_start[species]
        _turn_entries(by_entry, n_entries, by_atom, work.square)
        stride = 8 * ((n_entries + 7) >> 3)
        for lane in range(8):
            atom = item(pairs.order, block * 8 + lane)
            if atom < 0:
                continue
            start = (block * 8 + lane) * basis.n_species
            first = chunk + pairs.chunk_first[start]
            first -= pairs.chunk_first[block * 8 * basis.n_species]
            for other in range(basis.n_species):
                count = item(work.counts, (slot + lane) * basis.n_species + other)
                offset = pairs.chunk_first[start + other] - pairs.chunk_first[start]
                for c in range((count + 7) >> 3):
                    index = first + offset + c
                    _slopes(basis, work, index * basis.chunk_size, table)
                    _add_pairs(
                        basis, program, work, species, other, count - 8 * c, index, atom,
                        by_atom, lane * stride, table, room, column, row_size, forces, virial,
                    )  # fmt: skip
