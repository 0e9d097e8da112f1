r"""CellMC: the cell changes at constant pressure, the atoms with it.

At pressure P and temperature T a cell h (rows are vectors, Å) of volume V with N atoms at fixed
scaled positions has the weight

.. math:: V^{N} \exp(-(E + P V) / kT)\, dV\, d\mu(\text{shape})

In the variable that a kind of move changes at random, this gains the Jacobian of that variable:

==============  ==========================================  ====================
kind            change                                      weight besides
                                                            exp(-(E + PV)/kT)
==============  ==========================================  ====================
'cell'          Gaussian noise on the nine components of h  V^(N - 2)
'volume'        V uniformly by up to ± step * N             V^N
'log_volume'    ln V uniformly by up to ± step              V^(N + 1)
'strain'        h -> h exp(eps), eps symmetric Gaussian     V^(N + 1)
==============  ==========================================  ====================

For all of them, the ideal gas (E = 0) has <V> P / kT = N + 1. The exponential of the strain is
h (1 + eps) to first order; its inverse is as likely as itself, which that of 1 + eps is not.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms, units

from ase_hal.dynamics.moves.metropolis import check_schedule, metropolis, trial_energy
from ase_hal.dynamics.ramp import Ramp, extremes, value_at
from ase_hal.dynamics.sanity import check_cell_may_change
from ase_hal.prediction import Array


class _Kind(NamedTuple):
    step: float  # default
    power: int  # of V, besides V^N
    shape: bool  # changes the shape


_KINDS = {
    "cell": _Kind(0.05, -2, True),
    "strain": _Kind(0.005, 1, True),
    "volume": _Kind(0.3, 0, False),
    "log_volume": _Kind(0.02, 1, False),
}


def aspect_ratio(cell: Array) -> float:
    """Shortest distance between opposite faces over the cube root of the volume; 1 for a cube."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    return float(heights.min() / np.cbrt(abs(np.linalg.det(cell))))


@dataclass(frozen=True)
class CellMC:
    """Change the cell, at constant pressure and fixed scaled positions.

    Momenta stay as they are. Works on cells that are periodic in three directions and without
    constraints other than a fixed centre of mass.

    Parameters
    ----------
    interval : int
        Dynamics steps between calls.
    kind : 'cell', 'strain', 'volume' or 'log_volume'
        What changes; the module's table has the equations. The first two change the shape too;
        'cell', noise on the cell vectors, is what van der Oord et al. (2022) use.
    pressure : float or Ramp
        eV/Å^3 (``0.1 * ase.units.GPa``).
    step : float, optional
        Size of a change: Å for 'cell', Å^3 per atom for 'volume', dimensionless for the others.
        The defaults change the volume of a small metal cell by about 1 %.
    min_aspect_ratio : float
        Cells flatter than this are rejected: the shortest distance between opposite faces over
        the cube root of the volume, 1 for a cube (0.85 in the nested sampling of the paper). A
        liquid or a gas has nothing else that keeps the shape of its cell.
    attempts : int
        Trials per call.
    """

    interval: int
    kind: str = "cell"
    _: KW_ONLY
    pressure: float | Ramp = 0.0
    step: float | None = None
    min_aspect_ratio: float = 0.7
    attempts: int = 1

    def __post_init__(self) -> None:
        check_schedule(self.interval, self.attempts)
        if self.kind not in _KINDS:
            raise ValueError(f"kind must be one of {', '.join(_KINDS)}, got {self.kind!r}")
        if not all(map(math.isfinite, extremes(self.pressure))):
            raise ValueError(f"pressure must be finite, got {self.pressure}")
        if not 0 < self.width < math.inf:
            raise ValueError(f"step must be positive and finite, got {self.step}")
        if not 0 <= self.min_aspect_ratio <= 1:
            raise ValueError(f"min_aspect_ratio lies between 0 and 1, got {self.min_aspect_ratio}")

    @property
    def width(self) -> float:
        """The step, or the default one for this kind of move."""
        return _KINDS[self.kind].step if self.step is None else self.step

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where the cell of these atoms can't be changed."""
        check_cell_may_change(atoms, type(self).__name__)
        if not _KINDS[self.kind].shape:
            return
        present = aspect_ratio(atoms.cell.array)
        if present < self.min_aspect_ratio:
            raise ValueError(
                f"the cell has an aspect ratio of {present:.3f}, below "
                f"min_aspect_ratio={self.min_aspect_ratio}"
            )

    def attempt(
        self, atoms: Atoms, *, temperature_K: float, rng: np.random.Generator, step: int = 0
    ) -> bool:
        """One trial; True where it was accepted."""
        old, positions = atoms.cell.array.copy(), atoms.positions.copy()
        new = self._propose(old, len(atoms), rng)
        if new is None:
            return False
        before = atoms.get_potential_energy()
        atoms.cell[:] = new
        atoms.set_positions(positions @ np.linalg.solve(old, new))
        volume, trial_volume = abs(np.linalg.det(old)), abs(np.linalg.det(new))
        work = value_at(self.pressure, step) * (trial_volume - volume)
        power = len(atoms) + _KINDS[self.kind].power
        exponent = power * math.log(trial_volume / volume)
        exponent -= (trial_energy(atoms) - before + work) / (units.kB * temperature_K)
        if metropolis(exponent, rng):
            return True
        atoms.cell[:] = old
        atoms.positions[:] = positions
        return False

    def _propose(self, cell: Array, n_atoms: int, rng: np.random.Generator) -> Array | None:
        """A new cell, or None where it would be inverted or too flat."""
        if self.kind == "cell":
            new = cell + self.width * rng.standard_normal((3, 3))
        elif self.kind == "strain":
            new = cell @ self._deformation(rng)
        else:
            change = self.width * rng.uniform(-1, 1)
            if self.kind == "volume":
                volume = abs(np.linalg.det(cell))
                if volume + change * n_atoms <= 0:
                    return None
                change = math.log1p(change * n_atoms / volume)
            return cell * math.exp(change / 3)
        same_hand = np.linalg.det(new) * np.linalg.det(cell) > 0
        return new if same_hand and aspect_ratio(new) >= self.min_aspect_ratio else None

    def _deformation(self, rng: np.random.Generator) -> Array:
        """exp(eps), with a distribution of eps that is the same in all directions."""
        noise = rng.standard_normal((3, 3))
        values, vectors = np.linalg.eigh(self.width * (noise + noise.T) / 2)
        return (vectors * np.exp(values)) @ vectors.T
