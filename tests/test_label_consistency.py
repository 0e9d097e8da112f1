"""Wrong signs, units and meanings of labels are named, and right ones raise no alarm."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, fcc111, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from datasets_emt import labelled, rattled

from ase_hal import read_dataset
from ase_hal.data import check_dataset

ZUO = Path(__file__).resolve().parents[2] / "shared" / "data" / "zuo2020"
QUARTER = (1, 6, 7, 12)


@cache
def copper() -> tuple[Atoms, ...]:
    """Sixteen rattled and strained cells of 32 atoms."""
    rng = np.random.default_rng(1)
    structures = []
    for _ in range(16):
        atoms = bulk("Cu", cubic=True, a=3.6 * rng.uniform(0.97, 1.03)) * 2
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        structures.append(labelled(atoms))
    return tuple(structures)


def mistaken(atoms: Atoms, mistake: str) -> Atoms:
    labels = dict(atoms.calc.results)
    stress, kbar = np.array(labels["stress"]), 0.1 * units.GPa
    changes: dict[str, dict[str, Any]] = {
        "stress of the other sign": {"stress": -stress},
        "kbar": {"stress": stress / kbar},
        "kbar of the other sign": {"stress": -stress / kbar},
        "GPa": {"stress": stress / units.GPa},
        "virial": {"stress": -atoms.get_volume() * stress},
        "Hartree": {"energy": labels["energy"] / units.Hartree},
        "per atom": {"energy": labels["energy"] / len(atoms)},
        "gradients": {"forces": -labels["forces"]},
        "Hartree/Bohr": {"forces": labels["forces"] / (units.Hartree / units.Bohr)},
    }
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **{**labels, **changes[mistake]})
    return copy


NAMED = {
    "stress of the other sign": ("stress_sign", "of the other sign"),
    "kbar": ("stress_unit", "kbar"),
    "kbar of the other sign": ("stress_unit", "kbar"),
    "GPa": ("stress_unit", "GPa"),
    "virial": ("stress_is_virial", "virial"),
    "Hartree": ("energy_unit", "Hartree"),
    "per atom": ("energy_per_atom", "per atom"),
    "gradients": ("force_sign", "gradients"),
    "Hartree/Bohr": ("force_unit", "Hartree"),
}


@pytest.mark.parametrize("mistake", NAMED)
@pytest.mark.parametrize("share", ["all", "quarter"])
def test_mistakes_are_named(mistake: str, share: str) -> None:
    wrong = range(16) if share == "all" else QUARTER
    structures = [mistaken(a, mistake) if i in wrong else a for i, a in enumerate(copper())]
    report = check_dataset(structures)
    kind, words = NAMED[mistake]
    found = {f.kind: f for f in report.findings if f.severity == "wrong"}
    assert set(found) == {kind}
    assert words in found[kind].message
    assert found[kind].frames in ((), tuple(wrong))
    assert share == "all" or found[kind].frames == QUARTER
    others = {f.kind for f in report.findings if f.severity == "likely"}
    assert others <= {"stress_size"}


def slabs() -> list[Atoms]:
    found = []
    for seed in range(12):
        atoms = fcc111("Cu", (2, 2, 4), vacuum=7.0)
        atoms.rattle(0.1, rng=np.random.default_rng(seed))
        atoms.set_constraint(FixAtoms(range(4)) if seed % 2 else [])
        found.append(labelled(atoms))
        if seed % 2:
            found[-1].calc.results["forces"][:4] = 0.0
    return found


def molecules() -> list[Atoms]:
    found = []
    for seed in range(24):
        atoms = molecule(("CH3CH2OH", "H2O", "CH4", "CH3OH")[seed % 4])
        atoms.rattle(0.04, rng=np.random.default_rng(seed))
        found.append(labelled(atoms))
    return found


def alloys() -> list[Atoms]:
    return list(rattled("Al", 24, rng=np.random.default_rng(2), second="Cu"))


def compressed() -> list[Atoms]:
    """Some hundred GPa, where stresses are as large as in wrong units."""
    rng, found = np.random.default_rng(3), []
    for _ in range(12):
        atoms = bulk("Cu", cubic=True, a=3.6 * rng.uniform(0.74, 0.9)) * 2
        atoms.rattle(0.08, rng=rng)
        found.append(labelled(atoms))
    return found


def relaxed() -> list[Atoms]:
    return [labelled(bulk("Cu", cubic=True, a=a)) for a in np.linspace(3.4, 3.8, 12)]


def few() -> list[Atoms]:
    return list(copper()[:3])


@pytest.mark.parametrize(
    "kind", [slabs, molecules, alloys, compressed, relaxed, few, lambda: list(copper())]
)
def test_right_labels_raise_no_alarm(kind: Any) -> None:
    report = check_dataset(kind())
    assert [f for f in report.findings if f.severity != "note"] == []


@pytest.mark.skipif(not ZUO.is_dir(), reason="the data of Zuo et al. 2020 is not here")
@pytest.mark.parametrize("element", ["Ni", "Cu", "Mo", "Si"])
@pytest.mark.parametrize("part", ["train", "test"])
def test_published_data_raise_no_alarm(element: str, part: str) -> None:
    structures = read_dataset(ZUO / f"{element}_{part}.xyz", check=False)
    report = check_dataset(structures)
    assert [f for f in report.findings if f.severity != "note"] == []
    assert report.consistency is not None
    assert report.consistency.forces is not None
    assert report.consistency.forces.slope == pytest.approx(1.0, abs=0.1)


def test_what_cannot_be_judged_is_told() -> None:
    consistency = check_dataset(few()).consistency
    assert consistency is not None
    assert consistency.energies is None
    assert "3 structures; 6 are needed" in consistency.unjudged["energies"]
