"""Structures and calculators for the tests of label(), in a module that imports little."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

if TYPE_CHECKING:
    from ase_hal.reference import Failure

FCC = [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]


def rattled(count: int) -> list[Atoms]:
    """Small Cu cells; the number of atoms tells which one it is."""
    rng = np.random.default_rng(5)
    structures = []
    for n in range(count):
        atoms = Atoms("Cu4", scaled_positions=FCC, cell=[3.61] * 3, pbc=True) * (1, 1, 1 + n % 3)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        atoms.info["number"] = n
        structures.append(atoms)
    return structures


class Harmonic(Calculator):
    """E = 1/2 sum x^2, and a `prank` to play on the way to it."""

    implemented_properties = ("energy", "forces", "stress", "free_energy")

    def __init__(self, prank: Callable[[Atoms], object] | None = None, **changes: Any):
        super().__init__()
        self.prank = prank
        self.changes = changes

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        if self.prank:
            self.prank(atoms)
        x = atoms.positions
        energy = 0.5 * np.sum(x**2)
        self.results = {
            "energy": energy + 1.0,
            "free_energy": energy,
            "forces": -x,
            "stress": np.arange(6.0),
            **self.changes,
        }


def failure_of(calculator: Any, *, timeout: float | None = 60.0) -> Failure:
    from ase_hal.reference import label

    failures: list[Failure] = []
    atoms = rattled(1)[0]
    assert label([atoms], calculator, timeout=timeout, on_failure=failures.append) == []
    (failure,) = failures
    assert "\n" not in failure.reason
    assert failure.atoms == atoms
    assert failure.atoms.calc is None
    assert failure.seconds >= 0
    return failure


def environment() -> dict[str, str]:
    """For programs that import what this process imports."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def descendants() -> set[int]:
    import psutil

    return {process.pid for process in psutil.Process().children(recursive=True)}


def assert_gone(pids: set[int], patience: float = 10.0) -> None:
    stop = time.monotonic() + patience
    while alive := {p for p in pids if is_alive(p)}:
        assert time.monotonic() < stop, f"still there: {alive}"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
