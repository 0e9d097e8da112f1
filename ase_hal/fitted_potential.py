"""FittedPotential: a potential file in memory, evaluated by python-ace, on top of its baseline."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from threading import RLock
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator

from ase_hal.ace.pacemaker import import_pyace
from ase_hal.baseline import Baseline
from ase_hal.prediction import has_stress


class FittedPotential(BaseCalculator):
    """A potential that python-ace evaluates, on top of its baseline.

    It holds the text of the potential, so that it needs no files and can be pickled. Threads that
    share one take turns.

    Parameters
    ----------
    text : str
        The potential file.
    kind : str
        The calculator of ``pyace.asecalc`` that reads it.
    elements : sequence of str
        Chemical symbols it knows.
    baseline : Baseline
        One-body energies and repulsion.
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (as ASE)

    def __init__(self, text: str, kind: str, elements: Sequence[str], baseline: Baseline) -> None:
        super().__init__()
        self.text = text
        self.kind = kind
        self.elements = tuple(elements)
        self.baseline = baseline
        self._model: Any = None
        self._lock = RLock()

    def write(self, path: str | Path) -> None:
        """Write the potential file, which knows nothing of the baseline."""
        Path(path).write_text(self.text, encoding="utf-8")

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """One of the `implemented_properties`; ASE's getters call this."""
        with self._lock:
            return super().get_property(name, atoms, allow_calculation)

    def calculate(
        self, atoms: Atoms, properties: Sequence[str], system_changes: Sequence[str]
    ) -> None:
        """Everything at once; called by ASE."""
        with self._lock:
            model = self._loaded()
            periodic = periodic_or_not(atoms, model.cutoff)
            model.calculate(periodic)
            energy, forces, virial = self.baseline.evaluate(atoms)
            energy += float(model.results["energy"])
            self.results = {
                "energy": energy,
                "free_energy": energy,
                "forces": model.results["forces"] + (0.0 if forces is None else forces),
            }
            if has_stress(atoms):
                # Virials per volume; the periodic stand-in of a slab has a larger one.
                fitted = model.results["stress"] * periodic.cell.volume
                total = fitted - (0.0 if virial is None else virial)
                self.results["stress"] = total / atoms.cell.volume

    def _loaded(self) -> Any:
        if self._model is None:
            calculators = import_pyace().asecalc
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "potential.yaml")
                self.write(path)
                self._model = getattr(calculators, self.kind)(str(path))
            self._model.compute_projections = False
        return self._model

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_model": None, "atoms": None, "results": {}}
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = RLock()


def periodic_or_not(atoms: Atoms, cutoff: float) -> Atoms:
    """A bare copy; of slabs and wires, one that is periodic, with a vacuum beyond the cutoff.

    The neighbour lists of python-ace know full periodicity or none.
    """
    bare = Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    if atoms.pbc.any() and not atoms.pbc.all():
        bare.cell = atoms.cell.complete()
        for axis in np.flatnonzero(~atoms.pbc):
            bare.center(vacuum=0.5 * cutoff + 0.1, axis=int(axis))
        bare.pbc = True
    return bare
