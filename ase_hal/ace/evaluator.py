"""Descriptors, energies and forces of linear ACE models, compiled.

For a linear model E = c . B. The first pass over a structure gives B, the second the forces of
any number of coefficient vectors from what the first one kept; neither depends on how the
coefficients came about. See ``kernels/`` for how, and `NeighborList` for the pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock, local
from typing import Any

import numpy as np
from ase import Atoms
from numpy.typing import ArrayLike, NDArray

from ase_hal.ace.neighbor_lists import NeighborLists
from ase_hal.ace.part import CompiledTables, Part, Structure
from ase_hal.ace.tables import FunctionTables

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Rows:
    """Derivatives per unit coefficient: rows of a design matrix before weighting.

    Attributes
    ----------
    energy : (n,) array
        B, summed over atoms.
    forces : (N, 3, n) array
        -dB/dr, 1/Å.
    virial : (6, n) array
        -dB/d(strain), Voigt order xx, yy, zz, yz, xz, xy.
    """

    energy: Array
    forces: Array
    virial: Array


class ThreadEvaluator:
    """Evaluation of linear ACE models, in one thread at a time; holds buffers.

    The order of the coefficients is that of the parts, and within one of them that of its
    functions.

    Parameters
    ----------
    compiled : sequence of CompiledTables
        Bases to be added up.
    neighbors : NeighborLists
        Neighbour lists with a reach that is that of the bases; evaluators may share them.
    """

    def __init__(self, compiled: Sequence[CompiledTables], neighbors: NeighborLists) -> None:
        self.elements = neighbors.elements
        self.cutoff = neighbors.cutoff
        self.skin = neighbors.skin
        self._neighbors = neighbors
        sizes = [part.tables.size for part in compiled]
        self.size = sum(sizes)
        starts = np.cumsum([0, *sizes])
        self._parts = [
            Part(part, int(start)) for part, start in zip(compiled, starts, strict=False)
        ]
        self._structure: Structure | None = None

    def descriptors(self, atoms: Atoms) -> Array:
        """B summed over atoms, (n,); the atoms are remembered for `forces`."""
        structure = self._prepare(atoms)
        result = np.concatenate([part.descriptors(structure) for part in self._parts])
        self._structure = structure
        return result

    def forces(self, coefficients: ArrayLike) -> tuple[Array, Array]:
        """Forces and virials of the atoms last given to `descriptors`.

        Parameters
        ----------
        coefficients : (n,) or (K, n) array

        Returns
        -------
        forces : (N, 3) or (K, N, 3) array
        virial : (6,) or (K, 6) array
            -dE/d(strain), Voigt order xx, yy, zz, yz, xz, xy.
        """
        structure = self._remembered()
        vectors = self._coefficients(coefficients)
        _, forces, virials = self._differentiate(structure, np.atleast_2d(vectors))
        return (forces[0], virials[0]) if vectors.ndim == 1 else (forces, virials)

    def energy_forces(self, atoms: Atoms, coefficients: ArrayLike) -> tuple[float, Array, Array]:
        """Energy, forces (N, 3) and virial (6,) of one coefficient vector (n,), in one pass."""
        vector = self._coefficients(coefficients)
        if vector.ndim != 1:
            raise ValueError(f"one coefficient vector ({self.size},), got shape {vector.shape}")
        energies, forces, virials = self._differentiate(self._prepare(atoms), vector[None])
        return float(energies[0]), forces[0], virials[0]

    def rows(self, atoms: Atoms) -> Rows:
        """Derivatives of every function."""
        structure = self._prepare(atoms)
        forces = np.zeros((structure.n_atoms, 3, self.size))
        virial = np.zeros((6, self.size))
        energy = np.concatenate([part.rows(structure, forces, virial) for part in self._parts])
        return Rows(energy, forces, virial)

    def atomic_descriptors(self, atoms: Atoms) -> Array:
        """B of each atom, (N, n): zero for functions of another central species.

        The atoms are remembered for `forces` and `atomic_forces`.
        """
        structure = self._prepare(atoms)
        result = np.zeros((structure.n_atoms, self.size))
        for part in self._parts:
            part.atomic_descriptors(structure, result)
        self._structure = structure
        return result

    def atomic_forces(self, weights: ArrayLike) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (6,) of sum_i weights_i . B_i, weights (N, n).

        For the atoms last given to `atomic_descriptors` or `descriptors`.
        """
        structure = self._remembered()
        array = np.array(weights, dtype=float, order="C")
        if array.shape != (structure.n_atoms, self.size):
            raise ValueError(
                f"weights of shape {(structure.n_atoms, self.size)}, got {array.shape}"
            )
        _require_finite(array, "weights")
        forces, virial = np.zeros((structure.n_atoms, 3)), np.zeros(6)
        for part in self._parts:
            part.differentiate_atoms(structure, array, forces, virial)
        return forces, virial

    def _differentiate(self, structure: Structure, vectors: Array) -> tuple[Array, Array, Array]:
        energies = np.zeros(len(vectors))
        forces = np.zeros((len(vectors), structure.n_atoms, 3))
        virials = np.zeros((len(vectors), 6))
        for part in self._parts:
            part.differentiate(structure, vectors, energies, forces, virials)
        return energies, forces, virials

    def _prepare(self, atoms: Atoms) -> Structure:
        self._structure = None
        pairs, positions, shifts = self._neighbors.update(atoms)
        return Structure(atoms.numbers, pairs, positions, shifts)

    def _remembered(self) -> Structure:
        if self._structure is None:
            raise RuntimeError("no atoms: call descriptors(atoms) right before, in the same thread")
        return self._structure

    def _coefficients(self, coefficients: ArrayLike) -> Array:
        vectors = np.array(coefficients, dtype=float, order="C")
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != self.size:
            raise ValueError(
                f"coefficients of shape ({self.size},) or (K, {self.size}), got {vectors.shape}"
            )
        _require_finite(vectors, "coefficients")
        return vectors


