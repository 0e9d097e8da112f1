"""The look of the figures: colours, axes, numbers. Nothing of matplotlib's state is changed."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

# Okabe and Ito's palette, which colour-blind readers can tell apart; every colour of a stage
# also has a marker of its own.
TRAIN, TEST, SEEDS, MUTED, INK = "#0072B2", "#D55E00", "#8A8F98", "#B6BCC6", "#222B38"
_STAGE_COLOURS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255", "#999933")
_STAGE_MARKERS = ("o", "s", "D", "^", "v", "P", "X")

_WIDTH = 9.6
_SMALL, _TEXT, _DPI = 8.5, 9.5, 160


@dataclass(frozen=True)
class Look:
    """Colour and marker of a stage."""

    colour: str
    marker: str


@dataclass(frozen=True)
class Section:
    """A part of the report: a figure or a table, with a text that says what to see in it.

    Without something to draw and without a table the text says why there is nothing.
    """

    title: str
    text: str
    name: str = ""
    draw: Callable[[], Figure] | None = None
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def stage_looks(stages: Sequence[str]) -> dict[str, Look]:
    """A look for each stage, the same in every figure."""
    return {
        stage: Look(
            _STAGE_COLOURS[i % len(_STAGE_COLOURS)], _STAGE_MARKERS[i % len(_STAGE_MARKERS)]
        )
        for i, stage in enumerate(stages)
    }


def new_figure(height: float) -> Figure:
    """An empty figure, as wide as the page; ``height`` in inches."""
    layout = ConstrainedLayoutEngine(h_pad=0.05)
    figure = Figure(figsize=(_WIDTH, height), dpi=_DPI, layout=layout)
    FigureCanvasAgg(figure)
    return figure


def tidy(ax: Axes, *, xlabel: str = "", ylabel: str = "", title: str = "") -> None:
    """Label axes and give them the look of the report."""
    ax.set_xlabel(xlabel, fontsize=_TEXT, color=INK)
    ax.set_ylabel(ylabel, fontsize=_TEXT, color=INK)
    ax.set_title(title, fontsize=_TEXT, color=INK, loc="left")
    ax.tick_params(labelsize=_SMALL, color=MUTED, labelcolor=INK, which="both")
    ax.grid(True, color="#E7EAEE", linewidth=0.8)
    ax.set_axisbelow(True)
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)


def legend(figure: Figure, *axes: Axes, columns: int) -> None:
    """One legend above all panels, where it hides nothing; a label of several axes counts once."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)
    if entries:
        figure.legend(
            list(entries.values()), list(entries), loc="outside upper left", ncols=columns,
            fontsize=_SMALL, frameon=False, labelcolor=INK, handletextpad=0.5, columnspacing=1.4,
        )  # fmt: skip


def note(ax: Axes, text: str) -> None:
    """Write in the middle of an empty panel why it is empty."""
    ax.text(
        0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center", fontsize=_TEXT, color=INK
    )


def counting(axis: Axis) -> None:
    """Ticks at whole numbers only."""
    axis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def logarithmic(axis: Axis, values: Iterable[float], *, pad: float = 1.5) -> None:
    """A logarithmic axis around the positive ones of ``values``."""
    array = np.array(list(values), dtype=float)
    array = array[np.isfinite(array) & (array > 0)]
    low, high = (array.min() / pad, array.max() * pad) if len(array) else (0.1, 10.0)
    # A single value still wants a few ticks around it.
    widen = max(np.sqrt(8 * low / high), 1.0)
    low, high = low / widen, high * widen
    if axis is axis.axes.xaxis:
        axis.axes.set(xscale="log", xlim=(low, high))
    else:
        axis.axes.set(yscale="log", ylim=(low, high))
    decades = np.log10(high / low)
    few = decades < 2.2
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=8))
    axis.set_minor_formatter(NullFormatter())
    if few or decades > 5:
        axis.set_minor_locator(NullLocator())
    if few or (low > 5e-4 and high < 1e5):
        axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 1000 else f"{x:g}"))


def iterations(ax: Axes, last: int) -> None:
    """An axis that counts iterations from 1."""
    ax.set_xlim(0.3, last + 0.7)
    counting(ax.xaxis)


def off_scale(ax: Axes, places: Iterable[float], colour: str) -> None:
    """Mark points that lie below an axis by small triangles on its lower edge."""
    places = list(places)
    if not places:
        return
    (triangles,) = ax.plot(
        places, np.zeros(len(places)), "v", color=colour, markersize=4, markeredgewidth=0,
        transform=ax.get_xaxis_transform(), clip_on=False,
    )  # fmt: skip
    triangles.set_in_layout(False)


def png(figure: Figure) -> bytes:
    """The figure as a PNG, sharp enough for print."""
    engine = figure.get_layout_engine()
    if engine is not None:
        # Saving would lay it out twice more.
        engine.execute(figure)
        figure.set_layout_engine("none")
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", facecolor="white", metadata={"Software": None})
    return buffer.getvalue()


def duration(seconds: float) -> str:
    """A time in words: 0.3 s, 42 s, 5 min, 3 h 20 min, 2 d 4 h."""
    if not np.isfinite(seconds):
        return "unknown"
    if seconds < 60:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"


def significant(value: float) -> str:
    """Three digits: 1.70, 0.0812, 123; a dash where there is no number."""
    return f"{value:#.3g}".removesuffix(".") if np.isfinite(value) else "–"


def counted(n: int, singular: str, plural: str | None = None) -> str:
    """A number and its noun: "1 label", "1,200 labels"."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"
