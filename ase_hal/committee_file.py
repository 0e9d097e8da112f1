"""Committees on disk: a JSON header and, beside it, arrays in an ``.npz``; no pickle in either."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ase_hal.ace.basis import ACEBasis
from ase_hal.journal import replacing, write_json

Arrays = dict[str, Any]


def write_committee(
    path: str | Path, header: Mapping[str, Any], arrays: Mapping[str, Any], basis: ACEBasis
) -> None:
    """Write ``path`` (JSON) and its arrays; the basis with everything that evaluation needs.

    Parameters
    ----------
    path : path
        Ends in ``.json``.
    header : mapping
        With ``format`` and ``version``.
    arrays : mapping of str to array
    basis : ACEBasis
    """
    path = _json_path(path)
    tables = [table.to_arrays() for table in basis.tables]
    parts: Arrays = {
        f"part{i}/{name}": a for i, table in enumerate(tables) for name, a in table.items()
    }
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays, **parts)
    blob = buffer.getvalue()
    header = {
        **header,
        "arrays_sha256": hashlib.sha256(blob).hexdigest(),
        "basis": basis.specification,
        "parts": len(tables),
    }
    with replacing(path.with_suffix(".npz")) as temporary:
        temporary.write_bytes(blob)
    write_json(path, header)


def read_committee(
    path: str | Path, format_name: str, version: int
) -> tuple[dict[str, Any], Arrays, ACEBasis]:
    """Read header, arrays and basis; python-ace need not be installed.

    Raises
    ------
    ValueError
        If the file is of another kind or version, or is damaged.
    """
    from ase_hal.ace.tables import FunctionTables

    path = _json_path(path)
    header = _read_header(path, format_name, version)
    blob = path.with_suffix(".npz").read_bytes()
    if hashlib.sha256(blob).hexdigest() != header.get("arrays_sha256"):
        raise ValueError(f"{path.with_suffix('.npz')} is damaged or belongs to another model")
    try:
        arrays = dict(np.load(io.BytesIO(blob), allow_pickle=False))
        tables = [
            FunctionTables.from_arrays(below(arrays, f"part{i}")) for i in range(header["parts"])
        ]
        return header, arrays, ACEBasis.from_specification(header["basis"], tables=tables)
    except (KeyError, zipfile.BadZipFile) as error:
        raise incomplete(path, error) from error


def below(arrays: Mapping[str, Any], folder: str) -> Arrays:
    """The arrays whose names begin with ``folder/``, without that."""
    start = folder + "/"
    return {name.removeprefix(start): a for name, a in arrays.items() if name.startswith(start)}


def incomplete(path: str | Path, error: Exception) -> ValueError:
    """What to raise where something is missing in a file."""
    return ValueError(f"{path} is not a complete committee file: {error}")


def _json_path(path: str | Path) -> Path:
    path = Path(path)
    if path.suffix != ".json":
        raise ValueError(f"a committee file ends in .json, got {path.name!r}")
    return path


def _read_header(path: Path, format_name: str, version: int) -> dict[str, Any]:
    try:
        header = json.loads(path.read_text())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path} is not a committee file: {error}") from error
    found: Sequence[Any] = (None, None)
    if isinstance(header, dict):
        found = header.get("format"), header.get("version")
    if not str(found[0]).startswith("ase_hal"):
        raise ValueError(f"{path} is JSON, but not a committee of ase_hal")
    if found[0] != format_name:
        raise ValueError(f"{path} is an {found[0]}, not an {format_name}")
    if found[1] != version:
        raise ValueError(f"{path} has format version {found[1]}; this ase_hal reads {version}")
    return dict(header)
