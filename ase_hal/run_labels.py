"""The labelled structures of a run on disk: each is labelled once, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ase import Atoms

from ase_hal.frames import Frames
from ase_hal.loop import is_labelled
from ase_hal.past import Event
from ase_hal.reference import Failure, label
from ase_hal.structures.origin import without_notes

# Structures of the test set carry this iteration, seeds carry 0.
TEST = -1

Key = tuple[int, int]

_UNFIT = (
    "the reference cannot be learned from: {0} (structure {2} of iteration {1}, in failed.extxyz). "
    "Nothing more was labelled. Mend the reference and start the run again; "
    "reference.check_forces: false leaves the comparison out"
)


class RunLabels:
    """What a run has labelled, in files that are taken from again when it goes on.

    Parameters
    ----------
    directory : path
        Of the run.
    emit : callable
        Receives the kind and the entries of every event.
    blind_errors : callable
        What to log beside a label: the errors of a model that has not seen it.
    seconds : mapping of (int, int) to float
        What the labels of earlier sessions took, by iteration and index.
    workers : int
        Labels at a time.
    timeout : float or None
        Seconds that a label may take.
    allow_unconverged : bool
        Take labels of calculations that have not converged.
    check_forces : bool
        Compare the forces of one label with the energy, as `ase_hal.label` does, unless an earlier
        session has done so.
    checked : collection of (int, int)
        Labels whose forces earlier sessions have compared, by iteration and index.

    Attributes
    ----------
    dataset, test, failed : Frames
        Structures to fit to, to test on, and those without a label, with their reasons.
    """

    def __init__(
        self,
        directory: Path,
        *,
        emit: Callable[..., None],
        blind_errors: Callable[[Atoms], Event],
        seconds: Mapping[Key, float],
        workers: int,
        timeout: float | None,
        allow_unconverged: bool = False,
        check_forces: bool = False,
        checked: Collection[Key] = (),
    ) -> None:
        self.directory = directory
        self._emit = emit
        self._blind_errors = blind_errors
        self._seconds = seconds
        self._workers = workers
        self._timeout = timeout
        self._allow_unconverged = allow_unconverged
        self._check_forces = check_forces
        self._checked = set(checked)
        self._stack = ExitStack()

    def __enter__(self) -> RunLabels:
        enter = self._stack.enter_context
        self.dataset = enter(Frames(self.directory / "dataset.extxyz"))
        self.test = enter(Frames(self.directory / "test.extxyz"))
        self.failed = enter(Frames(self.directory / "failed.extxyz"))
        self._forget_inconsistent()
        files = (self.dataset, self.test, self.failed)
        self._stored = {_key(atoms): atoms for frames in files for atoms in frames}
        self._labellers = enter(ThreadPoolExecutor(self._workers))
        return self

    def __exit__(self, *exception: Any) -> None:
        self._stack.close()

    def _forget_inconsistent(self) -> None:
        """Let the structure be tried again at which the last session found the reference wrong."""
        if (failed := list(self.failed)) and failed[-1].info.get("hal_inconsistent"):
            self.failed.truncate(len(failed) - 1)

    def forget_failures(self) -> None:
        """Let structures that could not be labelled be tried again, except those to test on."""
        self.failed.truncate(0)
        self._stored = {key: a for key, a in self._stored.items() if key[0] == TEST}

    def store(
        self, atoms: Atoms, *, reason: str | None = None, inconsistent: bool = False
    ) -> Atoms:
        """Put a structure where it belongs, with the reason why it has no label, once."""
        key = _key(atoms)
        if key not in self._stored:
            frames = self.test if key[0] == TEST else self.dataset
            if reason is not None:
                atoms, frames = atoms.copy(), self.failed
                atoms.info["hal_failure"] = reason
                if inconsistent:
                    atoms.info["hal_inconsistent"] = True
            self._stored[key] = frames.append(atoms)
        return self._stored[key]

    def label(
        self,
        structures: Sequence[Atoms],
        calculator: Any,
        *,
        on_failure: Callable[[Failure], None],
    ) -> list[Atoms]:
        """Label, but take from disk what was labelled before the run was interrupted.

        Raises
        ------
        ValueError
            If forces or stress of the reference are not the derivative of its energy.
        """
        labelled: list[Atoms] = []
        fresh: list[Atoms] = []

        # The time it took goes into the log alone, so that the structures do not depend on it;
        # and first, so that there is none whose time is not known.
        def keep(atoms: Atoms) -> None:
            if atoms.info.pop("hal_forces_checked", False):
                self._checked.add(_key(atoms))
            self._log_label(atoms, atoms.info.pop("hal_label_seconds"))
            labelled.append(self.store(atoms))

        def reject(failure: Failure) -> None:
            self._log_failure(failure)
            self.store(failure.atoms, reason=failure.reason, inconsistent=failure.inconsistent)
            if failure.inconsistent:
                raise ValueError(_UNFIT.format(failure.reason, *_key(failure.atoms)))
            on_failure(failure)

        for atoms in structures:
            known = self._stored.get(_key(atoms))
            if known is None:
                fresh.append(atoms)
                continue
            seconds = self._seconds.get(_key(atoms), 0.0)
            if is_labelled(known):
                self._log_label(known, seconds)
                labelled.append(known)
            else:
                failure = Failure(atoms, str(known.info["hal_failure"]), seconds)
                self._log_failure(failure)
                on_failure(failure)
        if fresh:
            label(
                fresh,
                calculator,
                executor=self._labellers,
                timeout=self._timeout,
                allow_unconverged=self._allow_unconverged,
                check_forces=self._check_forces and not self._checked,
                on_label=keep,
                on_failure=reject,
            )
        return labelled

    def _log_failure(self, failure: Failure) -> None:
        iteration, index = _key(failure.atoms)
        self._emit(
            "failure",
            iteration=iteration,
            index=index,
            reason=failure.reason,
            details=failure.details,
            seconds=round(failure.seconds, 3),
        )

    def _log_label(self, atoms: Atoms, seconds: float) -> None:
        iteration, index = _key(atoms)
        self._emit(
            "label" if iteration != TEST else "test",
            iteration=iteration,
            index=index,
            stage=atoms.info.get("hal_stage"),
            n_atoms=len(atoms),
            seconds=seconds,
            **({"forces_checked": True} if (iteration, index) in self._checked else {}),
            **self._blind_errors(atoms),
        )


def tagged(atoms: Atoms, iteration: int, index: int, *, keep_labels: bool = False) -> Atoms:
    """Copy a structure and give it what tells it from all others of its run."""
    # What another run has noted about its structures says nothing in this one.
    copy = without_notes(atoms) if iteration == 0 else atoms.copy()
    copy.calc = atoms.calc if keep_labels else None
    copy.info |= {"hal_iteration": iteration, "hal_index": index}
    return copy


def _key(atoms: Atoms) -> Key:
    return int(atoms.info["hal_iteration"]), int(atoms.info["hal_index"])
