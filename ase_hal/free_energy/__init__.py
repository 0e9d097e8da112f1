"""Free energies of ordering from Monte Carlo.

From a crystal and one ordering of a sublattice follow the order parameters, their symmetry, and
the domain in which they lie; biased Monte Carlo of a lattice Hamiltonian gives the chemical
potentials at any point of it.
"""

from ase_hal.free_energy.clusters import Orbit, find_orbits
from ase_hal.free_energy.domain import Domain
from ase_hal.free_energy.ensemble import Ensemble
from ase_hal.free_energy.hamiltonian import Hamiltonian
from ase_hal.free_energy.icet_expansion import from_icet
from ase_hal.free_energy.lattice import Lattice, Supercell
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.run_length import RunLength
from ase_hal.free_energy.sample import Sample, Sampler
from ase_hal.free_energy.sampling import (
    billiard_section,
    billiard_walk,
    perturbed,
    quasi_random,
)
from ase_hal.free_energy.umbrella import UmbrellaMC

__all__ = [
    "Domain",
    "Ensemble",
    "Hamiltonian",
    "Lattice",
    "Orbit",
    "OrderParameters",
    "Polynomials",
    "RunLength",
    "Sample",
    "Sampler",
    "Supercell",
    "UmbrellaMC",
    "billiard_section",
    "billiard_walk",
    "find_orbits",
    "from_icet",
    "perturbed",
    "quasi_random",
]
