"""A of each atom, and the way between rows (lanes: radial index) and blocks (lanes: atoms)."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

from ase_hal.ace.kernels.simd import fma, item, load, splat, splat_at, store, transpose
from ase_hal.compiled import inlined


@inlined
def density(basis, work, other, count, local, lane):
    """Sum over the neighbours of one species: row of atom ``lane``.

    ``local`` is the first chunk of the species among those of the atom. Padded lanes are summed
    too (their radial functions are zero).
    """
    row = lane * basis.row_size
    n_g = basis.n_knot_vectors
    n_pairs = ((count + 7) >> 3) << 3
    for v in range(basis.n_base_vectors):
        even, odd = splat(0.0), splat(0.0)
        for pair in range(0, n_pairs, 2):
            even = even + load(work.radial, (local * 8 + pair) * n_g + v)
            odd = odd + load(work.radial, (local * 8 + pair + 1) * n_g + v)
        store(work.rows, row + other * basis.n_base_vectors + v, even + odd)
    row += basis.n_species * basis.n_base_vectors + other * basis.n_lm * basis.n_vectors
    if basis.identity:
        _project(basis, work, work.radial, n_g, 0, n_pairs, local, row)
    else:
        n = basis.n_vectors
        _project(basis, work, work.mixed, (basis.l_max + 1) * n, n, n_pairs, local, row)


@inlined
def _project(basis, work, radial, pair_stride, l_stride, n_pairs, local, row):
    """A for components four at a time, two neighbours at a time: eight independent sums."""
    n = basis.n_vectors
    for quad in range(0, basis.quads.size, 5):
        q0, q1 = item(basis.quads, quad), item(basis.quads, quad + 1)
        q2, q3 = item(basis.quads, quad + 2), item(basis.quads, quad + 3)
        l = item(basis.quads, quad + 4)  # noqa: E741
        for v in range(n):
            a0, a1, a2, a3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            b0, b1, b2, b3 = splat(0.0), splat(0.0), splat(0.0), splat(0.0)
            for pair in range(0, n_pairs, 2):
                at = (local * 8 + pair) * pair_stride + l * l_stride + v
                y = (local + (pair >> 3)) * basis.n_lm * 8 + (pair & 7)
                r = load(radial, at)
                a0 = fma(r, splat_at(work.harmonics, y + q0 * 8), a0)
                a1 = fma(r, splat_at(work.harmonics, y + q1 * 8), a1)
                a2 = fma(r, splat_at(work.harmonics, y + q2 * 8), a2)
                a3 = fma(r, splat_at(work.harmonics, y + q3 * 8), a3)
                r = load(radial, at + pair_stride)
                b0 = fma(r, splat_at(work.harmonics, y + q0 * 8 + 1), b0)
                b1 = fma(r, splat_at(work.harmonics, y + q1 * 8 + 1), b1)
                b2 = fma(r, splat_at(work.harmonics, y + q2 * 8 + 1), b2)
                b3 = fma(r, splat_at(work.harmonics, y + q3 * 8 + 1), b3)
            store(work.rows, row + q0 * n + v, a0 + b0)
            store(work.rows, row + q1 * n + v, a1 + b1)
            store(work.rows, row + q2 * n + v, a2 + b2)
            store(work.rows, row + q3 * n + v, a3 + b3)


@inlined
def clear_row(basis, work, lane):
    """The row of a lane without atom."""
    for v in range(lane * basis.row_size, (lane + 1) * basis.row_size):
        store(work.rows, v, splat(0.0))


@inlined
def turn_rows(array, first, stride, square):
    """Transpose eight vectors, ``stride`` apart, into the eight vectors of ``square``."""
    t = transpose(
        load(array, first),
        load(array, first + stride),
        load(array, first + 2 * stride),
        load(array, first + 3 * stride),
        load(array, first + 4 * stride),
        load(array, first + 5 * stride),
        load(array, first + 6 * stride),
        load(array, first + 7 * stride),
    )
    store(square, 0, t[0])
    store(square, 1, t[1])
    store(square, 2, t[2])
    store(square, 3, t[3])
    store(square, 4, t[4])
    store(square, 5, t[5])
    store(square, 6, t[6])
    store(square, 7, t[7])


@inlined
def gather(basis, work, at):
    """Rows of eight atoms to the values X of their block, A with m < 0 and products included.

    ``at`` is where the values of the block start in ``work.values``, in vectors.
    """
    zero = splat(0.0)
    x, square, size = work.values, work.square, basis.row_size
    store(x, at, splat(1.0))
    store(x, at + 1, zero)
    for other in range(basis.n_species):
        for v in range(basis.n_base_vectors):
            turn_rows(work.rows, other * basis.n_base_vectors + v, size, square)
            node = at + 2 * (basis.first_base + other * basis.n_base + 8 * v)
            for k in range(min(8, basis.n_base - 8 * v)):
                store(x, node + 2 * k, load(square, k))
                store(x, node + 2 * k + 1, zero)
    n_max, n, l_max = basis.n_max, basis.n_vectors, basis.l_max
    for other in range(basis.n_species if n_max > 0 else 0):
        row = basis.n_species * basis.n_base_vectors + other * basis.n_lm * n
        start = at + 2 * (basis.first_atomic + other * basis.n_lm * n_max)
        for l in range(l_max + 1):  # noqa: E741
            for v in range(n):
                turn_rows(work.rows, row + l * l * n + v, size, square)
                node = start + 2 * (l * (l + 1) * n_max + 8 * v)
                for q in range(min(8, n_max - 8 * v)):
                    store(x, node + 2 * q, load(square, q))
                    store(x, node + 2 * q + 1, zero)
                for m in range(1, l + 1):
                    # A_l,-m = (-1)^m conj(A_lm)
                    sign = splat(1.0 - 2.0 * (m & 1))
                    plus = start + 2 * ((l * (l + 1) + m) * n_max + 8 * v)
                    minus = start + 2 * ((l * (l + 1) - m) * n_max + 8 * v)
                    turn_rows(work.rows, row + (l * l + 2 * m - 1) * n + v, size, square)
                    for q in range(min(8, n_max - 8 * v)):
                        value = load(square, q)
                        store(x, plus + 2 * q, value)
                        store(x, minus + 2 * q, sign * value)
                    turn_rows(work.rows, row + (l * l + 2 * m) * n + v, size, square)
                    for q in range(min(8, n_max - 8 * v)):
                        value = load(square, q)
                        store(x, plus + 2 * q + 1, value)
                        store(x, minus + 2 * q + 1, -(sign * value))


@inlined
def fold(basis, work):
    """The derivatives Z of a block to rows of eight atoms.

    The inverse of `gather`: A with m < 0 is not independent, so that Z_lm of m > 0 receives
    (-1)^m conj(Z_l,-m). With dE = Re(Z dA), the row holds Re Z and Im Z.
    """
    z, square, size = work.adjoint, work.square, basis.row_size
    for other in range(basis.n_species):
        for v in range(basis.n_base_vectors):
            node = 2 * (basis.first_base + other * basis.n_base + 8 * v)
            for k in range(min(8, basis.n_base - 8 * v)):
                store(square, k, load(z, node + 2 * k))
            _spread(work, other * basis.n_base_vectors + v, size)
    n_max, n, l_max = basis.n_max, basis.n_vectors, basis.l_max
    for other in range(basis.n_species if n_max > 0 else 0):
        row = basis.n_species * basis.n_base_vectors + other * basis.n_lm * n
        start = 2 * (basis.first_atomic + other * basis.n_lm * n_max)
        for l in range(l_max + 1):  # noqa: E741
            for v in range(n):
                node = start + 2 * (l * (l + 1) * n_max + 8 * v)
                for q in range(min(8, n_max - 8 * v)):
                    store(square, q, load(z, node + 2 * q))
                _spread(work, row + l * l * n + v, size)
                for m in range(1, l + 1):
                    sign = splat(1.0 - 2.0 * (m & 1))
                    plus = start + 2 * ((l * (l + 1) + m) * n_max + 8 * v)
                    minus = start + 2 * ((l * (l + 1) - m) * n_max + 8 * v)
                    for q in range(min(8, n_max - 8 * v)):
                        store(square, q, fma(sign, load(z, minus + 2 * q), load(z, plus + 2 * q)))
                    _spread(work, row + (l * l + 2 * m - 1) * n + v, size)
                    for q in range(min(8, n_max - 8 * v)):
                        folded = load(z, plus + 2 * q + 1) - sign * load(z, minus + 2 * q + 1)
                        store(square, q, folded)
                    _spread(work, row + (l * l + 2 * m) * n + v, size)


@inlined
def _spread(work, first, stride):
    """Transpose ``square`` to eight vectors of ``rows``, ``stride`` apart."""
    s = work.square
    t = transpose(
        load(s, 0),
        load(s, 1),
        load(s, 2),
        load(s, 3),
        load(s, 4),
        load(s, 5),
        load(s, 6),
        load(s, 7),
    )
    store(work.rows, first, t[0])
    store(work.rows, first + stride, t[1])
    store(work.rows, first + 2 * stride, t[2])
    store(work.rows, first + 3 * stride, t[3])
    store(work.rows, first + 4 * stride, t[4])
    store(work.rows, first + 5 * stride, t[5])
    store(work.rows, first + 6 * stride, t[6])
    store(work.rows, first + 7 * stride, t[7])
