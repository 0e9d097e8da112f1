"""tune(): weights, prior and basis of a linear fit, chosen from the training set alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from ase_hal.ace.basis import ACEBasis
from ase_hal.fits.observations import Observation, ObservationSettings, observed_one_body
from ase_hal.fits.rows import informative
from ase_hal.linear_fit import LinearFit
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
        Labelled structures, with forces in every part.
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
        For fewer structures than parts, parts without forces, or nothing to choose from.

    Examples
    --------
    >>> bases = [ACEBasis(("Ni",), rcut=rcut, nradmax_by_orders=[15, 6, 4, 2],
    ...                   lmax_by_orders=[0, 5, 4, 1]) for rcut in (4.5, 5.5)]
    >>> best, *_ = tune(dataset, bases, rng=np.random.default_rng(0))
    >>> committee = best.fit()(dataset, rng=np.random.default_rng(1))
    """
    if not (bases and len(energy_weights) and len(priors)):
        raise ValueError("nothing to choose from: bases, energy_weights and priors, one of each")
    order = rng.permutation(len(dataset))
    if not 2 <= folds <= len(dataset):
        raise ValueError(f"{len(dataset)} structures cannot be divided into {folds} parts")
    trials = []
    for basis in bases:
        settings = ObservationSettings(
            basis.elements, Weights(1.0, 1.0, 0.0), None, math.inf, basis.cutoff
        )
        items = settings.observe_all(dataset)
        one_body, _ = observed_one_body(items, settings, None)
        parts = _parts(items, order, folds)
        for trial in _trials(parts, basis, one_body, energy_weights, priors):
            trials.append(trial)
            if on_trial is not None:
                on_trial(trial)
    return sorted(trials, key=lambda trial: trial.score)


class _Part(NamedTuple):
    """Observations of one part of the dataset with the weights of their files.

    Energies are divided by sqrt(N); rows over their factors are those of labels.
    """

    n_atoms: Array
    energy_factors: Array
    energy_rows: Array
    energy_targets: Array
    force_factors: Array
    force_rows: Array
    force_targets: Array


def _parts(
    items: Sequence[Observation], order: NDArray[np.intp], folds: int
) -> list[list[Observation]]:
    """The parts; lone atoms, which the one-body energies know of, are in none."""
    drawn = [[items[i] for i in part] for part in np.array_split(order, folds)]
    parts = [[item for item in part if not item.alone] for part in drawn]
    for what, counts in (
        ("energies", [any(item.energy_weight > 0 for item in part) for part in parts]),
        ("forces", [any(item.force_factors.any() for item in part) for part in parts]),
    ):
        if not all(counts):
            raise ValueError(
                f"tune() needs {what} in every part, and {counts.count(False)} of {folds} have none"
            )
    return parts


def _trials(
    parts: Sequence[Sequence[Observation]],
    basis: ACEBasis,
    one_body: Mapping[str, float],
    energy_weights: Sequence[float],
    priors: Sequence[Smoothness | None],
) -> Iterator[Trial]:
    combination = np.array([1.0, *(-one_body[symbol] for symbol in basis.elements)])
    observations = [_observe(part, basis) for part in parts]
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


def _observe(items: Sequence[Observation], basis: ACEBasis) -> _Part:
    n_targets = 1 + len(basis.elements)
    energies: list[tuple[float, float, Array, Array]] = []
    forces: list[tuple[Array, Array, Array]] = []
    for item in items:
        rows, factor, used = basis.rows(item.atoms), item.energy_factor, item.force_factors > 0
        if factor > 0:
            target = factor * np.array([item.energy, *item.counts])
            energies.append((len(item.atoms), factor, factor * rows.energy, target))
        factors = item.force_factors[used]
        design, labels = factors[:, None] * rows.forces[used], factors * item.forces[used]
        kept = informative(np.vstack([rows.energy, design]), np.append(0.0, labels))[1:]
        targets = np.outer(labels[kept], np.eye(n_targets)[0])
        forces.append((factors[kept], design[kept], targets))
    sizes, energy_factors, energy_rows, energy_targets = zip(*energies, strict=True)
    force_factors, force_rows, force_targets = zip(*forces, strict=True)
    return _Part(
        np.array(sizes), np.array(energy_factors), np.array(energy_rows), np.array(energy_targets),
        np.concatenate(force_factors), np.concatenate(force_rows), np.concatenate(force_targets),
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
    return (
        np.abs(energy) / (part.energy_factors * part.n_atoms),
        np.abs(force) / part.force_factors,
    )
