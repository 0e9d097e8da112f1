"""ExternalFit: members fitted by a command, each to its own bootstrap of the dataset."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_hal.baseline import Baseline
from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.external_command import Execution, end_of
from ase_hal.fits.observations import (
    Observation,
    ObservationSettings,
    check_one_body,
    observed_one_body,
)
from ase_hal.fitted_potential import FittedPotential, periodic_or_not
from ase_hal.metrics import mean_force
from ase_hal.network_samples import energy_noise, energy_weights
from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.repulsion import ZBL
from ase_hal.weights import Weights

logger = logging.getLogger(__name__)


class Record(NamedTuple):
    """What a program is to learn of one structure of N atoms; weights are those of squares."""

    atoms: Atoms  # periodic in all directions, or in none
    energy: float  # eV, without the baseline
    forces: Array  # (N, 3), eV/Å
    virial: Array  # (6,), eV
    energy_weight: float  # of the energy per atom, 1/eV^2
    force_weights: Array  # (N,), Å^2/eV^2; 0 for forces that are unknown or too large
    virial_weight: float  # 1/eV^2; 0 where it is unknown


class Draw(NamedTuple):
    """What makes one member different from the others."""

    seed: int
    counts: NDArray[np.intp]  # (n,), how often the bootstrap has each structure


@dataclass(frozen=True)
class Targets:
    """What is fitted, and how much it counts; `LinearFit` explains all of them."""

    elements: tuple[str, ...]
    weights: Weights | Callable[[Atoms], Weights]
    one_body: Mapping[str, float] | None
    repulsion: ZBL | None
    force_bound: float

    def __post_init__(self) -> None:
        check_one_body(self.one_body, self.elements)
        self.settings(1.0)

    def settings(self, cutoff: float) -> ObservationSettings:
        """How observations are taken for a model with a cutoff, Å."""
        return ObservationSettings(
            self.elements, self.weights, self.repulsion, self.force_bound, cutoff
        )

    def observe(
        self, dataset: Sequence[Atoms], cutoff: float
    ) -> tuple[list[Observation], Baseline]:
        """What is to be learned of every structure with neighbours, and the baseline.

        Raises
        ------
        ValueError
            For fewer than two structures, a structure that cannot be fitted to (its index is
            named), or an element that none of them has.
        """
        settings = self.settings(cutoff)
        every = settings.observe_all(dataset)
        one_body = observed_one_body(every, settings, self.one_body)[0] if every else {}
        items = [item for item in every if not item.alone]
        if len(items) < 2:
            raise ValueError(
                "a committee of bootstrapped members needs two structures at least, "
                f"got {len(items)}"
            )
        counts = np.sum([item.counts for item in items], axis=0)
        if unseen := [e for e, n in zip(self.elements, counts, strict=True) if n == 0]:
            raise ValueError(
                f"no structure of the dataset has {', '.join(unseen)}: nothing can be learned of it"
            )
        return items, Baseline(one_body, self.repulsion)


def member_records(
    items: Sequence[Observation], elements: Sequence[str], baseline: Baseline, draw: Draw,
    cutoff: float,
) -> list[Record]:  # fmt: skip
    """The structures of a member's bootstrap, once each, the weights multiplied."""
    shares = np.array([baseline.one_body[element] for element in elements])
    found = []
    for item, count in zip(items, draw.counts, strict=True):
        if count == 0:
            continue
        # A weight for each component, where programs want one for each atom.
        forces = item.force_factors.min(axis=1)
        found.append(
            Record(
                periodic_or_not(item.atoms, cutoff),
                item.energy - float(item.counts @ shares),
                item.forces,
                item.virial,
                float(count) * (item.energy_factor * len(item.atoms)) ** 2,
                float(count) * forces**2,
                float(count) * float(item.virial_factors[-1]) ** 2,
            )
        )
    return found


