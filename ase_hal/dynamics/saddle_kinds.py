"""Which saddles of a model are near true ones, once the reference has spoken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atoms

from ase_hal.dynamics.sanity import movable

SaddleKind = Literal["proximal", "artifactual"]

FOUND = ("dimer", "neb")  # outcomes of a search that has a saddle


def saddle_kind(labelled: Atoms, max_force: float = 2.0) -> SaddleKind:
    """Whether a labelled saddle of a model is near a true one.

    Parameters
    ----------
    labelled : ase.Atoms
        A saddle that a search found, with forces from the reference. Its constraints hold: what
        a fixed atom feels says nothing about the saddle.
    max_force : float
        Largest reference force on an atom of a proximal saddle, eV/Å (the slides: 2).

    Raises
    ------
    ValueError
        For structures without force labels, and those of a `SaddleSearch` that are no saddles:
        other roles, and where a search ended that found none.
    """
    role = labelled.info.get("hal_role", "saddle")
    outcome = labelled.info.get("hal_outcome", FOUND[0])
    if role != "saddle" or outcome not in FOUND:
        raise ValueError(
            "only a saddle that was found is proximal or artifactual, got the role "
            f"{role!r} and the outcome {outcome!r}"
        )
    forces = None if labelled.calc is None else labelled.calc.results.get("forces")
    if forces is None:
        raise ValueError("the structure has no force labels")
    forces = movable(np.asarray(forces, dtype=float), labelled)
    largest = float(np.linalg.norm(forces, axis=1).max())
    return "proximal" if largest <= max_force else "artifactual"


def count_saddles(
    dataset: Sequence[Atoms], max_force: float = 2.0
) -> dict[str, dict[SaddleKind, int]]:
    """How many labelled saddles of every path are near true ones and how many are not.

    Parameters
    ----------
    dataset : sequence of Atoms
        What a loop with a `SaddleSearch`, or several, has labelled.
    max_force : float
        See `saddle_kind`.

    Returns
    -------
    dict
        ``{path: {"proximal": n, "artifactual": m}}`` by the names of the searches, also for
        those that have labels but no saddle yet.
    """
    counts: dict[str, dict[SaddleKind, int]] = {}
    for atoms in dataset:
        if "hal_path" not in atoms.info:
            continue
        of_path = counts.setdefault(atoms.info["hal_path"], {"proximal": 0, "artifactual": 0})
        if atoms.info.get("hal_role") == "saddle" and atoms.info.get("hal_outcome") in FOUND:
            of_path[saddle_kind(atoms, max_force)] += 1
    return counts
