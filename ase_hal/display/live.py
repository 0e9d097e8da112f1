"""Display of a run in a terminal: a table of the last iterations that is drawn again and again."""

from __future__ import annotations

from rich.console import Console, Group
from rich.live import Live
from rich.progress import (
    BarColumn,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.progress import Progress as Bar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ase_hal.display.progress import Event, Progress

# Header, unit and justification of the columns of `Row.cells`.
COLUMNS = (
    ("iter", "", "right"),
    ("stage", "", "left"),
    ("training", "set", "right"),
    ("E error", "meV/atom", "right"),
    ("F error", "eV/Å", "right"),
    ("trajectories", "outcome, steps", "left"),
    ("labels", "made, time", "left"),
)
ERRORS = "E and F error: root mean square over the training set"
_LAST = 10


class LiveDisplay:
    """Draws the progress of a run; a context manager.

    Parameters
    ----------
    console : rich.console.Console
        A terminal.
    max_labels : int or None
        Where the progress bar ends; without it the bar only shows that work goes on.
    """

    def __init__(self, console: Console, max_labels: int | None = None) -> None:
        self._console = console
        self._max_labels = max_labels
        self._bar = Bar(*_bar_columns(max_labels), console=console)
        self._task = self._bar.add_task("labels", total=max_labels)
        self._progress = Progress()
        self._spinner = Spinner("dots")
        self._live = Live(
            console=console, get_renderable=self.picture, refresh_per_second=4, transient=True
        )

    def __enter__(self) -> LiveDisplay:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *exception: object) -> None:
        self._live.stop()
        # The closing picture stays on the screen, without what moves.
        if self._progress.rows:
            self._console.print(table(self._progress))

    def update(self, event: Event, progress: Progress) -> None:
        """Show the progress after an event."""
        self._progress = progress
        self._bar.update(self._task, completed=progress.labels)
        if event["event"] == "failure":
            where = f"iteration {event['iteration']}" if event["iteration"] > 0 else "seeds"
            self._console.print(
                Text(f"reference calculation failed ({where}): {event['reason']}", style="yellow")
            )

    def picture(self) -> Group:
        """What is on the screen now."""
        self._spinner.update(text=Text(f" {self._progress.activity}"))
        drawn = [table(self._progress)] if self._progress.rows else []
        return Group(*drawn, self._bar, self._spinner)


def _bar_columns(max_labels: int | None) -> list[ProgressColumn]:
    if max_labels is None:
        return [BarColumn(), TextColumn("{task.completed} labels"), TimeElapsedColumn()]
    count = TextColumn("{task.completed} of {task.total} labels")
    return [BarColumn(), TaskProgressColumn(), count, TimeElapsedColumn()]


def table(progress: Progress) -> Table:
    """The last iterations."""
    drawn = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        header_style="bold",
        caption=f"{ERRORS}\n{progress.left_out}" if progress.left_out else ERRORS,
        caption_justify="left",
    )
    for name, unit, justify in COLUMNS:
        drawn.add_column(f"{name}\n{unit}", justify=justify, no_wrap=name != "trajectories")  # type: ignore[arg-type]
    rows = sorted(progress.rows.values(), key=lambda row: row.iteration)
    for row in rows[-_LAST:]:
        drawn.add_row(*row.cells())
    return drawn
