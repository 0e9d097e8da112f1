"""Fully connected networks whose first and second derivatives are written out.

The derivatives by the inputs are ordinary tensor operations: training differentiates them once
by the parameters, and an exported network needs no automatic differentiation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from ase_hal.free_energy.idnn_features import Tensor, torch
from ase_hal.free_energy.idnn_settings import Activation

# s, s', s'' at once
Derivatives = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

SPREAD = 1.8  # standard deviations that uniform inputs reach to either side
OVERLAP = 8  # bends of fine units that are felt at one place


def softplus(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s = torch.sigmoid(a)
    return torch.nn.functional.softplus(a), s, s * (1 - s)


def silu(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    s = torch.sigmoid(a)
    slope = s * (1 + a * (1 - s))
    return a * s, slope, s * (1 - s) * (2 + a * (1 - 2 * s))


def gelu(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    density = torch.exp(-(a**2) / 2) / math.sqrt(2 * math.pi)
    probability = (1 + torch.erf(a / math.sqrt(2))) / 2
    return a * probability, probability + a * density, density * (2 - a**2)


def tanh(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    t = torch.tanh(a)
    return t, 1 - t**2, -2 * t * (1 - t**2)


ACTIVATIONS: dict[Activation, Derivatives] = {
    "softplus": softplus,
    "silu": silu,
    "gelu": gelu,
    "tanh": tanh,
}


class Layers(torch.nn.Module):
    """y(x): hidden layers z_l = s(W_l z_(l-1) + b_l), linear outputs of the last and of x itself.

    Parameters
    ----------
    n_inputs : int
    hidden : tuple of int
        Widths.
    activation : str

    Notes
    -----
    The parameters are zero until they are drawn or loaded.
    """

    def __init__(self, n_inputs: int, hidden: tuple[int, ...], activation: Activation) -> None:
        super().__init__()
        self._activation = ACTIVATIONS[activation]
        widths = (n_inputs, *hidden)
        self.weights = torch.nn.ParameterList(
            [_zeros(width, before) for before, width in pairwise(widths)]
        )
        self.biases = torch.nn.ParameterList([_zeros(width) for width in hidden])
        self.output = _zeros(widths[-1])
        self.linear = _zeros(n_inputs)

    def draw(self, *, rng: np.random.Generator, fine: int = 0, bends: int = 0) -> None:
        """Draw all but the linear part, for standardised inputs, over which first units bend.

        Along so many fine inputs they bend at equal distances, as steeply as so many bends over
        the data need where `OVERLAP` of them are felt at one place.
        """
        with torch.no_grad():
            for matrix in (*self.weights, self.output):
                bound = math.sqrt(3 / matrix.shape[-1])
                matrix.copy_(torch.as_tensor(rng.uniform(-bound, bound, size=matrix.shape)))
            for bias in self.biases:
                bias.copy_(torch.as_tensor(rng.uniform(-1, 1, size=bias.shape)))
            first = self.weights[0]
            places = torch.as_tensor(rng.uniform(-SPREAD, SPREAD, size=first.shape))
            if fine:
                units = len(first)
                direction = rng.normal(size=(units, fine))
                direction /= np.linalg.norm(direction, axis=1, keepdims=True)
                first[:, :fine] = torch.as_tensor(max(min(units, bends) / OVERLAP, 1.0) * direction)
                even = np.linspace(-SPREAD, SPREAD, units)[:, None].repeat(fine, axis=1)
                places[:, :fine] = torch.as_tensor(rng.permuted(even, axis=0))
            self.biases[0].copy_(-(first * places).sum(dim=1))

    def forward(self, x: Tensor, masks: list[Tensor] | None = None) -> tuple[Tensor, Tensor]:
        """y (n,) and dy/dx (n, k) at inputs (n, k).

        Each hidden unit is multiplied by its mask, if there are masks (n, width) of each layer.
        """
        z, slopes = x, []
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            z, slope, _ = self._activation(torch.addmm(bias, z, weight.T))
            if masks is not None:
                z, slope = z * masks[i], slope * masks[i]
            slopes.append(slope)
        delta = self.output.expand_as(z)
        for weight, slope in zip(reversed(self.weights), reversed(slopes), strict=True):
            delta = (delta * slope) @ weight
        return z @ self.output + x @ self.linear, delta + self.linear

    def parameter_slopes(self, x: Tensor, along: Tensor) -> dict[str, Tensor]:
        """How directional derivatives of y depend on the parameters.

        Parameters
        ----------
        x : (n, k) tensor
        along : (n, d, k) tensor
            Directions.

        Returns
        -------
        dict of (n, d, size) tensors
            Derivatives of ``along @ dy/dx`` by every parameter, by name.
        """
        z, dz = x[:, None, :], along
        units = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            da = dz @ weight.T
            value, slope, bend = self._activation(z @ weight.T + bias)
            units.append((z, dz, da, slope, bend))
            z, dz = value, slope * da
        found = {"output": dz, "linear": along}
        by_dz, by_z = self.output.expand_as(dz), torch.zeros_like(dz)
        for i in reversed(range(len(units))):
            before, d_before, da, slope, bend = units[i]
            by_da = by_dz * slope
            by_a = by_dz * bend * da + by_z * slope
            outer = by_da[..., None] * d_before[..., None, :]
            outer += by_a[..., None] * before[..., None, :]
            found[f"weights.{i}"] = outer.flatten(start_dim=2)
            found[f"biases.{i}"] = by_a
            by_dz, by_z = by_da @ self.weights[i], by_a @ self.weights[i]
        return found

    def derivatives(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """dy/dx (n, k) and d2y/dx2 (n, k, k) at inputs (n, k)."""
        z, slopes, bends, jacobians = x, [], [], []
        jacobian = torch.eye(x.shape[1], dtype=x.dtype).expand(x.shape[0], -1, -1)
        for weight, bias in zip(self.weights, self.biases, strict=True):
            z, slope, bend = self._activation(torch.addmm(bias, z, weight.T))
            jacobian = weight @ jacobian  # da/dx (n, width, k)
            slopes.append(slope)
            bends.append(bend)
            jacobians.append(jacobian)
            jacobian = slope[:, :, None] * jacobian
        delta = self.output.expand_as(z)
        second = torch.zeros_like(x[:, :, None] * x[:, None, :])
        for weight, slope, bend, jacobian in zip(
            reversed(self.weights),
            reversed(slopes),
            reversed(bends),
            reversed(jacobians),
            strict=True,
        ):
            second = second + jacobian.transpose(1, 2) @ ((delta * bend)[:, :, None] * jacobian)
            delta = (delta * slope) @ weight
        return delta + self.linear, second


def _zeros(*shape: int) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.zeros(shape, dtype=torch.float64))
