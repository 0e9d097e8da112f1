"""Energies of brass, CuZn: copper on the sites of a body-centred cubic lattice, zinc on the others.

`neighbours` is what run.yaml asks for. Run this file to write the two structures that it reads.
"""

import ase.io
from ase.build import bulk

from ase_hal import free_energy as fe

A = 2.95  # Å


def neighbours(lattice: fe.Lattice, strength: float = 0.04) -> fe.Hamiltonian:
    """Two copper atoms that are neighbours cost `strength` (eV); half filling is the middle.

    This is the Ising model, which orders at 6.355 strength / (4 k_B): 737 K for 0.04 eV.
    """
    point, pair = fe.find_orbits(lattice, [1.01 * A * 0.75**0.5])
    return fe.Hamiltonian.from_orbits(lattice, [(point, -4 * strength), (pair, strength)])


if __name__ == "__main__":
    ase.io.write("crystal.xyz", bulk("Cu", "bcc", a=A))
    ase.io.write("ordering.xyz", bulk("CuZn", "cesiumchloride", a=A))
