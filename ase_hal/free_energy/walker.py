"""A Monte Carlo walk over the occupations of one supercell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from ase.units import kB

from ase_hal.free_energy.ensemble import Ensemble
from ase_hal.free_energy.hamiltonian import Hamiltonian
from ase_hal.free_energy.lattice import Supercell
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy.tables import SiteTables
from ase_hal.parallel import check_cancelled

_TRIALS = 20_000_000  # between two looks at whether the walk is still wanted; about a second


@dataclass(frozen=True, eq=False)
class Arena:
    """What walks in one supercell have in common.

    Attributes
    ----------
    tables : SiteTables
    kind : (M,) int32
        Which of the N sites of the mutually commensurate supercell each site repeats.
    weights : (N, d) array
        What an occupied site of each kind adds to M eta.
    """

    tables: SiteTables
    kind: npt.NDArray[np.int32]
    weights: Array

    @classmethod
    def of(
        cls, hamiltonian: Hamiltonian, order_parameters: OrderParameters, supercell: Supercell
    ) -> Arena:
        """Prepare walks in a multiple of the supercell of the order parameters."""
        kind = order_parameters.supercell.kinds(supercell).astype(np.int32)
        tables = SiteTables.of(hamiltonian, supercell)
        return cls(tables, kind, np.ascontiguousarray(order_parameters.inverse))

    @property
    def n_sites(self) -> int:
        """Sites of the supercell (M)."""
        return len(self.kind)


class Walker:
    """Metropolis flips of single sites, an exact sample of an `Ensemble`.

    Parameters
    ----------
    arena : Arena
    occupied : (M,) array
        Where to start: 0 or 1 for each site.
    rng : np.random.Generator
    """

    def __init__(self, arena: Arena, occupied: npt.ArrayLike, *, rng: np.random.Generator) -> None:
        self._arena = arena
        self.occupied = np.array(occupied, dtype=np.int8)
        if self.occupied.shape != (arena.n_sites,) or not np.isin(self.occupied, (0, 1)).all():
            raise ValueError(f"a walk needs occupations 0 or 1 of {arena.n_sites} sites")
        self._state = rng.integers(1, 2**64 - 1, size=4, dtype=np.uint64)

    @property
    def eta(self) -> Array:
        """Order parameters (d,) of the present occupation."""
        counts = np.bincount(self._arena.kind, self.occupied, minlength=len(self._arena.weights))
        return np.asarray(counts @ self._arena.weights / self._arena.n_sites)

    def run(self, ensemble: Ensemble, sweeps: int) -> tuple[Array, Array, float]:
        """Walk on: as many trials as sites in each sweep.

        Returns
        -------
        eta : (sweeps, d) array
            Order parameters after each sweep.
        energy : (sweeps,) array
            Energy of the Hamiltonian after each sweep, eV per site.
        acceptance : float

        Raises
        ------
        CancelledError
            In a thread of a `CancellableThreads` that were cancelled.
        """
        length = max(_TRIALS // self._arena.n_sites, 1)
        parts = []
        for done in range(0, sweeps, length):
            check_cancelled()
            parts.append(self._run(ensemble, min(length, sweeps - done)))
        eta, energy, accepted = zip(*parts, strict=True)
        trials = self._arena.n_sites * sweeps
        return np.concatenate(eta), np.concatenate(energy), sum(accepted) / trials

    def _run(self, ensemble: Ensemble, sweeps: int) -> tuple[Array, Array, int]:
        """Order parameters, energies and the number of accepted flips."""
        from ase_hal.free_energy.kernels import flip

        tables, n = self._arena.tables, self._arena.n_sites
        weights = self._arena.weights
        beta = 1 / (kB * ensemble.temperature_K)
        counts = np.bincount(self._arena.kind, self.occupied, minlength=len(weights))
        counts = counts.astype(np.int64)
        stiff = beta * ensemble.phi
        records = np.empty((sweeps, len(weights)), np.int64)
        energies = np.empty(sweeps)
        # all that is updated along the way starts anew: rounding errors do not pile up
        accepted = flip(
            self.occupied,
            beta * tables.fields(self.occupied),
            self._arena.kind,
            counts,
            beta * (weights @ ensemble.force(self.eta)),
            weights**2 @ stiff / n,
            2 * (weights * stiff) @ weights.T / n,
            beta * tables.filling,
            tables.neighbours,
            tables.row,
            beta * tables.values,
            tables.start,
            tables.others,
            tables.size,
            beta * tables.strength,
            n,
            records,
            energies,
            beta * tables.energy(self.occupied),
            self._state,
        )
        return records @ weights / n, energies / (beta * n), accepted
