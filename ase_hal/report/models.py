"""Reading the models of a run, and comparing them with its labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import signature
from pathlib import Path

import numpy as np
from ase import Atoms

from ase_hal.ace.basis import BasisFunction
from ase_hal.linear_committee import LinearCommittee
from ase_hal.linear_fit import LinearFit
from ase_hal.metrics import Comparison, compare
from ase_hal.prediction import Array
from ase_hal.quantities import FORCE
from ase_hal.report.record import Run

# What LinearFit has where the run file gives nothing else, eV/Å.
_FORCE_BOUND: float = signature(LinearFit).parameters["force_bound"].default


@dataclass(frozen=True)
class Models:
    """The fitted models of a run, as far as they can be read.

    Attributes
    ----------
    committees : mapping of str to LinearCommittee
        ``"current"``, the last one of the loop, and ``"final"``, the sparse one chosen at its
        end.
    problem : str
        Why a model could not be read; empty if all could, or if there is none.
    """

    committees: Mapping[str, LinearCommittee]
    problem: str = ""

    @property
    def best(self) -> LinearCommittee | None:
        """The final model, else the current one."""
        return self.committees.get("final", self.committees.get("current"))


@dataclass(frozen=True)
class Coefficients:
    """Coefficients (n,) of a model, in eV, and the functions they belong to."""

    functions: tuple[BasisFunction, ...]
    values: Array


def read_models(directory: Path) -> Models:
    """Read ``committee.json`` and ``final.json`` where they exist."""
    committees, problems = {}, []
    for name, file in (("current", "committee.json"), ("final", "final.json")):
        if (directory / file).is_file():
            try:
                committees[name] = LinearCommittee.read(directory / file)
            except (OSError, ValueError) as error:
                # A run that goes on may be between replacing one half of a model and the other.
                problems.append(f"{file} cannot be read ({error})")
    return Models(committees, "; ".join(problems))


def comparisons(run: Run, models: Models) -> dict[str, Comparison]:
    """Predictions beside labels for the training and the test set, as far as they exist.

    Energies are without the one-body energies of the atoms. The training set is what the last
    fit knew, not what was labelled since.
    """
    if models.best is None or not run.fits:
        return {}
    train = run.dataset[: run.fits[-1].n_structures]
    sets = {"train": train, "test": run.structures("test.extxyz")}
    bound = _force_bound(run)
    return {name: _compare(models.best, s, bound) for name, s in sets.items() if s}


def coefficients(models: Models) -> dict[str, Coefficients]:
    """The coefficients of each model; ImportError where python-ace is needed and missing."""
    return {
        name: Coefficients(committee.basis.functions, committee.posterior.mean)
        for name, committee in models.committees.items()
    }


def _force_bound(run: Run) -> float:
    """The largest force component that the fits of the run took into account, eV/Å."""
    fit = run.settings.get("fit") or {}
    return FORCE.parse(fit["force_bound"]) if fit.get("force_bound") else _FORCE_BOUND


def _compare(
    committee: LinearCommittee, structures: Sequence[Atoms], force_bound: float
) -> Comparison:
    comparison = compare(committee, structures, force_bound=force_bound)
    one_body = committee.baseline.one_body
    compared = [structures[i] for i in comparison.structures]
    shift = np.array([np.mean([one_body[s] for s in atoms.symbols]) for atoms in compared])
    return replace(
        comparison,
        energy=comparison.energy - shift,
        energy_label=comparison.energy_label - shift,
    )
