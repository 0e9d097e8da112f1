"""Guards: candidates that no reference calculation should be spent on, and why."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike

from ase_hal.data.findings import frames_in_words
from ase_hal.data.structure_files import what_is_no_structure
from ase_hal.prediction import Prediction
from ase_hal.structures.contacts import closest_contact

_PLURALS = {
    "contact": "contacts",
    "failed evaluation": "failed evaluations",
    "invalid structure": "invalid structures",
    "large force": "large forces",
    "result not finite": "results not finite",
}
_MOST_KINDS = 5  # that are counted one by one in a line


@dataclass(frozen=True)
class Refusal:
    """A candidate that was not considered.

    Attributes
    ----------
    index : int
        Which of the candidates, from 0.
    kind : str
        ``"contact"``, ``"failed evaluation"``, ``"invalid structure"``, ``"large force"``,
        ``"result not finite"``, or the unknown elements, as in ``"unknown element Zr"``.
    reason : str
        What is wrong, with numbers.
    """

    index: int
    kind: str
    reason: str


class Unfit(Exception):
    """A structure is no candidate; `kind` is that of a `Refusal`."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Guards:
    """What a candidate has to be like, beyond what can be evaluated at all.

    Parameters
    ----------
    min_distance : float or None
        Shortest distance, as a fraction of the sum of the two covalent radii.
    max_force : float or None
        Largest mean force on an atom, eV/Å.
    """

    min_distance: float | None
    max_force: float | None

    def __post_init__(self) -> None:
        for name in ("min_distance", "max_force"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                raise ValueError(
                    f"{name} is a positive number, or None or 0 for no such guard, got {value}"
                )

    def check_structure(self, atoms: Atoms, elements: Sequence[str]) -> None:
        """Raise `Unfit` where a structure is none, is unknown to the model or has collapsed."""
        if reason := what_is_no_structure(atoms):
            raise Unfit("invalid structure", reason)
        if unknown := sorted(set(atoms.symbols) - set(elements)):
            kind = f"unknown element{'s' * (len(unknown) > 1)} {', '.join(unknown)}"
            raise Unfit(kind, f"{kind}; the model has {', '.join(elements)}")
        if np.linalg.matrix_rank(atoms.cell.array[atoms.pbc]) < atoms.pbc.sum():
            raise Unfit(
                "invalid structure",
                f"periodic along {atoms.pbc.tolist()}, and its cell has no volume there: "
                f"{atoms.cell.tolist()}",
            )
        contact = closest_contact(atoms, self.min_distance or 0.0)
        if contact is not None:
            distance, i, j = contact
            raise Unfit(
                "contact",
                f"a distance of {distance:.2f} Å between atoms {i} ({atoms.symbols[i]}) and "
                f"{j} ({atoms.symbols[j]})",
            )

    def check_prediction(self, prediction: Prediction) -> None:
        """Raise `Unfit` where results are not finite or a force is too large."""
        results: dict[str, ArrayLike] = {
            "energy": prediction.energy,
            "forces": prediction.forces,
            "sigma": prediction.model_std,
            "energies of the members": prediction.member_energies,
        }
        for name, value in results.items():
            if not np.isfinite(value).all():
                raise Unfit("result not finite", f"{name}: not finite")
        largest = np.linalg.norm(prediction.forces, axis=1).max(initial=0.0)
        if self.max_force and largest > self.max_force:
            raise Unfit("large force", f"a force of {largest:.3g} eV/Å")


def refusals_in_words(refused: Sequence[Refusal], n_candidates: int) -> str:
    """As in ``3 of 500 candidates refused: 2 contacts, 1 unknown element Zr; frames 3, 7 and 9``.

    Parameters
    ----------
    refused : sequence of Refusal
        At least one.
    n_candidates : int
        Number of candidates.
    """
    counts = Counter(refusal.kind for refusal in refused).most_common()
    kinds = [_counted(count, kind) for kind, count in counts[:_MOST_KINDS]]
    if rest := sum(count for _, count in counts[_MOST_KINDS:]):
        kinds.append(f"{rest} for other reasons")
    return (
        f"{len(refused)} of {n_candidates} candidates refused: {', '.join(kinds)}; "
        f"{frames_in_words(refusal.index for refusal in refused)}"
    )


def _counted(count: int, kind: str) -> str:
    if count > 1 and kind in _PLURALS:
        return f"{count} {_PLURALS[kind]}"
    several = count > 1 or kind.startswith("unknown elements")
    return f"{count} with {kind}" if several else f"{count} {kind}"
