"""LinearFit: a dataset in, the posterior of a linear ACE potential out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from ase_hal.ace.basis import ACEBasis
from ase_hal.baseline import Baseline, least_squares_one_body
from ase_hal.labels import VANISHING_FORCE, labels_of
from ase_hal.linear_committee import LinearCommittee
from ase_hal.metrics import mean_force
from ase_hal.prediction import Array
from ase_hal.regression import Factor, Posterior, automatic_relevance, bayesian_ridge
from ase_hal.repulsion import ZBL
from ase_hal.smoothness import Smoothness
from ase_hal.weights import Weights, weights_of

__all__ = ["LinearFit", "Weights"]


_KEPT = 2**30  # bytes of rows that are remembered beside the triangular factor


class _Rows(NamedTuple):
    """Weighted rows of one structure; the targets are labels, then one column an element."""

    design: Array
    targets: Array


class _Summary(NamedTuple):
    """What the one-body energies and sigma need of a structure."""

    energy: float
    energy_weight: float
    counts: Array


class _Data(NamedTuple):
    """What a fit takes from its dataset beside the triangular factor."""

    one_body: Mapping[str, float]
    combination: Array  # of the targets, see `_Rows`
    noise: float  # variance of the energy of one atom, in units of 1 / lambda
    force_scale: float


class LinearFit:
    """Bayesian fit of a linear ACE potential.

    Parameters
    ----------
    basis : ACEBasis
        The functions.
    members : int
        Size K of the committee drawn from the posterior.
    weights : Weights or callable
        Row factors; a callable is asked for those of each structure.
    one_body : mapping of str to float, optional
        Energies of isolated atoms, eV. By default they are fitted by least squares, which gives
        mean energies of atoms in the dataset. They count as exactly known: without those of real
        isolated atoms, sigma is blind to atoms that leave all others.
    repulsion : ZBL, optional
        Short-range baseline, subtracted from the labels and added back in predictions.
    force_bound : float
        Force components of larger magnitude are left out of the fit, eV/Å.
    smoothness : Smoothness, optional
        Expect smaller coefficients of functions of higher degree and order; by default all are
        expected alike (Eq. 23).
    label_noise : float
        Least standard deviation of the noise of a weighted label: of a force component in eV/Å
        where ``weights.forces`` is 1. A few structures that are much alike can be fitted almost
        exactly; without this bound the potential would then be far too sure of itself.
    relevance_threshold : float, optional
        The alpha' of automatic relevance determination (section III.E): functions whose prior
        precision reaches it are pruned. Without it the fit is a Bayesian ridge (III.D).

    Notes
    -----
    A fit remembers what it has seen, so that a dataset that grew costs only the new structures:
    a triangular factor of 8 n^2 bytes, and for datasets whose order changes up to 1 GiB of rows
    (40,000 rows of 1,000 functions are 0.3 GiB). It draws nothing at random but the members.

    Rows that vanish by symmetry (forces in a perfect crystal) are left out. They fit exactly
    whatever the potential is; counted as observations, they would make it far too sure of itself.

    Examples
    --------
    >>> fit = LinearFit(basis, weights=Weights(energy=15, forces=1, virial=1))
    >>> committee = fit(dataset, rng=np.random.default_rng(0))
    """

    def __init__(
        self,
        basis: ACEBasis,
        *,
        members: int = 8,
        weights: Weights | Callable[[Atoms], Weights] | None = None,
        one_body: Mapping[str, float] | None = None,
        repulsion: ZBL | None = None,
        force_bound: float = 20.0,
        smoothness: Smoothness | None = None,
        label_noise: float = 0.0,
        relevance_threshold: float | None = None,
    ) -> None:
        if members < 2:
            raise ValueError(f"a committee has at least two members, got {members}")
        if one_body is not None and (missing := set(basis.elements) - set(one_body)):
            raise ValueError(f"one_body lacks {', '.join(sorted(missing))}")
        if not force_bound > 0:
            raise ValueError(f"force_bound is a positive force in eV/Å, got {force_bound}")
        if not label_noise >= 0:
            raise ValueError(f"label_noise is a standard deviation, got {label_noise}")
        self.basis = basis
        self.members = members
        self.weights = weights or Weights()
        self.one_body = one_body
        self.repulsion = repulsion
        self.force_bound = force_bound
        self.smoothness = smoothness
        self.label_noise = label_noise
        self.relevance_threshold = relevance_threshold
        self._summaries: dict[str, _Summary] = {}
        self._rows: dict[str, _Rows] = {}
        self._factor = Factor.empty(basis.size, 1 + len(basis.elements))
        self._factored: list[str] = []

    def __call__(self, dataset: Sequence[Atoms], *, rng: np.random.Generator) -> LinearCommittee:
        """Fit to labelled structures.

        Parameters
        ----------
        dataset : sequence of Atoms
            Structures whose calculators hold an energy and, where known, forces and stress.
        rng : numpy.random.Generator
            Draws the members.

        Raises
        ------
        ValueError
            For an empty dataset, a structure without a label, elements outside the basis or
            labels that are not finite; the index of the structure is named.
        """
        data = self._prepare(dataset)
        posterior = self._regress(data, self.relevance_threshold)
        return self._committee(data, posterior, rng=rng)

    def relevance_path(
        self,
        dataset: Sequence[Atoms],
        thresholds: Sequence[float],
        *,
        rng: np.random.Generator,
    ) -> Iterator[tuple[float, LinearCommittee]]:
        """Fit with automatic relevance determination for several thresholds.

        As for Table II of van der Oord et al. 2022, in one go: the fit of the largest threshold
        comes first, and each goes on from the one before it. The models are nested. See
        `ase_hal.regression.relevance_path` for why this is better than separate fits.

        Parameters
        ----------
        dataset, rng
            As for a call.
        thresholds : sequence of float
            alpha', in any order.

        Yields
        ------
        threshold : float
            From the largest to the smallest.
        committee : LinearCommittee
        """
        data = self._prepare(dataset)
        start: tuple[float, Array] | None = None
        for threshold in sorted(set(thresholds), reverse=True):
            posterior = self._regress(data, threshold, start)
            scale = 1.0 if self._scale is None else self._scale
            start = posterior.noise_precision, posterior.prior_precision * scale**2
            yield threshold, self._committee(data, posterior, rng=rng)

    def _prepare(self, dataset: Sequence[Atoms]) -> _Data:
        known = self._remember(dataset)
        weights = np.array([summary.energy_weight for summary in known])
        one_body = self.one_body or least_squares_one_body(
            self.basis.elements,
            np.array([summary.counts for summary in known]),
            np.array([summary.energy for summary in known]),
            weights,
        )
        # Targets are linear in the one-body energies, so a change of them refits from the
        # same triangular factor.
        combination = np.array([1.0, *(-one_body[symbol] for symbol in self.basis.elements)])
        # sigma of a new structure takes the noise of a label with the mean precision: labels that
        # hardly count do not make it large, and make the precision lambda, which counts rows,
        # and this mean wrong by the same factor.
        noise = 1.0 / np.mean(weights**2)
        scale = mean_force(dataset, bound=self.force_bound) or VANISHING_FORCE
        return _Data(one_body, combination, float(noise), scale)

    def _committee(
        self, data: _Data, posterior: Posterior, *, rng: np.random.Generator
    ) -> LinearCommittee:
        return LinearCommittee(
            self.basis,
            posterior,
            posterior.sample(self.members, rng=rng),
            baseline=Baseline(dict(data.one_body), self.repulsion),
            noise_std=float(np.sqrt(data.noise / posterior.noise_precision)),
            force_scale=data.force_scale,
        )

    @property
    def _scale(self) -> Array | None:
        return None if self.smoothness is None else self.smoothness.scale(self.basis)

    def _regress(
        self,
        data: _Data,
        threshold: float | None,
        start: tuple[float, Array] | None = None,
    ) -> Posterior:
        prior: dict[str, Any] = {
            "combination": data.combination,
            "scale": self._scale,
            "largest_noise_precision": np.inf if self.label_noise == 0 else self.label_noise**-2,
        }
        if threshold is None:
            return bayesian_ridge(self._factor, **prior)
        return automatic_relevance(self._factor, threshold=threshold, start=start, **prior)

    def _remember(self, dataset: Sequence[Atoms]) -> list[_Summary]:
        """What is needed of each structure, and the factor brought up to date with all."""
        if not len(dataset):
            raise ValueError("the dataset is empty: nothing to fit")
        given = [self._given(index, atoms) for index, atoms in enumerate(dataset)]
        keys = [self._key(atoms, *item) for atoms, item in zip(dataset, given, strict=True)]
        factor, known = self._factor, len(self._factored)
        if keys[:known] != self._factored:
            factor, known = Factor.empty(self.basis.size, 1 + len(self.basis.elements)), 0
        for key, atoms, item in list(zip(keys, dataset, given, strict=True))[known:]:
            factor = factor.update(*self._rows_of(key, atoms, *item))
        self._factor, self._factored = factor, keys
        return [self._summaries[key] for key in keys]

    def _given(self, index: int, atoms: Atoms) -> tuple[Mapping[str, Array], Weights]:
        try:
            labels = labels_of(atoms)
        except ValueError as error:
            raise ValueError(f"structure {index} of the dataset: {error}") from error
        return labels, weights_of(atoms, self.weights)

    def _key(self, atoms: Atoms, labels: Mapping[str, Array], weights: Weights) -> str:
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((weights, self.force_bound, self.repulsion, [*labels])).encode())
        given = (atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, *labels.values())
        for value in given:
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()

    def _rows_of(
        self, key: str, atoms: Atoms, labels: Mapping[str, Array], weights: Weights
    ) -> _Rows:
        if key in self._rows:
            return self._rows[key]
        design, targets, self._summaries[key] = self._observe(atoms, labels, weights)
        kept = informative(design, targets[:, 0])
        rows = _Rows(design[kept], targets[kept])
        remembered = sum(known.design.nbytes for known in self._rows.values())
        if remembered + rows.design.nbytes <= _KEPT:
            self._rows[key] = rows
        return rows

    def _observe(
        self, atoms: Atoms, labels: Mapping[str, Array], weights: Weights
    ) -> tuple[Array, Array, _Summary]:
        rows = self.basis.rows(atoms)
        n = len(atoms)
        energy = float(labels["energy"])
        counts = np.array([sum(atoms.symbols == e) for e in self.basis.elements], dtype=float)
        base = (0.0, None, None) if self.repulsion is None else self.repulsion.evaluate(atoms)
        factor = weights.energy / np.sqrt(n)
        design = [factor * rows.energy[None]]
        target = [np.array([factor * (energy - base[0])])]
        if "forces" in labels and weights.forces > 0:
            keep = np.abs(labels["forces"]) <= self.force_bound
            forces = labels["forces"] - (0.0 if base[1] is None else base[1])
            factors = weights.of_forces(labels["forces"])[keep]
            design.append(factors[:, None] * rows.forces[keep])
            target.append(factors * forces[keep])
        if "stress" in labels and weights.virial > 0:
            virial = -atoms.cell.volume * labels["stress"]
            virial = virial - (0.0 if base[2] is None else base[2])
            design.append(weights.virial / np.sqrt(n) * rows.virial)
            target.append(weights.virial / np.sqrt(n) * virial)
        values = np.concatenate(target)
        targets = np.zeros((len(values), 1 + len(counts)))
        targets[:, 0] = values
        targets[0, 1:] = factor * counts
        summary = _Summary(energy - base[0], weights.energy, counts)
        return np.concatenate(design), targets, summary


def informative(design: Array, labels: Array) -> Array:
    """Which rows of one structure say something about the coefficients, (k,) of bool.

    All but those that vanish by symmetry together with their labels, against the first row, that
    of the energy. Where the label does not vanish, it tells of noise.
    """
    sizes = np.abs(design).max(axis=1)
    vanishing = (sizes <= 1e-6 * sizes[0]) & (np.abs(labels) <= VANISHING_FORCE)
    vanishing[0] = False
    return np.asarray(~vanishing)
