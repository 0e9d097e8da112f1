"""Reading the log, the traces and the structures of a run directory."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from ase import Atoms

from ase_hal.dynamics.trace import COLUMNS, Trace
from ase_hal.dynamics.trigger import Trigger
from ase_hal.frames import Frames
from ase_hal.journal import Log
from ase_hal.prediction import Array
from ase_hal.runfile.document import read_document

_NAN = float("nan")
T = TypeVar("T")


@dataclass(frozen=True)
class FitRecord:
    """One fit. Errors are root mean squares in eV/atom and eV/Å; nan where there are none."""

    iteration: int
    n_structures: int
    n_basis: int
    train_energy_rmse: float
    train_forces_rmse: float
    test_energy_rmse: float = _NAN
    test_forces_rmse: float = _NAN
    seconds: float = _NAN
    left_out: str | None = None  # labels that the fit does not take


@dataclass(frozen=True)
class TrajectoryRecord:
    """One biased trajectory; ``trace`` is the path of its trace within the run directory."""

    iteration: int
    stage: str
    walker: int
    outcome: str
    steps: int
    reason: str = ""
    trace: str | None = None
    acceptance: Mapping[str, float] | None = None
    seconds: float = _NAN


@dataclass(frozen=True)
class LabelRecord:
    """One label: of a seed in iteration 0, of the test set in a negative one.

    ``energy_error`` (predicted minus label) and ``energy_std`` (eV/atom) and ``forces_rmse``
    (eV/Å) are those of the committee that had not yet learned the structure; nan for seeds.
    """

    iteration: int
    index: int
    n_atoms: int
    seconds: float = _NAN
    stage: str | None = None
    energy_error: float = _NAN
    energy_std: float = _NAN
    forces_rmse: float = _NAN


@dataclass(frozen=True)
class FailureRecord:
    """One reference calculation that failed."""

    iteration: int
    index: int
    reason: str


@dataclass(frozen=True)
class RelevanceRecord:
    """One fit by automatic relevance determination; errors as in `FitRecord`."""

    threshold: float
    n_basis: int
    train_energy_rmse: float
    train_forces_rmse: float
    test_energy_rmse: float = _NAN
    test_forces_rmse: float = _NAN
    seconds: float = _NAN


@dataclass(frozen=True)
class EndRecord:
    """How a run ended; the errors are those of its final model.

    The seconds are those of so many sessions: all of them, in older logs only the last.
    """

    finished: str
    train_energy_rmse: float = _NAN
    train_forces_rmse: float = _NAN
    test_energy_rmse: float = _NAN
    test_forces_rmse: float = _NAN
    seconds: float = _NAN
    sessions: int = 1
    left_out: str | None = None


@dataclass(frozen=True)
class Run:
    """What the log of a run directory tells, in the order of the run.

    Work that was begun, interrupted and done again counts once, as it was in the end. The
    trajectories are those of the loop, without the ones that made the test set.
    """

    directory: Path
    settings: Mapping[str, Any]
    version: str
    n_starts: int
    fits: tuple[FitRecord, ...]
    trajectories: tuple[TrajectoryRecord, ...]
    labels: tuple[LabelRecord, ...]
    failures: tuple[FailureRecord, ...]
    relevance: tuple[RelevanceRecord, ...]
    tests: tuple[LabelRecord, ...]
    end: EndRecord | None

    @cached_property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages in the order in which the run came to them."""
        reached = [(t.iteration, t.stage) for t in self.trajectories]
        reached += [(r.iteration, r.stage) for r in self.labels if r.stage is not None]
        reached.sort(key=lambda pair: pair[0])
        return tuple(dict.fromkeys(stage for _, stage in reached))

    @cached_property
    def last_iteration(self) -> int:
        """Number of the latest iteration anything is known about, at least 1."""
        fitted = [fit.iteration for fit in self.fits]
        explored = [trajectory.iteration for trajectory in self.trajectories]
        return max([1, *fitted, *explored, *(label.iteration for label in self.labels)])

    @cached_property
    def new_labels(self) -> tuple[LabelRecord, ...]:
        """Labels of structures that the run found itself."""
        return tuple(label for label in self.labels if label.iteration > 0)

    @cached_property
    def dataset(self) -> list[Atoms]:
        """The labelled structures, seeds first."""
        return self.structures("dataset.extxyz")

    def tolerance(self, stage: str) -> float:
        """Tolerance of the trigger of a stage; nan where the run file does not tell."""
        explore = self.settings.get("explore") or {}
        for settings in explore.get("stages") or ():
            if settings.get("name") == stage:
                trigger = settings.get("trigger") or {}
                return float(trigger.get("tolerance") or Trigger.tolerance)
        return _NAN

    def trace(self, trajectory: TrajectoryRecord) -> Trace | None:
        """The trace of a trajectory, or None where it is absent or unreadable."""
        if trajectory.trace is None:
            return None
        try:
            with np.load(self.directory / trajectory.trace, allow_pickle=False) as arrays:
                return Trace(**{name: arrays[name] for name in COLUMNS})
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None

    def structures(self, name: str) -> list[Atoms]:
        """Structures of an extxyz file of the run, as far as they are whole; none if absent."""
        path = self.directory / name
        return Frames.read(path) if path.is_file() else []


