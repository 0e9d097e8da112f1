r"""What a fit takes from labelled structures: the same for every kind of fit.

- Structures in which no atom has a neighbour give one-body energies and nothing else.
- Force components above a bound, or that constraints have taken out, are left out; where some are
  above the bound, whatever else the structure says counts less (`ase_hal.data.left_out`).
- Weights that structures have brought from their files count (`ase_hal.weights.FILE_WEIGHTS`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms

from ase_hal.data.left_out import LeftOut, count_forces
from ase_hal.data.lone_atoms import has_neighbours, is_charged, separation
from ase_hal.data.one_body import Total, Totals, isolated_energies, one_body_energies
from ase_hal.labels import labels_of
from ase_hal.prediction import Array
from ase_hal.repulsion import ZBL
from ase_hal.weights import FileFactors, Weights, file_factors, weights_of


class Observation(NamedTuple):
    """Labels of N atoms without the repulsion, and how much they count.

    Attributes
    ----------
    atoms : ase.Atoms
    counts : (n_elements,) array
        Numbers of atoms.
    energy : float
        eV.
    forces : (N, 3) array
        eV/Å.
    virial : (6,) array
        eV.
    energy_weight : float
        What multiplies the energy over sqrt(N), 1/eV; 0 where it is left out.
    force_factors : (N, 3) array
        Å/eV; 0 for components that are unknown or left out.
    virial_factors : (6,) array
        1/eV; 0 where the virial is unknown or left out.
    base_energy : float
        Of the repulsion, eV.
    alone : bool
        Whether no atom has a neighbour.
    left_out : LeftOut
    shares : FileFactors
        What rows of each kind count for as observations, 0 to 1: less where weights in a file or
        the force bound make them small, as if only a part of them had been seen.
    """

    atoms: Atoms
    counts: Array
    energy: float
    forces: Array
    virial: Array
    energy_weight: float
    force_factors: Array
    virial_factors: Array
    base_energy: float
    alone: bool
    left_out: LeftOut
    shares: FileFactors

    def total(self) -> Total:
        """What one-body energies follow from."""
        apart = separation(self.atoms) if self.alone and len(self.atoms) == 1 else np.inf
        weight = 0.0 if self.alone and is_charged(self.atoms) else self.energy_weight
        label = self.energy + self.base_energy
        return Total(self.counts, self.energy, label, weight, self.alone, apart)

    @property
    def energy_factor(self) -> float:
        """What multiplies the row of the energy, 1/eV."""
        return float(self.energy_weight / np.sqrt(len(self.atoms)))

    @property
    def others(self) -> Array:
        """Forces and virial, (3 N + 6,)."""
        return np.concatenate([self.forces.ravel(), self.virial])

    @property
    def factors(self) -> Array:
        """Those of `others`, (3 N + 6,)."""
        return np.concatenate([self.force_factors.ravel(), self.virial_factors])


@dataclass(frozen=True)
class ObservationSettings:
    """How a fit takes observations from structures; `LinearFit` explains all of it.

    Attributes
    ----------
    elements : tuple of str
    weights : Weights or callable
    repulsion : ZBL or None
    force_bound : float
        eV/Å.
    cutoff : float
        How far the model sees, Å.
    """

    elements: tuple[str, ...]
    weights: Weights | Callable[[Atoms], Weights]
    repulsion: ZBL | None
    force_bound: float
    cutoff: float

    def __post_init__(self) -> None:
        if not self.force_bound > 0:
            raise ValueError(f"force_bound is a positive force in eV/Å, got {self.force_bound}")

    def observe(self, atoms: Atoms) -> Observation:
        """The observation of one structure.

        Raises
        ------
        ValueError
            Where it has no labels, they are not finite, or it has other elements.
        """
        labels = labels_of(atoms)
        if unknown := set(atoms.symbols) - set(self.elements):
            raise ValueError(
                f"it has {', '.join(sorted(unknown))}, the basis {', '.join(self.elements)}"
            )
        n, weights, of_file = len(atoms), weights_of(atoms, self.weights), file_factors(atoms)
        energy, forces, virial = float(labels["energy"]), np.zeros((n, 3)), np.zeros(6)
        force_factors, virial_factors = np.zeros((n, 3)), np.zeros(6)
        left_out, energy_share, force_share, base_energy = LeftOut(), 1.0, 1.0, 0.0
        if "forces" in labels:
            forces = labels["forces"]
            counted, left_out = count_forces(atoms, forces, self.force_bound)
            energy_share, force_share = left_out.energy_share, left_out.force_share
            factors = weights.of_forces(forces) * (of_file.forces * force_share)
            force_factors = np.where(counted, factors, 0.0)
        if "stress" in labels:
            virial = -atoms.cell.volume * labels["stress"]
            virial_factors[:] = weights.virial / np.sqrt(n) * of_file.virial * energy_share
        if self.repulsion is not None:
            base = self.repulsion.evaluate(atoms)
            base_energy = base[0]
            energy, forces, virial = energy - base[0], forces - base[1], virial - base[2]
        return Observation(
            atoms=atoms,
            counts=np.array([sum(atoms.symbols == e) for e in self.elements], dtype=float),
            energy=energy,
            forces=forces,
            virial=virial,
            energy_weight=weights.energy * of_file.energy * energy_share,
            force_factors=force_factors,
            virial_factors=virial_factors,
            alone=not has_neighbours(atoms, self.cutoff),
            base_energy=base_energy,
            left_out=left_out,
            shares=FileFactors(
                min((of_file.energy * energy_share) ** 2, 1.0),
                min((of_file.forces * force_share) ** 2, 1.0),
                min((of_file.virial * energy_share) ** 2, 1.0),
            ),
        )

    def observe_all(self, dataset: Sequence[Atoms]) -> list[Observation]:
        """The observations of a dataset; an error names the index of its structure."""
        return [self._observe_named(index, atoms) for index, atoms in enumerate(dataset)]

    def _observe_named(self, index: int, atoms: Atoms) -> Observation:
        try:
            return self.observe(atoms)
        except ValueError as error:
            raise ValueError(f"structure {index} of the dataset: {error}") from error


def check_one_body(one_body: Mapping[str, float] | None, elements: Sequence[str]) -> None:
    """Raise ValueError where one-body energies lack an element or are not finite."""
    if one_body is None:
        return
    if not isinstance(one_body, Mapping):
        raise ValueError(f"one_body is a mapping of elements to energies in eV, got {one_body!r}")
    if missing := set(elements) - set(one_body):
        raise ValueError(f"one_body lacks {', '.join(sorted(missing))}")
    if wrong := [f"{e}: {value!r}" for e, value in one_body.items() if not _is_energy(value)]:
        raise ValueError(f"one_body energies are finite numbers in eV, got {', '.join(wrong)}")


def _is_energy(value: object) -> bool:
    number = isinstance(value, float | int | np.floating | np.integer)
    return number and not isinstance(value, bool) and bool(np.isfinite(float(value)))  # type: ignore[arg-type]


def observed_one_body(
    items: Sequence[Observation],
    settings: ObservationSettings,
    given: Mapping[str, float] | None,
) -> tuple[dict[str, float], frozenset[str]]:
    """One-body energies of observations, and the elements of which isolated atoms are known."""
    totals = Totals.of([item.total() for item in items])
    one_body = one_body_energies(settings.elements, totals, given)
    return one_body, frozenset(given or isolated_energies(settings.elements, totals))
