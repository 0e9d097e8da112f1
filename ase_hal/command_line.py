"""What all commands have in common: errors in a line, and warnings above the display."""

# Imports happen inside the functions, so that `ase-hal --help` answers at once.

from __future__ import annotations

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from ase_hal.signals import Ending, ended_by_signals
from ase_hal.terminal import use_plain_characters

if TYPE_CHECKING:
    from rich.console import Console

Debug = Annotated[bool, typer.Option("--debug", help="Show the full traceback of an error.")]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AGAIN = "run the same command to go on"


class Commands(TyperGroup):
    """Commands whose output survives terminals that do not know all characters."""

    def main(self, *arguments: Any, **keywords: Any) -> Any:
        """Run the command line."""
        use_plain_characters()
        return super().main(*arguments, **keywords)


@contextmanager
def errors_in_a_line(debug: bool, directory: Path | None = None) -> Iterator[Ending]:
    """Turn what goes wrong into a line or two and an exit code.

    Signals that ask for an end are among what goes wrong: the block is left as by Ctrl-C.

    Parameters
    ----------
    debug : bool
        Let errors pass, with their traceback.
    directory : Path, optional
        Of a run, which the same command goes on with.

    Yields
    ------
    Ending
        Whether a signal has come.
    """
    again = f"; {_AGAIN}" if directory is not None else ""
    with ended_by_signals() as ending:
        try:
            yield ending
        except typer.Exit:
            raise
        except (KeyboardInterrupt, Exception) as error:  # the last resort of a program
            if ending.signal is not None:
                # Whatever it has led to: processes that it has ended as well, a closed terminal.
                _tell(f"ended by {ending.signal.name}{again}")
                raise typer.Exit(128 + ending.signal) from None
            if isinstance(error, KeyboardInterrupt):
                _tell(f"interrupted{again}")
                raise typer.Exit(130) from None
            if debug:
                raise
            for line in _explained(error, directory):
                _tell(line)
            raise typer.Exit(1) from None


def _explained(error: Exception, directory: Path | None) -> Iterator[str]:
    """What to tell about an error, line by line."""
    from ase_hal.process_pool import ProcessKilled

    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.errno in _FULL:
        place = f" ({error.filename})" if error.filename else ""
        again = f", then {_AGAIN}" if directory is not None else ""
        yield f"error: {error.strerror}{place}: make room{again}"
        return
    if isinstance(error, ProcessKilled) and directory is not None:
        text += f". Then {_AGAIN}"
    yield f"error: {text}"
    if directory is not None and (directory / "log.jsonl").is_file():
        yield f"What happened before is in {directory / 'log.jsonl'}."
    yield "The option --debug shows where the error comes from."


def _tell(line: str) -> None:
    """Write to standard error, unless the terminal is gone."""
    try:
        typer.echo(line, err=True)
        sys.stdout.flush()
    except OSError:
        # What is left to be written would make the end of the process another error.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError, io.UnsupportedOperation):
                os.dup2(nowhere, stream.fileno())


def log_to(console: Console) -> None:
    """Show warnings of the package above the display."""
    import logging

    from rich.logging import RichHandler

    handler = RichHandler(console=console, show_time=False, show_path=False, markup=False)
    logging.getLogger("ase_hal").addHandler(handler)
