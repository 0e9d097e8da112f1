"""Labels are found wherever users keep them, and nothing doubtful passes silently."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal.data.reading import read_dataset, write_dataset
from ase_hal.frames import Frames

ZUO = Path(__file__).resolve().parents[2] / "shared" / "data" / "zuo2020"


def structures() -> list[Atoms]:
    rng = np.random.default_rng(2)
    made = []
    for n in range(3):
        atoms = bulk("Al", cubic=True) * (1, 1, 1 + n)
        atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
        stress = rng.normal(size=6)
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=float(rng.normal()),
            forces=rng.normal(size=(len(atoms), 3)),
            stress=stress,
        )
        atoms.info["hal_iteration"] = n
        made.append(atoms)
    return made


def matrix(voigt: np.ndarray) -> np.ndarray:
    return voigt[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


def renamed(path: Path, *, drop: str = "", **changes: Any) -> Path:
    """Write the structures with the labels under other names, as many codes do."""
    frames = []
    for atoms in structures():
        results = {**atoms.calc.results, **changes}
        atoms.calc = None
        atoms.info["REF_energy"] = results["energy"]
        atoms.arrays["dft_forces"] = results["forces"][: len(atoms)]
        atoms.info["REF_stress"] = results["stress"]
        atoms.info["virial"] = -atoms.get_volume() * matrix(results["stress"])
        atoms.info["my_virial"] = atoms.info["virial"].ravel()
        atoms.info.pop(drop, None)
        atoms.arrays.pop(drop, None)
        frames.append(atoms)
    ase.io.write(path, frames)
    return path


KEYS = {"energy_key": "REF_energy", "forces_key": "dft_forces"}


def assert_labels(dataset: list[Atoms], *, stress: bool = True) -> None:
    for atoms, expected in zip(dataset, structures(), strict=True):
        assert isinstance(atoms.calc, SinglePointCalculator)
        assert atoms.get_potential_energy() == expected.get_potential_energy()
        np.testing.assert_allclose(atoms.get_forces(), expected.get_forces(), atol=1e-8)
        assert ("stress" in atoms.calc.results) == stress
        if stress:
            np.testing.assert_allclose(atoms.get_stress(), expected.get_stress(), rtol=1e-12)
        assert atoms.info["hal_iteration"] == expected.info["hal_iteration"]


def test_what_is_written_is_read(tmp_path: Path) -> None:
    original = structures()
    write_dataset(tmp_path / "data.extxyz", original)
    dataset = read_dataset(tmp_path / "data.extxyz")
    assert_labels(dataset)
    for atoms, expected in zip(dataset, original, strict=True):
        np.testing.assert_array_equal(atoms.positions, expected.positions)
        np.testing.assert_array_equal(atoms.get_forces(), expected.get_forces())
        assert atoms.info == expected.info
    write_dataset(tmp_path / "again.extxyz", dataset)
    data = (tmp_path / "data.extxyz").read_bytes()
    assert (tmp_path / "again.extxyz").read_bytes() == data
    # The same file as a run's own.
    with Frames(tmp_path / "frames.extxyz") as frames:
        for atoms in original:
            frames.append(atoms)
    assert (tmp_path / "frames.extxyz").read_bytes() == data


def test_other_formats(tmp_path: Path) -> None:
    for name in ("data.traj", "data.json"):
        ase.io.write(tmp_path / name, structures())
        for atoms, expected in zip(read_dataset(tmp_path / name), structures(), strict=True):
            np.testing.assert_array_equal(atoms.get_forces(), expected.get_forces())
            np.testing.assert_array_equal(atoms.get_stress(), expected.get_stress())


def test_other_keys(tmp_path: Path) -> None:
    path = renamed(tmp_path / "data.xyz")
    assert_labels(read_dataset(path, **KEYS), stress=False)
    dataset = read_dataset(path, **KEYS, stress_key="REF_stress")
    assert_labels(dataset)
    for atoms in dataset:
        assert not {"REF_energy", "REF_stress"} & set(atoms.info)
        assert "dft_forces" not in atoms.arrays
    write_dataset(tmp_path / "copy.xyz", dataset)
    assert_labels(read_dataset(tmp_path / "copy.xyz"))
    assert_labels(read_dataset(path, **KEYS, virial_key="virial"))
    assert_labels(read_dataset(path, **KEYS, virial_key="my_virial"))


def test_stress_in_other_units(tmp_path: Path) -> None:
    """VASP: the other sign, and kbar."""
    kbar = [-10 * s for s in (1.0, 2.0, 3.0, 0.4, 0.5, 0.6)]
    path = renamed(tmp_path / "data.xyz", stress=np.array(kbar))
    dataset = read_dataset(path, **KEYS, stress_key="REF_stress", stress_factor=-0.1 * units.GPa)
    expected = np.array([1.0, 2.0, 3.0, 0.4, 0.5, 0.6]) * units.GPa
    np.testing.assert_allclose(dataset[0].get_stress(), expected)


def test_part_of_a_file(tmp_path: Path) -> None:
    write_dataset(tmp_path / "data.xyz", structures())
    assert len(read_dataset(tmp_path / "data.xyz", index="1:")) == 2
    (last,) = read_dataset(tmp_path / "data.xyz", index=-1)
    assert len(last) == 12
    with pytest.raises(ValueError, match="no structures"):
        read_dataset(tmp_path / "data.xyz", index="7:")


def test_energies_only(tmp_path: Path) -> None:
    path = renamed(tmp_path / "data.xyz", drop="dft_forces")
    dataset = read_dataset(path, energy_key="REF_energy", forces_key=None)
    assert set(dataset[0].calc.results) == {"energy"}


def test_stress_of_some(tmp_path: Path) -> None:
    mixed = [*structures(), molecule("CH4")]
    mixed[-1].calc = SinglePointCalculator(mixed[-1], energy=1.0, forces=np.zeros((5, 3)))
    write_dataset(tmp_path / "data.xyz", mixed)
    dataset = read_dataset(tmp_path / "data.xyz", stress_key="stress")
    assert ["stress" in atoms.calc.results for atoms in dataset] == [True] * 3 + [False]


def test_missing_keys_say_what_there_is(tmp_path: Path) -> None:
    path = renamed(tmp_path / "data.xyz")
    with pytest.raises(ValueError, match=r"frame 0: no energy under 'energy'; .*REF_energy"):
        read_dataset(path)
    with pytest.raises(ValueError, match=r"no forces under 'forces'; .*arrays: dft_forces"):
        read_dataset(path, energy_key="REF_energy")
    with pytest.raises(ValueError, match="no structure with a volume has 'dft_stress'"):
        read_dataset(path, **KEYS, stress_key="dft_stress")
    with pytest.raises(ValueError, match="not both"):
        read_dataset(path, stress_key="a", virial_key="b")
    with pytest.raises(FileNotFoundError):
        read_dataset(tmp_path / "missing.xyz")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"energy": np.nan}, "energy under 'REF_energy': not finite"),
        ({"energy": "converged"}, "energy under 'REF_energy': not a number: 'converged'"),
        ({"energy": np.arange(2.0)}, r"energy under 'REF_energy': shape \(2,\) instead of"),
        ({"forces": np.full((12, 3), np.inf)}, "forces under 'dft_forces': not finite"),
        (
            {"forces": np.zeros((12, 2))},
            r"forces under 'dft_forces': shape \(4, 2\) instead of \(4, 3\)",
        ),
        ({"stress": np.full(6, np.nan)}, "stress under 'REF_stress': not finite"),
    ],
)
def test_doubtful_labels(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = renamed(tmp_path / "data.xyz", **changes)
    with pytest.raises(ValueError, match=f"data.xyz, frame 0: {message}"):
        read_dataset(path, **KEYS, stress_key="REF_stress")


def test_the_frame_is_named(tmp_path: Path) -> None:
    frames = structures()
    frames[2].calc.results["energy"] = np.nan
    write_dataset(tmp_path / "data.xyz", frames)
    with pytest.raises(ValueError, match=r"data\.xyz, frame 2: energy"):
        read_dataset(tmp_path / "data.xyz")


def test_stress_that_is_no_stress(tmp_path: Path) -> None:
    (atoms, *_) = structures()
    atoms.info["odd"] = np.arange(9.0)
    atoms.info["short"] = np.arange(5.0)
    write_dataset(tmp_path / "data.xyz", [atoms])
    with pytest.raises(ValueError, match="not symmetric"):
        read_dataset(tmp_path / "data.xyz", stress_key="odd")
    with pytest.raises(ValueError, match=r"shape \(5,\) instead of \(6,\)"):
        read_dataset(tmp_path / "data.xyz", stress_key="short")


def test_two_energies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (atoms, *_) = structures()
    atoms.calc.results["free_energy"] = atoms.calc.results["energy"] - 0.25
    write_dataset(tmp_path / "data.xyz", [atoms])
    with caplog.at_level(logging.WARNING):
        (first,) = read_dataset(tmp_path / "data.xyz")
    assert "energy_key='free_energy'" in caplog.text
    (second,) = read_dataset(tmp_path / "data.xyz", energy_key="free_energy")
    assert first.get_potential_energy() - second.get_potential_energy() == pytest.approx(0.25)
    assert "free_energy" not in first.calc.results


def test_writing_names_the_structure(tmp_path: Path) -> None:
    frames = structures()
    frames[1].rattle(0.1, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"structure 1: .* belong to another structure"):
        write_dataset(tmp_path / "data.xyz", frames)
    assert not (tmp_path / "data.xyz").exists()


@pytest.mark.skipif(not ZUO.is_dir(), reason="the data of Zuo et al. 2020 is not here")
def test_zuo_2020() -> None:
    dataset = read_dataset(ZUO / "Si_test.xyz", forces_key="force")
    assert len(dataset) == 25
    forces = np.concatenate([atoms.get_forces() for atoms in dataset])
    assert 0.1 < np.sqrt(np.mean(forces**2)) < 5.0
    for atoms in dataset:
        assert -6.0 < atoms.get_potential_energy() / len(atoms) < -4.0
        np.testing.assert_allclose(atoms.get_forces().sum(axis=0), 0, atol=0.05)
