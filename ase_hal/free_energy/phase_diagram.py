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
from ase_hal.free_energy.symmetry import Array, IntArray

EVERYWHERE = PathGrid(half_width=1.0, composition_step=0.01, order_step=0.02)
_FINER = 5  # parts of a step in composition where phases meet
_JUMP = 0.05  # change of the order in a step that is more than that of one phase


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
    return tuple(
        (first, last)
        for first, last in pairwise(hull)
        if last - first > 1 and tangent_depth(composition, free_energy, first, last) > tolerance
    )


def tangent_depth(composition: Array, free_energy: Array, first: int, last: int) -> float:
    """By how much a free energy (c,) lies above the line between two of its states, at most."""
    between, ends = slice(first, last + 1), [first, last]
    line = np.interp(composition[between], composition[ends], free_energy[ends])
    return float((free_energy[between] - line).max())


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
        Where states are looked for; by default at all compositions. Around the ends of tangents
        and where the order jumps more are added, for phases that are close together.
    tolerance : float
        See `common_tangents`, eV per site.
    """
    grid = grid or EVERYWHERE
    own = AtTemperature(surface, temperature_K)
    path = polished(lowest_path(own, order_parameters, grid), own, order_parameters)
    tangents = common_tangents(path.eta[:, 0], path.free_energy, tolerance=tolerance)
    steps = _where_phases_meet(path, tangents, order_parameters.n_trivial)
    if len(steps):
        path = _refined(path, steps, own, order_parameters)
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


def _where_phases_meet(path: Path, tangents: Sequence[tuple[int, int]], n_trivial: int) -> IntArray:
    """Numbers of the steps of a path at the ends of tangents and where the order jumps."""
    order = np.linalg.norm(path.eta[:, n_trivial:], axis=1)
    jumps = np.flatnonzero(np.abs(np.diff(order)) > _JUMP)
    states = np.concatenate([jumps, jumps + 1, np.ravel(tangents).astype(int)])
    steps = np.unique([states - 1, states])
    return np.asarray(steps[(steps >= 0) & (steps < len(order) - 1)])


def _refined(
    path: Path, steps: IntArray, surface: Surface, order_parameters: OrderParameters
) -> Path:
    """Add states between those with the numbers `steps` and the next ones.

    Each is the lowest of three, which begin with the order before, that after, and between them.
    The last is inside the domain, which is convex.
    """
    share = np.arange(1, _FINER)[:, None] / _FINER
    before, after = path.eta[steps], path.eta[steps + 1]
    between = (before[:, None] + share * (after - before)[:, None]).reshape(-1, path.eta.shape[1])
    ends = [np.repeat(side, len(share), axis=0) for side in (before, after)]
    found = []
    for start in (*ends, between):
        start[:, 0] = between[:, 0]
        inside = order_parameters.domain.contains(start)
        energy = np.full(len(start), np.inf)
        energy[inside] = surface.free_energy(start[inside])
        found.append(polished(Path(start, energy), surface, order_parameters))
    energies = np.array([one.free_energy for one in found])
    best, rows = energies.argmin(axis=0), np.arange(len(between))
    eta = np.concatenate([path.eta, np.array([one.eta for one in found])[best, rows]])
    energy = np.concatenate([path.free_energy, energies[best, rows]])
    order = np.argsort(eta[:, 0])
    return Path(eta[order], energy[order])


def _is_above(x: Array, y: Array, a: int, b: int, c: int) -> bool:
    """Whether point b is on or above the line from a to c."""
    return bool((y[b] - y[a]) * (x[c] - x[a]) >= (y[c] - y[a]) * (x[b] - x[a]))
