"""What a run has done so far, gathered from its events."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ase_hal.display.wording import plural

Event = Mapping[str, Any]


@dataclass
class Row:
    """One round; errors in (10 meV)^2."""

    number: int
    n_proposed: int = 0
    n_found: int = 0
    n_failed: int = 0
    n_imprecise: int = 0
    n_points: int | None = None
    train_error: float | None = None
    test_error: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The row in words: round, points of it and of all, failures, errors."""
        return (
            str(self.number),
            f"{self.n_found} of {self.n_proposed}",
            str(self.n_imprecise) if self.n_imprecise else "",
            str(self.n_failed) if self.n_failed else "",
            "" if self.n_points is None else str(self.n_points),
            in_short(self.train_error),
            in_short(self.test_error),
        )


@dataclass
class CriterionRow:
    """One criterion, or a region of the test set; errors in (10 meV)^2."""

    name: str
    weight: float | None = None
    n_round: int = 0
    n_points: int = 0
    train_error: float | None = None
    test_error: float | None = None

    def cells(self) -> tuple[str, ...]:
        """The row in words: name, weight, points of the round and of all, errors."""
        return (
            self.name,
            "" if self.weight is None else f"{self.weight:.2f}",
            str(self.n_round) if self.weight is not None else "",
            str(self.n_points) if self.weight is not None else "",
            in_short(self.train_error),
            in_short(self.test_error),
        )


@dataclass
class Progress:
    """State of a run: call it with each event.

    Attributes
    ----------
    rows : dict of int to Row
        By round.
    criteria : dict of str to CriterionRow
        As the last complete round left them.
    proposed, done : int
        Points that are being asked for, and how many of them have come.
    n_test, n_curve : int
        Points of the test set and of composition curves.
    activity : str
        What goes on now, in words.
    end : mapping or None
        The last event of a run that has ended.
    """

    rows: dict[int, Row] = field(default_factory=dict)
    criteria: dict[str, CriterionRow] = field(default_factory=dict)
    proposed: int = 0
    done: int = 0
    n_test: int = 0
    n_curve: int = 0
    activity: str = "starting"
    end: Event | None = None
    totals: Counter[str] = field(default_factory=Counter)

    def __call__(self, event: Event) -> None:
        """Take note of an event; kinds that are not known are passed over."""
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _on_curve(self, event: Event) -> None:
        self.n_curve += 1
        self.activity = f"composition curve ({plural(self.n_curve, 'point')} so far)"

    def _on_proposed(self, event: Event) -> None:
        self.proposed, self.done = event["n_proposed"], 0
        if not event["of_test"]:
            self.rows.setdefault(event["round"], Row(event["round"])).n_proposed = self.proposed
        self._say_sampling(event)

    def _on_point(self, event: Event) -> None:
        self.done += 1
        if event["of_test"]:
            self.n_test += 1
        else:
            row = self.rows[event["round"]]
            row.n_found += 1
            row.n_imprecise += not event["converged"]
        self._say_sampling(event)

    def _on_failed_point(self, event: Event) -> None:
        self.done += 1
        if not event["of_test"]:
            self.rows[event["round"]].n_failed += 1
        self._say_sampling(event)

    def _say_sampling(self, event: Event) -> None:
        where = "of the test set" if event["of_test"] else f"of round {event['round']}"
        self.activity = f"Monte Carlo: {self.done} of {self.proposed} points {where}"

    def _on_fitting(self, event: Event) -> None:
        self.activity = f"fitting {plural(event['n_points'], 'point')}"

    def _on_round(self, event: Event) -> None:
        row = self.rows.setdefault(event["round"], Row(event["round"]))
        row.n_points = event["n_points"]
        row.train_error, row.test_error = event["train_error"], event["test_error"]
        self.totals.update(event["counts"])
        names = dict.fromkeys([*event["weights"], *event["train"], *event["test"]])
        self.criteria = {
            name: CriterionRow(
                name,
                event["weights"].get(name),
                event["counts"].get(name, 0),
                self.totals[name],
                event["train"].get(name),
                event["test"].get(name),
            )
            for name in names
        }
        self.activity = "choosing points"

    def _on_end(self, event: Event) -> None:
        self.end = event
        self.activity = "writing the report"


def in_short(error: float | None) -> str:
    """Three digits of an error; nothing where there is none."""
    return "" if error is None else f"{error:.3g}"
