"""Whole runs whose reference calculations fail, hang or give nonsense."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from label_calculators import assert_gone, descendants
from small_runs import SMALL_RUN, fingerprint, is_awkward
from typer.testing import CliRunner

import ase_hal.run
from ase_hal.cli import app
from ase_hal.frames import Frames
from ase_hal.journal import Log
from ase_hal.report.models import Models
from ase_hal.report.record import read_run
from ase_hal.report.tables import status, summary

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its figures take longer than a run, and are tested elsewhere."""
    monkeypatch.setattr(ase_hal.run, "write_report", lambda directory: directory)


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where labels have their private folders."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def run(folder: Path, *, code: int = 0, **changes: Any) -> str:
    """What the command writes about a run in ``folder/run``."""
    keep = {key: SMALL_RUN[key] for key in SMALL_RUN if key not in ("test", "final")}
    (folder / "run.yaml").write_text(yaml.safe_dump(keep | changes))
    result = CliRunner().invoke(
        app, ["run", str(folder / "run.yaml"), "--directory", str(folder / "run")]
    )
    assert result.exit_code == code, result.output
    return result.output


def reference(name: str, *, timeout: str = "120 s", **parameters: str) -> dict[str, Any]:
    return {"import": f"small_runs:{name}", "parameters": parameters, "timeout": timeout}


@pytest.mark.parametrize(
    ("name", "timeout", "reason"),
    [
        ("raising", "120 s", r"CalculationFailed: SCF did not converge"),
        ("hanging", "5 s", r"timed out after 5 s"),
        ("nonsensical", "120 s", r"ValueError: forces not finite \(24 of 24 numbers\)"),
    ],
)
def test_nothing_is_lost(name: str, timeout: str, reason: str, tmp_path: Path, scratch: Path):
    before = descendants()
    output = run(
        tmp_path,
        reference=reference(name, timeout=timeout, asked="./asked"),
        loop={"select": 2, "max_labels": 6},
    )
    directory = tmp_path / "run"
    dataset = Frames.read(directory / "dataset.extxyz")
    failed = Frames.read(directory / "failed.extxyz")
    assert len(dataset) >= 6
    assert len(failed) >= 3
    assert {atoms.info["hal_iteration"] > 0 for atoms in failed} == {True, False}
    for atoms in failed:
        assert is_awkward(atoms)
        assert re.fullmatch(reason, atoms.info["hal_failure"])
        assert atoms.calc is None
    assert not any(is_awkward(atoms) for atoms in dataset)
    # What was asked for is in one of the files, once.
    kept = [fingerprint(atoms) for atoms in (*dataset, *failed)]
    assert sorted(kept) == sorted((tmp_path / "asked").read_text().split())
    assert len(set(kept)) == len(kept)

    log = Log.read(directory / "log.jsonl")
    assert log[-1]["event"] == "end"
    assert log[-1]["finished"] in ("labels", "converged")
    assert log[-1]["n_structures"] == len(dataset)
    assert log[-1]["n_failed"] == len(failed)
    failures = [event for event in log if event["event"] == "failure"]
    assert [(e["iteration"], e["index"]) for e in failures] == [
        (atoms.info["hal_iteration"], atoms.info["hal_index"]) for atoms in failed
    ]
    assert ("small_runs.py" in failures[0]["details"]) == (name == "raising")
    assert f"{len(failed)} reference calculations failed" in output
    numbers = dict(summary(read_run(directory), Models({})))
    assert numbers["failed labels"] == str(len(failed))
    assert list(scratch.iterdir()) == []
    assert_gone(descendants() - before)


def test_a_reference_that_breaks_down_ends_the_run(tmp_path: Path) -> None:
    output = run(
        tmp_path,
        reference={"import": "small_runs:SeedsOnly", "timeout": "120 s"},
        loop={"select": 1},
    )
    assert "no reference calculation of the last ten iterations succeeded" in output
    record = read_run(tmp_path / "run")
    assert len(record.failures) == 10
    assert status(record).startswith("Given up")
    assert len(record.dataset) == 4, "the seeds"


def test_seeds_are_tried_again_when_none_could_be_labelled(tmp_path: Path) -> None:
    changes = {
        "reference": reference("licensed", asked="./asked", licence="./licence"),
        "loop": {"max_iterations": 1},
    }
    output = run(tmp_path, code=1, **changes)
    assert "none of the 4 seeds could be labelled" in output
    assert "CalculationFailed: no licence" in output
    failed = tmp_path / "run" / "failed.extxyz"
    assert len(Frames.read(failed)) == 4
    (tmp_path / "licence").touch()
    run(tmp_path, **changes)
    assert Frames.read(failed) == []
    dataset = Frames.read(tmp_path / "run" / "dataset.extxyz")
    assert sum(atoms.info["hal_iteration"] == 0 for atoms in dataset) == 4
