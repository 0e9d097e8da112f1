"""DataReport: what is in a labelled dataset, and what is wrong with it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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
    Single,
    has_neighbours,
    is_charged,
    lone_atoms,
    separation,
)
from ase_hal.data.one_body import Total, Totals, one_body_energies
from ase_hal.data.reading import LabelledFile
from ase_hal.data.sizes import energy_sizes, net_forces, short_distances, stress_sizes
from ase_hal.labels import VANISHING_FORCE, labels_of
from ase_hal.weights import TYPE_KEY, counts_for_energy, file_weights

# Distance over the cutoff at which the functions of a model have nearly vanished.
_NEARLY = 0.9
# Largest force over the median of those of all structures.
_WRECK = 5.0
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
    known, one_body_findings = _one_body(structures, alone, one_body)
    left_out = left_out_of(structures, force_bound)
    weights, weight_findings = _weights(structures)
    passed_over = {*alone, *_wrecks(structures, left_out)}
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
        *_left_out(left_out, force_bound),
        *_missing(structures, alone),
        *_strange_lone_atoms(structures, alone),
        *_nearly_alone(structures, alone, cutoff, {*known, *(one_body or {})}),
        *weight_findings,
        *(f.at(numbers) for f in (consistent.findings if consistent else ())),
        *(f.at(numbers) for f in (duplicates.findings if duplicates else ())),
    ]
    if any(f.kind.startswith("stress_") and f.severity == "wrong" for f in every):
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


def _one_body(
    structures: Sequence[Atoms], alone: Sequence[int], given: Mapping[str, float] | None
) -> tuple[dict[str, LoneAtom], list[Finding]]:
    """Energies of lone atoms, and how they and the data agree with given ones."""
    single = [
        Single(
            i,
            str(structures[i].symbols[0]),
            float(structures[i].calc.results["energy"]),
            separation(structures[i]),
        )
        for i in alone
        if len(structures[i]) == 1
        and counts_for_energy(structures[i])
        and not is_charged(structures[i])
    ]
    try:
        known = lone_atoms(single)
    except ValueError as error:
        return {}, [Finding("wrong", "lone_atoms", str(error), tuple(s.structure for s in single))]
    elements = sorted({symbol for atoms in structures for symbol in atoms.symbols})
    totals = _totals(structures, alone, elements)
    asked = given if given is not None and set(elements) <= set(given) else None
    try:
        one_body_energies(elements, totals, asked)
    except ValueError as error:
        return known, [Finding("wrong", "one_body", str(error))]
    if asked is None:
        return known, []
    unchecked = [symbol for symbol in elements if symbol not in known]
    if not unchecked:
        return known, []
    message = (
        f"one_body of {', '.join(unchecked)} is unchecked: no structure is a lone atom of "
        f"{'it' if len(unchecked) == 1 else 'them'}"
    )
    return known, [Finding("note", "one_body", message)]


def _totals(structures: Sequence[Atoms], alone: Sequence[int], elements: Sequence[str]) -> Totals:
    items = []
    for i, atoms in enumerate(structures):
        counts = np.array([np.count_nonzero(atoms.symbols == e) for e in elements], dtype=float)
        energy, weight = float(atoms.calc.results["energy"]), float(counts_for_energy(atoms))
        items.append(Total(counts, energy, energy, weight, i in set(alone), separation(atoms)))
    return Totals.of(items)


def _wrecks(structures: Sequence[Atoms], left_out: LeftOutTotal) -> list[int]:
    """Structures beyond the force bound, far from most others: they say nothing about labels."""
    largest = {
        i: float(np.abs(forces).max(initial=0.0))
        for i, atoms in enumerate(structures)
        if (forces := atoms.calc.results.get("forces")) is not None
    }
    usual = float(np.median(list(largest.values()))) if largest else 0.0
    return [i for i in left_out.damped if largest[i] > _WRECK * usual]


def _weights(
    structures: Sequence[Atoms],
) -> tuple[dict[str, tuple[int, float, float]], list[Finding]]:
    found: dict[str, list[float]] = {}
    wrong: dict[int, str] = {}
    for i, atoms in enumerate(structures):
        try:
            weights = file_weights(atoms)
        except ValueError as error:
            wrong[i] = str(error)
            continue
        for key, value in weights.items():
            found.setdefault(key, []).append(value)
    findings = [
        Finding("wrong", "weights", message, tuple(i for i, m in wrong.items() if m == message))
        for message in dict.fromkeys(wrong.values())
    ]
    return {key: (len(v), min(v), max(v)) for key, v in found.items()}, findings


def _left_out(left_out: LeftOutTotal, bound: float) -> list[Finding]:
    findings = []
    if words := left_out.large_in_words(bound):
        findings.append(Finding("note", "large_forces", words, left_out.damped))
    if words := left_out.held_in_words():
        findings.append(Finding("note", "zeroed_forces", words, left_out.held))
    return findings


def _strange_lone_atoms(structures: Sequence[Atoms], alone: Sequence[int]) -> list[Finding]:
    """Structures without neighbours that are charged, or feel forces."""
    findings = []
    if charged := tuple(i for i in alone if is_charged(structures[i])):
        message = "charged, without neighbours: energies of ions are no one-body energies, not used"
        findings.append(Finding("likely", "lone_ions", message, charged))
    pulled = tuple(
        i
        for i in alone
        if len(structures[i]) == 1
        and np.abs(structures[i].calc.results.get("forces", 0.0)).max() > VANISHING_FORCE
    )
    if pulled:
        message = "forces on an atom that has no neighbours: are they those of this structure?"
        findings.append(Finding("likely", "lone_forces", message, pulled))
    return findings


def _nearly_alone(
    structures: Sequence[Atoms], alone: Sequence[int], cutoff: float, known: Collection[str]
) -> list[Finding]:
    """Structures that a model hardly sees, of elements whose isolated atoms are not known."""
    nearly = tuple(
        i
        for i, atoms in enumerate(structures)
        if i not in set(alone)
        and not set(atoms.symbols) <= set(known)
        and not has_neighbours(atoms, _NEARLY * cutoff)
    )
    if not nearly:
        return []
    message = (
        f"neighbours are no nearer than {_NEARLY:g} times the cutoff of {cutoff:g} Å: a model "
        "hardly sees them, and takes their energy for noise unless a lone atom or one_body tells "
        "that of isolated atoms"
    )
    return [Finding("likely", "nearly_alone", message, nearly)]


def _missing(structures: Sequence[Atoms], alone: Sequence[int]) -> list[Finding]:
    """Structures without labels that others have, and stresses that mean nothing."""
    findings = []
    for label in ("forces", "stress"):
        without = tuple(
            i
            for i, atoms in enumerate(structures)
            if label not in atoms.calc.results
            and i not in set(alone)
            and (label == "forces" or atoms.pbc.all())
        )
        if without and any(label in atoms.calc.results for atoms in structures):
            message = f"no {label} ({len(without)} of {len(structures)} structures)"
            findings.append(Finding("note", f"without_{label}", message, without))
    meaningless = tuple(
        i
        for i, atoms in enumerate(structures)
        if "stress" in atoms.calc.results and not atoms.pbc.all()
    )
    if meaningless:
        message = "stresses of structures that are not periodic in three directions are not used"
        findings.append(Finding("note", "stress_without_volume", message, meaningless))
    return findings


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
