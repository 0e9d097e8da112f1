"""Numbers and outcomes in words."""

from __future__ import annotations

from collections.abc import Sequence


def plural(n: int, one: str, many: str | None = None) -> str:
    """``1 label``, ``2 labels``."""
    return f"{n} {one if n == 1 else many or one + 's'}"


def time_in_words(seconds: float) -> str:
    """``0.3 s``, ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def time_in_short(seconds: float) -> str:
    """``0.3 s``, ``82 s``, ``12 min``, ``3.4 h``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def outcomes_in_words(outcomes: Sequence[tuple[str, int]]) -> str:
    """``uncertain 340, 512; stable 5000``: outcomes, each with the lengths of its trajectories.

    Parameters
    ----------
    outcomes : sequence of (str, int)
        Outcome and number of steps of each trajectory.
    """
    steps = {
        outcome: sorted(n for kind, n in outcomes if kind == outcome)
        for outcome in ("uncertain", "untrustworthy", "stable")
    }
    return "; ".join(f"{outcome} {_numbers(n)}" for outcome, n in steps.items() if n)


def _numbers(values: Sequence[int]) -> str:
    first, last, n = values[0], values[-1], len(values)
    if first == last:
        return str(first) if n == 1 else f"{first} ({n} times)"
    return ", ".join(map(str, values)) if n <= 3 else f"{first} to {last} ({n} times)"
