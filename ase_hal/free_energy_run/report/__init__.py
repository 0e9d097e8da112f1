"""The report of a run: one page with the figures of the paper, for this run."""

from __future__ import annotations

from pathlib import Path

from ase_hal.free_energy_run.record import LearningRun
from ase_hal.free_energy_run.report.curves import curve_section
from ase_hal.free_energy_run.report.landscapes import landscape_sections
from ase_hal.free_energy_run.report.path import path_section
from ase_hal.free_energy_run.report.phases import phases_section
from ase_hal.free_energy_run.report.rounds import criteria_section, errors_section
from ase_hal.free_energy_run.report.summary import status, summary
from ase_hal.journal import write_atomically
from ase_hal.report.page import render
from ase_hal.report.style import png

__all__ = ["write_report"]


def write_report(directory: str | Path) -> Path:
    """Write ``report/index.html`` and its figures into the directory of a run.

    The run may be finished, interrupted or still going on; what it does not have yet is left
    out with a sentence that says so.

    Parameters
    ----------
    directory : path-like
        Directory of the run.

    Returns
    -------
    Path
        The page.

    Raises
    ------
    ValueError
        If the directory is not that of a run, or a file in it is damaged.
    """
    run = LearningRun.read(directory)
    sections = [
        errors_section(run),
        criteria_section(run),
        *landscape_sections(run),
        curve_section(run),
        path_section(run),
        phases_section(run),
    ]
    folder = run.directory / "report"
    folder.mkdir(exist_ok=True)
    pictures = {}
    for section in sections:
        if section.draw is not None:
            pictures[section.name] = png(section.draw())
            write_atomically(folder / f"{section.name}.png", pictures[section.name])
    page = folder / "index.html"
    title = f"Free energy: {run.directory.resolve().name}"
    html = render(title, status(run), summary(run), sections, pictures)
    write_atomically(page, html.encode(errors="surrogateescape"))  # names of files
    return page
