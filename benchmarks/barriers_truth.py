"""Hops in random NbTiZr, and the search for their saddles on SevenNet-0 itself."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from alloys import ALLOYS, equimolar_nbtizr
from ase import Atoms
from barriers_report import KINDS
from sampling_studies import label_here

from ase_hal import Prediction
from ase_hal.data import write_dataset
from ase_hal.dynamics import Pick, SaddleSearch
from ase_hal.structures import interstitial_hop, random_strain, vacancy_hop

DISPLACED = 0.05  # Å


class Truth:
    """SevenNet-0 as a committee that is never in doubt, for the same search on it."""

    def __init__(self) -> None:
        self.calculator = ALLOYS["nbtizr"].truth()
        self.elements = ALLOYS["nbtizr"].basis().elements
        self._known: dict[bytes, Prediction] = {}

    @property
    def calls(self) -> int:
        return len(self._known)

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        key = atoms.cell.array.tobytes() + atoms.positions.tobytes()
        if key not in self._known:  # a dimer comes back to its middle
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            forces = np.array(self.calculator.get_property("forces", bare), dtype=float)
            energy = float(self.calculator.get_property("energy", bare))
            self._known[key] = Prediction(
                energy, forces, energy_std=0.0, energy_std_gradient=np.zeros_like(forces),
                model_std=0.0, force_scale=1.0, member_energies=np.full(2, energy),
            )  # fmt: skip
        return self._known[key]


def search_for(
    initial: Atoms, final: Atoms, given: argparse.Namespace, **more: Any
) -> SaddleSearch:
    """The search on models and on the truth alike."""
    pick = Pick(max_force=40.0)  # oxygen starts between two metal atoms
    return SaddleSearch(
        initial, final, n_images=3, fmax=given.fmax, steps=given.steps, pick=pick, **more
    )


def hop(kind: str, size: int, rng: np.random.Generator) -> tuple[Atoms, Atoms]:
    """A random hop in a random equimolar alloy, slightly strained."""
    strain = {"linear": (-0.02, 0.02), "von_mises": (0.0, 0.02)}
    alloy = random_strain(equimolar_nbtizr(rng, size), rng=rng, **strain)
    if kind == "vacancy":
        return vacancy_hop(alloy, rng=rng)
    return interstitial_hop(alloy, "O", size=(size, size, size), rng=rng)


def test_hop(kind: str, size: int, number: int) -> tuple[Atoms, Atoms]:
    return hop(kind, size, np.random.default_rng([10_000, size, KINDS.index(kind), number]))


def search_truth(kind: str, size: int, number: int, given: argparse.Namespace, file: Path) -> None:
    """Start, saddle and end on SevenNet-0, as they are and displaced."""
    rng, truth = np.random.default_rng(number), Truth()
    path = search_for(*test_hop(kind, size, number), given).search(truth, rng=rng)
    frames = []
    for role, atoms in (("start", path.start), ("saddle", path.saddle), ("end", path.end)):
        for displacement in (0.0, DISPLACED) if atoms is not None else ():
            copy = atoms.copy()
            copy.positions += rng.normal(0.0, displacement, copy.positions.shape)
            frames += label_here([copy], truth.calculator)
            frames[-1].info = {
                "role": role, "outcome": path.outcome, "displaced": displacement,
                "reason": path.reason or "found", "calls": truth.calls,
            }  # fmt: skip
    write_dataset(file, frames)


def barrier(frames: Sequence[Atoms]) -> float:
    """True barrier, eV."""
    energies = {
        a.info["role"]: a.get_potential_energy() for a in frames if a.info["displaced"] == 0
    }
    return energies["saddle"] - energies["start"]
