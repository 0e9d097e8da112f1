"""NetworkFit: a dataset in, a committee of small networks out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms

from ase_hal.ace.basis import ACEBasis
from ase_hal.ace.evaluator import Evaluator
from ase_hal.baseline import Baseline
from ase_hal.fits.observations import (
    Observation,
    ObservationSettings,
    check_one_body,
    observed_one_body,
)
from ase_hal.labels import VANISHING_FORCE
from ase_hal.metrics import mean_force
from ase_hal.network_committee import NetworkCommittee
from ase_hal.network_samples import Sample, energy_noise, energy_weights, sample
from ase_hal.network_training import Training, train
from ase_hal.networks import AtomicNetworks, Components, Layer, columns_of
from ase_hal.parallel import import_torch
from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.regression import Factor, bayesian_ridge
from ase_hal.repulsion import ZBL
from ase_hal.weights import Weights

__all__ = ["NetworkFit", "Training"]

_SMALL = 0.1  # of the last layer, so that training starts near the linear model


class NetworkFit:
    r"""Committee of K small networks on the ACE descriptors of every atom.

    The committee of the slides of Waters & Rondinelli (2024), eight networks with two hidden
    layers of ten, with the ACE functions B_i of the compiled kernel as descriptors:

    .. math:: E^k = \sum_i s\, [ c^k \cdot x_i + \mathrm{net}^k(x_{i1}, ..., x_{im}) ], \qquad
              x_i = V_{Z_i}^T (B_i - \langle B \rangle)

    ==========  ==================================================  ==========================
    symbol      meaning                                             here
    ==========  ==================================================  ==========================
    x_i         principal components of the standardised functions  `Components`
    m           components that enter the networks                  `n_components`
    c^k         linear term in all of them                          `linear_term`
    s           root-mean-square force of the training set times 1 Å
    ==========  ==================================================  ==========================

    Each member has its own initial weights and its own bootstrap sample of the structures. All
    are trained side by side, by Adam, on energies, forces and virials. Forces need the
    derivatives of the inputs, which are calculated once (central differences of the compiled
    descriptors, exact to about 1e-8) and take 12 m N^2 bytes for a structure of N atoms: that
    is why the networks see leading components only. A few dozen components alone, however, do
    not tell enough: with 32 of 85 components and no linear term, the force error for liquid-like
    Al24Cu8 (EMT, 40 structures) was 0.31 eV/Å, with the linear term 0.034. The linear term
    takes every function, starts as the Bayesian ridge of the member's sample, and is trained on
    with the rest. What training adds to that start is small where data are few: for Al-Cu (EMT,
    30 structures of 8 atoms, 10 held out) energy errors fell from 2.0 to 0.5 meV per atom and
    force errors from 0.013 to 0.011 eV/Å, where a `LinearFit` to the same functions has 1.4 meV
    and 0.009 eV/Å.

    Networks know nothing of functions that never varied in training: use `ExtrapolationGrade`
    where pairs of elements may meet for the first time.

    Parameters
    ----------
    basis : ACEBasis
        The functions.
    members : int
        K.
    hidden : sequence of int
        Sizes of the hidden layers.
    n_components : int
        m.
    linear_term : bool
        Without it the networks are all there is; give them more components then.
    training : Training
        Epochs, learning rate and size of a batch.
    weights : Weights or callable
        Of energies, forces and virials; a callable is asked for those of each structure.
    one_body : mapping of str to float, optional
        Energies of isolated atoms, eV. By default they are fitted by least squares.
    repulsion : ZBL, optional
        Short-range baseline, subtracted from the labels and added back in predictions.
    force_bound : float
        Force components of larger magnitude are left out of the fit, eV/Å.

    Notes
    -----
    Training needs the extra ``torch``; the committee that comes out does not.

    Examples
    --------
    >>> committee = NetworkFit(basis)(dataset, rng=np.random.default_rng(0))
    """

    def __init__(
        self,
        basis: ACEBasis,
        *,
        members: int = 8,
        hidden: Sequence[int] = (10, 10),
        n_components: int = 24,
        linear_term: bool = True,
        training: Training | None = None,
        weights: Weights | Callable[[Atoms], Weights] | None = None,
        one_body: Mapping[str, float] | None = None,
        repulsion: ZBL | None = None,
        force_bound: float = 20.0,
    ) -> None:
        if members < 2:
            raise ValueError(f"a committee has at least two members, got {members}")
        if not hidden or min(hidden) < 1 or n_components < 1:
            raise ValueError(
                "hidden layers and n_components have at least one unit, got "
                f"{tuple(hidden)} and {n_components}"
            )
        check_one_body(one_body, basis.elements)
        import_torch()
        self.basis = basis
        self.members = members
        self.hidden = tuple(hidden)
        self.n_components = n_components
        self.linear_term = linear_term
        self.training = training or Training()
        self.one_body = one_body
        self._settings = ObservationSettings(
            basis.elements, weights or Weights(), repulsion, force_bound, basis.cutoff
        )

    def __call__(self, dataset: Sequence[Atoms], *, rng: np.random.Generator) -> NetworkCommittee:
        """Fit to labelled structures.

        Parameters
        ----------
        dataset : sequence of Atoms
            Structures whose calculators hold an energy and, where known, forces and stress.
        rng : numpy.random.Generator
            Draws bootstrap samples and initial weights, and orders the batches.

        Raises
        ------
        ValueError
            For an empty dataset, a structure without a label, elements outside the basis or
            labels that are not finite; the index of the structure is named.
        """
        check_generator(rng)
        if not len(dataset):
            raise ValueError("the dataset is empty: nothing to fit")
        every = self._settings.observe_all(dataset)
        one_body, exact = observed_one_body(every, self._settings, self.one_body)
        # lone atoms are in the one-body energies, and reproduced exactly
        items = [item for item in every if not item.alone]
        if not any(energy_weights(items)):
            raise ValueError(
                "no structure of the dataset has neighbours and an energy that counts: "
                "nothing to fit"
            )
        structures = [item.atoms for item in items]
        evaluator = self.basis.evaluator()
        components = self._components(evaluator, structures, exact)
        m = min(self.n_components, *(len(c.columns) for c in components.values()))
        scale = _typical_force(items)
        shares = np.array([one_body[element] for element in self.basis.elements])
        energies = [item.energy - float(item.counts @ shares) for item in items]
        samples = [
            sample(item, evaluator, components, m, energy=energy, scale=scale)
            for item, energy in zip(items, energies, strict=True)
        ]
        origins = [c.origin[:m] if c.anchored else None for c in components.values()]
        layers, linear = self._train(samples, origins, rng)
        networks = {
            e: AtomicNetworks(c, linear[:, c.columns], tuple(layers[i]), scale)
            for i, (e, c) in enumerate(components.items())
        }
        baseline = Baseline(one_body, self._settings.repulsion)
        force_scale = mean_force(structures, bound=self._settings.force_bound) or VANISHING_FORCE
        committee = NetworkCommittee(
            self.basis, networks, baseline=baseline, noise_std=0.0, force_scale=force_scale
        )
        committee.noise_std = _residual(committee, items)
        return committee

    def _train(
        self, samples: Sequence[Sample], origins: Sequence[Array | None], rng: np.random.Generator
    ) -> tuple[list[list[Layer]], Array]:
        """Layers of every element and linear terms (K, size of the basis)."""
        s, m = len(samples), samples[0].inputs.shape[1]
        drawn = rng.integers(s, size=(self.members, s))
        counts = np.array([np.bincount(row, minlength=s) for row in drawn], dtype=float)
        # An isolated atom is far from all others in the space of the functions, and there a random
        # network may say anything: those whose value there is subtracted start at zero.
        initial = [
            self._initial_layers(m, rng, _SMALL if origin is None else 0.0) for origin in origins
        ]
        linear = np.zeros((self.members, self.basis.size))
        if self.linear_term:
            linear = np.array([_ridge(samples, row) for row in counts])
        return train(
            samples, counts, initial, linear, self.training, origins=origins, rng=rng,
            train_linear=self.linear_term,
        )  # fmt: skip

    def _components(
        self, evaluator: Evaluator, structures: Sequence[Atoms], exact: Collection[str]
    ) -> dict[str, Components]:
        descriptors = np.concatenate([evaluator.atomic_descriptors(a) for a in structures])
        symbols = np.concatenate([np.array(a.get_chemical_symbols()) for a in structures])
        return {
            element: Components.of(
                columns, descriptors[symbols == element][:, columns], anchored=element in exact
            )
            for element, columns in columns_of(self.basis).items()
        }

    def _initial_layers(self, m: int, rng: np.random.Generator, last: float) -> list[Layer]:
        sizes = [m, *self.hidden, 1]
        layers: list[Layer] = []
        for n_in, n_out in pairwise(sizes):
            weights = rng.normal(size=(self.members, n_in, n_out)) / np.sqrt(n_in)
            layers.append((weights, np.zeros((self.members, 1, n_out))))
        if self.linear_term:
            layers[-1] = (last * layers[-1][0], layers[-1][1])
        return layers


def _ridge(samples: Sequence[Sample], counts: Array) -> Array:
    """Coefficients (n,) of the Bayesian ridge for structures that count so many times."""
    factor = Factor.empty(samples[0].linear.shape[1])
    taken = [(sample, np.sqrt(c)) for sample, c in zip(samples, counts, strict=True) if c > 0]
    factor = factor.update(
        np.concatenate([root * sample.linear for sample, root in taken]),
        np.concatenate([root * sample.targets for sample, root in taken]),
    )
    return bayesian_ridge(factor).mean


def _residual(committee: NetworkCommittee, items: Sequence[Observation]) -> float:
    """Standard deviation of the energy of an atom from what is left of the labels, eV."""
    left = [committee.predict(i.atoms).energy - i.atoms.calc.results["energy"] for i in items]
    sizes = np.array([len(item.atoms) for item in items])
    return energy_noise(np.array(left), sizes, energy_weights(items))


def _typical_force(items: Sequence[Observation]) -> float:
    """Root-mean-square force component, eV/Å, of structures as they count; at least 1e-3."""
    forces = [item.forces[item.force_factors > 0] for item in items]
    counts = energy_weights(items) ** 2 * [len(f) for f in forces]
    if not counts.any():
        return 1.0
    squares = np.array([np.mean(f**2) if len(f) else 0.0 for f in forces])
    return max(float(np.sqrt(np.average(squares, weights=counts))), 1e-3)
