"""What a run has done so far, gathered from its events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ase_hal.display.wording import outcomes_in_words, plural, time_in_short

Event = Mapping[str, Any]


@dataclass
class Row:
    """One iteration; energies in eV/atom, forces in eV/Å, times in s."""

    iteration: int
    stage: str = ""
    n_structures: int | None = None
    energy_rmse: float | None = None
    forces_rmse: float | None = None
    outcomes: list[tuple[str, int]] = field(default_factory=list)
    labels: int = 0
    label_seconds: float = 0.0
    failures: int = 0

    def cells(self) -> tuple[str, ...]:
        """The row in words: iteration, stage, structures, errors, trajectories, labels."""
        energy, forces = self.energy_rmse, self.forces_rmse
        return (
            str(self.iteration),
            self.stage or ("seeds" if self.iteration == 0 else ""),
            "" if self.n_structures is None else str(self.n_structures),
            "" if energy is None else f"{1000 * energy:.2f}",
            "" if forces is None else f"{forces:.3f}",
            outcomes_in_words(self.outcomes),
            self._labels(),
        )

    def _labels(self) -> str:
        if not self.labels and not self.failures:
            return ""
        asked = f" of {self.labels + self.failures}" if self.failures else ""
        return f"{self.labels}{asked}, {time_in_short(self.label_seconds)}"


class Progress:
    """State of a run: call it with each event.

    Attributes
    ----------
    rows : dict of int to Row
        By iteration; 0 is the labelling of the seeds.
    labels : int
        Labels added to the seeds.
    test_surprises : list of float
        Errors of the energies of test structures, in units of what was predicted for them.
    left_out : str or None
        Labels that the last fit does not take, in words.
    activity : str
        What goes on now, in words.
    end : mapping or None
        The last event of a run that has ended.
    """

    def __init__(self) -> None:
        self.rows: dict[int, Row] = {}
        self.labels = 0
        self.test_labels = 0
        self.test_surprises: list[float] = []
        self.failures = 0
        self.sparse_fits: list[Event] = []
        self.left_out: str | None = None
        self.activity = "starting"
        self.end: Event | None = None
        self._current = 0
        self._makes_test = False

    def __call__(self, event: Event) -> None:
        """Take note of an event; kinds that are not known are passed over."""
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def replay(self, events: Iterable[Event]) -> None:
        """Take note of the events of earlier sessions, whose starts are among them.

        A session goes on after the last complete iteration: what came after that one is done
        again, and counts once.
        """
        kept: list[Event] = []
        for event in events:
            if event["event"] == "start":
                last = max((i for i, e in enumerate(kept) if e["event"] == "step"), default=-1)
                del kept[last + 1 :]
            else:
                kept.append(event)
        for event in kept:
            self(event)

    @property
    def complete_rows(self) -> list[Row]:
        """Iterations that are over."""
        over = self.end is not None or self._makes_test or self.sparse_fits
        return [row for row in self.rows.values() if over or row.iteration < self._current]

    def _row(self, event: Event) -> Row:
        iteration = int(event["iteration"])
        self._current = max(self._current, iteration)
        return self.rows.setdefault(iteration, Row(iteration))

    def _on_start(self, event: Event) -> None:
        self.activity = "labelling the starting structures"

    def _on_fit(self, event: Event) -> None:
        row = self._row(event)
        row.n_structures = event["n_structures"]
        row.energy_rmse = event["train_energy_rmse"]
        row.forces_rmse = event["train_forces_rmse"]
        self.left_out = event.get("left_out")
        self.activity = "running trajectories"

    def _on_trajectory(self, event: Event) -> None:
        if event["iteration"] < 0:
            self._makes_test = True
            self.activity = "making the test set: running trajectories"
            return
        row = self._row(event)
        row.stage = event["stage"]
        row.outcomes.append((event["outcome"], event["steps"]))
        done = plural(len(row.outcomes), "trajectory", "trajectories")
        self.activity = f"running trajectories of stage {row.stage!r} ({done} so far)"

    def _on_label(self, event: Event) -> None:
        row = self._row(event)
        row.labels += 1
        row.label_seconds += event["seconds"]
        if row.iteration == 0:
            self.activity = (
                f"labelling the starting structures ({row.labels} so far), then compiling once"
            )
        else:
            self.labels += 1
            self.activity = f"labelling ({row.labels} in this iteration so far)"

    def _on_failure(self, event: Event) -> None:
        self.failures += 1
        if event["iteration"] >= 0:
            self._row(event).failures += 1

    def _on_step(self, event: Event) -> None:
        self._current = event["iteration"] + 1
        self.activity = "fitting"

    def _on_test(self, event: Event) -> None:
        self._makes_test = True
        self.test_labels += 1
        if event.get("energy_std"):
            self.test_surprises.append(event["energy_error"] / event["energy_std"])
        self.activity = f"making the test set: labelling ({self.test_labels} so far)"

    def _on_relevance(self, event: Event) -> None:
        self.sparse_fits.append(event)
        self.activity = f"sparse fits ({len(self.sparse_fits)} so far)"

    def _on_end(self, event: Event) -> None:
        self.end = event
        self.activity = "writing the report"
