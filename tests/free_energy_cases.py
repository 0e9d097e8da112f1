"""Crystals and their orderings, shared by the tests of free energies."""

from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_hal.free_energy import Hamiltonian, Lattice, OrderParameters, find_orbits, lco


@cache
def zigzag():
    return OrderParameters.from_ordering(lco.lattice(), lco.zigzag())


@cache
def l1_2():
    """Four variants on fcc; eta is (composition, three order parameters)."""
    a = 3.7
    ordering = Atoms("AuCu3", cell=[a] * 3, pbc=True)
    ordering.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    return OrderParameters.from_ordering(Lattice.from_atoms(bulk("Cu", a=a), "Cu"), ordering, "Au")


@cache
def b2():
    ordering = bulk("CsCl", "cesiumchloride", a=3.0)
    lattice = Lattice.from_atoms(bulk("Fe", "bcc", a=3.0), "Fe")
    return OrderParameters.from_ordering(lattice, ordering, "Cs")


@cache
def root_three():
    """One site in three of a triangular layer: its symmetry turns order parameters by 120°."""
    cell = np.array([[1, 0, 0], [0.5, np.sqrt(0.75), 0], [0, 0, 3.0]]) * 2.5
    lattice = Lattice.from_atoms(Atoms("C", cell=cell, pbc=True), "C")
    larger = Atoms("C", cell=[cell[0] + cell[1], 2 * cell[1] - cell[0], cell[2]], pbc=True)
    return OrderParameters.from_ordering(lattice, larger)


@cache
def two_sublattices():
    """Sites of two kinds; eta is (composition, difference, two order parameters)."""
    cell = [3.0, 3.0, 5.0]
    crystal = Atoms("Li2O", cell=cell, pbc=True)
    crystal.set_scaled_positions([[0, 0, 0], [0.5, 0.5, 0.3], [0.5, 0.5, 0.7]])
    ordering = Atoms("Li3", positions=[[0, 0, 0], [1.5, 1.5, 1.5], [4.5, 1.5, 1.5]], pbc=True)
    ordering.set_cell([6.0, 3.0, 5.0])
    return OrderParameters.from_ordering(Lattice.from_atoms(crystal, "Li"), ordering)


def alloy():
    """A Hamiltonian on fcc with pairs, triplets, quadruplets, and a polynomial; all in eV."""
    lattice = l1_2().supercell.lattice
    orbits = find_orbits(lattice, [3.8, 2.7, 2.7])
    energies = {1: [-0.05], 2: [0.05, -0.02], 3: [0.015], 4: [-0.02]}
    chosen = [(orbit, energies[orbit.order].pop(0)) for orbit in orbits]
    return Hamiltonian.from_orbits(lattice, chosen, polynomial=(0.0, 0.0, -0.03, 0.02))
