"""Structures from files of any format, whole or not at all.

ASE's reader of extended XYZ ends at the first blank line and calls that success; here a blank line
between frames is skipped, and whatever else is wrong with a frame is an error that names it.
"""

from __future__ import annotations

import io
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import ase.io
import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.io.extxyz import key_val_str_to_dict, parse_properties, read_xyz
from ase.io.formats import (
    UnknownFileTypeError,
    filetype,
    open_with_compression,
    parse_filename,
    string2index,
)

from ase_hal.data.constraints import restore_constraints

Index = int | str | slice

_SIX = re.compile(r"(?P<name>(?<!\S)(stress|virial))=[\"'\[{]+(?P<numbers>[^\"'\]}]*)[\"'\]}]+")
# How far a stress or a virial may be from symmetric, relative to its largest component.
ASYMMETRY = 1e-3
_ISOTOPES = {"D": 2.014, "T": 3.016}


@dataclass(frozen=True)
class StructureFile:
    """Structures of a file.

    Attributes
    ----------
    structures : tuple of Atoms
        With whatever labels ASE recognised in their calculators.
    numbers : tuple of int
        Position of each in the file, counted from 0.
    broken : tuple of (int, str)
        Positions of frames that are no structures, and why, where these are passed over.
    """

    structures: tuple[Atoms, ...]
    numbers: tuple[int, ...]
    broken: tuple[tuple[int, str], ...] = ()


def read_structures(path: str | os.PathLike[str], index: Index = ":") -> list[Atoms]:
    """Read structures from a file of any format that ASE knows, labels as ASE finds them.

    Parameters
    ----------
    path : path-like
        As in `ase.io.read`, a name may end in ``@`` and an index.
    index : int, str or slice
        Which structures, as in `ase.io.read`.

    Raises
    ------
    ValueError
        For a file without structures, and for a structure without atoms, with a symbol that is
        no chemical element, or with positions that are not finite; frame and atom are named.
    """
    return list(open_structures(path, index).structures)


def open_structures(
    path: str | os.PathLike[str], index: Index = ":", *, pass_over_broken: bool = False
) -> StructureFile:
    """As `read_structures`, with the position of each structure in the file.

    With `pass_over_broken` frames that are no structures are told in the result, not raised.
    """
    name, wanted = parse_filename(os.fspath(path), index)
    selection = _selection(wanted)
    if os.path.isdir(name) and not name.endswith(".bundle"):
        raise IsADirectoryError(f"{name} is a folder, not a file of structures")
    if not os.path.exists(name):
        raise FileNotFoundError(f"there is no file {name}")
    if _format(name) == "extxyz":
        found, numbers = _read_extxyz(name, selection)
    else:
        found = _read_other(name, selection)
        numbers = _numbers(selection, len(found))
    if not found:
        raise ValueError(f"there are no structures in {path}")
    structures: dict[int, Atoms] = {}
    broken: dict[int, str] = {}
    for number, atoms in zip(numbers, found, strict=True):
        problem = atoms if isinstance(atoms, str) else what_is_no_structure(atoms)
        if problem and not pass_over_broken:
            raise ValueError(f"{path}, frame {number}: {problem}")
        if problem or isinstance(atoms, str):
            broken[number] = str(problem)
            continue
        restore_constraints(atoms)
        structures[number] = atoms
    return StructureFile(tuple(structures.values()), tuple(structures), tuple(broken.items()))


def _selection(wanted: Index) -> int | slice:
    try:
        selection = string2index(wanted) if isinstance(wanted, str) else wanted
    except ValueError:
        selection = None
    if not isinstance(selection, int | slice | np.integer):
        raise ValueError(f"an index is a number or START:STOP:STEP, got {wanted!r}")
    return selection if isinstance(selection, slice) else int(selection)


def _format(name: str) -> str:
    try:
        return str(filetype(name))
    except UnknownFileTypeError as error:
        raise ValueError(f"{name} is empty or of a format that ASE does not know") from error


def _read_other(name: str, selection: int | slice) -> list[Atoms | str]:
    try:
        read = ase.io.read(name, index=selection)
    except (StopIteration, IndexError):
        raise ValueError(f"{name} has no frame {selection}") from None
    return list(read) if isinstance(read, list) else [read]


def what_is_no_structure(atoms: Atoms) -> str | None:
    """Why nothing can be calculated for these atoms, or None."""
    if not len(atoms):
        return "it has no atoms"
    if (placeholders := np.flatnonzero(atoms.numbers == 0)).size:
        return f"atom {placeholders[0]} is 'X', a placeholder and no element"
    if (wrong := np.flatnonzero(~np.isfinite(atoms.positions).all(axis=1))).size:
        first = wrong[0]
        return (
            f"the position of atom {first} ({atoms.symbols[first]}) is not finite: "
            f"{atoms.positions[first].tolist()}"
        )
    if not np.isfinite(atoms.cell.array).all():
        return f"the cell is not finite: {atoms.cell.tolist()}"
    if (atoms.pbc & ~atoms.cell.any(axis=1)).any():
        return f"it is periodic along {atoms.pbc.tolist()}, and its cell is {atoms.cell.tolist()}"
    return None


def _numbers(selection: int | slice, count: int) -> list[int]:
    """Positions in the file; where they depend on its length, positions in what was read."""
    if isinstance(selection, int):
        return [selection] if selection >= 0 else [0]
    start, step = selection.start or 0, selection.step or 1
    if start < 0 or step < 0:
        return list(range(count))
    return [start + i * step for i in range(count)]


