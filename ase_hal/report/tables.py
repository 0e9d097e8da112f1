"""The tables of the report: a summary, and the fits by automatic relevance determination."""

from __future__ import annotations

import numpy as np

from ase_hal.report.models import Models
from ase_hal.report.record import EndRecord, FitRecord, RelevanceRecord, Run, finite
from ase_hal.report.style import Section, counted, duration, significant

_FINISHED = {
    "converged": "Finished: in every stage, trajectories in a row stayed below the tolerance.",
    "labels": "Finished: the budget of labels is spent.",
    "iterations": "Finished: the last iteration asked for is done.",
    "stages": "Finished: every stage has converged or has the labels it may have.",
    "broken": "Given up: trajectories broke before there was anything to label.",
    "failures": "Given up: no reference calculation of the last ten iterations succeeded.",
}


def status(run: Run) -> str:
    """Whether the run is finished, and why, in a sentence."""
    if run.end is not None:
        return _FINISHED.get(run.end.finished, f"Finished: {run.end.finished}.")
    done = max((fit.iteration for fit in run.fits), default=0)
    if not done:
        return "Not finished: the first model has not been fitted yet."
    return f"Not finished: this is the state in iteration {done}."


def summary(run: Run, models: Models) -> list[tuple[str, str]]:
    """The most important numbers of a run, named."""
    failures = len(run.failures)
    rows = [
        ("training set", _training_set(run)),
        ("failed labels", f"{failures:,}" if failures else "none"),
    ]
    if run.fits:
        # The errors of a finished run are those of its final model.
        errors = run.end if run.end and np.isfinite(run.end.train_energy_rmse) else run.fits[-1]
        rows += [
            ("training error", _errors(errors, "train", "unknown")),
            ("test error", _errors(errors, "test", "no test set")),
            ("left out", errors.left_out or "nothing"),
            ("iterations", f"{run.fits[-1].iteration:,}"),
            ("basis", _basis(run.fits[-1], models)),
        ]
    if run.end is not None and np.isfinite(run.end.seconds):
        since = " since it was last resumed" if run.n_starts > run.end.sessions else ""
        rows.append(("time", duration(run.end.seconds) + since))
    label_times = finite(label.seconds for label in run.labels)
    if len(label_times):
        rows.append(("time of a label", f"{duration(float(np.median(label_times)))} (median)"))
    if run.n_starts > 1:
        rows.append(("interruptions", f"resumed {counted(run.n_starts - 1, 'time')}"))
    rows.append(("ase_hal", f"version {run.version}"))
    return rows


def relevance_section(run: Run, models: Models) -> Section:
    """The table of sparse fits (as Table II of van der Oord et al. 2022)."""
    title = "Sparse models"
    if not run.relevance:
        return Section(
            title, "This run has made no fits by automatic relevance determination (ARD)."
        )
    text = (
        "Automatic relevance determination leaves out functions that the data do not ask for: "
        "the larger the threshold α′, the more functions stay. Fewer functions evaluate "
        "faster. Where the test error stops falling (or rises) while the training error still "
        "falls, more functions only learn the training set by heart."
    )
    columns = (
        "α′", "functions", "fit time", "train energy (meV/atom)", "train forces (eV/Å)",
        "test energy (meV/atom)", "test forces (eV/Å)",
    )  # fmt: skip
    ordered = sorted(run.relevance, key=lambda record: record.threshold)
    chosen = _chosen(ordered, models)
    if chosen is not None:
        text += " ✓ marks the one that was kept as the final model."
    rows = tuple(
        (
            f"{record.threshold:,.6g}{' ✓' if record is chosen else ''}",
            f"{record.n_basis:,}",
            duration(record.seconds),
            significant(1000 * record.train_energy_rmse),
            significant(record.train_forces_rmse),
            significant(1000 * record.test_energy_rmse),
            significant(record.test_forces_rmse),
        )
        for record in ordered
    )
    return Section(title, text, columns=columns, rows=rows)


def _chosen(records: list[RelevanceRecord], models: Models) -> RelevanceRecord | None:
    if "final" not in models.committees:
        return None
    size = int(models.committees["final"].posterior.active.sum())
    matching = [record for record in records if record.n_basis == size]
    return matching[0] if len(matching) == 1 else None


def _training_set(run: Run) -> str:
    seeds = sum(atoms.info.get("hal_iteration", 0) == 0 for atoms in run.dataset)
    new = len(run.new_labels)
    stages = [
        f"{sum(label.stage == stage for label in run.new_labels)} {stage}" for stage in run.stages
    ]
    return f"{counted(seeds, 'seed')} + {new:,} found" + (
        f" ({', '.join(stages)})" if len(stages) > 1 and new else ""
    )


def _errors(source: FitRecord | EndRecord, which: str, otherwise: str) -> str:
    energy = getattr(source, f"{which}_energy_rmse")
    forces = getattr(source, f"{which}_forces_rmse")
    if not np.isfinite(energy):
        return otherwise
    text = f"{significant(1000 * energy)} meV/atom"
    return text + (f", {significant(forces)} eV/Å" if np.isfinite(forces) else "")


def _basis(fit: FitRecord, models: Models) -> str:
    text = counted(fit.n_basis, "function")
    if "final" in models.committees:
        active = int(models.committees["final"].posterior.active.sum())
        text += f", {active:,} of them in the final model"
    return text
