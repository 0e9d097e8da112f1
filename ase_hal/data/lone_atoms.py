"""Structures in which no atom has a neighbour: they tell the energies of isolated atoms."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms

from ase_hal.ace.neighbors import NeighborList

# Å; how far a model is taken to see where its cutoff is not known.
USUAL_CUTOFF = 6.0
# eV, how far two energies of the same lone atom may be apart.
SAME_ENERGY = 0.010
# Å, and relative to the widest cell: atoms so far from their images are isolated alike.
_FAR, _AS_FAR = 9.0, 0.95


class LoneAtom(NamedTuple):
    """Energy of an isolated atom (eV), and the structure of a dataset that tells it."""

    energy: float
    structure: int


def has_neighbours(atoms: Atoms, cutoff: float) -> bool:
    """Whether any two atoms, or an atom and a periodic image of its own, are within a cutoff (Å).

    A single atom in a small periodic cell has neighbours: it is a crystal.
    """
    lengths = np.linalg.norm(atoms.cell.array, axis=1)[atoms.pbc]
    if (lengths < cutoff).any():
        return True
    distances = np.linalg.norm(atoms.positions[1:] - atoms.positions[:1], axis=1)
    if (distances < cutoff).any():
        return True
    pairs, _, _ = NeighborList(tuple(sorted(set(atoms.symbols))), cutoff, 0.0).update(atoms)
    return int(pairs.pair_first[-1]) > 0


def with_neighbours(structures: Sequence[Atoms], model: object) -> list[Atoms]:
    """Structures in which some atoms are within the cutoff of a model: those to start from.

    Parameters
    ----------
    structures : sequence of Atoms
    model : object
        Its ``cutoff`` (Å) is taken, where it has one.

    Raises
    ------
    ValueError
        Where there are none.
    """
    cutoff = float(getattr(model, "cutoff", None) or USUAL_CUTOFF)
    found = [atoms for atoms in structures if has_neighbours(atoms, cutoff)]
    if not found:
        raise ValueError(
            f"no atom of the {len(structures)} structures to start from has a neighbour within "
            f"{cutoff:g} Å: dynamics of lone atoms explores nothing"
        )
    return found


class Single(NamedTuple):
    """A structure of a single atom without neighbours.

    Attributes
    ----------
    structure : int
        Index in its dataset.
    symbol : str
    energy : float
        eV.
    separation : float
        From the atom to its nearest periodic image, Å; infinite without one.
    """

    structure: int
    symbol: str
    energy: float
    separation: float


def separation(atoms: Atoms) -> float:
    """Distance from an atom to its nearest periodic image, Å; infinite without one."""
    steps = ((-1, 0, 1) if periodic else (0,) for periodic in atoms.pbc)
    images = [
        np.array(image) @ atoms.cell.array for image in itertools.product(*steps) if any(image)
    ]
    return float(np.linalg.norm(images, axis=1).min()) if images else np.inf


def is_charged(atoms: Atoms) -> bool:
    """Whether a structure says that it has a charge: its energy is not that of its atoms."""
    charge = atoms.info.get("charge", atoms.info.get("total_charge", 0))
    try:
        named = abs(float(charge)) > 1e-6
    except (TypeError, ValueError):
        named = False
    return named or abs(float(atoms.get_initial_charges().sum())) > 1e-6


def lone_atoms(singles: Iterable[Single]) -> dict[str, LoneAtom]:
    """Energies of isolated atoms by element.

    The widest cell of an element tells, and others as wide have to agree. Narrower ones may be the
    end of a scan of volumes, seen by a model of short range.

    Raises
    ------
    ValueError
        Where atoms that are as far from their images contradict each other by more than 10 meV.
    """
    known: dict[str, LoneAtom] = {}
    of_element: dict[str, list[Single]] = {}
    for single in singles:
        of_element.setdefault(single.symbol, []).append(single)
    for symbol, candidates in of_element.items():
        widest = max(single.separation for single in candidates)
        far = min(_FAR, _AS_FAR * widest)
        first, *others = [single for single in candidates if single.separation >= far]
        for other in others:
            if abs(first.energy - other.energy) > SAME_ENERGY:
                raise ValueError(
                    f"lone {symbol} atoms contradict each other: structure {first.structure} has "
                    f"{first.energy:.4f} eV, structure {other.structure} has {other.energy:.4f} "
                    "eV. Keep the right one alone, or give one_body and keep none"
                )
        known[symbol] = LoneAtom(first.energy, first.structure)
    return known
