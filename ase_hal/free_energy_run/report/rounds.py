"""Figures: errors by round, and the points and weights of criteria."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import (
    INK,
    TEST,
    TRAIN,
    Look,
    Section,
    counting,
    legend,
    logarithmic,
    new_figure,
    note,
    significant,
    tidy,
)

ERROR = "mean squared error of μ, (10 meV)²"


_COLOURS = {
    "global": "#009E73", "section": "#CC79A7", "wells": "#E69F00", "vertices": "#56B4E9",
    "end_points": "#332288", "high_error": "#882255", "sensitivity": "#999933",
    "committee": "#D55E00", "find_wells": "#661100", "non_convexity": "#117733",
    "lowest_path": "#0072B2", "given": "#8A8F98",
}  # fmt: skip
_MARKERS = ("o", "s", "D", "^", "v", "P", "X", "<", ">", "p", "h", "d")


def looks_of(run: LearningRun) -> dict[str, Look]:
    """A look for each criterion and region, the same in every figure and run."""
    names = dict.fromkeys(n for e in run.rounds for part in ("train", "test") for n in e[part])
    known = dict(zip(_COLOURS, _MARKERS, strict=True))
    return {n: Look(_COLOURS.get(n, "#222B38"), known.get(n, "*")) for n in names}


def errors_section(run: LearningRun) -> Section:
    """The section about errors (Figs. 4, 5, 10, 11; Table 1)."""
    title = "Errors by round"
    if not run.rounds:
        return Section(title, "There is nothing to show yet: no round is complete.")
    last = run.rounds[-1]
    text = (
        "Mean squared differences of the chemical potentials of the surface and of Monte Carlo, "
        "over points and components, in units of (10 meV per site)². Left, the surface of each "
        "round at the training points of the last one: it has not seen those that came later. "
        "Right, at points that are never fitted to, in all and for each of their regions. "
        "The table has the errors of the last round by the criterion that asked for the points."
    )
    names = list(dict.fromkeys([*last["train"], *last["test"]]))
    rows = tuple(
        (
            name.replace("_", " "),
            significant(last["train"].get(name, np.nan)),
            significant(last["test"].get(name, np.nan)),
        )
        for name in names
    )
    test = np.nan if last["test_error"] is None else last["test_error"]
    overall = ("all", significant(last["train_error"]), significant(test))
    return Section(
        title, text, "errors", lambda: _draw_errors(run),
        columns=("points of", "training set, (10 meV)²", "test set, (10 meV)²"),
        rows=(overall, *rows),
    )  # fmt: skip


def _draw_errors(run: LearningRun) -> Figure:
    figure = new_figure(3.9)
    left, right = figure.subplots(1, 2)
    numbers = [event["round"] for event in run.rounds]
    final = run.final_errors
    left.plot(
        list(final), list(final.values()), "o-", color=TRAIN, label="training set of the last round"
    )
    own = [event["train_error"] for event in run.rounds]
    left.plot(
        numbers, own, "o--", color=TRAIN, markerfacecolor="white", label="training set of the round"
    )
    logarithmic(left.yaxis, [*final.values(), *own])
    tested = [event for event in run.rounds if event["test_error"] is not None]
    values = [event["test_error"] for event in tested]
    if tested:
        right.plot(
            [e["round"] for e in tested], values, "o-", color=TEST, label="test set", zorder=3
        )
        for name, look in looks_of(run).items():
            of_region = [(e["round"], e["test"][name]) for e in tested if name in e["test"]]
            if of_region:
                right.plot(
                    *zip(*of_region, strict=True), look.marker + "-", color=look.colour,
                    linewidth=0.9, markersize=4, label=name.replace("_", " "),
                )  # fmt: skip
                values += [value for _, value in of_region]
        logarithmic(right.yaxis, values)
    else:
        note(right, "there is no test set")
    for ax, panel in ((left, "training"), (right, "test")):
        _rounds(ax, numbers)
        tidy(ax, xlabel="round", ylabel=ERROR, title=panel)
    legend(figure, left, right, columns=5)
    return figure


def criteria_section(run: LearningRun) -> Section:
    """The section about what criteria asked for."""
    title = "Points by criterion"
    if not run.rounds:
        return Section(title, "There is nothing to show yet: no round is complete.")
    text = (
        "Points that succeeded, by the criterion that asked for them, and the weights that "
        "multiply the counts of the criteria. Criteria that need a surface begin in round 1. "
        "With dynamic reweighting a criterion in whose region the last round has improved the "
        "surface gets more points; without it all weights are 1."
    )
    return Section(title, text, "criteria", lambda: _draw_criteria(run))


def _draw_criteria(run: LearningRun) -> Figure:
    figure = new_figure(3.9)
    left, right = figure.subplots(1, 2)
    numbers = np.array([event["round"] for event in run.rounds])
    bottom = np.zeros(len(numbers))
    for name, look in looks_of(run).items():
        counts = np.array([event["counts"].get(name, 0) for event in run.rounds])
        if counts.any():
            left.bar(
                numbers, counts, bottom=bottom, width=0.85, color=look.colour,
                label=name.replace("_", " "),
            )  # fmt: skip
            bottom = bottom + counts
            weights = [event["weights"].get(name, 1.0) for event in run.rounds]
            right.plot(numbers, weights, look.marker + "-", color=look.colour, markersize=4,
                       label=name.replace("_", " "))  # fmt: skip
    right.axhline(1.0, color=INK, linewidth=0.7, linestyle=":")
    right.set_ylim(bottom=0)
    _rounds(left, numbers.tolist())
    _rounds(right, numbers.tolist())
    counting(left.yaxis)
    tidy(left, xlabel="round", ylabel="points found (number)")
    tidy(right, xlabel="round", ylabel="weight")
    legend(figure, left, right, columns=6)
    return figure


def _rounds(ax: Axes, numbers: Sequence[int]) -> None:
    """An axis that counts rounds."""
    ax.set_xlim(min(numbers) - 0.7, max(numbers) + 0.7)
    counting(ax.xaxis)
