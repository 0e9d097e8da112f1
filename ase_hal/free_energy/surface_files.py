"""Surfaces on disk, whichever kind they are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase_hal.free_energy.idnn_surface import IDNNSurface
from ase_hal.free_energy.polynomial_surface import PolynomialSurface
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.journal import read_json, write_json

_KINDS: dict[str, Any] = {"polynomial": PolynomialSurface, "idnn": IDNNSurface}


def write_surface(surface: Surface, stem: str | Path) -> None:
    """Write ``STEM.json`` and, beforehand, the numbers that it names (.npz).

    Parameters
    ----------
    surface : Surface
        One of ours, or a committee of them.
    stem : path
        Where, without ending; its folder exists.
    """
    stem = Path(stem)
    parts = surface.members if isinstance(surface, SurfaceCommittee) else (surface,)
    kind = next((name for name, cls in _KINDS.items() if isinstance(parts[0], cls)), None)
    if kind is None:
        raise TypeError(f"a {type(parts[0]).__name__} cannot be written")
    names = [f"{stem.name}{i or ''}.npz" for i in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        part.write(stem.with_name(name))  # type: ignore[attr-defined]
    committee = isinstance(surface, SurfaceCommittee)
    write_json(stem.with_suffix(".json"), {"kind": kind, "files": names, "committee": committee})


def read_surface(stem: str | Path) -> Surface:
    """Read what `write_surface` wrote, for example the ``surface`` of the directory of a run.

    Raises
    ------
    ValueError
        If there is something else, or a part is damaged or missing.
    """
    stem = Path(stem)
    try:
        found = read_json(stem.with_suffix(".json"))
        read: Callable[[Path], Surface] = _KINDS[found["kind"]].read
        parts = [read(stem.with_name(name)) for name in found["files"]]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{stem.with_suffix('.json')} describes no surface: {error}") from error
    return SurfaceCommittee(tuple(parts)) if found["committee"] else parts[0]
