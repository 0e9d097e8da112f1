"""The learning of a free energy in a directory of its own: resumable, with everything on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import ase_hal
from ase_hal.free_energy import (
    Points,
    Round,
    UmbrellaMC,
    learn_free_energy,
    make_test_set,
    write_surface,
)
from ase_hal.free_energy_run.curve import Curve
from ase_hal.free_energy_run.remembered import RememberedFit, RememberedSearch
from ase_hal.free_energy_run.remembered_points import RememberedPoints
from ase_hal.free_energy_run.report import write_report
from ase_hal.free_energy_run.runfile import FreeEnergyRunFile
from ase_hal.free_energy_run.same_system import check_system, write_system
from ase_hal.free_energy_run.store import PointStore
from ase_hal.journal import Log, locked, remove_leftovers
from ase_hal.parallel import CancellableThreads
from ase_hal.past import Event, Past
from ase_hal.randomness import stream
from ase_hal.run_directory import check_same_file, keep_file

# Streams of random numbers of the parts of a run.
_LEARN, _TEST, _CURVE = range(3)
# What may differ between a run file and the run it continues.
_CHANGEABLE = ("workers", "stopping")


def run(
    file: str | Path,
    directory: str | Path | None = None,
    *,
    on_event: Callable[[Event], None] | None = None,
) -> Path:
    """Start or continue the run that a YAML file describes.

    Parameters
    ----------
    file : path
        The run file.
    directory : path, optional
        Where everything goes; by default a folder named like the file, in the current one.
        If it holds an unfinished run of the same file, that run goes on: a run that was
        killed gives the same points, bit for bit, as one that was not.
    on_event : callable, optional
        Receives what happens: all that is logged, and every point.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    RunFileError
        If the file is wrong; nothing was started then.
    ValueError
        If the directory holds a run of another file, or what the file names has changed.
    DirectoryInUse
        If another process is working in the directory.
    """
    runfile = FreeEnergyRunFile.read(file)
    directory = Path(directory or Path(file).stem)
    directory.mkdir(parents=True, exist_ok=True)
    # Windows fill the processors, and sums of linear algebra do not depend on how many there are.
    with locked(directory), threadpool_limits(1):
        for folder in (directory, *directory.glob("rounds/*")):
            remove_leftovers(folder)
        check_same_file(directory, Path(file), changeable=_CHANGEABLE)
        check_system(directory, runfile.order_parameters, runfile.hamiltonian)
        keep_file(directory, Path(file))
        write_system(directory, runfile.order_parameters, runfile.hamiltonian)
        with _Run(directory, runfile, on_event or (lambda event: None)) as state:
            state.go()
    return directory


class _Run:
    """The files of one run and the loop that fills them."""

    def __init__(
        self, directory: Path, runfile: FreeEnergyRunFile, on_event: Callable[[Event], None]
    ) -> None:
        self.directory = directory
        self.runfile = runfile
        self.on_event = on_event
        self.rng = np.random.default_rng(runfile.settings.seed)
        self.order_parameters = runfile.order_parameters
        self.fit = runfile.fit()
        self.began = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> _Run:
        enter = self._stack.enter_context
        self.log = enter(Log(self.directory / "log.jsonl"))
        events = list(self.log)
        self.past = Past.of(events)
        self.rounds = {event["round"]: event for event in events if event["event"] == "round"}
        self.points = enter(PointStore(self.directory, "points"))
        self.test = enter(PointStore(self.directory, "test"))
        for store in (self.points, self.test):
            store.forget_failures()
        self.curve = enter(Curve(self.directory))
        self.workers = enter(CancellableThreads(self.runfile.settings.workers))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def emit(self, event: str, **record: Any) -> None:
        """Log an event and pass it on."""
        entry = {"event": event, "time": round(time.time(), 3), **record}
        self.log.append(entry)
        self.on_event(entry)

    def show(self, event: str, **record: Any) -> None:
        """Pass an event on that is not worth a line of the log."""
        self.on_event({"event": event, **record})

    def go(self) -> None:
        """Make the composition curve and the test set, learn, and write the report."""
        settings = self.runfile.settings
        if self._is_over():
            assert self.past.end is not None
            self.on_event(self.past.end)
        else:
            samplers = settings.monte_carlo.build(
                self.runfile.hamiltonian, self.order_parameters, rng=stream(self.rng, _LEARN)
            )
            self.emit(
                "start",
                version=ase_hal.__version__,
                sessions=self.past.sessions + 1,
                temperatures_K=list(samplers),
                n_sites=next(iter(samplers.values())).n_sites,
            )
            self._draw_curve(samplers)
            self._learn(samplers, self._test_set(samplers))
        write_report(self.directory)

    def _is_over(self) -> bool:
        """Whether nothing is left to do.

        By now another `stopping` may be asked for, and what made all points fail be mended.
        """
        end = self.past.end
        if end is None or end["finished"] == "failures":
            return False
        rounds = [self.rounds[number] for number in sorted(self.rounds)]
        errors = [e["train_error"] if e["test_error"] is None else e["test_error"] for e in rounds]
        stopping = self.runfile.settings.stopping.build()
        return end["finished"] == "nothing new" or any(
            stopping.reason(errors[: n + 1]) is not None for n in range(len(errors))
        )

    def _draw_curve(self, samplers: Mapping[float, UmbrellaMC]) -> None:
        wanted = self.runfile.settings.composition_curve
        if wanted is not None:
            for number, sampler in enumerate(samplers.values()):
                rng = stream(self.rng, _CURVE, number)
                if self.curve.lacks(sampler, wanted.points):
                    self.show("sampling_curve", temperature_K=sampler.temperature_K)
                for record in self.curve.complete(sampler, wanted.points, self.workers, rng=rng):
                    self.show("curve", **record)

    def _test_set(self, samplers: Mapping[float, UmbrellaMC]) -> Points | None:
        wanted = self.runfile.settings.test
        if wanted is None:
            return None
        criteria = [criterion.build() for criterion in wanted.criteria]
        turns = 1 + any(criterion.requires != "nothing" for criterion in criteria)
        if self.test.is_complete(turns):
            found = Points.of(self.test.points, self.order_parameters.dimension)
            self.show("test", n_points=len(found), n_failed=self.test.n_failed)
            return found
        remembering = RememberedPoints(self.test, self.workers, partial(self.show, of_test=True))
        found = make_test_set(
            samplers,
            self.order_parameters,
            criteria,
            self.fit,
            rng=stream(self.rng, _TEST),
            n_candidates=wanted.candidates,
            propose=remembering.propose,
            measure=remembering.measure,
        )
        if not len(found):
            raise ValueError("none of the points of the test set succeeded")
        self.emit("test", n_points=len(found), n_failed=self.test.n_failed)
        return found

    def _learn(self, samplers: Mapping[float, UmbrellaMC], test: Points | None) -> None:
        remembering = RememberedPoints(self.points, self.workers, partial(self.show, of_test=False))
        search = self.runfile.search()
        steps = learn_free_energy(
            samplers,
            self.order_parameters,
            self.runfile.strategy(),
            RememberedFit(self.fit, self.directory, self._fitting),
            rng=stream(self.rng, _LEARN),
            test=test,
            search=search and RememberedSearch(search, self.directory, self._fitting),
            propose=remembering.propose,
            measure=remembering.measure,
        )
        for step in steps:
            if step.found:
                self._record(step)
        write_surface(step.surface, self.directory / "surface")
        self.emit(
            "end",
            finished=step.finished,
            round=step.round,
            n_points=len(step.points),
            n_failed=self.points.n_failed,
            train_error=step.train_error,
            test_error=None if test is None else step.test_error,
            sessions=self.past.sessions + 1,
            seconds=round(self.past.seconds + time.monotonic() - self.began, 3),
        )

    def _fitting(self, n_points: int) -> None:
        self.show("fitting", n_points=n_points)

    def _record(self, step: Round) -> None:
        counts = dict.fromkeys(step.weights, 0)
        for point in step.found:
            counts[point.criterion] += 1
        # rounds of earlier sessions are in the log
        tell = self.show if step.round in self.rounds else self.emit
        tell(
            "round",
            round=step.round,
            n_proposed=len(step.proposed),
            n_found=len(step.found),
            n_failed=len(step.failed),
            n_imprecise=sum(not point.converged for point in step.found),
            missed_by=step.missed_by,
            n_points=len(step.points),
            counts=counts,
            weights=dict(step.weights),
            train=dict(step.train),
            test=dict(step.test),
            train_error=step.train_error,
            test_error=None if np.isnan(step.test_error) else step.test_error,
            searched=step.searched,
            improved=step.improved,
        )
