"""Greedy orders of many candidates: what is left of each one once those before it are known."""

from __future__ import annotations

import numpy as np

from ase_hal.prediction import Array

# Share of a variance that downdating can leave of nothing: some 1e-16 for each pick.
_ROUNDING = 1e-11


def conditional_order(
    factor: Array, n: int, *, min_gain: float = 0.0
) -> tuple[list[int], list[float]]:
    r"""Order of a Gaussian's components by what is left of them: a pivoted Cholesky.

    .. math:: v_i \leftarrow v_i - (l_i \cdot q)^2, \qquad
              q = \frac{(1 - Q Q^T)\, l_p}{|(1 - Q Q^T)\, l_p|}

    ==========  ==================================================================
    symbol      meaning
    ==========  ==================================================================
    l_i         row i of the factor L; the covariance is L L^T
    v_i         variance of component i, given all that were taken
    p           the component with the largest v, which is taken
    Q           the directions q so far, (r, k), orthonormal
    ==========  ==================================================================

    Time is O(N r) for each pick, and memory that of L: the N x N covariance is never made.

    Parameters
    ----------
    factor : (N, r) array
        L.
    n : int
        Largest number of picks.
    min_gain : float
        Component whose standard deviation has fallen to this fraction of the one it started
        from, or less, are never taken. Below 3e-6, which is rounding, it makes no difference.

    Returns
    -------
    order : list of int
        Components, in the order in which they are taken; none twice.
    left : list of float
        Standard deviation of each one when it was taken.
    """
    variance = np.einsum("ij,ij->i", factor, factor)
    least = max(min_gain**2, _ROUNDING) * variance
    directions = np.empty((min(n, *factor.shape), factor.shape[1]))
    order: list[int] = []
    left: list[float] = []
    for k in range(len(directions)):
        pick = int(np.argmax(np.where(variance > least, variance, -1.0)))
        if not variance[pick] > least[pick]:
            break
        known, q = directions[:k], factor[pick].copy()
        for _ in range(2):  # once leaves what rounding left: q must be orthogonal to all
            q -= (known @ q) @ known
        length = float(np.linalg.norm(q))
        directions[k] = q / length
        order.append(pick)
        left.append(length)
        variance -= (factor @ directions[k]) ** 2
        variance[pick] = 0.0
    return order, left


def distant_order(
    points: Array, taken: list[int], n: int, *, min_gain: float = 0.0
) -> tuple[list[int], list[float]]:
    """Order of what is large and far from all that was taken before.

    Parameters
    ----------
    points : (N, r) array
        Where every component is.
    taken : list of int
        Components that were taken already; without any, nothing is taken.
    n : int
        Largest number of picks.
    min_gain : float
        Distance below which nothing is taken, as a fraction of the component's length.

    Returns
    -------
    order : list of int
    left : list of float
        Length of each one, or its distance from the closest that was taken before, if shorter.
    """
    lengths = np.linalg.norm(points, axis=1)
    score, fresh = lengths, taken
    order: list[int] = []
    left: list[float] = []
    while fresh and len(order) < n:
        for pick in fresh:
            score = np.minimum(score, np.linalg.norm(points - points[pick], axis=1))
        allowed = score > min_gain * lengths
        if not allowed.any():
            break
        pick = int(np.argmax(np.where(allowed, score, -1.0)))
        order.append(pick)
        left.append(float(score[pick]))
        fresh = [pick]
    return order, left
