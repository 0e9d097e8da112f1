"""Energies of occupations: cluster interactions and a polynomial of the composition."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.clusters import Cluster, Orbit, canonical, image
from ase_hal.free_energy.lattice import Lattice, Supercell
from ase_hal.free_energy.symmetry import Array, IntArray


@dataclass(frozen=True, eq=False)
class Hamiltonian:
    r"""Lattice Hamiltonian of occupations n = 0 or 1.

    .. math:: H = \sum_\alpha V_\alpha \prod_{i \in \alpha} n_i
              + N \sum_p c_p (2 \eta_0 - 1)^p

    over all clusters of N sites with composition eta_0.

    Parameters
    ----------
    lattice : Lattice
    interactions : mapping of Cluster to float
        V of each cluster of a primitive cell, eV. A cluster is a tuple of sites (three
        components of a lattice vector, number of the site in its cell); its lattice
        translations are meant as well. The empty cluster is a constant per cell.
    polynomial : tuple of float
        c_p from p = 0 on, eV per site.
    """

    lattice: Lattice
    interactions: Mapping[Cluster, float]
    polynomial: tuple[float, ...] = ()

    def __repr__(self) -> str:
        largest = max(map(len, self.interactions), default=0)
        return f"<Hamiltonian: {len(self.interactions)} clusters of up to {largest} sites>"

    def __post_init__(self) -> None:
        merged: dict[Cluster, float] = {}
        for cluster, energy in self.interactions.items():
            if not np.isrealobj(energy) or isinstance(energy, str) or not np.isfinite(energy):
                raise ValueError(
                    f"the interaction of cluster {cluster} is a finite number of eV, got {energy!r}"
                )
            if any(np.shape(site) != (4,) for site in cluster):
                raise ValueError(
                    f"a site is three components of a lattice vector and its number in the cell, "
                    f"as (1, 0, 0, 0); got the cluster {cluster}"
                )
            if any(not 0 <= site[3] < self.lattice.n_basis for site in cluster):
                raise ValueError(f"cluster {cluster} has a site that the lattice has not")
            if len(set(cluster)) < len(cluster):
                raise ValueError(f"cluster {cluster} has the same site twice")
            name = canonical(cluster) if cluster else ()
            merged[name] = merged.get(name, 0.0) + float(energy)
        object.__setattr__(self, "interactions", merged)
        object.__setattr__(self, "polynomial", tuple(map(float, self.polynomial)))
        if not np.isfinite(self.polynomial).all():
            raise ValueError(f"the polynomial of the composition is {self.polynomial}")

    @classmethod
    def from_orbits(
        cls,
        lattice: Lattice,
        energies: Iterable[tuple[Orbit, float]],
        *,
        polynomial: Sequence[float] = (),
    ) -> Hamiltonian:
        """Give all clusters of an orbit (see `find_orbits`) the same interaction, eV."""
        interactions = {c: energy for orbit, energy in energies for c in orbit.clusters}
        return cls(lattice, interactions, tuple(polynomial))

    def composition_energy(self, composition: npt.ArrayLike) -> Array:
        """Value of the polynomial (...,) at compositions (...,), eV per site."""
        x = 2 * np.asarray(composition, dtype=float) - 1
        return np.asarray(np.polynomial.polynomial.polyval(x, self.polynomial or (0.0,)))

    def energy(self, occupations: npt.ArrayLike, supercell: Supercell) -> Array:
        """Energy of occupations (..., n_sites) of a supercell, eV."""
        filled = supercell.checked(occupations)
        tables = self.clusters(supercell)
        total = supercell.n_sites * self.composition_energy(filled.mean(axis=-1))
        for sites, energies in tables:
            total = total + filled[..., sites].prod(axis=-1) @ energies
        return np.asarray(total)

    def clusters(self, supercell: Supercell) -> list[tuple[IntArray, Array]]:
        """All clusters of a supercell, by their number of sites.

        Returns
        -------
        list of (sites, energies)
            (C, k) site numbers and (C,) interactions, eV. A cluster that meets itself in a small
            supercell has fewer sites; several that fall on the same sites are one.
        """
        if not supercell.lattice.same_as(self.lattice):
            raise ValueError("the supercell is one of another lattice")
        found: dict[int, list[tuple[IntArray, Array]]] = {}
        for cluster, energy in self.interactions.items():
            sites = np.array(cluster, dtype=np.int64).reshape(-1, 4)
            offsets = supercell.cell_offsets[:, None] + sites[:, :3]
            numbers = np.sort(supercell.index(offsets, sites[:, 3]), axis=1)
            repeats = np.diff(numbers, axis=1) == 0
            order = len(cluster) - repeats.sum(axis=1)
            for k in np.unique(order):
                chosen = order == k
                distinct = np.column_stack([np.ones(chosen.sum(), bool), ~repeats[chosen]])
                distinct = distinct[:, : len(cluster)]
                part = numbers[chosen][distinct].reshape(chosen.sum(), k)
                found.setdefault(int(k), []).append((part, np.full(len(part), energy)))
        return [_merged(found[k]) for k in sorted(found)]

    def check_symmetry(self, lattice: Lattice) -> None:
        """Raise ValueError unless the interactions have the symmetry of a lattice."""
        if not lattice.same_as(self.lattice):
            raise ValueError(
                "the Hamiltonian is one of another lattice: another cell, other sites in it, or "
                "the same in another order"
            )
        largest = max((abs(energy) for energy in self.interactions.values()), default=0.0)
        for operation in lattice.operations:
            for cluster, energy in self.interactions.items():
                if not cluster:
                    continue
                other = image(cluster, operation)
                if abs(energy - self.interactions.get(other, 0.0)) > 1e-6 * largest:
                    raise ValueError(
                        f"the Hamiltonian does not have the symmetry of the lattice: clusters "
                        f"{cluster} and {other} are equivalent, but their interactions are "
                        f"{energy:.6g} and {self.interactions.get(other, 0.0):.6g} eV"
                    )


def _merged(parts: list[tuple[IntArray, Array]]) -> tuple[IntArray, Array]:
    sites = np.concatenate([part for part, _ in parts])
    energies = np.concatenate([energy for _, energy in parts])
    if not sites.shape[1]:
        return np.empty((1, 0), np.int64), np.array([energies.sum()])
    distinct, inverse = np.unique(sites, axis=0, return_inverse=True)
    total = np.zeros(len(distinct))
    np.add.at(total, inverse.ravel(), energies)
    return distinct, total
