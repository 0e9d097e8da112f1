"""DataReport: what is in a labelled dataset, and what is wrong with it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from ase_hal.data.consistency import Consistency, check_consistency
from ase_hal.data.distances import Pair, closest_pairs
from ase_hal.data.duplicates import Duplicates, find_duplicates
from ase_hal.data.findings import Finding, frames_in_words
from ase_hal.data.left_out import FORCE_BOUND, LeftOutTotal, left_out_of
from ase_hal.data.lone_atoms import (
    USUAL_CUTOFF,
    LoneAtom,
    has_neighbours,
)
from ase_hal.data.reading import LabelledFile
from ase_hal.data.sizes import energy_sizes, net_forces, short_distances, stress_sizes
from ase_hal.data.structure_checks import (
    labels_left_out,
    missing_labels,
    nearly_alone,
    one_body_of,
    strange_lone_atoms,
    weights_in_files,
    wrecks,
)
from ase_hal.labels import labels_of
from ase_hal.weights import TYPE_KEY

# How far from 1 a slope may be that leaves no doubt about the size of labels.
_RIGHT = 0.2
_ORDER = ("wrong", "likely", "note")


@dataclass(frozen=True)
class DataReport:
    """What checks have found in labelled structures.

    Attributes
    ----------
    names : tuple of str
        File and frame of every structure, as messages name it.
    atoms : mapping of str to int
        Number of atoms of each element in all structures.
    sizes : (int, int)
        Atoms in the smallest and in the largest structure.
    labels : mapping of str to int
        Structures with an energy, with forces and with a stress.
    lone_atoms : mapping of str to LoneAtom
        One-body energies from single atoms without neighbours.
    left_out : LeftOutTotal
        Labels that a fit with `force_bound` leaves out.
    force_bound : float
        eV/Å.
    closest : mapping of (str, str) to (float, int)
        Shortest distance of every pair of elements (Å), and its structure.
    largest_force, largest_stress : (float, int) or None
        Largest component (eV/Å; eV/Å^3), and its structure.
    weights : mapping of str to (int, float, float)
        Weights in the file: how many structures have one, the smallest and the largest.
    types : mapping of str to int
        Structures of every ``config_type``.
    consistency : Consistency or None
        Whether energies and stresses are what the forces say; None where that was not asked for.
    duplicates : Duplicates or None
        Structures that are there more than once.
    findings : tuple of Finding
        Their frames are indices into `names`.
    """

    names: tuple[str, ...]
    atoms: Mapping[str, int]
    sizes: tuple[int, int]
    labels: Mapping[str, int]
    lone_atoms: Mapping[str, LoneAtom]
    left_out: LeftOutTotal
    force_bound: float
    closest: Mapping[Pair, tuple[float, int]]
    largest_force: tuple[float, int] | None
    largest_stress: tuple[float, int] | None
    weights: Mapping[str, tuple[int, float, float]]
    types: Mapping[str, int]
    consistency: Consistency | None
    duplicates: Duplicates | None
    findings: tuple[Finding, ...]

    @property
    def worst(self) -> str | None:
        """The most severe kind of finding; None without any."""
        found = {finding.severity for finding in self.findings}
        return next((severity for severity in _ORDER if severity in found), None)

    def messages(self, severity: str) -> list[str]:
        """What was found of one severity, in sentences that name the structures."""
        return [self._sentence(f) for f in self.findings if f.severity == severity]

    def log(self, logger: logging.Logger) -> None:
        """Log what is wrong and what was not taken as warnings, and notes as information."""
        files = sorted({name.rpartition(", frame ")[0] for name in self.names} - {""})
        for finding in self.findings:
            quiet = finding.severity == "note" and finding.kind != "unused_labels"
            sentence = self._sentence(finding)
            if not finding.frames and files and not sentence.startswith(tuple(files)):
                sentence = f"{', '.join(files)}: {sentence}"
            logger.log(logging.INFO if quiet else logging.WARNING, "%s", sentence)

    def __str__(self) -> str:
        from ase_hal.data.report_text import report_lines

        return "\n".join(report_lines(self))

    def todict(self) -> dict[str, Any]:
        """Everything, JSON-able with `ase_hal.journal.to_json`."""
        data = {
            name: getattr(self, name)
            for name in self.__dataclass_fields__
            if name not in ("consistency", "duplicates", "closest", "findings", "left_out")
        }
        data["lone_atoms"] = {symbol: atom._asdict() for symbol, atom in self.lone_atoms.items()}
        data["left_out"] = self.left_out._asdict()
        data["closest"] = {"-".join(pair): list(value) for pair, value in self.closest.items()}
        data["consistency"] = self.consistency and asdict(self.consistency)
        data["duplicates"] = self.duplicates and asdict(self.duplicates)
        data["findings"] = [
            {**asdict(f), "structures": [self.names[i] for i in f.frames]} for f in self.findings
        ]
        return data

    def _sentence(self, finding: Finding) -> str:
        if not finding.frames:
            return finding.message
        names = [self.names[i] for i in finding.frames]
        return f"{structures_in_words(names)}: {finding.message}"


def structures_in_words(names: Sequence[str]) -> str:
    """``data.xyz, frames 3 and 7``: structures by their files."""
    by_file: dict[str, list[int]] = {}
    for name in names:
        file, _, number = name.rpartition(" ")
        by_file.setdefault(file.removesuffix(", frame").removesuffix("structure"), []).append(
            int(number)
        )
    return "; ".join(
        f"{file}, {frames_in_words(frames)}" if file else frames_in_words(frames)
        for file, frames in by_file.items()
    )


def check_files(files: Sequence[LabelledFile], **options: Any) -> DataReport:
    """Check all structures of some files together; options as of `check_dataset`."""
    structures = [atoms for file in files for atoms in file.structures]
    short = {Path(file.path).name for file in files}
    paths = [Path(file.path).name if len(short) == len(files) else file.path for file in files]
    names = [
        f"{path}, frame {number}"
        for path, file in zip(paths, files, strict=True)
        for number in file.numbers
    ]
    findings, start = [], 0
    for path, file in zip(paths, files, strict=True):
        numbers = range(start, start + len(file.structures))
        for finding in file.findings:
            of_all = Finding(
                finding.severity,
                finding.kind,
                finding.message if finding.frames else f"{path}: {finding.message}",
                finding.frames,
            )
            findings.append(of_all.at(numbers))
        start += len(file.structures)
    return check_dataset(structures, names=names, findings=findings, **options)


def check_dataset(
    structures: Sequence[Atoms],
    *,
    force_bound: float = FORCE_BOUND,
    cutoff: float = USUAL_CUTOFF,
    one_body: Mapping[str, float] | None = None,
    consistency: bool = True,
    names: Sequence[str] | None = None,
    findings: Sequence[Finding] = (),
) -> DataReport:
    """Look at labelled structures: what there is, and what is surely or probably wrong.

    Parameters
    ----------
    structures : sequence of Atoms
        With labels, as `read_dataset` and `label` give them.
    force_bound : float
        Of the fit that is to come, eV/Å.
    cutoff : float
        Within which atoms are neighbours, Å: a single atom without any tells its energy.
    one_body : mapping of str to float, optional
        Energies of isolated atoms that are to be used, eV; they are compared with the data.
    consistency : bool
        Fit to forces, and compare energies and stresses with what they say (a few seconds).
    names : sequence of str, optional
        File and frame of every structure, for messages.
    findings : sequence of Finding
        What was found before.

    Raises
    ------
    ValueError
        For an empty dataset and for structures without labels.
    """
    if not len(structures):
        raise ValueError("the dataset is empty: nothing to check")
    if not (force_bound > 0 and 0 < cutoff < np.inf):
        raise ValueError(
            f"force_bound and cutoff are above 0, got {force_bound} eV/Å and {cutoff} Å"
        )
    names = tuple(names or (f"structure {i}" for i in range(len(structures))))
    for name, atoms in zip(names, structures, strict=True):
        _require_labels(name, atoms)
    closest = [closest_pairs(atoms) for atoms in structures]
    alone = [
        i
        for i, (atoms, pairs) in enumerate(zip(structures, closest, strict=True))
        if not pairs and not has_neighbours(atoms, cutoff)
    ]
    known, one_body_findings = one_body_of(structures, alone, one_body)
    left_out = left_out_of(structures, force_bound)
    weights, weight_findings = weights_in_files(structures)
    passed_over = {*alone, *wrecks(structures, left_out)}
    numbers = [i for i in range(len(structures)) if i not in passed_over]
    bound = [structures[i] for i in numbers]
    consistent = check_consistency(bound) if consistency and bound else None
    duplicates = find_duplicates(bound) if consistency and bound else None
    every = [
        *findings,
        *one_body_findings,
        *stress_sizes(structures),
        *energy_sizes(structures, alone),
        *short_distances(closest),
        *net_forces(structures, {*alone, *left_out.held}),
        *labels_left_out(left_out, force_bound),
        *missing_labels(structures, alone),
        *strange_lone_atoms(structures, alone),
        *nearly_alone(structures, alone, cutoff, {*known, *(one_body or {})}),
        *weight_findings,
        *(f.at(numbers) for f in (consistent.findings if consistent else ())),
        *(f.at(numbers) for f in (duplicates.findings if duplicates else ())),
    ]
    wrong = any(f.kind.startswith("stress_") and f.severity == "wrong" for f in every)
    stresses = consistent and consistent.stresses
    if wrong or (stresses and abs(stresses.slope - 1) < _RIGHT):
        every = [f for f in every if f.kind != "stress_size"]  # which only wondered
    return DataReport(
        names=names,
        atoms=Counter(symbol for atoms in structures for symbol in atoms.symbols),
        sizes=(min(map(len, structures)), max(map(len, structures))),
        labels={
            label: sum(label in atoms.calc.results for atoms in structures)
            for label in ("energy", "forces", "stress")
        },
        lone_atoms=known,
        left_out=left_out,
        force_bound=force_bound,
        closest=_closest(closest),
        largest_force=_largest(structures, "forces"),
        largest_stress=_largest(structures, "stress"),
        weights=weights,
        types=Counter(str(a.info[TYPE_KEY]) for a in structures if TYPE_KEY in a.info),
        consistency=consistent,
        duplicates=duplicates,
        findings=tuple(sorted(every, key=lambda f: _ORDER.index(f.severity))),
    )


def _require_labels(name: str, atoms: Atoms) -> None:
    try:
        labels_of(atoms)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _closest(
    found: Sequence[Mapping[Pair, tuple[float, int, int]]],
) -> dict[Pair, tuple[float, int]]:
    shortest: dict[Pair, tuple[float, int]] = {}
    for i, pairs in enumerate(found):
        for pair, (distance, _, _) in pairs.items():
            if pair not in shortest or distance < shortest[pair][0]:
                shortest[pair] = (distance, i)
    return dict(sorted(shortest.items()))


def _largest(structures: Sequence[Atoms], label: str) -> tuple[float, int] | None:
    sizes = [
        (float(np.abs(value).max(initial=0.0)), i)
        for i, atoms in enumerate(structures)
        if (value := atoms.calc.results.get(label)) is not None
    ]
    return max(sizes, default=None)
