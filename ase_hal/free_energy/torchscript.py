"""IDNN surfaces for programs without Python, as TorchScript."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from ase_hal.free_energy.idnn_features import Tensor, torch
from ase_hal.free_energy.idnn_network import FreeEnergy
from ase_hal.free_energy.idnn_surface import IDNNSurface
from ase_hal.journal import replacing


class _AtOneTemperature(torch.nn.Module):
    """g and mu, and the Hessian, of points alone."""

    def __init__(self, model: FreeEnergy) -> None:
        super().__init__()
        self.inner = model
        self.register_buffer("temperature_K", torch.tensor(model.centre_K, dtype=torch.float64))

    def forward(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        return self.inner(eta, self.temperature_K.expand(eta.shape[0]))

    def hessian(self, eta: Tensor) -> Tensor:
        return self.inner.hessian(eta, self.temperature_K.expand(eta.shape[0]))


def export_torchscript(surface: IDNNSurface, path: str | Path) -> None:
    """Write a surface for libtorch, and check what was written by loading it back.

    The module has ``forward(eta) -> (g, mu)`` and ``hessian(eta)``, for points (n, d) of double
    precision; in eV per site. A surface that was trained at several temperatures takes a second
    argument, temperatures (n,) in K. No automatic differentiation is needed to evaluate it.

    Parameters
    ----------
    surface : IDNNSurface
    path : path-like
        Ends in .pt.

    Raises
    ------
    TypeError
        If the surface is no network.
    RuntimeError
        If the file does not give the values of the surface; it is not kept then.
    """
    if not isinstance(surface, IDNNSurface):
        raise TypeError(
            f"networks (IDNNSurface) can be exported, one at a time; got a "
            f"{type(surface).__name__}. write_grid serves any surface"
        )
    path = Path(path)
    if path.suffix != ".pt":
        raise ValueError(f"a TorchScript file ends in .pt, got {path.name!r}")
    example = _example(surface, 3)
    module = surface.model if surface.temperature_is_input else _AtOneTemperature(surface.model)
    with warnings.catch_warnings(), torch.no_grad():
        # what torch says of its own tracer is of no concern to the user
        warnings.simplefilter("ignore")
        traced = torch.jit.trace_module(module.eval(), {"forward": example, "hessian": example})
    with replacing(path) as temporary:
        traced.save(str(temporary))
        _check(surface, temporary)


def _example(surface: IDNNSurface, n: int) -> tuple[Tensor, ...]:
    """Arguments for n points, which need not be in any domain."""
    steps = np.linspace(0.1, 0.4, n * surface.dimension).reshape(n, surface.dimension)
    points = torch.as_tensor(steps)
    if not surface.temperature_is_input:
        return (points,)
    constants = surface.constants
    return points, constants.centre_K + constants.width_K * torch.linspace(-1, 1, n).double()


def _check(surface: IDNNSurface, path: Path) -> None:
    loaded = torch.jit.load(str(path))
    arguments = _example(surface, 50)
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
