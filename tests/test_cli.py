"""The command line, and what it shows of a run."""

import io
import re
import subprocess
import sys
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.calculators.emt import EMT
from rich.console import Console
from synthetic_run import SyntheticRun
from typer.testing import CliRunner

import ase_hal
import ase_hal.run
from ase_hal import LinearCommittee
from ase_hal.cli import app
from ase_hal.display import RunDisplay
from ase_hal.display.closing import closing_lines
from ase_hal.display.progress import Progress
from ase_hal.display.wording import outcomes_in_words, time_in_short, time_in_words
from ase_hal.frames import Frames
from ase_hal.journal import Log
from ase_hal.run_directory import adopt

RUN = {
    "elements": ["Al", "Cu"],
    "seed": 3,
    "seeds": {
        "alloy": {
            "lattice": "fcc",
            "repeat": [2, 1, 1],
            "composition": {"Al": 6, "Cu": 2},
            "lattice_constant": {"from": "3.9 Å", "to": "4.1 Å"},
            "count": 4,
            "displacement": "0.1 Å",
        }
    },
    "reference": {"name": "emt", "timeout": "60 s"},
    "basis": {"nradmax_by_orders": [4, 2], "lmax_by_orders": [0, 1], "rcut": "5 Å"},
    "explore": {
        "stages": [
            {
                "name": "warm",
                "temperature": "1200 K",
                "steps": 60,
                "timestep": "2 fs",
                "tau_rel": 0.1,
                "tau": {"window": 10, "burn_in": 10},
                "trigger": {"criterion": "relative", "tolerance": 0.05},
                "swap": {"interval": 10},
            }
        ]
    },
    "loop": {"select": 2, "max_labels": 3},
}


