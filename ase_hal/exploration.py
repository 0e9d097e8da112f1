"""How an explorer says why it has ended."""

from __future__ import annotations


class ExplorationEnded(Exception):
    """Raised by an explorer that has nothing more to find, for another reason than that all is
    known.

    An explorer that finds nothing returns nothing, and the loop has converged. One that stops
    because it may not or cannot go on raises this instead; the loop ends all the same, with the
    reason in `Step.finished`.

    Parameters
    ----------
    reason : str
        ``"stages"`` (stages have the labels they may have), ``"broken"`` (trajectories break
        before there is anything to label), or words of your own.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
