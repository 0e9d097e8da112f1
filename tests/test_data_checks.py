"""What checks of labelled data find and say, in Python, at the command line and in run files."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from datasets_emt import labelled, rattled
from typer.testing import CliRunner

from ase_hal import LinearCommittee, LinearFit, read_dataset
from ase_hal.ace import ACEBasis
from ase_hal.cli import app
from ase_hal.data import check_dataset
from ase_hal.data.reading import read_labelled
from ase_hal.data.report import check_files
from ase_hal.data.report_text import report_lines
from ase_hal.runfile import RunFile, RunFileError

RUNNER = CliRunner()


def copper(count: int = 16, seed: int = 0) -> list[Atoms]:
    return list(rattled("Cu", count, rng=np.random.default_rng(seed), repeat=2))


def changed(atoms: Atoms, **results: Any) -> Atoms:
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **{**atoms.calc.results, **results})
    return copy


def lone() -> Atoms:
    return labelled(Atoms("Cu", cell=[12.0] * 3, pbc=True))


def kinds(structures: list[Atoms], **options: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    report = check_dataset(structures, **options)
    return {f.kind: (f.severity, f.frames) for f in report.findings}


def test_a_clean_set_raises_no_alarm() -> None:
    report = check_dataset(copper())
    assert report.worst in (None, "note")
    assert report.labels == {"energy": 16, "forces": 16, "stress": 16}
    assert dict(report.atoms) == {"Cu": 128}
    assert report.sizes == (8, 8)


def test_the_report_counts_and_names() -> None:
    structures = [*copper(6), lone()]
    structures[1].info |= {"config_type": "crystal", "config_weight": 0.5}
    structures[2].info |= {"config_type": "crystal", "config_weight": 3.0}
    del structures[3].calc.results["forces"]
    del structures[4].calc.results["stress"]
    report = check_dataset(structures, force_bound=2.0)
    assert report.labels == {"energy": 7, "forces": 6, "stress": 6}
    assert report.lone_atoms["Cu"] == (pytest.approx(3.51), 6)
    assert report.types == {"crystal": 2}
    assert report.weights == {"config_weight": (2, 0.5, 3.0)}
    distances = [a.get_all_distances(mic=True)[np.triu_indices(8, 1)].min() for a in structures[:6]]
    distance, frame = report.closest["Cu", "Cu"]
    assert distance == pytest.approx(min(distances))
    assert frame == int(np.argmin(distances))
    forces = [np.abs(a.calc.results.get("forces", 0.0)).max() for a in structures]
    assert report.largest_force == (pytest.approx(max(forces)), int(np.argmax(forces)))
    assert report.left_out.damped == tuple(np.flatnonzero(np.array(forces) > 2.0))
    text = "\n".join(report_lines(report))
    for words in ("  7 of 1 to 8 atoms", "Cu 3.5100 eV (structure 6)", "crystal 2"):
        assert words in text
    assert "frame 3: no forces (1 of 7 structures)" in text
    assert json.loads(json.dumps(report.todict(), default=str))["labels"]["forces"] == 6


@pytest.mark.parametrize("factor", [160.2, 1602.0, -1602.0])
def test_large_stresses(factor: float) -> None:
    structures = copper(4)
    structures[2] = changed(structures[2], stress=factor * structures[2].calc.results["stress"])
    assert kinds(structures, consistency=False)["stress_size"] == ("likely", (2,))


@pytest.mark.parametrize("shift", [1000.0, -700.0])
def test_an_energy_that_is_far_off_is_named(shift: float) -> None:
    structures = [*copper(8), lone()]
    structures[5] = changed(structures[5], energy=structures[5].calc.results["energy"] + shift)
    assert kinds(structures, consistency=False)["energy_size"] == ("wrong", (5,))


def test_energies_of_all_electrons_are_no_outliers() -> None:
    """Whatever the zero of the energies of each element, in all compositions."""
    structures = list(rattled("Al", 12, rng=np.random.default_rng(1), second="Cu"))
    zeros = {"Al": -6500.0, "Cu": -45000.0}
    shifted = [
        changed(a, energy=a.calc.results["energy"] + sum(zeros[s] for s in a.symbols))
        for a in structures
    ]
    assert "energy_size" not in kinds(shifted, consistency=False)


def test_short_distances() -> None:
    structures = copper(4)
    for index, distance in ((1, 0.8), (3, 1.4)):
        broken = structures[index].copy()
        vector = broken.get_distance(0, 1, mic=True, vector=True)
        broken.positions[1] = broken.positions[0] + distance * vector / np.linalg.norm(vector)
        structures[index] = labelled(broken)
    findings = check_dataset(structures, consistency=False).findings
    short = {f.severity: f for f in findings if f.kind == "short_distance"}
    assert short["likely"].frames == (1,)
    assert short["note"].frames == (3,)
    assert "0.80 Å (Cu-Cu)" in short["likely"].message


def test_net_forces_and_fixed_atoms() -> None:
    structures = copper(3)
    forces = structures[1].calc.results["forces"].copy()
    forces[:3] = 0.0
    structures[1] = changed(structures[1], forces=forces)
    assert kinds(structures, consistency=False)["net_force"][1] == (1,)
    structures[1].set_constraint(FixAtoms([0, 1, 2]))
    report = check_dataset(structures, consistency=False)
    assert report.left_out.constrained == 9
    assert any(
        "9 of 72 force components are zeroed by constraints" in m for m in report.messages("note")
    )


def test_one_body_energies() -> None:
    structures = copper(4)
    assert kinds(structures, one_body={"Cu": 3.51}, consistency=False)["one_body"][0] == "note"
    assert "one_body" not in kinds([*structures, lone()], one_body={"Cu": 3.51}, consistency=False)
    for data, value in (([lone()], 3.6), ([], -2041.0)):
        found = kinds([*structures, *data], one_body={"Cu": value}, consistency=False)
        assert found["one_body"][0] == "wrong"
    contradicting = [*structures, lone(), changed(lone(), energy=3.9)]
    assert kinds(contradicting, consistency=False)["lone_atoms"] == ("wrong", (4, 5))


def test_weights_that_are_none() -> None:
    structures = copper(3)
    structures[2].info["config_weight"] = -1.0
    assert kinds(structures, consistency=False)["weights"] == ("wrong", (2,))


def test_unlabelled_structures_are_refused() -> None:
    structures = copper(3)
    structures[1].calc = None
    with pytest.raises(ValueError, match="structure 1: it has no labels"):
        check_dataset(structures)
    with pytest.raises(ValueError, match="the dataset is empty"):
        check_dataset([])


def test_structures_of_several_files_are_named_by_file(tmp_path: Path) -> None:
    structures = copper(6)
    structures[4] = changed(structures[4], energy=1e4)
    ase.io.write(tmp_path / "one.xyz", structures[:3])
    ase.io.write(tmp_path / "two.xyz", structures[3:])
    files = [read_labelled(tmp_path / name) for name in ("one.xyz", "two.xyz")]
    (message,) = check_files(files, consistency=False).messages("wrong")
    assert message.startswith("two.xyz, frame 1: energies up to +1,2")


def test_reading_logs_what_is_wrong(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    structures = copper(5)
    structures[3] = changed(structures[3], energy=-2e4)
    ase.io.write(tmp_path / "data.xyz", structures)
    with caplog.at_level(logging.WARNING):
        read_dataset(tmp_path / "data.xyz", check=False)
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        read_dataset(tmp_path / "data.xyz")
    assert "data.xyz, frame 3: energies up to" in caplog.text


# --- commands ---------------------------------------------------------------------------------


def test_check_command(tmp_path: Path) -> None:
    structures = copper()
    ase.io.write(tmp_path / "good.xyz", structures)
    done = RUNNER.invoke(app, ["check", str(tmp_path / "good.xyz"), "--strict"])
    assert done.exit_code == 0, done.output
    assert "Nothing is wrong as far as can be seen." in done.output
    structures[7] = changed(structures[7], energy=1e5)
    ase.io.write(tmp_path / "bad.xyz", structures)
    done = RUNNER.invoke(app, ["check", str(tmp_path / "bad.xyz")])
    assert done.exit_code == 1
    assert "WRONG: bad.xyz, frame 7: energies up to" in done.output
    done = RUNNER.invoke(app, ["check", str(tmp_path / "bad.xyz"), "--json"])
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert report["worst"] == "wrong"
    (wrong,) = (f for f in report["findings"] if f["kind"] == "energy_size")
    assert wrong["structures"] == ["bad.xyz, frame 7"]


def test_check_is_strict_where_that_is_asked_for(tmp_path: Path) -> None:
    structures = copper(4)
    structures[1] = changed(structures[1], stress=np.full(6, 3.0))
    ase.io.write(tmp_path / "data.xyz", structures)
    arguments = ["check", str(tmp_path / "data.xyz")]
    assert RUNNER.invoke(app, arguments).exit_code == 0
    assert RUNNER.invoke(app, [*arguments, "--strict"]).exit_code == 1
    assert RUNNER.invoke(app, ["check", str(tmp_path / "none.xyz")]).exit_code == 1


def test_fit_refuses_wrong_labels_before_it_fits(tmp_path: Path) -> None:
    structures = copper()
    structures[7] = changed(structures[7], energy=1e5)
    ase.io.write(tmp_path / "bad.xyz", structures)
    output = tmp_path / "model.json"
    arguments = ["fit", str(tmp_path / "bad.xyz"), "--basis", "small", "-o", str(output)]
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 1
    assert "nothing was fitted" in done.output
    assert not output.exists()
    assert RUNNER.invoke(app, [*arguments, "--no-check"]).exit_code == 0
    assert output.exists()
    for wrong in ("model.xyz", str(tmp_path / "nowhere" / "model.json")):
        done = RUNNER.invoke(app, [*arguments[:-1], wrong, "--no-check"])
        assert done.exit_code == 1
        assert "written" not in done.output


def test_fit_tells_what_it_leaves_out(tmp_path: Path) -> None:
    structures = copper()
    for index in (0, 1, 2, 3):
        structures[index].info["config_type"] = "start"
    ase.io.write(tmp_path / "data.xyz", structures)
    bound = 0.8 * max(np.abs(a.calc.results["forces"]).max() for a in structures)
    arguments = [
        "fit", str(tmp_path / "data.xyz"), "--basis", "small", "--force-bound", f"{bound:.3f}",
        "--weights-of", "start=5,0.5,0", "-o", str(tmp_path / "model.json"),
    ]  # fmt: skip
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert f"structures, are above {float(f'{bound:.3f}'):g} eV/Å and left out" in words
    assert "all their labels: " in done.output
    assert LinearCommittee.read(tmp_path / "model.json").elements == ("Cu",)
    done = RUNNER.invoke(app, [*arguments[:-4], "--weights-of", "strat=1,1,1", *arguments[-2:]])
    assert done.exit_code == 1
    assert "no structure has config_type 'strat'; there are start" in done.output


def test_fit_reads_virials_and_other_names(tmp_path: Path) -> None:
    structures = copper()
    for atoms in structures:
        results = atoms.calc.results
        atoms.info["REF_energy"] = results["energy"]
        atoms.arrays["REF_forces"] = results["forces"]
        atoms.info["REF_virial"] = -atoms.get_volume() * np.array(results["stress"])
        atoms.calc = None
    ase.io.write(tmp_path / "data.xyz", structures)
    arguments = [
        "fit", str(tmp_path / "data.xyz"), "--basis", "small", "-o", str(tmp_path / "model.json"),
        "--energy-key", "REF_energy", "--forces-key", "REF_forces", "--virial-key", "REF_virial",
    ]  # fmt: skip
    done = RUNNER.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "energy 16, forces 16, stress 16" in done.output


# --- run files ---------------------------------------------------------------------------------


def run_file(tmp_path: Path, structures: list[Atoms], **sections: Any) -> Path:
    ase.io.write(tmp_path / "seeds.xyz", structures)
    document: dict[str, Any] = {
        "elements": ["Cu"],
        "seed": 1,
        "seeds": {"file": "seeds.xyz", "energy_key": "energy"},
        "reference": {"name": "emt"},
        "basis": {"preset": "small", "rcut": "5 Å"},
        "explore": {"stages": [{"name": "warm", "temperature": "300 K", "tau_rel": 0.1,
                                "trigger": {"criterion": "relative", "tolerance": 0.5}}]},
    }  # fmt: skip
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**document, **sections}))
    return path


def test_a_run_refuses_wrong_seeds_before_anything_starts(tmp_path: Path) -> None:
    structures = copper()
    structures[7] = changed(structures[7], energy=1e5)
    path = run_file(tmp_path, structures)
    with pytest.raises(RunFileError, match=r"seeds.file: seeds.xyz, frame 7: energies up to"):
        RunFile.read(path).check_data()
    done = RUNNER.invoke(app, ["run", str(path), "--directory", str(tmp_path / "out")])
    assert done.exit_code != 0
    assert "seeds.xyz, frame 7" in done.output
    assert not (tmp_path / "out").exists()
    done = RUNNER.invoke(app, ["run", str(path), "--check"])
    assert done.exit_code == 2
    assert "has wrong labels in seeds" in done.output
    seeds = {"file": "seeds.xyz", "energy_key": "energy", "check": False}
    RunFile.read(run_file(tmp_path, structures, seeds=seeds)).check_data()


def test_one_body_energies_of_a_run_are_compared_with_its_seeds(tmp_path: Path) -> None:
    structures = [*copper(8), lone()]
    path = run_file(tmp_path, structures, fit={"one_body": {"Cu": "3.2 eV"}})
    with pytest.raises(RunFileError, match="one_body says 3.2000 eV for Cu"):
        RunFile.read(path).check_data()
    RunFile.read(run_file(tmp_path, structures, fit={"one_body": {"Cu": "3.51 eV"}})).check_data()


def test_lone_atoms_among_the_seeds(tmp_path: Path) -> None:
    """No stage has to suit them, and a run of nothing else is refused."""
    stages = {"stages": [{"name": "warm", "temperature": "300 K", "tau_rel": 0.1,
                          "trigger": {"criterion": "relative", "tolerance": 0.5},
                          "swap": {"interval": 10}}]}  # fmt: skip
    alloy = list(rattled("Al", 4, rng=np.random.default_rng(1), second="Cu"))
    both = {"elements": ["Al", "Cu"], "explore": stages}
    RunFile.read(run_file(tmp_path, [*alloy, lone()], **both))
    with pytest.raises(RunFileError, match="no atom of the 2 structures to start from"):
        RunFile.read(run_file(tmp_path, [lone(), lone()]))


def test_kinds_of_structures_have_weights(tmp_path: Path) -> None:
    structures = copper(4)
    structures[1].info["config_type"] = "strained"
    table = {"strained": {"energy": 3.0}, "warm": {"forces": 0.5}}
    runfile = RunFile.read(run_file(tmp_path, structures, fit={"weights": {"types": table}}))
    weights = runfile.fit().weights
    assert weights(runfile.seeds()[1]).energy == 3.0
    assert weights(runfile.seeds()[0]).energy == 15.0
    structures[0].info["hal_stage"] = "warm"
    assert weights(structures[0]).forces == 0.5
    wrong = {"weights": {"types": {"straind": {"energy": 3.0}}}}
    with pytest.raises(RunFileError, match="fit.weights.types.straind: is neither .*'strained'"):
        RunFile.read(run_file(tmp_path, structures, fit=wrong))


def test_strange_lone_atoms() -> None:
    """Ions tell no one-body energies, energies of another kind are refused."""
    structures, ion = copper(6), lone()
    ion.info["charge"] = 1
    ion.calc.results["energy"] += 7.7
    assert kinds([*structures, ion], consistency=False)["lone_ions"] == ("likely", (6,))
    report = check_dataset([*structures, ion], consistency=False)
    assert not report.lone_atoms
    fitted = LinearFit(copper_basis())([*structures, ion], rng=np.random.default_rng(0))
    assert fitted.baseline.one_body["Cu"] != pytest.approx(ion.calc.results["energy"], abs=0.1)
    other = changed(lone(), energy=lone().calc.results["energy"] + 27.7)
    assert kinds([*structures, other], consistency=False)["one_body"][0] == "wrong"
    with pytest.raises(ValueError, match="lone atoms have 31.21 eV per atom for structures with"):
        LinearFit(copper_basis())([*structures, other], rng=np.random.default_rng(0))
    pulled = changed(lone(), forces=np.ones((1, 3)))
    assert kinds([*structures, pulled], consistency=False)["lone_forces"] == ("likely", (6,))


def copper_basis() -> ACEBasis:
    return ACEBasis(("Cu",), rcut=5.0, nradmax_by_orders=[4], lmax_by_orders=[0])


def test_structures_that_a_model_hardly_sees_are_named() -> None:
    dimer = labelled(Atoms("Cu2", [[0, 0, 0], [4.9, 0, 0]]))
    data = [*copper(6), dimer]
    assert kinds(data, cutoff=5.0, consistency=False)["nearly_alone"] == ("likely", (6,))
    assert "nearly_alone" not in kinds([*data, lone()], cutoff=5.0, consistency=False)
    assert "nearly_alone" not in kinds(copper(6), cutoff=5.0, consistency=False)


@pytest.mark.parametrize("options", [{"cutoff": 0.0}, {"cutoff": np.nan}, {"force_bound": 0.0}])
def test_options_of_checks(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="force_bound and cutoff are above 0"):
        check_dataset(copper(2), **options)
