"""Hops of vacancies and interstitials: pairs of structures for a saddle search."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_numbers
from ase.geometry import find_mic, get_distances

from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.structures.alloys import OCTAHEDRA
from ase_hal.structures.origin import record

# Strain splits the nearest shell by up to a tenth or so; the next one of bcc is 15 % away.
_SHELL = 1.07


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
    return coupled_vacancy_hop(atoms, hops=1, rng=rng)


def coupled_vacancy_hop(
    atoms: Atoms, *, rng: np.random.Generator, hops: int = 2
) -> tuple[Atoms, Atoms]:
    """Take out a random atom and let a random chain of neighbours move up, all at once.

    The first atom of the chain goes into the vacancy, the second into the place of the first,
    and so on, as happens in complex alloys (Waters & Rondinelli 2024).

    Parameters
    ----------
    atoms : ase.Atoms
        A crystal or alloy on its lattice; strain it before.
    rng : numpy.random.Generator
    hops : int
        Length of the chain.

    Returns
    -------
    initial, final : ase.Atoms
        The same atoms in the same order, before and after.
    """
    check_generator(rng)
    vacancy = int(rng.integers(len(atoms))) if len(atoms) else 0
    chains = list(vacancy_chains(atoms, vacancy, hops=hops))
    if not chains:
        raise ValueError(f"{len(atoms)} atoms have no chain of {hops} hops into a vacancy")
    return hop_along(atoms, vacancy, chains[int(rng.integers(len(chains)))])


def vacancy_chains(atoms: Atoms, vacancy: int, *, hops: int = 2) -> Iterator[tuple[int, ...]]:
    """All chains of atoms that can move up into a vacancy.

    Parameters
    ----------
    atoms : ase.Atoms
        A crystal or alloy on its lattice, perhaps strained, with an atom where the vacancy will be.
    vacancy : int
        Index of that atom.
    hops : int
        Length of the chains. In bcc there are 8, 56 and 392 of one, two and three atoms,
        in a cell large enough.

    Yields
    ------
    tuple of int
        Indices of different atoms, each a nearest neighbour of the one before, the first one of
        the vacancy.
    """
    if hops < 1:
        raise ValueError(f"hops is at least 1, got {hops}")
    if not 0 <= vacancy < len(atoms):
        raise ValueError(f"vacancy is an index into {len(atoms)} atoms, got {vacancy}")

    def extend(chain: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        if len(chain) == hops + 1:
            yield chain[1:]
            return
        for neighbour in _nearest(atoms, chain[-1]):
            if neighbour not in chain:
                yield from extend((*chain, neighbour))

    yield from extend((vacancy,))


def chain_shape(atoms: Atoms, vacancy: int, chain: Sequence[int]) -> tuple[float, ...]:
    """Distances between all sites of a chain, the vacancy first, in units of the first hop.

    Chains with the same shape are equivalent on the empty lattice, which tells the kinds of
    coupled hops from each other: three of two hops in bcc, four in fcc.
    """
    positions = _chain_positions(atoms, vacancy, chain)
    pairs = np.array(
        [np.linalg.norm(a - b) for i, a in enumerate(positions) for b in positions[:i]]
    )
    return tuple((pairs / pairs[0]).round(3).tolist())


def hop_along(atoms: Atoms, vacancy: int, chain: Sequence[int]) -> tuple[Atoms, Atoms]:
    """The structures before and after a chain of atoms moved up into a vacancy.

    Parameters
    ----------
    atoms : ase.Atoms
        With an atom where the vacancy will be.
    vacancy : int
        Index of that atom.
    chain : sequence of int
        As from `vacancy_chains`.
    """
    places = _chain_positions(atoms, vacancy, chain)
    initial, final = atoms.copy(), atoms.copy()
    final.set_constraint()
    for index, place, goal in zip(chain, places[1:], places[:-1], strict=True):
        final.positions[index] = atoms.positions[index] + goal - place
    final.set_constraint(atoms.constraints)
    words = " ".join(atoms.symbols[index] for index in chain)
    for structure in (initial, final):
        del structure[vacancy]
        record(
            structure, "vacancy_hop", hop=f"{words} to {atoms.symbols[vacancy]}",
            vacancy=vacancy, chain=tuple(int(index) for index in chain),
        )  # fmt: skip
    return initial, final


def _nearest(atoms: Atoms, index: int) -> list[int]:
    """Nearest neighbours of an atom."""
    _, distances = find_mic(atoms.positions - atoms.positions[index], atoms.cell, atoms.pbc)
    distances[index] = np.inf
    shortest = distances.min(initial=np.inf)
    return np.flatnonzero(distances < _SHELL * shortest).tolist() if shortest < np.inf else []


def _chain_positions(atoms: Atoms, vacancy: int, chain: Sequence[int]) -> Array:
    """Sites of a chain, every one at its image next to the one before, (1 + hops, 3)."""
    sites = [vacancy, *chain]
    vectors, _ = find_mic(np.diff(atoms.positions[sites], axis=0), atoms.cell, atoms.pbc)
    return np.cumsum([atoms.positions[vacancy], *vectors], axis=0)


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
    paths = list(interstitial_paths(atoms, size=size, lattice=lattice))
    if not paths:
        raise ValueError("no two octahedral sites next to each other are free")
    start, end = paths[int(rng.integers(len(paths)))]
    if rng.random() < 0.5:
        start, end = end, start
    return hop_between(atoms, element, start, end)


def interstitial_paths(
    atoms: Atoms, *, size: tuple[int, int, int], lattice: str = "bcc"
) -> Iterator[tuple[Array, Array]]:
    """All hops between free octahedral sites next to each other, each in one direction.

    Parameters
    ----------
    atoms : ase.Atoms
        Cubic cells of an alloy, strained or not, with or without other interstitials.
    size : (int, int, int)
        How many cubic cells along each vector. An empty cell has 12 paths in bcc and 24 in fcc.
    lattice : {"bcc", "fcc"}

    Yields
    ------
    start, end : (3,) arrays
        Scaled positions in the cell of `atoms`; the end may lie in an image of it.
    """
    if lattice not in OCTAHEDRA:
        raise ValueError(f"lattice is one of {sorted(OCTAHEDRA)}, got {lattice!r}")
    if len(size) != 3 or any(int(n) != n or n < 1 for n in size):
        raise ValueError(f"size is three positive whole numbers, got {size}")
    sites, spacing = _sites(size, lattice)
    free = _free(atoms, sites, size, spacing)
    cell = np.array(size, dtype=float)
    places = {_place(sites[i], cell) for i in free}
    steps = _steps(lattice)
    for i in free:
        for step in steps[i % len(steps)]:
            if _place(sites[i] + step, cell) in places:
                yield sites[i] / cell, (sites[i] + step) / cell


def hop_between(atoms: Atoms, element: str, start: Array, end: Array) -> tuple[Atoms, Atoms]:
    """The structures with an interstitial before and after a hop.

    Parameters
    ----------
    atoms : ase.Atoms
        Without the interstitial, which becomes the last atom.
    element : str
        Of the interstitial.
    start, end : (3,) arrays
        Scaled positions, as from `interstitial_paths`.
    """
    if element not in atomic_numbers:
        raise ValueError(f"element is a chemical symbol, got {element!r}")
    hop = []
    for scaled in (start, end):
        structure = atoms.copy()
        structure.append(Atom(element, np.asarray(scaled) @ atoms.cell.array))
        record(structure, "interstitial_hop", element=element, start=start, end=end)
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


def _place(site: Array, cell: Array) -> tuple[int, ...]:
    """A site by whole numbers, the same for all its images."""
    return tuple((np.rint(site * 4).astype(int) % (4 * cell).astype(int)).tolist())


def _steps(lattice: str) -> list[list[Array]]:
    """Vectors from every octahedral site of a cubic cell to its neighbours, half of them.

    The other half are those of the neighbours back to it.
    """
    octahedra, spacing = OCTAHEDRA[lattice]
    sites = np.array(octahedra, dtype=float)
    images = np.array(list(itertools.product((-1.0, 0.0, 1.0), repeat=3)))
    steps = []
    for site in sites:
        vectors = (sites[:, None] + images - site).reshape(-1, 3)
        near = vectors[np.abs(np.linalg.norm(vectors, axis=1) - spacing) < 0.01]
        steps.append([vector for vector in near if tuple(vector) > (0.0, 0.0, 0.0)])
    return steps
