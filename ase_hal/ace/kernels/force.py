"""Forces of the pairs of one atom from the derivatives of its energy. Lanes are neighbours."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from ase_hal.ace.kernels.geometry import next_legendre
from ase_hal.ace.kernels.simd import fma, item, load, splat, splat_at, store
from ase_hal.compiled import inlined


@inlined
def pair_force(basis, work, record, other, lane):
    r"""dE_i / dr_ij for a chunk of neighbours of one species.

    With Z = dE_i/dA (folded to m >= 0) from the row of atom ``lane``, S_lm = sum_n Z R and
    T_lm = sum_n Z dR/dr, the sums over l at fixed m of P S, P' S and P T multiply (x + iy)^m or
    its derivatives: no gradient of Y is ever stored.
    """
    chunks = work.chunks
    inverse = load(chunks, record + 3)
    x, y, z = (
        load(chunks, record) * inverse,
        load(chunks, record + 1) * inverse,
        load(chunks, record + 2) * inverse,
    )
    row = 8 * (lane * basis.row_size + other * basis.n_base_vectors)
    radial = splat(0.0)
    for k in range(basis.n_base):
        slope = load(chunks, record + basis.at_base_slope + k)
        radial = fma(splat_at(work.rows, row + k), slope, radial)
    if basis.n_max == 0:
        return radial * x, radial * y, radial * z
    _sum_over_n(basis, work, record, other, lane)
    gx, gy, gz, along = _sum_over_lm(basis, work.sums, x, y, z)
    # the gradient on the unit sphere has no part along r
    radial = radial + along - (gx * x + gy * y + gz * z) * inverse
    return (
        fma(radial, x, gx * inverse),
        fma(radial, y, gy * inverse),
        fma(radial, z, gz * inverse),
    )


@inlined
def _sum_over_n(basis, work, record, other, lane):
    """S and T of each component, one after the other in ``work.sums``; four at a time."""
    chunks, rows, sums = work.chunks, work.rows, work.sums
    n_row = 8 * basis.n_vectors
    row = 8 * (
        lane * basis.row_size
        + basis.n_species * basis.n_base_vectors
        + other * basis.n_lm * basis.n_vectors
    )
    for quad in range(0, basis.quads.size, 5):
        q0, q1 = item(basis.quads, quad), item(basis.quads, quad + 1)
        q2, q3 = item(basis.quads, quad + 2), item(basis.quads, quad + 3)
        z0, z1, z2, z3 = row + q0 * n_row, row + q1 * n_row, row + q2 * n_row, row + q3 * n_row
        shift = item(basis.quads, quad + 4) * basis.l_stride
        at_value, at_slope = (
            record + basis.at_radial + shift,
            record + basis.at_radial_slope + shift,
        )
        s0, s1, s2, s3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        t0, t1, t2, t3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        for n in range(basis.n_max):
            value, slope = load(chunks, at_value + n), load(chunks, at_slope + n)
            c = splat_at(rows, z0 + n)
            s0, t0 = fma(c, value, s0), fma(c, slope, t0)
            c = splat_at(rows, z1 + n)
            s1, t1 = fma(c, value, s1), fma(c, slope, t1)
            c = splat_at(rows, z2 + n)
            s2, t2 = fma(c, value, s2), fma(c, slope, t2)
            c = splat_at(rows, z3 + n)
            s3, t3 = fma(c, value, s3), fma(c, slope, t3)
        store(sums, 2 * q0, s0)
        store(sums, 2 * q0 + 1, t0)
        store(sums, 2 * q1, s1)
        store(sums, 2 * q1 + 1, t1)
        store(sums, 2 * q2, s2)
        store(sums, 2 * q2 + 1, t2)
        store(sums, 2 * q3, s3)
        store(sums, 2 * q3 + 1, t3)


@inlined
def _sum_over_lm(basis, sums, x, y, z):
    """Gradient by the unit vector, and derivative along r, from S and T."""
    l_max = basis.l_max
    gx, gy, gz, along = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
    before, slope_before, p, slope = splat(0.0), splat(0.0), splat(1.0), splat(0.0)
    for l in range(l_max + 1):  # noqa: E741  (m = 0)
        if l > 0:
            before, slope_before, p, slope = next_legendre(
                basis, l, 0, z, before, slope_before, p, slope
            )
        gz = fma(slope, load(sums, 2 * l * l), gz)
        along = fma(p, load(sums, 2 * l * l + 1), along)
    cosine_before, sine_before = splat(1.0), splat(0.0)
    for m in range(1, l_max + 1):
        ur, ui, vr, vi = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        wr, wi = splat(0.0), splat(0.0)
        before, slope_before = splat(0.0), splat(0.0)
        p, slope = splat_at(basis.legendre_diagonal, m), splat(0.0)
        for l in range(m, l_max + 1):  # noqa: E741
            if l > m:
                before, slope_before, p, slope = next_legendre(
                    basis, l, m, z, before, slope_before, p, slope
                )
            at = 2 * (l * l + 2 * m - 1)
            sr, tr, si, ti = (
                load(sums, at),
                load(sums, at + 1),
                load(sums, at + 2),
                load(sums, at + 3),
            )
            ur, ui = fma(p, sr, ur), fma(p, si, ui)
            vr, vi = fma(slope, sr, vr), fma(slope, si, vi)
            wr, wi = fma(p, tr, wr), fma(p, ti, wi)
        cosine = fma(x, cosine_before, -(y * sine_before))
        sine = fma(x, sine_before, y * cosine_before)
        along = along + fma(wr, cosine, -(wi * sine))
        gz = gz + fma(vr, cosine, -(vi * sine))
        factor = splat(float(m))
        gx = fma(factor, fma(ur, cosine_before, -(ui * sine_before)), gx)
        gy = fma(factor, fma(-ur, sine_before, -(ui * cosine_before)), gy)
        cosine_before, sine_before = cosine, sine
    return gx, gy, gz, along
