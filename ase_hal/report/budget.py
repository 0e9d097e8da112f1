"""Figure: where labels, simulation steps and time went."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_hal.report.record import Run, finite
from ase_hal.report.style import (
    INK,
    TRAIN,
    Look,
    Section,
    counted,
    counting,
    duration,
    iterations,
    legend,
    logarithmic,
    new_figure,
    note,
    stage_looks,
    tidy,
)


def budget_section(run: Run) -> Section:
    """The section of a run about what it spent."""
    title = "Where labels and time went"
    if not run.trajectories and not run.new_labels:
        return Section(title, "There is nothing to show yet: no trajectory has ended.")
    outcomes = Counter(trajectory.outcome for trajectory in run.trajectories)
    text = (
        "The columns count the new structures that each iteration had labelled. The points "
        "are the simulation steps it took to find one: a run that learns needs more and more, "
        "and hollow symbols are iterations without any label. The bars are the time spent, "
        "counting twice what ran on two processors at a time. "
        f"Of {counted(len(run.trajectories), 'trajectory', 'trajectories')}, "
        f"{outcomes['uncertain']} ended at an uncertain structure, {outcomes['stable']} reached "
        f"their full length and {outcomes['untrustworthy']} became unphysical"
        f"{_commonest(run)}."
    )
    looks = stage_looks(run.stages)
    return Section(title, text, "budget", lambda: draw_budget(run, looks))


def draw_budget(run: Run, looks: Mapping[str, Look]) -> Figure:
    """Draw labels by iteration, steps for each label, and time by kind of work."""
    figure = new_figure(5.0)
    axes = figure.subplot_mosaic([["labels", "steps"], ["time", "time"]], height_ratios=[2, 1])
    labels, steps, time = axes["labels"], axes["steps"], axes["time"]
    _label_bars(labels, run, looks)
    _step_points(steps, run, looks)
    _time_bars(time, times(run))
    for ax in (labels, steps):
        iterations(ax, run.last_iteration)
    legend(figure, labels, steps, columns=6)
    return figure


def steps_per_label(run: Run, stage: str) -> list[tuple[int, float, bool]]:
    """Of each iteration of a stage: its number, steps over labels, and whether it found any."""
    steps: Counter[int] = Counter()
    for trajectory in run.trajectories:
        if trajectory.stage == stage:
            steps[trajectory.iteration] += trajectory.steps
    found = Counter(label.iteration for label in run.new_labels if label.stage == stage)
    return [(i, steps[i] / max(found[i], 1), found[i] > 0) for i in sorted(steps) if steps[i]]


def times(run: Run) -> dict[str, float]:
    """Seconds spent on labels, on fits, and on the rest where it is known."""
    spent = {
        "labels": float(finite(r.seconds for r in (*run.labels, *run.tests)).sum()),
        "fits": float(
            finite([r.seconds for r in run.fits] + [r.seconds for r in run.relevance]).sum()
        ),
    }
    exploration = finite(trajectory.seconds for trajectory in run.trajectories)
    if len(exploration):
        spent["exploration"] = float(exploration.sum())
    elif run.end and run.n_starts == 1 and run.end.seconds > sum(spent.values()):
        spent["everything else"] = run.end.seconds - sum(spent.values())
    return spent


def _label_bars(ax: Axes, run: Run, looks: Mapping[str, Look]) -> None:
    bottom: Counter[int] = Counter()
    for stage, look in looks.items():
        counts = Counter(label.iteration for label in run.new_labels if label.stage == stage)
        where = sorted(counts)
        if not where:
            continue
        ax.bar(
            where, [counts[i] for i in where], bottom=[bottom[i] for i in where], width=0.85,
            color=look.colour, label=stage,
        )  # fmt: skip
        bottom.update(counts)
    failed = Counter(failure.iteration for failure in run.failures if failure.iteration > 0)
    if failed:
        where = sorted(failed)
        ax.bar(
            where, [failed[i] for i in where], bottom=[bottom[i] for i in where], width=0.85,
            facecolor="white", edgecolor=INK, linewidth=0.7, hatch="////", label="failed",
        )  # fmt: skip
    if not bottom and not failed:
        note(ax, "none")
        ax.set_ylim(0, 1)
    tidy(ax, xlabel="iteration", ylabel="labels asked for (number)")
    counting(ax.yaxis)


def _step_points(ax: Axes, run: Run, looks: Mapping[str, Look]) -> None:
    heights = []
    for stage, look in looks.items():
        points = steps_per_label(run, stage)
        heights += [height for _, height, _ in points]
        for found, face in ((True, look.colour), (False, "white")):
            mine = [(i, height) for i, height, any_found in points if any_found is found]
            if mine:
                ax.plot(
                    *zip(*mine, strict=True), look.marker, color=look.colour,
                    markerfacecolor=face, markersize=4.5, label=stage,
                )  # fmt: skip
    tidy(ax, xlabel="iteration", ylabel="steps for each label (number)")
    logarithmic(ax.yaxis, heights)


def _time_bars(ax: Axes, spent: Mapping[str, float]) -> None:
    total = sum(spent.values())
    if not total > 0:
        ax.set_axis_off()
        note(ax, "no times recorded yet")
        return
    scale, unit = next(
        (scale, unit)
        for scale, unit, least in ((3600.0, "h", 7200.0), (60.0, "min", 180.0), (1.0, "s", 0.0))
        if total >= least
    )
    names: Sequence[str] = list(spent)
    bars = ax.barh(names, [spent[name] / scale for name in names], height=0.6, color=TRAIN)
    ax.bar_label(
        bars, [f" {duration(spent[name])} ({100 * spent[name] / total:.0f} %)" for name in names],
        fontsize=8.5, color=INK,
    )  # fmt: skip
    tidy(ax, xlabel=f"time ({unit})")
    ax.grid(False, axis="y")
    ax.set_xlim(0, 1.3 * max(spent.values()) / scale)
    ax.invert_yaxis()


def _commonest(run: Run) -> str:
    reasons = Counter(
        t.reason for t in run.trajectories if t.outcome == "untrustworthy" and t.reason
    )
    return f" (for example: {reasons.most_common(1)[0][0]})" if reasons else ""
