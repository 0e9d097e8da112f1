r"""How far a surface is from Monte Carlo, in all and where each criterion asked.

Errors are mean squares over points and components of the differences of chemical potentials in
units of 10 meV per site, which is the paper's :math:`(100 \mu)^2` with mu in eV.
"""

from __future__ import annotations

import numpy as np

from ase_hal.free_energy.fixed_temperature import chemical_potentials
from ase_hal.free_energy.points import Points
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.symmetry import Array

UNIT = 0.01  # eV per site


def squared_errors(surface: Surface, points: Points) -> Array:
    """Mean over components of the squared errors (n,) of points, (10 meV)^2 (Eq. 9 over d)."""
    difference = (chemical_potentials(surface, points) - points.mu) / UNIT
    return np.asarray(np.mean(difference**2, axis=1))


def mean_squared_error(surface: Surface, points: Points) -> float:
    """Mean over all points, (10 meV)^2; nan without points."""
    return float(squared_errors(surface, points).mean()) if len(points) else float("nan")


def errors_by_criterion(surface: Surface, points: Points) -> dict[str, float]:
    """Mean over the points that each criterion asked for, (10 meV)^2."""
    errors = squared_errors(surface, points)
    return {name: float(errors[points.criterion == name].mean()) for name in points.criteria}
