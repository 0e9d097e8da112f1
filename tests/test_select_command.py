"""ase-hal select: from files of candidates to a file of those that are worth a calculation."""

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from datasets_emt import al_cu_basis, al_cu_dataset, rattled
from typer.testing import CliRunner

from ase_hal import LinearFit, select
from ase_hal.cli import app
from ase_hal.selection.candidate_files import write_chosen


def call(*arguments, code=0):
    result = CliRunner().invoke(app, ["select", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture(scope="module")
def committee():
    return LinearFit(al_cu_basis(), members=16)(al_cu_dataset(), rng=np.random.default_rng(1))


@pytest.fixture
def here(tmp_path, monkeypatch, committee):
    monkeypatch.chdir(tmp_path)
    committee.write("model.json")
    return tmp_path


@pytest.fixture(scope="module")
def candidates():
    rng = np.random.default_rng(2)
    structures = [*rattled("Al", 5, rng=rng, second="Cu"), *rattled("Cu", 4, rng=rng)]
    for atoms in structures:
        atoms.calc = None
    return structures


def close(atoms, distance):
    atoms = atoms.copy()
    atoms.positions[1] = atoms.positions[0] + [0.0, distance, 0.0]
    return atoms


def test_the_chosen_ones_say_where_they_come_from(here, committee, candidates):
    """And are written with all digits."""
    ase.io.write("many.traj", candidates)
    output = call("many.traj", "model.json", "-n", 3, "-o", "chosen.xyz")
    chosen = ase.io.read("chosen.xyz", index=":")
    expected = select(candidates, committee, n=3)
    for atoms, original in zip(chosen, expected, strict=True):
        assert np.array_equal(atoms.positions, original.positions)
        assert candidates[atoms.info["hal_candidate"]] == original
        assert atoms.info["hal_candidate_file"] == "many.traj"
        std = committee.predict(original).model_std / len(original)
        assert atoms.info["hal_model_std_per_atom"] == pytest.approx(std, rel=1e-6)
        assert f"{1000 * std:.2f} meV/atom uncertain" in output
    assert output.splitlines()[-1] == "written: 3 of 9 structures to chosen.xyz"
    assert len(output.splitlines()) == 4


def test_what_is_refused_is_listed(here, committee, candidates):
    zirconium = candidates[0].copy()
    zirconium.symbols[2] = "Zr"
    structures = [*candidates[:3], close(candidates[0], 0.4), zirconium, close(candidates[5], 0.5)]
    ase.io.write("many.xyz", structures)
    output = call("many.xyz", "model.json", "-n", 2, "-o", "chosen.xyz")
    assert output.splitlines()[:3] == [
        "3 of 6 candidates refused: 2 contacts, 1 unknown element Zr; frames 3, 4 and 5",
        "  frame 3: a distance of 0.40 Å between atoms 0 (Al) and 1 (Al)",
        "  frame 4: unknown element Zr; the model has Al, Cu",
    ]
    assert {atoms.info["hal_candidate"] for atoms in ase.io.read("chosen.xyz", ":")} <= {0, 1, 2}
    call("many.xyz", "model.json", "-n", 9, "-o", "chosen.xyz", "--min-distance", 0)
    numbers = {atoms.info["hal_candidate"] for atoms in ase.io.read("chosen.xyz", ":")}
    assert numbers & {3, 5}
    assert 4 not in numbers
    output = call("many.xyz", "model.json", "-o", "other.xyz", "--max-force", 1e-6, code=1)
    assert "large forces" in output
    assert "error: all candidates are refused" in output
    assert not Path("other.xyz").exists()


def test_several_files_and_parts_of_files(here, candidates):
    ase.io.write("first.xyz", candidates[:5])
    ase.io.write("second.xyz", [*candidates[5:], close(candidates[5], 0.5)])
    output = call("first.xyz", "second.xyz@1::3", "model.json", "-n", 9, "-o", "chosen.xyz")
    chosen = ase.io.read("chosen.xyz", index=":")
    origins = {(a.info["hal_candidate_file"], a.info["hal_candidate"]) for a in chosen}
    assert origins == {("first.xyz", i) for i in range(5)} | {("second.xyz", 1)}
    assert "second.xyz: 1 of 2 candidates refused: 1 contact; frame 4" in output
    assert "second.xyz, frame 1" in output


def test_duplicates_are_a_reason_for_fewer(here, candidates):
    ase.io.write("many.xyz", [candidates[0]] * 4 + [candidates[1]])
    output = call("many.xyz", "model.json", "-n", 5, "-o", "chosen.xyz")
    assert output.splitlines()[-2:] == [
        "the others are hardly uncertain any more, less than a twentieth of what they were, once "
        "the energies of these are known",
        "written: 2 of 5 structures to chosen.xyz",
    ]


@pytest.mark.parametrize(
    ("output", "line"),
    [
        ("nowhere/chosen.xyz", "error: there is no folder nowhere for the output"),
        (".", "error: . is a folder; the output is a file, NAME.xyz"),
        ("many.xyz", "error: the output many.xyz would replace what is read; give another name"),
        ("./model.npz", "error: the output model.npz would replace what is read"),
        ("chosen.xyz.gz", "error: the output is not compressed: give NAME.xyz"),
    ],
)
def test_the_output_is_checked_before_the_work(here, candidates, output, line, monkeypatch):
    ase.io.write("many.xyz", candidates)
    before = {path: path.read_bytes() for path in here.iterdir()}
    monkeypatch.setattr("ase_hal.selection.rank", None)
    assert call("many.xyz", "model.json", "-o", output, code=1).startswith(line)
    assert {path: path.read_bytes() for path in here.iterdir()} == before


def test_other_endings_are_remarked_on(here, candidates):
    ase.io.write("many.xyz", candidates)
    output = call("many.xyz", "model.json", "-n", 2, "-o", "chosen.cif")
    assert "chosen.cif is going to be extended XYZ" in output
    assert len(ase.io.read("chosen.cif", index=":", format="extxyz")) == 2


def test_bad_numbers(here, candidates):
    ase.io.write("many.xyz", candidates)
    for wrong in (["-n", 0], ["--min-distance", -1], ["--max-force", -1]):
        assert "Invalid value" in call("many.xyz", "model.json", "-o", "c.xyz", *wrong, code=2)


def test_a_model_that_is_certain(here, candidates):
    content = json.loads(Path("model.json").read_text())
    with np.load("model.npz") as file:
        arrays = dict(file)
    arrays["covariance_factor"] = np.zeros_like(arrays["covariance_factor"])
    from ase_hal.committee_file import write_contents

    write_contents("certain.json", content, arrays)
    ase.io.write("many.xyz", candidates)
    output = call("many.xyz", "certain.json", "-o", "chosen.xyz", code=1)
    assert output.startswith("error: the model is not uncertain about any candidate")


# --- what candidates carry ---------------------------------------------------------------


def test_results_stay_and_are_pointed_out(here, candidates):
    structures = [atoms.copy() for atoms in candidates[:3]]
    for number, atoms in enumerate(structures):
        forces = np.full((8, 3), number / 3)
        atoms.calc = SinglePointCalculator(atoms, energy=number / 7, forces=forces, free_energy=1.0)
    ase.io.write("many.xyz", structures)
    output = call("many.xyz", "model.json", "-o", "chosen.xyz")
    assert "3 of them carry an energy from their file" in output
    for atoms in ase.io.read("chosen.xyz", index=":"):
        number = atoms.info["hal_candidate"]
        assert atoms.get_potential_energy() == pytest.approx(number / 7, abs=1e-8)
        assert atoms.get_forces() == pytest.approx(np.full((8, 3), number / 3), abs=1e-8)


def namesake(atoms):
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    atoms.info["energy"] = 2.0


def moved(atoms):
    atoms.calc = SinglePointCalculator(atoms, energy=1.0)
    atoms.positions += 0.1


def array_namesake(atoms):
    atoms.calc = SinglePointCalculator(atoms, forces=np.zeros((8, 3)))
    atoms.set_array("forces", np.ones((8, 3)))


def strange_array(atoms):
    atoms.set_array("phase", np.ones(8, complex))


def strange_info(atoms):
    atoms.info["stress"] = "none"


@pytest.mark.parametrize(
    ("spoil", "lost"),
    [
        (namesake, "its results"),
        (moved, "its results"),
        (array_namesake, "its results"),
        (strange_array, "its results and notes"),
        (strange_info, "its results and notes"),
    ],
)
def test_nothing_that_a_candidate_carries_makes_writing_fail(tmp_path, candidates, spoil, lost):
    chosen = [atoms.copy() for atoms in candidates[:2]]
    chosen[1].info["hal_candidate"] = 7
    spoil(chosen[1])
    notes = write_chosen(tmp_path / "chosen.xyz", chosen)
    assert notes == [f"structure 1 is written without {lost}"]
    first, second = ase.io.read(tmp_path / "chosen.xyz", index=":")
    assert first == chosen[0]
    assert np.array_equal(second.positions, chosen[1].positions)
    assert (second.cell == chosen[1].cell).all()
    assert second.info["hal_candidate"] == 7


def test_molecules_and_slabs(here):
    """Whatever the periodicity."""
    structures = [Atoms("Al2", [[0, 0, 0], [0, 0, 2.6]]), bulk("Cu"), bulk("Al", cubic=True)]
    structures[2].pbc = (True, True, False)
    ase.io.write("many.xyz", [*structures, molecule("H2O")])
    output = call("many.xyz", "model.json", "-n", 4, "-o", "chosen.xyz")
    assert "1 with unknown elements H, O; frame 3" in output
    assert len(re.findall("meV/atom uncertain", output)) == 3


def test_frames_that_are_no_structures_are_passed_over_and_named(here, candidates):
    broken = [atoms.copy() for atoms in candidates]
    broken[2].positions[3, 1] = np.nan
    ase.io.write("many.xyz", broken)
    text = Path("many.xyz").read_text().splitlines(keepends=True)
    text[10 * 4 + 2] = "Zz" + text[10 * 4 + 2][2:]  # frame 4, atom 0
    Path("many.xyz").write_text("".join(text))
    output = call("many.xyz", "model.json", "-n", 20, "-o", "chosen.xyz")
    assert "frame 2 is no structure: the position of atom 3 (" in output
    assert "frame 4 is no structure: atom 0: 'Zz' is no chemical symbol" in output
    taken = {atoms.info["hal_candidate"] for atoms in ase.io.read("chosen.xyz", index=":")}
    assert taken == {0, 1, 3, 5, 6, 7, 8}
