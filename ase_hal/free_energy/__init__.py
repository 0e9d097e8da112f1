"""Free energies of ordering from Monte Carlo.

From a crystal and one ordering of a sublattice follow the order parameters, their symmetry, and
the domain in which they lie; biased Monte Carlo of a lattice Hamiltonian gives the chemical
potentials at any point of it; from these a free energy is learned, at points that criteria choose.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "Adam": "idnn_settings",
    "Architecture": "idnn_settings",
    "Candidates": "candidates",
    "Criterion": "criteria",
    "Domain": "domain",
    "EndPoints": "criteria",
    "Ensemble": "ensemble",
    "FindWells": "criteria",
    "GivenPoints": "criteria",
    "GlobalSampling": "criteria",
    "Hamiltonian": "hamiltonian",
    "HighError": "criteria",
    "IDNN": "idnn",
    "IDNNFit": "idnn_fit",
    "IDNNSearch": "idnn_fit",
    "IDNNSurface": "idnn_surface",
    "Isotherm": "phase_diagram",
    "Knowledge": "criteria",
    "LBFGS": "idnn_settings",
    "Lattice": "lattice",
    "LevenbergMarquardt": "idnn_settings",
    "LowestPath": "criteria",
    "NonConvexity": "criteria",
    "Novelty": "novelty",
    "Orbit": "clusters",
    "OrderParameters": "order_parameters",
    "PathGrid": "paths",
    "Point": "points",
    "Points": "points",
    "PolynomialFit": "polynomial_fit",
    "PolynomialSurface": "polynomial_surface",
    "Polynomials": "polynomials",
    "Proposal": "points",
    "QueryByCommittee": "criteria",
    "Reweighting": "reweighting",
    "Round": "learning",
    "RunLength": "run_length",
    "Sample": "sample",
    "Sampler": "sample",
    "SearchSpace": "idnn_search",
    "SectionSampling": "criteria",
    "Sensitivity": "criteria",
    "Stopping": "stopping",
    "Strategy": "strategy",
    "Supercell": "lattice",
    "Surface": "surface",
    "SurfaceCommittee": "surface_committee",
    "SurrogateMC": "surrogate",
    "Training": "idnn_settings",
    "UmbrellaMC": "umbrella",
    "Vertices": "criteria",
    "Wells": "criteria",
    "billiard_section": "sampling",
    "billiard_walk": "sampling",
    "export_torchscript": "torchscript",
    "find_orbits": "clusters",
    "from_icet": "icet_expansion",
    "hessian_eigenvalues": "surface",
    "isotherm": "phase_diagram",
    "learn_free_energy": "learning",
    "lowest_path": "paths",
    "make_test_set": "test_set",
    "measure": "measuring",
    "on_grid": "grid",
    "perturbed": "sampling",
    "quasi_random": "sampling",
    "read_order_parameters": "order_parameter_file",
    "read_surface": "surface_files",
    "write_grid": "grid",
    "write_order_parameters": "order_parameter_file",
    "write_surface": "surface_files",
}
__all__ = [
    "IDNN",
    "LBFGS",
    "Adam",
    "Architecture",
    "Candidates",
    "Criterion",
    "Domain",
    "EndPoints",
    "Ensemble",
    "FindWells",
    "GivenPoints",
    "GlobalSampling",
    "Hamiltonian",
    "HighError",
    "IDNNFit",
    "IDNNSearch",
    "IDNNSurface",
    "Isotherm",
    "Knowledge",
    "Lattice",
    "LevenbergMarquardt",
    "LowestPath",
    "NonConvexity",
    "Novelty",
    "Orbit",
    "OrderParameters",
    "PathGrid",
    "Point",
    "Points",
    "PolynomialFit",
    "PolynomialSurface",
    "Polynomials",
    "Proposal",
    "QueryByCommittee",
    "Reweighting",
    "Round",
    "RunLength",
    "Sample",
    "Sampler",
    "SearchSpace",
    "SectionSampling",
    "Sensitivity",
    "Stopping",
    "Strategy",
    "Supercell",
    "Surface",
    "SurfaceCommittee",
    "SurrogateMC",
    "Training",
    "UmbrellaMC",
    "Vertices",
    "Wells",
    "billiard_section",
    "billiard_walk",
    "export_torchscript",
    "find_orbits",
    "from_icet",
    "hessian_eigenvalues",
    "isotherm",
    "learn_free_energy",
    "lowest_path",
    "make_test_set",
    "measure",
    "on_grid",
    "perturbed",
    "quasi_random",
    "read_order_parameters",
    "read_surface",
    "write_grid",
    "write_order_parameters",
    "write_surface",
]

if TYPE_CHECKING:
    from ase_hal.free_energy.candidates import Candidates
    from ase_hal.free_energy.clusters import Orbit, find_orbits
    from ase_hal.free_energy.criteria import (
        Criterion,
        EndPoints,
        FindWells,
        GivenPoints,
        GlobalSampling,
        HighError,
        Knowledge,
        LowestPath,
        NonConvexity,
        QueryByCommittee,
        SectionSampling,
        Sensitivity,
        Vertices,
        Wells,
    )
    from ase_hal.free_energy.domain import Domain
    from ase_hal.free_energy.ensemble import Ensemble
    from ase_hal.free_energy.grid import on_grid, write_grid
    from ase_hal.free_energy.hamiltonian import Hamiltonian
    from ase_hal.free_energy.icet_expansion import from_icet
    from ase_hal.free_energy.idnn import IDNN
    from ase_hal.free_energy.idnn_fit import IDNNFit, IDNNSearch
    from ase_hal.free_energy.idnn_search import SearchSpace
    from ase_hal.free_energy.idnn_settings import (
        LBFGS,
        Adam,
        Architecture,
        LevenbergMarquardt,
        Training,
    )
    from ase_hal.free_energy.idnn_surface import IDNNSurface
    from ase_hal.free_energy.lattice import Lattice, Supercell
    from ase_hal.free_energy.learning import Round, learn_free_energy
    from ase_hal.free_energy.measuring import measure
    from ase_hal.free_energy.novelty import Novelty
    from ase_hal.free_energy.order_parameter_file import (
        read_order_parameters,
        write_order_parameters,
    )
    from ase_hal.free_energy.order_parameters import OrderParameters
    from ase_hal.free_energy.paths import PathGrid, lowest_path
    from ase_hal.free_energy.phase_diagram import Isotherm, isotherm
    from ase_hal.free_energy.points import Point, Points, Proposal
    from ase_hal.free_energy.polynomial_fit import PolynomialFit
    from ase_hal.free_energy.polynomial_surface import PolynomialSurface
    from ase_hal.free_energy.polynomials import Polynomials
    from ase_hal.free_energy.reweighting import Reweighting
    from ase_hal.free_energy.run_length import RunLength
    from ase_hal.free_energy.sample import Sample, Sampler
    from ase_hal.free_energy.sampling import (
        billiard_section,
        billiard_walk,
        perturbed,
        quasi_random,
    )
    from ase_hal.free_energy.stopping import Stopping
    from ase_hal.free_energy.strategy import Strategy
    from ase_hal.free_energy.surface import Surface, hessian_eigenvalues
    from ase_hal.free_energy.surface_committee import SurfaceCommittee
    from ase_hal.free_energy.surface_files import read_surface, write_surface
    from ase_hal.free_energy.surrogate import SurrogateMC
    from ase_hal.free_energy.test_set import make_test_set
    from ase_hal.free_energy.torchscript import export_torchscript
    from ase_hal.free_energy.umbrella import UmbrellaMC


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for."""
    if name not in _HOME:
        raise AttributeError(f"module 'ase_hal.free_energy' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ase_hal.free_energy.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
