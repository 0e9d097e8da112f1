"""What a model of the free energy answers, whichever model it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.symmetry import Array


@runtime_checkable
class Surface(Protocol):
    """A free energy g of d order parameters, with its first and second derivatives.

    Energies are per site, as those of `UmbrellaMC`. Outside of the domain of the order parameters
    (``OrderParameters.domain.contains``) and far from the points it was fitted to a surface says
    something, too, which means nothing. A surface that was made at one temperature
    answers at this one if none is asked for, and refuses others; one that depends on temperature
    needs to be told.
    """

    @property
    def dimension(self) -> int:
        """Number of order parameters d."""

    def free_energy(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """Values g (n,) at points (n, d), eV per site; a constant in it is not known."""

    def chemical_potentials(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """First derivatives mu_i = dg/deta_i (n, d) at points (n, d), eV per site."""

    def hessian(self, eta: npt.ArrayLike, temperature_K: float | None = None) -> Array:
        """Second derivatives (n, d, d) at points (n, d), symmetric, eV per site."""


def hessian_eigenvalues(
    surface: Surface,
    eta: npt.ArrayLike,
    temperature_K: npt.ArrayLike | None = None,
    *,
    without: Callable[[Array], Array] | None = None,
    chunk: int = 16_384,
) -> Array:
    """Eigenvalues (n, d) of the Hessian at points (n, d), in ascending order, eV per site.

    The temperature is one for all points, or (n,) where the surface takes such. With `without`,
    eigenvalues of what is left of Hessians (n, d, d) after its values at the points are
    subtracted. Only `chunk` Hessians are held at a time: a million points of seven order
    parameters take 56 MB.
    """
    points = checked_points(eta, surface.dimension)
    result = np.empty_like(points)
    temperatures = np.asarray(temperature_K)
    for start in range(0, len(points), chunk):
        part = slice(start, start + chunk)
        asked = temperature_K if temperatures.ndim == 0 else temperatures[part]
        hessians = surface.hessian(points[part], asked)  # type: ignore[arg-type]
        if without is not None:
            hessians = hessians - without(points[part])
        result[part] = np.linalg.eigvalsh(hessians)
    return result


def checked_points(eta: npt.ArrayLike, dimension: int) -> Array:
    """Return finite points (n, d) as an array; ValueError if they are not such."""
    points = np.asarray(eta, dtype=float)
    if points.ndim != 2 or points.shape[1] != dimension:
        raise ValueError(f"points (n, {dimension}) are needed, got shape {points.shape}")
    if not np.isfinite(points).all():
        row = int(np.flatnonzero(~np.isfinite(points).all(axis=1))[0])
        raise ValueError(f"order parameters are finite, got {points[row]} in row {row}")
    return points


def checked_temperatures(
    temperature_K: npt.ArrayLike | None, n: int, *, own: float, others: bool
) -> Array:
    """Return the temperatures (n,) at which a surface is asked.

    Parameters
    ----------
    temperature_K : float, (n,) array or None
    n : int
        Points that it is asked about.
    own : float
        The temperature of the surface.
    others : bool
        Whether it can be asked at others, and has to be told which.

    Raises
    ------
    ValueError
        If the surface has nothing to say at these temperatures.
    """
    if temperature_K is None:
        if others:
            raise ValueError("this surface depends on temperature: give temperature_K")
        temperature_K = own
    values = np.asarray(temperature_K, dtype=float)
    if values.shape not in ((), (n,)) or not (values > 0).all() or np.isinf(values).any():
        raise ValueError(f"one positive temperature or {n} are needed, got {temperature_K!r}")
    if not others and (np.abs(values - own) > 1e-6).any():
        raise ValueError(f"this surface is one at {own:g} K only, got {temperature_K!r}")
    return np.array(np.broadcast_to(values, n))
