"""The labels of a run: one of them is compared with the energy, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT
from label_calculators import rattled
from small_runs import SMALL_RUN, Gradients, fingerprint
from typer.testing import CliRunner

import ase_hal.run
from ase_hal.cli import app
from ase_hal.frames import Frames
from ase_hal.journal import Log
from ase_hal.run_labels import RunLabels, tagged


class Session:
    """One session of a run that labels some structures."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.options = {"workers": 2, "timeout": None, "check_forces": True} | options
        self.events: list[dict[str, Any]] = []

    def label(self, structures: list[Atoms], calculator: Any) -> list[Atoms]:
        with RunLabels(
            self.directory,
            emit=lambda event, **record: self.events.append({"event": event, **record}),
            blind_errors=lambda atoms: {},
            seconds={},
            **self.options,
        ) as labels:
            return labels.label(structures, calculator, on_failure=lambda failure: None)

    def checked(self) -> list[tuple[int, int]]:
        return [(e["iteration"], e["index"]) for e in self.events if e.get("forces_checked")]


def structures(count: int) -> list[Atoms]:
    return [tagged(atoms, 1, index) for index, atoms in enumerate(rattled(count))]


def asked(directory: Path) -> list[str]:
    return (directory / "asked").read_text().split()


def calculator(directory: Path, *, mended: bool) -> Gradients:
    if mended:
        (directory / "mended").touch()
    return Gradients(str(directory / "asked"), str(directory / "mended"))


def test_the_first_label_of_a_run_is_compared_and_no_other(tmp_path: Path) -> None:
    reference = calculator(tmp_path, mended=True)
    session = Session(tmp_path)
    out = session.label(structures(3), reference)
    assert session.checked() == [(1, 0)]
    n_asked = len(asked(tmp_path))
    assert n_asked > 3 + 4
    assert not any("checked" in key for atoms in out for key in atoms.info)
    plain = Session(tmp_path / "plain", check_forces=False)
    (tmp_path / "plain").mkdir()
    plain.label(structures(3), EMT())
    frames = [(d / "dataset.extxyz").read_bytes() for d in (tmp_path, tmp_path / "plain")]
    assert frames[0] == frames[1]
    # The next session knows, and says the same about what it knows.
    again = Session(tmp_path, checked=session.checked())
    again.label(structures(5), reference)
    assert len(asked(tmp_path)) == n_asked + 2
    assert again.checked() == [(1, 0)]


def test_a_wrong_reference_ends_the_run_at_once(tmp_path: Path) -> None:
    session = Session(tmp_path)
    with pytest.raises(ValueError, match="the reference cannot be learned from: forces are not"):
        session.label(structures(3), calculator(tmp_path, mended=False))
    (failed,) = Frames.read(tmp_path / "failed.extxyz")
    assert failed.info["hal_failure"].startswith("forces are not the derivative of the energy")
    assert Frames.read(tmp_path / "dataset.extxyz") == []
    assert [event["event"] for event in session.events] == ["failure"]
    first = {fingerprint(structures(1)[0])}
    assert not {fingerprint(atoms) for atoms in structures(3)[1:]} & set(asked(tmp_path))
    assert first <= set(asked(tmp_path))


def test_a_mended_reference_is_asked_about_the_same_structure(tmp_path: Path) -> None:
    def fails(atoms: Atoms) -> Atoms:
        atoms.positions[1] = atoms.positions[0]  # no energy that could be compared
        return atoms

    given = [fails(structures(1)[0]), *structures(3)[1:]]
    for _ in range(2):  # it stays wrong, and that is found again
        with pytest.raises(ValueError, match="structure 1 of iteration 1, in failed.extxyz"):
            Session(tmp_path).label(given, calculator(tmp_path, mended=False))
        failed = Frames.read(tmp_path / "failed.extxyz")
        assert [atoms.info["hal_index"] for atoms in failed] == [0, 1]
    session = Session(tmp_path)
    out = session.label(given, calculator(tmp_path, mended=True))
    assert [atoms.info["hal_index"] for atoms in out] == [1, 2]
    assert session.checked() == [(1, 1)]
    (failed,) = Frames.read(tmp_path / "failed.extxyz")
    assert failed.info["hal_index"] == 0


class Unconverged(EMT):
    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.converged = False


def test_unconverged_labels(tmp_path: Path) -> None:
    session = Session(tmp_path, check_forces=False)
    assert session.label(structures(2), Unconverged()) == []
    for atoms in Frames.read(tmp_path / "failed.extxyz"):
        assert atoms.info["hal_failure"] == "did not converge (Unconverged.converged says so)"
    (tmp_path / "allowed").mkdir()
    session = Session(tmp_path / "allowed", check_forces=True, allow_unconverged=True)
    assert len(session.label(structures(2), Unconverged())) == 2


@pytest.mark.slow
def test_a_whole_run_with_a_reference_that_has_to_be_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ase_hal.run, "write_report", lambda directory: directory)
    document = {key: SMALL_RUN[key] for key in SMALL_RUN if key not in ("test", "final")}
    document["reference"] = {
        "import": "small_runs:Gradients",
        "parameters": {"asked": "./asked", "mended": "./mended"},
        "timeout": "120 s",
        "check_forces": True,
    }
    document["loop"] = {"select": 1, "max_iterations": 1}

    def run(name: str) -> Any:
        (tmp_path / "run.yaml").write_text(yaml.safe_dump(document))
        command = ["run", str(tmp_path / "run.yaml"), "--directory", str(tmp_path / name)]
        return CliRunner().invoke(app, command)

    result = run("run")
    assert result.exit_code == 1
    words = " ".join(result.output.split())
    assert "the reference cannot be learned from: forces are not the derivative" in words
    assert "(ratio -1), as if with the opposite sign" in words
    log = Log.read(tmp_path / "run" / "log.jsonl")
    assert [event["event"] for event in log] == ["start", "failure"]
    (tmp_path / "mended").touch()
    assert run("run").exit_code == 0
    log = Log.read(tmp_path / "run" / "log.jsonl")
    labels = [event for event in log if event["event"] == "label"]
    assert [event.get("forces_checked", False) for event in labels] == [True] + [False] * (
        len(labels) - 1
    )
    # Going on, and leaving the comparison out, are no other runs.
    document["loop"] = {"select": 1, "max_iterations": 2}
    document["reference"]["check_forces"] = False
    before = len(asked(tmp_path))
    assert run("run").exit_code == 0
    dataset = Frames.read(tmp_path / "run" / "dataset.extxyz")
    assert len(asked(tmp_path)) - before == len(dataset) - len(labels)
    # And the dataset is that of a run without it.
    assert run("plain").exit_code == 0
    plain = Frames.read(tmp_path / "plain" / "dataset.extxyz")
    for atoms, other in zip(dataset, plain, strict=True):
        np.testing.assert_array_equal(atoms.positions, other.positions)
        np.testing.assert_array_equal(atoms.get_forces(), other.get_forces())
        assert atoms.info == other.info