class Evaluator(ThreadEvaluator):
    """Evaluation of linear ACE models; holds buffers, and a neighbour list for every Atoms object.

    The order of the coefficients is that of ``parts``, and within one of them that of its
    functions.

    Parameters
    ----------
    parts : sequence of FunctionTables or CompiledTables
        Bases to be added up, such as many-body functions and pair functions of longer range. All
        have the same elements.
    skin : float
        Distance beyond the cutoff (Å) up to which neighbours are listed, so that the list can
        serve several steps. It serves the Atoms object that it was made for and no other:
        results depend, down to the last digit, on where that object has been and on nothing else.

    Notes
    -----
    Threads may share an evaluator: they take turns, and each has atoms of its own that `forces`
    and `atomic_forces` mean. An `EvaluatorPool` lets them work at the same time.
    """

    def __init__(
        self, parts: Sequence[FunctionTables | CompiledTables], *, skin: float = 0.5
    ) -> None:
        self._lock = Lock()
        self._last = local()
        compiled = compile_parts(parts)
        super().__init__(compiled, neighbor_lists(compiled, skin))
        self._tables = tuple(part.tables for part in compiled)

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._tables, self.skin)

    @property
    def _structure(self) -> Structure | None:
        """What this thread has prepared last."""
        structure: Structure | None = getattr(self._last, "structure", None)
        return structure

    @_structure.setter
    def _structure(self, structure: Structure | None) -> None:
        self._last.structure = structure

    def descriptors(self, atoms: Atoms) -> Array:
        """B summed over atoms, (n,); the atoms are remembered for `forces` in this thread."""
        with self._lock:
            return super().descriptors(atoms)

    def forces(self, coefficients: ArrayLike) -> tuple[Array, Array]:
        """Forces and virials of the atoms that this thread last gave to `descriptors`.

        Parameters
        ----------
        coefficients : (n,) or (K, n) array

        Returns
        -------
        forces : (N, 3) or (K, N, 3) array
        virial : (6,) or (K, 6) array
            -dE/d(strain), Voigt order xx, yy, zz, yz, xz, xy.
        """
        with self._lock:
            return super().forces(coefficients)

    def energy_forces(self, atoms: Atoms, coefficients: ArrayLike) -> tuple[float, Array, Array]:
        """Energy, forces (N, 3) and virial (6,) of one coefficient vector (n,), in one pass."""
        with self._lock:
            return super().energy_forces(atoms, coefficients)

    def rows(self, atoms: Atoms) -> Rows:
        """Derivatives of every function."""
        with self._lock:
            return super().rows(atoms)

    def atomic_descriptors(self, atoms: Atoms) -> Array:
        """B of each atom, (N, n): zero for functions of another central species.

        The atoms are remembered for `forces` and `atomic_forces` in this thread.
        """
        with self._lock:
            return super().atomic_descriptors(atoms)

    def atomic_forces(self, weights: ArrayLike) -> tuple[Array, Array]:
        """Forces (N, 3) and virial (6,) of sum_i weights_i . B_i, weights (N, n).

        For the atoms that this thread last gave to `atomic_descriptors` or `descriptors`.
        """
        with self._lock:
            return super().atomic_forces(weights)


def compile_parts(
    parts: Sequence[FunctionTables | CompiledTables],
) -> tuple[CompiledTables, ...]:
    """Bases to be added up, compiled where they are not; ValueError for different elements."""
    if not len(parts):
        raise ValueError("an evaluator needs at least one part")
    compiled = tuple(
        part if isinstance(part, CompiledTables) else CompiledTables(part) for part in parts
    )
    elements = [part.tables.elements for part in compiled]
    if len(set(elements)) > 1:
        raise ValueError(f"parts differ in elements: {elements}")
    return compiled


def neighbor_lists(compiled: Sequence[CompiledTables], skin: float) -> NeighborLists:
    """Neighbour lists that reach as far as the bases."""
    cutoff = max(part.tables.cutoff for part in compiled)
    return NeighborLists(compiled[0].tables.elements, cutoff, skin)


def _require_finite(array: Array, name: str) -> None:
    if not np.isfinite(array).all():
        raise ValueError(f"{name} are not finite")


def _rebuild(parts: tuple[FunctionTables, ...], skin: float) -> Evaluator:
    return Evaluator(parts, skin=skin)
