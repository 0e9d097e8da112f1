"""Hops in random and in decorated surroundings: end points of saddle searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atom, Atoms
from ase.data import atomic_numbers

from ase_hal.prediction import Array
from ase_hal.structures.alloys import random_alloy
from ase_hal.structures.decorations import Path
from ase_hal.structures.hops import hop_along, interstitial_hop, vacancy_chains
from ase_hal.structures.origin import record
from ase_hal.structures.strain import Range, random_size, random_strain

_TOLERANCE = 0.1  # of a lattice parameter, between an atom and its site


def random_hop(
    elements: Sequence[str],
    *,
    kind: Literal["interstitial", "vacancy"],
    a: float,
    rng: np.random.Generator,
    lattice: str = "bcc",
    sizes: Sequence[int] = (2, 3),
    linear: Range = (-0.05, 0.10),
    von_mises: Range = (0.0, 0.05),
    hops: int = 1,
    interstitial: str = "O",
) -> tuple[Atoms, Atoms]:
    """A hop in a random alloy in a small cell of random shape and strain.

    The defaults are those of the slides of Waters & Rondinelli (2024).

    Parameters
    ----------
    elements : sequence of str
        Metals of the alloy, see `random_alloy`.
    kind : {"interstitial", "vacancy"}
        What hops.
    a : float
        Lattice parameter of the cubic cell without strain, Å.
    rng : numpy.random.Generator
    lattice : {"bcc", "fcc"}
    sizes : sequence of int
        N1, N2 and N3 of the N1 x N2 x N3 cubic cells are drawn from these.
    linear, von_mises : (float, float)
        Ranges of the strain, see `random_strain`.
    hops : int
        Atoms that move up into a vacancy one after another; 1 for interstitials.
    interstitial : str
        Element of the interstitial.

    Returns
    -------
    initial, final : ase.Atoms
        The same atoms in the same order. ``info["hal_origin"]`` says alloy, strain and hop.
    """
    if kind not in ("interstitial", "vacancy"):
        raise ValueError(f"kind is 'interstitial' or 'vacancy', got {kind!r}")
    if kind == "interstitial" and hops != 1:
        raise ValueError(f"hops is 1 for an interstitial, got {hops}")
    size = random_size(rng=rng, sizes=sizes)
    alloy = random_alloy(
        elements, a=a, rng=rng, lattice=lattice, size=size, interstitial_share=(0.0, 0.0)
    )
    strained = random_strain(alloy, rng=rng, linear=linear, von_mises=von_mises)
    if kind == "interstitial":
        return interstitial_hop(strained, interstitial, size=size, rng=rng, lattice=lattice)
    vacancy = int(rng.integers(len(alloy)))
    # Neighbours are those of the lattice: a strain would make some nearer than others.
    chains = list(vacancy_chains(alloy, vacancy, hops=hops))
    if not chains:
        raise ValueError(f"{len(alloy)} atoms have no chain of {hops} hops into a vacancy")
    return hop_along(strained, vacancy, chains[int(rng.integers(len(chains)))])


def decorated_hop(
    atoms: Atoms,
    path: Path,
    colours: Sequence[int] | Array,
    elements: Sequence[str],
    *,
    moving: str,
    size: tuple[int, int, int],
) -> tuple[Atoms, Atoms]:
    """A hop whose neighbours are one of the `decorations` of its path.

    Parameters
    ----------
    atoms : ase.Atoms
        Cubic cells of a crystal or alloy, strained or not: the surroundings. The path is put at
        the origin.
    path : Path
        Such as `bcc_vacancy_path`: where there are atoms at both of its ends, the one at the
        end is taken out, and the other one moves there. Where there are none, an interstitial
        is added.
    colours : (n,) sequence of int
        A row of `decorations`, n being the number of neighbours.
    elements : sequence of str
        What the colours stand for.
    moving : str
        Element of the atom that hops.
    size : (int, int, int)
        How many cubic cells along each vector.

    Returns
    -------
    initial, final : ase.Atoms
        The same atoms in the same order.
    """
    if len(colours) != len(path.neighbours):
        raise ValueError(f"the path has {len(path.neighbours)} neighbours, got {len(colours)}")
    if min(colours) < 0 or max(colours) >= len(elements):
        raise ValueError(f"colours are indices into {len(elements)} elements, got {colours}")
    if unknown := {moving, *elements} - atomic_numbers.keys():
        raise ValueError(f"elements are chemical symbols, got {sorted(unknown)}")
    ends = [_at(atoms, site, size) for site in (path.start, path.end)]
    around = [_at(atoms, site, size) for site in path.neighbours]
    found = [i for i in (*ends, *around) if i is not None]
    if None in around or (ends[0] is None) != (ends[1] is None) or len(set(found)) < len(found):
        raise ValueError(
            f"{'x'.join(map(str, size))} cells do not hold the path: every neighbour is another "
            "atom, and both ends are occupied, or both free"
        )
    symbols = [elements[colour] for colour in colours]
    places = [site / np.array(size) @ atoms.cell.array for site in (path.start, path.end)]
    hop = []
    for place in places:
        structure = atoms.copy()
        structure.symbols[around] = symbols
        if ends[0] is None:
            structure.append(Atom(moving, place))
        else:
            structure.symbols[ends[0]] = moving
            structure.positions[ends[0]] += place - places[0]
            del structure[ends[1]]
        record(structure, "decorated_hop", moving=moving, neighbours=" ".join(symbols))
        hop.append(structure)
    return hop[0], hop[1]


def _at(atoms: Atoms, site: Array, size: tuple[int, int, int]) -> int | None:
    """Index of the atom at a site, in lattice parameters, or None."""
    away = atoms.get_scaled_positions() * np.array(size) - site
    away -= np.rint(away / size) * size
    distances = np.linalg.norm(away, axis=1)
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] < _TOLERANCE else None
