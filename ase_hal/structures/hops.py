"""Hops of vacancies and interstitials: pairs of structures for a saddle search."""

from __future__ import annotations

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_numbers
from ase.geometry import find_mic, get_distances

from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.structures.alloys import OCTAHEDRA
from ase_hal.structures.origin import record


def vacancy_hop(atoms: Atoms, *, rng: np.random.Generator) -> tuple[Atoms, Atoms]:
    """Take out a random atom and let a random nearest neighbour jump into its place.

    Parameters
    ----------
    atoms : ase.Atoms
        A crystal or alloy on its lattice; strain it before.
    rng : numpy.random.Generator

    Returns
    -------
    initial, final : ase.Atoms
        The same atoms in the same order, before and after.
    """
    check_generator(rng)
    if len(atoms) < 2:
        raise ValueError(f"a hop into a vacancy takes two atoms, got {len(atoms)}")
    vacancy = int(rng.integers(len(atoms)))
    vectors, distances = find_mic(atoms.positions - atoms.positions[vacancy], atoms.cell, atoms.pbc)
    distances[vacancy] = np.inf
    # Strain splits the nearest shell by up to a tenth or so; the next one of bcc is 15 % away.
    hopper = int(rng.choice(np.flatnonzero(distances < 1.07 * distances.min())))
    initial = atoms.copy()
    final = atoms.copy()
    final.set_constraint()
    final.positions[hopper] = atoms.positions[hopper] - vectors[hopper]
    final.set_constraint(atoms.constraints)
    hops = f"{atoms.symbols[hopper]} to {atoms.symbols[vacancy]}"
    for structure in (initial, final):
        del structure[vacancy]
        record(structure, "vacancy_hop", hop=hops)
    return initial, final


def interstitial_hop(
    atoms: Atoms,
    element: str,
    *,
    size: tuple[int, int, int],
    rng: np.random.Generator,
    lattice: str = "bcc",
) -> tuple[Atoms, Atoms]:
    """Put an interstitial into a random free octahedral site and next to it.

    Parameters
    ----------
    atoms : ase.Atoms
        Cubic cells of an alloy, strained or not, with or without other interstitials.
    element : str
        Of the interstitial.
    size : (int, int, int)
        How many cubic cells along each vector.
    rng : numpy.random.Generator
    lattice : {"bcc", "fcc"}

    Returns
    -------
    initial, final : ase.Atoms
        With the interstitial as the last atom.
    """
    check_generator(rng)
    if lattice not in OCTAHEDRA:
        raise ValueError(f"lattice is one of {sorted(OCTAHEDRA)}, got {lattice!r}")
    if element not in atomic_numbers:
        raise ValueError(f"element is a chemical symbol, got {element!r}")
    sites, spacing = _sites(size, lattice)
    free = _free(atoms, sites, size, spacing)
    i, vector = _random_pair(sites, free, size, spacing, rng)
    hop = []
    for scaled in (sites[i], sites[i] + vector):
        structure = atoms.copy()
        structure.append(Atom(element, scaled / np.array(size) @ atoms.cell.array))
        record(structure, "interstitial_hop", element=element)
        hop.append(structure)
    return hop[0], hop[1]


def _sites(size: tuple[int, int, int], lattice: str) -> tuple[Array, float]:
    """Octahedral sites in units of the cubic cell, (n, 3), and their closest distance."""
    octahedra, spacing = OCTAHEDRA[lattice]
    scaled = np.array(octahedra)
    corners = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(scaled + corners[:, None], dtype=float).reshape(-1, 3), spacing


def _free(atoms: Atoms, sites: Array, size: tuple[int, int, int], spacing: float) -> list[int]:
    """Sites at which there is no atom, in the unstrained lattice."""
    cell = np.diag(size).astype(float)
    taken = atoms.get_scaled_positions() * np.array(size)
    _, distances = get_distances(sites, taken, cell=cell, pbc=True)
    return np.flatnonzero(distances.min(axis=1) > 0.7 * spacing).tolist()


def _random_pair(
    sites: Array,
    free: list[int],
    size: tuple[int, int, int],
    spacing: float,
    rng: np.random.Generator,
) -> tuple[int, Array]:
    """A free site and the vector to a free one next to it."""
    for i in rng.permutation(free):
        others = sites[free]
        vectors, distances = find_mic(others - sites[i], np.diag(size).astype(float), True)
        near = np.flatnonzero(np.abs(distances - spacing) < 0.01)
        if len(near):
            return int(i), vectors[int(rng.choice(near))]
    raise ValueError("no two octahedral sites next to each other are free")
