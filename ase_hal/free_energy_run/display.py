"""What a person sees of a run: live tables in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from ase_hal.display.wording import plural, time_in_words
from ase_hal.free_energy.learning import MISSED
from ase_hal.free_energy_run.progress import Event, Progress

# Header, unit and width of the columns of `Row.cells` and `CriterionRow.cells`.
ROUNDS = (
    ("round", "", 5),
    ("points", "found", 12),
    ("imprecise", "", 9),
    ("failed", "", 6),
    ("all", "points", 6),
    ("train", "(10 meV)²", 9),
    ("test", "(10 meV)²", 9),
)
CRITERIA = (
    ("criterion", "", 13),
    ("weight", "", 6),
    ("points", "round", 6),
    ("points", "all", 6),
    ("train", "(10 meV)²", 9),
    ("test", "(10 meV)²", 9),
)
ERRORS = "train and test: mean squared error of the chemical potentials"
_LAST = 12
_TOLD = 3  # failures in one place, of which there may be hundreds
_WHY = {
    "rounds": "all the rounds that stopping.rounds allows are done",
    "target": "the error has reached stopping.target",
    "converged": "the error did not fall any more",
    "nothing new": "no new point was proposed",
    "failures": "every point of the last round failed",
}
# What begins with an event, in a line of its own where there is no terminal.
_STAGE: dict[str, Callable[[Event], str]] = {
    "sampling_curve": lambda event: (
        f"Monte Carlo along the composition at {event['temperature_K']:g} K"
    ),
    "sampling": lambda event: (
        f"Monte Carlo at {plural(event['n_points'], 'point')} of "
        + ("the test set" if event["of_test"] else f"round {event['round']}")
    ),
    "fitting": lambda event: f"fitting {plural(event['n_points'], 'point')}",
    "end": lambda event: "writing the report",
}
_FILES = {
    "report/index.html": "figures and tables about the run; open it in a browser",
    "points.jsonl": "chemical potentials at all points, one JSON record a line",
    "test.jsonl": "the same for the points that were never fitted to",
    "points_failed.jsonl": "points about which nothing was found, with the reason",
    "curve.jsonl": "Monte Carlo along the composition",
    "surface.json": "the free energy (with surface.npz), for Python",
    "log.jsonl": "what happened, one JSON record a line",
}


class RunDisplay:
    """Shows a run from its events; a context manager, called with each event.

    Parameters
    ----------
    console : rich.console.Console
        In a terminal, tables are kept up to date; elsewhere lines without escape codes are
        written.
    directory : Path
        Directory of the run.
    """

    def __init__(self, console: Console, directory: Path) -> None:
        self.console = console
        self.directory = directory
        self.progress = Progress()
        self._view = _Live(console) if console.is_terminal else _Lines(console)
        self._started: float | None = None

    def __enter__(self) -> RunDisplay:
        self._view.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._view.stop(self.progress)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        if event["event"] == "start":
            self._started = time.monotonic()
        self.progress(event)
        self._view.update(event, self.progress)

    def close(self) -> None:
        """Write the closing summary of a run that has ended."""
        end = self.progress.end
        if end is None:
            raise ValueError("this run has not ended")
        when = "earlier"
        if self._started is not None:
            when = f"{time_in_words(time.monotonic() - self._started)} after the start"
        found = plural(end["n_points"], "point")
        failed = f", {end['n_failed']} failed" if end["n_failed"] else ""
        errors = f"training set {end['train_error']:.3g}"
        if end["test_error"] is not None:
            errors += f", test set {end['test_error']:.3g}"
        lines = [
            "",
            f"Ended {when}: {_WHY.get(end['finished'], end['finished'])}.",
            f"{found}{failed} in {plural(end['round'] + 1, 'round')}.",
            f"Mean squared error of the chemical potentials in (10 meV)²: {errors}.",
            "",
            f"In {self.directory}:",
        ]
        files = {name: text for name, text in _FILES.items() if self._has_content(name)}
        width = max(map(len, files), default=0)
        lines += [f"  {name:<{width}}  {text}" for name, text in files.items()]
        lines += ["", f"Next: ase-hal free-energy report {self.directory} writes the report again."]
        for line in lines:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _has_content(self, name: str) -> bool:
        path = self.directory / name
        return path.is_file() and path.stat().st_size > 0


class _Live:
    """Tables that are drawn again and again."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress()
        self._bar = Bar(
            BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
            TextColumn("{task.fields[count]}"), console=console,
        )  # fmt: skip
        self._task = self._bar.add_task("points", total=None, count="")
        self._spinner = Spinner("dots")
        self._remarks = _Remarks()
        self._live = Live(
            console=console, get_renderable=self.picture, refresh_per_second=4, transient=True
        )

    def start(self) -> None:
        self._live.start(refresh=True)

    def stop(self, progress: Progress) -> None:
        self._live.stop()
        # The closing picture stays on the screen, without what moves.
        for table in _tables(progress):
            self._console.print(table)

    def update(self, event: Event, progress: Progress) -> None:
        self._progress = progress
        count = f"{progress.done} of {progress.proposed} points" if progress.proposed else ""
        self._bar.update(
            self._task, completed=progress.done, total=progress.proposed or None, count=count
        )
        if remark := self._remarks(event):
            self._console.print(Text(remark, style="yellow"))

    def picture(self) -> Group:
        """What is on the screen now."""
        self._spinner.update(text=Text(f" {self._progress.activity}"))
        return Group(*_tables(self._progress), self._bar, self._spinner)


