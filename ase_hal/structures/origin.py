"""How a structure was made, written into it."""

from __future__ import annotations

from typing import Any

import numpy as np
from ase import Atoms

from ase_hal.weights import FILE_WEIGHTS, TYPE_KEY


def record(atoms: Atoms, how: str, **values: Any) -> None:
    """Add a step to ``atoms.info['hal_origin']``, which reads ``first(...) | then(...)``.

    What a file said about the weight and the kind of the structure it was made from is removed.
    """
    forget_file(atoms)
    words = ", ".join(f"{name}={_word(value)}" for name, value in values.items())
    before = atoms.info.get("hal_origin")
    step = f"{how}({words})"
    atoms.info["hal_origin"] = f"{before} | {step}" if before else step


def without_notes(atoms: Atoms) -> Atoms:
    """A copy without what explorers noted about it; how it was made stays."""
    copy = atoms.copy()
    kept = {"hal_origin"}
    copy.info = {k: v for k, v in atoms.info.items() if k in kept or not k.startswith("hal_")}
    return copy


def as_start(atoms: Atoms) -> Atoms:
    """A copy to start an exploration from: without notes, and without what a file says of it.

    The weight and the kind of a structure are its own, not those of what comes of it.
    """
    copy = without_notes(atoms)
    forget_file(copy)
    return copy


def forget_file(atoms: Atoms) -> None:
    """Remove the weights and the kind that a structure has from a file."""
    for key in (*FILE_WEIGHTS, TYPE_KEY):
        atoms.info.pop(key, None)


def _word(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, tuple | list | np.ndarray):
        return "x".join(_word(item) for item in value)
    return str(value)


def check_range(name: str, bounds: tuple[float, float], *, above: float) -> None:
    """Raise ValueError unless ``above < low <= high``, both finite."""
    low, high = bounds
    if not (above < low <= high < np.inf):
        raise ValueError(f"{name} is a range (low, high) above {above:g}, got {bounds}")
