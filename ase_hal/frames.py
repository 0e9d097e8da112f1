"""Structures on disk: append-only extended XYZ that keeps every digit."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.io.extxyz import (
    REV_PROPERTY_NAME_MAP,
    key_val_dict_to_str,
    key_val_str_to_dict,
    write_extxyz,
)

from ase_hal.data.constraints import KEY as CONSTRAINTS
from ase_hal.data.constraints import constraint_records, is_move_mask, restore_constraints
from ase_hal.journal import Journal, to_json


class Frames(Journal[Atoms]):
    """A file of structures in extended XYZ that always holds a whole number of frames.

    Numbers are written with all their digits, so that positions, cell, labels, arrays and
    ``info`` are read back bit for bit, and constraints are the same. Some Python detail is not
    kept (64-bit integers of arrays become 32-bit ones, lists of numbers in ``info`` become
    arrays): go on with the structure that `append` returns, and memory and disk never differ.

    Parameters
    ----------
    path : path-like
        Created if it does not exist; its folder must exist.
    """

    def append(self, atoms: Atoms) -> Atoms:
        """Append one structure together with the results of its calculator.

        Returns
        -------
        ase.Atoms
            The structure as it will be read back, results in a SinglePointCalculator.

        Raises
        ------
        ValueError
            As `extxyz_frame`; the file stays as it is.
        """
        frame, copy = _frame_and_copy(atoms)
        self._write(frame.encode())
        return copy

    @staticmethod
    def _record_ends(content: bytes, path: Path) -> list[int]:
        ends: list[int] = []
        position = 0
        while (end := content.find(b"\n", position)) >= 0:
            header = content[position:end].strip()
            if not header.isdigit():
                raise ValueError(
                    f"{path}, frame {len(ends)}: expected a number of atoms, "
                    f"got {header[:60].decode(errors='replace')!r}"
                )
            for _ in range(int(header) + 1):
                end = content.find(b"\n", end + 1)
                if end < 0:
                    return ends
            position = end + 1
            ends.append(position)
        return ends

    @staticmethod
    def _parse(content: bytes) -> list[Atoms]:
        return parse_extxyz(content.decode())


def extxyz_frame(atoms: Atoms) -> str:
    r"""Format a structure, with the results of its calculator, as a frame of extended XYZ.

    ASE's writer keeps 8 decimals of everything per atom, and over texts in ``info`` with line
    ends, backslashes or a look of something else (``'12'``, ``'T'``) it changes the content
    or breaks the file. Here all digits are kept and such texts become JSON, within what the
    format allows: every reader of extended XYZ reads the frame, and ASE's gives back what
    was put in. Constraints other than one FixAtoms are in the entry ``hal_constraints``, which
    `parse_extxyz` turns into constraints again.

    Raises
    ------
    ValueError
        If the results belong to another structure (the atoms moved after the calculation), a
        constraint cannot be rebuilt, or the frame could not be read back.
    """
    return _frame_and_copy(atoms)[0]


def _frame_and_copy(atoms: Atoms) -> tuple[str, Atoms]:
    """Format a structure, and read it back: what is stored must be what was meant."""
    check_state = getattr(atoms.calc, "check_state", None)
    if check_state is not None and atoms.calc.results and check_state(atoms):
        raise ValueError(
            "the results of the calculator belong to another structure than the one to be "
            "written: calculate again, or remove the calculator"
        )
    plain = atoms.copy()
    # An entry of this name can only be what another reader has left of a file of this kind.
    plain.info = {key: _storable(value) for key, value in atoms.info.items() if key != CONSTRAINTS}
    if not is_move_mask(atoms):
        plain.info[CONSTRAINTS] = _storable(constraint_records(atoms))
    plain.calc = atoms.calc
    buffer = io.StringIO()
    try:
        write_extxyz(buffer, plain)
        frame = _with_all_digits(buffer.getvalue(), plain)
        (copy,) = parse_extxyz(frame)
        whole = frame.count("\n") == len(atoms) + 2 and np.array_equal(
            copy.positions, atoms.positions, equal_nan=True
        )
    except Exception as error:
        raise ValueError(f"the structure cannot be kept as extended XYZ: {error}") from error
    if not whole:
        raise ValueError("the structure cannot be kept as extended XYZ: it reads differently")
    return frame, copy


def parse_extxyz(text: str) -> list[Atoms]:
    """Read all frames of a text in extended XYZ, with their constraints."""
    if not text:
        return []
    found = ase.io.read(io.StringIO(text), index=":", format="extxyz")
    frames = found if isinstance(found, list) else [found]
    for atoms in frames:
        restore_constraints(atoms)
    return frames


def _with_all_digits(frame: str, atoms: Atoms) -> str:
    """Rewrite the real-valued columns of a frame so that they are read back exactly."""
    count, comment, body = frame.split("\n", 2)
    rows = [line.split() for line in body.splitlines()]
    results = atoms.calc.results if atoms.calc is not None else {}
    fields = key_val_str_to_dict(comment)["Properties"].split(":")
    start = 0
    for name, kind, width in zip(fields[::3], fields[1::3], map(int, fields[2::3]), strict=True):
        if kind == "R":
            key = REV_PROPERTY_NAME_MAP.get(name, name)
            values = np.asarray(atoms.arrays.get(key, results.get(key)), float)
            for row, numbers in zip(rows, values.reshape(-1, width).tolist(), strict=True):
                row[start : start + width] = map(repr, numbers)
        start += width
    return "\n".join([count, comment, *map(" ".join, rows), ""])


def _storable(value: Any) -> Any:
    """Turn an entry of ``info`` that extended XYZ would damage into a text with JSON in it."""
    numeric = isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "ifb"
    if numeric or isinstance(value, bool | int | float) or _survives(value):
        return value
    try:
        text = to_json(value)
    except TypeError:
        return value  # ASE knows some other types, and warns where it leaves an entry out.
    # The reader removes one layer of backslashes, which ASE's writer does not add.
    return "_JSON " + text.replace("\\", "\\\\")


def _survives(value: Any) -> bool:
    """Tell whether ASE's reader returns a text unchanged from where ASE's writer puts it."""
    if not isinstance(value, str) or value.splitlines() != [value]:
        return False
    try:
        copy = key_val_str_to_dict(key_val_dict_to_str({"key": value})).get("key")
    except ValueError:
        return False
    return isinstance(copy, str) and copy == value