class _Lines:
    """A line for every round, and one for each criterion at the end."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._remarks = _Remarks()
        self._has_header = False

    def start(self) -> None:
        pass

    def stop(self, progress: Progress) -> None:
        if progress.criteria:
            self._write("after the last round:")
            self._write_columns(CRITERIA)
            for row in progress.criteria.values():
                self._write(_aligned(row.cells(), CRITERIA))

    def update(self, event: Event, progress: Progress) -> None:
        kind = event["event"]
        if remark := self._remarks(event):
            self._write(remark)
        if kind == "test":
            self._write(f"test set: {plural(event['n_points'], 'point')}")
        elif kind in _STAGE:
            self._write(f"{time.strftime('%H:%M:%S')} {_STAGE[kind](event)}")
        elif kind == "round":
            if not self._has_header:
                self._has_header = True
                self._write(ERRORS)
                self._write_columns(ROUNDS)
            self._write(_aligned(progress.rows[event["round"]].cells(), ROUNDS))

    def _write_columns(self, columns: tuple[tuple[str, str, int], ...]) -> None:
        for part in (0, 1):
            self._write(_aligned([str(column[part]) for column in columns], columns))

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _tables(progress: Progress) -> list[Table]:
    """The last rounds, and the criteria."""
    rows = sorted(progress.rows.values(), key=lambda row: row.number)[-_LAST:]
    drawn = []
    if rows:
        drawn.append(_table([row.cells() for row in rows], ROUNDS, caption=ERRORS))
    if progress.criteria:
        cells = [row.cells() for row in progress.criteria.values()]
        drawn.append(_table(cells, CRITERIA, caption=None))
    return drawn


def _table(
    rows: list[tuple[str, ...]], columns: tuple[tuple[str, str, int], ...], *, caption: str | None
) -> Table:
    drawn = Table(
        box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", caption=caption,
        caption_justify="left",
    )  # fmt: skip
    for i, (name, unit, _) in enumerate(columns):
        drawn.add_column(f"{name}\n{unit}", justify="left" if not i else "right", no_wrap=True)
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _aligned(cells: tuple[str, ...] | list[str], columns: tuple[tuple[str, str, int], ...]) -> str:
    padded = [
        f"{cell:>{width}}" if i else f"{cell:<{width}}"
        for i, (cell, (_, _, width)) in enumerate(zip(cells, columns, strict=True))
    ]
    return "  ".join(padded).rstrip()


class _Remarks:
    """What a person has to know beside the tables: failed points, windows that do not hold."""

    def __init__(self) -> None:
        self._failed: Counter[str] = Counter()

    def __call__(self, event: Event) -> str | None:
        """A line about an event; of many failures in one place only the first are told."""
        if event["event"] == "round" and event.get("missed_by", 0.0) > MISSED:
            return _missed(event)
        if event["event"] == "curve" and "failed" in event:
            where = f"composition curve at {event['temperature_K']:g} K"
            what, reason = f"{event['branch']}, {event['value']:.3g}", event["failed"]
            file = "curve.jsonl"
        elif event["event"] == "failed_point":
            where = "test set" if event["of_test"] else f"round {event['round']}"
            what, reason = event["criterion"], event["reason"]
            file = "test_failed.jsonl" if event["of_test"] else "points_failed.jsonl"
        else:
            return None
        self._failed[where] += 1
        if self._failed[where] <= _TOLD:
            return f"point failed ({where}, {what}): {reason}"
        if self._failed[where] == _TOLD + 1:
            return f"more points failed ({where}): the reasons are in {file}"
        return None


def _missed(event: Event) -> str:
    return (
        f"round {event['round']}: half of the points were found with an order parameter more than "
        f"{event['missed_by']:.2g} off what was asked for: the windows do not hold, a larger "
        "monte_carlo.stiffness does"
    )
