r"""The function that an IDNN is: free energy, chemical potentials and Hessian as tensors.

.. math:: g(\eta, T) = \epsilon [Y_0(x_0, t) + Y(x, t)] + k_B T \sum_s w_s f(R_s \eta) + const

=================  ==================  ====================================================
symbol             here                meaning
=================  ==================  ====================================================
x_k                `Features`          standardised invariants, long tails cut; x_0 the trivial
t                  `standard_T`        standardised temperature, where it is an input
Y_0, Y             `trivial`, `whole`  networks
epsilon            `energy`            unit of energy, eV
f, R, w            `Mixing`            `mixing_function` of mean occupations x = R eta
=================  ==================  ====================================================

The constant makes g zero for the empty lattice (eta = 0) at every temperature.
"""

from __future__ import annotations

from collections.abc import Mapping

from ase.units import kB

from ase_hal.free_energy.ideal_mixing import mixing_function
from ase_hal.free_energy.idnn_features import Features, Tensor, torch
from ase_hal.free_energy.idnn_layers import Layers
from ase_hal.free_energy.idnn_settings import Architecture
from ase_hal.free_energy.idnn_surface import Constants
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.symmetry import Array


class Mixing(torch.nn.Module):
    """Free energy of ideal mixing on sublattices, divided by k_B T.

    Parameters
    ----------
    rows : (S, d) tensor
        Mean occupations are rows @ eta.
    weights : (S,) tensor
        Fractions of the sites.
    """

    def __init__(self, rows: Tensor, weights: Tensor) -> None:
        super().__init__()
        self.register_buffer("rows", rows)
        self.register_buffer("weights", weights)

    def forward(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Values (n,) and derivatives (n, d) at points (n, d)."""
        value, slope, _ = mixing_function(eta @ self.rows.T, torch)
        return value @ self.weights, (slope * self.weights) @ self.rows

    def curvature(self, eta: Tensor) -> Tensor:
        """Second derivatives (n, d, d)."""
        _, _, second = mixing_function(eta @ self.rows.T, torch)
        return torch.einsum("ns,si,sj->nij", second * self.weights, self.rows, self.rows)


class FreeEnergy(torch.nn.Module):
    """g, mu and Hessian in eV per site at points (n, d) and temperatures (n,) in K.

    Parameters
    ----------
    features : Features
    whole : Layers
        Of all features, and the temperature where it is an input.
    trivial : Layers or None
        Of the first `n_trivial` features, and the temperature.
    mixing : Mixing or None
    n_trivial : int
    energy : float
        Unit of energy of the networks, eV.
    temperature : (2,) tensor
        Centre and width of the temperatures, K; a width of 0 where they are no input.
    """

    def __init__(
        self,
        features: Features,
        whole: Layers,
        trivial: Layers | None,
        mixing: Mixing | None,
        *,
        n_trivial: int,
        energy: float,
        temperature: tuple[float, float],
    ) -> None:
        super().__init__()
        self.features = features
        self.whole = whole
        self.trivial = trivial
        self.mixing = mixing
        self.n_trivial = n_trivial
        self.energy = energy
        self.centre_K, self.width_K = temperature

    def forward(self, eta: Tensor, temperature_K: Tensor) -> tuple[Tensor, Tensor]:
        """g (n,), zero on the empty lattice, and mu (n, d)."""
        g, mu, _ = self.everything(eta, temperature_K)
        # one empty lattice does for all points where the temperature is no input
        some, kelvin = (eta, temperature_K) if self.width_K else (eta[:1], temperature_K[:1])
        zero, _, _ = self.everything(torch.zeros_like(some), kelvin)
        return g - zero, mu

    def everything(self, eta: Tensor, temperature_K: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """g (n,) up to a constant, mu (n, d), and dg/dT (n,) in eV/K up to one."""
        x, slopes = self.features(eta)
        y, by_x, by_t = self.network(x, self.standard_T(temperature_K))
        g = self.energy * y
        mu = self.energy * torch.einsum("nk,nkd->nd", by_x, slopes)
        by_T = self.energy * by_t / self.width_K if self.width_K else torch.zeros_like(g)
        if self.mixing is not None:
            value, slope = self.mixing(eta)
            thermal = kB * temperature_K
            g = g + thermal * value
            mu = mu + thermal[:, None] * slope
            by_T = by_T + kB * value
        return g, mu, by_T

    def hessian(self, eta: Tensor, temperature_K: Tensor) -> Tensor:
        """Second derivatives (n, d, d)."""
        x, slopes = self.features(eta)
        inputs = self._inputs(x, self.standard_T(temperature_K))
        by_x, second = (part[..., : x.shape[1]] for part in self.whole.derivatives(inputs))
        second = second[:, : x.shape[1]]
        if self.trivial is not None:
            m = self.n_trivial
            first, bend = self.trivial.derivatives(
                torch.cat([x[:, :m], inputs[:, x.shape[1] :]], 1)
            )
            by_x = torch.cat([by_x[:, :m] + first[:, :m], by_x[:, m:]], dim=1)
            corner = torch.zeros_like(second)
            corner[:, :m, :m] = bend[:, :m, :m]
            second = second + corner
        result = slopes.transpose(1, 2) @ second @ slopes
        result = self.energy * (result + self.features.weighted_curvature(eta, by_x))
        if self.mixing is not None:
            result = result + kB * temperature_K[:, None, None] * self.mixing.curvature(eta)
        return (result + result.transpose(1, 2)) / 2

    def network(
        self, x: Tensor, t: Tensor | None, masks: list[list[Tensor]] | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Y_0 + Y (n,) and its derivatives by the features (n, k) and by t (n,)."""
        k, m = x.shape[1], self.n_trivial
        inputs = self._inputs(x, t)
        y, slopes = self.whole(inputs, masks[0] if masks else None)
        if self.trivial is not None:
            few = torch.cat([inputs[:, :m], inputs[:, k:]], dim=1)
            more, first = self.trivial(few, masks[1] if masks else None)
            y = y + more
            slopes = torch.cat(
                [slopes[:, :m] + first[:, :m], slopes[:, m:k], slopes[:, k:] + first[:, m:]], dim=1
            )
        return y, slopes[:, :k], slopes[:, k:].sum(dim=1)

    def standard_T(self, temperature_K: Tensor) -> Tensor | None:
        """The input t (n, 1), where there is one."""
        if not self.width_K:
            return None
        return ((temperature_K - self.centre_K) / self.width_K)[:, None]

    def _inputs(self, x: Tensor, t: Tensor | None) -> Tensor:
        return x if t is None else torch.cat([x, t], dim=1)


def build(
    invariants: Polynomials,
    architecture: Architecture,
    constants: Constants,
    parameters: Mapping[str, Array] | None = None,
) -> FreeEnergy:
    """Put a model together; without parameters they are zero."""
    n_trivial = int((invariants.degrees == 1).sum())
    extra = int(constants.width_K > 0)
    trivial, mixing = None, None
    if architecture.trivial_hidden and n_trivial:
        trivial = Layers(n_trivial + extra, architecture.trivial_hidden, architecture.activation)
    if len(constants.mixing_rows):
        mixing = Mixing(
            torch.as_tensor(constants.mixing_rows), torch.as_tensor(constants.mixing_weights)
        )
    model = FreeEnergy(
        Features(invariants, constants.shift, constants.scale),
        Layers(len(invariants) + extra, architecture.hidden, architecture.activation),
        trivial,
        mixing,
        n_trivial=n_trivial,
        energy=constants.energy,
        temperature=(constants.centre_K, constants.width_K),
    )
    if parameters is not None:
        own = dict(model.named_parameters())
        if {k: tuple(v.shape) for k, v in own.items()} != {
            k: v.shape for k, v in parameters.items()
        }:
            raise ValueError(f"these parameters are not those of networks {architecture}")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(torch.as_tensor(parameters[name]))
    return model


def parameters_of(model: FreeEnergy) -> dict[str, Array]:
    """Copies of the parameters of a model, by name."""
    return {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
