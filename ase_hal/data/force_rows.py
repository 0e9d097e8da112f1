"""Force components that constraints have taken out of a label: they are no derivatives."""

from __future__ import annotations

import copy

import numpy as np
from ase import Atoms
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixedLine,
    FixedPlane,
    FixInternals,
    FixLinearTriatomic,
    FixScaled,
)
from numpy.typing import NDArray

from ase_hal.prediction import Array

Mask = NDArray[np.bool_]

# Constraints that take components out of forces. Those of a centre of mass or of a symmetry leave
# forces of a calculation as they are, so that nothing tells whether they have acted; springs and
# external forces add something.
_PROJECTIONS = (
    FixAtoms,
    FixCartesian,
    FixScaled,
    FixedPlane,
    FixedLine,
    FixBondLengths,
    FixLinearTriatomic,
    FixInternals,
)
# Forces on which a constraint has acted change by less if it acts again, relative to the largest
# of them or in units of their last decimal: rounding errors of a file.
_ROUNDING, _LAST_DECIMALS = 1e-6, 3.0
_MOST_DECIMALS = 9


def zeroed_components(atoms: Atoms, forces: Array) -> Mask:
    """Components (N, 3) that constraints have taken out of forces (N, 3), eV/Å.

    ASE applies the constraints of a structure where its forces are asked for, and many files hold
    such forces: zeros for fixed atoms, forces within a plane. Where the labels show that a
    constraint has not acted upon them, nothing is taken out. Where it acts in a direction of its
    own (`FixedPlane`, `FixBondLengths`), all components of the atom are.
    """
    gone = np.zeros(forces.shape, dtype=bool)
    tolerance = _tolerance(forces) if atoms.constraints else 0.0
    for constraint in atoms.constraints:
        if not isinstance(constraint, _PROJECTIONS):
            continue
        change = np.abs(_after(constraint, atoms, forces) - forces).max(initial=0.0)
        if change <= tolerance:
            gone |= _taken_out(constraint, atoms)
    return gone


def _tolerance(forces: Array) -> float:
    """How exact forces in a file are, eV/Å."""
    relative = _ROUNDING * float(np.abs(forces).max(initial=0.0))
    for decimals in range(2, _MOST_DECIMALS):
        if np.abs(np.round(forces, decimals) - forces).max(initial=0.0) <= 1e-12:
            return max(relative, _LAST_DECIMALS * 10.0**-decimals)
    return relative


def _after(constraint: object, atoms: Atoms, forces: Array) -> Array:
    """Forces after a constraint has acted, which may note things about them in itself."""
    adjusted = np.array(forces)
    copy.deepcopy(constraint).adjust_forces(atoms, adjusted)  # type: ignore[attr-defined]
    return adjusted


def _taken_out(constraint: object, atoms: Atoms) -> Mask:
    """Components (N, 3) of which a constraint leaves nothing, or less than all."""
    probe = np.random.default_rng(0).normal(size=(len(atoms), 3))
    after = _after(constraint, atoms, probe)
    changed: Mask = np.asarray(np.abs(after - probe)) > 1e-12
    # One component after the other, or a direction that mixes them?
    by_component = (after[changed] == 0.0).all()
    mixed: Mask = np.repeat(changed.any(axis=1, keepdims=True), 3, axis=1)
    return changed if by_component else mixed
