"""A run goes on with the ordering and the Hamiltonian that it began with, or not at all.

The run file names files and functions; what these say may have changed since.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ase_hal.free_energy import (
    Hamiltonian,
    OrderParameters,
    read_order_parameters,
    write_order_parameters,
)
from ase_hal.journal import read_json, write_json

ORDER_PARAMETERS = "order_parameters.json"
_HAMILTONIAN = "hamiltonian.json"
_SAME = 1e-9  # of the largest number: fits of cluster expansions may differ in last digits


def check_system(
    directory: Path, order_parameters: OrderParameters, hamiltonian: Hamiltonian
) -> None:
    """Compare with what a directory's points were found with, if it has any.

    Raises
    ------
    ValueError
        If the order parameters or the Hamiltonian differ.
    """
    if not _has_points(directory):
        return
    changed = []
    file = directory / ORDER_PARAMETERS
    if file.is_file() and not _same_parameters(read_order_parameters(file), order_parameters):
        changed.append("ordering or crystal")
    file = directory / _HAMILTONIAN
    if file.is_file() and not _same_energies(read_json(file), _record(hamiltonian)):
        changed.append("Hamiltonian")
    if changed:
        raise ValueError(
            f"{directory} holds points of another {' and another '.join(changed)}: what the run "
            "file describes has changed since. Give the new run a directory of its own."
        )


def write_system(
    directory: Path, order_parameters: OrderParameters, hamiltonian: Hamiltonian
) -> None:
    """Keep what a run is about, for `check_system` and for those who read its results."""
    write_order_parameters(order_parameters, directory / ORDER_PARAMETERS)
    write_json(directory / _HAMILTONIAN, _record(hamiltonian))


def _has_points(directory: Path) -> bool:
    """Whether Monte Carlo has found anything."""
    files = [directory / f"{name}.jsonl" for name in ("points", "test", "curve")]
    return any(file.is_file() and file.stat().st_size for file in files)


def _same_parameters(one: OrderParameters, other: OrderParameters) -> bool:
    return (
        one.supercell.lattice.same_as(other.supercell.lattice)
        and np.array_equal(one.supercell.matrix, other.supercell.matrix)
        and _close(one.matrix, other.matrix)
        and np.array_equal(one.variants, other.variants)
        and _close(one.group, other.group)
    )


def _record(hamiltonian: Hamiltonian) -> dict[str, Any]:
    """Interactions, sorted by their clusters, and the polynomial."""
    clusters = sorted(hamiltonian.interactions)
    return {
        "clusters": [[[int(x) for x in site] for site in cluster] for cluster in clusters],
        "energies_eV": [hamiltonian.interactions[cluster] for cluster in clusters],
        "polynomial_eV": list(hamiltonian.polynomial),
    }


def _same_energies(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return bool(
        one.get("clusters") == other["clusters"]
        and _close(one.get("energies_eV"), other["energies_eV"])
        and _close(one.get("polynomial_eV"), other["polynomial_eV"])
    )


def _close(one: Any, other: Any) -> bool:
    first, second = np.asarray(one, dtype=float), np.asarray(other, dtype=float)
    if first.shape != second.shape:
        return False
    return bool(np.abs(first - second).max(initial=0) <= _SAME * np.abs(first).max(initial=0))
