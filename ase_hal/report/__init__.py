"""The report of a run: one page that says what it did and how good its model is."""

from __future__ import annotations

from pathlib import Path

from ase_hal.journal import write_atomically
from ase_hal.report.budget import budget_section
from ase_hal.report.calibration import calibration_section
from ase_hal.report.coefficients import coefficients_section
from ase_hal.report.errors import errors_section
from ase_hal.report.models import Models, coefficients, comparisons, read_models
from ase_hal.report.page import render
from ase_hal.report.parity import parity_section
from ase_hal.report.record import Run, read_run
from ase_hal.report.style import Section, png
from ase_hal.report.tables import relevance_section, status, summary
from ase_hal.report.trajectories import trajectory_sections

__all__ = ["write_report"]


def write_report(directory: str | Path) -> Path:
    """Write ``report/index.html`` and its figures into the directory of a run.

    The run may be finished, interrupted or still going on; what it does not have yet is left
    out with a sentence that says so. The page needs no other file and no network; the figures
    lie beside it as PNG files too.

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
    run = read_run(directory)
    models = read_models(run.directory)
    sections = _sections(run, models)
    folder = run.directory / "report"
    folder.mkdir(exist_ok=True)
    pictures = {}
    for section in sections:
        if section.draw is not None:
            pictures[section.name] = png(section.draw())
            write_atomically(folder / f"{section.name}.png", pictures[section.name])
    page = folder / "index.html"
    title = f"Hyperactive learning: {run.directory.resolve().name}"
    html = render(title, status(run), summary(run, models), sections, pictures)
    write_atomically(page, html.encode(errors="surrogateescape"))  # names of files
    return page


def _sections(run: Run, models: Models) -> list[Section]:
    try:
        functions, problem = coefficients(models), models.problem
    except ImportError as error:
        functions, problem = {}, f"naming the functions needs python-ace ({error})"
    model = "final sparse" if "final" in models.committees else "last"
    return [
        errors_section(run),
        calibration_section(run),
        parity_section(comparisons(run, models), model=model, problem=models.problem),
        budget_section(run),
        *trajectory_sections(run),
        coefficients_section(functions, problem=problem),
        relevance_section(run, models),
    ]
