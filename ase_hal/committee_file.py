"""Committees on disk: a JSON header and, beside it, arrays in an ``.npz``; no pickle in either."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ase_hal.ace.basis import ACEBasis
from ase_hal.journal import replacing, write_json

Arrays = dict[str, Any]


def write_contents(path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, Any]) -> None:
    """Write ``path`` (JSON) and its arrays, whose checksum the header gets.

    Parameters
    ----------
    path : path
        Ends in ``.json``.
    header : mapping
        With ``format`` and ``version``.
    arrays : mapping of str to array
    """
    path = json_path(path)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    blob = buffer.getvalue()
    with replacing(path.with_suffix(".npz")) as temporary:
        temporary.write_bytes(blob)
    write_json(path, {**header, "arrays_sha256": hashlib.sha256(blob).hexdigest()})


def read_contents(
    path: str | Path, format_name: str, version: int
) -> tuple[dict[str, Any], Arrays]:
    """Read header and arrays.

    Raises
    ------
    ValueError
        If the file is of another kind or version, or is damaged.
    """
    path = json_path(path)
    header = _read_header(path)
    if header["format"] != format_name:
        raise ValueError(f"{path} is an {header['format']}, not an {format_name}")
    if header.get("version") != version:
        raise ValueError(
            f"{path} has format version {header.get('version')}; this ase_hal reads {version}"
        )
    blob = path.with_suffix(".npz").read_bytes()
    if hashlib.sha256(blob).hexdigest() != header.get("arrays_sha256"):
        raise ValueError(f"{path.with_suffix('.npz')} is damaged or belongs to another model")
    try:
        return header, dict(np.load(io.BytesIO(blob), allow_pickle=False))
    except (ValueError, zipfile.BadZipFile) as error:
        raise incomplete(path, error) from error


def write_with_basis(
    path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, Any], basis: ACEBasis
) -> None:
    """`write_contents` together with a basis, and everything that its evaluation needs."""
    tables = [table.to_arrays() for table in basis.tables]
    parts: Arrays = {
        f"part{i}/{name}": a for i, table in enumerate(tables) for name, a in table.items()
    }
    header = {**header, "basis": basis.specification, "parts": len(tables)}
    write_contents(path, header, {**arrays, **parts})


def read_with_basis(
    path: str | Path, format_name: str, version: int
) -> tuple[dict[str, Any], Arrays, ACEBasis]:
    """Read what `write_with_basis` wrote; python-ace need not be installed.

    Raises
    ------
    ValueError
        If the file is of another kind or version, or is damaged.
    """
    from ase_hal.ace.tables import FunctionTables

    header, arrays = read_contents(path, format_name, version)
    try:
        tables = [
            FunctionTables.from_arrays(below(arrays, f"part{i}")) for i in range(header["parts"])
        ]
        return header, arrays, ACEBasis.from_specification(header["basis"], tables=tables)
    except KeyError as error:
        raise incomplete(path, error) from error


def format_of(path: str | Path) -> str:
    """What a file says it is, such as ``"ase_hal linear committee"``.

    Raises
    ------
    ValueError
        If it is no committee file of this package.
    """
    return str(_read_header(json_path(path))["format"])


def below(arrays: Mapping[str, Any], folder: str) -> Arrays:
    """The arrays whose names begin with ``folder/``, without that."""
    start = folder + "/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def incomplete(path: str | Path, error: Exception) -> ValueError:
    """What to raise where something is missing in a file."""
    return ValueError(f"{path} is not a complete committee file: {error}")


def json_path(path: str | Path) -> Path:
    """The path of a committee file; ValueError for one that does not end in .json."""
    path = Path(path)
    if path.suffix != ".json":
        raise ValueError(f"a committee file ends in .json, got {path.name!r}")
    return path


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a committee file: {error}") from error
    if not (isinstance(header, dict) and str(header.get("format")).startswith("ase_hal")):
        raise ValueError(f"{path} is JSON, but not a committee of ase_hal")
    return header
