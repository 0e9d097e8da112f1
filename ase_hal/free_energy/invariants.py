"""Polynomials that a finite group of matrices leaves as they are."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np

from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.symmetry import Array, IntArray


def molien_series(group: Array, degree: int) -> IntArray:
    r"""Count the independent invariants of every degree up to one.

    .. math:: \frac{1}{|G|} \sum_M \frac{1}{\det(1 - z M)} = \sum_n a_n z^n

    Parameters
    ----------
    group : (G, d, d) array
        All matrices of the group.
    degree : int

    Returns
    -------
    (degree + 1,) integers
    """
    # traces of powers give the symmetric functions of the eigenvalues (Newton)
    power = np.broadcast_to(np.eye(group.shape[1]), group.shape)
    traces = []
    for _ in range(degree):
        power = power @ group
        traces.append(np.trace(power, axis1=1, axis2=2))
    complete = [np.ones(len(group))]
    for n in range(1, degree + 1):
        complete.append(sum(traces[k - 1] * complete[n - k] for k in range(1, n + 1)) / n)
    counts = np.mean(complete, axis=1)
    if np.abs(counts - np.rint(counts)).max() > 1e-6:
        raise ValueError("these matrices are no group: the Molien series is not of integers")
    return np.rint(counts).astype(np.int64)


def find_invariants(group: Array, degree: int) -> Polynomials:
    """Basis of the invariants of degrees 1 to `degree`, by the Reynolds operator (Eq. 5)."""
    return _joined([_of_degree(group, n) for n in range(1, degree + 1)], group.shape[1])


def find_generators(group: Array, degree: int) -> Polynomials:
    """Those invariants up to a degree that are no polynomials of the others."""
    kept: list[tuple[int, Array]] = []  # degree and coefficients on the monomials of that degree
    dimension = group.shape[1]
    for n in range(1, degree + 1):
        products = [
            _product([kept[i] for i in chosen], dimension)
            for count in range(2, n + 1)
            for chosen in itertools.combinations_with_replacement(range(len(kept)), count)
            if sum(kept[i][0] for i in chosen) == n
        ]
        space = np.array(products).reshape(-1, len(_monomials(dimension, n)))
        for invariant in _of_degree(group, n):
            trial = np.vstack([space, invariant])
            if _rank(trial) > _rank(space):
                space = trial
                kept.append((n, invariant))
    found = [
        np.array([c for d, c in kept if d == n]).reshape(-1, len(_monomials(dimension, n)))
        for n in range(1, degree + 1)
    ]
    return _joined(found, dimension)


def _of_degree(group: Array, degree: int) -> Array:
    """Independent invariants (n, T) on the T monomials of a degree."""
    count = int(molien_series(group, degree)[degree])
    monomials = _monomials(group.shape[1], degree)
    found = np.empty((0, len(monomials)))
    signed = np.abs(group).max(axis=2).min() > 1 - 1e-9  # each row has a single +-1
    for t, exponents in enumerate(monomials):
        if len(found) == count:
            break
        # under signed permutations a monomial belongs to one orbit only
        if signed and found[:, t].any():
            continue
        trial = (_reynolds_signed if signed else _reynolds)(group, exponents)
        size = np.abs(trial).max()
        if size < 1e-9:
            continue
        trial = np.where(np.abs(trial) < 1e-13 * size, 0.0, trial / trial[np.abs(trial).argmax()])
        if _rank(np.vstack([found, trial])) > len(found):
            found = np.vstack([found, trial])
    if len(found) != count:
        raise ValueError(
            f"the Molien series has {count} invariants of degree {degree}, the Reynolds operator "
            f"found {len(found)}: these matrices are no group"
        )
    return found


def _reynolds(group: Array, exponents: IntArray) -> Array:
    """Mean of a monomial over the group, on all monomials of its degree (T,)."""
    dimension = group.shape[1]
    result = np.ones((len(group), 1))
    factors = np.repeat(np.arange(dimension), exponents)
    for degree, i in enumerate(factors):
        raised = _raised(dimension, degree)
        product = np.zeros((len(group), len(_monomials(dimension, degree + 1))))
        for j in range(dimension):
            product[:, raised[:, j]] += result * group[:, i, j, None]
        result = product
    return np.asarray(result.mean(axis=0))


def _reynolds_signed(group: Array, exponents: IntArray) -> Array:
    """The same for signed permutations, which make one monomial of another."""
    degree = int(exponents.sum())
    monomials = _monomials(group.shape[1], degree)
    signs = group.sum(axis=2).prod(axis=1, where=(exponents % 2 == 1)[None])
    images = np.abs(group).transpose(0, 2, 1) @ exponents
    code = (degree + 1) ** np.arange(group.shape[1])
    order = np.argsort(monomials @ code)
    places = order[np.searchsorted((monomials @ code)[order], np.rint(images).astype(int) @ code)]
    return np.bincount(places, signs, minlength=len(monomials)) / len(group)


def _rank(vectors: Array) -> int:
    return int(np.linalg.matrix_rank(vectors, tol=1e-9)) if len(vectors) else 0


@cache
def _monomials(dimension: int, degree: int) -> IntArray:
    """Exponents (T, dimension) of all monomials of a degree."""
    factors = itertools.combinations_with_replacement(range(dimension), degree)
    chosen = np.array(list(factors), dtype=np.int64)
    return np.asarray((chosen[..., None] == np.arange(dimension)).sum(axis=1))


@cache
def _raised(dimension: int, degree: int) -> IntArray:
    """Which monomial of the next degree each (T, dimension) is when multiplied by a variable."""
    place = {tuple(e): t for t, e in enumerate(_monomials(dimension, degree + 1).tolist())}
    unit = np.eye(dimension, dtype=np.int64)
    table = _monomials(dimension, degree)[:, None] + unit
    return np.array([[place[tuple(e)] for e in row] for row in table.tolist()])


def _product(factors: list[tuple[int, Array]], dimension: int) -> Array:
    """Coefficients (T,) of a product of homogeneous polynomials."""
    total: dict[tuple[int, ...], float] = {(0,) * dimension: 1.0}
    for degree, coefficients in factors:
        exponents = _monomials(dimension, degree)
        terms = [(exponents[t], coefficients[t]) for t in np.flatnonzero(coefficients)]
        grown: dict[tuple[int, ...], float] = {}
        for known, value in total.items():
            for exponent, coefficient in terms:
                key = tuple((exponent + known).tolist())
                grown[key] = grown.get(key, 0.0) + value * coefficient
        total = grown
    degree = sum(d for d, _ in factors)
    return np.array([total.get(tuple(e), 0.0) for e in _monomials(dimension, degree).tolist()])


def _joined(by_degree: list[Array], dimension: int) -> Polynomials:
    """Polynomials from coefficients (n, T) for each degree from 1 upwards."""
    exponents = np.concatenate([_monomials(dimension, n + 1) for n in range(len(by_degree))])
    coefficients = np.zeros((sum(map(len, by_degree)), len(exponents)))
    row = column = 0
    for block in by_degree:
        coefficients[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    used = coefficients.any(axis=0)
    return Polynomials(exponents[used], coefficients[:, used])
