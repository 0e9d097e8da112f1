"""The run file, the script and the study of LCO run, shortened."""

import json
import re
import runpy
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml
from free_energy_cases import l1_2

import ase_hal.free_energy_run.run as run_module
from ase_hal import free_energy
from ase_hal.free_energy import PolynomialSurface, write_order_parameters
from ase_hal.free_energy.surface_files import write_surface
from ase_hal.free_energy_run.run import run
from ase_hal.free_energy_run.runfile import FreeEnergyRunFile

ROOT = Path(__file__).parent.parent
QUICK = ROOT / "examples" / "lco" / "quick.yaml"


def execute(*arguments, folder):
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_every_run_file_is_valid():
    brass = FreeEnergyRunFile.read(ROOT / "examples" / "b2" / "run.yaml")
    assert "2 order parameters, 2 variants, Monte Carlo of 1024 sites" in brass.summary()
    for path in (ROOT / "examples" / "lco").glob("*.yaml"):
        if "idnn, degree" in path.read_text() and find_spec("torch") is None:
            continue
        assert "12 variants" in FreeEnergyRunFile.read(path).summary()


def test_structures_of_brass_are_those_that_the_example_writes(tmp_path):
    brass = ROOT / "examples" / "b2"
    execute(brass / "brass.py", folder=tmp_path)
    for name in ("crystal.xyz", "ordering.xyz"):
        assert (tmp_path / name).read_text() == (brass / name).read_text()


def test_every_key_of_the_documentation_exists():
    text = (ROOT / "docs" / "free_energies.md").read_text()
    rows = re.findall(r"^\| `([\w.\[\]]+)`", text, re.MULTILINE)
    sections = {row.split(".")[0].removesuffix("[]") for row in rows if "(" not in row}
    from ase_hal.free_energy_run.runfile import Settings

    known = set(Settings.model_fields)
    assert known <= sections, known - sections


@pytest.mark.slow
def test_quick(tmp_path):
    document = yaml.safe_load(QUICK.read_text())
    document["monte_carlo"] |= {"repeat": [1, 1, 1], "max_sweeps": 500, "precision": 0.02}
    document |= {"candidates": 300, "stopping": {"rounds": 2}}
    document["composition_curve"]["points"] = 3
    document["fit"]["composition_degree"] = 4
    for criterion in (*document["criteria"], *document["test"]["criteria"]):
        criterion["count"] = 2
    document["test"]["candidates"] = 300
    path = tmp_path / "quick.yaml"
    path.write_text(yaml.safe_dump(document))
    directory = run(path, tmp_path / "run")
    for file in ("points.jsonl", "test.jsonl", "surface.npz", "report/index.html"):
        assert (directory / file).stat().st_size > 0


@pytest.mark.slow
def test_the_script_of_the_documentation(tmp_path):
    text = (ROOT / "docs" / "free_energies.md").read_text()
    block, reading = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    script = tmp_path / "script.py"
    short = block.replace("2e-3, max_sweeps=3000", "0.05, max_sweeps=500")
    script.write_text(short.replace("count=40", "count=5").replace("rounds=3", "rounds=2"))
    assert execute(script, folder=tmp_path).startswith("0 ")
    assert (tmp_path / "surface.npz").exists()
    surface = PolynomialSurface.read(tmp_path / "surface.npz")
    (tmp_path / "brass").mkdir()
    write_surface(surface, tmp_path / "brass" / "surface")
    write_order_parameters(l1_2(), tmp_path / "brass" / "order_parameters.json")
    script.write_text(reading + "print(surface.dimension, order_parameters.dimension)")
    assert execute(script, folder=tmp_path) == "7 4\n"


def test_every_name_is_documented_outside_of_the_code():
    files = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.py")]
    words = set(re.findall(r"\w+", " ".join(path.read_text() for path in files)))
    assert set(free_energy.__all__) <= words, set(free_energy.__all__) - words


@pytest.mark.slow
def test_the_study_goes_on_and_prints_tables(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run_module, "write_report", lambda directory: None)
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(
        "study --scale 0.005 --rounds 2 --fit polynomial --repeat 1 --precision 0.05 "
        "--max-sweeps 500 --candidates 200 --workers 1 --sets"
    )
    study = str(ROOT / "benchmarks" / "lco_study.py")
    monkeypatch.syspath_prepend(ROOT / "benchmarks")  # as it is where a script is run
    sets = ("billiard_2d", "wells_vertices", "novelty_r2")
    for these in (sets[:1], sets):
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [study, *arguments, *these])
        runpy.run_path(study, run_name="__main__")
    text = capsys.readouterr().out
    assert "billiard_2d-300K-seed1 round" not in text  # it is finished
    tables = text[text.index("Table 1") :]
    assert re.search(r"wells vertices \| 300 \| 1 \| \d+", tables)
    assert re.search(r"novelty r2 \| 300 \| 1 \| \d+", tables)
    results = (tmp_path / "study" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["set"] for line in results] == list(sets)
    shared = (tmp_path / "study" / "wells_vertices-300K-seed1" / "test.jsonl").read_bytes()
    own = (tmp_path / "study" / "billiard_2d-300K-seed1" / "test.jsonl").read_bytes()
    assert shared == own
