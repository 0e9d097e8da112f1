"""IDNN surfaces on disk: one ``.npz`` of arrays and a JSON header, without pickle."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from ase_hal.free_energy.idnn_settings import Architecture, History
from ase_hal.free_energy.idnn_surface import Constants, IDNNSurface
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.journal import to_json, write_atomically

_FORMAT = "ase_hal IDNN surface"
_VERSION = 3  # 2 had features with long tails; 1 had another mixing term at the walls


def write_surface(surface: IDNNSurface, path: str | Path) -> None:
    """Replace a file by a surface, in one step."""
    constants = {field.name: getattr(surface.constants, field.name) for field in fields(Constants)}
    arrays = {k: v for k, v in constants.items() if isinstance(v, np.ndarray)}
    header = {
        "format": _FORMAT,
        "version": _VERSION,
        "architecture": asdict(surface.architecture),
        "constants": {k: v for k, v in constants.items() if k not in arrays},
        "history": asdict(surface.history),
    }
    buffer = io.BytesIO()
    content: dict[str, Any] = {
        "header": np.array(to_json(header)),
        "exponents": surface.invariants.exponents,
        "coefficients": surface.invariants.coefficients,
        **{f"constants/{name}": value for name, value in arrays.items()},
        **{f"parameters/{name}": value for name, value in surface.parameters.items()},
    }
    np.savez(buffer, **content)
    write_atomically(_npz_path(path), buffer.getvalue())


def read_surface(path: str | Path) -> IDNNSurface:
    """Read what `write_surface` wrote; ValueError for anything else."""
    path = _npz_path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise ValueError(f"{path} is damaged or no file of arrays: {error}") from error
    header = _header(arrays, path)
    try:
        surface = IDNNSurface(
            Polynomials(arrays["exponents"], arrays["coefficients"]),
            _architecture(header["architecture"]),
            Constants(**header["constants"], **_below("constants/", arrays)),
            _below("parameters/", arrays),
            History(**header["history"]),
        )
        _check_finite(surface)
        surface.model  # noqa: B018 (its shapes are checked as it is put together)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path} is not a complete IDNN surface: {error}") from error
    return surface


def _header(arrays: dict[str, Any], path: Path) -> dict[str, Any]:
    try:
        header = json.loads(str(arrays.get("header")))
    except json.JSONDecodeError:
        header = None
    if not isinstance(header, dict) or header.get("format") != _FORMAT:
        raise ValueError(f"{path} holds arrays, but no IDNN surface of ase_hal")
    if header.get("version") != _VERSION:
        raise ValueError(
            f"{path} has format version {header.get('version')}; this ase_hal reads {_VERSION}"
        )
    return header


def _architecture(values: dict[str, Any]) -> Architecture:
    # JSON turned tuples into lists
    arguments: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in values.items()
    }
    return Architecture(**arguments)


def _below(prefix: str, arrays: dict[str, Any]) -> dict[str, Any]:
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}


def _check_finite(surface: IDNNSurface) -> None:
    for name, array in surface.parameters.items():
        if not np.isfinite(array).all():
            raise ValueError(f"the parameters {name} are not finite")


def _npz_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".npz":
        raise ValueError(f"a file of an IDNN surface ends in .npz, got {path.name!r}")
    return path
