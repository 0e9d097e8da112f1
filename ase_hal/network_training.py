"""Training of networks on energies, forces and virials; the one file that needs torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ase_hal.network_samples import Sample
from ase_hal.networks import Layer, energies_and_slopes
from ase_hal.parallel import import_torch, one_torch_thread
from ase_hal.prediction import Array

_WARM_UP = 20  # steps


@dataclass(frozen=True)
class Training:
    """How networks are trained: by Adam, with a learning rate that falls as a cosine to zero.

    Attributes
    ----------
    epochs : int
        Times that all structures are gone through.
    learning_rate : float
        The largest one.
    batch : int
        Structures in a step.
    """

    epochs: int = 60
    learning_rate: float = 3e-3
    batch: int = 8

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.batch < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(
                f"epochs >= 0, batch >= 1 and learning_rate > 0, got {self.epochs}, {self.batch} "
                f"and {self.learning_rate}"
            )


def train(
    samples: Sequence[Sample],
    counts: Array,
    layers: Sequence[Sequence[Layer]],
    linear: Array,
    training: Training,
    *,
    origins: Sequence[Array | None],
    rng: np.random.Generator,
    train_linear: bool = True,
) -> tuple[list[list[Layer]], Array]:
    r"""Minimise the weighted squares of all residuals for K members at once.

    .. math:: L_k = \sum_s n_{ks} \sum_a (y_{sa} - \hat y_{sa}^k)^2

    Single precision, one thread, no randomness but that of `rng`: the same input gives the
    same networks.

    Parameters
    ----------
    samples : sequence of Sample
        S structures.
    counts : (K, S) array
        n, how often each member sees each structure.
    layers : sequence of layers
        Initial ones of every element, see `energies_and_slopes`.
    linear : (K, n) array
        Initial coefficients of the linear terms.
    training : Training
    origins : sequence of (m,) array or None
        Inputs of an atom without neighbours, where its energy is to vanish, of every element.
    rng : numpy.random.Generator
        Orders the batches.
    train_linear : bool
        Otherwise the linear coefficients stay.

    Returns
    -------
    layers, linear
        Trained, as numpy arrays in double precision.
    """
    torch = import_torch()
    with one_torch_thread():
        tensors = [[tuple(_parameter(torch, a) for a in layer) for layer in e] for e in layers]
        coefficients = _parameter(torch, linear)
        parameters = [a for element in tensors for layer in element for a in layer]
        if train_linear:
            parameters.append(coefficients)
        order = rng.permutation(len(samples))
        chunks = [order[i : i + training.batch] for i in range(0, len(order), training.batch)]
        batches = [_Batch(torch, [samples[s] for s in c], counts[:, c], origins) for c in chunks]
        n_labels = sum(len(sample.targets) for sample in samples) / len(batches)
        adam = _Adam(torch, parameters)
        for step, batch in enumerate(_schedule(batches, training.epochs, rng)):
            progress = step / (training.epochs * len(batches))
            rate = 0.5 * (1 + math.cos(math.pi * progress)) * min(1.0, (step + 1) / _WARM_UP)
            (batch.loss(tensors, coefficients) / n_labels).backward()
            adam.step(training.learning_rate * rate)
        trained = [[tuple(_plain(a) for a in layer) for layer in element] for element in tensors]
        return [[(w, b) for w, b in element] for element in trained], _plain(coefficients)


class _Adam:
    """Kingma & Ba (2015). torch's own imports a compiler first, which takes longer than a fit."""

    MEAN, SQUARE, SMALLEST = 0.9, 0.999, 1e-8

    def __init__(self, torch: Any, parameters: Sequence[Any]) -> None:
        self.torch = torch
        self.parameters = list(parameters)
        self.means = [torch.zeros_like(p) for p in parameters]
        self.squares = [torch.zeros_like(p) for p in parameters]
        self.steps = 0

    def step(self, rate: float) -> None:
        """Move the parameters against their gradients, which are used up."""
        self.steps += 1
        scale = 1 / (1 - self.SQUARE**self.steps)
        with self.torch.no_grad():
            for p, mean, square in zip(self.parameters, self.means, self.squares, strict=True):
                if p.grad is None:  # no structure of the batch has this element
                    continue
                mean.lerp_(p.grad, 1 - self.MEAN)
                square.lerp_(p.grad**2, 1 - self.SQUARE)
                size = (square * scale).sqrt_().add_(self.SMALLEST)
                p.addcdiv_(mean, size, value=-rate / (1 - self.MEAN**self.steps))
                p.grad = None


class _Batch:
    """Some structures, their atoms sorted by element."""

    def __init__(
        self,
        torch: Any,
        samples: Sequence[Sample],
        counts: Array,
        origins: Sequence[Array | None],
    ) -> None:
        def tensor(array: Any) -> Any:
            return torch.as_tensor(np.ascontiguousarray(array), dtype=torch.float32)

        self.torch = torch
        species = np.concatenate([sample.species for sample in samples])
        inputs = np.concatenate([sample.inputs for sample in samples])
        n_elements = int(max(species, default=0)) + 1
        self.inputs = [tensor(inputs[species == e]) for e in range(n_elements)]
        self.origins = [None if x is None else tensor(x[None]) for x in origins[:n_elements]]
        self.back = torch.as_tensor(np.argsort(np.argsort(species, kind="stable")))
        self.sizes = [len(sample.species) for sample in samples]
        self.jacobians = [tensor(s.jacobian.reshape(s.inputs.size, -1)) for s in samples]
        self.linear = [tensor(sample.linear.T) for sample in samples]
        self.targets = [tensor(sample.targets) for sample in samples]
        self.energy_factors = [sample.energy_factor for sample in samples]
        self.counts = tensor(counts)

    def loss(self, layers: Sequence[Sequence[Layer]], linear: Any) -> Any:
        torch = self.torch
        pairs = [
            energies_and_slopes(x, element, torch.tanh)
            for x, element in zip(self.inputs, layers, strict=False)
        ]
        above = [
            energy if origin is None else energy - energies_and_slopes(origin, e, torch.tanh)[0]
            for (energy, _), origin, e in zip(pairs, self.origins, layers, strict=False)
        ]
        energies = torch.cat(above, dim=1)[:, self.back]
        slopes = torch.cat([slope for _, slope in pairs], dim=1)[:, self.back]
        total = 0.0
        for s, (energy, slope) in enumerate(
            zip(energies.split(self.sizes, 1), slopes.split(self.sizes, 1), strict=True)
        ):
            weighted = self.energy_factors[s] * energy.sum(dim=1, keepdim=True)
            derivatives = slope.reshape(len(slope), -1) @ self.jacobians[s]
            found = torch.cat([weighted, derivatives], dim=1) + linear @ self.linear[s]
            total = total + ((found - self.targets[s]) ** 2).sum(dim=1) @ self.counts[:, s]
        return total


def _schedule(batches: list[_Batch], epochs: int, rng: np.random.Generator) -> Iterator[_Batch]:
    for _ in range(epochs):
        for index in rng.permutation(len(batches)):
            yield batches[index]


def _parameter(torch: Any, array: Array) -> Any:
    return torch.tensor(array, dtype=torch.float32, requires_grad=True)


def _plain(tensor: Any) -> Array:
    return np.asarray(tensor.detach().numpy(), dtype=float)
