"""Symmetry-inequivalent decorations of the neighbours of a path, counted and enumerated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ase_hal.prediction import Array

Permutations = NDArray[np.intp]

_CHUNK = 1 << 18


@dataclass(frozen=True)
class Path:
    """A hop from one site to another and the sites around it.

    Attributes
    ----------
    start, end : (3,) arrays
        Where the atom goes from and to, in lattice parameters.
    neighbours : (n, 3) array
        The sites that are decorated.
    """

    start: Array
    end: Array
    neighbours: Array

    def permutations(self, *, reversible: bool = False) -> Permutations:
        """How the symmetries of the path permute its neighbours, (order of the group, n).

        Parameters
        ----------
        reversible : bool
            Count the symmetries that exchange start and end, too.
        """
        points = np.concatenate([[self.start, self.end], self.neighbours])
        colours = np.array([0, 0 if reversible else 1, *[2] * len(self.neighbours)])
        return isometries(points, colours)[:, 2:] - 2


def bcc_interstitial_path() -> Path:
    """Between neighbouring octahedral sites of bcc, through a tetrahedral one.

    Its eight neighbours are those of both octahedra. With the reversal the group is D2d.
    """
    neighbours = [[0, 0, 0], [2, 0, 0], [0, 2, 0], [2, 2, 0], [1, 1, 1], [1, 1, -1], [1, -1, 1],
                  [1, -1, -1]]  # fmt: skip
    return Path(np.array([0.5, 0, 0]), np.array([0.5, 0.5, 0]), np.array(neighbours) / 2)


def bcc_vacancy_path() -> Path:
    """From a site of bcc into a vacancy next to it; without the reversal the group is C3v.

    Its fourteen neighbours are the nearest ones of both sites.
    """
    corners = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
    start, end = np.zeros(3), np.full(3, 0.5)
    around = np.concatenate([corners + start, corners + end])
    own = [np.allclose(point, start) or np.allclose(point, end) for point in around]
    return Path(start, end, around[~np.array(own)])


def isometries(
    points: Array, colours: NDArray[np.integer], tolerance: float = 1e-6
) -> Permutations:
    """All permutations of coloured points that keep every distance and colour.

    Parameters
    ----------
    points : (n, 3) array
        Distinct.
    colours : (n,) integer array
        Points of different colours are never exchanged.
    tolerance : float
        Of distances, in the units of the points.

    Returns
    -------
    (order, n) array
        Row g says that symmetry g brings point i to where point ``row[i]`` is; the identity
        comes first.
    """
    points = np.asarray(points, dtype=float)
    distances = np.linalg.norm(points[:, None] - points, axis=2)
    n = len(points)
    if n == 0 or len(colours) != n:
        raise ValueError(f"points and colours are of one length above 0, got {n}, {len(colours)}")
    if (distances + np.eye(n) < tolerance).any():
        raise ValueError("two points are in the same place")
    found: list[list[int]] = []

    def extend(images: list[int]) -> None:
        i = len(images)
        if i == n:
            found.append(images)
            return
        for j in range(n):
            if (
                colours[j] == colours[i]
                and j not in images
                and np.allclose(distances[i, :i], distances[j, images], rtol=0, atol=tolerance)
            ):
                extend([*images, j])

    extend([])
    return np.array(found, dtype=np.intp)


def count_decorations(permutations: Permutations, n_colours: int) -> int:
    r"""Number of decorations that no symmetry maps on each other, by Burnside's lemma.

    .. math:: \frac{1}{|G|} \sum_{g \in G} m^{\mathrm{cycles}(g)}

    Parameters
    ----------
    permutations : (order, n) array
        The group, for example `Path.permutations`.
    n_colours : int
        m, the number of elements.
    """
    permutations = _checked(permutations, n_colours)
    return sum(n_colours ** _cycles(row) for row in permutations.tolist()) // len(permutations)


def decorations(
    permutations: Permutations, n_colours: int, *, chunk: int = _CHUNK
) -> Iterator[NDArray[np.uint8]]:
    """One decoration of every kind: the first in lexicographic order.

    Parameters
    ----------
    permutations : (order, n) array
        The group.
    n_colours : int
        Number of elements m; m^n decorations are gone through.
    chunk : int
        How many at a time.

    Yields
    ------
    (k, n) array of uint8
        Colours 0 ... m - 1 of the n sites, in lexicographic order, some at a time.
    """
    permutations = _checked(permutations, n_colours)
    n = permutations.shape[1]
    if n_colours**n > 2**62:
        raise ValueError(f"{n_colours}^{n} decorations are too many to go through")
    powers = n_colours ** np.arange(n - 1, -1, -1, dtype=np.int64)
    # The decoration x under g has the code sum_i x[g(i)] powers[i] = sum_j x[j] powers[g^-1(j)].
    weights = np.stack([powers[np.argsort(row)] for row in permutations], axis=1)
    for first in range(0, n_colours**n, chunk):
        codes = np.arange(first, min(first + chunk, n_colours**n), dtype=np.int64)
        digits = codes[:, None] // powers % n_colours
        smallest = np.ones(len(codes), dtype=bool)
        for weight in weights.T:
            smallest[smallest] = digits[smallest] @ weight >= codes[smallest]
        if smallest.any():
            yield digits[smallest].astype(np.uint8)


def _cycles(permutation: Sequence[int]) -> int:
    left, cycles = set(range(len(permutation))), 0
    while left:
        cycles += 1
        i = left.pop()
        while (i := permutation[i]) in left:
            left.remove(i)
    return cycles


def _checked(permutations: Permutations, n_colours: int) -> Permutations:
    permutations = np.atleast_2d(np.asarray(permutations, dtype=np.intp))
    n = permutations.shape[1]
    if not len(permutations) or not (np.sort(permutations, axis=1) == np.arange(n)).all():
        raise ValueError("every row of permutations holds each of 0 ... n - 1 once")
    rows = {tuple(row) for row in permutations.tolist()}
    if any(tuple(row) not in rows for one in permutations for row in one[permutations].tolist()):
        raise ValueError("the permutations are not a group: products of two are missing")
    if n_colours < 1:
        raise ValueError(f"n_colours is at least 1, got {n_colours}")
    return permutations
