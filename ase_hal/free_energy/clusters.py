"""Clusters of sites that the symmetry of a lattice makes equivalent."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ase_hal.free_energy.lattice import Lattice
from ase_hal.free_energy.symmetry import Operation

Site = tuple[int, int, int, int]  # lattice vector, site of the cell
Cluster = tuple[Site, ...]


@dataclass(frozen=True)
class Orbit:
    """All clusters of one primitive cell that symmetry maps onto one another.

    Attributes
    ----------
    clusters : tuple of Cluster
        Each a tuple of sites, and each site three components of a lattice vector and the number
        of the site in its cell, as ``((0, 0, 0, 0), (1, 0, 0, 0))``. Lattice translations are
        meant as well.
    diameter : float
        Largest distance between two sites of a cluster, Å.
    """

    clusters: tuple[Cluster, ...]
    diameter: float

    @property
    def order(self) -> int:
        """Sites in a cluster."""
        return len(self.clusters[0])


def find_orbits(lattice: Lattice, cutoffs: Sequence[float]) -> list[Orbit]:
    """List the clusters of a lattice by symmetry, from points upwards.

    Parameters
    ----------
    lattice : Lattice
    cutoffs : sequence of float
        Largest distance between two sites of pairs, triplets, and so on, Å.

    Returns
    -------
    list of Orbit
        By the number of sites, then by size.
    """
    lengths = np.asarray(cutoffs, dtype=float)
    if lengths.ndim != 1 or not (lengths > 0).all() or np.isinf(lengths).any():
        raise ValueError(
            f"cutoffs are positive distances of pairs, triplets, and so on, as [5.0, 3.0]; got "
            f"{cutoffs!r}"
        )
    growing: list[Cluster] = [((0, 0, 0, b),) for b in range(lattice.n_basis)]
    orbits = _sort_into_orbits(lattice, growing)
    for cutoff in cutoffs:
        grown = set()
        for cluster in growing:
            for site in _neighbours(lattice, cluster[0], cutoff):
                if site not in cluster and _diameter(lattice, (*cluster, site)) <= cutoff + 1e-6:
                    grown.add(canonical((*cluster, site)))
        growing = sorted(grown)
        orbits += _sort_into_orbits(lattice, growing)
    return orbits


def canonical(cluster: Sequence[Sequence[int]]) -> Cluster:
    """Name a cluster the same way wherever a lattice translation takes it."""
    return min(
        tuple(sorted((x - u, y - v, z - w, b) for x, y, z, b in cluster))
        for u, v, w in {(x, y, z) for x, y, z, _ in cluster}
    )


def image(cluster: Cluster, operation: Operation) -> Cluster:
    """Where a symmetry operation takes a cluster."""
    sites = np.array(cluster)
    offsets, basis = operation(sites[:, :3], sites[:, 3])
    return canonical(np.column_stack([offsets, basis]).tolist())


def _sort_into_orbits(lattice: Lattice, clusters: Sequence[Cluster]) -> list[Orbit]:
    orbits = []
    left = set(clusters)
    while left:
        first = min(left)
        members = {image(first, operation) for operation in lattice.operations}
        left -= members
        orbits.append(Orbit(tuple(sorted(members)), _diameter(lattice, first)))
    return sorted(orbits, key=lambda orbit: (round(orbit.diameter, 6), orbit.clusters))


def _diameter(lattice: Lattice, cluster: Cluster) -> float:
    sites = np.array(cluster)
    positions = lattice.positions(sites[:, :3], sites[:, 3])
    return float(np.linalg.norm(positions[:, None] - positions[None], axis=2).max())


def _neighbours(lattice: Lattice, site: Site, cutoff: float) -> list[Site]:
    """Sites within a distance of one."""
    spread = np.ptp(lattice.sites, axis=0)
    reach = np.ceil(cutoff * np.linalg.norm(np.linalg.inv(lattice.cell), axis=0) + spread)
    offsets = np.array(list(itertools.product(*(np.arange(-r, r + 1) for r in reach))), int)
    offsets = np.repeat(offsets, lattice.n_basis, axis=0) + np.array(site[:3])
    basis = np.tile(np.arange(lattice.n_basis), len(offsets) // lattice.n_basis)
    origin = lattice.positions(np.array(site[:3]), np.array(site[3]))
    near = np.linalg.norm(lattice.positions(offsets, basis) - origin, axis=1) <= cutoff + 1e-6
    return [
        (int(o[0]), int(o[1]), int(o[2]), int(b))
        for o, b in zip(offsets[near], basis[near], strict=True)
        if (*o, b) != site
    ]
