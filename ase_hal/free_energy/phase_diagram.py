"""Phases in equilibrium, from free energies along the composition (Fig. 1a of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ase_hal.free_energy.fixed_temperature import AtTemperature
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.paths import Path, PathGrid, lowest_path, polished
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.symmetry import Array

EVERYWHERE = PathGrid(half_width=1.0, composition_step=0.01, order_step=0.02)


@dataclass(frozen=True, eq=False)
class Isotherm:
    """What coexists at one temperature.

    Attributes
    ----------
    temperature_K : float
    path : Path
        States of lowest free energy at each composition, the most empty first.
    tangents : tuple of (int, int)
        Numbers of the states between which a common tangent lies below the free energy: two
        phases coexist.
    """

    temperature_K: float
    path: Path
    tangents: tuple[tuple[int, int], ...]


def common_tangents(
    composition: Array, free_energy: Array, *, tolerance: float = 0.0
) -> tuple[tuple[int, int], ...]:
    """Find where a free energy lies above its lower convex envelope.

    Parameters
    ----------
    composition : (c,) array
        Increasing.
    free_energy : (c,) array
        eV per site; the constant and a linear part do not matter.
    tolerance : float
        By how much it has to lie above a tangent somewhere to count, eV per site.

    Returns
    -------
    tuple of (int, int)
        Numbers of the end points of each tangent that spans other points.
    """
    hull: list[int] = []
    for i in range(len(composition)):
        while len(hull) > 1 and _is_above(composition, free_energy, hull[-2], hull[-1], i):
            hull.pop()
        hull.append(i)
    found = []
    for first, last in pairwise(hull):
        between, ends = slice(first, last + 1), [first, last]
        line = np.interp(composition[between], composition[ends], free_energy[ends])
        if last - first > 1 and (free_energy[between] - line).max() > tolerance:
            found.append((first, last))
    return tuple(found)


def isotherm(
    surface: Surface,
    order_parameters: OrderParameters,
    temperature_K: float,
    *,
    grid: PathGrid | None = None,
    tolerance: float = 1e-6,
) -> Isotherm:
    """Find the phases of a surface at one temperature.

    Parameters
    ----------
    surface : Surface
    order_parameters : OrderParameters
    temperature_K : float
    grid : PathGrid, optional
        Where states are looked for; by default at all compositions.
    tolerance : float
        See `common_tangents`, eV per site.
    """
    grid = grid or EVERYWHERE
    own = AtTemperature(surface, temperature_K)
    path = polished(lowest_path(own, order_parameters, grid), own, order_parameters)
    tangents = common_tangents(path.eta[:, 0], path.free_energy, tolerance=tolerance)
    return Isotherm(temperature_K, path, tangents)


def phase_diagram(
    surface: Surface,
    order_parameters: OrderParameters,
    temperatures_K: Sequence[float],
    *,
    grid: PathGrid | None = None,
) -> list[Isotherm]:
    """Find the phases at several temperatures; arguments as for `isotherm`."""
    return [isotherm(surface, order_parameters, t, grid=grid) for t in temperatures_K]


def _is_above(x: Array, y: Array, a: int, b: int, c: int) -> bool:
    """Whether point b is on or above the line from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))
