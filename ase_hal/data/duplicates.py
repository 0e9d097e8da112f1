"""Structures that are in a dataset more than once, and how far their labels differ.

The same structure may be there as a copy, as a supercell, translated, rotated or with its atoms in
another order. It is recognised by the mean of its atoms' descriptors. What two calculations of
one structure give differently is noise of the labels, or a contradiction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_hal.ace.basis import ACEBasis
from ase_hal.committee import REFUSALS
from ase_hal.data.findings import Finding
from ase_hal.data.force_surface import choose_basis, spread_out, usual_cutoff
from ase_hal.labels import labels_of
from ase_hal.prediction import Array

_LEAST_CUTOFF = 6.0  # Å; farther than the potentials see that are fitted here
_MOST_FUNCTIONS = 200
# Atoms looked at, and those that a structure counts beside its own.
_EFFORT, _OVERHEAD = 100_000, 30
# Descriptors of one structure agree to this part: coordinates in files have eight decimals.
_SAME = 1e-7
# Descriptors that are smaller than this part of the usual ones say too little: atoms far apart.
_LEAST = 1e-3
_WINDOW = 30  # structures with nearly the same projection that are compared
# Labels are equal within the first; the second is too much for noise: eV/atom, eV/Å.
_EQUAL_ENERGY, _CONTRADICTION = 1e-4, 0.020
_EQUAL_FORCE, _FORCE_CONTRADICTION, _FORCE_PART = 1e-3, 0.1, 0.2


@dataclass(frozen=True)
class Duplicates:
    """Structures that are there more than once.

    Attributes
    ----------
    groups : tuple of tuple of int
        Indices of structures that are the same.
    energy_noise : float or None
        Standard deviation of their energies, eV/atom; None without groups.
    largest : float
        The largest difference of energies in a group, eV/atom.
    pair : tuple of int
        The two structures with it.
    looked_at, structures : int
        Structures that were looked at, of how many.
    unjudged : str
        Why nothing could be said; usually empty.
    findings : tuple of Finding
        Their frames are indices into the structures.
    """

    groups: tuple[tuple[int, ...], ...] = ()
    energy_noise: float | None = None
    largest: float = 0.0
    pair: tuple[int, ...] = ()
    looked_at: int = 0
    structures: int = 0
    unjudged: str = ""
    findings: tuple[Finding, ...] = ()


def find_duplicates(structures: Sequence[Atoms], *, cutoff: float | None = None) -> Duplicates:
    """Find structures that are there more than once, and compare their labels.

    Of large sets a part is looked at, spread over all of it.

    Parameters
    ----------
    structures : sequence of Atoms
        With labels, as `read_dataset` and `label` give them.
    cutoff : float, optional
        Distance (Å) within which the surroundings of atoms are compared; by default at least 6.

    Raises
    ------
    ValueError
        For structures without labels.
    """
    labels = [labels_of(atoms) for atoms in structures]
    result = Duplicates(structures=len(structures))
    if len(structures) < 2:
        return result
    try:
        looked_at, descriptors = _descriptors(structures, cutoff)
    except REFUSALS as error:
        return replace(result, unjudged=str(error) or type(error).__name__)
    groups = tuple(tuple(sorted(looked_at[k] for k in group)) for group in same_rows(descriptors))
    result = replace(result, groups=groups, looked_at=len(looked_at))
    return _compared(result, structures, labels) if groups else result


def _descriptors(structures: Sequence[Atoms], cutoff: float | None) -> tuple[list[int], Array]:
    """Structures that have neighbours, and their mean descriptors and compositions."""
    order = [int(i) for i in spread_out(len(structures))]
    efforts = np.cumsum([len(structures[i]) + _OVERHEAD for i in order])
    order = order[: max(int(np.sum(efforts <= _EFFORT)), 2)]
    elements = sorted({symbol for i in order for symbol in structures[i].symbols})
    cutoff = cutoff or max(usual_cutoff([structures[i] for i in order]), _LEAST_CUTOFF)
    basis = choose_basis(elements, cutoff, np.inf, 1.0, _MOST_FUNCTIONS)
    if basis is None:
        raise ValueError(f"{len(elements)} elements are too many")
    return _means(structures, sorted(order), basis)


def _means(
    structures: Sequence[Atoms], which: Sequence[int], basis: ACEBasis
) -> tuple[list[int], Array]:
    evaluator = basis.evaluator()
    known, rows, fractions = [], [], []
    for i in which:
        atoms = structures[i]
        try:
            means = evaluator.descriptors(atoms) / len(atoms)
        except REFUSALS:  # a collapsed cell
            continue
        known.append(i)
        rows.append(means)
        fractions.append([np.mean(atoms.symbols == element) for element in basis.elements])
    table = np.array(rows).reshape(len(known), basis.size)
    scales = np.sqrt(np.mean(table**2, axis=0)) if len(table) else np.ones(basis.size)
    table = table / np.where(scales > 0, scales, 1.0)
    enough = np.linalg.norm(table, axis=1) > _LEAST * np.sqrt(basis.size)
    chosen = np.flatnonzero(enough)
    return [known[k] for k in chosen], np.hstack([table, np.array(fractions)])[chosen]


def same_rows(table: Array, tolerance: float = _SAME) -> list[tuple[int, ...]]:
    """Groups of rows of a table (n, m) that are the same, relative to their norm.

    Rows are compared with those near them in one direction, in order: n log n operations.
    """
    if len(table) < 2:
        return []
    norms = np.linalg.norm(table, axis=1)
    direction = np.random.default_rng(0).normal(size=table.shape[1])
    along = table @ (direction / np.linalg.norm(direction))
    order = np.argsort(along, kind="stable")
    leader: NDArray[np.intp] = np.arange(len(table))
    for position, i in enumerate(order):
        for j in order[max(position - _WINDOW, 0) : position][::-1]:
            allowed = tolerance * norms[i]
            if along[i] - along[j] > allowed:
                break
            if np.linalg.norm(table[i] - table[j]) <= allowed:
                leader[i] = leader[j]
                break
    groups: dict[int, list[int]] = {}
    for i, first in enumerate(leader):
        groups.setdefault(int(first), []).append(i)
    return [tuple(group) for group in groups.values() if len(group) > 1]


# --- labels ------------------------------------------------------------------------------


def _compared(
    result: Duplicates, structures: Sequence[Atoms], labels: Sequence[Mapping[str, Array]]
) -> Duplicates:
    energies = {
        i: float(labels[i]["energy"]) / len(structures[i]) for group in result.groups for i in group
    }
    forces = {
        i: np.sort(np.linalg.norm(labels[i]["forces"], axis=1))
        for i in energies
        if "forces" in labels[i]
    }
    squares, freedom, worst = 0.0, 0, (0.0, result.groups[0][:2])
    for group in result.groups:
        values = np.array([energies[i] for i in group])
        squares += float(np.sum((values - values.mean()) ** 2))
        freedom += len(group) - 1
        pair = (group[int(np.argmin(values))], group[int(np.argmax(values))])
        worst = max(worst, (float(np.ptp(values)), pair))
    apart = [g for g in result.groups if np.ptp([energies[i] for i in g]) > _EQUAL_ENERGY]
    unlike = list(_unlike_forces(result.groups, forces))
    noise = float(np.sqrt(squares / freedom))
    result = replace(result, energy_noise=noise, largest=worst[0], pair=worst[1])
    copies = [g for g in result.groups if g not in apart and g not in [u for _, _, u in unlike]]
    findings = [
        *([_copies(copies)] if copies else []),
        *([_noise(result, apart)] if apart else []),
        *([_forces(unlike)] if unlike else []),
    ]
    return replace(result, findings=tuple(findings))


def _unlike_forces(
    groups: Sequence[tuple[int, ...]], forces: Mapping[int, Array]
) -> Iterator[tuple[float, float, tuple[int, ...]]]:
    """Difference and size of forces (eV/Å) in groups where they differ."""
    for group in groups:
        known = [forces[i] for i in group if i in forces]
        same_size = [f for f in known if len(f) == len(known[0])]
        if len(same_size) < 2:
            continue
        difference = float(np.sqrt(np.mean(np.ptp(same_size, axis=0) ** 2)))
        size = float(np.sqrt(np.mean(np.square(same_size))))
        if difference > _EQUAL_FORCE:
            yield difference, size, group


def _frames(groups: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    return tuple(sorted(i for group in groups for i in group))


def _copies(groups: Sequence[tuple[int, ...]]) -> Finding:
    more = sum(len(group) - 1 for group in groups)
    message = (
        f"the same {'structure' if len(groups) == 1 else 'structures'} more than once, with equal "
        f"labels ({more} of {more + len(groups)} add nothing, but count): remove the copies, also "
        "from test sets"
    )
    return Finding("note", "duplicates", message, _frames(groups))


def _noise(result: Duplicates, groups: Sequence[tuple[int, ...]]) -> Finding:
    likely = result.largest > _CONTRADICTION
    message = (
        f"the same structure with energies that differ by {1e3 * result.largest:.3g} meV/atom"
        + (f", the largest of {len(groups)} such differences" if len(groups) > 1 else "")
        + f" ({1e3 * (result.energy_noise or 0.0):.2g} meV/atom in the mean of all that are there "
        "more than once): "
    )
    if likely:
        message += (
            "labels contradict each other. Are they of one functional, one program and one set of "
            "parameters?"
        )
    else:
        message += "that is the noise of the labels, and no fit can be better"
    return Finding("likely" if likely else "note", "label_noise", message, result.pair)


def _forces(unlike: Sequence[tuple[float, float, tuple[int, ...]]]) -> Finding:
    difference, size, frames = max(unlike)
    likely = difference > _FORCE_CONTRADICTION and difference > _FORCE_PART * size
    message = (
        f"the same structure with forces that differ by {difference:.2g} eV/Å (they are "
        f"{size:.2g} eV/Å)"
        + (f", the largest of {len(unlike)} such differences" if len(unlike) > 1 else "")
        + (": labels contradict each other" if likely else "")
    )
    return Finding("likely" if likely else "note", "force_noise", message, frames)