class ExternalFit(ABC):
    """A committee of K potentials that a command fits, one run for each.

    Parameters
    ----------
    targets : Targets
        Elements, weights and baseline.
    cutoff : float
        Of the potentials, Å.
    members : int
        K.
    execution : Execution
        How commands run.
    """

    _command: str
    _arguments: tuple[str, ...]  # of the command
    _hint: str  # how to install it
    _result: str  # name of the file it leaves
    _kind: str  # calculator of python-ace that reads it

    def __init__(
        self, targets: Targets, *, cutoff: float, members: int, execution: Execution | None
    ) -> None:
        if members < 2:
            raise ValueError(f"a committee has at least two members, got {members}")
        self.targets = targets
        self.cutoff = cutoff
        self.members = members
        self.execution = execution or Execution()
        self._words = self.execution.words(self._command, self._hint)

    @abstractmethod
    def _write_input(
        self, folder: Path, items: Sequence[Observation], baseline: Baseline, draw: Draw
    ) -> None:
        """Write what the command needs for one member into its folder."""

    def __call__(
        self, dataset: Sequence[Atoms], *, rng: np.random.Generator
    ) -> CalculatorCommittee:
        """Fit to labelled structures.

        Parameters
        ----------
        dataset : sequence of Atoms
            Structures whose calculators hold an energy and, where known, forces and stress.
        rng : numpy.random.Generator
            Draws the bootstrap samples and the seeds of the members.

        Raises
        ------
        ValueError
            For fewer than two structures, a structure without a label, elements that are not
            those of the potential, one of them in no structure, or labels that are not finite.
        RuntimeError
            Where fewer than two members could be fitted, with the end of the command's log.
        """
        check_generator(rng)
        items, baseline = self.targets.observe(dataset, self.cutoff)
        draws = _draws(items, self.members, rng)
        with self.execution.folder() as folder:
            folders = [folder / f"member-{number}" for number in range(self.members)]
            for place, draw in zip(folders, draws, strict=True):
                place.mkdir()
                self._write_input(place, items, baseline, draw)
            failures = self.execution.run([*self._words, *self._arguments], folders)
            members = [
                failure or self._read(place, baseline)
                for place, failure in zip(folders, failures, strict=True)
            ]
        return _committee(members, items, self.targets)

    def _read(self, folder: Path, baseline: Baseline) -> FittedPotential | str:
        written = sorted(folder.rglob(self._result))
        if not written:
            return f"its command ended without writing {self._result}{end_of(folder)}"
        text = written[0].read_text(encoding="utf-8")
        return FittedPotential(text, self._kind, self.targets.elements, baseline)


def checked_elements(elements: Sequence[str]) -> tuple[str, ...]:
    """In alphabetical order; ValueError for anything but different chemical symbols."""
    if isinstance(elements, str) or not len(elements):
        raise ValueError(f"elements is a sequence of chemical symbols, got {elements!r}")
    if wrong := [symbol for symbol in elements if symbol not in chemical_symbols[1:]]:
        raise ValueError(f"no such chemical elements: {', '.join(map(str, wrong))}")
    if len(set(elements)) < len(elements):
        raise ValueError(f"an element is named twice in {tuple(elements)}")
    return tuple(sorted(elements))


def write_table(path: Path, columns: Mapping[str, list[Any]]) -> None:
    """Write the pickled table of structures that the programs read."""
    import pandas  # a dependency of python-ace, slow to import

    frame = pandas.DataFrame(columns)
    # Names that pandas 2 reads too: the program may live in an environment of its own.
    frame.columns = frame.columns.astype(object)
    frame.to_pickle(path, compression="gzip", protocol=4)


def _draws(items: Sequence[Observation], members: int, rng: np.random.Generator) -> list[Draw]:
    """Seed and bootstrap sample of each member; every sample has all elements of the dataset."""
    n = len(items)
    present = [set(item.atoms.symbols) for item in items]
    draws = []
    for _ in range(members):
        counts = np.bincount(rng.integers(n, size=n), minlength=n)
        for element in sorted(set().union(*present)):
            having = [i for i in range(n) if element in present[i]]
            if not counts[having].any():
                counts[rng.choice(having)] += 1
        draws.append(Draw(int(rng.integers(1, 2**31 - 1)), counts))
    return draws


def _committee(
    members: Sequence[FittedPotential | str], items: Sequence[Observation], targets: Targets
) -> CalculatorCommittee:
    """The members that are finite on their training set; a string says why there is none."""
    dataset = [item.atoms for item in items]
    labels = np.array([atoms.calc.results["energy"] for atoms in dataset])
    sizes = np.array([len(atoms) for atoms in dataset])
    good: list[FittedPotential] = []
    predicted: list[Array] = []
    reasons: list[str] = []
    for number, member in enumerate(members):
        answer = member if isinstance(member, str) else _energies(member, dataset)
        if isinstance(member, FittedPotential) and not isinstance(answer, str):
            good.append(member)
            predicted.append(answer)
        else:
            reasons.append(f"member {number}: {answer}")
    if len(good) < 2:
        raise RuntimeError(
            f"{len(reasons)} of {len(members)} members could not be fitted, and a committee "
            f"needs two; {reasons[0]}"
        )
    for reason in reasons:
        logger.warning("the committee goes without one of its members; %s", reason)
    errors = np.mean(predicted, axis=0) - labels
    return CalculatorCommittee(
        good,
        floor=energy_noise(errors, sizes, energy_weights(items)),
        elements=targets.elements,
        force_scale=mean_force(dataset, bound=targets.force_bound) or 1.0,
    )


def _energies(member: FittedPotential, dataset: Sequence[Atoms]) -> Array | str:
    """Energies of its training set, eV, or why there are none."""
    try:
        energies = np.array([member.get_property("energy", atoms) for atoms in dataset])
        forces = [member.get_property("forces", atoms) for atoms in dataset]
    except Exception as error:
        return f"its potential cannot be evaluated: {type(error).__name__}: {error}"
    if not (np.isfinite(energies).all() and all(np.isfinite(f).all() for f in forces)):
        return "its energies or forces are not finite on the structures it was fitted to"
    return energies
