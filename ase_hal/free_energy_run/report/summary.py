"""The most important numbers of a run, and whether it is finished."""

from __future__ import annotations

from ase_hal.free_energy.learning import MISSED
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import counted, duration, significant

_FINISHED = {
    "rounds": "Finished: the last round asked for is done.",
    "target": "Finished: the error has reached the target.",
    "converged": "Finished: the error did not fall any more.",
    "nothing new": "Finished: no new point was proposed.",
    "failures": "Given up: every point of the last round failed.",
}


def status(run: LearningRun) -> str:
    """Whether the run is finished, and why, in a sentence."""
    if run.end is not None:
        return _FINISHED.get(run.end["finished"], f"Finished: {run.end['finished']}.")
    if not run.rounds:
        return "Not finished: the first round is not complete yet."
    return f"Not finished: this is the state after round {run.rounds[-1]['round']}."


def summary(run: LearningRun) -> list[tuple[str, str]]:
    """Names and values."""
    found = run.order_parameters
    failed = sum(event["n_failed"] for event in run.rounds)
    imprecise = sum(event["n_imprecise"] for event in run.rounds)
    rows = [
        ("order parameters", f"{found.dimension}, of {counted(len(found.wells), 'variant')}"),
        ("Monte Carlo", f"{counted(run.n_sites, 'site')}, {_temperatures(run)}"),
        ("points", f"{len(run.points):,} in {counted(len(run.rounds), 'round')}"),
        ("less precise than asked", f"{imprecise:,}" if imprecise else "none"),
        ("failed points", f"{failed:,}" if failed else "none"),
        ("order parameters off what was asked for by", _missed(run)),
    ]
    if run.rounds:
        last = run.rounds[-1]
        rows.append(("training error", f"{significant(last['train_error'])} (10 meV)²"))
        if last["test_error"] is not None:
            text = f"{significant(last['test_error'])} (10 meV)², {len(run.test):,} points"
            rows.append(("test error", text))
    if run.end is not None:
        rows.append(("time, all sessions", duration(float(run.end["seconds"]))))
    if run.n_starts > 1:
        rows.append(("interruptions", f"resumed {counted(run.n_starts - 1, 'time')}"))
    rows.append(("ase_hal", f"version {run.version}"))
    return rows


def _missed(run: LearningRun) -> str:
    """Median distance of points from their targets."""
    if not len(run.points):
        return "no points"
    median = run.points.missed_by
    words = f"{significant(median)} in the median"
    return words + (": the windows do not hold" if median > MISSED else "")


def _temperatures(run: LearningRun) -> str:
    return ", ".join(f"{temperature:g} K" for temperature in run.temperatures_K)
