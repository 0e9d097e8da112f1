"""A run file of seconds, and Hamiltonians that run files import."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk

from ase_hal.free_energy import Hamiltonian, Lattice, find_orbits

A = 3.7
TINY: dict[str, Any] = {
    "seed": 4,
    "workers": 2,
    "system": {
        "crystal": "crystal.xyz",
        "sublattice": "Cu",
        "ordering": "ordering.xyz",
        "occupied": "Au",
    },
    "hamiltonian": {"import": "free_energy_runs:alloy"},
    "monte_carlo": {
        "temperature": ["600 K", "800 K"],
        "repeat": [2, 2, 1],
        "stiffness": {"composition": "0.5 eV", "order": "300 meV"},
        "precision": 0.02,
        "min_sweeps": 100,
        "max_sweeps": 300,
    },
    "fit": {"name": "polynomial", "degree": 4, "composition_degree": 3, "members": 2},
    "criteria": [
        {"name": "global", "count": 5},
        {"name": "wells", "count": 5, "perturbation": 0.05},
        {"name": "high_error", "count": 2, "repeats": 2, "perturbation": 0.05},
        {"name": "committee", "count": 2, "perturbation": 0.05},
    ],
    "candidates": 200,
    "reweighting": {"alpha": 1},
    "stopping": {"rounds": 3},
    "test": {
        "criteria": [{"name": "section", "count": 4}, {"name": "lowest_path", "count": 2}],
        "candidates": 100,
    },
    "composition_curve": {"points": 3},
}


def write_structures(folder: Path) -> None:
    """The crystal and the ordering that `TINY` names."""
    ordering = Atoms("AuCu3", cell=[A] * 3, pbc=True)
    ordering.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    ase.io.write(folder / "crystal.xyz", bulk("Cu", a=A))
    ase.io.write(folder / "ordering.xyz", ordering)


def one_order_parameter(folder: Path) -> dict[str, Any]:
    """The document of a run on B2, and its structures in the folder."""
    document = copy.deepcopy(TINY)
    ase.io.write(folder / "crystal.xyz", bulk("Cu", "bcc", a=A))
    ase.io.write(folder / "ordering.xyz", bulk("CuAu", "cesiumchloride", a=A))
    document["hamiltonian"] = {"import": "free_energy_runs:neighbours"}
    document["system"]["occupied"] = "Au"
    document["monte_carlo"]["repeat"] = [3, 3, 3]
    return document


def neighbours(lattice: Lattice, strength: float = 0.05) -> Hamiltonian:
    """Neighbours on bcc repel each other, and half filling is the middle."""
    point, pair = find_orbits(lattice, [3.3])
    return Hamiltonian.from_orbits(lattice, [(point, -4 * strength), (pair, strength)])


def alloy(lattice: Lattice, strength: float = 0.05) -> Hamiltonian:
    """Neighbours repel each other."""
    chosen = [orbit for orbit in find_orbits(lattice, [2.7]) if orbit.order == 2]
    return Hamiltonian.from_orbits(lattice, [(chosen[0], strength)])


def unfinished(lattice: Lattice) -> Hamiltonian:
    """Somebody's code with a mistake in it."""
    raise KeyError("second_neighbours")


def lopsided(lattice: Lattice) -> Hamiltonian:
    """Neighbours in one direction only."""
    chosen = [orbit for orbit in find_orbits(lattice, [2.7]) if orbit.order == 2]
    return Hamiltonian(lattice, {chosen[0].clusters[0]: 0.1})


def infinite(lattice: Lattice) -> Hamiltonian:
    return alloy(lattice, np.inf)


def text(lattice: Lattice) -> str:
    return "nothing"


def changed(*path: Any, to: Any) -> dict[str, Any]:
    """The tiny run file with another value somewhere; None removes a key."""
    document = copy.deepcopy(TINY)
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return document


def written(folder: Path, document: dict[str, Any] = TINY, name: str = "tiny.yaml") -> Path:
    write_structures(folder)
    path = folder / name
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    return path
