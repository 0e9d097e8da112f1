"""The state of lowest free energy at each composition (section 2.1.8)."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.fixed_temperature import AtTemperature
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.symmetry import Array

CHUNK = 20_000  # points that a surface is asked about at once
_POLISHING = 60  # Newton steps, at most
_LONGEST = 0.02  # change of an order parameter in a step, at most
_NEAREST = 0.9  # of the way to a wall, at most in a step
_SETTLED = 1e-12  # eV per site: what is lower by less is rounding


@dataclass(frozen=True)
class PathGrid:
    """Where states of lowest free energy are looked for.

    Attributes
    ----------
    half_width, composition_step : float
        Compositions: those that differ from the ordering's by at most `half_width`.
    order_step : float
        Distance of the grid points of an order parameter.
    pairs : str
        Two order parameters differ from zero at a time: the ``"first"`` two as in the paper, or
        ``"all"`` pairs of them. The line to perfect order is always looked at, too.
    """

    half_width: float = 0.05
    composition_step: float = 0.002
    order_step: float = 0.01
    pairs: Literal["first", "all"] = "first"

    def __post_init__(self) -> None:
        if not (self.half_width > 0 and self.composition_step > 0 and self.order_step > 0):
            raise ValueError("half_width, composition_step and order_step are above 0")
        if self.pairs not in ("first", "all"):
            raise ValueError(f"pairs is 'first' or 'all', got {self.pairs!r}")

    def compositions(self, order_parameters: OrderParameters) -> Array:
        """Compositions (c,) of the path, that of the ordering among them."""
        low, high = order_parameters.domain.bounds[0]
        centre = order_parameters.wells[0, 0]
        count = int(np.floor(self.half_width / self.composition_step + 1e-9))
        found = centre + self.composition_step * np.arange(-count, count + 1)
        found = found[(found > low - 1e-9) & (found < high + 1e-9)]
        ends = [end for end in (low, high) if abs(end - centre) <= self.half_width]
        missing = [end for end in ends if np.abs(found - end).min() > 1e-9]
        return np.sort(np.concatenate([found, missing]))

    def orders(self, order_parameters: OrderParameters) -> Array:
        """Points (m, d) with the trivial order parameters of the ordering, without equivalents."""
        first, d = order_parameters.n_trivial, order_parameters.dimension
        bound = np.abs(order_parameters.domain.bounds[first:]).max()
        count = int(np.floor(bound / self.order_step + 1e-9))
        values = self.order_step * np.arange(-count, count + 1)
        pairs = list(itertools.combinations(range(first, d), 2)) or [(first, first)]
        found = np.empty((0, d))
        for i, j in pairs if self.pairs == "all" else pairs[:1]:
            grid = np.array(list(itertools.product(values, values if i != j else [0.0])))
            # of equivalent points the first is kept: positive ones, the larger before the smaller
            grid = grid[np.lexsort([-grid[:, 0], (grid < -1e-12).sum(axis=1)])]
            points = np.zeros((len(grid), d))
            points[:, j] = grid[:, 1]
            points[:, i] = grid[:, 0]
            found = np.concatenate([found, points])
        ordered = order_parameters.wells[0, first:]
        steps = max(round(np.linalg.norm(ordered) / self.order_step), 1)
        line = np.zeros((steps + 1, d))
        line[:, first:] = np.linspace(0, 1, steps + 1)[:, None] * ordered
        found = np.concatenate([found, line])
        found[:, :first] = order_parameters.wells[0, :first]
        _, kept = np.unique(np.round(order_parameters.reduce(found), 7), axis=0, return_index=True)
        return found[np.sort(kept)]


@dataclass(frozen=True, eq=False)
class Path:
    """States of lowest free energy.

    Attributes
    ----------
    eta : (c, d) array
        One for each composition.
    free_energy : (c,) array
        eV per site, up to a constant.
    """

    eta: Array
    free_energy: Array

    def __repr__(self) -> str:
        return f"<Path: {len(self.eta)} states of {self.eta.shape[1]} order parameters>"


def lowest_path(
    surface: Surface,
    order_parameters: OrderParameters,
    grid: PathGrid | None = None,
    *,
    temperature_K: float | None = None,
) -> Path:
    """Find the lowest free energy at each composition among the points of a grid.

    `polished` moves what is found between the points of the grid. Trivial order parameters
    beside the composition (of sites that no symmetry makes equivalent) have no grid: they are
    those of the lowest disordered state, or those on the way to the ordering.

    Parameters
    ----------
    surface : Surface
    order_parameters : OrderParameters
    grid : PathGrid, optional
    temperature_K : float, optional
        Of a surface that depends on it.
    """
    if temperature_K is not None:
        surface = AtTemperature(surface, temperature_K)
    grid = grid or PathGrid()
    trivial = order_parameters.n_trivial
    orders = grid.orders(order_parameters)
    compositions = grid.compositions(order_parameters)
    states = [_towards_order(order_parameters, compositions)]
    if trivial > 1:
        states.append(lowest_disordered(surface, order_parameters, compositions))
    points = np.tile(orders, (len(compositions), len(states), 1))
    each = np.repeat(np.stack(states, axis=1), len(orders), axis=1)
    points[:, :, :trivial] = each[:, :, :trivial]
    inside = order_parameters.domain.contains(points)
    energies = np.full(inside.shape, np.inf)
    energies[inside] = in_chunks(surface, points[inside])
    best = energies.argmin(axis=1)
    rows = np.arange(len(compositions))
    return Path(points[rows, best], energies[rows, best])


def polished(path: Path, surface: Surface, order_parameters: OrderParameters) -> Path:
    """Move the states of a path from the points of its grid to the minima near them.

    Newton steps in those order parameters beside the composition that are trivial or differ from
    zero; a step that leads out of the domain or upwards is halved.
    """
    eta, energy = path.eta.copy(), path.free_energy.copy()
    moving = np.abs(eta) > 1e-9
    moving[:, : order_parameters.n_trivial] = True
    moving[:, 0] = False
    rows = np.flatnonzero(moving.any(axis=1))
    for _ in range(_POLISHING):
        if not len(rows):
            break
        step = _newton(surface, eta[rows], moving[rows])
        step *= order_parameters.domain.reach(eta[rows], step / _NEAREST)
        left = np.arange(len(rows))  # those that have not found anything lower yet
        for _ in range(4):
            trial = eta[rows[left]] + step[left]
            inside = order_parameters.domain.contains(trial)
            lower = np.full(len(left), np.inf)
            if inside.any():
                lower[inside] = surface.free_energy(trial[inside])
            better = lower < energy[rows[left]] - _SETTLED
            eta[rows[left[better]]], energy[rows[left[better]]] = trial[better], lower[better]
            left = left[~better]
            step /= 2
        rows = np.delete(rows, left)
    return Path(eta, energy)


def _newton(surface: Surface, eta: Array, moving: npt.NDArray[np.bool_]) -> Array:
    """Steps (n, d) towards the minima near points (n, d), in those variables that may move."""
    slope = np.where(moving, surface.chemical_potentials(eta), 0.0)
    hessian = np.where(moving[:, :, None] & moving[:, None], surface.hessian(eta), 0.0)
    curvature, axes = np.linalg.eigh(hessian)
    downhill = np.einsum("cij,ci->cj", axes, slope) / np.maximum(np.abs(curvature), 1e-4)
    step = np.where(moving, -np.einsum("cij,cj->ci", axes, downhill), 0.0)
    longest = np.maximum(np.abs(step).max(axis=1, keepdims=True), 1e-12)
    return np.asarray(step * np.minimum(1.0, _LONGEST / longest))


def lowest_disordered(
    surface: Surface, order_parameters: OrderParameters, compositions: Array
) -> Array:
    """The states (c, d) without order of lowest free energy at compositions (c,)."""
    eta = _towards_order(order_parameters, compositions)
    if order_parameters.n_trivial == 1:
        return eta
    return polished(Path(eta, in_chunks(surface, eta)), surface, order_parameters).eta


def _towards_order(order_parameters: OrderParameters, compositions: Array) -> Array:
    """States (c, d) without order, inside the domain, on lines from that of the ordering.

    The lines lead to the empty and to the full lattice.
    """
    full = order_parameters.matrix.sum(axis=1)
    at = np.array([0.0, order_parameters.wells[0, 0], full[0]])
    known = np.array([np.zeros_like(full), order_parameters.wells[0], full])
    known[:, order_parameters.n_trivial :] = 0.0
    at, first = np.unique(at, return_index=True)
    eta = np.column_stack([np.interp(compositions, at, values) for values in known[first].T])
    eta[:, 0] = compositions
    return eta


def in_chunks(surface: Surface, eta: Array) -> Array:
    """Free energies (n,) of points (n, d), not too many of them at once."""
    starts = range(0, len(eta), CHUNK)
    return np.concatenate([surface.free_energy(eta[i : i + CHUNK]) for i in starts])
