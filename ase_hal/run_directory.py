"""The run file in the directory of its run."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from ase_hal.journal import write_atomically

_COPY = "run.yaml"


def adopt(directory: Path, file: Path, *, changeable: Collection[str]) -> None:
    """`check_same_file`, and then `keep_file`."""
    check_same_file(directory, file, changeable=changeable)
    keep_file(directory, file)


def keep_file(directory: Path, file: Path) -> None:
    """Keep a copy of the run file as ``run.yaml``."""
    write_atomically(directory / _COPY, file.read_bytes())


def check_same_file(directory: Path, file: Path, *, changeable: Collection[str]) -> None:
    """Check that a directory's run, if it has one, is of the same file.

    Parameters
    ----------
    directory, file : Path
    changeable : collection of str
        Sections, or keys of sections as in ``reference.timeout``, that may differ from those of
        the run that is continued.

    Raises
    ------
    ValueError
        If the directory holds a run of another file.
    """
    mine, text = directory / _COPY, file.read_text(encoding="utf-8")
    if mine.exists() and mine.resolve() != file.resolve():
        old, new = yaml.safe_load(mine.read_text(encoding="utf-8")), yaml.safe_load(text)
        for settings, name in itertools.product((old, new), changeable):
            _remove(settings, name)
        if differing := sorted(key for key in {*old, *new} if old.get(key) != new.get(key)):
            raise ValueError(
                f"{directory} holds a run of another file: {', '.join(differing)} "
                f"{'differs' if len(differing) == 1 else 'differ'}. "
                "Give the new run a directory of its own."
            )


def _remove(settings: dict[str, Any], name: str) -> None:
    section, _, key = name.partition(".")
    if not key:
        settings.pop(section, None)
    elif isinstance(settings.get(section), dict):
        settings[section].pop(key, None)
