"""Lattice and elastic constants of Al and of the alloy: the fitted model beside the exact MEAM.

    python properties.py RUN_DIRECTORY [Al] [Al29Si3]

The alloy is one random Al29Si3 cell, the same for both; atoms are relaxed at every strain.
"""

import sys
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import LBFGS

from ase_hal import LinearCommittee
from ase_hal.calculators import CommitteeCalculator
from ase_hal.named_references import named_calculator


def relaxed(atoms: Atoms, calculator, *, cell: bool) -> Atoms:
    """Relax the atoms, and the volume if asked."""
    atoms = atoms.copy()
    atoms.calc = calculator
    target = FrechetCellFilter(atoms, hydrostatic_strain=True) if cell else atoms
    LBFGS(target, logfile=None).run(fmax=0.002, steps=500)
    return atoms


def elastic_constants(atoms: Atoms, calculator, *, strain: float = 0.004) -> dict[str, float]:
    """C11, C12 and C44 in GPa, averaged over the cubic axes, by central differences of stress."""
    response = np.zeros((6, 6))
    for voigt in range(6):
        i, j = [(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)][voigt]
        stresses = []
        for sign in (1, -1):
            deformation = np.eye(3)
            deformation[i, j] += sign * strain / 2
            deformation[j, i] += sign * strain / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ deformation, scale_atoms=True)
            stresses.append(relaxed(strained, calculator, cell=False).get_stress())
        response[voigt] = (stresses[0] - stresses[1]) / (2 * strain) / units.GPa
    off_diagonal = [response[i, j] for i in range(3) for j in range(3) if i != j]
    return {
        "C11": float(np.mean(np.diag(response)[:3])),
        "C12": float(np.mean(off_diagonal)),
        "C44": float(np.mean(np.diag(response)[3:])),
    }


def properties(calculator, names) -> dict[str, dict[str, float]]:
    """Everything for one calculator: Å and GPa."""
    alloy = bulk("Al", a=4.02, cubic=True) * 2
    alloy.symbols[[3, 14, 25]] = "Si"
    crystals = {"Al": bulk("Al", a=4.05, cubic=True), "Al29Si3": alloy}
    results = {}
    for name in names:
        atoms = crystals[name]
        start = relaxed(atoms, calculator, cell=True)
        per_cell = len(atoms) / 4
        a = (start.cell.volume / per_cell) ** (1 / 3)
        results[name] = {"a": a, **elastic_constants(start, calculator)}
    return results


def main() -> None:
    directory = Path(sys.argv[1])
    names = sys.argv[2:] or ["Al", "Al29Si3"]
    exact = properties(named_calculator("lammps_meam"), names)
    files = [directory / "final.json", directory / "committee.json"]
    model = LinearCommittee.read(next(path for path in files if path.exists()))
    fitted = properties(CommitteeCalculator(model), names)
    print(f"{'':10}{'':6}{'model':>10}{'MEAM':>10}{'error':>9}")
    for name, values in exact.items():
        for quantity, truth in values.items():
            value = fitted[name][quantity]
            unit = "Å" if quantity == "a" else "GPa"
            print(
                f"{name:10}{quantity:6}{value:10.3f}{truth:10.3f}{value / truth - 1:9.1%}  {unit}"
            )


if __name__ == "__main__":
    main()
