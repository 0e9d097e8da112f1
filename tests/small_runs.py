"""A run file of seconds, and reference calculators that fail at some structures.

Whether one fails follows from the structure, so that a run which asks again gets the same
answer. Every structure that is asked about leaves a line in the file `asked`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, all_changes
from ase.calculators.emt import EMT

_STAGE = {
    "steps": 60,
    "timestep": "2 fs",
    "tau": {"window": 10, "burn_in": 10},
    "patience": 2,
}
SMALL_RUN: dict[str, Any] = {
    "elements": ["Al", "Cu"],
    "seed": 3,
    "seeds": {
        "alloy": {
            "lattice": "fcc",
            "repeat": [2, 1, 1],
            "composition": {"Al": 6, "Cu": 2},
            "lattice_constant": {"from": "3.9 Å", "to": "4.1 Å"},
            "count": 4,
            "displacement": "0.1 Å",
        }
    },
    "reference": {
        "import": "small_runs:raising",
        "parameters": {"asked": "./asked"},
        "timeout": "120 s",
    },
    "basis": {"nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1], "rcut": "5 Å"},
    "explore": {
        "walkers": 2,
        "stages": [
            {
                "name": "warm",
                "temperature": "1200 K",
                "tau_rel": 0.1,
                "trigger": {"criterion": "relative", "tolerance": 0.03},
                "swap": {"interval": 10},
                "max_labels": 5,
                **_STAGE,
            },
            {
                "name": "hot",
                "temperature": "2000 K",
                "tau_rel": 0.2,
                "trigger": {"criterion": "relative", "tolerance": 0.05},
                "start": "any",
                **_STAGE,
            },
        ],
    },
    "loop": {"select": 2, "max_labels": 12},
    "test": {"per_stage": 1},
    "final": {"relevance_thresholds": [100, 10000]},
}


def fingerprint(atoms: Atoms) -> str:
    return atoms.positions.tobytes().hex()


def is_awkward(atoms: Atoms) -> bool:
    """About one structure in three is."""
    return int(1e6 * abs(atoms.positions[1, 0])) % 3 == 0


class Awkward(EMT):
    """EMT that plays a `prank` on awkward structures."""

    def __init__(self, prank: Callable[[Awkward], object], asked: str) -> None:
        super().__init__()
        self.prank = prank
        self.asked = asked

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        with open(self.asked, "a") as file:
            file.write(fingerprint(atoms) + "\n")
        super().calculate(atoms, properties, system_changes)
        if is_awkward(atoms):
            self.prank(self)


def raising(asked: str) -> Awkward:
    def prank(calculator: Awkward) -> None:
        raise CalculationFailed("SCF did not converge")

    return Awkward(prank, asked)


def hanging(asked: str) -> Awkward:
    return Awkward(lambda calculator: time.sleep(1000), asked)


def nonsensical(asked: str) -> Awkward:
    def prank(calculator: Awkward) -> None:
        calculator.results["forces"] = np.full_like(calculator.results["forces"], np.nan)

    return Awkward(prank, asked)


def licensed(asked: str, licence: str) -> Awkward:
    """Works where there is a licence."""
    if not Path(licence).exists():
        raise CalculationFailed("no licence")
    return Awkward(lambda calculator: None, asked)


class Gradients(EMT):
    """Gives gradients for forces until somebody leaves a file."""

    def __init__(self, asked: str, mended: str) -> None:
        super().__init__()
        self.asked = asked
        self.sign = 1 if Path(mended).exists() else -1

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        with open(self.asked, "a") as file:
            file.write(fingerprint(atoms) + "\n")
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = self.sign * self.results["forces"]


class SeedsOnly(EMT):
    """Breaks down after the seeds."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if atoms.info["hal_iteration"] > 0:
            raise CalculationFailed("out of memory")


class Slow(EMT):
    """Takes a moment."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        time.sleep(0.2)
        super().calculate(atoms, properties, system_changes)
