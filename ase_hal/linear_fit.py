"""LinearFit: a dataset in, the posterior of a linear ACE potential out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms

from ase_hal.ace.basis import ACEBasis
from ase_hal.baseline import Baseline
from ase_hal.data.force_rows import zeroed_components
from ase_hal.data.one_body import Total, Totals, one_body_energies
from ase_hal.fits.observations import ObservationSettings, check_one_body
from ase_hal.fits.rows import WeightedRows, weighted_rows
from ase_hal.labels import VANISHING_FORCE, labels_of
from ase_hal.linear_committee import LinearCommittee
from ase_hal.metrics import mean_force
from ase_hal.prediction import Array
from ase_hal.regression import Factor, Posterior, automatic_relevance, bayesian_ridge
from ase_hal.repulsion import ZBL
from ase_hal.smoothness import Smoothness
from ase_hal.weights import Weights, file_factors, weights_of

__all__ = ["LinearFit", "Weights"]


_KEPT = 2**30  # bytes of rows that are remembered beside the triangular factor


class _Summary(NamedTuple):
    """What the one-body energies and sigma need of a structure."""

    total: Total
    energy_weight: float


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
        check_one_body(one_body, basis.elements)
        if not label_noise >= 0:
            raise ValueError(f"label_noise is a standard deviation, got {label_noise}")
        self._basis = basis
        self._settings = ObservationSettings(
            basis.elements, weights or Weights(), repulsion, force_bound, basis.cutoff
        )
        self.members = members
        self.one_body = one_body
        self.smoothness = smoothness
        self.label_noise = label_noise
        self.relevance_threshold = relevance_threshold
        self._summaries: dict[str, _Summary] = {}
        self._rows: dict[str, WeightedRows] = {}
        self._factor = Factor.empty(basis.size, 1 + len(basis.elements))
        self._factored: list[str] = []

    @property
    def basis(self) -> ACEBasis:
        """The functions; `with_basis` makes a fit with others."""
        return self._basis

    @property
    def weights(self) -> Weights | Callable[[Atoms], Weights]:
        """Row factors."""
        return self._settings.weights

    @property
    def repulsion(self) -> ZBL | None:
        """Short-range baseline."""
        return self._settings.repulsion

    @property
    def force_bound(self) -> float:
        """Largest force component that is fitted to, eV/Å."""
        return self._settings.force_bound

    def with_basis(self, basis: ACEBasis) -> LinearFit:
        """The same fit with other functions of the same elements."""
        return LinearFit(
            basis,
            members=self.members,
            weights=self.weights,
            one_body=self.one_body,
            repulsion=self.repulsion,
            force_bound=self.force_bound,
            smoothness=self.smoothness,
            label_noise=self.label_noise,
            relevance_threshold=self.relevance_threshold,
        )

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
        totals = Totals.of([summary.total for summary in known])
        one_body = one_body_energies(self.basis.elements, totals, self.one_body)
        counting = ~totals.alone & (weights > 0)
        if not counting.any():
            raise ValueError(
                "no structure of the dataset has neighbours and an energy that counts (those "
                f"with forces far above {self.force_bound:g} eV/Å do not): nothing to fit"
            )
        # Targets are linear in the one-body energies, so a change of them refits from the
        # same triangular factor.
        combination = np.array([1.0, *(-one_body[symbol] for symbol in self.basis.elements)])
        # sigma of a new structure takes the noise of a label with the mean precision: labels that
        # hardly count do not make it large, and make the precision lambda, which counts rows,
        # and this mean wrong by the same factor.
        noise = 1.0 / np.mean(weights[counting] ** 2)
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
        keys = [self._key(index, atoms) for index, atoms in enumerate(dataset)]
        factor, known = self._factor, len(self._factored)
        if keys[:known] != self._factored:
            factor, known = Factor.empty(self.basis.size, 1 + len(self.basis.elements)), 0
        for index, key in list(enumerate(keys))[known:]:
            rows = self._rows_of(key, index, dataset[index])
            factor = factor.update(rows.design, rows.targets, observations=rows.observations)
        self._factor, self._factored = factor, keys
        return [self._summaries[key] for key in keys]

    def _key(self, index: int, atoms: Atoms) -> str:
        """What the rows of a structure depend on, beside the basis and other settings."""
        try:
            labels, of_file = labels_of(atoms), file_factors(atoms)
        except ValueError as error:
            raise ValueError(f"structure {index} of the dataset: {error}") from error
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((weights_of(atoms, self.weights), of_file, [*labels])).encode())
        given = [atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, *labels.values()]
        if atoms.constraints and "forces" in labels:
            given.append(zeroed_components(atoms, labels["forces"]))
        for value in given:
            digest.update(np.ascontiguousarray(value).tobytes())
        return digest.hexdigest()

    def _rows_of(self, key: str, index: int, atoms: Atoms) -> WeightedRows:
        if key in self._rows:
            return self._rows[key]
        try:
            item = self._settings.observe(atoms)
        except ValueError as error:
            raise ValueError(f"structure {index} of the dataset: {error}") from error
        self._summaries[key] = _Summary(item.total(), item.energy_weight)
        rows = weighted_rows(item, self.basis)
        remembered = sum(known.design.nbytes for known in self._rows.values())
        if remembered + rows.design.nbytes <= _KEPT:
            self._rows[key] = rows
        return rows
