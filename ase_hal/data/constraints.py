"""Constraints of structures as JSON, and the atoms that they hold.

ASE's writer of extended XYZ keeps FixAtoms and FixCartesian, as a mask of the coordinates that may
change, and leaves out all others without a word. :mod:`ase_hal.frames` keeps them all, in an entry
of ``info`` that is made and read here.
"""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import numpy as np
from ase import Atoms
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedMode,
    FixInternals,
    FixScaled,
    dict2constraint,
)
from ase.io.jsonio import decode, encode
from numpy.typing import NDArray

# Entry of ``info`` with the constraints, in files only.
KEY = "hal_constraints"

Records = list[dict[str, Any]]

# Unit vectors may change in their last digits each time they are normalised.
_ROUNDING = 1e-12
_MAX_REBUILDS = 5


def constraint_records(atoms: Atoms) -> Records:
    """Describe the constraints of a structure in JSON-able values, from which they can be rebuilt.

    Raises
    ------
    ValueError
        For a constraint that ASE cannot rebuild from what its ``todict`` gives.
    """
    return [_lasting_record(constraint) for constraint in atoms.constraints]


def check_constraints(atoms: Atoms) -> None:
    """Raise ValueError where a constraint of a structure would not survive a file."""
    constraint_records(atoms)


def is_move_mask(atoms: Atoms) -> bool:
    """Tell whether the mask of ASE's extended XYZ is enough for the constraints of a structure."""
    if len(atoms.constraints) != 1 or type(atoms.constraints[0]) is not FixAtoms:
        return not atoms.constraints
    index = atoms.constraints[0].index
    return len(index) > 0 and bool(index[0] >= 0 and (np.diff(index) > 0).all())


def restore_constraints(atoms: Atoms) -> None:
    """Give a structure that was read from a file its constraints back.

    The entry of ``info`` that holds them is removed. Without one, only what ASE's reader has made
    of a mask is tidied: it constrains every atom, most of them in no direction.

    Raises
    ------
    ValueError
        If the entry does not describe constraints.
    """
    records = atoms.info.pop(KEY, None)
    if records is None:
        atoms.set_constraint([c for c in atoms.constraints if not _is_idle(c)])
        return
    try:
        atoms.set_constraint([_rebuilt(record) for record in records])
    except Exception as error:  # constructors of constraints raise anything
        raise ValueError(f"{KEY} does not describe constraints: {error}") from error


def held_atoms(atoms: Atoms) -> NDArray[np.bool_]:
    """Atoms whose positions a constraint has a say in, other than by a fixed centre of mass.

    Returns
    -------
    (N,) bool array

    Raises
    ------
    ValueError
        For a constraint that does not tell which atoms it is about.
    """
    held = np.zeros(len(atoms), dtype=bool)
    for constraint in atoms.constraints:
        # A fixed centre of mass of all atoms is restored by a shift of them all.
        if type(constraint) is FixCom or _is_idle(constraint):
            continue
        held[_indices(constraint, len(atoms))] = True
    return held


def _indices(constraint: Any, n_atoms: int) -> Any:
    if isinstance(constraint, FixedMode):  # Its get_indices names no atoms.
        return np.flatnonzero(constraint.mode.reshape(n_atoms, 3).any(axis=1))
    if getattr(constraint, "use_cell", False):
        return []  # Parametric relations between the vectors of the cell.
    if hasattr(constraint, "get_indices"):
        return constraint.get_indices()
    indices = getattr(constraint, "indices", None)
    if indices is None:
        raise ValueError(f"it can't be told which atoms a {type(constraint).__name__} holds")
    return indices


def _is_idle(constraint: Any) -> bool:
    """Whether a constraint fixes no direction at all."""
    return isinstance(constraint, FixCartesian | FixScaled) and not constraint.mask.any()


def _lasting_record(constraint: Any) -> dict[str, Any]:
    """The record from which a constraint is rebuilt in a form that gives the same record again."""
    name = type(constraint).__name__
    try:
        first = _record(constraint)
        record = first
        for _ in range(_MAX_REBUILDS):
            copy = _rebuilt(record)
            again = _record(copy)
            if again == record:
                break
            record = again
    except Exception as error:  # todict and constructors of constraints raise anything
        raise ValueError(
            f"a constraint of class {name} cannot be kept in a file, since ASE cannot rebuild it "
            f"({type(error).__name__}: {error})"
        ) from error
    if type(copy) is not type(constraint) or not _same(first, record):
        raise ValueError(
            f"a constraint of class {name} cannot be kept in a file: what ASE rebuilds from its "
            f"todict is a different {type(copy).__name__}"
        )
    return record


def _record(constraint: Any) -> dict[str, Any]:
    """What ``todict`` says, with the targets it leaves out, as plain JSON values."""
    description = constraint.todict()
    if not isinstance(description, dict):
        raise TypeError(f"todict gives {type(description).__name__}")
    description = deepcopy(description)
    if isinstance(constraint, FixBondLengths) and constraint.bondlengths is not None:
        description["kwargs"]["bondlengths"] = np.asarray(constraint.bondlengths, dtype=float)
    if isinstance(constraint, FixInternals) and constraint.initialized:
        _set_targets(description["kwargs"], constraint)
    record: dict[str, Any] = json.loads(encode(description))
    return record


def _set_targets(arguments: dict[str, Any], constraint: FixInternals) -> None:
    """Replace targets that were the values at the start by these values."""
    fixed = iter(constraint.constraints)
    for name in ("bonds", "angles_deg", "dihedrals_deg", "bondcombos"):
        arguments[name] = [[next(fixed).targetvalue, *rest] for _, *rest in arguments[name]]


def _rebuilt(record: dict[str, Any]) -> Any:
    return dict2constraint(decode(json.dumps(record), always_array=False))


def _same(a: Any, b: Any) -> bool:
    """Whether JSON values agree, real numbers to rounding."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= _ROUNDING * max(1.0, abs(a), abs(b))
    return bool(a == b)
