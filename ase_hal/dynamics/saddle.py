"""SaddleSearch: from two minima to the saddle between them, by dimer, else by elastic band."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from ase import Atoms
from ase.geometry import find_mic

from ase_hal.calculators import CommitteeCalculator
from ase_hal.committee import Committee
from ase_hal.dynamics.evolution_explorer import Pick
from ase_hal.dynamics.saddle_steps import Leash, Stopped, climb_by_dimer, climb_by_neb, idpp, relax
from ase_hal.exploration import ExplorationEnded

logger = logging.getLogger(__name__)

Outcome = Literal["dimer", "neb", "uncertain", "relaxation", "merged", "failed"]

_SAME = 0.1  # Å: structures of which no atom is further apart are one


@dataclass(frozen=True)
class SaddlePath:
    """What a saddle search found.

    Attributes
    ----------
    start, end : Atoms
        The end points, relaxed as far as that went.
    saddle : Atoms or None
        The saddle point, or where the search for it stopped; None where it never began.
    outcome : str
        ``"dimer"`` or ``"neb"``: a saddle was found, by this method. ``"uncertain"``: the
        search stopped where the committee knows too little. ``"relaxation"``: an end point did
        not relax. ``"merged"``: both relaxed into one. ``"failed"``: neither method converged.
    reason : str
        Why there is no saddle.
    barrier : float
        Mean energy of `saddle` above that of `start`, eV; nan without a saddle.
    """

    start: Atoms
    saddle: Atoms | None
    end: Atoms
    outcome: Outcome
    reason: str
    barrier: float


class SaddleSearch:
    """Search for the saddle point between two structures (Waters & Rondinelli 2024).

    Relaxes the end points on the mean of a committee, interpolates (IDPP), climbs from the
    middle with a dimer, and where that does not lead to a saddle between the two, with a nudged
    elastic band, first without and then with a climbing image. It is an explorer, which hands
    over start, saddle and end for labels until it comes back to what is labelled, or its budget
    is spent. A search that fails hands over where it failed: that is what the model has to learn.

    Parameters
    ----------
    initial, final : ase.Atoms
        The same atoms in the same order, before and after. Their constraints hold.
    n_images : int
        Images between the end points.
    fmax : float
        Largest force of a relaxed structure and of a saddle, eV/Å.
    steps : int
        Most steps of each relaxation, dimer and band.
    pick : Pick
        What is sane. ``pick.min_std`` (eV per atom) is the uncertainty below which a structure
        is not worth a label.
    max_std : float
        Stop where the model uncertainty of the energy exceeds this, eV, and hand that over.
    max_labels : int, optional
        Budget of reference calls. Everything counts that the search hands over for labels, also
        what fails there and what is held out; the loop then ends with the reason ``"labels"``.
        The search counts for one loop: make another one for the next.
    name : str
        Tells the structures of this search from those of others in one dataset.

    Notes
    -----
    What it hands over has ``hal_scheme = 'saddle'`` in its info, its ``hal_path`` (the name),
    ``hal_role`` (start, saddle, end), ``hal_outcome``, and in ``hal_call`` its number among all
    that the search has handed over, from which a search that is made anew takes up the count.
    """

    def __init__(
        self,
        initial: Atoms,
        final: Atoms,
        *,
        n_images: int = 5,
        fmax: float = 0.03,
        steps: int = 200,
        pick: Pick | None = None,
        max_std: float = 0.5,
        max_labels: int | None = None,
        name: str = "saddle",
    ) -> None:
        self.final = _aligned(initial, final)
        self.initial = initial.copy()
        if n_images < 1 or steps < 1:
            raise ValueError(f"n_images and steps are at least 1, got {n_images} and {steps}")
        if not (fmax > 0 and max_std > 0):
            raise ValueError(f"fmax and max_std are above 0, got {fmax} and {max_std}")
        if max_labels is not None and max_labels < 0:
            raise ValueError(f"max_labels is 0 or more, got {max_labels}")
        self.n_images = n_images
        self.fmax = fmax
        self.steps = steps
        self.pick = pick or Pick()
        self.max_std = max_std
        self.max_labels = max_labels
        self.name = name
        self._calls = 0

    def __call__(
        self, committee: Committee, *, dataset: Sequence[Atoms], rng: np.random.Generator
    ) -> list[Atoms]:
        """Search; those of start, saddle and end that need a label, the saddle first.

        Raises
        ------
        ExplorationEnded
            With the reason ``"labels"`` once the budget is spent.
        """
        mine = [a for a in dataset if a.info.get("hal_path") == self.name]
        numbers = [a.info.get("hal_call", 0) for a in mine]
        self._calls = max(self._calls, len(mine), *numbers)
        left = None if self.max_labels is None else self.max_labels - self._calls
        if left is not None and left <= 0:
            raise ExplorationEnded("labels")
        path = self.search(committee, rng=rng)
        logger.info("%s: %s %s", self.name, path.outcome, path.reason)
        found = []
        for role, atoms in (("saddle", path.saddle), ("start", path.start), ("end", path.end)):
            if atoms is None or any(_distance(atoms, known) < _SAME / 5 for known in dataset):
                continue
            std = committee.predict(atoms).model_std / len(atoms)
            if std > self.pick.min_std:
                copied = atoms.copy()
                copied.info |= {
                    "hal_scheme": "saddle",
                    "hal_path": self.name,
                    "hal_role": role,
                    "hal_outcome": path.outcome,
                }
                found.append(copied)
        found = found[:left]
        for atoms in found:
            self._calls += 1
            atoms.info["hal_call"] = self._calls
        return found

    def search(self, committee: Committee, *, rng: np.random.Generator) -> SaddlePath:
        """Relax, interpolate, climb; without regard to any dataset."""
        leash = Leash(committee, self.pick, self.max_std)
        ends, stopped = [], None
        for atoms in (self.initial, self.final):
            end = self._on(atoms, committee)
            try:
                relax(end, leash, fmax=self.fmax, steps=self.steps)
            except Stopped as stop:
                stopped = stopped or stop
                end = stop.atoms
            ends.append(end)
        start, end = ends
        if stopped is not None:
            outcome: Outcome = "uncertain" if stopped.uncertain else "relaxation"
            return SaddlePath(start, None, end, outcome, str(stopped), np.nan)
        if _distance(start, end) < _SAME:
            reason = "both end points relaxed into the same structure"
            middle = self._on(self._images(self.initial, self.final)[self.n_images // 2 + 1])
            return SaddlePath(start, middle, end, "merged", reason, np.nan)
        return self._climb(committee, leash, start, end, rng)

    def _climb(
        self,
        committee: Committee,
        leash: Leash,
        start: Atoms,
        end: Atoms,
        rng: np.random.Generator,
    ) -> SaddlePath:
        """Dimer from the middle of the path, or else the band."""
        images = [self._on(image, committee) for image in self._images(start, end)]
        saddle = self._on(images[len(images) // 2], committee)
        reason = ""
        outcome: Outcome = "dimer"
        try:
            climb_by_dimer(
                saddle, images, leash, fmax=self.fmax, steps=self.steps,
                seed=int(rng.integers(2**31)),
            )  # fmt: skip
        except Stopped as stop:
            if stop.uncertain:
                return SaddlePath(start, stop.atoms, end, "uncertain", str(stop), np.nan)
            reason, outcome = f"dimer: {stop}", "neb"
            try:
                saddle = climb_by_neb(images, leash, fmax=self.fmax, steps=self.steps)
            except Stopped as last:
                outcome = "uncertain" if last.uncertain else "failed"
                reason = f"{reason}; band: {last}"
                return SaddlePath(start, last.atoms, end, outcome, reason, np.nan)
        energies = [committee.predict(atoms).energy for atoms in (start, saddle)]
        return SaddlePath(start, saddle, end, outcome, reason, energies[1] - energies[0])

    def _images(self, start: Atoms, end: Atoms) -> list[Atoms]:
        return idpp(start, _aligned(start, end), self.n_images)

    @staticmethod
    def _on(atoms: Atoms, committee: Committee | None = None) -> Atoms:
        atoms = atoms.copy()
        if committee is not None:
            atoms.calc = CommitteeCalculator(copy.copy(committee))
        return atoms


def _aligned(initial: Atoms, final: Atoms) -> Atoms:
    """The final structure with every atom at its image next to where it came from."""
    if not np.array_equal(initial.numbers, final.numbers):
        raise ValueError(
            "initial and final are the same atoms in the same order, got "
            f"{initial.symbols} and {final.symbols}"
        )
    if not np.array_equal(initial.pbc, final.pbc) or not np.allclose(initial.cell, final.cell):
        raise ValueError("initial and final have the same cell and periodicity")
    vectors, lengths = find_mic(final.positions - initial.positions, initial.cell, initial.pbc)
    if not np.max(lengths, initial=0.0) > _SAME:
        raise ValueError(
            f"initial and final are the same structure: no atom moves by more than {_SAME} Å"
        )
    aligned = initial.copy()
    aligned.set_positions(initial.positions + vectors, apply_constraint=False)
    return aligned


def _distance(one: Atoms, other: Atoms) -> float:
    """How far the atom that moved most did, Å; infinity for different atoms or cells."""
    if not np.array_equal(one.numbers, other.numbers) or not np.allclose(one.cell, other.cell):
        return np.inf
    _, lengths = find_mic(one.positions - other.positions, one.cell, one.pbc)
    return float(np.max(lengths, initial=0.0))
