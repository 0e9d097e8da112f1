"""Points and proposals on disk: what was done once is taken from here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ase_hal.free_energy.points import FailedPoint, Point, Proposal
from ase_hal.journal import Log

SAME = 1e-9  # difference of places that are the same; last digits depend on the machine


class PointStore:
    """Proposals, points and failed points of one set; a context manager.

    Every record is on the disk before the next is begun, and a torn last one is cut off. Points
    are in the order in which they came; their round and index tell where they belong.

    Parameters
    ----------
    directory : Path
    name : str
        Of the set: the files are ``NAME.jsonl``, ``NAME_failed.jsonl``, ``NAME_proposals.jsonl``.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._points = Log(directory / f"{name}.jsonl")
        self._failed = Log(directory / f"{name}_failed.jsonl")
        self._proposals = Log(directory / f"{name}_proposals.jsonl")
        self._found = {place_of(r): Point.from_record(r) for r in self._points}
        self._rejected = {place_of(r): r for r in self._failed}
        self._wanted = {
            int(record["round"]): [_proposal(p, record["round"]) for p in record["proposals"]]
            for record in self._proposals
        }

    def __enter__(self) -> PointStore:
        return self

    def __exit__(self, *exception: object) -> None:
        for log in (self._points, self._failed, self._proposals):
            log.close()

    def __len__(self) -> int:
        return len(self._found)

    @property
    def points(self) -> list[Point]:
        """Points that were found."""
        return list(self._found.values())

    def is_complete(self, rounds: int) -> bool:
        """Whether everything is known that the rounds from 0 on have asked for."""
        wanted = [self._wanted.get(number) for number in range(rounds)]
        return all(
            proposals is not None and all(self.known(proposal) for proposal in proposals)
            for proposals in wanted
        )

    @property
    def n_failed(self) -> int:
        """How many failed."""
        return len(self._rejected)

    def forget_failures(self) -> None:
        """Ask again about the last round with failures, if something was broken.

        That is so if all of its points failed, or all that there were at a temperature: the
        session ended then, and no round came after it.
        """
        last = max((number for number, _ in self._rejected), default=None)
        known = {point.temperature_K for point in self._found.values()}
        lost = {record["temperature_K"] for record in self._rejected.values()} - known
        if last is None or (any(number == last for number, _ in self._found) and not lost):
            return
        self._rejected = {at: record for at, record in self._rejected.items() if at[0] != last}
        self._failed.truncate(len(self._rejected))

    def proposals(self, number: int, propose: Callable[[], list[Proposal]]) -> list[Proposal]:
        """Proposals of a round: those that were made before, or new ones."""
        if number not in self._wanted:
            wanted = propose()
            records = [
                {
                    "index": p.index,
                    "criterion": p.criterion,
                    "temperature_K": p.temperature_K,
                    "eta": p.eta,
                    "mu": p.mu,
                }
                for p in wanted
            ]
            self._proposals.append({"round": number, "proposals": records})
            self._wanted[number] = wanted
        return self._wanted[number]

    def known(self, proposal: Proposal) -> Point | FailedPoint | None:
        """What is known about a proposal.

        Raises
        ------
        ValueError
            If the point of this place was wanted elsewhere: the files belong to another run.
        """
        place = (proposal.round, proposal.index)
        if place in self._rejected:
            return FailedPoint(proposal, str(self._rejected[place]["reason"]))
        point = self._found.get(place)
        if point is not None and np.abs(point.target - proposal.eta).max() > SAME:
            raise ValueError(
                f"{self._points.path}: point {proposal.index} of round {proposal.round} was wanted "
                f"at {point.target.tolist()}, now at {proposal.eta.tolist()}"
            )
        return point

    def keep(self, point: Point) -> None:
        """Put a point on the disk."""
        record = point.to_record()
        self._points.append(record)
        self._found[place_of(record)] = point

    def reject(self, failure: FailedPoint) -> None:
        """Put a failed point on the disk."""
        proposal = failure.proposal
        record = {
            "round": proposal.round,
            "index": proposal.index,
            "criterion": proposal.criterion,
            "temperature_K": proposal.temperature_K,
            "target": proposal.eta,
            "reason": failure.reason,
        }
        self._failed.append(record)
        self._rejected[place_of(record)] = record


def read_points(directory: Path, name: str) -> list[Point]:
    """Points of a set, which another process may be adding to; none without its file."""
    path = directory / f"{name}.jsonl"
    return [Point.from_record(record) for record in Log.read(path)] if path.is_file() else []


def place_of(record: dict[str, Any]) -> tuple[int, int]:
    """Round and index of a record."""
    return int(record["round"]), int(record["index"])


def _proposal(record: dict[str, Any], number: int) -> Proposal:
    mu: Sequence[float] | None = record["mu"]
    return Proposal(
        int(number),
        int(record["index"]),
        record["criterion"],
        np.array(record["eta"], dtype=float),
        float(record["temperature_K"]),
        None if mu is None else np.array(mu, dtype=float),
    )
