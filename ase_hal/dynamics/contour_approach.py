"""Approach: whether a potentiostat comes closer to the energy it is asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ase_hal.dynamics.sanity import closest_contact
from ase_hal.prediction import Array

# Steps without progress after which a target counts as out of reach, and what progress is: a
# distance from the target smaller than the best so far by this fraction.
_PATIENCE = 100
_PATIENCE_ALONE = 50  # where the potentiostat alone moves the atoms
_PROGRESS = 1e-3
_REACHED = 0.1  # a target is reached at this fraction of the first distance, or when crossed

# Atoms closer than this fraction of their bond length are on top of each other. No structure
# of interest has that; random starts, which a walk may repair, are further apart.
_OVERLAP = 0.3


class UnreachableTarget(RuntimeError):
    """The potentiostat can't bring the structure to the energy that was asked for."""


class Approach:
    """The way of a walker to its target energy, judged step by step.

    Parameters
    ----------
    memory : (4 + n,) or (0,) array
        Another one's `memory`, to go on from; an empty one to begin.
    """

    def __init__(self, memory: Sequence[float] | Array = ()) -> None:
        values = [float(value) for value in memory]
        self._begun = bool(values)
        self._first, self._best, self._waited, self._side = values[:4] or [0.0] * 4
        self._alone = deque(values[4:], maxlen=_PATIENCE_ALONE)

    @property
    def memory(self) -> Array:
        """First and best distance from the target (eV), steps since, its sign, distances alone."""
        if not self._begun:
            return np.empty(0)
        return np.array([self._first, self._best, self._waited, self._side, *self._alone])

    def move(self, change: float) -> None:
        """The target moves: whoever keeps their distance makes progress, whoever stays does not."""
        self._first += abs(change)
        self._best += abs(change)
        self._side = 0.0
        self._alone.clear()

    def hopeless(self, distance: float, alone: bool) -> bool:
        """Take notice of the distance ``E - target``, eV; True once there is no more progress.

        ``alone`` says that the last step was the potentiostat's, with nothing for the contour.
        """
        size, side = abs(distance), float(np.sign(distance))
        if not self._begun:
            self._begun, self._first, self._best = True, size, size
        if size <= _REACHED * self._first or side * self._side < 0:
            self._first, self._best, self._waited = 0.0, size, 0
        elif size < (1 - _PROGRESS) * self._best:
            self._best, self._waited = size, 0
        else:
            self._waited += 1
        self._side = side
        if not alone:
            self._alone.clear()
        self._alone.append(size)
        stuck = len(self._alone) == _PATIENCE_ALONE and (
            min(self._alone) > (1 - _PROGRESS) * self._alone[0]
        )
        return stuck or (self._first > 0 and self._waited >= _PATIENCE)


def overlap(atoms: Atoms) -> str | None:
    """Which atoms are on top of each other, in words, or None."""
    contact = closest_contact(atoms, _OVERLAP)
    return None if contact is None else "atoms {1} and {2} are {0:.3g} Å apart".format(*contact)
