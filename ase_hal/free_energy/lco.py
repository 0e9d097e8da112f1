"""Layered lithium cobalt oxide: lithium and vacancies on triangular layers.

Pairs of sites with occupations n interact by ``J (2 n - 1) (2 n' - 1)``. Two sets of J are given.
`MODEL` has exactly the twelve zigzag variants as its ground states and orders at about 315 K,
first order. `FITTED` reproduces chemical potentials at 300 K of published Monte Carlo runs with a
cluster expansion of LCO.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import cellpar_to_cell

from ase_hal.free_energy.clusters import Cluster, Orbit, find_orbits
from ase_hal.free_energy.hamiltonian import Hamiltonian
from ase_hal.free_energy.lattice import Lattice, Supercell

A, C = 2.8156, 14.0542  # lattice constants of LiCoO2, Å
OXYGEN = 0.2395  # height of oxygen, in units of C


@dataclass(frozen=True)
class Interactions:
    """Parameters of a Hamiltonian of LCO.

    Attributes
    ----------
    in_plane, interlayer : tuple of float
        J of the shells of neighbours from the first on, eV.
    potential : tuple of float
        Coefficients c_p, p = 0, 1, ..., of a chemical potential sum_p c_p (2 eta_0 - 1)^p that
        adds to that of the pairs, eV.
    """

    in_plane: tuple[float, ...]
    interlayer: tuple[float, ...]
    potential: tuple[float, ...] = ()


MODEL = Interactions((0.030, 0.010, 0.010), (0.004,))
FITTED = Interactions(
    (0.03305, 0.00756, 0.00845, -0.00074),
    (0.00433, 0.00019, 0.00114),
    (-0.01418, 0.01700, 0.33257, -1.10838, -0.71114, 1.58338),
)


def crystal() -> Atoms:
    """LiCoO2 (R-3m, O3): a and b enclose 60 degrees, c leads over (a + b) / 3."""
    cell = np.array(cellpar_to_cell([A, A, C / 3, 90, 90, 60]))
    cell[2] = (cell[0] + cell[1]) / 3 + [0, 0, C / 3]
    heights = {"Li": [0.0], "Co": [0.5], "O": [OXYGEN, 1 - OXYGEN]}
    # along the threefold axis, 3 c - a - b
    along = 3 * cell[2] - cell[0] - cell[1]
    symbols = [symbol for symbol, places in heights.items() for _ in places]
    positions = [z * along for places in heights.values() for z in places]
    atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
    atoms.wrap()
    return atoms


def lattice() -> Lattice:
    """The lithium sites of LiCoO2."""
    return Lattice.from_atoms(crystal(), "Li")


def zigzag() -> Atoms:
    """One variant of the zigzag ordering of Li(1/2)CoO2: its lithium ions in a cell of four."""
    cell = Supercell(lattice(), np.array([[1, 1, 0], [4, 0, 0], [2, 0, 1]]))
    x, y, z = cell.offsets.T
    return cell.atoms(np.isin((x - y + 2 * z) % 4, (0, 1)).astype(int), "Li")


def hamiltonian(parameters: Interactions = MODEL) -> Hamiltonian:
    """Pair interactions of lithium on the layers of LiCoO2."""
    sites = lattice()
    reach = A * 1.01 * max(len(parameters.in_plane), len(parameters.interlayer), 3)
    pairs = [orbit for orbit in find_orbits(sites, [reach]) if orbit.order == 2]
    in_plane = [o for o in pairs if _layers_apart(o.clusters[0]) == 0]
    between = [o for o in pairs if _layers_apart(o.clusters[0]) == 1]
    chosen = [*_shells(in_plane, parameters.in_plane), *_shells(between, parameters.interlayer)]
    interactions: dict[Cluster, float] = {(): 0.0, ((0, 0, 0, 0),): 0.0}
    for orbit, j in chosen:  # J (2 n - 1) (2 n' - 1), of as many pairs in a cell
        interactions[()] += j * len(orbit.clusters)
        interactions[((0, 0, 0, 0),)] -= 4 * j * len(orbit.clusters)
        interactions |= dict.fromkeys(orbit.clusters, 4 * j)
    # d/d eta_0 of x^(p + 1) is 2 (p + 1) x^p
    polynomial = [c / (2 * (p + 1)) for p, c in enumerate(parameters.potential)]
    return Hamiltonian(sites, interactions, (0.0, *polynomial))


def _layers_apart(cluster: Cluster) -> int:
    return abs(cluster[0][2] - cluster[1][2])


def _shells(orbits: list[Orbit], energies: tuple[float, ...]) -> list[tuple[Orbit, float]]:
    if len(energies) > len(orbits):
        raise ValueError(f"only {len(orbits)} shells are within reach, got {len(energies)}")
    return list(zip(orbits, energies, strict=False))
