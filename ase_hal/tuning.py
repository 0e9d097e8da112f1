"""tune(): weights, prior and basis of a linear fit, chosen from the training set alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms

from ase_hal.ace.basis import ACEBasis
from ase_hal.baseline import least_squares_one_body
from ase_hal.labels import labels_of
from ase_hal.linear_fit import LinearFit, informative
from ase_hal.prediction import Array
from ase_hal.regression import Factor, bayesian_ridge
from ase_hal.smoothness import Smoothness
from ase_hal.weights import Weights

ENERGY_WEIGHTS = (5.0, 15.0, 45.0)
PRIORS = (None, Smoothness(2.0, 2.0), Smoothness(4.0, 2.0))


@dataclass(frozen=True)
class Trial:
    """One choice of settings, and how well it predicts what it was not fitted to.

    Attributes
    ----------
    basis : ACEBasis
    energy_weight : float
        w_E, next to w_F = 1.
    smoothness : Smoothness or None
    energy_mae, energy_rmse : float
        Mean absolute and root mean square error of the energies of the parts left out, eV/atom.
    forces_mae, forces_rmse : float
        Those of their force components, eV/Å.
    log_evidence : float
        Of the fits, averaged over the parts. It cannot compare energy weights.
    """

    basis: ACEBasis
    energy_weight: float
    smoothness: Smoothness | None
    energy_mae: float
    energy_rmse: float
    forces_mae: float
    forces_rmse: float
    log_evidence: float

    @property
    def score(self) -> float:
        """Mean of the logarithms of both root mean square errors; the smaller the better.

        They show what mean absolute errors hide: a few structures that a choice fails on.
        """
        return 0.5 * (math.log(self.energy_rmse) + math.log(self.forces_rmse))

    def fit(self, *, members: int = 8) -> LinearFit:
        """A fit with these settings; without virials."""
        weights = Weights(energy=self.energy_weight, forces=1.0, virial=0.0)
        return LinearFit(
            self.basis, members=members, weights=weights, smoothness=self.smoothness,
            force_bound=math.inf,
        )  # fmt: skip


def tune(
    dataset: Sequence[Atoms],
    bases: Sequence[ACEBasis],
    *,
    energy_weights: Sequence[float] = ENERGY_WEIGHTS,
    priors: Sequence[Smoothness | None] = PRIORS,
    folds: int = 5,
    rng: np.random.Generator,
    on_trial: Callable[[Trial], None] | None = None,
) -> list[Trial]:
    """Cross-validate the settings of a `LinearFit`, all combinations of what is given.

    The dataset is divided at random into parts; each is predicted by a Bayesian ridge fitted to
    the others. Bases may differ in cutoff, size or radial functions: a basis costs about as much
    as fitting it twice, each further combination a small part of that.

    Parameters
    ----------
    dataset : sequence of Atoms
        Labelled structures, all with forces.
    bases : sequence of ACEBasis
        Of the same elements.
    energy_weights : sequence of float
        w_E, next to w_F = 1.
    priors : sequence of Smoothness or None
        None is the isotropic prior.
    folds : int
        Number of parts.
    rng : numpy.random.Generator
        Divides the dataset.
    on_trial : callable, optional
        Called with each `Trial` when it is done.

    Returns
    -------
    list of Trial
        The best one first; ``trials[0].fit()`` is ready to be used.

    Raises
    ------
    ValueError
        For fewer structures than parts, structures without forces, or nothing to choose from.

    Examples
    --------
    >>> bases = [ACEBasis(("Ni",), rcut=rcut, nradmax_by_orders=[15, 6, 4, 2],
    ...                   lmax_by_orders=[0, 5, 4, 1]) for rcut in (4.5, 5.5)]
    >>> best, *_ = tune(dataset, bases, rng=np.random.default_rng(0))
    >>> committee = best.fit()(dataset, rng=np.random.default_rng(1))
    """
    if not (bases and len(energy_weights) and len(priors)):
        raise ValueError("nothing to choose from: bases, energy_weights and priors, one of each")
    if not 2 <= folds <= len(dataset):
        raise ValueError(f"{len(dataset)} structures cannot be divided into {folds} parts")
    if not all("forces" in labels_of(atoms) for atoms in dataset):
        raise ValueError("tune() needs the forces of every structure")
    parts = [part.tolist() for part in np.array_split(rng.permutation(len(dataset)), folds)]
    trials = []
    for basis in bases:
        for trial in _trials(dataset, parts, basis, energy_weights, priors):
            trials.append(trial)
            if on_trial is not None:
                on_trial(trial)
    return sorted(trials, key=lambda trial: trial.score)


class _Part(NamedTuple):
    """Unweighted observations of one part of the dataset, energies per sqrt(N)."""

    n_atoms: Array
    energy_rows: Array
    energy_targets: Array
    force_rows: Array
    force_targets: Array


def _trials(
    dataset: Sequence[Atoms],
    parts: Sequence[Sequence[int]],
    basis: ACEBasis,
    energy_weights: Sequence[float],
    priors: Sequence[Smoothness | None],
) -> Iterator[Trial]:
    combination = np.array([1.0, *(-energy for energy in _one_body(dataset, basis))])
    observations = [_observe([dataset[i] for i in part], basis) for part in parts]
    empty = Factor.empty(basis.size, len(combination))
    forces = [empty.update(o.force_rows, o.force_targets) for o in observations]
    energies = [empty.update(o.energy_rows, o.energy_targets) for o in observations]
    rest = _all_but_one(forces), _all_but_one(energies)
    for weight, prior in itertools.product(energy_weights, priors):
        scale = None if prior is None else prior.scale(basis)
        energy_errors, force_errors, evidence = [], [], 0.0
        for force_factor, energy_factor, left_out in zip(*rest, observations, strict=True):
            posterior = bayesian_ridge(
                force_factor.merged(energy_factor.scaled(weight)),
                combination=combination,
                scale=scale,
            )
            energy, force = _errors(left_out, posterior.mean, combination)
            energy_errors.append(energy)
            force_errors.append(force)
            evidence += posterior.log_evidence / len(parts)
        yield Trial(
            basis, weight, prior,
            *_means(np.concatenate(energy_errors)),
            *_means(np.concatenate(force_errors)),
            evidence,
        )  # fmt: skip


def _one_body(dataset: Sequence[Atoms], basis: ACEBasis) -> list[float]:
    counts = [[sum(atoms.symbols == e) for e in basis.elements] for atoms in dataset]
    energies = [labels_of(atoms)["energy"] for atoms in dataset]
    found = least_squares_one_body(
        basis.elements, np.array(counts, dtype=float), np.array(energies, dtype=float)
    )
    return [found[symbol] for symbol in basis.elements]


def _observe(structures: Sequence[Atoms], basis: ACEBasis) -> _Part:
    sizes, energy_rows, energy_targets, force_rows, force_targets = [], [], [], [], []
    for atoms in structures:
        rows, labels, root = basis.rows(atoms), labels_of(atoms), np.sqrt(len(atoms))
        counts = [np.count_nonzero(atoms.symbols == symbol) for symbol in basis.elements]
        sizes.append(len(atoms))
        energy_rows.append(rows.energy / root)
        energy_targets.append(np.array([float(labels["energy"]), *counts]) / root)
        design, target = rows.forces.reshape(-1, basis.size), labels["forces"].ravel()
        said = informative(np.vstack([rows.energy, design]), np.append(0.0, target))[1:]
        force_rows.append(design[said])
        force_targets.append(np.outer(target[said], np.eye(1 + len(counts))[0]))
    return _Part(
        np.array(sizes), np.array(energy_rows), np.array(energy_targets),
        np.concatenate(force_rows), np.concatenate(force_targets),
    )  # fmt: skip


def _all_but_one(factors: Sequence[Factor]) -> list[Factor]:
    """For each factor, all others merged."""
    found = []
    for left_out in range(len(factors)):
        first, *others = [f for i, f in enumerate(factors) if i != left_out]
        for factor in others:
            first = first.merged(factor)
        found.append(first)
    return found


def _means(errors: Array) -> tuple[float, float]:
    """Arithmetic and root mean square."""
    return float(np.mean(errors)), float(np.sqrt(np.mean(errors**2)))


def _errors(part: _Part, mean: Array, combination: Array) -> tuple[Array, Array]:
    """Absolute errors of energies per atom and of force components."""
    energy = part.energy_targets @ combination - part.energy_rows @ mean
    force = part.force_targets @ combination - part.force_rows @ mean
    return np.abs(energy) / np.sqrt(part.n_atoms), np.abs(force)
