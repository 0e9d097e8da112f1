"""Baseline: the part of the energy that is not fitted, subtracted from labels and added back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from ase_hal.prediction import Array
from ase_hal.repulsion import ZBL


@dataclass(frozen=True)
class Baseline:
    """One-body energies and, optionally, a short-range repulsion.

    Attributes
    ----------
    one_body : mapping of str to float
        Energy of one atom of each element, eV.
    repulsion : ZBL or None
        Screened nuclear repulsion; the fitted model stays linear because its parameters
        are fixed.
    """

    one_body: Mapping[str, float]
    repulsion: ZBL | None = None

    def evaluate(self, atoms: Atoms) -> tuple[float, Array | None, Array | None]:
        """Energy (eV), forces (N, 3) (eV/Å) and virial (6,) (eV); None for what is zero."""
        energy = float(self._by_number[atoms.numbers].sum())
        if np.isnan(energy):
            missing = sorted(set(atoms.symbols) - set(self.one_body))
            raise ValueError(f"no one-body energy of {', '.join(missing)}")
        if self.repulsion is None:
            return energy, None, None
        pair_energy, forces, virial = self.repulsion.evaluate(atoms)
        return energy + pair_energy, forces, virial

    @cached_property
    def _by_number(self) -> Array:
        """One-body energies by atomic number, nan where there is none."""
        energies = np.full(len(chemical_symbols), np.nan)
        for symbol, energy in self.one_body.items():
            energies[atomic_numbers[symbol]] = energy
        return energies

    def todict(self) -> dict[str, Any]:
        """JSON-able form; `fromdict` reads it."""
        repulsion = self.repulsion.todict() if self.repulsion else None
        return {"one_body": dict(self.one_body), "repulsion": repulsion}

    @classmethod
    def fromdict(cls, data: Mapping[str, Any]) -> Baseline:
        repulsion = data.get("repulsion")
        return cls(dict(data["one_body"]), ZBL.fromdict(repulsion) if repulsion else None)


def least_squares_one_body(
    elements: Sequence[str], counts: Array, energies: Array, weights: Array | None = None
) -> dict[str, float]:
    """One-body energies that bring total energies closest to zero.

    Parameters
    ----------
    elements : sequence of str
        Chemical symbols, in the order of the columns of ``counts``.
    counts : (n, n_elements) array
        Numbers of atoms of each element in each structure.
    energies : (n,) array
        Energies, eV.
    weights : (n,) array, optional
        Factors of the residuals of energies per atom; by default all alike.

    Notes
    -----
    Where the compositions do not determine them (one composition only, say), the solution is
    taken that is closest to an equal share for every atom.
    """
    if not len(energies):
        return dict.fromkeys(elements, 0.0)
    per_atom = counts.sum(axis=1)
    factors = np.ones(len(energies)) if weights is None else weights / weights.max()
    share = factors**2 @ energies / (factors**2 @ per_atom)
    fractions, excess = counts / per_atom[:, None], energies / per_atom - share
    more = np.linalg.lstsq(factors[:, None] * fractions, factors * excess, rcond=1e-10)[0]
    return {symbol: float(value) for symbol, value in zip(elements, share + more, strict=True)}
