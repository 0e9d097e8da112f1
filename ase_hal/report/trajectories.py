"""Figure: what happened along biased trajectories (as Fig. 3 of van der Oord et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_hal.prediction import Array
from ase_hal.report.record import Run, Trace, TrajectoryRecord
from ase_hal.report.style import INK, TEST, Look, Section, new_figure, stage_looks, tidy

_COLUMNS = 4
_EXPLANATION = (
    "Each column is one simulation, from early in the run on the left to late on the right. The "
    "score says how uncertain the model is about its forces: where it exceeds the dashed "
    "tolerance, the simulation stops and the structure is labelled (dot); a cross is the end of "
    "a simulation that became unphysical. Simulations that last longer as the run goes on are "
    "the sign of a model that learns. τ is the strength of the pull towards uncertain structures."
)


def trajectory_sections(run: Run) -> Iterator[Section]:
    """One section for each stage of a run."""
    if not run.trajectories:
        yield Section("Trajectories", "There is nothing to show yet: no trajectory has ended.")
    looks = stage_looks(run.stages)
    first = True
    for number, stage in enumerate(run.stages, start=1):
        mine = [t for t in run.trajectories if t.stage == stage]
        if chosen := choose(run, mine, _COLUMNS):
            text = (_EXPLANATION if first else "As above.") + _remarks(run, stage, mine, chosen)
            yield Section(
                f"Trajectories: {stage}", text, f"trajectories-{number}",
                partial(draw_trajectories, chosen, run.tolerance(stage), looks[stage]),
            )  # fmt: skip
            first = False
        elif mine:
            yield Section(
                f"Trajectories: {stage}",
                "The traces of these trajectories are not in the run directory.",
            )


def _remarks(
    run: Run,
    stage: str,
    trajectories: Sequence[TrajectoryRecord],
    chosen: Sequence[tuple[TrajectoryRecord, Trace]],
) -> str:
    text = ""
    if not np.isfinite(run.tolerance(stage)):
        text += " The run file does not tell the tolerance of this stage."
    if not any(_known(trace.pressure_GPa) for _, trace in chosen):
        text += " There is no pressure, because there is no stress."
    if moves := _acceptance(trajectories):
        text += f" Accepted Monte Carlo moves: {moves}."
    return text


def choose(
    run: Run, trajectories: Sequence[TrajectoryRecord], n: int
) -> list[tuple[TrajectoryRecord, Trace]]:
    """The first, the last and evenly spaced ones between, at most n, that have a trace.

    Of the trajectories of one iteration, the first that found something stands for all.
    """
    by_iteration: dict[int, TrajectoryRecord] = {}
    for trajectory in sorted(trajectories, key=lambda t: (t.iteration, t.outcome == "stable")):
        by_iteration.setdefault(trajectory.iteration, trajectory)
    candidates = [
        t for t in by_iteration.values() if t.trace and (run.directory / t.trace).exists()
    ]
    places = np.unique(np.linspace(0, len(candidates) - 1, n).round().astype(int))
    picked = [candidates[place] for place in places] if candidates else []
    return [(t, trace) for t in picked if (trace := run.trace(t)) is not None]


def draw_trajectories(
    chosen: Sequence[tuple[TrajectoryRecord, Trace]],
    tolerance: float,
    look: Look,
) -> Figure:
    """Draw score, temperature, pressure and tau against time, a column for each trajectory."""
    rows = ["score\n(no unit)", "temperature\n(K)", "pressure\n(GPa)", "bias τ\n(no unit)"]
    if not any(_known(trace.pressure_GPa) for _, trace in chosen):
        rows.pop(2)
    figure = new_figure(0.9 + 1.35 * len(rows))
    # Few columns keep the width they would have beside others.
    axes = figure.subplots(len(rows), _COLUMNS, sharex="col", sharey="row", squeeze=False)
    longest = max(trace.time_fs.max(initial=0) for _, trace in chosen)
    scale, unit = (1e-3, "ps") if longest > 2000 else (1.0, "fs")
    for column, (trajectory, trace) in enumerate(chosen):
        time = scale * trace.time_fs
        panels = axes[:, column]
        _score_panel(panels[0], time, trace, trajectory, tolerance, look)
        curves = [trace.temperature_K, trace.pressure_GPa, trace.tau]
        if len(rows) == 3:
            curves.pop(1)
        for ax, curve in zip(panels[1:], curves, strict=True):
            ax.plot(time, curve, color=look.colour, linewidth=0.9)
        for row, ax in enumerate(panels):
            tidy(
                ax,
                xlabel=f"time ({unit})" if row == len(rows) - 1 else "",
                ylabel=rows[row] if column == 0 else "",
                title=_heading(trajectory) if row == 0 else "",
            )
            ax.locator_params(axis="x", nbins=4)
            ax.locator_params(axis="y", nbins=5)
    scores = np.concatenate([trace.score for _, trace in chosen])
    if len(shown := [*scores[np.isfinite(scores)], *([tolerance] if tolerance > 0 else [])]):
        axes[0, 0].set_ylim(0, 1.1 * max(shown))
    for ax in axes[:, len(chosen) :].flat:
        ax.set_visible(False)
    figure.align_ylabels(axes[:, 0])
    return figure


def _score_panel(
    ax: Axes,
    time: Array,
    trace: Trace,
    trajectory: TrajectoryRecord,
    tolerance: float,
    look: Look,
) -> None:
    known = np.isfinite(trace.score)
    ax.plot(time[known], trace.score[known], color=look.colour, linewidth=1.1)
    if np.isfinite(tolerance):
        ax.axhline(tolerance, color=TEST, linestyle="--", linewidth=1.2)
    if known.any() and trajectory.outcome != "stable":
        marker = "o" if trajectory.outcome == "uncertain" else "X"
        ax.plot(
            time[known][-1], trace.score[known][-1], marker, color=INK, markersize=5, clip_on=False
        )


def _heading(trajectory: TrajectoryRecord) -> str:
    return f"iteration {trajectory.iteration}\n{trajectory.outcome}, {trajectory.steps:,} steps"


def _acceptance(trajectories: Sequence[TrajectoryRecord]) -> str:
    rates: dict[str, list[float]] = {}
    for trajectory in trajectories:
        for move, rate in (trajectory.acceptance or {}).items():
            if rate is not None and np.isfinite(rate):
                rates.setdefault(move, []).append(rate)
    return ", ".join(f"{move} {100 * np.mean(rate):.0f} %" for move, rate in rates.items())


def _known(values: Array) -> bool:
    return bool(np.isfinite(values).any())
