"""select() and rank(): the candidates that are most worth a reference calculation."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms

from ase_hal.committee import REFUSALS, Committee
from ase_hal.prediction import Array
from ase_hal.selection.guards import Guards, Refusal, Unfit, refusals_in_words
from ase_hal.selection.pivoting import conditional_order, distant_order

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Ranking:
    """The candidates that are most worth a reference calculation, as `rank` found them.

    Attributes
    ----------
    indices : tuple of int
        Which candidates, in the order in which they are taken.
    remaining_std : tuple of float
        Model uncertainty of each of them when it is taken, with the energies of those before it
        known, eV per atom.
    model_std : (N,) array
        Model uncertainty of every candidate by itself, eV per atom; nan where it was refused.
    refused : tuple of Refusal
        The candidates that were not considered, in their order.
    """

    indices: tuple[int, ...]
    remaining_std: tuple[float, ...] = field(repr=False)
    model_std: Array = field(repr=False)
    refused: tuple[Refusal, ...]

    def refusals_in_words(self) -> str:
        """One line that counts what was refused and names the first; empty where nothing was."""
        return refusals_in_words(self.refused, len(self.model_std)) if self.refused else ""


def select(
    candidates: Sequence[Atoms],
    committee: Committee,
    *,
    n: int,
    min_gain: float = 0.05,
    min_distance: float | None = 0.6,
    max_force: float | None = None,
) -> list[Atoms]:
    """Take the n most uncertain candidates without taking one thing twice.

    After each pick the energies of all candidates are conditioned on that structure's energy
    being known without noise, so that its duplicates and near relatives lose their claim (what
    its forces would tell is left out). The covariance is that of the posterior for a linear
    committee. Others give that over their K members, by which no more than K - 1 candidates can
    be told apart; what is large and far from all that was taken follows after them.

    A committee is most uncertain about broken structures. Those that it cannot evaluate (atoms
    without a meaning, unknown elements, results that are not finite) and those that the guards
    refuse are left out, and a warning names them; see `rank` for the reasons one by one.

    Parameters
    ----------
    candidates : sequence of Atoms
        Structures to choose from; they are looked at one after the other.
    committee : Committee
        Its model uncertainty per atom, ``model_std / N``, is what ranks candidates.
    n : int
        How many to take at most.
    min_gain : float
        A candidate whose remaining standard deviation (or distance) is below this fraction of
        the one it started from is a duplicate of what was picked and never taken.
    min_distance : float, optional
        Guard: shortest distance, as a fraction of the sum of the two covalent radii, as of
        `Trigger`. None or 0 switches this guard off.
    max_force : float, optional
        Guard: largest mean force on an atom, eV/Å. There is none by default: collisions and hot
        liquids have large forces and are wanted, and where a model is uncertain its forces are
        too. With this guard all forces are calculated, which takes half as long again.

    Returns
    -------
    list of Atoms
        At most n of the candidates, the most uncertain first.

    Raises
    ------
    ValueError
        Where there are candidates and all are refused.
    """
    ranking = rank(
        candidates, committee, n=n, min_gain=min_gain, min_distance=min_distance,
        max_force=max_force,
    )  # fmt: skip
    if ranking.refused:
        if len(ranking.refused) == len(candidates):
            first = ranking.refused[0]
            raise ValueError(
                f"{ranking.refusals_in_words()}; the reason of frame {first.index}: {first.reason}"
            )
        logger.warning("%s", ranking.refusals_in_words())
    return [candidates[i] for i in ranking.indices]


def rank(
    candidates: Sequence[Atoms],
    committee: Committee,
    *,
    n: int,
    min_gain: float = 0.05,
    min_distance: float | None = 0.6,
    max_force: float | None = None,
) -> Ranking:
    """Rank as `select` does, and tell the uncertainties, and what was refused and why.

    Parameters are those of `select`. It is no error where all candidates are refused.

    Notes
    -----
    For N candidates and n basis functions (or members) the time is that of evaluating every
    candidate once and O(N n) for each pick, the memory that of N x n numbers.
    """
    if n < 1:
        raise ValueError(f"n is the number of structures to take, at least 1, got {n}")
    if not 0 <= min_gain < 1:
        raise ValueError(f"min_gain is a fraction between 0 and 1, got {min_gain}")
    guards = Guards(min_distance, max_force)
    exact = getattr(committee, "energy_factor", None)
    evaluate = _from_members(committee, guards)
    if exact is not None:
        evaluate = _from_factor(committee, exact, guards)
    model_std = np.full(len(candidates), np.nan)
    factor = np.empty((0, 0))
    sane: list[int] = []
    refused: list[Refusal] = []
    for index, atoms in enumerate(candidates):
        try:
            guards.check_structure(atoms, committee.elements)
            row, std = evaluate(atoms)
        except Unfit as error:
            refused.append(Refusal(index, error.kind, str(error)))
            continue
        except REFUSALS as error:
            reason = str(error) or type(error).__name__
            refused.append(Refusal(index, "failed evaluation", reason))
            continue
        if not sane:
            factor = np.empty((len(candidates), len(row)))
        factor[len(sane)] = row
        sane.append(index)
        model_std[index] = std
    factor = factor[: len(sane)]
    order, left = conditional_order(factor, n, min_gain=min_gain)
    if exact is None:
        more, distances = distant_order(factor, order, n - len(order), min_gain=min_gain)
        order, left = order + more, left + distances
    return Ranking(tuple(sane[i] for i in order), tuple(left), model_std, tuple(refused))


_Evaluate = Callable[[Atoms], tuple[Array, float]]


def _from_factor(
    committee: Committee, energy_factor: Callable[[Sequence[Atoms]], Array], guards: Guards
) -> _Evaluate:
    """Rows of the factor of the posterior covariance, eV per atom, and their lengths."""

    def evaluate(atoms: Atoms) -> tuple[Array, float]:
        if guards.max_force:
            guards.check_prediction(committee.predict(atoms))
        row = energy_factor([atoms])[0] / len(atoms)
        std = math.sqrt(float(row @ row))
        if not math.isfinite(std):
            raise Unfit("result not finite", "sigma: not finite")
        return row, std

    return evaluate


def _from_members(committee: Committee, guards: Guards) -> _Evaluate:
    """Deviations of the members, whose products are their covariance, and model uncertainties."""

    def evaluate(atoms: Atoms) -> tuple[Array, float]:
        prediction = committee.predict(atoms)
        guards.check_prediction(prediction)
        energies = np.asarray(prediction.member_energies, dtype=float)
        row = (energies - energies.mean()) / math.sqrt(max(len(energies) - 1, 1))
        return row / len(atoms), prediction.model_std / len(atoms)

    return evaluate
