"""A hyperactive-learning run in a directory of its own: resumable, with everything on disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from threadpoolctl import threadpool_limits

import ase_hal
from ase_hal.ace.basis import InnerCutoff
from ase_hal.data.left_out import left_out_of
from ase_hal.dynamics.explorer import Trajectory, run_trajectory
from ase_hal.export import write_potential
from ase_hal.journal import Log, locked, remove_leftovers, replacing
from ase_hal.linear_committee import LinearCommittee
from ase_hal.loop import is_labelled, iteration_rng, learn
from ase_hal.metrics import compare
from ase_hal.past import Event, Past
from ase_hal.process_pool import ProcessPool
from ase_hal.report import write_report
from ase_hal.run_directory import adopt
from ase_hal.run_labels import TEST, RunLabels, tagged
from ase_hal.runfile import RunFile
from ase_hal.runfile.settings import FinalSection

# What may differ between a run file and the run it continues.
_CHANGEABLE = ("workers", "loop", "reference.timeout", "reference.check_forces")


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
        killed gives the same dataset, bit for bit, as one that was not.
    on_event : callable, optional
        Receives what is logged as it happens.

    Returns
    -------
    Path
        The directory.

    Raises
    ------
    RunFileError
        If the file is wrong; nothing was started then.
    ValueError
        If the directory holds a run of another file.
    DirectoryInUse
        If another process is working in the directory.
    ProcessKilled
        If the process of a trajectory has died three times; the run can go on.
    """
    runfile = RunFile.read(file)
    directory = Path(directory or Path(file).stem)
    if not (directory / "dataset.extxyz").exists():
        runfile.check_data()
    directory.mkdir(parents=True, exist_ok=True)
    # One thread for linear algebra: walkers and labels fill the cores, and results then do
    # not depend on how many there are.
    with locked(directory), threadpool_limits(1):
        remove_leftovers(directory)
        adopt(directory, Path(file), changeable=_CHANGEABLE)
        with _Run(directory, runfile, on_event or (lambda event: None)) as state:
            state.go()
    return directory