def call(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("alloy.yaml").write_text(yaml.safe_dump(RUN))
    return tmp_path


# --- commands ----------------------------------------------------------------------------


def test_version():
    assert call("--version") == f"ase-hal {ase_hal.__version__}\n"


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nsys.argv = ['ase-hal', '--help']\nfrom ase_hal.cli import app\n"
        "try:\n    app()\nexcept SystemExit:\n    pass\n"
        "print(sorted({'ase', 'numpy', 'pydantic', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """What the command wrote to the screen, and the directory of its run."""
    folder = tmp_path_factory.mktemp("run")
    (folder / "alloy.yaml").write_text(yaml.safe_dump(RUN))
    output = call("run", folder / "alloy.yaml", "--directory", folder / "run")
    return output, folder / "run"


@pytest.mark.slow
def test_run_from_start_to_end(finished):
    output, directory = finished
    assert "\x1b" not in output, "no escape codes outside a terminal"
    dataset = Frames.read(directory / "dataset.extxyz")
    assert len(dataset) > 4, "the run finds something"
    fits = [e for e in Log.read(directory / "log.jsonl") if e["event"] == "fit"]
    rows = [line for line in output.splitlines() if re.match(r" +\d+  \w", line)]
    assert [row.split()[0] for row in rows] == ["0", *(str(fit["iteration"]) for fit in fits)]
    assert "uncertain" in rows[1]
    assert f"{len(dataset)} structures in the training set, {len(dataset) - 4} found" in output
    for name in ("report/index.html", "dataset.extxyz", "committee.json", "potential.in"):
        assert f"  {name} " in output


@pytest.mark.slow
def test_running_again_changes_nothing(finished):
    output, directory = finished
    events = Log.read(directory / "log.jsonl")
    again = call("run", directory.parent / "alloy.yaml", "--directory", directory)
    assert "Ended earlier" in again
    made = next(line for line in output.splitlines() if "in the training set" in line)
    assert made in again.splitlines()
    assert Log.read(directory / "log.jsonl") == events


@pytest.mark.slow
def test_report_select_and_export(finished, here):
    _, directory = finished
    page = directory / "report" / "index.html"
    page.unlink()
    assert call("report", directory) == f"written: {page}\n"
    assert page.is_file()

    model = directory / "committee.json"
    output = call("select", directory / "dataset.extxyz", model, "-n", 2, "-o", "chosen.xyz")
    chosen = ase.io.read("chosen.xyz", index=":")
    assert output.splitlines()[-1].startswith(f"written: {len(chosen)} of ")
    assert 1 <= len(chosen) <= 2
    assert output.count("meV/atom uncertain") == len(chosen)

    output = call("export", model, "-o", "AlCu")
    assert (here / "AlCu.yace").is_file()
    assert "pair_style pace" in output


def test_fit_reproduces_what_it_can_represent(here):
    structures = []
    rng = np.random.default_rng(1)
    for a in np.linspace(3.9, 4.2, 12):
        atoms = bulk("Al", a=a, cubic=True) * 2
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
        atoms.calc = EMT()
        atoms.get_forces()
        structures.append(atoms)
    ase.io.write("train.xyz", structures)
    output = call("fit", "train.xyz", "--basis", "small", "--rcut", 6, "-o", "model.json")
    energy, forces = re.search(r"([\d.]+) meV/atom, ([\d.]+) eV/Å", output).groups()
    committee = LinearCommittee.read("model.json")
    predicted = [committee.predict(atoms).energy / 32 for atoms in structures]
    true = [atoms.get_potential_energy() / 32 for atoms in structures]
    assert float(energy) == pytest.approx(
        1000 * np.sqrt(np.mean(np.subtract(predicted, true) ** 2)), abs=0.006
    )
    assert float(energy) < 2
    assert float(forces) < 0.02
    assert committee.elements == ("Al",)


# --- what goes wrong ---------------------------------------------------------------------


def test_wrong_run_file(here):
    Path("alloy.yaml").write_text(yaml.safe_dump(RUN | {"seed": "one", "sead": 1}))
    output = call("run", "alloy.yaml", code=2)
    assert output.splitlines() == [
        "seed: should be a valid integer, got 'one'",
        "sead: unknown key, did you mean 'seed'?",
    ]
    assert not Path("alloy").exists(), "nothing was started"


def test_check_starts_nothing(here):
    output = call("run", "alloy.yaml", "--check")
    assert re.fullmatch(
        r"alloy.yaml is all right: 4 structures to start from, \d+ basis functions, stages warm\n",
        output,
    )
    assert [path.name for path in here.iterdir()] == ["alloy.yaml"]


def test_interrupt(here, monkeypatch):
    def interrupted(*arguments, **keywords):
        raise KeyboardInterrupt

    monkeypatch.setattr(ase_hal.run, "run", interrupted)
    output = call("run", "alloy.yaml", code=130)
    assert output.splitlines()[-1] == "interrupted; run the same command to go on"


def test_unexpected_error(here, monkeypatch):
    def broken(file, directory, *, on_event):
        Path(directory).mkdir()
        (Path(directory) / "log.jsonl").write_text("")
        raise RuntimeError("the disk\nis full")

    monkeypatch.setattr(ase_hal.run, "run", broken)
    output = call("run", "alloy.yaml", code=1)
    assert output.splitlines() == [
        "error: the disk is full",
        "What happened before is in alloy/log.jsonl.",
        "The option --debug shows where the error comes from.",
    ]
    result = CliRunner().invoke(app, ["run", "alloy.yaml", "--directory", "other", "--debug"])
    assert isinstance(result.exception, RuntimeError)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["report", "nowhere"], "error: nowhere is not a directory; a report needs that of a run"),
        (["select", "a.xyz", "model.json", "-o", "b.xyz"], "error: "),
        (["export", "model.json"], "error: "),
        (["fit", "a.xyz", "--basis", "small", "-o", "b.json"], "error: "),
    ],
)
def test_missing_files(here, arguments, line):
    output = call(*arguments, code=1)
    assert output.startswith(line)
    assert output.splitlines()[1:] == ["The option --debug shows where the error comes from."]


def test_what_may_change_between_sessions(tmp_path):
    def adopted(**changed):
        file = tmp_path / "run.yaml"
        file.write_text(yaml.safe_dump(RUN | changed))
        adopt(tmp_path / "kept", file, changeable=("loop", "reference.timeout"))

    (tmp_path / "kept").mkdir()
    adopted()
    adopted(loop={"max_labels": 9}, reference={"name": "emt", "timeout": "9 h"})
    adopted(reference={"name": "emt"})
    with pytest.raises(ValueError, match="run of another file: reference differ"):
        adopted(reference={"name": "gfn2-xtb", "timeout": "60 s"})
    with pytest.raises(ValueError, match="run of another file: seed differ"):
        adopted(seed=9)


# --- the display -------------------------------------------------------------------------


def shown(directory, *, terminal, finished="converged"):
    """The screen after the events of a made-up run, and the display."""
    run = SyntheticRun(directory, rng=np.random.default_rng(0))
    run.write(12, finished=finished)
    events = Log.read(directory / "log.jsonl")
    log = directory / "log.jsonl"
    log.unlink()
    console = Console(record=True, force_terminal=terminal, width=80, file=io.StringIO())
    display = RunDisplay(console, directory, max_labels=30)
    with Log(log) as written, display:
        for event in events:
            written.append(event)
            display(event)
    return console, display, events


def test_lines_outside_a_terminal(tmp_path):
    console, display, events = shown(tmp_path, terminal=False)
    display.close()
    text = console.export_text()
    header = next(i for i, line in enumerate(text.splitlines()) if line.startswith("iter"))
    units = text.splitlines()[header + 1]
    assert "meV/atom" in units
    assert "eV/Å" in units
    fits = {event["iteration"]: event for event in events if event["event"] == "fit"}
    for iteration, event in fits.items():
        (line,) = re.findall(rf"^ +{iteration}  .*$", text, flags=re.MULTILINE)
        assert f"{1000 * event['train_energy_rmse']:.2f}" in line
        assert f"{event['train_forces_rmse']:.3f}" in line
    failures = [event for event in events if event["event"] == "failure"]
    assert text.count("reference calculation failed (") == len(failures) > 0
    assert text.count("sparse fit, threshold") == 4
    assert "trajectories in a row stayed below the tolerance" in text


def test_the_test_set_is_announced(tmp_path):
    """It takes as long as many iterations, and has no rows."""
    console = Console(record=True, width=80, file=io.StringIO())
    event = {"event": "trajectory", "iteration": -1, "stage": "solid", "outcome": "stable"}
    with RunDisplay(console, tmp_path) as display:
        for walker in (0, 1):
            display({**event, "walker": walker, "reason": "", "steps": 5000, "seconds": 1.0})
    assert console.export_text().count("making the test set: ") == 1


def test_table_in_a_terminal(tmp_path):
    console, display, events = shown(tmp_path, terminal=True)
    picture = Console(record=True, width=80, file=io.StringIO())
    picture.print(display._display.picture())
    lines = picture.export_text().splitlines()
    assert all(len(line) <= 80 for line in lines)
    rows = [line for line in lines if re.match(r" +\d+  \w", line)]
    assert len(rows) == 10, "the last ten"
    assert rows[-1].split()[0] == "12"
    labels = sum(event["event"] == "label" and event["iteration"] > 0 for event in events)
    assert any(f"{labels} of 30 labels" in line for line in lines)
    assert "writing the report" in lines[-1]
    assert "E and F error" in console.export_text(), "the table stays on the screen"


def test_going_on_shows_what_was_before(tmp_path):
    run = SyntheticRun(tmp_path, rng=np.random.default_rng(0))
    run.seeds(6)
    for iteration in (1, 2, 3):
        run.iteration(iteration, 12)
    console = Console(record=True, width=80, file=io.StringIO())
    with RunDisplay(console, tmp_path) as display:
        run.emit("start", version="0.1.0", time=0.0, iteration=4)
        display({"event": "start", "iteration": 4})
        assert sorted(display.progress.rows) == [0, 1, 2, 3]
        before = display.progress.labels
        assert before == sum(
            event["event"] == "label" and event["iteration"] > 0
            for event in Log.read(tmp_path / "log.jsonl")
        )
        display({"event": "label", "iteration": 4, "index": 0, "seconds": 1.0})
        assert display.progress.labels == before + 1
    assert "going on after iteration 3" in console.export_text()


def test_what_was_interrupted_and_done_again_counts_once(tmp_path):
    run = SyntheticRun(tmp_path, rng=np.random.default_rng(0))
    run.seeds(6)
    run.iteration(1, 3)
    whole = Log.read(tmp_path / "log.jsonl")
    run.iteration(2, 3)
    log = Log.read(tmp_path / "log.jsonl")
    second = log[len(whole) :]
    start = {"event": "start", "version": "0.1.0", "time": 0.0, "iteration": 2}
    counted = []
    for n in range(len(second)):
        progress = Progress()
        progress.replay([*whole, *second[:n], start, *second])
        counted.append((progress.labels, progress.failures, progress.rows[2].outcomes))
    progress = Progress()
    progress.replay(log)
    expected = (progress.labels, progress.failures, progress.rows[2].outcomes)
    assert counted == [expected] * len(second)


@pytest.mark.parametrize("finished", ["converged", "labels", "iterations"])
def test_summary_names_the_files_that_are_there(tmp_path, finished):
    console, display, _ = shown(tmp_path, terminal=False, finished=finished)
    for name in ("committee.json", "potential.in"):
        (tmp_path / name).write_text("x")
    (tmp_path / "failed.extxyz").write_text("")
    console.export_text()
    display.close()
    text = console.export_text()
    assert {"committee.json", "potential.in", "dataset.extxyz", "test.extxyz"} <= set(text.split())
    assert "failed.extxyz" not in text, "it is empty"
    assert f"ase-hal export {tmp_path / 'committee.json'}" in text
    assert {"converged": "every stage", "labels": "max_labels", "iterations": "max_iterations"}[
        finished
    ] in text.splitlines()[1]


def test_summary_needs_an_end(tmp_path):
    display = RunDisplay(Console(file=io.StringIO()), tmp_path)
    with pytest.raises(ValueError, match="has not ended"):
        display.close()


def test_words():
    assert [time_in_words(s) for s in (0.04, 9.96, 59.6, 200, 7500)] == [
        "0.0 s", "10 s", "1 min 0 s", "3 min 20 s", "2 h 5 min",
    ]  # fmt: skip
    assert [time_in_short(s) for s in (0.31, 82.4, 720, 12240)] == [
        "0.3 s", "82 s", "12 min", "3.4 h",
    ]  # fmt: skip
    outcomes = [("stable", 900), ("uncertain", 512), ("untrustworthy", 7), ("uncertain", 340)]
    assert outcomes_in_words(outcomes) == "uncertain 340, 512; untrustworthy 7; stable 900"
    assert outcomes_in_words([("stable", 900)] * 5) == "stable 900 (5 times)"
    assert (
        outcomes_in_words([("uncertain", n) for n in (7, 3, 9, 5)]) == "uncertain 3 to 9 (4 times)"
    )
    assert outcomes_in_words([]) == ""


@pytest.mark.slow
def test_a_larger_budget_goes_on(here, monkeypatch):
    """A run that its budget has ended continues, with the test set it has."""
    monkeypatch.setattr(ase_hal.run, "write_report", lambda directory: None)
    (stage,) = RUN["explore"]["stages"]
    doubtful = {"criterion": "relative", "tolerance": 1e-3}
    often = RUN | {"explore": {"stages": [stage | {"trigger": doubtful}]}, "test": {"per_stage": 1}}
    found = []
    for budget in (1, 2, 2):
        run = often | {"loop": {"select": 1, "max_labels": budget}}
        Path("alloy.yaml").write_text(yaml.safe_dump(run))
        output = call("run", "alloy.yaml", "--directory", "run")
        assert "all the labels that max_labels allows" in output
        found.append([Path("run", f"{name}.extxyz").read_bytes() for name in ("dataset", "test")])
    first, second, third = found
    assert second[0].startswith(first[0])
    assert len(Frames.read(Path("run", "dataset.extxyz"))) == 4 + 2
    assert second[1] == first[1] != b""
    assert third == second


@pytest.mark.parametrize(("error", "told"), [(0.01, True), (0.002, False)])
def test_a_potential_that_is_too_sure_of_itself_is_told_of(tmp_path, error, told):
    progress = Progress()
    for sign in (1, -1, 1, -1, 1):
        progress({"event": "test", "energy_error": sign * error, "energy_std": 0.001})
    progress({"event": "end", "finished": "converged", "n_structures": 3})
    text = "\n".join(closing_lines(progress, tmp_path, 1.0))
    assert ("are 10 times the predicted uncertainty" in text) == told
    assert ("may have stopped too early" in text) == told
