"""Checks of the structures of a labelled dataset: lone atoms, missing labels, wrecks, weights."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
from ase import Atoms

from ase_hal.data.findings import Finding
from ase_hal.data.left_out import LeftOutTotal
from ase_hal.data.lone_atoms import (
    LoneAtom,
    Single,
    has_neighbours,
    is_charged,
    lone_atoms,
    separation,
)
from ase_hal.data.one_body import Total, Totals, one_body_energies
from ase_hal.labels import VANISHING_FORCE
from ase_hal.weights import counts_for_energy, file_weights

# Distance over the cutoff at which the functions of a model have nearly vanished.
_NEARLY = 0.9
# Largest force over the median of those of all structures.
_WRECK = 5.0


def one_body_of(
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


def wrecks(structures: Sequence[Atoms], left_out: LeftOutTotal) -> list[int]:
    """Structures beyond the force bound, far from most others: they say nothing about labels."""
    largest = {
        i: float(np.abs(forces).max(initial=0.0))
        for i, atoms in enumerate(structures)
        if (forces := atoms.calc.results.get("forces")) is not None
    }
    usual = float(np.median(list(largest.values()))) if largest else 0.0
    return [i for i in left_out.damped if largest[i] > _WRECK * usual]


def weights_in_files(
    structures: Sequence[Atoms],
) -> tuple[dict[str, tuple[int, float, float]], list[Finding]]:
    """Weights that structures have: how many, the smallest and the largest; and wrong ones."""
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


def labels_left_out(left_out: LeftOutTotal, bound: float) -> list[Finding]:
    """What a fit with a force bound (eV/Å) does not take, and where."""
    findings = []
    if words := left_out.large_in_words(bound):
        findings.append(Finding("note", "large_forces", words, left_out.damped))
    if words := left_out.held_in_words():
        findings.append(Finding("note", "zeroed_forces", words, left_out.held))
    return findings


def strange_lone_atoms(structures: Sequence[Atoms], alone: Sequence[int]) -> list[Finding]:
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


def nearly_alone(
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


def missing_labels(structures: Sequence[Atoms], alone: Sequence[int]) -> list[Finding]:
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
