"""Finding: something about data or settings that a user should know before they are used."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

Severity = Literal["wrong", "likely", "note"]


@dataclass(frozen=True)
class Finding:
    """What a check has found.

    Attributes
    ----------
    severity : {"wrong", "likely", "note"}
        Surely a mistake, probably one, or merely worth knowing.
    kind : str
        Which check it comes from, for programs, such as ``"stress_sign"``.
    message : str
        A sentence for a user, with the numbers, and with what to do about it.
    frames : tuple of int
        The structures concerned, as indices into those that were checked; empty for all of them.
    """

    severity: Severity
    kind: str
    message: str
    frames: tuple[int, ...] = ()

    def at(self, numbers: Sequence[int]) -> Finding:
        """The same with frames renumbered and sorted: `numbers` tells what each index becomes."""
        return replace(self, frames=tuple(sorted(numbers[i] for i in self.frames)))


def frames_in_words(frames: Iterable[int], most: int = 6) -> str:
    """``frame 3``, ``frames 3, 7 and 9``, ``frames 0, 1, 2, 3, 4, 5 and 30 more``."""
    numbers = list(map(int, frames))
    if len(numbers) == 1:
        return f"frame {numbers[0]}"
    shown = numbers if len(numbers) <= most else numbers[:most]
    more = len(numbers) - len(shown)
    last = f"{more} more" if more else str(shown.pop())
    return f"frames {', '.join(map(str, shown))} and {last}"
