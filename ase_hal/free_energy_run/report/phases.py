"""Figure: phases in equilibrium against temperature (Fig. 1a)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ase_hal.free_energy.phase_diagram import Isotherm, phase_diagram
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import INK, TEST, TRAIN, Section, legend, new_figure, tidy

_LEVELS = 13  # temperatures between the lowest and the highest of the points


def phases_section(run: LearningRun) -> Section:
    """The section about the phase diagram."""
    title = "Phase diagram"
    if run.surface is None:
        return Section(title, "There is nothing to show yet: no round is complete.")
    temperatures = np.array(run.temperatures_K)
    if len(temperatures) > 1:
        temperatures = np.linspace(temperatures[0], temperatures[-1], _LEVELS)
        reach = "The temperatures lie between those of the Monte Carlo points."
    else:
        reach = (
            "This run has points at one temperature only: the diagram has one line. With several "
            "under monte_carlo.temperature the surface depends on temperature."
        )
    isotherms = phase_diagram(run.surface, run.order_parameters, temperatures.tolist())
    text = (
        "Where the free energy along its states of lowest free energy lies above a common "
        "tangent, two phases coexist, whose compositions are the ends of the tangent (grey "
        "lines). Dots are single phases, filled where the largest order parameter is more than "
        f"half of perfect order. {reach}"
    )
    columns = ("temperature (K)", "phases in equilibrium, by composition")
    rows = tuple((f"{i.temperature_K:.4g}", _pairs(i)) for i in isotherms)
    return Section(
        title, text, "phases", lambda: _draw(run, isotherms),
        columns=columns, rows=rows,
    )  # fmt: skip


def _draw(run: LearningRun, isotherms: list[Isotherm]) -> Figure:
    figure = new_figure(4.2)
    ax = figure.subplots()
    found = run.order_parameters
    perfect = np.abs(found.wells[0, found.n_trivial :]).max()
    labels = {"order": "ordered", "disorder": "disordered", "tangent": "two phases"}
    for isotherm in isotherms:
        x, level = isotherm.path.eta[:, 0], isotherm.temperature_K
        single = np.ones(len(x), dtype=bool)
        for first, last in isotherm.tangents:
            single[first + 1 : last] = False
            ax.plot(x[[first, last]], [level] * 2, "-", color="#9AA3AE", linewidth=2.5,
                    solid_capstyle="butt", label=labels.pop("tangent", None))  # fmt: skip
        order = np.abs(isotherm.path.eta[:, found.n_trivial :]).max(axis=1) > perfect / 2
        for kind, mask, colour in (("order", order, TEST), ("disorder", ~order, TRAIN)):
            chosen = x[single & mask]
            face = colour if kind == "order" else "white"
            ax.plot(chosen, np.full(len(chosen), level), "o", color=colour, markersize=3.2,
                    markerfacecolor=face, markeredgewidth=0.8,
                    label=labels.pop(kind, None) if len(chosen) else None)  # fmt: skip
    levels = [isotherm.temperature_K for isotherm in isotherms]
    room = max(0.08 * (max(levels) - min(levels)), 5.0)
    ax.set_ylim(min(levels) - room, max(levels) + room)
    ax.set_xlim(*found.domain.bounds[0])
    tidy(ax, xlabel="composition η₀", ylabel="temperature (K)")
    legend(figure, ax, columns=3)
    ax.spines["left"].set_color(INK)
    return figure


def _pairs(isotherm: Isotherm) -> str:
    x = isotherm.path.eta[:, 0]
    return ", ".join(f"{x[a]:.3f} – {x[b]:.3f}" for a, b in isotherm.tangents) or "none"
