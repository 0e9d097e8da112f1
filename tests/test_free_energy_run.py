"""A run in a directory: from its file, interrupted, reported, shown."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import shutil
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import ase.io
import free_energy_runs
import numpy as np
import pytest
import yaml
from free_energy_cases import l1_2
from free_energy_runs import alloy as neighbouring
from free_energy_runs import changed, one_order_parameter, write_structures, written
from rich.console import Console
from typer.testing import CliRunner

import ase_hal.free_energy_run.run as run_module
from ase_hal.cli import app
from ase_hal.free_energy import (
    Point,
    PolynomialSurface,
    Proposal,
    Sample,
    SurfaceCommittee,
    UmbrellaMC,
    read_order_parameters,
    read_surface,
    write_surface,
)
from ase_hal.free_energy.branches import CurveTask
from ase_hal.free_energy.learning import MISSED
from ase_hal.free_energy.paths import Path as LowestPath
from ase_hal.free_energy.phase_diagram import Isotherm
from ase_hal.free_energy.points import FailedPoint
from ase_hal.free_energy_run.curve import Curve
from ase_hal.free_energy_run.display import RunDisplay
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.free_energy_run.report import write_report
from ase_hal.free_energy_run.report.curves import curve_section
from ase_hal.free_energy_run.report.phases import Errors, Line, is_within_error
from ase_hal.free_energy_run.report.summary import summary
from ase_hal.free_energy_run.run import run
from ase_hal.free_energy_run.runfile import FreeEnergyRunFile
from ase_hal.free_energy_run.store import PointStore
from ase_hal.journal import Log, remove_leftovers

SETS = ("points.jsonl", "test.jsonl", "curve.jsonl", "points_proposals.jsonl")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a run that was left alone, without the report, which costs most time."""
    folder = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "write_report", lambda directory: None)
        return run(written(folder), folder / "run")


