"""Interactions of a Hamiltonian in one supercell, site by site, for the compiled flips."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.hamiltonian import Hamiltonian
from ase_hal.free_energy.lattice import Supercell
from ase_hal.free_energy.symmetry import Array, IntArray

Int32Array = npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class SiteTables:
    """What filling each of N sites costs, by its surroundings.

    Attributes
    ----------
    constant : float
        Energy of the empty lattice without the polynomial, eV.
    point : (N,) array
        Cost of filling a site alone, eV.
    neighbours, row, values : (N, Z) int32, (N,) int32, (R, Z) arrays
        Pairs of each site, and the row of interactions (eV) that belongs to it.
    start, others, size, strength : (N + 1,) int64, (C, L) int32, (C,) int32, (C,) arrays
        Clusters ``start[i]:start[i + 1]`` of three and more sites that site i is in: its
        `size` other sites, and the interaction (eV).
    filling : (N + 1,) array
        Energy of the composition polynomial for each number of occupied sites, eV.
    """

    constant: float
    point: Array
    neighbours: Int32Array
    row: Int32Array
    values: Array
    start: IntArray
    others: Int32Array
    size: Int32Array
    strength: Array
    filling: Array

    @classmethod
    def of(cls, hamiltonian: Hamiltonian, supercell: Supercell) -> SiteTables:
        """Tabulate a Hamiltonian."""
        n = supercell.n_sites
        by_order = {sites.shape[1]: (sites, v) for sites, v in hamiltonian.clusters(supercell)}
        constant = by_order.pop(0, (None, np.zeros(1)))[1][0]
        point = np.zeros(n)
        if 1 in by_order:
            sites, energies = by_order.pop(1)
            point[sites[:, 0]] = energies
        pairs = by_order.pop(2, (np.empty((0, 2), np.int64), np.empty(0)))
        composition = np.arange(n + 1) / n
        neighbours, row, values = _pair_tables(*pairs, n)
        start, others, size, strength = _cluster_tables(list(by_order.values()), n)
        filling = n * hamiltonian.composition_energy(composition)
        return cls(
            float(constant),
            point,
            neighbours=neighbours,
            row=row,
            values=values,
            start=start,
            others=others,
            size=size,
            strength=strength,
            filling=filling,
        )

    def fields(self, occupied: npt.NDArray[np.int8]) -> Array:
        """Cost of filling each site (N,) with all others as they are, polynomial aside, eV."""
        pairs, larger = self._surroundings(occupied)
        return np.asarray(self.point + pairs + self._per_site(larger))

    def energy(self, occupied: npt.NDArray[np.int8]) -> float:
        """Energy of an occupation (N,), eV."""
        pairs, larger = self._surroundings(occupied)
        shares = self.point + pairs / 2 + self._per_site(larger / (self.size + 1))
        return float(self.constant + occupied @ shares + self.filling[int(occupied.sum())])

    def _surroundings(self, occupied: npt.NDArray[np.int8]) -> tuple[Array, Array]:
        """Cost of filling a site due to its pairs (N,), and due to each larger cluster (C,)."""
        pairs = (self.values[self.row] * occupied[self.neighbours]).sum(axis=1)
        absent = np.arange(self.others.shape[1]) >= self.size[:, None]
        full = ((occupied[self.others] == 1) | absent).all(axis=1)
        return pairs, self.strength * full

    def _per_site(self, larger: Array) -> Array:
        owner = np.repeat(np.arange(len(self.point)), np.diff(self.start))
        return np.asarray(np.bincount(owner, larger, minlength=len(self.point)), dtype=float)


def _pair_tables(sites: IntArray, energies: Array, n: int) -> tuple[Int32Array, Int32Array, Array]:
    """Neighbours (n, Z) of each site, its row, and the rows of interactions."""
    start = np.concatenate([sites[:, 0], sites[:, 1]])
    end = np.concatenate([sites[:, 1], sites[:, 0]])
    strength = np.concatenate([energies, energies])
    order = np.lexsort([end, strength, start])
    start, end, strength = start[order], end[order], strength[order]
    count = np.bincount(start, minlength=n)
    place = np.arange(len(start)) - np.repeat(np.cumsum(count) - count, count)
    # a site with fewer neighbours than others has itself as one, without interaction
    neighbours = np.tile(np.arange(n, dtype=np.int32)[:, None], (1, max(count.max(initial=0), 1)))
    values = np.zeros(neighbours.shape)
    neighbours[start, place] = end
    values[start, place] = strength
    rows, row = np.unique(values, axis=0, return_inverse=True)
    return neighbours, row.astype(np.int32).ravel(), rows


def _cluster_tables(
    groups: list[tuple[IntArray, Array]], n: int
) -> tuple[IntArray, Int32Array, Int32Array, Array]:
    """Clusters of each site, as in SiteTables, from (C, k) sites and (C,) interactions."""
    width = max((sites.shape[1] for sites, _ in groups), default=2) - 1
    owner, others, size, strength = [], [], [], []
    for sites, energies in groups:
        for k in range(sites.shape[1]):
            rest = np.delete(sites, k, axis=1)
            padding = np.zeros((len(rest), width - rest.shape[1]), np.int64)
            owner.append(sites[:, k])
            others.append(np.hstack([rest, padding]))
            size.append(np.full(len(rest), rest.shape[1]))
            strength.append(energies)
    if not owner:
        empty = np.empty((0, width), np.int32)
        return np.zeros(n + 1, np.int64), empty, np.empty(0, np.int32), np.empty(0)
    owners = np.concatenate(owner)
    order = np.argsort(owners, kind="stable")
    start = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=n))])
    return (
        start,
        np.concatenate(others)[order].astype(np.int32),
        np.concatenate(size)[order].astype(np.int32),
        np.concatenate(strength)[order],
    )
