"""Figure: does the predicted uncertainty say how wrong the model is?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import erf

from ase_hal.prediction import Array
from ase_hal.report.record import LabelRecord, Run
from ase_hal.report.style import (
    INK,
    MUTED,
    SEEDS,
    TEST,
    Look,
    Section,
    counted,
    legend,
    logarithmic,
    new_figure,
    off_scale,
    stage_looks,
    tidy,
)

_LINE = SEEDS
_PER_BIN = 8
_MANY = 20


def calibration_section(run: Run) -> Section:
    """The section of a run about the honesty of its uncertainties."""
    title = "Uncertainty against true error"
    known = foretold((*run.new_labels, *run.tests))
    if not known:
        return Section(
            title, "There is nothing to show yet: no structure was predicted and then labelled."
        )
    error, sigma = _columns(known)
    text = (
        "Before each new structure was learned, the model said how wrong it expected its energy "
        "to be (σ, horizontal); the label then told the truth (vertical; triangles on the edge "
        "are errors too small for the axis). An honest σ puts the root mean squares of bins of "
        "errors (thick line) on |error| = σ; above it the model is too sure of itself, below it "
        "too careful. The curve counts the same errors in multiples of σ; honest ones stay in the "
        "grey band nearly always. "
        f"{in_words(error, sigma)}"
    )
    looks = stage_looks(run.stages)
    return Section(
        title, text, "calibration",
        lambda: draw_calibration(known, looks),
    )  # fmt: skip


def foretold(labels: Sequence[LabelRecord]) -> list[LabelRecord]:
    """The labels that came with a prediction and its uncertainty."""
    return [r for r in labels if np.isfinite(r.energy_error) and r.energy_std > 0]


def in_words(error: Array, sigma: Array) -> str:
    """Shares of errors within one and two sigma, against those of a normal distribution."""
    n = len(error)
    within = np.abs(error) <= sigma
    one, two = np.mean(within), np.mean(np.abs(error) <= 2 * sigma)
    text = (
        f"Of {counted(n, 'prediction')}, {100 * one:.0f} % are within σ and {100 * two:.0f} % "
        "within 2σ of the label; normally distributed errors would give 68 % and 95 %."
    )
    # Two standard deviations of the share that n honest predictions would show.
    slack = 2 * np.sqrt(0.683 * 0.317 / n)
    if one < 0.683 - slack:
        return f"{text} This model is too sure of itself."
    if one > 0.683 + slack:
        return f"{text} This model is too careful."
    many = "many" if n >= _MANY else "few"
    return f"{text} This is as it should be, as far as so {many} can tell."


def draw_calibration(labels: Sequence[LabelRecord], looks: Mapping[str, Look]) -> Figure:
    """Draw |error| against sigma, and the share of errors within k sigma against k."""
    figure = new_figure(4.2)
    scatter, coverage = figure.subplots(1, 2, width_ratios=[1.25, 1])
    _scatter(scatter, labels, looks)
    error, sigma = _columns(labels)
    _coverage(coverage, np.abs(error) / sigma)
    legend(figure, scatter, columns=6)
    return figure


def binned(error: Array, sigma: Array) -> tuple[Array, Array]:
    """Root mean squares of sigma and error in bins of equal count along sigma, (n_bins,)."""
    order = np.argsort(sigma, kind="stable")
    bins = np.array_split(order, max(len(order) // _PER_BIN, 1))
    bins = bins if len(bins) <= 12 else np.array_split(order, 12)
    return (
        np.array([np.sqrt(np.mean(sigma[members] ** 2)) for members in bins]),
        np.array([np.sqrt(np.mean(error[members] ** 2)) for members in bins]),
    )


def _columns(labels: Sequence[LabelRecord]) -> tuple[Array, Array]:
    error = np.array([label.energy_error for label in labels])
    return error, np.array([label.energy_std for label in labels])


def _scatter(ax: Axes, labels: Sequence[LabelRecord], looks: Mapping[str, Look]) -> None:
    error, sigma = (1000 * column for column in _columns(labels))
    # A single error of nearly zero, met by chance, would squeeze all the others.
    floor = sigma.min() / 20
    looks = {**looks, "test": Look(TEST, "X")}
    groups = ["test" if label.iteration < 0 else label.stage for label in labels]
    for group, look in looks.items():
        mine = np.array([g == group for g in groups])
        shown = mine & (np.abs(error) >= floor)
        off_scale(ax, sigma[mine & ~shown], look.colour)
        if shown.any():
            ax.plot(
                sigma[shown], np.abs(error[shown]), look.marker, color=look.colour,
                markersize=4.5, alpha=0.7, markeredgewidth=0, label=group,
            )  # fmt: skip
    logarithmic(ax.xaxis, sigma)
    logarithmic(ax.yaxis, [*np.maximum(np.abs(error), floor), 2 * sigma.max()], pad=1.3)
    ends = np.array(ax.get_xlim())
    ax.plot(ends, ends, color=_LINE, linewidth=1.2, label="|error| = σ")
    ax.plot(ends, 2 * ends, color=_LINE, linewidth=1.2, linestyle="--", label="|error| = 2σ")
    if len(error) >= 2 * _PER_BIN:
        ax.plot(*binned(error, sigma), "o-", color=INK, markersize=4, linewidth=1.8, label="binned")
    tidy(ax, xlabel="predicted σ (meV/atom)", ylabel="|predicted − label| (meV/atom)")


def _coverage(ax: Axes, ratio: Array) -> None:
    k = np.linspace(0, 4, 161)
    expected = 100 * erf(k / np.sqrt(2))
    slack = 100 * 2 * np.sqrt(expected * (100 - expected) / 1e4 / len(ratio))
    ax.fill_between(
        k, np.maximum(expected - slack, 0), np.minimum(expected + slack, 100), color=MUTED,
        alpha=0.35, linewidth=0,
    )  # fmt: skip
    ax.plot(k, expected, color=_LINE, linewidth=1.2)
    share = 100 * np.searchsorted(np.sort(ratio), k, side="right") / len(ratio)
    ax.plot(k, share, color=INK, linewidth=1.8)
    tidy(
        ax,
        xlabel="k (multiples of σ)",
        ylabel="errors within kσ (%)",
        title="thick: found; thin: normal distribution",
    )
    ax.set(xlim=(0, 4), ylim=(0, 102))
