"""Small networks of ACE descriptors: K of them side by side for the atoms of every element."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_hal.ace.basis import ACEBasis
from ase_hal.prediction import Array

# weights (K, n_in, n_out) and biases (K, 1, n_out), arrays or tensors
Layer = tuple[Any, Any]


def energies_and_slopes(
    inputs: Any, layers: Sequence[Layer], tanh: Callable[[Any], Any]
) -> tuple[Any, Any]:
    r"""Outputs of K networks and their derivatives by the inputs.

    .. math:: x_{l+1} = \tanh(x_l W_l + b_l), \qquad e = x_L W_L + b_L

    Works on numpy arrays, and on torch tensors, through which autograd then differentiates.

    Parameters
    ----------
    inputs : (A, m)
        Of A atoms.
    layers : sequence of (weights (K, n_in, n_out), biases (K, 1, n_out))
        The last one has a single output.
    tanh : callable
        ``np.tanh`` or ``torch.tanh``.

    Returns
    -------
    energies : (K, A)
    slopes : (K, A, m)
    """
    *hidden, (weights, biases) = layers
    activations, x = [], inputs
    for hidden_weights, hidden_biases in hidden:
        x = tanh(x @ hidden_weights + hidden_biases)
        activations.append(x)
    energies = (x @ weights + biases)[..., 0]
    slopes = weights.swapaxes(-1, -2)
    for (hidden_weights, _), x in zip(reversed(hidden), reversed(activations), strict=True):
        slopes = (slopes * (1 - x * x)) @ hidden_weights.swapaxes(-1, -2)
    return energies, slopes


@dataclass(frozen=True)
class Components:
    r"""Principal components of the functions of one element, ``x = (b - mean) @ vectors``.

    Attributes
    ----------
    columns : (n,) integer array
        The functions of atoms of this element among those of the basis.
    mean : (n,) array
        Of the functions b over the atoms of the training set.
    vectors : (n, n) array
        Of the standardised functions, those that vary most first, all scaled by one factor that
        gives the first component the variance 1. Zero where nothing varies.
    anchored : bool
        Whether the energy of an atom without neighbours, whose functions vanish, is that of the
        one-body energies exactly.
    """

    columns: NDArray[np.intp]
    mean: Array
    vectors: Array
    anchored: bool = False

    @property
    def origin(self) -> Array:
        """Components (n,) of an atom without neighbours."""
        return -self.mean @ self.vectors

    @classmethod
    def of(
        cls, columns: NDArray[np.intp], descriptors: Array, *, anchored: bool = False
    ) -> Components:
        """Find them from the functions (A, n) of A atoms; A may be 0."""
        n = len(columns)
        mean, vectors = np.zeros(n), np.zeros((n, n))
        if len(descriptors):
            mean, spread = descriptors.mean(axis=0), descriptors.std(axis=0)
            # what is the same for all atoms but for rounding plays no part
            varies = spread > 1e-10 * max(spread.max(initial=0.0), 1e-300)
            inverse = np.where(varies, 1.0 / np.where(varies, spread, 1.0), 0.0)
            standard = (descriptors - mean) * inverse
            variances, found = np.linalg.eigh(standard.T @ standard / len(standard))
            largest = max(float(variances[-1]), 1e-300)
            kept = found[:, ::-1] * (variances[::-1] > 1e-12 * largest)
            vectors = inverse[:, None] * kept / np.sqrt(largest)
        return cls(columns, mean, vectors, anchored)

    def __call__(self, descriptors: Array, m: int | None = None) -> Array:
        """The first m components (A, m), or all, of functions (A, size of the basis)."""
        return (descriptors[:, self.columns] - self.mean) @ self.vectors[:, :m]


def columns_of(basis: ACEBasis) -> dict[str, NDArray[np.intp]]:
    """The functions of atoms of every element among those of a basis."""
    central = np.concatenate([table.central for table in basis.tables])
    return {element: np.flatnonzero(central == i) for i, element in enumerate(basis.elements)}


@dataclass(frozen=True)
class AtomicNetworks:
    r"""K models of the energy of an atom of one element.

    .. math:: E^k(x) = s\, [ c^k \cdot x + \mathrm{net}^k(x_1, ..., x_m) ]

    Where the components are anchored, less the same for an atom without neighbours.

    Attributes
    ----------
    components : Components
        Makes x from the n functions of the atom.
    linear : (K, n) array
        c.
    layers : tuple of (weights, biases)
        See `energies_and_slopes`; they take the first m components.
    scale : float
        s, eV.
    """

    components: Components
    linear: Array
    layers: tuple[Layer, ...]
    scale: float

    def evaluate(self, descriptors: Array) -> tuple[Array, Array]:
        """Energies (K, A), eV, and their derivatives by the components (K, A, n)."""
        x = self.components(descriptors)
        m = self.layers[0][0].shape[1]
        energies, slopes = energies_and_slopes(x[:, :m], self.layers, np.tanh)
        derivatives = np.repeat(self.linear[:, None], len(x), axis=1)
        derivatives[..., :m] += slopes
        values = energies + self.linear @ x.T
        if self.components.anchored:
            origin = self.components.origin[None]
            alone, _ = energies_and_slopes(origin[:, :m], self.layers, np.tanh)
            values = values - (alone + self.linear @ origin.T)
        return self.scale * values, self.scale * derivatives

    def to_arrays(self) -> dict[str, Any]:
        """Plain arrays, from which `from_arrays` makes the same networks."""
        arrays: dict[str, Any] = {
            "columns": self.components.columns,
            "mean": self.components.mean,
            "vectors": self.components.vectors,
            "anchored": np.array(self.components.anchored),
            "linear": self.linear,
            "scale": np.array(self.scale),
        }
        for i, (weights, biases) in enumerate(self.layers):
            arrays |= {f"weights{i}": weights, f"biases{i}": biases}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> AtomicNetworks:
        """From what `to_arrays` gave; KeyError where something is missing."""
        n_layers = sum(name.startswith("weights") for name in arrays)
        if not n_layers:
            raise KeyError("weights0")
        return cls(
            Components(
                arrays["columns"], arrays["mean"], arrays["vectors"], bool(arrays["anchored"])
            ),
            arrays["linear"],
            tuple((arrays[f"weights{i}"], arrays[f"biases{i}"]) for i in range(n_layers)),
            float(arrays["scale"]),
        )
