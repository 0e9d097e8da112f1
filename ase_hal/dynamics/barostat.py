r"""Barostat: the cell relaxes towards a pressure, in proportion to what is missing.

Every `interval` steps of length dt the cell h and the positions r are strained by

.. math::

    h \to h (1 + \epsilon), \quad r \to r (1 + \epsilon), \qquad
    \epsilon = -\frac{n\, \Delta t}{3 B \tau_P} (s + P_0 1)

===========  ==========================================================================
symbol       meaning
===========  ==========================================================================
s            stress of the biased surface plus the kinetic term, (3, 3), eV/Å^3:
             stress - tau * energy_std_stress - (1/V) sum_i p_i p_i / m_i
P_0          `pressure`; isotropic case: s is replaced by its trace, -P 1, so that
             d ln V / dt = (P - P_0) / (B tau_P)
B            `bulk_modulus`, eV/Å^3: sets the scale of the response, need not be exact
tau_P        `relaxation_time`, ASE time units
n            `interval`
===========  ==========================================================================

Each application is bounded: where a component of eps exceeds `max_strain`, all of eps is scaled
down to it. This is a control for reaching a pressure, as in van der Oord et al. (2022), and
does not sample the volume fluctuations of the isobaric ensemble; `CellMC` does.
"""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass

import numpy as np
from ase import Atoms, units
from ase.stress import voigt_6_to_full_3x3_stress

from ase_hal.dynamics.ramp import Ramp, extremes, value_at
from ase_hal.dynamics.sanity import check_cell_may_change


@dataclass(frozen=True)
class Barostat:
    """Proportional control of the pressure, on the biased surface and with the kinetic term.

    Parameters
    ----------
    pressure : float or Ramp
        eV/Å^3 (``0.1 * ase.units.GPa``).
    relaxation_time : float
        Time in which the difference decays for a material with the given bulk modulus, ASE time
        units.
    bulk_modulus : float
        Rough bulk modulus, eV/Å^3. A softer material relaxes faster, a harder one slower, in
        proportion.
    isotropic : bool
        Change the volume only. Otherwise all six strains relax the six stresses.
    interval : int
        Dynamics steps between applications. Each costs an extra force call.
    max_strain : float
        Largest strain component of one application.
    """

    pressure: float | Ramp
    _: KW_ONLY
    relaxation_time: float = 500 * units.fs
    bulk_modulus: float = 100 * units.GPa
    isotropic: bool = True
    interval: int = 10
    max_strain: float = 2e-3

    def __post_init__(self) -> None:
        if not all(map(math.isfinite, extremes(self.pressure))):
            raise ValueError(f"pressure must be finite, got {self.pressure}")
        for name in ("relaxation_time", "bulk_modulus", "max_strain"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}")
        if self.max_strain >= 0.1:
            raise ValueError(f"max_strain must be below 0.1, got {self.max_strain}")
        if self.interval < 1:
            raise ValueError(f"interval must be at least 1 step, got {self.interval}")

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where the cell of these atoms can't be changed."""
        check_cell_may_change(atoms, type(self).__name__)

    def apply(self, atoms: Atoms, *, timestep: float, step: int) -> None:
        """Strain cell and positions once; `timestep` in ASE time units."""
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress(include_ideal_gas=True))
        excess = stress + value_at(self.pressure, step) * np.eye(3)
        if self.isotropic:
            excess = np.eye(3) * np.trace(excess) / 3
        time = self.interval * timestep / self.relaxation_time
        strain = -time / (3 * self.bulk_modulus) * excess
        largest = np.abs(strain).max()
        if largest > self.max_strain:
            strain *= self.max_strain / largest
        deformation = np.eye(3) + strain
        atoms.cell[:] = atoms.cell.array @ deformation
        atoms.set_positions(atoms.positions @ deformation)
