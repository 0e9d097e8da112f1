"""Figure: states of lowest free energy around the ordering (section 2.1.8)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ase_hal.free_energy.fixed_temperature import AtTemperature
from ase_hal.free_energy.paths import PathGrid, lowest_path, polished
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import INK, Section, legend, new_figure, stage_looks, tidy

_AROUND = PathGrid(half_width=0.12, composition_step=0.004)


def path_section(run: LearningRun) -> Section:
    """The section about the lowest path."""
    title = "Path of lowest free energy"
    if run.surface is None:
        return Section(title, "There is nothing to show yet: no round is complete.")
    text = (
        "The state of lowest free energy at each composition around the ordering, among those "
        "in which the first two order parameters differ from zero and those on the way to perfect "
        "order: its two largest order parameters, and its free energy relative to that of the "
        "disordered state. Where the latter is below zero, the surface has order. Lines of "
        "temperatures without order lie on one another."
    )
    return Section(title, text, "path", lambda: _draw(run))


def _draw(run: LearningRun) -> Figure:
    figure = new_figure(3.6)
    left, right = figure.subplots(1, 2)
    found = run.order_parameters
    assert run.surface is not None
    names = [f"{temperature:g} K" for temperature in run.temperatures_K]
    for temperature, look in zip(run.temperatures_K, stage_looks(names).values(), strict=True):
        surface = AtTemperature(run.surface, temperature)
        path = polished(lowest_path(surface, found, _AROUND), surface, found)
        x = path.eta[:, 0]
        orders = -np.sort(-np.abs(path.eta[:, found.n_trivial :]), axis=1)
        label = f"{temperature:g} K"
        left.plot(x, orders[:, 0], look.marker + "-", color=look.colour, markersize=3, label=label)
        if orders.shape[1] > 1:
            left.plot(x, orders[:, 1], look.marker + ":", color=look.colour, markersize=3,
                      markerfacecolor="white")  # fmt: skip
        flat = path.eta.copy()
        flat[:, found.n_trivial :] = 0.0
        gain = 1000 * (path.free_energy - surface.free_energy(flat))
        right.plot(x, gain, look.marker + "-", color=look.colour, markersize=3, label=label)
    right.axhline(0.0, color=INK, linewidth=0.7, linestyle=":")
    tidy(left, xlabel="composition η₀", ylabel="largest (filled), second |η| (open)")
    tidy(right, xlabel="composition η₀", ylabel="g − g(disordered) (meV per site)")
    legend(figure, left, right, columns=6)
    return figure
