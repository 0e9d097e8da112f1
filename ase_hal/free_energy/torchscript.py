"""IDNN surfaces for programs without Python, as TorchScript."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ase_hal.free_energy.idnn_features import Tensor, torch
from ase_hal.free_energy.idnn_network import FreeEnergy
from ase_hal.free_energy.idnn_surface import IDNNSurface
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.journal import replacing


class _Mean(torch.nn.Module):
    """Means of g, mu and the Hessian over networks, at temperatures (n,)."""

    def __init__(self, models: Sequence[FreeEnergy]) -> None:
        super().__init__()
        self.models = torch.nn.ModuleList(models)

    def forward(self, eta: Tensor, temperature_K: Tensor) -> tuple[Tensor, Tensor]:
        found = [model(eta, temperature_K) for model in self.models]
        g, mu = (torch.stack(parts).mean(dim=0) for parts in zip(*found, strict=True))
        return g, mu

    def hessian(self, eta: Tensor, temperature_K: Tensor) -> Tensor:
        return torch.stack([m.hessian(eta, temperature_K) for m in self.models]).mean(dim=0)


class _AtOneTemperature(torch.nn.Module):
    """The same of points alone."""

    def __init__(self, inner: _Mean, temperature_K: float) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("temperature_K", torch.tensor(temperature_K, dtype=torch.float64))

    def forward(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(eta, self.temperature_K.expand(eta.shape[0]))

    def hessian(self, eta: Tensor) -> Tensor:
        return self.inner.hessian(eta, self.temperature_K.expand(eta.shape[0]))


def export_torchscript(surface: IDNNSurface | SurfaceCommittee, path: str | Path) -> None:
    """Write a surface for libtorch, and check what was written by loading it back.

    The module has ``forward(eta) -> (g, mu)`` and ``hessian(eta)``, for points (n, d) of double
    precision; in eV per site. A surface that was trained at several temperatures takes a second
    argument, temperatures (n,) in K. No automatic differentiation is needed to evaluate it.

    Parameters
    ----------
    surface : IDNNSurface or SurfaceCommittee
        A network, or a committee of networks: its mean.
    path : path-like
        Ends in .pt.

    Raises
    ------
    TypeError
        If the surface is no network.
    RuntimeError
        If the file does not give the values of the surface; it is not kept then.
    """
    members = _networks(surface)
    path = Path(path)
    if path.suffix != ".pt":
        raise ValueError(f"a TorchScript file ends in .pt, got {path.name!r}")
    example = _example(members[0], 3)
    mean: torch.nn.Module = _Mean([member.model for member in members])
    if not members[0].temperature_is_input:
        mean = _AtOneTemperature(mean, members[0].constants.centre_K)
    with warnings.catch_warnings(), torch.no_grad():
        # what torch says of its own tracer is of no concern to the user
        warnings.simplefilter("ignore")
        traced = torch.jit.trace_module(mean.eval(), {"forward": example, "hessian": example})
    with replacing(path) as temporary:
        traced.save(str(temporary))
        _check(surface, members[0], temporary)


def _networks(surface: Surface) -> tuple[IDNNSurface, ...]:
    """The network, or those of a committee, which were fitted to the same points."""
    members = surface.members if isinstance(surface, SurfaceCommittee) else (surface,)
    networks = tuple(member for member in members if isinstance(member, IDNNSurface))
    if len(networks) < len(members):
        raise TypeError(
            f"networks (IDNNSurface) and committees of them can be exported, got a "
            f"{type(members[0]).__name__}; write_grid takes any surface"
        )
    temperatures = [member.constants.centre_K for member in networks]
    several = [member.temperature_is_input for member in networks]
    if len(set(several)) > 1 or not (several[0] or np.allclose(temperatures, temperatures[0])):
        raise ValueError(f"the networks are of different temperatures: {temperatures} K")
    return networks


def _example(surface: IDNNSurface, n: int) -> tuple[Tensor, ...]:
    """Arguments for n points, which need not be in any domain."""
    steps = np.linspace(0.1, 0.4, n * surface.dimension).reshape(n, surface.dimension)
    points = torch.as_tensor(steps)
    if not surface.temperature_is_input:
        return (points,)
    constants = surface.constants
    return points, constants.centre_K + constants.width_K * torch.linspace(-1, 1, n).double()


def _check(surface: Surface, network: IDNNSurface, path: Path) -> None:
    loaded = torch.jit.load(str(path))
    arguments = _example(network, 50)
    arrays = [tensor.numpy() for tensor in arguments]
    expected = (
        surface.free_energy(*arrays),
        surface.chemical_potentials(*arrays),
        surface.hessian(*arrays),
    )
    with torch.no_grad():
        found = (*loaded(*arguments), loaded.hessian(*arguments))
    for values, tensor in zip(expected, found, strict=True):
        if not np.allclose(values, tensor.numpy(), rtol=1e-9, atol=1e-12):
            raise RuntimeError("the exported surface does not give the values of this one")
