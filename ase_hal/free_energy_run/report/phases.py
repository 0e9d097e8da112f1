"""Figure: phases in equilibrium against temperature (Fig. 1a)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ase_hal.free_energy.phase_diagram import Isotherm, phase_diagram
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import INK, TEST, TRAIN, Section, legend, new_figure, tidy

_LEVELS = 13  # temperatures between the lowest and the highest of the points
_NEAR = 0.1  # states further than this from every point are guesses
_ORDERED = 0.25  # of perfect order, where a state counts as ordered
_LOOKS = {
    "ordered": (TEST, 3.5),
    "disordered": (TRAIN, 3.5),
    "two phases": ("#9AA3AE", 3.5),
    "no point near": ("#D9DDE2", 1.0),
}


@dataclass(frozen=True, eq=False)
class Line:
    """An isotherm, and which of its states are known.

    Attributes
    ----------
    isotherm : Isotherm
    known : (c,) bools
        Whether a Monte Carlo point is near, whichever its temperature.
    ordered : (c,) bools
    """

    isotherm: Isotherm
    known: npt.NDArray[np.bool_]
    ordered: npt.NDArray[np.bool_]

    def pieces(self) -> list[tuple[str, float, float]]:
        """Kind, and the compositions at both ends, from the most empty to the most full."""
        x = self.isotherm.path.eta[:, 0]
        found: list[tuple[str, float, float]] = []
        i = 0
        ends = dict(self.isotherm.tangents)
        while i < len(x) - 1:
            j = ends.get(i, i + 1)
            kind = "ordered" if self.ordered[i] and self.ordered[j] else "disordered"
            if j > i + 1:
                kind = "two phases"
            if not (self.known[i] and self.known[j]):
                kind = "no point near"
            if found and found[-1][0] == kind != "two phases":
                found[-1] = (kind, found[-1][1], x[j])
            else:
                found.append((kind, x[i], x[j]))
            i = j
        return found

    def pairs(self) -> str:
        """The phases in equilibrium, in words."""
        x = self.isotherm.path.eta[:, 0]
        words = [
            f"{x[a]:.3f} – {x[b]:.3f}" + ("" if self.known[[a, b]].all() else " (no point near)")
            for a, b in self.isotherm.tangents
        ]
        return ", ".join(words) or "none"


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
    lines = [_line(run, isotherm) for isotherm in isotherms]
    text = (
        "Where the free energy along its states of lowest free energy lies above a common "
        "tangent, two phases coexist, whose compositions are the ends of the tangent (grey). "
        "Elsewhere there is one phase, called ordered where the largest order parameter is more "
        "than a quarter of that of perfect order. Thin lines are guesses: no Monte Carlo point "
        f"is within {_NEAR} of the states, and what the surface says of phases there may be "
        f"wrong. {reach}"
    )
    columns = ("temperature (K)", "phases in equilibrium, by composition")
    rows = tuple((f"{line.isotherm.temperature_K:.4g}", line.pairs()) for line in lines)
    return Section(
        title, text, "phases", lambda: _draw(run, lines),
        columns=columns, rows=rows,
    )  # fmt: skip


def _line(run: LearningRun, isotherm: Isotherm) -> Line:
    found, eta = run.order_parameters, isotherm.path.eta
    perfect = np.abs(found.wells[0, found.n_trivial :]).max()
    order = np.abs(eta[:, found.n_trivial :]).max(axis=1)
    known = found.distances(eta, run.points.eta)[:, 0] < _NEAR
    return Line(isotherm, known, order > _ORDERED * perfect)


def _draw(run: LearningRun, lines: list[Line]) -> Figure:
    figure = new_figure(4.2)
    ax = figure.subplots()
    labels = {name: name for name in _LOOKS}
    for line in lines:
        level = line.isotherm.temperature_K
        for kind, first, last in line.pieces():
            colour, width = _LOOKS[kind]
            ax.plot([first, last], [level] * 2, "-", color=colour, linewidth=width,
                    solid_capstyle="butt", label=labels.pop(kind, None))  # fmt: skip
            if kind == "two phases":
                ax.plot([first, last], [level] * 2, "|", color=INK, markersize=7)
    levels = [line.isotherm.temperature_K for line in lines]
    room = max(0.08 * (max(levels) - min(levels)), 5.0)
    ax.set_ylim(min(levels) - room, max(levels) + room)
    ax.set_xlim(*run.order_parameters.domain.bounds[0])
    tidy(ax, xlabel="composition η₀", ylabel="temperature (K)")
    legend(figure, ax, columns=4)
    ax.spines["left"].set_color(INK)
    return figure
