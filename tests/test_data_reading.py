"""One reader for all files: everything is read, or what is not is said."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms, FixedPlane
from datasets_emt import labelled, rattled

from ase_hal import read_dataset
from ase_hal.data.label_keys import LabelKeys
from ase_hal.data.reading import read_labelled, read_structures
from ase_hal.runfile.data_sections import SeedsSection
from ase_hal.weights import file_weights


def copper(count: int = 4, *, seed: int = 0) -> list[Atoms]:
    return list(rattled("Cu", count, rng=np.random.default_rng(seed)))


def frames_of(text: str) -> list[str]:
    """Texts of the frames of an extended XYZ file without blank lines."""
    lines, found = text.splitlines(keepends=True), []
    while lines:
        n = int(lines[0]) + 2
        found.append("".join(lines[:n]))
        lines = lines[n:]
    return found


def text_of(structures: list[Atoms]) -> str:
    buffer = io.StringIO()
    ase.io.write(buffer, structures, format="extxyz")
    return buffer.getvalue()


@pytest.mark.parametrize("blank", ["\n", "   \n", "\n\n\t\n"])
def test_blank_lines_between_frames_end_nothing(tmp_path: Path, blank: str) -> None:
    structures = copper()
    path = tmp_path / "data.xyz"
    path.write_text(blank + blank.join(frames_of(text_of(structures))) + blank)
    for read in (read_dataset(path, check=False), read_structures(path)):
        assert len(read) == 4
        for atoms, expected in zip(read, structures, strict=True):
            assert atoms.positions == pytest.approx(expected.positions, abs=1e-8)
    assert len(read_structures(path, "1:3")) == 2
    assert read_structures(path, -1)[0].positions == pytest.approx(
        structures[-1].positions, abs=1e-8
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("\nCu ", "\nCu1 ", 1), r"frame 0: atom 0: 'Cu1' .*'Cu'"),
        (
            lambda text: text.rstrip().rpartition("\n")[0] + "\n",
            r"frame 3 \(line 31\): 8 atoms are announced, and 7 lines",
        ),
        (lambda text: text + "garbage\n", r"frame 4 \(line 41\): expected a number of atoms"),
        (lambda text: text + "2\n\nD 0 0 0\nO 0 0 1\n", r"frame 4: atom 0: 'D' .*write H"),
        (lambda text: text + "1\n\nX 0 0 0\n", "frame 4: atom 0 is 'X', a placeholder"),
        (lambda text: text + "2\n\nCu 0 0 0\nCu 0 0 nan\n", "frame 4: the position of atom 1"),
        (
            lambda text: text + "2\n\nCu 0 0 0\n\nCu 0 0 1\n",
            r"frame 4 \(line 41\): line 44 is blank, and belongs to atom 1",
        ),
        (lambda text: text + "2\n\nCu 0 0 0\nCu 0 0\n", "frame 4: line 44 has 3 columns"),
        (lambda text: text + "0\n\n", "frame 4: it has no atoms"),
        (
            lambda text: text + '1\nLattice="0 0 0 0 0 0 0 0 0" pbc="T T T"\nCu 0 0 0\n',
            "frame 4: it is periodic",
        ),
    ],
)
def test_frame_and_atom_are_named(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "data.xyz"
    path.write_text(change(text_of(copper())))
    with pytest.raises(ValueError, match=message):
        read_structures(path)
    with pytest.raises(ValueError, match=message):
        read_dataset(path)
    with pytest.raises(ValueError, match=message):
        SeedsSection(file=path).build(0)


def test_other_formats_are_checked_too(tmp_path: Path) -> None:
    broken = copper(2)
    broken[1].positions[3] = np.nan
    broken[1].calc = None
    ase.io.write(tmp_path / "data.traj", broken)
    with pytest.raises(ValueError, match=r"frame 1: the position of atom 3 \(Cu\) is not finite"):
        read_structures(tmp_path / "data.traj")


def voigt(atoms: Atoms) -> np.ndarray:
    return np.array(atoms.calc.results["stress"])


def matrix(numbers: np.ndarray) -> np.ndarray:
    return numbers[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)


@pytest.mark.parametrize("name", ["virial", "virials"])
@pytest.mark.parametrize("shape", ["six", "nine", "square"])
def test_virials_become_stresses(tmp_path: Path, name: str, shape: str) -> None:
    structures = copper()
    for atoms in structures:
        virial = -atoms.get_volume() * voigt(atoms)
        of_shape = {"six": virial, "nine": matrix(virial).ravel(), "square": matrix(virial)}
        atoms.info[name] = of_shape[shape]
    expected = [voigt(atoms) for atoms in structures]
    for atoms in structures:
        del atoms.calc.results["stress"]
    path = tmp_path / "data.xyz"
    ase.io.write(path, structures)
    for read in (read_dataset(path), read_dataset(path, virial_key=name)):
        assert [voigt(a) for a in read] == [pytest.approx(s, rel=1e-6) for s in expected]
        assert all(name not in atoms.info for atoms in read)
    assert all("stress" not in a.calc.results for a in read_dataset(path, virial_key=None))


def test_a_virial_is_not_taken_for_a_stress(tmp_path: Path) -> None:
    structures = copper()
    for atoms in structures:
        atoms.info["dft_virial"] = -atoms.get_volume() * voigt(atoms)
    ase.io.write(tmp_path / "data.xyz", structures)
    with pytest.raises(ValueError, match="'dft_virial' is the name of a virial: give virial_key="):
        read_dataset(tmp_path / "data.xyz", stress_key="dft_virial")
    with pytest.raises(ValueError, match="'REF_stress' is the name of a stress"):
        read_dataset(tmp_path / "data.xyz", virial_key="REF_stress")


def test_stress_and_virial_that_contradict_each_other_are_named(tmp_path: Path) -> None:
    structures = copper()
    for atoms in structures[:3]:
        atoms.info["virial"] = -atoms.get_volume() * voigt(atoms)
    structures[1].info["virial"] *= -1
    ase.io.write(tmp_path / "data.xyz", structures)
    read = read_labelled(tmp_path / "data.xyz")
    (finding,) = (f for f in read.findings if f.kind == "stress_against_virial")
    assert finding.frames == (1,)
    assert voigt(read.structures[1]) == pytest.approx(voigt(structures[1]))


def other_model(tmp_path: Path) -> tuple[Path, list[Atoms]]:
    """A file with labels of two models: those under REF_ are asked for."""
    structures, expected = copper(), copper()
    for atoms in structures:
        results = dict(atoms.calc.results)
        atoms.info["REF_energy"] = results["energy"]
        atoms.arrays["REF_forces"] = results["forces"]
        atoms.calc.results["energy"] -= 3.0
        atoms.calc.results["forces"] = results["forces"] + 0.5
        atoms.calc.results["stress"] = results["stress"] + 0.2
        atoms.info["virial"] = np.full(6, 7.0)
    path = tmp_path / "data.xyz"
    ase.io.write(path, structures)
    return path, expected


def test_labels_of_another_model_are_not_mixed_in(tmp_path: Path) -> None:
    path, expected = other_model(tmp_path)
    with pytest.raises(ValueError, match="'forces' may belong .*forces_key='REF_forces'"):
        read_dataset(path, energy_key="REF_energy")
    keys = LabelKeys("REF_energy", "REF_forces")
    read = read_labelled(path, keys)
    for atoms, other in zip(read.structures, expected, strict=True):
        assert set(atoms.calc.results) == {"energy", "forces"}
        assert atoms.calc.results["forces"] == pytest.approx(other.calc.results["forces"], abs=1e-7)
    (unused,) = (f for f in read.findings if f.kind == "unused_labels")
    assert "energy, forces, stress, virial" in unused.message
    # nor later, where these are written and read again
    ase.io.write(tmp_path / "again.xyz", list(read.structures))
    for atoms, other in zip(read_dataset(tmp_path / "again.xyz"), expected, strict=True):
        assert set(atoms.calc.results) == {"energy", "forces"}
        energy = other.calc.results["energy"]
        assert atoms.calc.results["energy"] == pytest.approx(energy, abs=1e-6)
    # what is asked for by its name is taken
    asked = {"energy_key": "REF_energy", "forces_key": "REF_forces", "stress_key": "stress"}
    named = read_dataset(path, **asked)
    assert voigt(named[0]) == pytest.approx(voigt(expected[0]) + 0.2, abs=1e-6)


def test_seeds_without_keys_bring_no_labels(tmp_path: Path) -> None:
    path, _ = other_model(tmp_path)
    for atoms in SeedsSection(file=path).build(0):
        assert atoms.calc is None
        assert not {"virial", "stress", "energy", "forces"} & {*atoms.info, *atoms.arrays}


def test_forces_are_optional_frame_by_frame(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    structures = copper()
    del structures[2].calc.results["forces"]
    ase.io.write(tmp_path / "data.xyz", structures)
    with caplog.at_level(logging.INFO):
        read = read_dataset(tmp_path / "data.xyz")
    assert ["forces" in atoms.calc.results for atoms in read] == [True, True, False, True]
    assert "data.xyz, frame 2: no forces (1 of 4 structures)" in caplog.text


def test_one_name_of_forces_in_each_frame_is_enough(tmp_path: Path) -> None:
    structures = copper()
    for atoms in structures[2:]:
        atoms.arrays["force"] = atoms.calc.results.pop("forces")
    ase.io.write(tmp_path / "data.xyz", structures)
    assert all("forces" in atoms.calc.results for atoms in read_dataset(tmp_path / "data.xyz"))


def test_constraints_of_a_file_are_read(tmp_path: Path) -> None:
    slab = bulk("Cu", cubic=True)
    slab.set_constraint([FixAtoms([0]), FixedPlane(2, (0, 0, 1))])
    ase.io.write(tmp_path / "seeds.traj", slab)
    (read,) = SeedsSection(file=tmp_path / "seeds.traj").build(0)
    assert [type(c).__name__ for c in read.constraints] == ["FixAtoms", "FixedPlane"]


def test_labels_of_molecules(tmp_path: Path) -> None:
    """Cells without a volume have no stress; one structure of a file may."""
    mixed = [*copper(2), labelled(molecule("CH4"))]
    ase.io.write(tmp_path / "data.xyz", mixed)
    read = read_dataset(tmp_path / "data.xyz")
    assert ["stress" in atoms.calc.results for atoms in read] == [True, True, False]


def test_frames_are_numbered_as_in_the_file(tmp_path: Path) -> None:
    structures = copper(6)
    ase.io.write(tmp_path / "data.xyz", structures)
    assert read_labelled(tmp_path / "data.xyz", index="::2").numbers == (0, 2, 4)
    assert read_labelled(tmp_path / "data.xyz", index="-2:").numbers == (4, 5)
    with pytest.raises(ValueError, match="has 6 frames, there is no frame 7"):
        read_labelled(tmp_path / "data.xyz", index=7)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: re.sub(r" energy=\S+", " energy", text), "frame 0: energy .* not a number"),
        (lambda text: re.sub(r" energy=\S+", " energy=T", text), "frame 0: energy .*: True"),
        (
            lambda text: re.sub(r' stress="[^"]*"', ' stress="1 2 3 0 4 5 0 0 6"', text),
            "frame 0: .*stress: not symmetric",
        ),
        (lambda text: text.replace(" energy=", " config_weight=T energy="), "its config_weight is"),
        (lambda text: "", "is empty or of a format that ASE does not know"),
    ],
)
def test_labels_that_are_none(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "data.xyz"
    path.write_text(change(text_of(copper())))
    with pytest.raises(ValueError, match=message):
        list(map(file_weights, read_dataset(path)))


def test_a_byte_order_mark_means_nothing(tmp_path: Path) -> None:
    path = tmp_path / "data.xyz"
    path.write_text("\ufeff" + text_of(copper()), encoding="utf-8")
    assert len(read_dataset(path)) == 4


@pytest.mark.parametrize(("index", "message"), [(99, "no frame 99"), ("foo", "an index is")])
def test_wrong_indices(tmp_path: Path, index: Any, message: str) -> None:
    for name in ("data.xyz", "data.traj"):
        ase.io.write(tmp_path / name, copper(2))
        with pytest.raises(ValueError, match=message):
            read_structures(tmp_path / name, index)


def test_folders_and_parts_of_structures_are_no_labels(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder"):
        read_structures(tmp_path)
    with pytest.raises(ValueError, match="forces_key='positions' is no label"):
        LabelKeys(forces="positions")


def test_labels_in_capitals_are_told(tmp_path: Path) -> None:
    structures = copper()
    structures[2].arrays["FORCES"] = structures[2].calc.results.pop("forces")
    ase.io.write(tmp_path / "data.xyz", structures)
    (finding,) = (f for f in read_labelled(tmp_path / "data.xyz").findings)
    assert (finding.severity, finding.frames) == ("likely", (2,))
    assert "not taken: FORCES" in finding.message
