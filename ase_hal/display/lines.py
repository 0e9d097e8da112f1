"""Display of a run outside a terminal: one plain line for each iteration."""

from __future__ import annotations

from rich.console import Console

from ase_hal.display.live import COLUMNS, ERRORS
from ase_hal.display.progress import Event, Progress
from ase_hal.display.wording import plural

_WIDTHS = (4, 8, 8, 8, 7, 33, 0)


class LineDisplay:
    """Writes a line whenever an iteration is over; a context manager.

    Parameters
    ----------
    console : rich.console.Console
        Where the lines go.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._written: set[int] = set()
        self._has_header = False
        self._makes_test = self._has_test = False
        self._left_out: str | None = None

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def update(self, event: Event, progress: Progress) -> None:
        """Write what an event completed."""
        if event["event"] == "start":
            self._written = {row.iteration for row in progress.rows.values()}
            if self._written:
                self._write(f"going on after iteration {max(self._written)}")
            else:
                self._write(
                    "labelling the starting structures and fitting to them; the first run on a "
                    "machine compiles for a minute or two"
                )
        elif event["event"] == "failure":
            where = f"iteration {event['iteration']}" if event["iteration"] > 0 else "seeds"
            self._write(f"reference calculation failed ({where}): {event['reason']}")
        if progress.left_out != self._left_out:
            self._left_out = progress.left_out
            self._write(self._left_out or "nothing is left out of the fit any more")
        for row in progress.complete_rows:
            if row.iteration not in self._written:
                self._written.add(row.iteration)
                self._write_header()
                self._write(_aligned(row.cells()))
        if event["event"] == "trajectory" and event["iteration"] < 0 and not self._makes_test:
            self._makes_test = True
            self._write("making the test set: trajectories of the last potential, then labels")
        if event["event"] in ("relevance", "end") and progress.test_labels and not self._has_test:
            self._has_test = True
            self._write(f"test set: {plural(progress.test_labels, 'structure')} labelled")
        if event["event"] == "relevance":
            self._write(_sparse_fit(event))

    def _write_header(self) -> None:
        if not self._has_header:
            self._has_header = True
            self._write(f"{ERRORS}; trajectories: how each ended, and after how many steps")
            self._write(_aligned([name for name, _, _ in COLUMNS]))
            self._write(_aligned([unit for _, unit, _ in COLUMNS]))

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _aligned(cells: list[str] | tuple[str, ...]) -> str:
    padded = [
        f"{cell:>{width}}" if justify == "right" else f"{cell:<{width}}"
        for cell, width, (_, _, justify) in zip(cells, _WIDTHS, COLUMNS, strict=True)
    ]
    return "  ".join(padded).rstrip()


def _sparse_fit(event: Event) -> str:
    line = f"sparse fit, threshold {event['threshold']:g}: {plural(event['n_basis'], 'function')}"
    for key, name in (("train", "training"), ("test", "test")):
        energy, forces = event.get(f"{key}_energy_rmse"), event.get(f"{key}_forces_rmse")
        if energy is not None and forces is not None:
            line += f"; {name} error {1000 * energy:.2f} meV/atom, {forces:.3f} eV/Å"
    return line
