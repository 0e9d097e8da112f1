"""Means of correlated series: when they begin, and how well they are known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_hal.free_energy.symmetry import Array

MIN_BLOCKS = 16


@dataclass(frozen=True, eq=False)
class Average:
    """Means of a series and their standard errors.

    Attributes
    ----------
    mean, error : (c,) arrays
    reliable : bool
        Whether the series is long enough for blocks longer than its correlations. If not, the
        errors are too small.
    """

    mean: Array
    error: Array
    reliable: bool


def block_average(series: Array) -> Average:
    """Average a stationary series (n, c) and find the errors of the means by blocking.

    Blocks are doubled (Flyvbjerg and Petersen, 1989) until their length exceeds the optimum for
    the correlation found so far, ``B^3 > 2 n (error_B / error_1)^4`` (Lee et al., 2011).
    """
    n = len(series)
    if n < 2:
        raise ValueError(f"an average with an error needs at least two values, got {n}")
    mean = series.mean(axis=0)
    blocks = series - mean
    first = _standard_error(blocks)
    error, settled = first.copy(), first <= 0
    length = 1
    while not settled.all() and len(blocks) >= 2 * MIN_BLOCKS:
        even = len(blocks) // 2 * 2
        blocks = (blocks[:even:2] + blocks[1:even:2]) / 2
        length *= 2
        now = _standard_error(blocks)
        error = np.where(settled, error, np.maximum(error, now))
        with np.errstate(divide="ignore", invalid="ignore"):
            settled |= length**3 > 2 * n * (now / first) ** 4
    return Average(mean, error, bool(settled.all()))


def equilibration(series: Array) -> int:
    """Find where the stationary part of a series (n, c) begins, at most half of it away.

    The beginning is dropped up to where the standard error of the mean of the rest, as if
    uncorrelated, is smallest (White's MSER), for the column that takes longest.
    """
    n = len(series)
    starts = np.unique(np.linspace(0, n // 2, min(n // 2 + 1, 101)).astype(int))
    backwards = series[::-1] - series.mean(axis=0)
    length = n - starts
    total = np.cumsum(backwards, axis=0)[length - 1]
    square = np.cumsum(backwards**2, axis=0)[length - 1]
    count = length[:, None]
    variance = square / count - (total / count) ** 2
    return int(starts[(variance / count).argmin(axis=0)].max())


def _standard_error(blocks: Array) -> Array:
    return np.asarray(blocks.std(axis=0, ddof=1) / np.sqrt(len(blocks)))
