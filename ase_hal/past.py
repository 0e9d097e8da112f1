"""What the log of a run tells the session that goes on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]


@dataclass(frozen=True)
class Past:
    """The sessions of a run up to now: each begins with a "start" and may have been killed.

    Attributes
    ----------
    sessions : int
        How many there were.
    iterations : int
        Complete iterations.
    seconds : float
        How long the sessions went on, each up to its last event.
    label_seconds : mapping of (int, int) to float
        Seconds that each reference calculation took, by iteration and index.
    end : dict or None
        The last event, if nothing is left to do.
    ended : bool
        Whether the run has ever come to an end, as it has where its budget was raised since.
    """

    sessions: int
    iterations: int
    seconds: float
    label_seconds: Mapping[tuple[int, int], float]
    end: Event | None
    ended: bool

    @classmethod
    def of(cls, events: Sequence[Event]) -> Past:
        """Read the events of a log."""
        labels = ("label", "test", "failure")
        return cls(
            sessions=sum(event["event"] == "start" for event in events),
            iterations=max((e["iteration"] for e in events if e["event"] == "step"), default=0),
            seconds=_seconds(events),
            label_seconds={
                (e["iteration"], e["index"]): e["seconds"]
                for e in events
                if e["event"] in labels and "seconds" in e
            },
            end=events[-1] if events and events[-1]["event"] == "end" else None,
            ended=any(event["event"] == "end" for event in events),
        )


def _seconds(events: Sequence[Event]) -> float:
    total, before = 0.0, 0.0
    for event in events:
        # In older logs only the starts have a time.
        now = event.get("time", before)
        if event["event"] != "start":
            total += max(now - before, 0.0)
        before = now
    return total
