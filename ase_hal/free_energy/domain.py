"""The polytope of order parameters that occupations between 0 and 1 can have (Eq. 7)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.symmetry import Array

TOLERANCE = 1e-9  # of an occupation, where a point counts as inside


@dataclass(frozen=True, eq=False)
class Domain:
    """All eta with ``lower <= normals @ eta <= upper``: a bounded region between slabs.

    Attributes
    ----------
    normals : (m, d) array
        For order parameters the distinct rows of Q^+.
    lower, upper : (m,) arrays
    """

    normals: Array
    lower: Array
    upper: Array

    def __repr__(self) -> str:
        return f"<Domain: {self.dimension} variables between {len(self.normals)} pairs of walls>"

    @classmethod
    def of_slabs(cls, normals: npt.ArrayLike) -> Domain:
        """Region 0 <= normals @ eta <= 1 for normals (m, d); repeated ones count once."""
        rows = np.asarray(normals, dtype=float)
        _, first = np.unique(np.round(rows, 9), axis=0, return_index=True)
        rows = rows[np.sort(first)]
        return cls(rows, np.zeros(len(rows)), np.ones(len(rows)))

    @property
    def dimension(self) -> int:
        """Number of variables d."""
        return self.normals.shape[1]

    def contains(self, eta: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Which of the points (..., d) are inside, or closer to it than rounding errors."""
        heights = np.asarray(eta, dtype=float) @ self.normals.T
        inside = (heights >= self.lower - TOLERANCE) & (heights <= self.upper + TOLERANCE)
        return np.asarray(inside.all(axis=-1))

    def wall_distance(self, eta: npt.ArrayLike) -> Array:
        """Distance of points (..., d) to the nearest wall, negative outside."""
        heights = np.asarray(eta, dtype=float) @ self.normals.T
        gaps = np.minimum(heights - self.lower, self.upper - heights)
        return np.asarray((gaps / np.linalg.norm(self.normals, axis=1)).min(axis=-1))

    def reach(self, places: npt.ArrayLike, steps: npt.ArrayLike) -> Array:
        """The largest part (n, 1), at most 1, of steps from places (n, d) that stays inside."""
        heights = np.asarray(places, dtype=float) @ self.normals.T
        rates = np.asarray(steps, dtype=float) @ self.normals.T
        room = np.where(rates > 0, self.upper - heights, heights - self.lower)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(np.abs(rates) > 1e-12, room / np.abs(rates), 1.0)
        return np.asarray(np.clip(parts.min(axis=1, keepdims=True), 0.0, 1.0))

    @cached_property
    def bounds(self) -> Array:
        """Lowest and highest value of each variable (d, 2)."""
        from scipy.optimize import linprog

        walls = np.vstack([self.normals, -self.normals])
        heights = np.concatenate([self.upper, -self.lower])
        result = np.empty((self.dimension, 2))
        for i, axis in enumerate(np.eye(self.dimension)):
            for side, sign in enumerate((1.0, -1.0)):
                found = linprog(sign * axis, walls, heights, bounds=(None, None))
                if not found.success:
                    raise ValueError(f"the domain is empty or not bounded: {found.message}")
                result[i, side] = sign * found.fun
        return result

    @cached_property
    def centre(self) -> Array:
        """Centre (d,) of the largest ball inside."""
        from scipy.optimize import linprog

        lengths = np.linalg.norm(self.normals, axis=1)[:, None]
        walls = np.vstack([np.hstack([self.normals, lengths]), np.hstack([-self.normals, lengths])])
        heights = np.concatenate([self.upper, -self.lower])
        cost = -np.eye(self.dimension + 1)[-1]
        free = [(None, None)] * self.dimension
        found = linprog(cost, walls, heights, bounds=[*free, (0, None)])
        if not found.success or found.x[-1] < TOLERANCE:
            raise ValueError("the domain has no interior")
        return np.asarray(found.x[:-1])

    def within_box(self, lower: npt.ArrayLike, upper: npt.ArrayLike) -> Domain:
        """Cut the domain with a box from `lower` to `upper` (d,)."""
        return Domain(
            np.vstack([self.normals, np.eye(self.dimension)]),
            np.concatenate([self.lower, np.asarray(lower, dtype=float)]),
            np.concatenate([self.upper, np.asarray(upper, dtype=float)]),
        )

    def section(self, free: npt.ArrayLike, through: npt.ArrayLike) -> Domain:
        """Part of the domain in which only some variables are free.

        Parameters
        ----------
        free : (k,) integers
            Variables of the section, which are all that its points have.
        through : (d,) array
            Values of the others.
        """
        free = np.asarray(free, dtype=int)
        fixed = np.array(through, dtype=float)
        fixed[free] = 0.0
        shift = self.normals @ fixed
        rows = self.normals[:, free]
        walls = np.linalg.norm(rows, axis=1) > TOLERANCE
        idle = ~walls
        if (shift[idle] < self.lower[idle] - TOLERANCE).any() or (
            shift[idle] > self.upper[idle] + TOLERANCE
        ).any():
            raise ValueError(
                f"no point of the domain has the values {fixed.tolist()} outside {free.tolist()}"
            )
        merged = np.column_stack([rows, self.lower - shift, self.upper - shift])[walls]
        _, first = np.unique(np.round(merged, 9), axis=0, return_index=True)
        merged = merged[np.sort(first)]
        return Domain(merged[:, :-2].copy(), merged[:, -2].copy(), merged[:, -1].copy())
