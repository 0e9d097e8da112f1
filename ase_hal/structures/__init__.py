"""Structures made without a model: random, derived, decorated (Waters & Rondinelli 2024)."""

from ase_hal.structures.alloys import random_alloy, random_composition
from ase_hal.structures.decorations import (
    Path,
    bcc_interstitial_path,
    bcc_vacancy_path,
    count_decorations,
    decorations,
)
from ase_hal.structures.derived import METALS, OXIDES, Derivation, derive
from ase_hal.structures.hops import interstitial_hop, vacancy_hop
from ase_hal.structures.influence import Influence, sphere_of_influence
from ase_hal.structures.random_cells import random_structure
from ase_hal.structures.strain import deformed, random_deformation, random_strain, random_supercell

__all__ = [
    "METALS",
    "OXIDES",
    "Derivation",
    "Influence",
    "Path",
    "bcc_interstitial_path",
    "bcc_vacancy_path",
    "count_decorations",
    "decorations",
    "deformed",
    "derive",
    "interstitial_hop",
    "random_alloy",
    "random_composition",
    "random_deformation",
    "random_strain",
    "random_structure",
    "random_supercell",
    "sphere_of_influence",
    "vacancy_hop",
]
