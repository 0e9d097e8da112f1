"""Structures whose energies or stresses are off the line of all others, and in which way."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from ase import units
from numpy.typing import NDArray

from ase_hal.data.findings import Finding, Severity
from ase_hal.data.force_surface import Ints, Mask
from ase_hal.data.label_lines import Labelled
from ase_hal.data.label_mistakes import Label, Mistake, mistakes, order_mistakes
from ase_hal.data.majority_line import FAR, Line
from ase_hal.prediction import Array

# After a mistake was undone, a stress is on the line within FAR standard deviations or this part
# of its size, and deviations are smaller than before by this factor.
_NEAR = 0.1
_NEARER = {"energies": 0.05, "stresses": 0.15}
_MANY = 3  # structures that share a mistake of energies
# Deviations that are alike, relative to their middle.
_ALIKE = 0.05
# Unexplained deviations that are probably wrong: standard deviations, eV/atom, part of the spread
# of all stresses; and energies of structures of a kind that the fit to forces does not know.
_STRANGE, _LARGE_ENERGY, _LARGE_STRESS = 15.0, 0.1, 0.5
_CERTAIN, _HUGE_ENERGY, _STRANGER = 50.0, 1.0, 5.0
_ONE = {"energies": "energy", "forces": "force", "stresses": "stress"}


class Outliers(NamedTuple):
    """Labels that are off the line, in right units.

    Attributes
    ----------
    data : Labelled
    rows : (m,) array of int
        Which of them.
    expected, spread : (m, d) array
        What they should be, and how well that is known.
    deviation : (m, d) array
        Of the labels, if they were wrong in the way of all others.
    familiar : (m,) array of bool
        Structures of a kind that the fit to forces knows, as it predicts theirs.
    """

    data: Labelled
    rows: Ints
    expected: Array
    spread: Array
    deviation: Array
    familiar: Mask

    @classmethod
    def of(cls, data: Labelled, line: Line, common: Mistake, familiar: Collection[int]) -> Outliers:
        """Those of a line through labels from which the family of a common mistake was undone."""
        rows = np.flatnonzero(~line.described)
        expected = common.factor * line.judgement.expected[rows]
        spread = abs(common.factor) * line.judgement.spread[rows]
        known = np.array([int(i) in familiar for i in data.frames[rows]], dtype=bool)
        return cls(data, rows, expected, spread, data.undone(common)[rows] - expected, known)

    def without(self, gone: Ints) -> Outliers:
        """All but some, by position."""
        kept = np.setdiff1d(np.arange(len(self.rows)), gone)
        return Outliers(self.data, *(part[kept] for part in self[1:]))  # type: ignore[arg-type]

    def on_line(self, candidates: Sequence[Mistake]) -> Array:
        """Whether each (m, candidates) is on the line once a mistake is undone, and best so."""
        left = np.column_stack(
            [_rms(self.data.undone(m)[self.rows] - self.expected) for m in candidates]
        )
        before, spread = _rms(self.deviation)[:, None], FAR * _rms(self.spread)[:, None]
        enough = np.maximum(spread, _NEAR * _rms(self.expected)[:, None])
        if self.data.label == "energies":  # whose zero means nothing
            enough = spread
        best = left.min(axis=1, keepdims=True)
        near = _NEARER[self.data.label] * before
        return (left < enough) & (left < near) & (left <= np.maximum(2 * best, spread))

    def are_proven(self, positions: Ints) -> bool:
        """Whether known mistakes of some are more than a coincidence: one number may be one."""
        if not len(positions) or self.data.label == "stresses":
            return len(positions) > 0
        size = _rms(self.deviation[positions])
        clear = self.familiar[positions] | (size > _STRANGER)
        clear &= size > _STRANGE * _rms(self.spread[positions])
        many = len(positions) >= _MANY and 2 * len(positions) > len(self.rows)
        return bool(many or 2 * clear.sum() > len(positions))

    def frames(self, positions: Ints | slice = slice(None)) -> tuple[int, ...]:
        """Indices of the structures."""
        return tuple(int(i) for i in self.data.frames[self.rows[positions]])


def _rms(values: Array) -> Array:
    return np.sqrt(np.mean(values**2, axis=1))


def outlier_findings(outliers: Outliers, common: Mistake) -> list[Finding]:
    """Known mistakes among the outliers, and what remains unexplained.

    Parameters
    ----------
    outliers : Outliers
    common : Mistake
        What is wrong with the labels of most structures, or nothing.
    """
    found: list[Finding] = []
    label = outliers.data.label
    zero = np.flatnonzero(~outliers.data.labels[outliers.rows].any(axis=1))
    if len(zero):
        found.append(_zero(outliers, zero))
        outliers = outliers.without(zero)
    candidates = [m for m in _candidates(label) if m != common]
    while len(outliers.rows):
        matches = outliers.on_line(candidates)
        best = int(np.argmax(matches.sum(axis=0)))
        positions = np.flatnonzero(matches[:, best])
        if not outliers.are_proven(positions):
            break
        found.append(_named(outliers, candidates[best], positions))
        outliers = outliers.without(positions)
    if label == "energies" and (alike := _shifted(outliers)) is not None:
        found.append(_other_reference(outliers, alike))
        outliers = outliers.without(alike)
    return found + list(_unexplained(outliers))


def _candidates(label: Label) -> tuple[Mistake, ...]:
    orders = order_mistakes() if label == "stresses" else ()
    return (Mistake(label), *mistakes(label), *orders)


def _zero(outliers: Outliers, positions: Ints) -> Finding:
    label = outliers.data.label
    message = (
        f"{label} are exactly zero, {_size(outliers.deviation[positions], label)} away from what "
        "forces and the other labels say: they were not calculated. Leave them out of the file"
    )
    return Finding("wrong", f"{_ONE[label]}_zero", message, outliers.frames(positions))


def _named(outliers: Outliers, mistake: Mistake, positions: Ints) -> Finding:
    label = outliers.data.label
    frames = outliers.frames(positions)
    off = _size(outliers.deviation[positions], label)
    if not mistake.kind:
        message = f"{label} are as they should be, unlike most ({off} apart)"
        return Finding("note", f"{_ONE[label]}_right", message, frames)
    undone = outliers.data.undone(mistake)[outliers.rows] - outliers.expected
    message = (
        f"{label} are {mistake.words}: they are {off} away from what forces and the other labels "
        f"say, and {_size(undone[positions], label)} once that is undone. In these structures, "
        f"{mistake.correction}"
    )
    sure = label == "stresses" or len(frames) > 1
    return Finding("wrong" if sure else "likely", mistake.kind, message, frames)


def _shifted(outliers: Outliers) -> Ints | None:
    """Positions of energies that are all off by the same per atom; None unless there are some."""
    shifts = outliers.deviation[:, 0]
    if not len(shifts):
        return None
    close = np.abs(shifts - shifts[:, None]) < _ALIKE * np.abs(shifts)
    best = close[:, int(np.argmax(close.sum(axis=0)))]
    large = np.where(outliers.familiar, _LARGE_ENERGY, _STRANGER) < np.abs(shifts)
    return np.flatnonzero(best & large) if (best & large).sum() > 2 else None


def _other_reference(outliers: Outliers, positions: Ints) -> Finding:
    shift = float(np.median(outliers.deviation[positions, 0]))
    message = (
        f"energies are all off by about {shift:+.4g} eV/atom from what forces and the other "
        "energies say: energies of another program, functional or pseudopotential, or with other "
        "atomic energies subtracted. Do not mix them"
    )
    return Finding("wrong", "energy_reference", message, outliers.frames(positions))


def _unexplained(outliers: Outliers) -> Iterator[Finding]:
    """Outliers one by one in a few sentences, by how strange they are."""
    label = outliers.data.label
    size, spread = _rms(outliers.deviation), _rms(outliers.spread)
    if label == "energies":
        large = np.where(outliers.familiar, _LARGE_ENERGY, _STRANGER)
        strange = (size > _STRANGE * spread) & (size > large)
        certain = strange & (size > _CERTAIN * spread) & (size > _HUGE_ENERGY)
    else:
        typical = _typical_stress(outliers.data)
        strange = (size > _STRANGE * spread) & (size > _LARGE_STRESS * typical)
        strange &= outliers.familiar
        certain = np.zeros(len(size), dtype=bool)
    groups: tuple[tuple[Severity, NDArray[np.bool_]], ...] = (
        ("wrong", certain),
        ("likely", strange & ~certain),
    )
    for severity, group in groups:
        positions = np.flatnonzero(group)
        if not len(positions):
            continue
        worst = positions[int(np.argmax(size[positions]))]
        message = (
            f"{label} are {_size(outliers.deviation[positions], label)} away from what forces and "
            f"the other labels say (known to {_size(outliers.spread[[worst]], label)}): calculate "
            "them again, or remove these structures"
        )
        yield Finding(severity, f"{_ONE[label]}_off", message, outliers.frames(positions))


def _typical_stress(data: Labelled) -> float:
    """Root mean square of what is not the same in all stresses, of the middle one, eV/Å^3."""
    return float(np.median(_rms(data.labels - np.median(data.labels, axis=0))))


def _size(deviations: Array, label: str) -> str:
    """The largest of deviations (m, d) in words."""
    size = float(_rms(deviations).max())
    if label == "stresses":
        return f"{size:.3g} eV/Å^3 ({size / units.GPa:.3g} GPa)"
    return f"{1e3 * size:.2g} meV/atom" if size < 0.1 else f"{size:,.4g} eV/atom"
