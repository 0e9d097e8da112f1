"""What a person sees of a run: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from pathlib import Path

from rich.console import Console

from ase_hal.display.closing import closing_lines
from ase_hal.display.lines import LineDisplay
from ase_hal.display.live import LiveDisplay
from ase_hal.display.progress import Event, Progress
from ase_hal.journal import Log

__all__ = ["RunDisplay"]


class RunDisplay:
    """Shows a run from its events; a context manager, called with each event.

    Parameters
    ----------
    console : rich.console.Console
        In a terminal, a table is kept up to date; elsewhere lines without escape codes are
        written.
    directory : Path
        Directory of the run: what an earlier session did is read from its log.
    max_labels : int or None
        Where the progress bar ends.

    Examples
    --------
    >>> with RunDisplay(Console(), Path("quickstart"), max_labels=60) as display:
    ...     run("quickstart.yaml", on_event=display)
    >>> display.close()
    """

    def __init__(self, console: Console, directory: Path, max_labels: int | None = None) -> None:
        self.console = console
        self.directory = directory
        self.progress = Progress()
        self._display: LiveDisplay | LineDisplay = (
            LiveDisplay(console, max_labels) if console.is_terminal else LineDisplay(console)
        )
        self._started: float | None = None

    def __enter__(self) -> RunDisplay:
        self._display.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._display.__exit__(*exception)

    def __call__(self, event: Event) -> None:
        """Show an event."""
        kind = event["event"]
        if kind == "start":
            self._started = time.monotonic()
        if kind == "start" or (kind == "end" and self._started is None):
            # The run has just cut its log to what it goes on from, or has nothing left to do.
            self.progress = Progress()
            self.progress.replay(Log.read(self.directory / "log.jsonl"))
        self.progress(event)
        self._display.update(event, self.progress)

    def close(self) -> None:
        """Write the closing summary of a run that has ended."""
        seconds = None if self._started is None else time.monotonic() - self._started
        self.console.print()
        for line in closing_lines(self.progress, self.directory, seconds):
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)
