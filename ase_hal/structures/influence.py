"""How much of an atom's sphere of influence a periodic cell fills with something of its own."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.geometry import minkowski_reduce


@dataclass(frozen=True)
class Influence:
    """Measures of a cell against the sphere of influence, whose radius is the cutoff.

    The table "Cell sizes and spheres of influence" of the slides, for cells of any shape; for a
    cubic one of edge L they are its columns.

    Attributes
    ----------
    diameter : float
        Twice the cutoff over the shortest lattice vector, D / L. Up to 1 an atom does not see
        its own images' neighbours.
    volume : float
        (a) Volume of the sphere over that of the cell.
    unique_radius : float
        (b) Up to which distance, in cutoffs, an atom's neighbours have no image within the
        cutoff; between 0 and 1.
    unique_volume : float
        (c) Volume of the cell shrunk to that radius (L to twice the unique radius) over that
        of the sphere.
    cell : float
        (d) Volume of the cell over that of the cube around the sphere: what it costs.
    """

    diameter: float
    volume: float
    unique_radius: float
    unique_volume: float
    cell: float


def sphere_of_influence(atoms: Atoms, cutoff: float) -> Influence:
    """Compare a fully periodic cell with the sphere of influence of a model.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic in three directions.
    cutoff : float
        Interaction cutoff of the model, Å.
    """
    if not 0 < cutoff < math.inf:
        raise ValueError(f"cutoff is a positive length in Å, got {cutoff}")
    if not atoms.pbc.all() or atoms.cell.rank < 3:
        raise ValueError(
            f"the measure is for three periodic directions, got pbc={atoms.pbc.tolist()} "
            f"and a cell of rank {atoms.cell.rank}"
        )
    reduced, _ = minkowski_reduce(atoms.cell, atoms.pbc)
    shortest = float(np.linalg.norm(reduced, axis=1).min())
    volume = float(atoms.cell.volume)
    sphere = 4 / 3 * math.pi * cutoff**3
    unique = min(max(shortest - cutoff, 0.0), cutoff)
    return Influence(
        diameter=2 * cutoff / shortest,
        volume=sphere / volume,
        unique_radius=unique / cutoff,
        unique_volume=volume * (2 * unique / shortest) ** 3 / sphere,
        cell=volume / (2 * cutoff) ** 3,
    )
