"""The commands ``ase-hal free-energy run`` and ``ase-hal free-energy report``."""

# Imports happen inside the commands, so that `ase-hal --help` answers at once.

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ase_hal.command_line import Debug, errors_in_a_line, log_to

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Free energies of ordering, learned from Monte Carlo.",
)


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The run file (YAML).")],
    directory: Annotated[
        Path | None,
        typer.Option(help="Where everything goes; by default named like the file, and here."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only see whether the run file is all right.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Start the run that a file describes, or go on with it where it stopped."""
    directory = directory or Path(file.stem)
    with errors_in_a_line(debug, directory) as ending:
        from rich.console import Console

        from ase_hal.free_energy_run.display import RunDisplay
        from ase_hal.free_energy_run.run import run as run_it
        from ase_hal.free_energy_run.runfile import FreeEnergyRunFile
        from ase_hal.runfile.errors import RunFileError

        try:
            runfile = FreeEnergyRunFile.read(file)
        except RunFileError as error:
            typer.echo(error, err=True)
            raise typer.Exit(2) from None
        if check:
            typer.echo(runfile.summary())
            return
        console = Console()
        log_to(console)
        with RunDisplay(console, directory) as display:
            run_it(file, directory, on_event=ending.before(display))
        display.close()


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    debug: Debug = False,
) -> None:
    """Write figures and tables about a run, finished or not, as a web page."""
    with errors_in_a_line(debug):
        from ase_hal.free_energy_run.report import write_report

        typer.echo(f"written: {write_report(directory)}")
