"""Labelled structures from anybody's files, and to files of one kind.

A dataset is a list of Atoms with energy (eV) and, where they are known, forces (eV/Å) and stress
(eV/Å^3) in a SinglePointCalculator. Whatever reads labels from a file comes through here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from ase_hal.data.findings import Finding
from ase_hal.data.label_keys import (
    AUTO,
    STANDARD,
    LabelKeys,
    ResolvedKeys,
    describe,
    drop_standard_labels,
    holds,
    label_like,
    places,
    suggested_keys,
)
from ase_hal.data.structure_files import ASYMMETRY, Index, open_structures, read_structures
from ase_hal.frames import extxyz_frame
from ase_hal.journal import write_atomically
from ase_hal.prediction import Array
from ase_hal.weights import FILE_WEIGHTS

__all__ = ["LabelledFile", "read_dataset", "read_labelled", "read_structures", "write_dataset"]

logger = logging.getLogger(__name__)

# How far energy and free energy, or stress and virial, of one structure may be apart.
_SAME_ENERGY, _SAME_STRESS = 1e-6, 0.01


@dataclass(frozen=True)
class LabelledFile:
    """Labelled structures of a file, and what reading them has shown.

    Attributes
    ----------
    path : str
    structures : tuple of Atoms
        Labels are in SinglePointCalculators, and no longer where they were found.
    numbers : tuple of int
        Position of each in the file, from 0.
    keys : ResolvedKeys
        Names under which the labels were.
    findings : tuple of Finding
        Their frames are indices into `structures`.
    """

    path: str
    structures: tuple[Atoms, ...]
    numbers: tuple[int, ...]
    keys: ResolvedKeys
    findings: tuple[Finding, ...]


def read_dataset(
    path: str | os.PathLike[str],
    *,
    energy_key: str = "energy",
    forces_key: str | None = AUTO,
    stress_key: str | None = AUTO,
    virial_key: str | None = AUTO,
    stress_factor: float = 1.0,
    index: Index = ":",
    check: bool = True,
) -> list[Atoms]:
    """Read labelled structures from a file of any format that ASE reads.

    Parameters
    ----------
    path : path-like
        Extended XYZ, or whatever `ase.io.read` recognises.
    energy_key : str
        Name of the energies in the results that ASE recognised, in ``info`` or in ``arrays``:
        ``energy``, ``REF_energy``, ``dft_energy``, ... Every structure must have one.
    forces_key, stress_key, virial_key : str or None
        Names of the others, which structures may be without. By default the usual ones beside
        energies under ``energy`` or ``free_energy``: ``forces`` or ``force``, ``stress``,
        ``virial`` or ``virials``. Beside energies of another name these may be another model's,
        and have to be named. None takes none. A stress has six components (xx, yy, zz, yz, xz,
        xy) or is a 3x3 matrix, and so is a virial, which is -volume * stress, eV. The stress
        counts where a structure has both.
    stress_factor : float
        Factor of stresses, for files with another sign or unit: -1, or
        ``-0.1 * ase.units.GPa`` for VASP's kbar. Other units are not converted.
    index : int, str or slice
        Which structures, as in `ase.io.read`.
    check : bool
        Look at the labels as `check_dataset` does, and log what is surely or probably wrong.

    Returns
    -------
    list of Atoms
        With the labels in a SinglePointCalculator, and no longer where they were found.

    Raises
    ------
    ValueError
        If no structure has what was asked for, an energy is missing, a label is not finite or
        has the wrong shape, or a structure is none. The message names the frame.
    """
    keys = LabelKeys(energy_key, forces_key, stress_key, virial_key)
    read = read_labelled(path, keys, stress_factor=stress_factor, index=index)
    if check:
        from ase_hal.data.report import check_files

        check_files([read]).log(logger)
    return list(read.structures)


def read_labelled(
    path: str | os.PathLike[str],
    keys: LabelKeys | None = None,
    *,
    stress_factor: float = 1.0,
    index: Index = ":",
) -> LabelledFile:
    """Read labelled structures, and tell what was found; errors as of `read_dataset`."""
    if not np.isfinite(stress_factor) or stress_factor == 0:
        raise ValueError(f"stress_factor is a number other than 0, got {stress_factor}")
    file = open_structures(path, index)
    keys = keys or LabelKeys()
    for number, atoms in zip(file.numbers, file.structures, strict=True):
        if not holds(atoms, keys.energy):
            raise ValueError(
                f"{path}, frame {number}: no energy under {keys.energy!r}; {describe(atoms)}"
                f"{suggested_keys(atoms)}"
            )
    try:
        resolved = keys.resolve(file.structures)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    findings = _two_energies(file.structures, resolved)
    contradictions: list[int] = []
    for i, (number, atoms) in enumerate(zip(file.numbers, file.structures, strict=True)):
        try:
            labels, agree = _labels(atoms, resolved, stress_factor)
        except ValueError as error:
            raise ValueError(f"{path}, frame {number}: {error}") from None
        if not agree:
            contradictions.append(i)
        _forget(atoms, resolved)
        atoms.calc = SinglePointCalculator(atoms, **labels)
    if contradictions:
        findings.append(_contradicting_virial(contradictions, resolved))
    named = {keys.stress, keys.virial} - {None, AUTO}
    if named and not any("stress" in atoms.calc.results for atoms in file.structures):
        raise ValueError(f"{path}: no structure with a volume has {named.pop()!r}")
    if resolved.unused:
        findings.append(_unused(resolved, file.structures))
    return LabelledFile(os.fspath(path), file.structures, file.numbers, resolved, tuple(findings))


def write_dataset(path: str | os.PathLike[str], structures: Iterable[Atoms]) -> None:
    """Write structures with their labels as extended XYZ that `read_dataset` reads.

    All digits are kept, and the file appears, or replaces an older one, when it is complete.
    """
    frames = [_frame(number, atoms) for number, atoms in enumerate(structures)]
    write_atomically(Path(path), "".join(frames).encode())


def _frame(number: int, atoms: Atoms) -> str:
    try:
        return extxyz_frame(atoms)
    except ValueError as error:
        raise ValueError(f"structure {number}: {error}") from error


# --- labels of one structure -------------------------------------------------------------


def _labels(atoms: Atoms, keys: ResolvedKeys, stress_factor: float) -> tuple[dict[str, Any], bool]:
    """Labels of one structure, and whether its stress and its virial agree where it has both."""
    energy = _checked("energy", keys.energy, _first(atoms, (keys.energy,))[1], (), atoms)
    labels: dict[str, Any] = {"energy": float(energy)}
    key, forces = _first(atoms, keys.forces)
    if forces is not None:
        labels["forces"] = _checked("forces", key, forces, (len(atoms), 3), atoms)
    if atoms.cell.rank < 3:
        return labels, True
    stresses = []
    key, stress = _first(atoms, keys.stress)
    if stress is not None:
        stresses.append(_voigt("stress", key, stress, atoms) * stress_factor)
    key, virial = _first(atoms, keys.virial)
    if virial is not None:
        factor = -stress_factor / atoms.get_volume()
        stresses.append(_voigt("virial", key, virial, atoms) * factor)
    if stresses:
        labels["stress"] = stresses[0]
    difference = np.ptp(stresses, axis=0).max() if len(stresses) > 1 else 0.0
    return labels, bool(difference <= _SAME_STRESS * np.abs(stresses[:1]).max(initial=0.0))


def _first(atoms: Atoms, keys: tuple[str, ...]) -> tuple[str, Any]:
    """The first of these labels that a structure has, under its name."""
    for key in keys:
        for place in places(atoms):
            if place.get(key) is not None:
                return key, place[key]
    return "", None


def _checked(name: str, key: str, value: Any, shape: tuple[int, ...], atoms: Atoms) -> Array:
    if value is None:
        raise ValueError(f"no {name} under {key!r}; {describe(atoms)}")
    if np.asarray(value).dtype.kind == "b":
        raise ValueError(f"{name} under {key!r}: not a number: {value!r}")
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} under {key!r}: not a number: {value!r}") from None
    if array.shape != shape and not (shape == () and array.size == 1):
        raise ValueError(f"{name} under {key!r}: shape {array.shape} instead of {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} under {key!r}: not finite")
    return array.reshape(shape)


def _voigt(name: str, key: str, value: Any, atoms: Atoms) -> Array:
    if np.size(value) != 9:
        return _checked(name, key, value, (6,), atoms)
    matrix = _checked(name, key, np.reshape(value, (3, 3)), (3, 3), atoms)
    if np.abs(matrix - matrix.T).max() > ASYMMETRY * np.abs(matrix).max():
        raise ValueError(f"{name} under {key!r}: not symmetric: {matrix.tolist()}")
    voigt: Array = full_3x3_to_voigt_6_stress(matrix)
    return voigt


def _forget(atoms: Atoms, keys: ResolvedKeys) -> None:
    """Leave no label where it was found, nor what a later reader would take for one.

    Nor weights of a virial where the stress was taken, and the other way round.
    """
    taken, other = ("stress", "virial") if _first(atoms, keys.stress)[1] is not None else (
        "virial", "stress"
    )  # fmt: skip
    of_taken = [key for key in FILE_WEIGHTS if taken in key and key in atoms.info]
    for key in [key for key in FILE_WEIGHTS if other in key] if of_taken else []:
        atoms.info.pop(key, None)
    for key in (keys.energy, *keys.forces, *keys.stress, *keys.virial):
        atoms.info.pop(key, None)
        atoms.arrays.pop(key, None)
    drop_standard_labels(atoms)


# --- findings ----------------------------------------------------------------------------


def _two_energies(frames: Iterable[Atoms], keys: ResolvedKeys) -> list[Finding]:
    """Frames with an energy and another free energy, which forces usually belong to."""
    if keys.energy != "energy":
        return []
    frames = list(frames)
    both = [
        (i, results["energy"], results["free_energy"])
        for i, results in enumerate(places(atoms)[0] for atoms in frames)
        if results.get("energy") is not None and results.get("free_energy") is not None
    ]
    apart = [(i, e, free) for i, e, free in both if abs(e - free) > _SAME_ENERGY]
    if not apart:
        return []
    _, energy, free = apart[0]
    message = (
        f"energy and free_energy differ, as {energy:.6f} and {free:.6f} eV; forces usually belong "
        "to the second: consider energy_key='free_energy'"
    )
    return [Finding("likely", "two_energies", message, tuple(i for i, _, _ in apart))]


def _contradicting_virial(frames: list[int], keys: ResolvedKeys) -> Finding:
    message = (
        f"{keys.stress[0]!r} and {keys.virial[0]!r} contradict each other: the virial is not "
        "-volume * stress. The stress was taken; with stress_key=None the virial is"
    )
    return Finding("likely", "stress_against_virial", message, tuple(frames))


def _unused(keys: ResolvedKeys, structures: Sequence[Atoms]) -> Finding:
    other_case = tuple(
        key for key in keys.unused if key not in STANDARD and key.lower() in STANDARD
    )
    if other_case:
        frames = tuple(
            i for i, atoms in enumerate(structures) if not label_like(atoms).isdisjoint(other_case)
        )
        message = (
            f"not taken: {', '.join(other_case)}; names of labels are written in small letters "
            f"({', '.join(key.lower() for key in other_case)})"
        )
        return Finding("likely", "unused_labels", message, frames)
    message = (
        f"not taken, as the energies are under {keys.energy!r}: {', '.join(keys.unused)}; name "
        "them by their keys if they are labels of the same model"
    )
    return Finding("note", "unused_labels", message)
