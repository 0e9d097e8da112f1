"""What the studies of sampling share: labels, results kept on the disk, errors over seeds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS

from ase_hal.journal import read_json, write_json
from ase_hal.process_pool import ProcessPool

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def labelled(atoms: Atoms) -> Atoms:
    """A copy that keeps what the calculator of the atoms says."""
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(
        copy,
        energy=atoms.get_potential_energy(force_consistent=True),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(),
    )
    return copy


def label_here(structures: Sequence[Atoms], truth: Any, *, on_failure: Any = None) -> list[Atoms]:
    """Label like `ase_hal.label`, but in this process, with one calculator for everything."""
    found = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = truth
        found.append(labelled(copy))
    return found


def relaxation(atoms: Atoms, *, steps: int) -> list[Atoms]:
    """Labelled structures on the way to a minimum of the calculator of the atoms."""
    with BFGS(atoms, logfile=None, maxstep=0.1) as optimizer:
        return [labelled(atoms) for _ in optimizer.irun(fmax=0.02, steps=steps)]


def spread_out(frames: Sequence[Atoms], n: int) -> list[Atoms]:
    """At most n of the frames, at equal distances, the first and the last one included."""
    return [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, n).round().astype(int))]


def settle(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make a folder for results of these settings; refuse one that holds others."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "settings.json"
    if file.exists() and read_json(file) != settings:
        raise SystemExit(f"{folder} holds results of other settings ({file}): take another folder")
    write_json(file, settings)


def calculate(jobs: Mapping[Path, Callable[[Path], None]], *, workers: int) -> None:
    """Have the files written that are not there yet, each by its job in a process."""
    missing = {file: job for file, job in jobs.items() if not file.exists()}
    if not missing:
        return
    with ProcessPool(workers) as pool:
        running = {file: pool.submit(job, file) for file, job in missing.items()}
        for file, future in running.items():
            future.result()
            print(f"{file.name}: done", flush=True)


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean and its standard error, nan for a single value; values that are nan do not count."""
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return np.nan, np.nan
    error = known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.nan
    return float(known.mean()), float(error)


def ratio_and_error(values: Sequence[float], others: Sequence[float]) -> tuple[float, float]:
    """Geometric mean of the ratios of values that belong together, and its standard error.

    Two schemes with the same seed share starts and tests. What these have in common drops out of
    the ratio, and its error is much smaller than those of the values.
    """
    mean, error = mean_and_error(np.log(values) - np.log(others))
    return float(np.exp(mean)), float(np.exp(mean) * error)


def with_error(mean: float, error: float) -> str:
    """For a table; no error where there is none."""
    if np.isnan(mean):
        return "-"
    return f"{mean:.3g}" if np.isnan(error) else f"{mean:.3g} ± {error:.1g}"


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """A table, the first line being its head."""
    rows = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
