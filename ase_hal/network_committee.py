"""NetworkCommittee: networks of ACE descriptors, evaluated without torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms

from ase_hal.ace.basis import ACEBasis
from ase_hal.baseline import Baseline
from ase_hal.committee_file import below, incomplete, read_with_basis, write_with_basis
from ase_hal.networks import AtomicNetworks
from ase_hal.prediction import Prediction, demand_stress, has_stress
from ase_hal.threads import threadsafe_cached_property

if TYPE_CHECKING:
    from ase_hal.ace.evaluators import EvaluatorPool

_VERSION = 2


class NetworkCommittee:
    r"""K networks of the ACE descriptors of every atom, and their spread.

    Usually made by `NetworkFit` or `NetworkCommittee.read`.

    .. math:: E^k = \sum_i E^k_{Z_i}(B_i) + E_\mathrm{base}, \qquad
              \sigma^2 = \frac{1}{K} \sum_k (E^k - \bar E)^2 + N s^2

    grad sigma is the force of one more set of weights per atom,
    :math:`\sum_k (E^k - \bar E)\, \partial E^k / \partial B_i / (K \sigma)`, so that a biased
    force costs the same for any number of members.

    Parameters
    ----------
    basis : ACEBasis
        The functions B.
    networks : mapping of str to AtomicNetworks
        For every element of the basis; all of K members.
    baseline : Baseline
        One-body energies and repulsion, added to every member alike.
    noise_std : float
        s, the standard deviation of the energy of one atom that no agreement of the members
        takes away, eV.
    force_scale : float
        Mean force of the training set, eV/Å.
    """

    file_format: ClassVar[str] = "ase_hal network committee"

    def __init__(
        self,
        basis: ACEBasis,
        networks: Mapping[str, AtomicNetworks],
        *,
        baseline: Baseline,
        noise_std: float,
        force_scale: float,
    ) -> None:
        if set(networks) != set(basis.elements):
            raise ValueError(
                f"networks of {', '.join(sorted(networks))} for a basis of "
                f"{', '.join(basis.elements)}"
            )
        sizes = {len(networks[element].linear) for element in networks}
        if len(sizes) > 1 or min(sizes) < 2:
            raise ValueError(f"all elements have the same members, at least two, got {sizes}")
        if not (0 <= noise_std < math.inf and 0 <= force_scale < math.inf):
            raise ValueError(
                f"noise_std and force_scale are 0 or more, got {noise_std} and {force_scale}"
            )
        self.basis = basis
        self.networks = {element: networks[element] for element in basis.elements}
        self.baseline = baseline
        self.noise_std = float(noise_std)
        self.force_scale = float(force_scale)

    def __len__(self) -> int:
        return len(self.networks[self.elements[0]].linear)

    @property
    def elements(self) -> tuple[str, ...]:
        return self.basis.elements

    @property
    def cutoff(self) -> float:
        """How far atoms feel each other, Å: the longest cutoff of the basis."""
        return self.basis.cutoff

    @threadsafe_cached_property
    def _evaluators(self) -> EvaluatorPool:
        return self.basis.evaluators()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()  # in one step: another thread may add to it
        state.pop("_evaluators", None)
        return state

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        """See `Committee.predict`; the stress is free and given wherever it has a meaning."""
        if stress:
            demand_stress(atoms)
        of_element = {e: np.flatnonzero(atoms.symbols == e) for e in self.elements}
        shift, pair_forces, pair_virial = self.baseline.evaluate(atoms)
        with self._evaluators.borrowed() as evaluator:
            descriptors = evaluator.atomic_descriptors(atoms)
            answers = {e: self.networks[e].evaluate(descriptors[i]) for e, i in of_element.items()}
            energies = shift + sum(energy.sum(axis=1) for energy, _ in answers.values())
            deviations = energies - energies.mean()
            model_std = float(np.sqrt(np.mean(deviations**2)))
            sigma = math.hypot(model_std, self.noise_std * math.sqrt(len(atoms)))
            # At sigma = 0 there is no direction of growing uncertainty.
            direction = deviations / (len(self) * sigma) if sigma > 0 else np.zeros(len(self))
            mixtures = [np.full(len(self), 1 / len(self)), direction]
            if members:
                mixtures += list(np.eye(len(self)))
            results = []
            for mixture in mixtures:
                weights = np.zeros_like(descriptors)
                for element, (_, slopes) in answers.items():
                    components = self.networks[element].components
                    here = np.ix_(of_element[element], components.columns)
                    weights[here] = np.tensordot(mixture, slopes, axes=1) @ components.vectors.T
                results.append(evaluator.atomic_forces(weights))
        forces = np.array([f for f, _ in results])
        virials = np.array([v for _, v in results])
        if pair_forces is not None and pair_virial is not None:
            forces[0] += pair_forces
            forces[2:] += pair_forces
            virials[0] += pair_virial
        volume = atoms.cell.volume if has_stress(atoms) else None
        return Prediction(
            energy=float(energies.mean()),
            forces=forces[0],
            energy_std=sigma,
            energy_std_gradient=-forces[1],
            model_std=model_std,
            force_scale=self.force_scale,
            member_energies=energies,
            member_forces=forces[2:] if members else None,
            stress=-virials[0] / volume if volume else None,
            energy_std_stress=-virials[1] / volume if volume else None,
        )

    def write(self, path: str | Path) -> None:
        """Write ``path`` (JSON) and, beside it, its arrays as ``.npz``; no pickle in either."""
        header = {
            "format": self.file_format,
            "version": _VERSION,
            "baseline": self.baseline.todict(),
            "noise_std": self.noise_std,
            "force_scale": self.force_scale,
        }
        arrays = {
            f"networks_{element}/{name}": array
            for element, networks in self.networks.items()
            for name, array in networks.to_arrays().items()
        }
        write_with_basis(path, header, arrays, self.basis)

    @classmethod
    def read(cls, path: str | Path) -> NetworkCommittee:
        """Read what `write` wrote; neither torch nor python-ace need be installed.

        Raises
        ------
        ValueError
            If the file is of another kind or version, or is damaged.
        """
        header, arrays, basis = read_with_basis(path, cls.file_format, _VERSION)
        try:
            return cls(
                basis,
                {
                    e: AtomicNetworks.from_arrays(below(arrays, f"networks_{e}"))
                    for e in basis.elements
                },
                baseline=Baseline.fromdict(header["baseline"]),
                noise_std=header["noise_std"],
                force_scale=header["force_scale"],
            )
        except KeyError as error:
            raise incomplete(path, error) from error
