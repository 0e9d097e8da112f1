"""Labelled data: reading from files, and checks of what was read."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOME = {
    "DataReport": "report",
    "Finding": "findings",
    "LeftOutTotal": "left_out",
    "check_dataset": "report",
    "left_out_of": "left_out",
    "read_dataset": "reading",
    "read_structures": "structure_files",
    "write_dataset": "reading",
}
__all__ = [
    "DataReport",
    "Finding",
    "LeftOutTotal",
    "check_dataset",
    "left_out_of",
    "read_dataset",
    "read_structures",
    "write_dataset",
]

if TYPE_CHECKING:
    from ase_hal.data.findings import Finding
    from ase_hal.data.left_out import LeftOutTotal, left_out_of
    from ase_hal.data.reading import read_dataset, write_dataset
    from ase_hal.data.report import DataReport, check_dataset
    from ase_hal.data.structure_files import read_structures


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for: fits need but a few of these files."""
    if name not in _HOME:
        raise AttributeError(f"module 'ase_hal.data' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ase_hal.data.{_HOME[name]}"), name)
