"""Free energy surfaces on grids, for phase-field models and plots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.domain import Domain
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.symmetry import Array
from ase_hal.journal import replacing

if TYPE_CHECKING:
    import xarray

CHUNK = 16_384  # points at a time


def on_grid(
    surface: Surface,
    axes: Mapping[int, npt.ArrayLike],
    *,
    through: npt.ArrayLike | None = None,
    domain: Domain | None = None,
    temperature_K: float | None = None,
    hessian: bool = True,
) -> xarray.Dataset:
    """Evaluate a surface where the values of some order parameters cross.

    Parameters
    ----------
    surface : Surface
    axes : dict
        For each order parameter that varies, by number, its values (n,) in ascending order.
    through : (d,) array, optional
        Values of the others; by default zero.
    domain : Domain, optional
        Points outside are NaN; by default all are evaluated.
    temperature_K : float, optional
    hessian : bool
        Whether to evaluate second derivatives, too.

    Returns
    -------
    xarray.Dataset
        `g` with a dimension ``eta_i`` for each axis, `mu` with one more, ``component``, and
        `hessian` with two more, ``component`` and ``component_2``; eV per site.

    Examples
    --------
    >>> eta_0, eta_1 = np.linspace(0, 1, 201), np.linspace(-0.5, 0.5, 201)
    >>> grid = on_grid(surface, {0: eta_0, 1: eta_1}, domain=order_parameters.domain)
    >>> write_grid(grid, 'surface.nc')
    """
    xarray = _imported_xarray()
    coordinates, points = _points(surface.dimension, axes, through)
    inside = np.ones(len(points), dtype=bool) if domain is None else domain.contains(points)
    shape = tuple(len(values) for values in coordinates.values())
    d = surface.dimension
    variables: dict[str, Any] = {}
    wanted = {"g": (surface.free_energy, ()), "mu": (surface.chemical_potentials, (d,))}
    if hessian:
        wanted["hessian"] = (surface.hessian, (d, d))
    for name, (function, extra) in wanted.items():
        values = np.full((len(points), *extra), np.nan)
        for rows in _chunks(np.flatnonzero(inside)):
            values[rows] = function(points[rows], temperature_K)
        dimensions = (*coordinates, *("component", "component_2")[: len(extra)])
        variables[name] = (dimensions, values.reshape(*shape, *extra), _ABOUT[name])
    components = np.arange(d)
    attributes = {
        "through": _origin(d, through),
        "conventions": "g and its derivatives by the order parameters, per site",
    }
    if temperature_K is not None:
        attributes["temperature_K"] = float(temperature_K)
    names = {"component": components} | ({"component_2": components} if hessian else {})
    return xarray.Dataset(variables, coords={**coordinates, **names}, attrs=attributes)


def write_grid(grid: xarray.Dataset, path: str | Path) -> None:
    """Write a grid as NetCDF 4, which is HDF5, in one step.

    Parameters
    ----------
    grid : xarray.Dataset
    path : path-like
        Ends in .nc or .h5.
    """
    path = Path(path)
    if path.suffix not in (".nc", ".h5"):
        raise ValueError(f"a grid is written to a .nc or .h5 file, got {path.name!r}")
    try:
        import h5netcdf  # noqa: F401
    except ImportError as error:
        raise ImportError("NetCDF files need h5netcdf: pip install 'ase-hal[grid]'") from error
    with replacing(path) as temporary:
        grid.to_netcdf(temporary, engine="h5netcdf")


_ABOUT = {
    "g": {"units": "eV", "long_name": "free energy per site"},
    "mu": {"units": "eV", "long_name": "chemical potentials per site, dg/deta"},
    "hessian": {"units": "eV", "long_name": "second derivatives of the free energy per site"},
}


def _imported_xarray() -> Any:
    try:
        import xarray
    except ImportError as error:
        raise ImportError("grids need xarray: pip install 'ase-hal[grid]'") from error
    return xarray


def _points(
    dimension: int, axes: Mapping[int, npt.ArrayLike], through: npt.ArrayLike | None
) -> tuple[dict[str, Array], Array]:
    """Coordinates by name, and points (n, d) in C order of the axes."""
    if not axes or not all(isinstance(i, int) and 0 <= i < dimension for i in axes):
        raise ValueError(
            f"axes are some of the order parameters 0 to {dimension - 1}, got {list(axes)}"
        )
    coordinates = {}
    for i, values in axes.items():
        axis = np.asarray(values, dtype=float)
        if axis.ndim != 1 or not len(axis) or not np.isfinite(axis).all():
            raise ValueError(f"the axis of order parameter {i} is no row of finite numbers")
        if (np.diff(axis) <= 0).any():
            raise ValueError(f"the axis of order parameter {i} does not ascend")
        coordinates[f"eta_{i}"] = axis
    crossed = np.meshgrid(*coordinates.values(), indexing="ij")
    points = np.tile(_origin(dimension, through), (crossed[0].size, 1))
    for i, values in zip(axes, crossed, strict=True):
        points[:, i] = values.ravel()
    return coordinates, points


def _origin(dimension: int, through: npt.ArrayLike | None) -> Array:
    origin = np.zeros(dimension) if through is None else np.asarray(through, dtype=float)
    if origin.shape != (dimension,) or not np.isfinite(origin).all():
        raise ValueError(f"through has {dimension} finite numbers, got {through!r}")
    return origin


def _chunks(rows: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return [rows[start : start + CHUNK] for start in range(0, len(rows), CHUNK)]