class _Block(NamedTuple):
    """A frame of extended XYZ: its text, and the line of the file it begins in, from 1."""

    text: str
    line: int


def _read_extxyz(name: str, selection: int | slice) -> tuple[list[Atoms | str], list[int]]:
    """Structures, or why a frame is none, and their positions."""
    with open_with_compression(name, "r") as file:
        try:
            text = file.read()
        except UnicodeDecodeError as error:
            raise ValueError(f"{name} is not a text file: {error}") from error
    blocks = list(_blocks(text, name))
    every = range(len(blocks))
    try:
        chosen: Sequence[int] = (
            [every[selection]] if isinstance(selection, int) else every[selection]
        )
    except IndexError:
        raise ValueError(
            f"{name} has {len(blocks)} frames, there is no frame {selection}"
        ) from None
    return [_parse(blocks[number]) for number in chosen], list(chosen)


def _blocks(text: str, name: str) -> Iterator[_Block]:
    """Frames of a text; blank lines between them mean nothing."""
    lines = text.removeprefix("\ufeff").split("\n")
    position, frame = 0, 0
    while True:
        while position < len(lines) and not lines[position].strip():
            position += 1
        if position == len(lines):
            return
        where = f"{name}, frame {frame} (line {position + 1})"
        try:
            n_atoms = int(lines[position])
        except ValueError:
            raise ValueError(
                f"{where}: expected a number of atoms, got {lines[position].strip()[:60]!r}"
            ) from None
        end = position + 2 + n_atoms
        rest = len(lines) - position - 2 - (not lines[-1])
        if n_atoms < 0 or rest < n_atoms:
            raise ValueError(
                f"{where}: {n_atoms} atoms are announced, and {max(rest, 0)} lines follow"
            )
        for line in range(position + 2, end):
            if not lines[line].strip():
                atom = line - position - 2
                raise ValueError(f"{where}: line {line + 1} is blank, and belongs to atom {atom}")
        while end < len(lines) and lines[end].lstrip().startswith("VEC"):  # cell vectors
            end += 1
        yield _Block("\n".join([*lines[position:end], ""]), position + 1)
        position, frame = end, frame + 1


def _parse(block: _Block) -> Atoms | str:
    try:
        (atoms,) = read_xyz(io.StringIO(block.text), 0, properties_parser=_properties)
    except Exception as error:  # ASE's reader raises whatever its conversions raise
        return _reason(block, error)
    return atoms


def _properties(comment: str) -> Any:
    """Entries of a comment line; stress and virial may be of six numbers, which ASE refuses."""
    entries = key_val_str_to_dict(_SIX.sub(_nine_numbers, comment))
    for name in ("stress", "virial"):  # ASE makes six numbers of a matrix, whatever it is
        matrix = np.asarray(entries.get(name, 0.0), dtype=float)
        if np.abs(matrix - matrix.T).max() > ASYMMETRY * np.abs(matrix).max():
            raise ValueError(f"{name}: not symmetric: {matrix.tolist()}")
    return entries


def _nine_numbers(match: re.Match[str]) -> str:
    """A matrix from xx, yy, zz, yz, xz, xy; anything else as it is."""
    numbers = match["numbers"].replace(",", " ").split()
    if len(numbers) != 6:
        return match[0]
    return match["name"] + '="' + " ".join(numbers[i] for i in (0, 5, 4, 5, 1, 3, 4, 3, 2)) + '"'


def _reason(block: _Block, error: Exception) -> str:
    """What is wrong with a frame that ASE could not read."""
    _, comment, *lines = block.text.split("\n")
    n_atoms = int(block.text.split("\n", 1)[0])
    column = _species_column(comment)
    words = [line.split() for line in lines[:n_atoms]]
    for number, row in enumerate(words):
        if column is None or len(row) <= column:
            continue
        symbol = row[column]
        if not symbol.lstrip("-").isdigit() and symbol.capitalize() not in chemical_symbols:
            return f"atom {number}: {symbol!r} is no chemical symbol{_did_you_mean(symbol)}"
    widths = {len(row) for row in words}
    if len(widths) > 1:
        odd = next(i for i, row in enumerate(words) if len(row) != len(words[0]))
        return (
            f"line {block.line + 2 + odd} has {len(words[odd])} columns, "
            f"the one of atom 0 has {len(words[0])}"
        )
    return f"it cannot be read: {type(error).__name__}: {error}"


def _did_you_mean(symbol: str) -> str:
    if symbol.upper() in _ISOTOPES:
        return f"; write H, and give its mass ({_ISOTOPES[symbol.upper()]} u) in a column 'mass'"
    letters = "".join(itertools.takewhile(str.isalpha, symbol)).capitalize()
    return f", did you mean {letters!r}?" if letters in chemical_symbols[1:] else ""


def _species_column(comment: str) -> int | None:
    """Column of the symbols, None where there are numbers or the header cannot be read."""
    try:
        described: Any = key_val_str_to_dict(comment.strip()).get("Properties")
    except Exception:  # a malformed header is told of by what ASE raised
        return None
    if described is None:
        return 0
    fields, start = described.split(":"), 0
    try:
        parse_properties(described)
        for name, width in zip(fields[::3], map(int, fields[2::3]), strict=True):
            if name in ("species", "symbols"):
                return start
            start += width
    except Exception:  # as above
        return None
    return None
