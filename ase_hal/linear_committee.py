"""LinearCommittee: the posterior of a linear ACE model, ready to predict."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from ase import Atoms
from scipy.linalg.blas import dsymv

from ase_hal.ace.basis import ACEBasis
from ase_hal.baseline import Baseline
from ase_hal.committee_file import incomplete, read_with_basis, write_with_basis
from ase_hal.prediction import Array, Prediction, demand_stress, has_stress
from ase_hal.regression import Posterior
from ase_hal.threads import threadsafe_cached_property

if TYPE_CHECKING:
    from ase_hal.ace.evaluators import EvaluatorPool

_VERSION = 1


class LinearCommittee:
    r"""Gaussian posterior over the coefficients of a linear ACE potential.

    Usually made by `LinearFit` or `LinearCommittee.read`.

    Parameters
    ----------
    basis : ACEBasis
        The functions B; n of them.
    posterior : Posterior
        Mean (n,) and covariance (n, n) of the coefficients (van der Oord et al. 2022, Eq. 22).
    members : (K, n) array
        Samples of the posterior.
    baseline : Baseline
        One-body energies and repulsion, added to every member alike.
    noise_std : float
        Standard deviation of the label noise of the energy of one atom, eV: the energy of N
        atoms has N times its square, ``N / (lambda w_E^2)``.
    force_scale : float
        Mean force of the training set, eV/Å.
    sigma : {"exact", "members"}
        Take sigma from the covariance (Eq. 3) or from the members (Eq. 5).

    Notes
    -----
    For a linear model the gradient of sigma is the force of one more coefficient vector,
    ``Sigma B / sigma`` or ``sum_k (E_k - E)(c_k - c) / (K sigma)``, so a biased force costs
    the same for any number of members.
    """

    file_format: ClassVar[str] = "ase_hal linear committee"

    def __init__(
        self,
        basis: ACEBasis,
        posterior: Posterior,
        members: Array,
        *,
        baseline: Baseline,
        noise_std: float,
        force_scale: float,
        sigma: str = "exact",
    ) -> None:
        if sigma not in ("exact", "members"):
            raise ValueError(f"sigma is 'exact' or 'members', got {sigma!r}")
        members = np.atleast_2d(np.asarray(members, dtype=float))
        if members.shape[1] != basis.size or posterior.mean.shape != (basis.size,):
            raise ValueError(
                f"the basis has {basis.size} functions, the posterior {len(posterior.mean)} "
                f"coefficients and the members {members.shape[1]}"
            )
        self.basis = basis
        self.posterior = posterior
        self.members = members
        self.baseline = baseline
        self.noise_std = float(noise_std)
        self.force_scale = float(force_scale)
        self.sigma = sigma

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

    @cached_property
    def _deviations(self) -> Array:
        return self.members - self.posterior.mean

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()  # in one step: another thread may add to it
        for name in ("_evaluators", "_deviations"):
            state.pop(name, None)
        return state

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        """See `Committee.predict`; the stress is free and given wherever it has a meaning."""
        if stress:
            demand_stress(atoms)
        evaluator = self._evaluators.take()
        try:
            B = evaluator.descriptors(atoms)
            deviations = self._deviations @ B
            model_std, direction = self._spread(B, deviations)
            energy_std = float(np.hypot(model_std, self.noise_std * math.sqrt(len(atoms))))
            # At sigma = 0 there is no direction of growing uncertainty.
            gradient = direction / energy_std if energy_std > 0 else np.zeros_like(B)
            forces, virials = evaluator.forces(np.stack([self.posterior.mean, gradient]))
            member_forces = evaluator.forces(self.members)[0] if members else None
        finally:
            self._evaluators.give(evaluator)
        shift, pair_forces, pair_virial = self.baseline.evaluate(atoms)
        energy = float(self.posterior.mean @ B) + shift
        mean_forces, mean_virial = forces[0], virials[0]
        if pair_forces is not None and pair_virial is not None:
            mean_forces, mean_virial = mean_forces + pair_forces, mean_virial + pair_virial
            member_forces = None if member_forces is None else member_forces + pair_forces
        volume = atoms.cell.volume if has_stress(atoms) else None
        return Prediction(
            energy=energy,
            forces=mean_forces,
            energy_std=energy_std,
            energy_std_gradient=-forces[1],
            model_std=model_std,
            force_scale=self.force_scale,
            member_energies=energy + deviations,
            member_forces=member_forces,
            stress=-mean_virial / volume if volume else None,
            energy_std_stress=-virials[1] / volume if volume else None,
        )

    def _spread(self, B: Array, deviations: Array) -> tuple[float, Array]:
        """sqrt of the model variance, and half the gradient of that variance by B."""
        if self.sigma == "exact":
            # symmetric: reads half of the matrix, which is most of the work
            direction = dsymv(1.0, self.posterior.covariance.T, B)
            return math.sqrt(max(float(B @ direction), 0.0)), direction
        direction = deviations @ self._deviations / len(deviations)
        return float(np.sqrt(np.mean(deviations**2))), direction

    def energy_covariance(self, structures: Sequence[Atoms]) -> Array:
        """Posterior covariance of the energies of n structures without noise, (n, n), eV^2."""
        with self._evaluators.borrowed() as evaluator:
            B = np.array([evaluator.descriptors(atoms) for atoms in structures])
        return B.reshape(-1, self.basis.size) @ self.posterior.covariance @ B.T

    def energy_factor(self, structures: Sequence[Atoms]) -> Array:
        """Factor L of `energy_covariance`, which is L L^T: (n, r), eV, for any number n.

        r is the number of columns of the posterior's `covariance_factor`.
        """
        with self._evaluators.borrowed() as evaluator:
            B = np.array([evaluator.descriptors(atoms) for atoms in structures])
        return B.reshape(-1, self.basis.size) @ self.posterior.covariance_factor

    def write(self, path: str | Path) -> None:
        """Write ``path`` (JSON) and, beside it, its arrays as ``.npz``; no pickle in either."""
        header = {
            "format": self.file_format,
            "version": _VERSION,
            "baseline": self.baseline.todict(),
            "noise_std": self.noise_std,
            "force_scale": self.force_scale,
            "sigma": self.sigma,
            "noise_precision": self.posterior.noise_precision,
            "log_evidence": self.posterior.log_evidence,
            "n_observations": self.posterior.n_observations,
            "iterations": self.posterior.iterations,
            "converged": self.posterior.converged,
        }
        arrays = {
            "mean": self.posterior.mean,
            "covariance_factor": self.posterior.covariance_factor,
            "prior_precision": self.posterior.prior_precision,
            "members": self.members,
        }
        write_with_basis(path, header, arrays, self.basis)

    @classmethod
    def read(cls, path: str | Path) -> LinearCommittee:
        """Read what `write` wrote; python-ace need not be installed.

        Raises
        ------
        ValueError
            If the file is of another kind or version, or is damaged.
        """
        header, arrays, basis = read_with_basis(path, cls.file_format, _VERSION)
        try:
            posterior = Posterior(
                mean=arrays["mean"],
                covariance_factor=arrays["covariance_factor"],
                noise_precision=header["noise_precision"],
                prior_precision=arrays["prior_precision"],
                log_evidence=header["log_evidence"],
                n_observations=header["n_observations"],
                iterations=header["iterations"],
                converged=header.get("converged", True),
            )
            return cls(
                basis,
                posterior,
                arrays["members"],
                baseline=Baseline.fromdict(header["baseline"]),
                noise_std=header["noise_std"],
                force_scale=header["force_scale"],
                sigma=header["sigma"],
            )
        except KeyError as error:
            raise incomplete(path, error) from error
