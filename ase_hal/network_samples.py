"""What networks learn from: structures with weighted labels, inputs and their derivatives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_hal.ace.evaluator import Evaluator, Rows
from ase_hal.fits.observations import Observation
from ase_hal.networks import Components
from ase_hal.prediction import Array

_STEP = 1e-4  # Å, or strain: of central differences of smooth functions in double precision
_VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))


def energy_weights(items: Sequence[Observation]) -> Array:
    """Factors of the energies over sqrt(N), (n,)."""
    return np.array([item.energy_weight for item in items])


def energy_noise(errors: Array, sizes: Array, weights: Array) -> float:
    """Standard deviation of the energy of one atom, eV.

    Parameters
    ----------
    errors : (n,) array
        Of the energies of structures, eV; they count as in the fit.
    sizes : (n,) array
        Numbers of atoms.
    weights : (n,) array
        Factors of the energies per atom, as of `energy_weights`.
    """
    return float(np.sqrt(np.average(errors**2 / sizes, weights=weights**2)))


class Sample(NamedTuple):
    """What training needs to know of one structure of N atoms, weights included.

    It has C other labels than the energy: force components and virial components.
    """

    species: NDArray[np.intp]  # (N,), index of the element of each atom
    inputs: Array  # (N, m), of the networks
    jacobian: Array  # (N, m, C), minus the derivatives of the inputs, weighted
    linear: Array  # (1 + C, n), weighted rows of the linear terms of all elements
    targets: Array  # (1 + C,), weighted labels in units of the scale, the energy first
    energy_factor: float


def sample(
    item: Observation,
    evaluator: Evaluator,
    components: Mapping[str, Components],
    m: int,
    *,
    energy: float,
    scale: float,
) -> Sample:
    """Rows and Jacobians of one structure.

    Parameters
    ----------
    item : Observation
    evaluator : Evaluator
    components : mapping of str to Components
        In the order of the elements of the evaluator.
    m : int
        Components that are inputs of the networks.
    energy : float
        Label without one-body energies, eV.
    scale : float
        Unit of the energies of networks, eV.
    """
    atoms, used = item.atoms, item.factors > 0
    factors = item.factors[used]
    species = np.array([evaluator.elements.index(symbol) for symbol in atoms.symbols])
    inputs, jacobian = inputs_and_jacobian(evaluator, components, m, atoms)
    linear = _linear_rows(evaluator.rows(atoms), components, item.counts)
    return Sample(
        species,
        inputs,
        -jacobian[..., used] * factors,
        np.concatenate([item.energy_factor * linear[:1], factors[:, None] * linear[1:][used]]),
        np.array([item.energy_factor * energy, *(factors * item.others[used])]) / scale,
        item.energy_factor,
    )


def inputs_and_jacobian(
    evaluator: Evaluator, components: Mapping[str, Components], m: int, atoms: Atoms
) -> tuple[Array, Array]:
    """First m components (N, m) and their derivatives (N, m, 3 N + 6) by positions and strain.

    The derivatives are central differences: the kernel's adjoint, which gives the exact
    derivatives of one sum, would have to be called for every atom and component. Without a
    volume those by strain are zero.
    """
    n = len(atoms)
    of_element = [np.flatnonzero(atoms.symbols == element) for element in components]

    def inputs(structure: Atoms) -> Array:
        descriptors = evaluator.atomic_descriptors(structure)
        result = np.empty((n, m))
        for some, c in zip(of_element, components.values(), strict=True):
            result[some] = c(descriptors[some], m)
        return result

    moved = Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    jacobian = np.zeros((n, m, 3 * n + 6))
    for column in range(3 * n):
        for sign in (1, -1):
            moved.positions.flat[column] = atoms.positions.flat[column] + sign * _STEP
            jacobian[..., column] += sign * inputs(moved)
        moved.positions.flat[column] = atoms.positions.flat[column]
    for column, (i, j) in enumerate(_VOIGT if atoms.cell.rank == 3 else (), start=3 * n):
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * _STEP / 2
            strain[j, i] += sign * _STEP / 2
            moved.set_cell(atoms.cell.array @ strain)
            moved.positions = atoms.positions @ strain
            jacobian[..., column] += sign * inputs(moved)
    return inputs(atoms), jacobian / (2 * _STEP)


def _linear_rows(rows: Rows, components: Mapping[str, Components], counts: Array) -> Array:
    """Energy, forces and virial of the components of all elements, (1 + 3 N + 6, n)."""
    n = len(rows.energy)
    result = np.concatenate([rows.energy[None], rows.forces.reshape(-1, n), rows.virial])
    for c, count in zip(components.values(), counts, strict=True):
        if not c.anchored:
            result[0, c.columns] -= count * c.mean
        result[:, c.columns] = result[:, c.columns] @ c.vectors
    return result
