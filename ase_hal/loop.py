"""learn(): fit, explore, select, label, and again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal.committee import Committee
from ase_hal.exploration import ExplorationEnded
from ase_hal.randomness import stream
from ase_hal.reference import Failure, label
from ase_hal.selection import select
from ase_hal.structures.origin import without_notes


class Fit(Protocol):
    """A dataset in, a committee out. Any callable of this shape will do."""

    def __call__(self, dataset: Sequence[Atoms], *, rng: np.random.Generator) -> Committee: ...


class Explorer(Protocol):
    """A committee in, structures that it is unsure about out; none when it finds no more."""

    def __call__(
        self, committee: Committee, *, dataset: Sequence[Atoms], rng: np.random.Generator
    ) -> Iterable[Atoms]: ...


class Labeller(Protocol):
    """The shape of `ase_hal.label`."""

    def __call__(
        self,
        structures: Sequence[Atoms],
        calculator: Any,
        *,
        on_failure: Callable[[Failure], None],
    ) -> list[Atoms]: ...


@dataclass(frozen=True)
class Step:
    """One turn of the loop.

    Attributes
    ----------
    iteration : int
        Counts from 1.
    committee : Committee
        What was fitted at the start of the turn, and explored with.
    candidates : tuple of Atoms
        What the explorer found.
    labelled : tuple of Atoms
        The candidates that were selected and labelled.
    failures : tuple of Failure
        Selected candidates whose reference calculation failed.
    dataset : tuple of Atoms
        The training set at the end of the turn.
    finished : str or None
        Why this is the last step: ``"converged"`` (the explorer found nothing), ``"labels"``
        or ``"iterations"`` (the budget is spent), ``"failures"`` (ten turns in a row without a
        successful label), or the reason of the explorer (see `ExplorationEnded`).
        ``committee`` is then the fit to all of ``dataset``.
    """

    iteration: int
    committee: Committee
    candidates: tuple[Atoms, ...]
    labelled: tuple[Atoms, ...]
    failures: tuple[Failure, ...]
    dataset: tuple[Atoms, ...]
    finished: str | None = None


def learn(
    seeds: Sequence[Atoms],
    fit: Fit,
    explore: Explorer,
    reference: Any,
    *,
    rng: np.random.Generator,
    n_select: int = 4,
    max_labels: int | None = None,
    max_iterations: int = 1000,
    first_iteration: int = 1,
    label: Labeller = label,
) -> Iterator[Step]:
    """Grow a training set until the explorer finds nothing uncertain any more.

    Parameters
    ----------
    seeds : sequence of Atoms
        Starting structures. Those that carry labels are used as they are, the others are
        labelled first.
    fit : callable
        ``fit(dataset, *, rng) -> committee``, for example a `LinearFit`.
    explore : callable
        ``explore(committee, *, dataset, rng) -> structures``, for example a `HALExplorer`.
    reference : calculator or factory
        What labels: an ASE calculator or a function that makes one (see `ase_hal.label`).
    rng : numpy.random.Generator
        Its seed sequence gives every iteration a stream of its own, by number: a loop that
        starts again at ``first_iteration`` with the dataset of that moment goes on exactly
        as it would have.
    n_select : int
        Largest number of labels in one iteration.
    max_labels : int, optional
        Stop once this many structures were added to the seeds.
    max_iterations : int
        Stop after this iteration.
    first_iteration : int
        Number of the first iteration, where a loop is continued.
    label : callable
        Replaces `ase_hal.label`, for example to pass it an executor or a time-out.

    Yields
    ------
    Step
        One for each iteration; the last one has ``finished`` set.

    Raises
    ------
    ValueError
        Without seeds, or when none of the seeds could be labelled.

    Examples
    --------
    >>> for step in learn(seeds, fit, explore, EMT, rng=np.random.default_rng(1)):
    ...     print(step.iteration, len(step.dataset))
    >>> step.committee.write("model.json")
    """
    budget = _Budget(n_select, max_labels, max_iterations)
    if not len(seeds):
        raise ValueError("learn() needs at least one starting structure")
    dataset, failures = _labelled_seeds(seeds, reference, label, first_iteration)
    if not dataset:
        reasons = "; ".join(failure.reason for failure in failures[:3])
        raise ValueError(f"none of the {len(seeds)} seeds could be labelled: {reasons}")

    def ask(structures: Sequence[Atoms]) -> tuple[list[Atoms], list[Failure]]:
        failed: list[Failure] = []
        return label(structures, reference, on_failure=failed.append), failed

    return _turns(dataset, fit, explore, ask, rng, budget, first_iteration)


def _turns(
    dataset: list[Atoms],
    fit: Fit,
    explore: Explorer,
    ask: Callable[[Sequence[Atoms]], tuple[list[Atoms], list[Failure]]],
    rng: np.random.Generator,
    budget: _Budget,
    iteration: int,
) -> Iterator[Step]:
    added = sum(atoms.info.get("hal_iteration", 0) > 0 for atoms in dataset)
    fruitless = _fruitless(dataset, iteration)
    while True:
        fit_rng, explore_rng = iteration_rng(rng, iteration).spawn(2)
        committee = fit(dataset, rng=fit_rng)
        finished = budget.spent(iteration, added, fruitless)
        candidates: list[Atoms] = []
        if not finished:
            try:
                candidates = list(explore(committee, dataset=dataset, rng=explore_rng))
            except ExplorationEnded as ended:
                finished = ended.reason
        if not candidates:
            reason = finished or "converged"
            yield Step(iteration, committee, (), (), (), tuple(dataset), reason)
            return
        # the guards are the explorer's, where a user may have set them otherwise
        picked = select(candidates, committee, n=budget.share(added), min_distance=None)
        labelled, failures = ask(
            [_with_provenance(atoms, iteration, index) for index, atoms in enumerate(picked)]
        )
        dataset = dataset + labelled
        added += len(labelled)
        fruitless = 0 if labelled else fruitless + 1
        yield Step(
            iteration, committee, tuple(candidates), tuple(labelled), tuple(failures),
            tuple(dataset),
        )  # fmt: skip
        iteration += 1


@dataclass(frozen=True)
class _Budget:
    n_select: int
    max_labels: int | None
    max_iterations: int

    # So many turns in a row without one label that succeeds: the reference is broken.
    MAX_FRUITLESS = 10

    def __post_init__(self) -> None:
        if self.n_select < 1 or (self.max_labels is not None and self.max_labels < 0):
            raise ValueError(
                f"n_select >= 1 and max_labels >= 0, got {self.n_select} and {self.max_labels}"
            )

    def spent(self, iteration: int, added: int, fruitless: int) -> str | None:
        if self.max_labels is not None and added >= self.max_labels:
            return "labels"
        if iteration > self.max_iterations:
            return "iterations"
        return "failures" if fruitless >= self.MAX_FRUITLESS else None

    def share(self, added: int) -> int:
        left = np.inf if self.max_labels is None else self.max_labels - added
        return int(min(self.n_select, left))


def iteration_rng(rng: np.random.Generator, iteration: int) -> np.random.Generator:
    """The generator of one iteration: a child of ``rng``'s seed sequence, by number."""
    return stream(rng, iteration)


