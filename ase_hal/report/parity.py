"""Figure: predictions against labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_hal.metrics import Comparison
from ase_hal.prediction import Array
from ase_hal.report.style import (
    INK,
    TEST,
    TRAIN,
    Section,
    legend,
    new_figure,
    note,
    significant,
    tidy,
)

_LOOKS = {"train": (TRAIN, "o"), "test": (TEST, "D")}
_MOST_POINTS = 20_000


def parity_section(comparisons: Mapping[str, Comparison], *, model: str, problem: str) -> Section:
    """The section of a run that compares its model with its labels."""
    title = "Predictions against labels"
    if not comparisons:
        return Section(title, f"There is nothing to show yet: {problem or 'no model was written'}.")
    text = (
        f"Every point is the energy of one structure or one component of a force, predicted by "
        f"the {model} model. Points on the diagonal are exact; the strips show how far off the "
        "others are. Look for single outliers and for bends: both point to structures that "
        "the model treats worse than the average error says. Energies are counted from the "
        "one-body energies of the atoms."
    )
    if "test" not in comparisons:
        text += " This run has no test set: errors on structures the model has learned flatter it."
    largest = max(len(comparison.forces) for comparison in comparisons.values())
    if largest > _MOST_POINTS:
        text += (
            f" Of the {largest:,} force components the worst are all shown, the others thinned out."
        )
    return Section(title, text, "parity", lambda: draw_parity(comparisons))


def draw_parity(comparisons: Mapping[str, Comparison]) -> Figure:
    """Draw predicted against labelled energies and forces, and the differences below."""
    figure = new_figure(5.4)
    ratios = [3.0, 1.2]
    energy, forces = figure.subplots(2, 2, height_ratios=ratios).T
    _pair(
        energy,
        {name: (c.energy_label, c.energy) for name, c in comparisons.items()},
        ("energy", "eV/atom", "meV/atom", 1000.0),
    )
    _pair(
        forces,
        {name: (c.forces_label, c.forces) for name, c in comparisons.items()},
        ("force component", "eV/Å", "eV/Å", 1.0),
    )
    figure.align_ylabels()
    legend(figure, energy[0], columns=2)
    return figure


def _pair(
    axes: Array, sets: Mapping[str, tuple[Array, Array]], quantity: tuple[str, str, str, float]
) -> None:
    noun, unit, error_unit, scale = quantity
    top: Axes = axes[0]
    below: Axes = axes[1]
    sets = {name: pair for name, pair in sets.items() if len(pair[0])}
    if not sets:
        for ax in axes:
            ax.set_axis_off()
        note(top, f"no {noun} labels")
        return
    for name, (label, predicted) in sets.items():
        colour, marker = _LOOKS[name]
        label, predicted = _thinned(label, predicted)
        size, alpha = (4.5, 0.65) if len(label) < 1000 else (2.5, 0.35)
        for ax, height in ((top, predicted), (below, scale * (predicted - label))):
            ax.plot(
                label, height, marker, color=colour, markersize=size, alpha=alpha,
                markeredgewidth=0, label=name,
            )  # fmt: skip
    ends = np.concatenate([np.concatenate(pair) for pair in sets.values()])
    low, high = ends.min(), ends.max()
    margin = 0.04 * (high - low) or 0.1
    limits = (low - margin, high + margin)
    top.plot(limits, limits, color=INK, linewidth=0.8, zorder=1)
    below.axhline(0, color=INK, linewidth=0.8, zorder=1)
    rmse = ", ".join(
        f"{name} {significant(scale * float(np.sqrt(np.mean((predicted - label) ** 2))))}"
        for name, (label, predicted) in sets.items()
    )
    tidy(top, ylabel=f"predicted {noun} ({unit})", title=f"RMSE ({error_unit}): {rmse}")
    tidy(below, xlabel=f"labelled {noun} ({unit})", ylabel=f"error\n({error_unit})")
    top.set(xlim=limits, ylim=limits)
    below.set_xlim(limits)
    below.locator_params(axis="y", nbins=4)
    below.locator_params(axis="x", nbins=5)
    top.locator_params(nbins=5)
    top.tick_params(labelbottom=False)


def _thinned(label: Array, predicted: Array) -> tuple[Array, Array]:
    """At most about as many points as one can see, the worst among them."""
    if len(label) <= _MOST_POINTS:
        return label, predicted
    order = np.argsort(-np.abs(predicted - label), kind="stable")
    worst, others = order[: _MOST_POINTS // 4], order[_MOST_POINTS // 4 :]
    keep = np.concatenate([worst, np.sort(others)[:: -(-len(others) // _MOST_POINTS)]])
    return label[keep], predicted[keep]
