r"""ZBL: the screened repulsion of two nuclei, fixed where data is scarce.

Ziegler, Biersack & Littmark, "The Stopping and Range of Ions in Solids" (Pergamon, 1985), with
the switching of LAMMPS' ``pair_style zbl``, so that the two agree to machine precision:

.. math::

    E_{ij}(r) &= \frac{Z_i Z_j e^2}{4 \pi \epsilon_0 r} \phi(r / a) + S(r), \qquad r < r_c \\
    a &= 0.46850 / (Z_i^{0.23} + Z_j^{0.23}) \;\text{Å} \\
    \phi(x) &= 0.18175 e^{-3.19980 x} + 0.50986 e^{-0.94229 x}
             + 0.28022 e^{-0.40290 x} + 0.02817 e^{-0.20162 x} \\
    S(r) &= C, \qquad r < r_1 \\
    S(r) &= C + \tfrac{A}{3} (r - r_1)^3 + \tfrac{B}{4} (r - r_1)^4, \qquad r_1 < r < r_c

where A, B and C make energy, force and its slope zero at r_c, with E for the energy without S
and d = r_c - r_1:

.. math::

    A = \frac{-3 E'(r_c) + d E''(r_c)}{d^2}, \quad
    B = \frac{2 E'(r_c) - d E''(r_c)}{d^3}, \quad
    C = -E(r_c) + \frac{d}{2} E'(r_c) - \frac{d^2}{12} E''(r_c)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.geometry import complete_cell
from numpy.typing import NDArray

Array = NDArray[np.float64]

_EXPONENTS = np.array([3.19980, 0.94229, 0.40290, 0.20162])
_COEFFICIENTS = np.array([0.18175, 0.50986, 0.28022, 0.02817])
# e^2 / (4 pi epsilon_0) in eV Å, as LAMMPS has it in metal units.
_COULOMB = 14.399645


@dataclass(frozen=True)
class ZBL:
    """Screened nuclear repulsion between all pairs of atoms, switched off smoothly.

    Attributes
    ----------
    inner, outer : float
        Where the switching begins and where the repulsion ends, Å. Energy, forces and their
        slopes are continuous at both.
    """

    inner: float
    outer: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.outer) and 0.0 < self.inner < self.outer):
            raise ValueError(f"ZBL needs 0 < inner < outer, got {self.inner} and {self.outer}")

    def evaluate(self, atoms: Atoms) -> tuple[float, Array, Array]:
        """Energy, forces and virial of a structure of N atoms.

        Returns
        -------
        energy : float
            eV.
        forces : (N, 3) array
            eV/Å.
        virial : (6,) array
            -dE/d(strain) (xx, yy, zz, yz, xz, xy), eV.

        Raises
        ------
        ValueError
            For positions that are not finite, two atoms at the same place, or a periodic
            direction without a cell vector.
        """
        from ase_hal.repulsion_kernel import invert, sum_pairs

        positions = np.ascontiguousarray(atoms.positions, dtype=float)
        if not np.isfinite(positions).all():
            raise ValueError("the positions are not all finite")
        cell = _cell(atoms)
        inverse = np.empty((3, 3))
        if not abs(invert(cell, inverse)) > 1e-9:
            raise ValueError(f"the cell vectors are not independent: {atoms.cell.tolist()}")
        forces, virial = np.zeros_like(positions), np.zeros(6)
        energy, i, j = sum_pairs(
            positions,
            cell,
            inverse,
            np.asarray(atoms.pbc),
            np.asarray(atoms.numbers, dtype=np.int64),
            _table(self.inner, self.outer),
            _EXPONENTS,
            _COEFFICIENTS,
            self.inner,
            self.outer,
            forces,
            virial,
        )
        if i >= 0:
            raise ValueError(f"atoms {i} and {j} are at the same place: the repulsion is infinite")
        return energy, forces, virial

    def lammps_lines(self, elements: Sequence[str]) -> list[str]:
        """Lines ``pair_coeff i j zbl Z_i Z_j`` for atom types 1, 2, ... of these elements.

        They go with ``pair_style hybrid/overlay ... zbl inner outer``.
        """
        numbered = list(enumerate(elements, start=1))
        return [
            f"pair_coeff {i} {j} zbl {atomic_numbers[a]} {atomic_numbers[b]}"
            for (i, a), (j, b) in combinations_with_replacement(numbered, 2)
        ]

    def todict(self) -> dict[str, float]:
        """JSON-able form; `fromdict` reads it."""
        return {"inner": self.inner, "outer": self.outer}

    @classmethod
    def fromdict(cls, data: Mapping[str, Any]) -> ZBL:
        """Make what `todict` described."""
        return cls(float(data["inner"]), float(data["outer"]))


def _cell(atoms: Atoms) -> Array:
    """Three independent cell vectors, made up in directions that are not periodic."""
    cell = np.ascontiguousarray(atoms.cell.array, dtype=float)
    missing = ~cell.any(axis=1)
    if (missing & atoms.pbc).any():
        raise ValueError("a periodic direction of the structure has no cell vector")
    if missing.any():
        cell = np.ascontiguousarray(complete_cell(cell))
    return cell


@lru_cache(maxsize=16)
def _table(inner: float, outer: float) -> Array:
    """Parameters of all pairs of elements, (119, 119, 5).

    Z_i Z_j e^2 (eV Å), 1/a (1/Å), and A (eV/Å^3), B (eV/Å^4), C (eV) of the switching function.
    """
    numbers = np.arange(119.0)
    power = numbers**0.23
    charge = _COULOMB * numbers[:, None] * numbers
    inverse_length = (power[:, None] + power) / 0.46850
    decay = inverse_length[..., None] * _EXPONENTS
    terms = _COEFFICIENTS * np.exp(-decay * outer)
    phi = terms.sum(axis=-1)
    dphi = -(decay * terms).sum(axis=-1)
    ddphi = (decay**2 * terms).sum(axis=-1)
    e = charge * phi / outer
    de = charge * (dphi / outer - phi / outer**2)
    dde = charge * (ddphi / outer - 2 * dphi / outer**2 + 2 * phi / outer**3)
    d = outer - inner
    a = (-3 * de + d * dde) / d**2
    b = (2 * de - d * dde) / d**3
    c = -e + d / 2 * de - d**2 / 12 * dde
    table = np.stack([charge, inverse_length, a, b, c], axis=-1)
    table.setflags(write=False)
    return table