@pytest.fixture
def no_report(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The directories whose reports would have been written."""
    wanted: list[Path] = []
    monkeypatch.setattr(run_module, "write_report", wanted.append)
    return wanted


def contents(directory: Path) -> dict[str, list[dict[str, Any]]]:
    """What a run has found, in an order that does not depend on who was first."""
    return {
        name: sorted(Log.read(directory / name), key=lambda record: json.dumps(record))
        for name in SETS
    }


# --- what is there at the end ------------------------------------------------------------


def test_everything_is_on_disk(finished: Path) -> None:
    points = Log.read(finished / "points.jsonl")
    events = Log.read(finished / "log.jsonl")
    rounds = [event for event in events if event["event"] == "round"]
    assert [event["round"] for event in rounds] == [0, 1, 2]
    assert len(points) == rounds[-1]["n_points"]
    assert {point["temperature_K"] for point in points} == {600.0, 800.0}
    assert {point["criterion"] for point in points} == {
        "global", "wells", "high_error", "committee"
    }  # fmt: skip
    assert set(rounds[-1]["test"]) == {"section", "lowest_path"}
    assert events[-1]["event"] == "end"
    assert events[-1]["finished"] == "rounds"
    assert len(Log.read(finished / "curve.jsonl")) == 2 * 2 * 3
    surface = read_surface(finished / "surface")
    assert isinstance(surface, PolynomialSurface)
    assert len(surface.members) == 2


def test_report_has_the_figures_of_the_paper(finished: Path) -> None:
    page = write_report(finished).read_text()
    pictures = {path.stem for path in (finished / "report").glob("*.png")}
    assert pictures == {
        "composition_order", "criteria", "curve", "errors", "path", "phases", "two_orders"
    }  # fmt: skip
    assert page.count("<img ") == len(pictures)
    assert "Finished: the last round asked for is done." in page
    assert "nan" not in page.split("base64")[0].lower()


@pytest.mark.slow
def test_one_order_parameter_is_enough(tmp_path: Path) -> None:
    """B2: from structures and a Hamiltonian to the report, with a landscape and a phase diagram."""
    file = tmp_path / "b2.yaml"
    file.write_text(yaml.safe_dump(one_order_parameter(tmp_path)))
    directory = run_module.run(file, tmp_path / "b2")
    page = (directory / "report" / "index.html").read_text()
    pictures = {path.stem for path in (directory / "report").glob("*.png")}
    assert pictures == {"composition_order", "criteria", "curve", "errors", "path", "phases"}
    assert "Free energy over two order parameters" not in page


def test_what_is_far_from_all_points_is_called_a_guess() -> None:
    """A tangent counts as known where there are points at both of its ends."""
    eta = np.array([[x, 0.0] for x in np.linspace(0, 1, 11)])
    isotherm = Isotherm(300.0, LowestPath(eta, np.zeros(11)), ((0, 3), (5, 8)))
    known = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 0], dtype=bool)
    line = Line(isotherm, known, np.arange(11) > 7)
    assert [(kind, round(a, 1), round(b, 1)) for kind, a, b in line.pieces()] == [
        ("no point near", 0.0, 0.3),
        ("disordered", 0.3, 0.5),
        ("two phases", 0.5, 0.8),
        ("ordered", 0.8, 0.9),
        ("no point near", 0.9, 1.0),
    ]
    assert line.pairs() == "0.000 – 0.300 (no point near), 0.500 – 0.800"
    unsure = replace(line, doubtful=frozenset([(0, 3), (5, 8)]))
    assert unsure.pieces()[2] == ("within the error", *line.pieces()[2][1:])
    assert unsure.pairs() == "0.000 – 0.300 (no point near), 0.500 – 0.800 (within the error)"


@pytest.mark.parametrize(("error", "doubtful"), [(0.9e-3, False), (1.1e-3, True)])
def test_a_tangent_that_errors_could_make_is_doubtful(error: float, doubtful: bool) -> None:
    """A hump that an error of 1 meV makes of a flat free energy, one half up and one half down."""
    x = np.linspace(0.4, 0.6, 41)
    energy = 1e-3 * (0.1 - np.abs(x - 0.5))
    path = LowestPath(np.column_stack([x, np.zeros(41)]), energy)
    noise = np.array([error, -error])
    errors = Errors(np.array([0.45, 0.9]), np.square(noise), 0.0)
    assert is_within_error(path, (0, 40), errors) == doubtful
    assert is_within_error(path, (0, 40), replace(errors, typical=1.1e-3))


def test_report_of_a_run_that_goes_on(finished: Path, tmp_path: Path) -> None:
    directory = tmp_path / "run"
    directory.mkdir()
    shutil.copy(finished / "order_parameters.json", directory)
    (directory / "log.jsonl").write_bytes((finished / "log.jsonl").read_bytes().splitlines(True)[0])
    page = write_report(directory).read_text()
    assert "the first round is not complete yet" in page
    for wrong in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(ValueError, match="is not a directory|no log.jsonl"):
            write_report(wrong)


def test_run_again_does_nothing(finished: Path, no_report: list[Path]) -> None:
    before = (finished / "points.jsonl").read_bytes()
    seen: list[Any] = []
    run(finished.parent / "tiny.yaml", finished, on_event=seen.append)
    assert [event["event"] for event in seen] == ["end"]
    assert no_report == [finished]
    assert (finished / "points.jsonl").read_bytes() == before


def test_more_rounds_go_on_where_the_run_ended(
    finished: Path, tmp_path: Path, no_report: list[Path]
) -> None:
    short = tmp_path / "run"
    for n_rounds, stopping in ((1, {"rounds": 3, "target": 1e9}), (2, {"rounds": 2})):
        run(written(tmp_path, changed("stopping", to=stopping), "short.yaml"), short)
        assert len({point["round"] for point in Log.read(short / "points.jsonl")}) == n_rounds
    run(written(tmp_path), short)
    assert contents(short) == contents(finished)
    rounds = [e["round"] for e in Log.read(short / "log.jsonl") if e["event"] == "round"]
    assert rounds == [0, 1, 2]
    with pytest.raises(ValueError, match="a run of another file: seed differ"):
        run(written(tmp_path, changed("seed", to=5), "other.yaml"), short)


def test_another_hamiltonian_or_ordering_of_the_same_name_is_refused(
    finished: Path, tmp_path: Path, no_report: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run file names may change; a run does not go on with something else."""
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    longer = written(tmp_path, changed("stopping", to={"rounds": 4}))
    before = {path: path.read_bytes() for path in directory.glob("*.*")}
    with monkeypatch.context() as patch:
        patch.setattr(free_energy_runs, "alloy", lambda lattice: neighbouring(lattice, 0.051))
        with pytest.raises(ValueError, match="holds points of another Hamiltonian: "):
            run(longer, directory)
    ordering = ase.io.read(tmp_path / "ordering.xyz")
    ordering.symbols = ["Cu", "Cu", "Au", "Au"]  # L1_0
    ase.io.write(tmp_path / "ordering.xyz", ordering)
    with pytest.raises(ValueError, match="holds points of another ordering or crystal: "):
        run(longer, directory)
    assert {path: path.read_bytes() for path in directory.glob("*.*")} == before
    assert not no_report
    write_structures(tmp_path)  # the ordering as it was
    run(longer, directory)
    assert len(Log.read(directory / "points.jsonl")) > len(Log.read(finished / "points.jsonl"))


# --- interruptions -----------------------------------------------------------------------


def _killed_at(number: int, file: Path, directory: Path) -> None:
    """Run, and kill this process when it is about to put the n-th thing on the disk."""
    done = 0

    def fsync(descriptor: int) -> None:
        nonlocal done
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.fsync = fsync  # type: ignore[assignment]
    run_module.write_report = lambda directory: directory  # type: ignore[assignment]
    run(file, directory)


def killed_at(number: int, file: Path, directory: Path) -> bool:
    """Whether a run that is killed so has been killed before it had ended."""
    process = multiprocessing.get_context("fork").Process(
        target=_killed_at, args=(number, file, directory)
    )
    process.start()
    process.join(120)
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode != 0


class Broken:
    """Monte Carlo that a licence server stops after so many points."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, n_good: int) -> None:
        self.left = n_good
        original = UmbrellaMC._run_window

        def window(calculator: UmbrellaMC, *arguments: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("no licence")
            return original(calculator, *arguments)

        monkeypatch.setattr(UmbrellaMC, "_run_window", window)


@pytest.mark.parametrize("n_good", [0, 20])
def test_a_broken_sampler_loses_nothing(
    n_good: int,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    no_report: list[Path],
) -> None:
    document = changed("workers", to=1)
    del document["composition_curve"], document["test"]
    file = written(tmp_path, document)
    with monkeypatch.context() as patch:
        Broken(patch, n_good)
        if n_good:
            run(file, tmp_path / "run")
            end = Log.read(tmp_path / "run" / "log.jsonl")[-1]
            assert (end["finished"], end["n_points"]) == ("failures", 20)
        else:
            # what makes every point fail may be the Hamiltonian, which then is mended
            patch.setattr(free_energy_runs, "alloy", lambda lattice: neighbouring(lattice, 9.0))
            with pytest.raises(ValueError, match="none of the first 20 points succeeded: no lic"):
                run(file, tmp_path / "run")
    assert {r["reason"] for r in Log.read(tmp_path / "run" / "points_failed.jsonl")} == {
        "no licence"
    }
    # once the licence is there again, the run goes on as if nothing had been
    run(file, tmp_path / "run")
    assert not Log.read(tmp_path / "run" / "points_failed.jsonl")
    mine, theirs = (
        sorted(Log.read(d / "points.jsonl"), key=lambda r: (r["round"], r["index"]))
        for d in (tmp_path / "run", finished)
    )
    assert mine == theirs


@pytest.mark.slow
def test_a_run_killed_again_and_again_gives_the_same_data(finished: Path, tmp_path: Path) -> None:
    file, directory = written(tmp_path), tmp_path / "run"
    rng = np.random.default_rng(8)
    kills = 0
    while killed_at(int(rng.integers(5, 40)), file, directory):
        kills += 1
        if kills % 2:  # what a write that was cut short leaves behind
            for name in ("points.jsonl", "log.jsonl"):
                with (directory / name).open("ab") as torn:
                    torn.write(b'{"event": "rou')
    assert kills >= 4
    assert contents(directory) == contents(finished)
    for name in ("surface.npz", "rounds/0001/surface.npz"):
        assert (directory / name).read_bytes() == (finished / name).read_bytes()
    mine, theirs = (LearningRun.read(path) for path in (directory, finished))
    assert [event["train"] for event in mine.rounds] == [e["train"] for e in theirs.rounds]
    assert 4 <= mine.n_starts <= kills + 1  # some were killed before they had begun
    assert not list(directory.glob("rounds/*/.*"))


def test_two_runs_in_one_directory_are_refused(finished: Path) -> None:
    from ase_hal.journal import DirectoryInUse, locked

    with locked(finished), pytest.raises(DirectoryInUse, match="already running"):
        run(finished.parent / "tiny.yaml", finished)


# --- the command line and what it shows ---------------------------------------------------


def test_commands(finished: Path, tmp_path: Path, no_report: list[Path]) -> None:
    runner = CliRunner()
    good = runner.invoke(app, ["free-energy", "run", str(written(tmp_path)), "--check"])
    assert good.exit_code == 0, good.output
    assert "is all right: 4 order parameters, 4 variants, Monte Carlo of 16 sites" in good.output
    wrong = written(tmp_path, changed("seed", to=None), "wrong.yaml")
    bad = runner.invoke(app, ["free-energy", "run", str(wrong)])
    assert bad.exit_code == 2
    assert bad.output.strip() == "seed: is missing"
    lost = runner.invoke(app, ["free-energy", "report", str(tmp_path)])
    assert lost.exit_code == 1
    assert "is not the directory of a run" in lost.output
    other = runner.invoke(app, ["report", str(finished)])
    assert "holds a free energy: ase-hal free-energy report" in other.output
    again = runner.invoke(
        app,
        ["free-energy", "run", str(finished.parent / "tiny.yaml"), "--directory", str(finished)],
    )
    assert again.exit_code == 0, again.output
    assert "Ended earlier: all the rounds that stopping.rounds allows are done." in again.output


@pytest.mark.parametrize("terminal", [True, False])
def test_display(terminal: bool, finished: Path) -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=120)
    points = Log.read(finished / "points.jsonl")
    with RunDisplay(console, finished) as display:
        display({"event": "start"})
        display({"event": "test", "n_points": 12})
        for event in Log.read(finished / "log.jsonl"):
            if event["event"] != "round":
                continue
            number = event["round"]
            display({"event": "proposed", "of_test": False, **event})
            for point in (p for p in points if p["round"] == number):
                display({"event": "point", "of_test": False, **point})
            failed = {"round": number, "criterion": "wells", "reason": "mu is not finite"}
            display({"event": "failed_point", "of_test": False, **failed})
            display({"event": "fitting", "n_points": len(points)})
            display(event)
        display(Log.read(finished / "log.jsonl")[-1])
    display.close()
    shown = output.getvalue()
    assert "point failed (round 1, wells): mu is not finite" in shown
    assert "(10 meV)²" in shown
    assert "committee" in shown
    assert "surface.json" in shown
    assert ("\x1b[" in shown) == terminal
    row = display.progress.rows[0]
    assert row.n_found == sum(point["round"] == 0 for point in points)
    assert display.progress.criteria["section"].weight is None


def test_hundreds_of_failures_are_not_hundreds_of_lines(tmp_path: Path) -> None:
    output = io.StringIO()
    display = RunDisplay(Console(file=output, width=200), tmp_path)
    display({"event": "proposed", "of_test": False, "round": 0, "n_proposed": 100})
    for _ in range(100):
        failed = {"round": 0, "criterion": "wells", "reason": "mu is not finite"}
        display({"event": "failed_point", "of_test": False, **failed})
    lines = output.getvalue().splitlines()
    assert len(lines) == 4
    assert lines[-1] == "more points failed (round 0): the reasons are in points_failed.jsonl"


def test_windows_that_do_not_hold_are_told(
    tmp_path: Path, no_report: list[Path], finished: Path
) -> None:
    """A stiffness in the wrong unit: all points end up in the middle."""
    stiffness = {"composition": "1 meV", "order": "1 meV"}
    document = changed("monte_carlo", "stiffness", to=stiffness)
    document["stopping"] = {"rounds": 1}
    output = io.StringIO()
    display = RunDisplay(Console(file=output, width=200), tmp_path / "run")
    run(written(tmp_path, document), tmp_path / "run", on_event=display)
    assert (
        "round 0: half of the points were found with an order parameter more than "
        in output.getvalue()
    )
    assert "the windows do not hold" in dict(summary(LearningRun.read(tmp_path / "run"))).get(
        "order parameters off what was asked for by", ""
    )
    missed = [e["missed_by"] for e in Log.read(finished / "log.jsonl") if e["event"] == "round"]
    assert 0 < max(missed) < MISSED


# --- surfaces and points on disk ----------------------------------------------------------


def test_what_a_killed_write_leaves_behind_is_known(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surface, seen = read_surface(finished / "surface"), []

    def fsync(descriptor: int) -> None:
        for path in [*tmp_path.glob(".*")]:
            shutil.copy(path, tmp_path / "killed" / path.name)
            seen.append(path.name)

    (tmp_path / "killed").mkdir()
    monkeypatch.setattr(os, "fsync", fsync)
    write_surface(surface, tmp_path / "better")
    assert len(seen) >= 2
    remove_leftovers(tmp_path / "killed")
    assert list((tmp_path / "killed").iterdir()) == []


def test_a_temperature_at_which_all_failed_is_asked_for_again(
    finished: Path, tmp_path: Path
) -> None:
    records = [r for r in Log.read(finished / "points.jsonl") if r["round"] == 0]
    proposals = [
        Proposal(0, r["index"], r["criterion"], np.array(r["target"]), r["temperature_K"])
        for r in records
    ]
    with PointStore(tmp_path, "points") as store:
        for proposal, record in zip(proposals, records, strict=True):
            if proposal.temperature_K == 600.0:
                store.keep(Point.from_record(record))
            else:
                store.reject(FailedPoint(proposal, "no licence"))
    with PointStore(tmp_path, "points") as store:
        n_failed = store.n_failed
        assert n_failed == sum(p.temperature_K == 800.0 for p in proposals) > 0
        store.forget_failures()
        assert store.n_failed == 0
        assert sum(store.known(p) is None for p in proposals) == n_failed
        # some points of each: these failures stay
        again = [p for p in proposals if p.temperature_K == 800.0]
        store.keep(Point.from_record(records[proposals.index(again[0])]))
        store.reject(FailedPoint(again[1], "no licence"))
        store.forget_failures()
        assert store.n_failed == 1


def test_places_are_the_same_but_for_their_last_digits(finished: Path, tmp_path: Path) -> None:
    """Those depend on the machine; another place is that of another run."""
    record = Log.read(finished / "points.jsonl")[0]
    place = record["round"], record["index"], record["criterion"]
    with PointStore(tmp_path, "points") as store:
        store.keep(Point.from_record(record))
        for shift in (0.0, 1e-13):
            eta = np.array(record["target"]) + shift
            assert store.known(Proposal(*place, eta, record["temperature_K"])) is not None
        with pytest.raises(ValueError, match="was wanted at"):
            store.known(Proposal(*place, eta + 1e-6, record["temperature_K"]))


def test_surfaces_are_kept(finished: Path, tmp_path: Path) -> None:
    surface = read_surface(finished / "surface")
    committee = SurfaceCommittee((surface, *surface.members))
    write_surface(committee, tmp_path / "both")
    again = read_surface(tmp_path / "both")
    assert isinstance(again, SurfaceCommittee)
    eta = np.array([[0.3, 0.01, 0.02, 0.0]])
    assert np.array_equal(
        again.chemical_potentials(eta, 700.0), committee.chemical_potentials(eta, 700.0)
    )
    (tmp_path / "both1.npz").unlink()
    with pytest.raises(ValueError, match="describes no surface"):
        read_surface(tmp_path / "both")
    found = read_order_parameters(finished / "order_parameters.json")
    assert np.array_equal(found.reduce(eta), l1_2().reduce(eta))
    assert np.allclose(found.domain.bounds, l1_2().domain.bounds)
    with pytest.raises(ValueError, match="holds no order parameters"):
        read_order_parameters(finished / "surface.json")
    with pytest.raises(TypeError, match="a dict cannot be written"):
        write_surface({}, tmp_path / "other")  # type: ignore[arg-type]


def test_points_of_the_curve_may_fail(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are kept with the reason and not asked for again; the report says so."""
    calls: list[tuple[str, int]] = []

    def run_or_freeze(self: CurveTask, calculator: UmbrellaMC, rng: np.random.Generator) -> Sample:
        calls.append((self.branch, self.index))
        sample = calculator.semigrand(self.value)
        if self.branch == "biased" and self.index != 1:
            still = np.full(len(sample.eta), np.inf)
            return replace(sample, eta_error=still, mu_error=still)
        return sample

    monkeypatch.setattr(CurveTask, "run", run_or_freeze)
    directory = tmp_path / "run"
    shutil.copytree(finished, directory)
    (directory / "curve.jsonl").unlink()
    runfile = FreeEnergyRunFile.read(finished.parent / "tiny.yaml")
    calculator = runfile.settings.monte_carlo.build(
        runfile.hamiltonian, runfile.order_parameters, rng=np.random.default_rng(1)
    )[600.0]
    for turn in range(2):
        with Curve(directory) as curve, ThreadPoolExecutor(1) as executor:
            assert curve.lacks(calculator, 3) == (turn == 0)
            rng = np.random.default_rng(1)
            records = list(curve.complete(calculator, 3, executor, rng=rng))
    assert len(records) == len(calls) == 6
    assert ["failed" in record for record in records[:3]] == [True, False, True]
    section = curve_section(LearningRun.read(directory))
    assert "2 points failed; the first: order parameters [0, 1, 2, 3] did not move" in section.text
    assert section.draw is not None
    section.draw()
    output = io.StringIO()
    RunDisplay(Console(file=output, width=200), directory)({"event": "curve", **records[0]})
    assert output.getvalue().startswith("point failed (composition curve at 600 K, biased, ")
    only = [json.dumps(record) + "\n" for record in records if "failed" in record]
    (directory / "curve.jsonl").write_text("".join(only))
    section = curve_section(LearningRun.read(directory))
    assert section.draw is None
    assert section.text.startswith("All points failed: order parameters")
