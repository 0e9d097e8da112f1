"""Which labels must be wrong for slopes against what the forces say to be as they are.

Only ratios are known. Energies that change -1 times as much as the forces say are of the other
sign, or the forces are. Where stresses agree with the forces it is the energies, where energies and
stresses agree it is the forces.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from ase import units

from ase_hal.data.label_mistakes import Mistake, mistakes
from ase_hal.prediction import Array

Family = tuple[int, int]

# Units of energies and forces that programs use together.
_SYSTEMS = (
    ("Hartree", "Hartree/Bohr"),
    ("Rydberg", "Rydberg/Bohr"),
    ("kcal/mol", "kcal/mol/Å"),
    ("kJ/mol", "kJ/mol/Å"),
    ("kJ/mol", "kJ/mol/nm"),
    ("meV", "meV/Å"),
    ("Hartree", "Hartree/Å"),
    ("Rydberg", "Rydberg/Å"),
)
_MATCH = 3.0  # standard errors within which a slope is that of an explanation
_SYSTEMATIC = 0.05  # relative error of slopes beside the statistical one
_ALIKE = 4.0  # difference of squared standard errors of explanations that are equally good
_MOST = 3


class MeasuredSlope(NamedTuple):
    """A slope of labels against what the forces say, and its relative error."""

    value: float
    error: float

    def distance(self, expected: float, floor: float) -> float:
        """From an expected slope, in standard errors; infinite for another sign."""
        ratio = self.value / expected
        if not ratio > 0:
            return np.inf
        return float(abs(np.log(ratio)) / np.hypot(self.error, floor))


# Slopes of one kind of labels by the family of mistakes that is assumed.
Slopes = Mapping[Family, MeasuredSlope]
RIGHT: Family = (0, 0)


@dataclass(frozen=True)
class Explanation:
    """What is wrong, and the slopes that follow from it.

    Attributes
    ----------
    wrong : tuple of Mistake
        At most one for each kind of labels.
    words, remedy : str
    energies, stresses : float
        Slopes of labels from which the family of mistakes was undone.
    energy_family, stress_family : (int, int)
    """

    wrong: tuple[Mistake, ...]
    words: str
    remedy: str
    energies: float = 1.0
    stresses: float = 1.0
    energy_family: Family = RIGHT
    stress_family: Family = RIGHT

    @property
    def kind(self) -> str:
        """For programs."""
        return self.wrong[0].kind if self.wrong else "length_unit"

    def distances(self, energies: Slopes, stresses: Slopes) -> Array:
        """Distances of known slopes from what they should be, in standard errors."""
        found = []
        for slopes, family, expected in (
            (energies, self.energy_family, self.energies),
            (stresses, self.stress_family, self.stresses),
        ):
            if slopes:
                known = slopes.get(family)
                found.append(known.distance(expected, _SYSTEMATIC) if known else np.inf)
        return np.array(found)


def explain(energies: Slopes, stresses: Slopes) -> list[Explanation]:
    """The simplest explanations of slopes, common ones first; empty where there is none.

    Parameters
    ----------
    energies, stresses : mapping of (int, int) to MeasuredSlope
        Slopes by family of mistakes; empty where they are not known.
    """
    for level in _levels(bool(energies), bool(stresses)):
        distances = {e: e.distances(energies, stresses) for e in level}
        ranks = {e: float(d @ d) for e, d in distances.items() if (d < _MATCH).all()}
        if ranks:
            best = min(ranks.values())
            return [e for e, rank in ranks.items() if rank < best + _ALIKE][:_MOST]
    return []


@cache
def _levels(energies: bool, stresses: bool) -> tuple[tuple[Explanation, ...], ...]:
    """Explanations, those of fewer mistakes first."""
    of_energies = tuple(_single(m) for m in mistakes("energies")) if energies else ()
    of_forces = tuple(_single(m) for m in mistakes("forces"))
    of_stresses = tuple(_single(m) for m in mistakes("stresses")) if stresses else ()
    systems = tuple(_systems()) if energies else ()
    both = tuple(_both(e, s) for e in of_energies for s in of_stresses)
    more = tuple(_both(f, s) for f in of_forces for s in of_stresses)
    most = tuple(_both(e, s) for e in systems for s in of_stresses)
    # gradients are more common than energies of the other sign
    one = (of_forces[:1] + of_energies if energies else ()) + of_stresses
    one += of_forces[1:] if energies else of_forces
    return one, systems, both, more, most


def _single(mistake: Mistake) -> Explanation:
    words = f"the {mistake.label} are {mistake.words}"
    slope = 1 / mistake.factor
    if mistake.label == "energies":
        return Explanation(
            (mistake,), words, mistake.remedy, energies=slope, energy_family=mistake.family
        )
    if mistake.label == "stresses":
        return Explanation(
            (mistake,), words, mistake.remedy, stresses=slope, stress_family=mistake.family
        )
    # what the forces say is wrong by the same factor
    return Explanation((mistake,), words, mistake.remedy, mistake.factor, mistake.factor)


def _systems() -> Iterator[Explanation]:
    by_words = {m.words: m for label in ("energies", "forces") for m in mistakes(label)}
    for energy, force in _SYSTEMS:
        e, f = by_words[f"in {energy}"], by_words[f"in {force}"]
        yield Explanation(
            (e, f),
            f"energies are in {energy} and forces in {force}",
            f"multiply energies by {e.factor:.8g} and forces by {f.factor:.8g}",
            energies=f.factor / e.factor,
            stresses=f.factor,
        )
    bohr = units.Bohr
    yield Explanation(
        (),
        "positions and cells are in Bohr",
        f"multiply them by {bohr:.8g}",
        energies=bohr,
        stresses=1 / bohr**2,
    )


def _both(first: Explanation, second: Explanation) -> Explanation:
    return Explanation(
        first.wrong + second.wrong,
        f"{first.words}, and {second.words}",
        f"{first.remedy}; {second.remedy}",
        energies=first.energies * second.energies,
        stresses=first.stresses * second.stresses,
        energy_family=first.energy_family,
        stress_family=second.stress_family,
    )
