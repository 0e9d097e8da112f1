"""Figures: the free energy over composition and order (Figs. 6 to 9)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ase_hal.free_energy import OrderParameters, Points, Surface
from ase_hal.free_energy.criteria.known_regions import disordered
from ase_hal.free_energy.fixed_temperature import AtTemperature
from ase_hal.free_energy.paths import lowest_disordered
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import INK, Section, new_figure, note, tidy

_STEPS = 121
_SHOWN = 2000  # points, with all their images
_NEAR = 0.1  # points closer than this to a plane are drawn in it
_LABEL = "g − g(disordered) (meV per site)"
_CUTS = ((0.0, "-"), (-0.1, "--"), (-0.2, ":"))  # compositions beside that of the ordering


def landscape_sections(run: LearningRun) -> list[Section]:
    """A section for each plane of order parameters."""
    surface, found = run.surface, run.order_parameters
    title = "Free energy over composition and one order parameter"
    if surface is None:
        return [Section(title, "There is nothing to show yet: no round is complete.")]
    first = found.n_trivial
    temperature = run.temperatures_K[0]
    sections = [
        Section(
            title,
            f"At {temperature:g} K, all other order parameters being zero{_beside(found)}, "
            "relative to the disordered state of the same composition. Left, dots are Monte Carlo "
            f"points within {_NEAR} of the plane, and white is outside the domain, where a site "
            "would be more than full or less than empty: where there are no dots, the surface "
            "extrapolates. Right, cuts at the composition of the ordering and at others.",
            "composition_order",
            lambda: _draw(run, surface, (0, first), temperature),
        )
    ]
    if found.dimension > first + 1:
        at = found.wells[0, 0]
        sections.append(
            Section(
                "Free energy over two order parameters",
                f"At {temperature:g} K and composition {at:.3g}, relative to the disordered "
                f"state, all other order parameters being zero. {_where_order_is(found)}",
                "two_orders",
                lambda: _draw(run, surface, (first, first + 1), temperature),
            )
        )
    return sections


def _beside(found: OrderParameters) -> str:
    """What a reader should know of other trivial order parameters."""
    if found.n_trivial == 1:
        return ""
    return ", and those that no symmetry turns as in the lowest disordered state"


def _where_order_is(found: OrderParameters) -> str:
    """What a reader should know of the plane of the first two order parameters."""
    first = found.n_trivial
    beyond = np.abs(np.delete(found.wells, [first, first + 1], axis=1)[:, first:]) > 1e-6
    if not beyond.any(axis=1).all():
        return "Perfect order lies at the tips of the domain."
    needed = int((np.abs(found.wells[0, first:]) > 1e-6).sum())
    return f"Perfect order is not in this plane: it has {needed} order parameters."


def plane(
    surface: Surface, found: OrderParameters, axes: tuple[int, int], temperature_K: float
) -> tuple[Array, Array, Array]:
    """Two axes (n,) and free energies (n, n), eV per site, nan outside of the domain.

    Energies are relative to the disordered state; in a plane with the composition, to that of
    the same composition.
    """
    centre = disordered(found)
    bounds = found.domain.bounds[list(axes)]
    first, second = (np.linspace(low, high, _STEPS) for low, high in bounds)
    if axes[0] == 0:
        own = AtTemperature(surface, temperature_K)
        points = np.tile(lowest_disordered(own, found, first), (_STEPS, 1))
    else:
        points = np.tile(centre, (_STEPS * _STEPS, 1))
    points[:, axes[0]], points[:, axes[1]] = (m.ravel() for m in np.meshgrid(first, second))
    inside = found.domain.contains(points)
    energies = np.full(len(points), np.nan)
    energies[inside] = surface.free_energy(points[inside], temperature_K)
    square = energies.reshape(_STEPS, _STEPS)
    if axes[0] == 0:
        return first, second, square - square[np.abs(second).argmin()]
    return first, second, square - surface.free_energy(centre[None], temperature_K)[0]


def _draw(
    run: LearningRun,
    surface: Surface,
    axes: tuple[int, int],
    temperature_K: float,
) -> Figure:
    figure = new_figure(4.2)
    ax, profile = figure.subplots(1, 2, width_ratios=(1.15, 1))
    x, y, energies = plane(surface, run.order_parameters, axes, temperature_K)
    if not np.isfinite(energies).any():
        note(ax, "no finite free energies")
        return figure
    meV = 1000 * energies
    low, high = np.nanquantile(meV, [0.0, 0.98])
    levels = MaxNLocator(20).tick_values(low, max(high, low + 1e-6))
    filled = ax.contourf(x, y, meV, levels, cmap="viridis", extend="max")
    ax.contour(x, y, meV, levels, colors="white", linewidths=0.3)
    bar = figure.colorbar(filled, ax=ax, ticks=levels[:: max(len(levels) // 8, 1)])
    bar.ax.set_title("meV", fontsize=8.5, color=INK)
    bar.ax.tick_params(labelsize=8)
    _dots(ax, run.points[run.points.temperature_K == temperature_K], run.order_parameters, axes)
    name = "composition η₀" if axes[0] == 0 else f"η{_subscript(axes[0])}"
    tidy(ax, xlabel=name, ylabel=f"η{_subscript(axes[1])}", title=_LABEL)
    inside = np.isfinite(meV)
    ax.set_xlim(*x[inside.any(axis=0)][[0, -1]])
    ax.set_ylim(*y[inside.any(axis=1)][[0, -1]])
    _profiles(profile, run.order_parameters, (x, y, meV), axes)
    return figure


def _dots(ax: Axes, points: Points, found: OrderParameters, axes: tuple[int, int]) -> None:
    """Points near the plane, after symmetry has brought them as near as it can."""
    centre = disordered(found)
    others = [i for i in range(found.dimension) if i not in axes]
    shown = points.eta[:: max(len(points) // _SHOWN, 1)]
    images = np.einsum("gij,nj->gni", found.group, shown)
    away = np.abs(images[..., others] - centre[others]).max(axis=2, initial=0.0)
    near = away < _NEAR
    chosen = images[near]
    ax.plot(chosen[:, axes[0]], chosen[:, axes[1]], ".", color="white", alpha=0.35, markersize=1.5)


def _profiles(
    ax: Axes, found: OrderParameters, plane: tuple[Array, Array, Array], axes: tuple[int, int]
) -> None:
    """Cuts through the plane."""
    x, y, meV = plane
    first, second = (f"η{_subscript(axis)}" for axis in axes)
    if axes[0] == 0:
        for away, style in _CUTS:
            column = int(np.abs(x - found.wells[0, 0] - away).argmin())
            if np.isfinite(meV[:, column]).sum() > 1:
                ax.plot(y, meV[:, column], style, color=INK, label=f"η₀ = {x[column]:.2f}")
        tidy(ax, xlabel=second, title=_LABEL)
    else:
        ax.plot(x, meV[np.abs(y).argmin()], "-", color=INK, label=f"{second} = 0")
        ax.plot(x, np.diag(meV), "--", color=INK, label=f"{second} = {first}")
        tidy(ax, xlabel=first, title=_LABEL)
    ax.legend(fontsize=8.5, frameon=False, labelcolor=INK)


def _subscript(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))