class _Run:
    """The files of one run and the loop that fills them."""

    def __init__(
        self, directory: Path, runfile: RunFile, on_event: Callable[[Event], None]
    ) -> None:
        self.directory = directory
        self.runfile = runfile
        self.on_event = on_event
        self.rng = np.random.default_rng(runfile.seed)
        self.fit = runfile.fit()
        self.iteration = 0
        self.committee: LinearCommittee | None = None
        self.began = time.monotonic()
        self._stack = ExitStack()

    def __enter__(self) -> _Run:
        enter = self._stack.enter_context
        self.log = enter(Log(self.directory / "log.jsonl"))
        events = list(self.log)
        self.past = Past.of(events)
        self.labels = enter(
            RunLabels(
                self.directory,
                emit=self.emit,
                blind_errors=self._blind_errors,
                seconds=self.past.label_seconds,
                workers=self.runfile.workers,
                timeout=self.runfile.reference.timeout,
                allow_unconverged=self.runfile.reference.allow_unconverged,
                check_forces=self.runfile.reference.check_forces,
                checked=[(e["iteration"], e["index"]) for e in events if e.get("forces_checked")],
            )
        )
        self.walkers = enter(ProcessPool(self.runfile.workers))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.__exit__(*exception)

    def emit(self, event: str, **record: Any) -> None:
        """Log an event and pass it on."""
        entry = {"event": event, "time": round(time.time(), 3), **record}
        self.log.append(entry)
        self.on_event(entry)

    def go(self) -> None:
        """Learn, then make the test set, the final fits, the potential and the report."""
        if self.past.end is not None and not self._may_go_on(self.past.end):
            self.on_event(self.past.end)
        else:
            first = self.past.iterations + 1
            self.emit("start", version=ase_hal.__version__, iteration=first)
            self.given = self._given_tests()
            dataset = self._learn(first)
            test = self._test_set(dataset)
            self._finish(dataset, test)
        if _age(self.log.path) <= _age(self.directory / "report" / "index.html"):
            write_report(self.directory)

    def _may_go_on(self, end: Event) -> bool:
        """Whether a run that was ended by its budget has a larger one now."""
        loop = self.runfile.loop
        if end["finished"] == "labels":
            added = sum(int(atoms.info["hal_iteration"]) > 0 for atoms in self.labels.dataset)
            return loop.max_labels is None or added < loop.max_labels
        return end["finished"] == "iterations" and self.past.iterations < loop.max_iterations

    def _learn(self, first: int) -> list[Atoms]:
        explorer = self.runfile.explorer(executor=self.walkers, on_trajectory=self._trajectory)
        loop = self.runfile.loop
        self.iteration = first
        steps = learn(
            self._seeds(first),
            self._fit,
            explorer,
            self.runfile.calculator(),
            rng=self.rng,
            n_select=loop.select,
            max_labels=loop.max_labels,
            max_iterations=loop.max_iterations,
            first_iteration=first,
            label=self.labels.label,
        )
        for step in steps:
            if step.finished is None:
                self.emit("step", iteration=step.iteration, n_structures=len(step.dataset))
                self.iteration = step.iteration + 1
            else:
                self.finished = step.finished
        return list(step.dataset)

    def _seeds(self, first: int) -> list[Atoms]:
        """The dataset as it was at the start of an iteration; before the first one, the seeds."""
        if first > 1:
            return [a for a in self.labels.dataset if int(a.info["hal_iteration"]) < first]
        if not len(self.labels.dataset):
            # Where no seed was ever labelled the reference was out of order: try them all again.
            self.labels.forget_failures()
        seeds = [
            tagged(atoms, 0, index, keep_labels=True)
            for index, atoms in enumerate(self.runfile.seeds())
        ]
        for index, atoms in enumerate(seeds):
            if is_labelled(atoms):
                seeds[index] = self.labels.store(atoms)
        missing = [atoms for atoms in seeds if not is_labelled(atoms)]
        fresh = self.labels.label(
            missing, self.runfile.calculator(), on_failure=lambda failure: None
        )
        if missing and len(fresh) == 0 and len(missing) == len(seeds):
            reason = self.labels.failed.read(self.labels.failed.path)[0].info["hal_failure"]
            raise ValueError(f"none of the {len(seeds)} seeds could be labelled; first: {reason}")
        return [atoms for atoms in seeds if is_labelled(atoms)] + fresh

    def _fit(self, dataset: Sequence[Atoms], *, rng: np.random.Generator) -> LinearCommittee:
        began = time.monotonic()
        committee = self.fit(dataset, rng=rng)
        seconds = time.monotonic() - began
        committee.write(self.directory / "committee.json")
        self.committee = committee
        posterior = committee.posterior
        self.emit(
            "fit",
            iteration=self.iteration,
            n_structures=len(dataset),
            n_basis=committee.basis.size,
            noise_precision=posterior.noise_precision,
            prior_precision=float(np.median(posterior.prior_precision)),
            log_evidence=posterior.log_evidence,
            **self._errors(committee, dataset, self.given),
            left_out=self._left_out(dataset),
            seconds=seconds,
        )
        return committee

    def _errors(
        self, committee: LinearCommittee, train: Sequence[Atoms], test: Sequence[Atoms]
    ) -> Event:
        errors: Event = {}
        for name, structures in (("train", train), ("test", test)):
            found = compare(committee, structures, force_bound=self.fit.force_bound).errors()
            errors[f"{name}_energy_rmse"] = found.energy_rmse if structures else None
            errors[f"{name}_forces_rmse"] = found.forces_rmse if structures else None
        return errors

    def _left_out(self, dataset: Sequence[Atoms]) -> str | None:
        """What of the labels the fit does not take, in words; None where it takes all."""
        bound = self.fit.force_bound
        return left_out_of(dataset, bound).sentence(bound) or None

    def _trajectory(self, trajectory: Trajectory) -> None:
        folder = self.directory / "iterations" / f"{self.iteration:04d}"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"walker{trajectory.walker}.npz"
        with replacing(path) as temporary:
            np.savez_compressed(temporary, **asdict(trajectory.trace))
        self.emit(
            "trajectory",
            iteration=self.iteration,
            stage=trajectory.stage,
            walker=trajectory.walker,
            outcome=trajectory.outcome,
            reason=trajectory.reason,
            steps=trajectory.steps,
            trace=str(path.relative_to(self.directory)),
            acceptance=trajectory.acceptance,
            seconds=round(self.walkers.seconds, 3),
        )

    def _blind_errors(self, atoms: Atoms) -> Event:
        """How far the committee, which has not seen a structure, is from its label."""
        errors: Event = {"energy_error": None, "energy_std": None, "forces_rmse": None}
        if self.committee is not None:
            prediction, results, n = self.committee.predict(atoms), atoms.calc.results, len(atoms)
            errors["energy_error"] = (prediction.energy - results["energy"]) / n
            errors["energy_std"] = prediction.energy_std / n
            if "forces" in results:
                difference = prediction.forces - results["forces"]
                errors["forces_rmse"] = float(np.sqrt(np.mean(difference**2)))
        return errors

    def _given_tests(self) -> list[Atoms]:
        """The test structures of a file, which join those that are found in the run's own."""
        return [
            self.labels.store(tagged(atoms, TEST, index, keep_labels=True))
            for index, atoms in enumerate(self.runfile.test_structures())
        ]

    def _test_set(self, dataset: Sequence[Atoms]) -> list[Atoms]:
        """Structures of a file, and found by going on exploring; never trained on."""
        if self.past.ended:  # once before, with a smaller budget
            return list(self.labels.test)
        committee = self.committee
        assert committee is not None  # learn() yields at least one step
        per_stage = self.runfile.test_per_stage
        explorer = self.runfile.explorer()
        self.iteration = TEST
        jobs = []
        for index, stage in enumerate(explorer.stages):
            starts = explorer.starts(index, dataset, committee)
            for i in range(per_stage):
                number = index * per_stage + i
                rng = iteration_rng(self.rng, 1_000_000 + number)
                start = starts[rng.integers(len(starts))]
                jobs.append((committee, stage, start, number, rng))
        found = []
        futures = [self.walkers.submit(run_trajectory, *job) for job in jobs]
        for trajectory in (future.result() for future in futures):
            self._trajectory(trajectory)
            atoms = trajectory.found
            if atoms is None and trajectory.outcome == "stable":
                atoms = trajectory.final
                atoms.info["hal_stage"] = trajectory.stage
            if atoms is not None:
                found.append(tagged(atoms, TEST, len(self.given) + trajectory.walker))
        if not found:
            return self.given
        return self.given + self.labels.label(
            found, self.runfile.calculator(), on_failure=lambda failure: None
        )

    def _finish(self, dataset: Sequence[Atoms], test: Sequence[Atoms]) -> None:
        final = self.committee
        assert final is not None  # learn() yields at least one step
        if (plan := self.runfile.final) is not None:
            final = self._final_fits(dataset, test, plan)
            final.write(self.directory / "final.json")
        files = write_potential(final, self.directory / "potential")
        self.emit(
            "end",
            finished=self.finished,
            n_structures=len(dataset),
            n_failed=len(self.labels.failed),
            **self._errors(final, dataset, test),
            left_out=self._left_out(dataset),
            potential=[path.name for path in files],
            sessions=self.past.sessions + 1,
            seconds=round(self.past.seconds + time.monotonic() - self.began, 3),
        )

    def _final_fits(
        self, dataset: Sequence[Atoms], test: Sequence[Atoms], plan: FinalSection
    ) -> LinearCommittee:
        """ARD for every threshold; the one with the largest evidence is kept.

        The test set plays no part, so that its errors are those of structures never seen.
        """
        fit = self.runfile.fit()
        if plan.inner_cutoff == "shortest":
            shortest = min(_shortest_distance(atoms, fit.basis.cutoff) for atoms in dataset)
            fit = fit.with_basis(fit.basis.with_inner_cutoff(InnerCutoff(shortest)))
        fits: list[LinearCommittee] = []
        rng = iteration_rng(self.rng, 2_000_000)
        began = time.monotonic()
        for threshold, committee in fit.relevance_path(dataset, plan.relevance_thresholds, rng=rng):
            errors = self._errors(committee, dataset, test)
            self.emit(
                "relevance",
                threshold=threshold,
                n_basis=int(committee.posterior.active.sum()),
                log_evidence=committee.posterior.log_evidence,
                **errors,
                seconds=time.monotonic() - began,
            )
            began = time.monotonic()
            fits.append(committee)
        return max(fits, key=lambda committee: committee.posterior.log_evidence)


def _age(path: Path) -> float:
    """Seconds since a file was written; infinite if there is none."""
    return time.time() - path.stat().st_mtime if path.exists() else np.inf


def _shortest_distance(atoms: Atoms, cutoff: float) -> float:
    return float(neighbor_list("d", atoms, cutoff).min(initial=cutoff))
