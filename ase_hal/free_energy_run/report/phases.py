"""Figure: phases in equilibrium against temperature (Fig. 1a)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from ase_hal.free_energy.fixed_temperature import chemical_potentials
from ase_hal.free_energy.paths import Path
from ase_hal.free_energy.phase_diagram import Isotherm, phase_diagram, tangent_depth
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import INK, TEST, TRAIN, Section, legend, new_figure, tidy

_LEVELS = 13  # temperatures between the lowest and the highest of the points
_NEAR = 0.1  # states further than this from every point are guesses
_ORDERED = 0.25  # of perfect order, where a state counts as ordered
_TANGENTS = ("two phases", "within the error")  # each with ends of its own
_LOOKS = {
    "ordered": (TEST, 3.5),
    "disordered": (TRAIN, 3.5),
    "two phases": ("#9AA3AE", 3.5),
    "no point near": ("#D9DDE2", 1.0),
    "within the error": ("#5B6470", 1.0),
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
    doubtful : set of (int, int)
        Those tangents of the isotherm that errors of the surface could make.
    """

    isotherm: Isotherm
    known: npt.NDArray[np.bool_]
    ordered: npt.NDArray[np.bool_]
    doubtful: frozenset[tuple[int, int]] = frozenset()

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
                kind = "within the error" if (i, j) in self.doubtful else "two phases"
            if not (self.known[i] and self.known[j]):
                kind = "no point near"
            if found and found[-1][0] == kind and kind not in _TANGENTS:
                found[-1] = (kind, found[-1][1], x[j])
            else:
                found.append((kind, x[i], x[j]))
            i = j
        return found

    def pairs(self) -> str:
        """The phases in equilibrium, in words."""
        x = self.isotherm.path.eta[:, 0]
        words = []
        for a, b in self.isotherm.tangents:
            words.append(f"{x[a]:.3f} – {x[b]:.3f}")
            if not self.known[[a, b]].all():
                words[-1] += " (no point near)"
            elif (a, b) in self.doubtful:
                words[-1] += " (within the error)"
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
    errors = Errors.of(run)
    lines = [_line(run, isotherm, errors) for isotherm in isotherms]
    text = (
        "Where the free energy along its states of lowest free energy lies above a common "
        "tangent, two phases coexist, whose compositions are the ends of the tangent (grey). "
        "Elsewhere there is one phase, called ordered where the largest order parameter is more "
        "than a quarter of that of perfect order. Thin lines are guesses: no Monte Carlo point "
        f"is within {_NEAR} of the states, or two phases are within the error: the tangent is less "
        "deep than half of its width times the error of μ₀ (root mean square, without the noise "
        "of Monte Carlo, of the test set where there is one, or of the points at these "
        "compositions if that is larger). "
        f"{reach}"
    )
    columns = ("temperature (K)", "phases in equilibrium, by composition")
    rows = tuple((f"{line.isotherm.temperature_K:.4g}", line.pairs()) for line in lines)
    return Section(
        title, text, "phases", lambda: _draw(run, lines),
        columns=columns, rows=rows,
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Errors:
    """Squared errors of mu_0 at all points, those of the test set included.

    What Monte Carlo itself does not know of mu_0 is subtracted: means may be negative.
    """

    composition: Array
    square: Array
    typical: float

    @classmethod
    def of(cls, run: LearningRun) -> Errors:
        assert run.surface is not None
        sets = [points for points in (run.points, run.test) if len(points)]
        squares = [
            (chemical_potentials(run.surface, s)[:, 0] - s.mu[:, 0]) ** 2 - s.mu_error[:, 0] ** 2
            for s in sets
        ]
        compositions = np.concatenate([s.eta[:, 0] for s in sets])
        return cls(compositions, np.concatenate(squares), _root(squares[-1]))

    def between(self, low: float, high: float) -> float:
        """The typical one, or that between two compositions if it is larger."""
        inside = (self.composition >= low) & (self.composition <= high)
        return max(self.typical, _root(self.square[inside]) if inside.any() else 0.0)


def _root(squares: Array) -> float:
    return float(np.sqrt(max(float(np.mean(squares)), 0.0)))


def is_within_error(path: Path, tangent: tuple[int, int], errors: Errors) -> bool:
    """Whether an error of mu_0 of the size of the surface's could make a tangent.

    One that is positive in the first half of the width and negative in the second lifts the
    free energy between by up to half the width times it.
    """
    x = path.eta[:, 0]
    low, high = x[list(tangent)]
    depth = tangent_depth(x, path.free_energy, *tangent)
    return bool(depth < errors.between(low, high) * (high - low) / 2)


def _line(run: LearningRun, isotherm: Isotherm, errors: Errors) -> Line:
    found, eta = run.order_parameters, isotherm.path.eta
    perfect = np.abs(found.wells[0, found.n_trivial :]).max()
    order = np.abs(eta[:, found.n_trivial :]).max(axis=1)
    known = found.distances(eta, run.points.eta)[:, 0] < _NEAR
    doubtful = [t for t in isotherm.tangents if is_within_error(isotherm.path, t, errors)]
    return Line(isotherm, known, order > _ORDERED * perfect, frozenset(doubtful))


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
    legend(figure, ax, columns=5)
    ax.spines["left"].set_color(INK)
    return figure
