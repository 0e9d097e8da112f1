"""Hamiltonians from cluster expansions that icet fitted."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ase_hal.free_energy.clusters import Cluster, canonical
from ase_hal.free_energy.hamiltonian import Hamiltonian
from ase_hal.free_energy.lattice import Lattice, Supercell


def from_icet(expansion: Any, *, occupied: str, scaling: int | None = None) -> Hamiltonian:
    """Read an ``icet.ClusterExpansion`` with two species on its active sites.

    The result is checked against what the expansion itself predicts.

    Parameters
    ----------
    expansion : icet.ClusterExpansion
    occupied : str
        The species that means 1; the other one, or the vacancy, is 0.
    scaling : int, optional
        How many times what the expansion predicts is the energy of its primitive cell. By
        default its number of atoms, as icet fits energies per atom and mchammer takes them.

    Returns
    -------
    Hamiltonian
        On a lattice (``.lattice``) whose cell is the primitive cell of the expansion.
    """
    try:
        import icet
    except ImportError as error:
        raise ImportError("cluster expansions need icet: pip install 'ase-hal[icet]'") from error
    if not isinstance(expansion, icet.ClusterExpansion):
        raise TypeError(f"an icet.ClusterExpansion is needed, got {type(expansion).__name__}")
    space = expansion.get_cluster_space_copy()
    primitive = space.primitive_structure
    active, signs = _active_sites(space, occupied)
    lattice = Lattice.from_atoms(primitive, active)
    site = {atom: number for number, atom in enumerate(active)}
    scale = float(scaling or len(primitive))
    interactions: dict[Cluster, float] = {}
    for parameter, description in zip(expansion.parameters, space.as_list, strict=True):
        clusters: list[tuple[Any, ...]] = [()]
        if description["order"]:
            orbit = space.orbit_list.orbits[description["orbit_index"]]
            clusters = [tuple(cluster.lattice_sites) for cluster in orbit.clusters]
        energy = scale * float(parameter) / len(clusters)
        for cluster in clusters:
            places = [(*map(int, s.unitcell_offset), site[s.index]) for s in cluster]
            _add_spins(interactions, places, energy * np.prod([signs[p[3]] for p in places]))
    hamiltonian = Hamiltonian(lattice, interactions)
    _check(hamiltonian, expansion, active, _species(space, active[0]), occupied, scale)
    return hamiltonian


def _active_sites(space: Any, occupied: str) -> tuple[list[int], list[int]]:
    """Atoms of the primitive structure that vary, and the sign of icet's spin when occupied."""
    active = [i for i, symbols in enumerate(space.chemical_symbols) if len(symbols) > 1]
    kinds = {tuple(sorted(_species(space, i))) for i in active}
    if len(kinds) != 1 or len(next(iter(kinds))) != 2 or occupied not in next(iter(kinds)):
        raise ValueError(
            f"all active sites must have the same two species, one of them {occupied}; this "
            f"cluster space has {sorted(kinds)}"
        )
    # icet's function of a site with two species is -1 for the first in its order and +1
    from ase.data import atomic_numbers

    maps = [space.species_maps[i] for i in active]
    return active, [1 if species[atomic_numbers[occupied]] == 1 else -1 for species in maps]


def _species(space: Any, atom: int) -> list[str]:
    return list(space.chemical_symbols[atom])


def _add_spins(
    interactions: dict[Cluster, float], places: list[tuple[int, ...]], energy: float
) -> None:
    """Add energy * prod (2 n - 1) as products of occupations."""
    for order in range(len(places) + 1):
        for chosen in itertools.combinations(places, order):
            name = canonical(chosen) if chosen else ()
            share = energy * 2**order * (-1) ** (len(places) - order)
            interactions[name] = interactions.get(name, 0.0) + share


def _check(
    hamiltonian: Hamiltonian,
    expansion: Any,
    active: list[int],
    species: list[str],
    occupied: str,
    scale: float,
) -> None:
    """Compare with the expansion on occupations that tell all clusters apart."""
    empty = next(symbol for symbol in species if symbol != occupied)
    supercell = Supercell(hamiltonian.lattice, np.diag([4, 4, 4]))
    primitive = expansion.get_cluster_space_copy().primitive_structure
    offsets = supercell.cell_offsets
    structure = primitive.repeat((4, 4, 4))
    weights = np.sqrt(np.arange(2, supercell.n_sites + 2)) * np.pi  # reproducible disorder
    for level in (0.3, 0.7):
        occupations = ((weights % 1) < level).astype(int)
        symbols = np.array(structure.symbols)
        # ASE repeats with the last vector running fastest, as cell_offsets do
        for cell in range(len(offsets)):
            for number, atom in enumerate(active):
                filled = occupations[cell * len(active) + number]
                symbols[cell * len(primitive) + atom] = occupied if filled else empty
        structure.symbols[:] = symbols
        theirs = scale * supercell.n_cells * expansion.predict(structure)
        ours = float(hamiltonian.energy(occupations, supercell))
        if abs(ours - theirs) > 1e-6 * max(1.0, abs(theirs)):
            raise ValueError(
                f"this cluster expansion could not be read: of one structure it predicts "
                f"{theirs:.6f} eV, what was read {ours:.6f} eV"
            )
