"""Where the next points of a free energy should be: criteria, one small class each."""

from ase_hal.free_energy.criteria.criterion import Criterion, Knowledge
from ase_hal.free_energy.criteria.filling import GlobalSampling, SectionSampling
from ase_hal.free_energy.criteria.known_regions import EndPoints, GivenPoints, Vertices, Wells
from ase_hal.free_energy.criteria.learned_regions import (
    FindWells,
    HighError,
    LowestPath,
    NonConvexity,
    QueryByCommittee,
    Sensitivity,
)

__all__ = [
    "Criterion",
    "EndPoints",
    "FindWells",
    "GivenPoints",
    "GlobalSampling",
    "HighError",
    "Knowledge",
    "LowestPath",
    "NonConvexity",
    "QueryByCommittee",
    "SectionSampling",
    "Sensitivity",
    "Vertices",
    "Wells",
]
