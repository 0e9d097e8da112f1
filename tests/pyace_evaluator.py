"""The methods of ``ase_hal.ace.evaluator.Evaluator`` by python-ace: slow, an oracle.

Nothing here shares code with the compiled kernels: neighbours, radial functions, products and
derivatives are python-ace's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell
from numpy.typing import NDArray
from pyace.atomicenvironment import aseatoms_to_atomicenvironment
from pyace.calculator import ACECalculator
from pyace.evaluator import ACEBEvaluator

Array = NDArray[np.float64]


class OracleRows(NamedTuple):
    """Energy (n,) and forces (N, 3, n) per unit coefficient; virial (6, c) of c functions."""

    energy: Array
    forces: Array
    virial: Array


def fully_periodic(atoms: Atoms, cutoff: float) -> Atoms:
    """The same neighbours in a cell periodic in all directions or none, as python-ace needs."""
    atoms = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    if not atoms.pbc.any():
        return atoms
    cell = complete_cell(atoms.cell)
    for axis in np.flatnonzero(~atoms.pbc):
        normal = np.cross(cell[axis - 2], cell[axis - 1])
        normal /= np.linalg.norm(normal)
        extent = np.ptp(atoms.positions @ normal)
        cell[axis] = normal * (extent + cutoff + 1.0)
    atoms.set_cell(cell)
    atoms.pbc = True
    atoms.wrap()
    return atoms


class _Part:
    """One B-basis of python-ace."""

    def __init__(self, bbasis: Any) -> None:
        self.bbasis = bbasis
        self.size = len(bbasis.basis_coeffs)
        counts = [
            len(rank1) + len(higher)
            for rank1, higher in zip(bbasis.basis_rank1, bbasis.basis, strict=True)
        ]
        self.start = np.concatenate([[0], np.cumsum(counts)])
        self.evaluator = ACEBEvaluator(bbasis)
        self.calculator = ACECalculator()
        self.calculator.set_evaluator(self.evaluator)

    def compute(
        self, atoms: Atoms, coefficients: Array | None = None, gradients: bool = False
    ) -> ACECalculator:
        if coefficients is not None:
            self.bbasis.basis_coeffs = coefficients.tolist()
            self.evaluator.set_basis(self.bbasis)
        environment = aseatoms_to_atomicenvironment(
            fully_periodic(atoms, self.bbasis.cutoffmax),
            cutoff=self.bbasis.cutoffmax,
            elements_mapper_dict=self.bbasis.elements_to_index_map,
        )
        self.calculator.compute(environment, compute_projections=True, compute_b_grad=gradients)
        return self.calculator

    def atomic_descriptors(self, atoms: Atoms) -> Array:
        projections = self.compute(atoms).projections
        result = np.zeros((len(atoms), self.size))
        for i, symbol in enumerate(atoms.symbols):
            start = self.start[self.bbasis.elements_to_index_map[symbol]]
            result[i, start : start + len(projections[i])] = projections[i]
        return result

    def energy_forces(self, atoms: Atoms, coefficients: Array) -> tuple[float, Array, Array]:
        result = self.compute(atoms, coefficients)
        # python-ace orders xx, yy, zz, xy, xz, yz and has the sign of dE/d(strain)
        virial = -np.array(result.virial)[[0, 1, 2, 5, 4, 3]]
        return float(result.energy), np.array(result.forces).reshape(-1, 3), virial

    def rows(self, atoms: Atoms, columns: Sequence[int]) -> OracleRows:
        forces = np.array(self.compute(atoms, gradients=True).forces_bfuncs)
        energy = self.atomic_descriptors(atoms).sum(axis=0)
        units = np.eye(self.size)[columns]
        virial = np.stack([self.energy_forces(atoms, unit)[2] for unit in units], axis=1)
        return OracleRows(energy, forces.transpose(0, 2, 1), virial)


class PyaceEvaluator:
    """Stand-in for ``Evaluator`` on ``ACEBBasisSet`` objects, whose coefficients it sets."""

    def __init__(self, bases: Sequence[Any]) -> None:
        self._parts = [_Part(bbasis) for bbasis in bases]
        self._splits = np.cumsum([part.size for part in self._parts])[:-1]
        self.size = sum(part.size for part in self._parts)
        self.elements = tuple(bases[0].elements_name)
        self.cutoff = max(float(bbasis.cutoffmax) for bbasis in bases)
        self._atoms: Atoms | None = None

    def atomic_descriptors(self, atoms: Atoms) -> Array:
        self._atoms = atoms.copy()
        return np.hstack([part.atomic_descriptors(atoms) for part in self._parts])

    def descriptors(self, atoms: Atoms) -> Array:
        return self.atomic_descriptors(atoms).sum(axis=0)

    def energy_forces(self, atoms: Atoms, coefficients: Array) -> tuple[float, Array, Array]:
        pieces = [
            part.energy_forces(atoms, piece)
            for part, piece in zip(self._parts, np.split(coefficients, self._splits), strict=True)
        ]
        energy, forces, virial = (sum(terms) for terms in zip(*pieces, strict=True))
        return energy, forces, virial

    def forces(self, coefficients: Array) -> tuple[Array, Array]:
        if self._atoms is None:
            raise RuntimeError("call descriptors(atoms) first")
        coefficients = np.asarray(coefficients, dtype=float)
        results = [self.energy_forces(self._atoms, c)[1:] for c in np.atleast_2d(coefficients)]
        forces = np.array([f for f, _ in results])
        virial = np.array([w for _, w in results])
        return (forces[0], virial[0]) if coefficients.ndim == 1 else (forces, virial)

    def rows(self, atoms: Atoms, columns: Sequence[int]) -> OracleRows:
        """Rows of a single basis; virials, for which python-ace is slow, of some columns only."""
        (part,) = self._parts
        return part.rows(atoms, columns)
