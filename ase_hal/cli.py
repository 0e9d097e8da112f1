"""The command line: ``ase-hal run``, ``report``, ``select``, ``export`` and all others."""

# Imports happen inside the commands, so that `ase-hal --help` answers at once.

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ase_hal.command_line import Commands, Debug, errors_in_a_line, log_to
from ase_hal.data_commands import check, fit
from ase_hal.free_energy_run.commands import app as free_energy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ase_hal.data.report import DataReport
    from ase_hal.runfile import RunFile

app = typer.Typer(
    name="ase-hal",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Training sets for interatomic potentials that build themselves, and free energies of "
        "ordering (ase-hal free-energy)."
    ),
)
app.command()(check)
app.command()(fit)
app.add_typer(free_energy, name="free-energy")

Model = Annotated[Path, typer.Argument(help="A committee file, such as committee.json of a run.")]


def _version(wanted: bool) -> None:
    if wanted:
        from ase_hal import __version__

        typer.echo(f"ase-hal {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The run file (YAML).")],
    directory: Annotated[
        Path | None,
        typer.Option(help="Where everything goes; ./NAME for NAME.yaml by default."),
    ] = None,
    check_only: Annotated[
        bool,
        typer.Option("--check", help="Only check the run file; not even a calculator starts."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Start the run that a file describes, or go on with it where it stopped."""
    directory = directory or Path(file.stem)
    with errors_in_a_line(debug, directory) as ending:
        from rich.console import Console

        from ase_hal.display import RunDisplay
        from ase_hal.run import run as run_it
        from ase_hal.runfile import RunFile, RunFileError

        try:
            runfile = RunFile.read(file)
        except RunFileError as error:
            typer.echo(error, err=True)
            raise typer.Exit(2) from None
        if check_only:
            try:
                reports = runfile.data_reports()
            except RunFileError as error:
                typer.echo(error, err=True)
                raise typer.Exit(2) from None
            typer.echo(_summary(runfile, reports))
            if any(report.worst == "wrong" for report in reports.values()):
                raise typer.Exit(2)
            return
        console = Console()
        log_to(console)
        with RunDisplay(console, directory, _most_labels(runfile)) as display:
            run_it(file, directory, on_event=ending.before(display))
        display.close()


def _summary(runfile: RunFile, reports: Mapping[str, DataReport]) -> str:
    """What the file describes, and what was found in the labelled structures that it names."""
    from ase_hal.data.report_text import short_lines

    stages = ", ".join(stage.name for stage in runfile.explorer().stages)
    words = {"wrong": "wrong labels", "likely": "labels that are probably wrong"}
    doubtful = [
        f"{words[report.worst]} in {name}"
        for name, report in reports.items()
        if report.worst in words
    ]
    verdict = f"has {' and '.join(doubtful)}" if doubtful else "is all right"
    lines = [
        f"{runfile.path} {verdict}: {len(runfile.seeds())} structures to start from, "
        f"{runfile.basis().size} basis functions, stages {stages}"
    ]
    for name, report in reports.items():
        first, *others = short_lines(report)
        lines += [f"{name}: {first}", *(f"  {line}" for line in others)]
    return "\n".join(lines)


def _most_labels(runfile: RunFile) -> int | None:
    """Labels that the run may make at most, if its file says so."""
    if runfile.loop.max_labels is not None:
        return runfile.loop.max_labels
    stages = [stage.max_labels for stage in runfile.explorer().stages]
    return sum(n for n in stages if n) if all(stages) else None


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    debug: Debug = False,
) -> None:
    """Write figures and tables about a run, finished or not, as a web page."""
    with errors_in_a_line(debug):
        from ase_hal.report import write_report

        typer.echo(f"written: {write_report(directory)}")


@app.command()
def select(
    candidates: Annotated[
        list[Path],
        typer.Argument(help="Structures in any format ASE reads; one file or several."),
    ],
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The chosen ones, NAME.xyz.")],
    n: Annotated[int, typer.Option("-n", min=1, help="How many to choose at most.")] = 10,
    min_distance: Annotated[
        float,
        typer.Option(
            min=0.0,
            help="Refuse structures with atoms closer than this fraction of the sum of their "
            "covalent radii; 0 refuses none.",
        ),
    ] = 0.6,
    max_force: Annotated[
        float,
        typer.Option(min=0.0, help="Refuse structures with larger forces, eV/Å; 0 refuses none."),
    ] = 0.0,
    debug: Debug = False,
) -> None:
    """Choose the structures that are most worth a reference calculation.

    The output tells the position of each one in its file (hal_candidate, from 0) and the model
    uncertainty (hal_model_std_per_atom, eV).
    """
    with errors_in_a_line(debug):
        from ase_hal import read_committee
        from ase_hal.selection import rank
        from ase_hal.selection.candidate_files import CandidateFiles, check_output, write_chosen

        if warning := check_output(output, [*candidates, model, model.with_suffix(".npz")]):
            typer.echo(warning, err=True)
        committee = read_committee(model)
        files = CandidateFiles.read(candidates)
        ranking = rank(
            files.structures, committee, n=n, min_distance=min_distance, max_force=max_force
        )
        for line in files.refusal_lines(ranking):
            typer.echo(line)
        if not ranking.indices:
            everything = len(ranking.refused) == len(files.structures)
            raise ValueError(
                "all candidates are refused"
                if everything
                else "the model is not uncertain about any candidate"
            )
        for note in write_chosen(output, files.chosen(ranking)):
            typer.echo(note, err=True)
        for line in files.chosen_lines(ranking, n):
            typer.echo(line)
        typer.echo(
            f"written: {len(ranking.indices)} of {len(files.structures)} structures to {output}"
        )


@app.command()
def export(
    model: Model,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Name without ending; by default that of the model."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a potential for pacemaker (.yaml) and LAMMPS (.yace and its commands, .in)."""
    with errors_in_a_line(debug):
        from ase_hal import LinearCommittee
        from ase_hal.export import write_potential

        files = write_potential(LinearCommittee.read(model), output or model.with_suffix(""))
        for path in files:
            typer.echo(f"written: {path}")
        typer.echo(f"\nFor LAMMPS:\n{os.fsdecode(files[-1].read_bytes())}")