def is_labelled(atoms: Atoms) -> bool:
    """Whether a structure carries an energy label."""
    calc = atoms.calc
    return isinstance(calc, SinglePointCalculator) and calc.results.get("energy") is not None


def _labelled_seeds(
    seeds: Sequence[Atoms], reference: Any, label: Labeller, first: int
) -> tuple[list[Atoms], list[Failure]]:
    failures: list[Failure] = []
    missing = [
        _with_provenance(atoms, 0, index)
        for index, atoms in enumerate(seeds)
        if not is_labelled(atoms)
    ]
    fresh = label(missing, reference, on_failure=failures.append) if missing else []
    return [_own(atoms, first) for atoms in seeds if is_labelled(atoms)] + fresh, failures


def _own(seed: Atoms, first_iteration: int) -> Atoms:
    """A seed as it is where this loop has found it; what another has noted says nothing here."""
    if 0 <= seed.info.get("hal_iteration", 0) < first_iteration:
        return seed
    copy = without_notes(seed)
    copy.calc = seed.calc
    return copy


def _fruitless(dataset: Sequence[Atoms], iteration: int) -> int:
    """How many iterations in a row, before this one, added nothing to the dataset."""
    known = [atoms.info["hal_iteration"] for atoms in dataset if "hal_iteration" in atoms.info]
    return max(iteration - 1 - max(known), 0) if known else 0


def _with_provenance(atoms: Atoms, iteration: int, index: int) -> Atoms:
    atoms = atoms.copy()
    atoms.info["hal_iteration"] = iteration
    atoms.info["hal_index"] = index
    return atoms
