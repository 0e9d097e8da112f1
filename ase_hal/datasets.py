"""Datasets on disk: labelled structures from anybody's files, and to files of one kind.

A dataset is a list of Atoms with energy (eV), forces (eV/Å) and stress (eV/Å^3) in a
SinglePointCalculator. On disk it is extended XYZ with the keys ``energy``, ``forces`` and
``stress``; everything else in ``info`` and ``arrays`` goes along.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ase_hal.frames import extxyz_frame
from ase_hal.journal import write_atomically

logger = logging.getLogger(__name__)

Array = NDArray[np.float64]

# How far a stress tensor may be from symmetric, relative to its largest component.
_ASYMMETRY = 1e-3


def read_dataset(
    path: str | os.PathLike[str],
    *,
    energy_key: str = "energy",
    forces_key: str | None = "forces",
    stress_key: str | None = None,
    virial_key: str | None = None,
    stress_factor: float = 1.0,
    index: int | str | slice = ":",
) -> list[Atoms]:
    """Read labelled structures from a file of any format that ASE reads.

    Parameters
    ----------
    path : path-like
        Extended XYZ, or whatever `ase.io.read` recognises.
    energy_key, forces_key : str
        Where the labels are, in the results that ASE recognised, in ``info`` or in ``arrays``:
        ``REF_energy``, ``dft_forces``, ... Every structure must have them. None as
        `forces_key` reads energies only.
    stress_key : str, optional
        Where the stress is: six components (xx, yy, zz, yz, xz, xy) or a 3x3 matrix. Structures
        may be without it, but not all of them. By default, a stress that ASE recognised is kept.
    virial_key : str, optional
        Where the virial is, which is -volume * stress, eV; instead of `stress_key`.
    stress_factor : float
        Stresses are multiplied by this, for files with another sign or unit: -1, or
        ``-0.1 * ase.units.GPa`` for VASP's kbar. Other units are not converted.
    index : int, str or slice
        Which structures, as in `ase.io.read`.

    Returns
    -------
    list of Atoms
        With the labels in a SinglePointCalculator, and no longer where they were found.

    Raises
    ------
    ValueError
        If a label is missing, is not finite or has the wrong shape. The message names the
        frame, counted from 0 within what was read.
    """
    if stress_key is not None and virial_key is not None:
        raise ValueError("give stress_key or virial_key, not both")
    read = ase.io.read(os.fspath(path), index=index)
    frames = read if isinstance(read, list) else [read]
    if not frames:
        raise ValueError(f"there are no structures in {path}")
    if energy_key == "energy":
        _warn_of_two_energies(frames)
    dataset = []
    for number, atoms in enumerate(frames):
        try:
            labels = _labels(atoms, energy_key, forces_key, stress_key or virial_key)
            if virial_key is not None and "stress" in labels:
                labels["stress"] = -labels["stress"] / atoms.get_volume()
            if "stress" in labels:
                labels["stress"] = labels["stress"] * stress_factor
        except ValueError as error:
            raise ValueError(f"{path}, frame {number}: {error}") from None
        atoms.calc = SinglePointCalculator(atoms, **labels)
        dataset.append(atoms)
    asked = stress_key or virial_key
    if asked is not None and not any("stress" in atoms.calc.results for atoms in dataset):
        raise ValueError(f"{path}: no structure with a volume has {asked!r}; {_keys(frames[0])}")
    return dataset


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


def _warn_of_two_energies(frames: list[Atoms]) -> None:
    for number, atoms in enumerate(frames):
        results = atoms.calc.results if atoms.calc is not None else {}
        energy, free = results.get("energy"), results.get("free_energy")
        if energy is not None and free is not None and abs(energy - free) > 1e-6:
            logger.warning(
                "frame %d has energy %.6f and free_energy %.6f eV; forces usually belong to the "
                "second: consider energy_key='free_energy'",
                number,
                energy,
                free,
            )
            return


def _labels(
    atoms: Atoms, energy_key: str, forces_key: str | None, stress_key: str | None
) -> dict[str, Any]:
    """Take the labels of one structure out of wherever they are."""
    results = dict(atoms.calc.results) if atoms.calc is not None else {}
    labels: dict[str, Any] = {}
    energy = _take(atoms, results, energy_key)
    labels["energy"] = float(_checked("energy", energy_key, energy, (), atoms))
    if forces_key is not None:
        forces = _take(atoms, results, forces_key)
        labels["forces"] = _checked("forces", forces_key, forces, (len(atoms), 3), atoms)
    stress = _take(atoms, results, stress_key or "stress")
    if stress is not None and atoms.cell.rank == 3:
        labels["stress"] = _stress(stress_key or "stress", stress, atoms)
    return labels


def _take(atoms: Atoms, results: dict[str, Any], key: str) -> Any:
    found = [place.pop(key) for place in (results, atoms.info, atoms.arrays) if key in place]
    return found[0] if found else None


def _checked(name: str, key: str, value: Any, shape: tuple[int, ...], atoms: Atoms) -> Array:
    if value is None:
        raise ValueError(f"no {name} under {key!r}; {_keys(atoms)}")
    try:
        array = np.array(value, dtype=float)
    except (TypeError, ValueError):
        raise ValueError(f"{name} under {key!r}: not a number: {value!r}") from None
    if array.shape != shape:
        raise ValueError(f"{name} under {key!r}: shape {array.shape} instead of {shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} under {key!r}: not finite")
    return array


def _stress(key: str, value: Any, atoms: Atoms) -> Array:
    if np.size(value) != 9:
        return _checked("stress", key, value, (6,), atoms)
    matrix = _checked("stress", key, np.reshape(value, (3, 3)), (3, 3), atoms)
    if np.abs(matrix - matrix.T).max() > _ASYMMETRY * np.abs(matrix).max():
        raise ValueError(f"stress under {key!r}: not symmetric: {matrix.tolist()}")
    voigt: Array = full_3x3_to_voigt_6_stress(matrix)
    return voigt


def _keys(atoms: Atoms) -> str:
    results = atoms.calc.results if atoms.calc is not None else {}
    arrays = [name for name in atoms.arrays if name not in ("numbers", "positions")]
    places = {"results": results, "info": atoms.info, "arrays": arrays}
    return "there are " + ", ".join(
        f"{place}: {' '.join(map(str, keys)) or 'nothing'}" for place, keys in places.items()
    )
