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
from ase_hal.structures.hops import (
    chain_shape,
    coupled_vacancy_hop,
    hop_along,
    hop_between,
    interstitial_hop,
    interstitial_paths,
    vacancy_chains,
    vacancy_hop,
)
from ase_hal.structures.influence import Influence, sphere_of_influence
from ase_hal.structures.random_cells import random_structure
from ase_hal.structures.random_hops import decorated_hop, random_hop
from ase_hal.structures.strain import (
    deformed,
    random_deformation,
    random_size,
    random_strain,
    random_supercell,
    von_mises_strain,
)

__all__ = [
    "METALS",
    "OXIDES",
    "Derivation",
    "Influence",
    "Path",
    "bcc_interstitial_path",
    "bcc_vacancy_path",
    "chain_shape",
    "count_decorations",
    "coupled_vacancy_hop",
    "decorated_hop",
    "decorations",
    "deformed",
    "derive",
    "hop_along",
    "hop_between",
    "interstitial_hop",
    "interstitial_paths",
    "random_alloy",
    "random_composition",
    "random_deformation",
    "random_hop",
    "random_size",
    "random_strain",
    "random_structure",
    "random_supercell",
    "sphere_of_influence",
    "vacancy_chains",
    "vacancy_hop",
    "von_mises_strain",
]
