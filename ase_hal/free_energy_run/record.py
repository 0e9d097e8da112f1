"""Reading the directory of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ase_hal.free_energy import (
    OrderParameters,
    Points,
    Surface,
    read_order_parameters,
    read_surface,
)
from ase_hal.free_energy.errors import mean_squared_error
from ase_hal.free_energy_run.curve import FILE as CURVE
from ase_hal.free_energy_run.same_system import ORDER_PARAMETERS
from ase_hal.free_energy_run.store import read_points
from ase_hal.journal import Log

Record = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class LearningRun:
    """What the files of a run tell.

    Attributes
    ----------
    directory : Path
    order_parameters : OrderParameters
    temperatures_K : tuple of float
        At which points are asked for.
    n_sites : int
        Of the supercell of Monte Carlo.
    version : str
        Of the package, in the last session.
    n_starts : int
        Sessions.
    rounds : tuple of mappings
        The ``round`` events, in order; errors in (10 meV)^2.
    end : mapping or None
        The ``end`` event of a run that is finished.
    curve, curve_failures : tuple of mappings
        Points of composition curves, and those about which Monte Carlo had nothing to say.
    """

    directory: Path
    order_parameters: OrderParameters
    temperatures_K: tuple[float, ...]
    n_sites: int
    version: str
    n_starts: int
    rounds: tuple[Record, ...]
    end: Record | None
    curve: tuple[Record, ...]
    curve_failures: tuple[Record, ...]

    @classmethod
    def read(cls, directory: str | Path) -> LearningRun:
        """Read a directory.

        Raises
        ------
        ValueError
            If it is none, or holds no such run, or a file in it is damaged.
        """
        directory = Path(directory)
        log = directory / "log.jsonl"
        if not directory.is_dir():
            raise ValueError(f"{directory} is not a directory; a report needs that of a run")
        if not log.is_file():
            raise ValueError(f"{directory} is not the directory of a run: it has no log.jsonl")
        events = Log.read(log)
        starts = [event for event in events if event.get("event") == "start"]
        if not starts:
            raise ValueError(f"{log} tells of no run: it has no 'start' event")
        rounds = {event["round"]: event for event in events if event["event"] == "round"}
        # an end before the last start is that of a run that was then given more to do
        ended = [event for event in events if event["event"] in ("start", "end")][-1]
        curve = Log.read(directory / CURVE) if (directory / CURVE).is_file() else []
        return cls(
            directory,
            read_order_parameters(directory / ORDER_PARAMETERS),
            tuple(starts[-1]["temperatures_K"]),
            int(starts[-1]["n_sites"]),
            str(starts[-1].get("version", "unknown")),
            len(starts),
            tuple(rounds[number] for number in sorted(rounds)),
            ended if ended["event"] == "end" else None,
            tuple(record for record in curve if "failed" not in record),
            tuple(record for record in curve if "failed" in record),
        )

    @cached_property
    def points(self) -> Points:
        """What was fitted to."""
        return Points.of(read_points(self.directory, "points"), self.order_parameters.dimension)

    @cached_property
    def test(self) -> Points:
        """What was not."""
        return Points.of(read_points(self.directory, "test"), self.order_parameters.dimension)

    @cached_property
    def surfaces(self) -> dict[int, Surface]:
        """The surface of each complete round."""
        folder = self.directory / "rounds"
        stems = {
            int(event["round"]): folder
            / f"{event['round']:04d}"
            / ("better" if event.get("improved") else "surface")
            for event in self.rounds
        }
        return {
            number: read_surface(stem)
            for number, stem in stems.items()
            if stem.with_suffix(".json").is_file()
        }

    @property
    def surface(self) -> Surface | None:
        """That of the last complete round."""
        return self.surfaces[max(self.surfaces)] if self.surfaces else None

    @cached_property
    def final_errors(self) -> dict[int, float]:
        """Errors of each round's surface at the training points of the last one, (10 meV)^2."""
        last = max(self.surfaces, default=-1)
        known = self.points[self.points.round <= last]
        return {n: mean_squared_error(surface, known) for n, surface in self.surfaces.items()}

    def curve_branch(self, temperature_K: float, branch: str) -> dict[str, np.ndarray]:
        """Columns of one branch of a composition curve, by composition."""
        rows = [
            record
            for record in self.curve
            if record["branch"] == branch and record["temperature_K"] == temperature_K
        ]
        rows.sort(key=lambda record: record["composition"])
        names = ("composition", "mu", "mu_error", "order", "converged")
        return {
            name: np.array([row[name] for row in rows], bool if name == "converged" else float)
            for name in names
        }
