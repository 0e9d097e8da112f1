"""Energies and stresses against what the forces say, each a line through most of the structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from ase_hal.data.explanations import RIGHT, Family, MeasuredSlope
from ase_hal.data.force_surface import ForceRows, ForceSurface
from ase_hal.data.label_mistakes import Label, Mistake, mistakes, order_mistakes
from ase_hal.data.majority_line import Comparison, Line, majority_line
from ase_hal.prediction import Array

_ISOTROPIC = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0])
# Components agree in this order, and not in the usual one: means of cosines over structures.
_AGREE, _DISAGREE = 0.9, 0.6
_WORSE = 0.5  # part of the significance of the best family of mistakes that others need


class Labelled(NamedTuple):
    """Labels of n structures of one kind, and what the forces say about them.

    Attributes
    ----------
    label : {"energies", "stresses"}
    frames : (n,) array of int
        Indices of the structures.
    labels : (n, d) array
        Energies per atom (eV), stresses (eV/Å^3).
    n_atoms, volumes : (n,) array
        The volume is 1 where there is none.
    predicted, free, uncertain
        As of `Comparison`.
    """

    label: Label
    frames: Array
    labels: Array
    n_atoms: Array
    volumes: Array
    predicted: Array
    free: Array
    uncertain: Array

    def undone(self, mistake: Mistake) -> Array:
        """Labels from which a mistake was undone."""
        return mistake.undo(self.labels, self.n_atoms, self.volumes)


class Sizes(NamedTuple):
    """Energy and stress of a structure as they are in the file, and what they refer to.

    Attributes
    ----------
    energy : float
        eV.
    stress : (6,) array or None
        eV/Å^3.
    counts : (n_elements,) array
        Atoms of each element.
    volume : float or None
        Å^3; None unless it is periodic in three directions.
    density : float
        Atoms by volume around its atoms, 1/Å^3.
    """

    energy: float
    stress: Array | None
    counts: Array
    volume: float | None
    density: float


def labelled_energies(
    sizes: Mapping[int, Sizes], parts: Mapping[int, ForceRows], surface: ForceSurface
) -> Labelled:
    """Energies of structures that have neighbours, with a constant for each element.

    Forces in a crystal hardly feel what is linear in the density, which is a constant, too.
    """
    frames = [i for i, part in parts.items() if part.energy.any()]
    rows = np.array([parts[i].energy for i in frames]).reshape(len(frames), -1)
    counts = np.array([sizes[i].counts for i in frames], dtype=float)
    n_atoms = counts.sum(axis=1)
    free = counts / n_atoms[:, None]
    densities = np.array([sizes[i].density for i in frames])
    volumes = np.array([sizes[i].volume or 1.0 for i in frames])
    cells = np.array([sizes[i].counts.sum() / (sizes[i].volume or np.inf) for i in frames])
    bulk = densities[densities == cells]
    if len(bulk) and np.ptp(bulk) > 1e-4 * bulk.max():
        free = np.column_stack([free, densities / bulk.max()])
    return Labelled(
        "energies",
        np.array(frames),
        np.array([[sizes[i].energy] for i in frames]) / n_atoms[:, None],
        n_atoms,
        volumes,
        (rows @ surface.coefficients)[:, None],
        _independent(free)[:, None, :],
        (rows @ surface.root)[:, None, :],
    )


def labelled_stresses(
    sizes: Mapping[int, Sizes], parts: Mapping[int, ForceRows], surface: ForceSurface
) -> Labelled:
    """Stresses of structures that are periodic in three directions, with a constant pressure."""
    frames = [i for i, part in parts.items() if sizes[i].stress is not None and part.energy.any()]
    rows = [parts[i].stress for i in frames]
    q = len(surface.coefficients)
    stacked = np.array(rows, dtype=float).reshape(len(frames), 6, q)
    return Labelled(
        "stresses",
        np.array(frames),
        np.array([sizes[i].stress for i in frames]).reshape(-1, 6),
        np.array([sizes[i].counts.sum() for i in frames], dtype=float),
        np.array([sizes[i].volume or 1.0 for i in frames]),
        stacked @ surface.coefficients,
        np.tile(_ISOTROPIC[:, None], (len(frames), 1, 1)),
        stacked @ surface.root,
    )


def _independent(columns: Array) -> Array:
    """Orthonormal columns that span the same."""
    if not len(columns):
        return columns
    left, sizes, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(left[:, sizes > 1e-9 * sizes[0]])


@dataclass(frozen=True, eq=False)
class LabelLines:
    """Lines of one kind of labels, one for each family of mistakes that is as good as any.

    Attributes
    ----------
    data : Labelled
        With the components of stresses in the order in which they agree best.
    order : Mistake or None
        Order of components that all stresses have, if not the usual one.
    usual : Line
        Of labels as they are.
    lines : mapping of (int, int) to Line
        Of labels from which families of mistakes were undone, those that are nearly the best.
    doubt : float
        Relative error of slopes from what the fit to forces leaves unexplained.
    """

    data: Labelled
    order: Mistake | None
    usual: Line
    lines: Mapping[Family, Line]
    doubt: float

    @property
    def best(self) -> Line:
        """The line of labels as they are if it is as good as any other."""
        return self.lines.get(RIGHT) or max(self.lines.values(), key=_significance)

    def line_of(self, mistake: Mistake) -> Line:
        """The line of labels from which the family of a mistake was undone."""
        return self.lines.get(mistake.family, self.usual)

    @property
    def slopes(self) -> dict[Family, MeasuredSlope]:
        """Slopes that are known."""
        return {
            family: MeasuredSlope(line.slope, float(np.hypot(line.error / line.slope, self.doubt)))
            for family, line in self.lines.items()
            if line.slope and np.isfinite(line.error)
        }


def label_lines(data: Labelled, explained: float, *, rng: np.random.Generator) -> LabelLines | None:
    """Lines through most labels; None where there are too few.

    Parameters
    ----------
    data : Labelled
    explained : float
        What a fit to forces predicts of the forces of other structures, 0 to 1.
    rng : numpy.random.Generator
    """
    doubt = 1 - max(explained, 0.0)
    order = _common_order(data) if data.label == "stresses" else None
    if order is not None:
        data = data._replace(labels=data.undone(order))
    usual = _line(data, Mistake(data.label), rng)
    if usual is None:
        return None
    lines: dict[Family, Line] = {RIGHT: usual}
    result = LabelLines(data, order, usual, lines, doubt)
    if RIGHT in result.slopes and result.slopes[RIGHT].distance(1.0, 0.1) < 1.0:
        return result
    for family in sorted({m.family for m in mistakes(data.label)} - {RIGHT}):
        mistake = Mistake(data.label, atoms=family[0], volumes=family[1])
        line = _line(data, mistake, rng)
        if line is not None:
            lines[family] = line
    best = max(_significance(line) for line in lines.values())
    kept = {f: line for f, line in lines.items() if _significance(line) >= _WORSE * best}
    return LabelLines(data, order, usual, kept, doubt)


def _line(data: Labelled, mistake: Mistake, rng: np.random.Generator) -> Line | None:
    comparison = Comparison(data.predicted, data.undone(mistake), data.free, data.uncertain)
    return majority_line(comparison, np.arange(len(data.labels)), rng=rng)


def _significance(line: Line) -> float:
    return abs(line.slope) / line.error if np.isfinite(line.slope) else 0.0


def _common_order(data: Labelled) -> Mistake | None:
    """The order of components in which stresses agree with predictions and otherwise do not."""
    if not len(data.labels):
        return None
    usual = abs(_mean_cosine(data.labels, data.predicted))
    if usual > _DISAGREE:
        return None
    cosines = [abs(_mean_cosine(data.undone(m), data.predicted)) for m in order_mistakes()]
    best = int(np.argmax(cosines))
    return order_mistakes()[best] if cosines[best] > _AGREE else None


def _mean_cosine(labels: Array, predicted: Array) -> float:
    """Of the parts that are not isotropic; shear counts twice, as in the matrix."""
    y, x = (v - np.outer(v[:, :3].mean(axis=1), _ISOTROPIC) for v in (labels, predicted))
    twice = 2 - _ISOTROPIC
    norms = np.sqrt((y**2 @ twice) * (x**2 @ twice))
    cosines = ((x * y) @ twice)[norms > 0] / norms[norms > 0]
    return float(cosines.mean()) if len(cosines) else 0.0
