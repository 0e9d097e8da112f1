"""Forces of the pairs of one atom from the derivatives of its energy. Lanes are neighbours."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from ase_hal.ace.kernels.inline import inlined
from ase_hal.ace.kernels.simd import fma, load, splat, splat_at


@inlined
def pair_force(basis, work, record, other, lane):
    r"""dE_i / dr_ij for a chunk of neighbours of one species.

    With Z = dE_i/dA (folded to m >= 0) from the row of atom ``lane``, S_lm = sum_n Z R and
    T_lm = sum_n Z dR/dr, the sums over l at fixed m of P S, P' S and P T multiply (x + iy)^m or
    its derivatives: no gradient of Y is ever stored.
    """
    chunks, rows = work.chunks, work.rows
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
        radial = fma(splat_at(rows, row + k), slope, radial)
    if basis.n_max == 0:
        return radial * x, radial * y, radial * z
    gx, gy, gz = splat(0.0), splat(0.0), splat(0.0)
    l_max, n_max = basis.l_max, basis.n_max
    n_legendre = (l_max + 1) * (l_max + 2) // 2
    n_row = 8 * basis.n_vectors
    row = 8 * (
        lane * basis.row_size
        + basis.n_species * basis.n_base_vectors
        + other * basis.n_lm * basis.n_vectors
    )
    legendre = record + basis.at_legendre
    for l in range(l_max + 1):  # noqa: E741  (m = 0)
        s, t = splat(0.0), splat(0.0)
        at_r = record + basis.at_radial + l * basis.l_stride
        at_slope = record + basis.at_radial_slope + l * basis.l_stride
        at_z = row + l * l * n_row
        for n in range(n_max):
            c = splat_at(rows, at_z + n)
            s = fma(c, load(chunks, at_r + n), s)
            t = fma(c, load(chunks, at_slope + n), t)
        at_p = legendre + l * (l + 1) // 2
        radial = fma(load(chunks, at_p), t, radial)
        gz = fma(load(chunks, at_p + n_legendre), s, gz)
    cosine_before, sine_before = splat(1.0), splat(0.0)
    for m in range(1, l_max + 1):
        ur, ui, vr, vi = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
        wr, wi = splat(0.0), splat(0.0)
        for l in range(m, l_max + 1):  # noqa: E741
            sr, si, tr, ti = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            at_r = record + basis.at_radial + l * basis.l_stride
            at_slope = record + basis.at_radial_slope + l * basis.l_stride
            at_z = row + (l * l + 2 * m - 1) * n_row
            for n in range(n_max):
                r, slope = load(chunks, at_r + n), load(chunks, at_slope + n)
                cr, ci = splat_at(rows, at_z + n), splat_at(rows, at_z + n_row + n)
                sr, si = fma(cr, r, sr), fma(ci, r, si)
                tr, ti = fma(cr, slope, tr), fma(ci, slope, ti)
            p = load(chunks, legendre + l * (l + 1) // 2 + m)
            dp = load(chunks, legendre + n_legendre + l * (l + 1) // 2 + m)
            ur, ui = fma(p, sr, ur), fma(p, si, ui)
            vr, vi = fma(dp, sr, vr), fma(dp, si, vi)
            wr, wi = fma(p, tr, wr), fma(p, ti, wi)
        cosine = load(chunks, record + basis.at_phase + m)
        sine = load(chunks, record + basis.at_phase + l_max + 1 + m)
        radial = radial + fma(wr, cosine, -(wi * sine))
        gz = gz + fma(vr, cosine, -(vi * sine))
        factor = splat(float(m))
        gx = fma(factor, fma(ur, cosine_before, -(ui * sine_before)), gx)
        gy = fma(factor, fma(-ur, sine_before, -(ui * cosine_before)), gy)
        cosine_before, sine_before = cosine, sine
    # the gradient on the unit sphere has no part along r
    radial = fma(-inverse, fma(gx, x, fma(gy, y, gz * z)), radial)
    return (
        fma(radial, x, gx * inverse),
        fma(radial, y, gy * inverse),
        fma(radial, z, gz * inverse),
    )
