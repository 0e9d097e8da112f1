"""What all commands have in common: errors in a line, and warnings above the display."""

# Imports happen inside the functions, so that `ase-hal --help` answers at once.

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

Debug = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]


@contextmanager
def errors_in_a_line(debug: bool, directory: Path | None = None) -> Iterator[None]:
    """Turn what goes wrong into a line or two and an exit code."""
    try:
        yield
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        again = "; run the same command to go on" if directory is not None else ""
        typer.echo(f"interrupted{again}", err=True)
        raise typer.Exit(130) from None
    except Exception as error:  # the last resort of a program
        if debug:
            raise
        typer.echo(f"error: {' '.join(str(error).split()) or type(error).__name__}", err=True)
        if directory is not None and (directory / "log.jsonl").is_file():
            typer.echo(f"What happened before is in {directory / 'log.jsonl'}.", err=True)
        typer.echo("The option --debug shows where the error comes from.", err=True)
        raise typer.Exit(1) from None


def log_to(console: Console) -> None:
    """Show warnings of the package above the display."""
    import logging

    from rich.logging import RichHandler

    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    logging.getLogger("ase_hal").addHandler(handler)
