"""What to tell when a run has ended: what was made, where it is, what to do with it."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean

from ase_hal.display.progress import Event, Progress
from ase_hal.display.wording import plural, time_in_words

_WHY = {
    "converged": "in every stage, trajectories in a row stayed below the tolerance",
    "labels": "all the labels that max_labels allows are made",
    "iterations": "all the iterations that max_iterations allows are done",
    "stages": "every stage has converged or has the labels that its max_labels allows",
    "broken": "trajectories break before there is anything to label: see the warning above",
    "failures": "no reference calculation of the last ten iterations succeeded",
}

_TOO_SURE, _FEW = 3.0, 4  # root mean square of errors over sigma; of so many it says little

_FILES = {
    "report/index.html": "figures and tables about the run; open it in a browser",
    "dataset.extxyz": "the training set, with energies, forces and stresses",
    "test.extxyz": "structures that were never trained on",
    "failed.extxyz": "structures whose reference calculation failed, with the reason",
    "committee.json": "the potential with its uncertainty, for ASE (with committee.npz)",
    "final.json": "the sparse potential with its uncertainty, for ASE (with final.npz)",
    "potential.in": "LAMMPS commands; they read potential*.yace",
    "log.jsonl": "everything that happened, one JSON record a line",
}


def closing_lines(progress: Progress, directory: Path, seconds: float | None) -> list[str]:
    """The lines of the closing summary.

    Parameters
    ----------
    progress : Progress
        Of a run that has ended.
    directory : Path
        Where its files are; those that exist are named.
    seconds : float or None
        How long it took; None if it had ended before.
    """
    if progress.end is None:
        raise ValueError("this run has not ended")
    end = progress.end
    why = _WHY.get(end["finished"], end["finished"])
    when = "earlier" if seconds is None else f"{time_in_words(seconds)} after the start"
    lines = [f"Ended {when}: {why}.", *_made(progress, end), "", f"In {directory}:"]
    files = {name: text for name, text in _FILES.items() if _has_content(directory / name)}
    if "final.json" in files and "committee.json" in files:
        files["committee.json"] = "the last potential of the loop, before the sparse fits"
    width = max((len(name) for name in files), default=0)
    lines += [f"  {name:<{width}}  {text}" for name, text in files.items()]
    model = directory / ("final.json" if "final.json" in files else "committee.json")
    return [*lines, "", *_next_steps(model, directory)]


def _made(progress: Progress, end: Event) -> list[str]:
    n_structures, added = end["n_structures"], progress.labels
    made = f"{plural(n_structures, 'structure')} in the training set, {added} found by the run"
    if progress.failures:
        made += f"; {plural(progress.failures, 'reference calculation')} failed"
    lines = [made + "."]
    for key, name in (("train", "training set"), ("test", "test set")):
        energy, forces = end.get(f"{key}_energy_rmse"), end.get(f"{key}_forces_rmse")
        if energy is not None and forces is not None:
            lines.append(
                f"Error of the potential on the {name} (root mean square): "
                f"{1000 * energy:.2f} meV/atom, {forces:.3f} eV/Å."
            )
    if end.get("left_out"):
        lines.append(f"{end['left_out']}.")
    surprise = math.sqrt(fmean(z**2 for z in progress.test_surprises or [0.0]))
    if surprise > _TOO_SURE and len(progress.test_surprises) > _FEW:
        lines.append(
            f"Energy errors on the test set are {surprise:.0f} times the predicted uncertainty, "
            "which is too small: the run may have stopped too early."
        )
    return lines


def _next_steps(model: Path, directory: Path) -> list[str]:
    return [
        "Next:",
        f"  ase-hal report {directory}",
        "      writes the report again",
        f"  ase-hal select OTHER.xyz {model} -n 10 -o CHOSEN.xyz",
        "      the ten structures of OTHER.xyz that are most worth a reference calculation",
        f"  ase-hal export {model} -o NAME",
        "      the potential for pacemaker and LAMMPS under another name",
        "  and in Python:",
        "      from ase_hal import LinearCommittee",
        "      from ase_hal.calculators import CommitteeCalculator",
        f"      atoms.calc = CommitteeCalculator(LinearCommittee.read({str(model)!r}))",
    ]


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
