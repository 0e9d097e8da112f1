"""SwapMC: two atoms of different elements change places."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass

import numpy as np
from ase import Atoms, units
from ase.data import atomic_numbers

from ase_hal.data.constraints import held_atoms
from ase_hal.dynamics.moves.metropolis import check_schedule, metropolis, trial_energy


@dataclass(frozen=True)
class SwapMC:
    """Exchange the positions of two atoms of different elements.

    Only positions are exchanged: each atom keeps its momentum, so that the kinetic energy does
    not change whatever the masses are. Atoms held by a constraint are never chosen, whatever it
    leaves free: an atom of a plane stays in its plane, and all ends of a bond stay. All pairs of
    other atoms of different elements are equally likely.

    Parameters
    ----------
    interval : int
        Dynamics steps between calls.
    elements : tuple of str, optional
        Swap among these elements only.
    attempts : int
        Trials per call.
    """

    interval: int
    _: KW_ONLY
    elements: tuple[str, ...] | None = None
    attempts: int = 1

    def __post_init__(self) -> None:
        check_schedule(self.interval, self.attempts)
        if self.elements is None:
            return
        unknown = [element for element in self.elements if element not in atomic_numbers]
        if unknown or len(set(self.elements)) < 2:
            raise ValueError(
                f"elements must be at least two different chemical symbols, got {self.elements}"
            )

    def check(self, atoms: Atoms) -> None:
        """Raise ValueError where there is nothing to swap."""
        candidates = self._candidates(atoms)
        if len(set(atoms.numbers[candidates])) < 2:
            among = "" if self.elements is None else f" among {', '.join(self.elements)}"
            raise ValueError(
                f"nothing to swap in {atoms.get_chemical_formula()}{among}: "
                "two different elements that no constraint holds are needed"
            )

    def attempt(
        self, atoms: Atoms, *, temperature_K: float, rng: np.random.Generator, step: int = 0
    ) -> bool:
        """One trial; True where it was accepted."""
        i, j = self._pair(atoms, rng)
        before = atoms.get_potential_energy()
        kept = atoms.positions.copy()
        swapped = kept.copy()
        swapped[[i, j]] = kept[[j, i]]
        atoms.set_positions(swapped)
        difference = trial_energy(atoms) - before
        if metropolis(-difference / (units.kB * temperature_K), rng):
            return True
        atoms.positions[:] = kept
        return False

    def _pair(self, atoms: Atoms, rng: np.random.Generator) -> tuple[int, int]:
        """Two atoms of different elements: any such pair with the same probability."""
        candidates = self._candidates(atoms)
        numbers = atoms.numbers[candidates]
        _, kind, counts = np.unique(numbers, return_inverse=True, return_counts=True)
        partners = len(candidates) - counts[kind]
        ends = np.cumsum(partners)  # numbers all ordered pairs, by their first atom
        pair = rng.integers(ends[-1])
        first = int(np.searchsorted(ends, pair, side="right"))
        second = np.flatnonzero(kind != kind[first])[ends[first] - 1 - pair]
        return int(candidates[first]), int(candidates[second])

    def _candidates(self, atoms: Atoms) -> np.ndarray:
        free = ~held_atoms(atoms)
        if self.elements is not None:
            free &= np.isin(atoms.numbers, [atomic_numbers[e] for e in self.elements])
        return np.flatnonzero(free)