def read_run(directory: str | Path) -> Run:
    """Read the log of a run directory.

    Raises
    ------
    ValueError
        If the directory is none, or holds no run, or its log is damaged before its last line.
    """
    directory = Path(directory)
    log, settings = directory / "log.jsonl", directory / "run.yaml"
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a directory; a report needs that of a run")
    if not log.is_file():
        raise ValueError(f"{directory} is not the directory of a run: it holds no log.jsonl")
    if (directory / "order_parameters.json").is_file():
        raise ValueError(f"{directory} holds a free energy: ase-hal free-energy report {directory}")
    events = _read_events(log)
    if not any(event["event"] == "start" for event in events):
        raise ValueError(f"{log} tells of no run: it has no 'start' event")
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for event in events:
        by_kind.setdefault(event["event"], []).append(event)
    starts = by_kind["start"]

    def records(cls: type[T], kind: str, *key: str) -> tuple[T, ...]:
        built = [_build(cls, event, log) for event in by_kind.get(kind, [])]
        return tuple({tuple(getattr(r, name) for name in key): r for r in built}.values())

    trajectories = records(TrajectoryRecord, "trajectory", "iteration", "stage", "walker")
    # An end before the last start is that of a run that was then given more to do.
    ended = [event for event in events if event["event"] in ("start", "end")][-1]
    return Run(
        directory=directory,
        settings=read_document(settings, such_as="elements") if settings.is_file() else {},
        version=str(starts[-1].get("version", "unknown")),
        n_starts=len(starts),
        fits=records(FitRecord, "fit", "iteration"),
        trajectories=tuple(t for t in trajectories if t.iteration > 0),
        labels=records(LabelRecord, "label", "iteration", "index"),
        failures=records(FailureRecord, "failure", "iteration", "index"),
        relevance=records(RelevanceRecord, "relevance", "threshold"),
        tests=records(LabelRecord, "test", "index"),
        end=_build(EndRecord, ended, log) if ended["event"] == "end" else None,
    )


def _read_events(path: Path) -> list[dict[str, Any]]:
    events = Log.read(path)
    for number, event in enumerate(events, start=1):
        if not isinstance(event, dict) or not isinstance(event.get("event"), str):
            raise ValueError(f"{path}, line {number} is no event of a run: {str(event)[:80]}")
    return events


def _build(cls: type[T], event: Mapping[str, Any], log: Path) -> T:
    values = {}
    for field in fields(cls):  # type: ignore[arg-type]
        value = event.get(field.name)
        if value is not None:
            values[field.name] = value
        elif field.type == "float":
            values[field.name] = _NAN
        elif field.default is MISSING:
            raise ValueError(f"{log}: a {event['event']!r} event lacks {field.name!r}: {event}")
    return cls(**values)


def finite(values: Iterable[float]) -> Array:
    """The finite ones of some numbers, (n,)."""
    array = np.array(list(values), dtype=float)
    return array[np.isfinite(array)]
