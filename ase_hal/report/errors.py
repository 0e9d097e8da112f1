"""Figure: how the errors fell from iteration to iteration."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_hal.report.record import FitRecord, LabelRecord, Run, finite
from ase_hal.report.style import (
    TEST,
    TRAIN,
    Look,
    Section,
    iterations,
    legend,
    logarithmic,
    new_figure,
    off_scale,
    stage_looks,
    tidy,
)


def errors_section(run: Run) -> Section:
    """The section of a run about its errors."""
    title = "Errors by iteration"
    if not run.fits:
        return Section(title, "There is nothing to show yet: no model has been fitted.")
    text = (
        "Each dot is the error on a structure the run had just found, before the model learned "
        "from it; the lines are the errors of the fitted model. When the dots come down to the "
        "lines, new structures hold no more surprises. It is normal that the training error "
        "creeps up while the training set becomes more varied. Triangles on the lower edge are "
        "errors too small for the axis."
    )
    if not any(np.isfinite(fit.test_energy_rmse) for fit in run.fits):
        text += " No test errors were recorded along the way."
    looks = stage_looks(run.stages)
    return Section(
        title, text, "errors",
        lambda: draw_errors(run.fits, run.new_labels, looks),
    )  # fmt: skip


def draw_errors(
    fits: Sequence[FitRecord],
    labels: Sequence[LabelRecord],
    looks: dict[str, Look],
) -> Figure:
    """Draw the errors of every fit, and of new structures before they were learned."""
    figure = new_figure(3.7)
    energy, forces = figure.subplots(1, 2)
    _panel(
        energy, fits, looks,
        [1000 * fit.train_energy_rmse for fit in fits],
        [1000 * fit.test_energy_rmse for fit in fits],
        [(label, 1000 * abs(label.energy_error)) for label in labels],
        "energy error (meV/atom)",
    )  # fmt: skip
    _panel(
        forces, fits, looks,
        [fit.train_forces_rmse for fit in fits],
        [fit.test_forces_rmse for fit in fits],
        [(label, label.forces_rmse) for label in labels],
        "force error (eV/Å)",
    )  # fmt: skip
    legend(figure, energy, columns=6)
    return figure


def _panel(
    ax: Axes,
    fits: Sequence[FitRecord],
    looks: dict[str, Look],
    train: Sequence[float],
    test: Sequence[float],
    new: Iterable[tuple[LabelRecord, float]],
    ylabel: str,
) -> None:
    new = [(label, value) for label, value in new if np.isfinite(value)]
    # A single error of nearly zero, met by chance, would squeeze all the others.
    floor = min(finite([*train, *test]), default=0.0) / 20
    for stage, look in looks.items():
        mine = [(label.iteration, value) for label, value in new if label.stage == stage]
        points = [(i, value) for i, value in mine if value >= floor]
        off_scale(ax, [i for i, value in mine if value < floor], look.colour)
        if points:
            ax.plot(
                *zip(*points, strict=True), look.marker, color=look.colour, markersize=4,
                alpha=0.7, markeredgewidth=0, label=f"new, {stage}",
            )  # fmt: skip
    fitted = [fit.iteration for fit in fits]
    dot = "." if len(fits) < 40 else ""
    ax.plot(fitted, train, dot + "-", color=TRAIN, linewidth=1.8, label="train")
    if len(finite(test)):
        ax.plot(fitted, test, dot + "--", color=TEST, linewidth=1.8, label="test")
    tidy(ax, xlabel="iteration", ylabel=ylabel)
    iterations(ax, max(fit.iteration for fit in fits))
    logarithmic(ax.yaxis, [*train, *test, *(value for _, value in new if value >= floor)])
