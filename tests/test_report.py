"""The report: what it reads, what it says, and what its figures show."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from datasets_emt import al_cu_basis, al_cu_dataset
from matplotlib.figure import Figure
from synthetic_run import TOLERANCE, SyntheticRun

from ase_hal.ace.basis import BasisFunction
from ase_hal.frames import Frames
from ase_hal.linear_fit import LinearFit
from ase_hal.metrics import Comparison, compare
from ase_hal.report import _sections, write_report
from ase_hal.report.budget import draw_budget, steps_per_label, times
from ase_hal.report.calibration import binned, draw_calibration, foretold, in_words
from ase_hal.report.coefficients import draw_coefficients
from ase_hal.report.errors import draw_errors
from ase_hal.report.models import Coefficients, Models, coefficients, comparisons, read_models
from ase_hal.report.page import render
from ase_hal.report.parity import _MOST_POINTS, draw_parity
from ase_hal.report.record import Run, read_run
from ase_hal.report.style import SEEDS, TEST, TRAIN, Section, duration, png, stage_looks
from ase_hal.report.tables import relevance_section, status, summary
from ase_hal.report.trajectories import choose, draw_trajectories

# A layout that does not fit makes matplotlib warn, and a report is then not worth reading.
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    directory = tmp_path_factory.mktemp("finished")
    SyntheticRun(directory, rng=np.random.default_rng(5)).write(16, finished="converged")
    return read_run(directory)


def synthetic(directory: Path, iterations: int, **options: object) -> SyntheticRun:
    run = SyntheticRun(directory, rng=np.random.default_rng(6), **options)  # type: ignore[arg-type]
    run.write(iterations)
    return run


def text_of(page: Path) -> str:
    return re.sub(r"<[^>]+>", " ", page.read_text().split("<body>")[1])


# ---- reading -------------------------------------------------------------------------------


def test_log_is_read_as_written(finished: Run) -> None:
    assert finished.stages == ("solid", "liquid")
    assert [fit.iteration for fit in finished.fits] == list(range(1, 17))
    assert finished.last_iteration == 16
    assert len(finished.labels) == len(finished.dataset) == 6 + len(finished.new_labels)
    assert {r.iteration for r in finished.tests} == {-1}
    assert len(finished.structures("test.extxyz")) == 12
    assert [r.n_basis for r in finished.relevance] == [38, 116, 295, 621]
    assert finished.end is not None
    assert finished.end.finished == "converged"
    assert finished.tolerance("solid") == TOLERANCE
    assert np.isnan(finished.tolerance("gas"))


def test_unfinished_record_is_passed_over(tmp_path: Path) -> None:
    synthetic(tmp_path, 2)
    whole = read_run(tmp_path)
    with (tmp_path / "log.jsonl").open("a") as log:
        log.write('{"event": "label", "iterat')
    assert read_run(tmp_path).labels == whole.labels


def test_repeated_work_counts_once(tmp_path: Path) -> None:
    run = synthetic(tmp_path, 2)
    before = read_run(tmp_path)
    run.emit("start", version="0.1.0", time=1.9e9, iteration=2)
    run.fit_event(2, 0.5)
    after = read_run(tmp_path)
    assert after.n_starts == 2
    assert len(after.fits) == 2
    assert after.fits[0] == before.fits[0]
    assert after.fits[1] != before.fits[1]


def test_time_of_a_run_that_was_resumed(tmp_path: Path) -> None:
    run = synthetic(tmp_path, 2)
    run.emit("start", version="0.1.0", time=1.9e9, iteration=3)
    end = {"finished": "failures", "n_structures": 8, "seconds": 9000.0}
    run.emit("end", **end)
    # Older logs tell of the last session only.
    numbers = dict(summary(read_run(tmp_path), Models({})))
    assert numbers["time"] == "2 h 30 min since it was last resumed"
    run.emit("end", **end, sessions=2)
    numbers = dict(summary(read_run(tmp_path), Models({})))
    assert numbers["time"] == "2 h 30 min"
    assert status(read_run(tmp_path)).startswith("Given up: no reference calculation")


def test_time_of_trajectories(tmp_path: Path) -> None:
    run = synthetic(tmp_path, 1)
    assert "exploration" not in times(read_run(tmp_path)), "older logs do not tell it"
    mine = {"stage": "solid", "outcome": "stable", "steps": 9}
    for walker in range(2):
        run.emit("trajectory", iteration=2, walker=walker, **mine, seconds=1.5)
    assert times(read_run(tmp_path))["exploration"] == 3.0


def test_an_end_that_was_continued_is_no_end(tmp_path: Path) -> None:
    run = synthetic(tmp_path, 1)
    run.finish(1, "labels")
    assert read_run(tmp_path).end is not None
    run.emit("start", version="0.1.0", time=1.9e9, iteration=2)
    assert read_run(tmp_path).end is None


def test_foreign_directories_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no log\.jsonl"):
        write_report(tmp_path)
    with pytest.raises(ValueError, match="not a directory"):
        write_report(tmp_path / "nowhere")
    log = tmp_path / "log.jsonl"
    log.write_text('{"level": "INFO"}\n')
    with pytest.raises(ValueError, match="line 1 is no event"):
        write_report(tmp_path)
    log.write_text('{"event": "fit", "iteration": 1}\n')
    with pytest.raises(ValueError, match="no 'start' event"):
        write_report(tmp_path)
    log.write_text('{"event": "start"}\n{"event": "fit", "iteration": 1}\n')
    with pytest.raises(ValueError, match="'fit' event lacks 'n_structures'"):
        write_report(tmp_path)
    assert not (tmp_path / "report").exists()


# ---- the page ------------------------------------------------------------------------------


def test_page_of_a_finished_run(finished: Run) -> None:
    before = dict(mpl.rcParams)
    page = write_report(finished.directory)
    assert dict(mpl.rcParams) == before
    assert page == finished.directory / "report" / "index.html"
    html, text = page.read_text(), text_of(page)
    # Self-contained: every picture is inside, and nothing is asked of a network.
    assert not re.search(r"https?:|<script|<link|@import", html)
    sources = re.findall(r'src="([^"]*)"', html)
    names = {"errors", "calibration", "budget", "trajectories-1", "trajectories-2"}
    assert len(sources) == len(names)
    pictures = [base64.b64decode(s.removeprefix("data:image/png;base64,")) for s in sources]
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    files = {path.stem: path.read_bytes() for path in page.parent.glob("*.png")}
    assert set(files) == names
    assert set(files.values()) == set(pictures)
    # The summary, and the table of sparse models.
    assert "stayed below the tolerance" in text
    assert f"6 seeds + {len(finished.new_labels)} found" in text
    assert "1.90 meV/atom" in text
    assert "2 h 30 min" in text
    cells = re.findall(r"<td>([^<]*)</td>", html[html.index('class="data"') :])
    assert cells[:7] == ["1,000", "38", "2 s", "7.70", "0.135", "8.00", "0.144"]
    assert len(cells) == 4 * 7


def test_page_of_a_run_that_has_just_begun(tmp_path: Path) -> None:
    SyntheticRun(tmp_path, rng=np.random.default_rng(1))
    page = write_report(tmp_path)
    text = text_of(page)
    assert "the first model has not been fitted yet" in text
    for sentence in (
        "no model has been fitted",
        "no trajectory has ended",
        "no structure was predicted and then labelled",
        "no model was written",
        "no fits by automatic relevance determination",
    ):
        assert sentence in text
    assert list(page.parent.iterdir()) == [page]


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    stages = ("solid", "liquid")
    run = SyntheticRun(
        tmp_path, rng=np.random.default_rng(2), stages=stages, test=False, periodic=False
    )
    run.write(4)

    def sections() -> dict[str, Section]:
        return {section.title: section for section in _sections(read_run(tmp_path), Models({}))}

    complete = sections()
    assert "No test errors were recorded" in complete["Errors by iteration"].text
    assert "There is no pressure" in complete["Trajectories: solid"].text
    numbers = dict(summary(read_run(tmp_path), Models({})))
    assert numbers["test error"] == "no test set"
    assert status(read_run(tmp_path)) == "Not finished: this is the state in iteration 4."
    for path in (tmp_path / "iterations").rglob("*.npz"):
        path.write_bytes(b"torn")
    torn = sections()["Trajectories: solid"]
    assert torn.draw is None
    assert "The traces of these trajectories are not" in torn.text


def test_page_escapes_what_a_run_calls_things() -> None:
    section = Section("Trajectories: a<b", "1 < 2", columns=("<i>",), rows=(("<td>",),))
    html = render("<run>", "&", [("<", ">")], [section], {})
    assert not re.search(r"a<b|1 < 2|<i>|<td><td>|<run>", html)
    assert html.count("a&lt;b") == 2


def test_damaged_model_is_named_not_fatal(tmp_path: Path) -> None:
    SyntheticRun(tmp_path, rng=np.random.default_rng(1))
    (tmp_path / "committee.json").write_text("{}")
    assert "committee.json cannot be read" in text_of(write_report(tmp_path))


# ---- models --------------------------------------------------------------------------------


def test_models_are_compared_with_the_labels_of_the_run(tmp_path: Path) -> None:
    train, test = al_cu_dataset()[:12], al_cu_dataset()[12:16]
    run = SyntheticRun(tmp_path, rng=np.random.default_rng(7), stages=("solid",))
    for name, structures in (("dataset.extxyz", train), ("test.extxyz", test)):
        with Frames(tmp_path / name) as frames:
            for atoms in structures:
                frames.append(atoms)
    # The last fit knew ten structures; two were labelled since.
    run.n_structures = 10
    run.fit_event(1, 1.0)
    fit = LinearFit(al_cu_basis())
    current = fit(train[:10], rng=np.random.default_rng(0))
    current.write(tmp_path / "committee.json")
    fit.relevance_threshold = 10.0
    final = fit(train[:10], rng=np.random.default_rng(0))
    final.write(tmp_path / "final.json")
    kept = int(final.posterior.active.sum())
    assert 0 < kept < final.basis.size
    for threshold, n_basis in ((1.0, kept - 1), (10.0, kept)):
        run.emit(
            "relevance", threshold=threshold, n_basis=n_basis, train_energy_rmse=0.001,
            train_forces_rmse=0.1, test_energy_rmse=None, test_forces_rmse=None, seconds=1.0,
        )  # fmt: skip

    record, models = read_run(tmp_path), read_models(tmp_path)
    assert models.problem == ""
    found = comparisons(record, models)
    expected = compare(final, train[:10])
    assert found["train"].errors().energy_rmse == pytest.approx(expected.errors().energy_rmse)
    assert np.allclose(found["train"].forces, expected.forces)
    assert len(found["test"].energy) == len(test)
    # Energies are counted from the one-body energies, which differ from atom to atom.
    one_body = [sum(final.baseline.one_body[s] for s in a.symbols) / len(a) for a in train[:10]]
    assert np.allclose(found["train"].energy_label + one_body, expected.energy_label)

    known = coefficients(models)
    assert len(known["final"].functions) == len(known["final"].values) == final.basis.size
    assert np.count_nonzero(known["final"].values) == kept
    counts = [
        text.get_text().split("/") for ax in draw_coefficients(known).axes for text in ax.texts
    ]
    assert sum(int(count) for count, _ in counts) == kept
    assert sum(int(total) for _, total in counts) == final.basis.size
    table = relevance_section(record, models)
    assert [row[:2] for row in table.rows] == [("1", f"{kept - 1}"), ("10 ✓", f"{kept}")]

    # What the fit leaves out is not held against it.
    (tmp_path / "run.yaml").write_text("fit: {force_bound: 0.5 eV/Å}\n")
    bounded = comparisons(read_run(tmp_path), models)["train"]
    assert np.abs(expected.forces_label).max() > 0.5
    assert np.array_equal(
        bounded.forces_label, expected.forces_label[np.abs(expected.forces_label) <= 0.5]
    )


# ---- figures -------------------------------------------------------------------------------


def labels_of(figure: Figure) -> list[str]:
    return [axis.get_label_text() for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)]


def test_errors_figure(finished: Run) -> None:
    looks = stage_looks(finished.stages)
    figure = draw_errors(finished.fits, finished.new_labels, looks)
    energy, forces = figure.axes
    assert energy.get_ylabel() == "energy error (meV/atom)"
    assert forces.get_ylabel() == "force error (eV/Å)"
    lines = {line.get_label(): line for line in energy.lines}
    assert lines["train"].get_color() == TRAIN
    assert lines["test"].get_color() == TEST
    expected = [1000 * fit.test_energy_rmse for fit in finished.fits]
    assert np.allclose(lines["test"].get_ydata(), expected)
    new = [label for label in finished.new_labels if label.stage == "liquid"]
    (points,) = (line for line in forces.lines if line.get_label() == "new, liquid")
    assert points.get_color() == looks["liquid"].colour
    assert np.allclose(points.get_ydata(), [label.forces_rmse for label in new])
    # The wanted points are within the axes.
    low, high = forces.get_ylim()
    assert all(low < y < high for y in points.get_ydata())
    assert png(figure).startswith(b"\x89PNG")


def test_trajectories_figure(finished: Run) -> None:
    mine = [t for t in finished.trajectories if t.stage == "solid"]
    chosen = choose(finished, mine, 4)
    iterations = [trajectory.iteration for trajectory, _ in chosen]
    assert len(chosen) == 4
    assert iterations == sorted(iterations)
    assert iterations[0] == mine[0].iteration
    assert iterations[-1] == mine[-1].iteration
    figure = draw_trajectories(chosen, TOLERANCE, stage_looks(("solid",))["solid"])
    axes = np.array(figure.axes).reshape(4, 4)
    for (trajectory, trace), column in zip(chosen, axes.T, strict=True):
        known = np.isfinite(trace.score)
        score, tolerance = column[0].lines[:2]
        assert np.array_equal(score.get_ydata(), trace.score[known])
        assert set(tolerance.get_ydata()) == {TOLERANCE}
        assert f"{trajectory.steps:,} steps" in column[0].get_title(loc="left")
        for ax, curve in zip(
            column[1:], (trace.temperature_K, trace.pressure_GPa, trace.tau), strict=True
        ):
            assert np.array_equal(ax.lines[0].get_ydata(), curve)
    rows = [ax.get_ylabel() for ax in axes[:, 0]]
    assert [re.search(r"\((.*)\)", row)[1] for row in rows] == ["no unit", "K", "GPa", "no unit"]
    assert all(re.fullmatch(r"time \((fs|ps)\)", ax.get_xlabel()) for ax in axes[-1])
    png(figure)


def test_parity_figure_shows_all_errors_and_the_worst_of_very_many() -> None:
    rng = np.random.default_rng(3)
    forces = rng.normal(size=3 * _MOST_POINTS)
    predicted = forces + 0.1 * rng.normal(size=len(forces))
    energy = rng.normal(size=20)
    comparison = Comparison(energy + 0.002, energy, np.ones(20), predicted, forces)
    figure = draw_parity({"train": comparison})
    panels = {ax.get_ylabel().replace("\n", " "): ax for ax in figure.axes}
    assert set(panels) == {
        "predicted energy (eV/atom)", "error (meV/atom)",
        "predicted force component (eV/Å)", "error (eV/Å)",
    }  # fmt: skip
    assert np.allclose(panels["error (meV/atom)"].lines[0].get_ydata(), 2.0)
    assert panels["predicted energy (eV/atom)"].get_title(loc="left").endswith("train 2.00")
    shown = panels["error (eV/Å)"].lines[0].get_ydata()
    assert len(shown) <= 1.3 * _MOST_POINTS
    worst = np.sort(np.abs(predicted - forces))[-1000:]
    assert np.array_equal(np.sort(np.abs(shown))[-1000:], worst)
    png(figure)


def test_parity_without_forces() -> None:
    none = np.empty(0)
    comparison = Comparison(np.ones(3), np.ones(3), np.ones(3), none, none)
    figure = draw_parity({"train": comparison, "test": comparison})
    notes = [text.get_text() for ax in figure.axes for text in ax.texts]
    assert notes == ["no force component labels"]
    png(figure)


def test_calibration_words_know_honest_from_wrong_sigma() -> None:
    rng = np.random.default_rng(4)
    sigma = np.exp(rng.normal(size=4000))
    error = sigma * rng.normal(size=4000)
    one, two = (100 * np.mean(np.abs(error) < k * sigma) for k in (1, 2))
    shares = f"Of 4,000 predictions, {one:.0f} % are within σ and {two:.0f} % within 2σ"
    assert shares in in_words(error, sigma)
    assert "as it should be" in in_words(error, sigma)
    assert "too sure of itself" in in_words(2 * error, sigma)
    assert "too careful" in in_words(0.5 * error, sigma)
    assert "so few can tell" in in_words(sigma[:1], sigma[:1])
    assert "too sure of itself" in in_words(3 * sigma[:6], sigma[:6])


def test_calibration_bins_keep_the_sum_of_squares() -> None:
    rng = np.random.default_rng(4)
    sigma, error = rng.random(96), rng.normal(size=96)
    across, up = binned(error, sigma)
    assert len(up) == 12
    assert np.all(np.diff(across) > 0)
    assert np.isclose(8 * np.sum(up**2), np.sum(error**2))
    assert np.isclose(8 * np.sum(across**2), np.sum(sigma**2))


def test_calibration_figure(finished: Run) -> None:
    known = foretold((*finished.new_labels, *finished.tests))
    assert len(known) == len(finished.new_labels) + 12
    figure = draw_calibration(known, stage_looks(finished.stages))
    scatter, coverage = figure.axes
    lines = {line.get_label(): line for line in scatter.lines}
    assert {"solid", "liquid", "test", "|error| = σ", "|error| = 2σ", "binned"} <= set(lines)
    for factor, label in ((1, "|error| = σ"), (2, "|error| = 2σ")):
        x, y = lines[label].get_data()
        assert np.allclose(y, factor * np.asarray(x))
    found = coverage.lines[1]
    ratio = np.array([abs(r.energy_error) / r.energy_std for r in known])
    at_one = np.interp(1.0, *found.get_data())
    assert np.isclose(at_one, 100 * np.mean(ratio <= 1), atol=100 / len(ratio))
    assert labels_of(figure) == [
        "predicted σ (meV/atom)", "|predicted − label| (meV/atom)",
        "k (multiples of σ)", "errors within kσ (%)",
    ]  # fmt: skip
    png(figure)


def functions(*kinds: tuple[str, str]) -> tuple[BasisFunction, ...]:
    made = []
    for part, elements in kinds:
        rank = len(elements.split("-")) - 1
        made.append(BasisFunction(part, tuple(elements.split("-")), (1,) * rank, (0,) * rank))
    return tuple(made)


def test_coefficients_are_grouped_by_order_and_interaction() -> None:
    kinds = functions(
        ("many-body", "Al-Si"), ("many-body", "Si-Al"), ("many-body", "Al-Al"),
        ("many-body", "Al-Si-Al"), ("pair", "Al-Si"), ("pair", "Al-Si"),
    )  # fmt: skip
    current = Coefficients(kinds, np.array([0.1, -0.2, 0.3, 1e-3, 2.0, 5.0]))
    final = Coefficients(kinds, np.array([0.1, 0.0, 0.3, 1e-3, 2.0, 0.0]))
    figure = draw_coefficients({"current": current, "final": final})
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles == ["pair part (2 atoms)", "order 1 (2 atoms)", "order 2 (3 atoms)"]
    groups = [[tick.get_text() for tick in ax.get_yticklabels()] for ax in figure.axes]
    assert groups == [["Al–Si"], ["Al–Al", "Al–Si"], ["Al–Al–Si"]]
    kept = [[text.get_text() for text in ax.texts] for ax in figure.axes]
    assert kept == [["1/2"], ["1/1", "1/2"], ["1/1"]]
    pair = figure.axes[0]
    grey, blue = (line for line in pair.lines if line.get_label().endswith("model"))
    assert (grey.get_color(), blue.get_color()) == (SEEDS, TRAIN)
    assert sorted(grey.get_xdata()) == [2.0, 5.0]
    assert list(blue.get_xdata()) == [2.0]
    assert figure.axes[-1].get_xlabel() == "|coefficient| (eV)"
    png(figure)


def test_many_elements_are_grouped_more_coarsely() -> None:
    symbols = ("Al", "C", "Cu", "H", "N", "Ni", "O", "Si")
    kinds = functions(
        *(("many-body", f"{a}-{b}-{c}") for a in symbols for b in symbols for c in "CH")
    )
    figure = draw_coefficients({"current": Coefficients(kinds, np.ones(len(kinds)))})
    (panel,) = figure.axes
    groups = [tick.get_text() for tick in panel.get_yticklabels()]
    assert groups == ["1 element", "2 elements", "3 elements"]
    totals = [int(text.get_text().split("/")[1]) for text in panel.texts]
    assert sum(totals) == len(kinds)
    png(figure)


def test_budget_figure(finished: Run) -> None:
    figure = draw_budget(finished, stage_looks(finished.stages))
    labels, steps, time = figure.axes
    heights = sum(bar.get_height() for bar in labels.patches)
    failures = [failure for failure in finished.failures if failure.iteration > 0]
    assert heights == len(finished.new_labels) + len(failures)
    assert steps.get_ylabel() == "steps for each label (number)"
    spent = times(finished)
    assert spent["labels"] == pytest.approx(
        sum(r.seconds for r in (*finished.labels, *finished.tests))
    )
    # The rest of the whole time, 9000 s, is what was neither labels nor fits.
    assert sum(spent.values()) == pytest.approx(9000.0)
    assert time.get_xlabel() == "time (h)"
    assert np.allclose(
        [bar.get_width() for bar in time.patches], np.array([*spent.values()]) / 3600
    )
    png(figure)


def test_steps_are_shared_among_the_labels_of_an_iteration(finished: Run) -> None:
    points = {i: (steps, any_found) for i, steps, any_found in steps_per_label(finished, "solid")}
    mine = [t for t in finished.trajectories if t.stage == "solid"]
    for iteration, (steps, any_found) in points.items():
        n = sum(label.iteration == iteration for label in finished.new_labels)
        total = sum(t.steps for t in mine if t.iteration == iteration)
        assert any_found == (n > 0)
        assert steps * max(n, 1) == pytest.approx(total)


def test_durations_in_words() -> None:
    times_and_words = {
        0.25: "0.25 s", 42.4: "42 s", 300: "5 min", 3599: "1 h 0 min", 12_000: "3 h 20 min",
        187_200: "2 d 4 h", float("nan"): "unknown",
    }  # fmt: skip
    assert {seconds: duration(seconds) for seconds in times_and_words} == times_and_words


def test_one_iteration_is_drawn_too(tmp_path: Path) -> None:
    synthetic(tmp_path, 1, stages=("solid",), test=False)
    run = read_run(tmp_path)
    looks = stage_looks(run.stages)
    figure = draw_errors(run.fits, run.new_labels, looks)
    png(figure)
    low, high = figure.axes[0].get_xlim()
    assert [tick for tick in figure.axes[0].get_xticks() if low < tick < high] == [1]
    png(draw_budget(run, looks))
