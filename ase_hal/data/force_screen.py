"""Which structures have forces of one kind: a fit through most of them, whatever the others are.

As in least trimmed squares: fits to a few structures at random, and from each to the half of all
that it predicts best. A fit to all would be a compromise that predicts none of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ase_hal.data.force_surface import VANISHING, ForceRows
from ase_hal.data.majority_line import number_of_starts
from ase_hal.prediction import Array

Ints = NDArray[np.intp]
Mask = NDArray[np.bool_]

_ROWS = 2  # force components by function in a random set
_CONCENTRATIONS = 3
_RIDGE = 1e-7  # of the mean square of a column
# Structures that a fit through most predicts: by the difference as a part of the larger of label
# and prediction, and by slopes that are not far from 1 as far as is known.
_PART, _UNUSUAL = 0.35, 2.5
_SLOPE, _SURE = 1.4, 5.0


def agreeing_structures(
    parts: Mapping[int, ForceRows], *, rng: np.random.Generator
) -> frozenset[int]:
    """Structures whose forces are of the most common kind."""
    known = {i: part for i, part in parts.items() if part.size > VANISHING}
    if len(known) < 4:
        return frozenset(known)
    sums = _Sums(list(known.values()))
    n, q = len(known), sums.size
    half = n // 2 + 1
    rows = float(np.median([len(part.labels) for part in known.values()]))
    size = int(np.clip(np.ceil(_ROWS * q / rows), 2, half))
    best, lowest = np.arange(n), np.inf
    for start in [rng.permutation(n)[:size] for _ in range(number_of_starts(size))]:
        members = start
        for _ in range(_CONCENTRATIONS):
            relative = sums.relative(members)
            again = np.argsort(relative, kind="stable")[:half]
            if set(again) == set(members):
                break
            members = again
        score = float(np.sort(sums.relative(members))[half - 1])
        if score < lowest:
            best, lowest = members, score
    agrees = sums.agree(best)
    by_those = sums.agree(np.flatnonzero(agrees))
    return frozenset(i for i, good in zip(known, agrees & by_those, strict=True) if good)


class _Sums:
    """Normal equations of every structure, from which a fit to any of them follows at once."""

    def __init__(self, parts: list[ForceRows]) -> None:
        typical = float(np.median([part.size for part in parts]))
        self.size = parts[0].forces.shape[1]
        scale = np.sqrt(sum(np.sum(part.forces**2, axis=0) for part in parts))
        scale = np.where(scale > 0, scale, 1.0)
        weights = [1 / max(typical, part.size) for part in parts]
        scaled = [w * part.forces / scale for w, part in zip(weights, parts, strict=True)]
        labels = [w * part.labels for w, part in zip(weights, parts, strict=True)]
        self.numbers = np.array([len(y) for y in labels])
        self.gram = np.array([rows.T @ rows for rows in scaled])
        self.cross = np.array([rows.T @ y for rows, y in zip(scaled, labels, strict=True)])
        self.squares = np.array([y @ y for y in labels])

    def products(self, members: Ints) -> tuple[Array, Array]:
        """p . p and y . p of every structure for a fit to some of them."""
        gram = self.gram[members].sum(axis=0)
        ridge = _RIDGE * np.trace(gram) / len(gram)
        c = np.linalg.solve(gram + ridge * np.eye(len(gram)), self.cross[members].sum(axis=0))
        return (self.gram @ c) @ c, self.cross @ c

    def relative(self, members: Ints) -> Array:
        """Differences as parts of the larger of label and prediction."""
        pp, yp = self.products(members)
        left = np.maximum(self.squares - 2 * yp + pp, 0.0)
        return np.sqrt(left / np.maximum(np.maximum(self.squares, pp), 1e-12))

    def agree(self, members: Ints) -> Mask:
        """Whether each structure is as a fit to some of them predicts."""
        pp, yp = self.products(members)
        relative = self.relative(members)
        slope = yp / np.maximum(pp, 1e-12)
        scatter = np.maximum(self.squares - yp * slope, 0.0) / np.maximum(pp, 1e-12)
        error = np.sqrt(scatter / np.maximum(self.numbers - 1, 1))
        common = float(np.median(slope[members]))
        with np.errstate(divide="ignore", invalid="ignore"):
            far = ~(np.abs(np.log(slope / common)) < np.log(_SLOPE))
        differs = far & (np.abs(slope - common) > _SURE * error)
        usual = max(_PART, _UNUSUAL * float(np.median(relative[members])))
        return (relative < usual) & ~differs
