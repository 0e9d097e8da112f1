"""Test sets: a gentle one from data at hand, a difficult one from what a loop has looked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ase import Atoms

from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.reference import Failure, label


def split(
    structures: Sequence[Atoms], share: float, *, rng: np.random.Generator
) -> tuple[list[Atoms], list[Atoms]]:
    """Split structures at random into those to train on and those to hold out.

    Parameters
    ----------
    structures : sequence of Atoms
        Of one kind, such as relaxation trajectories: what is held out of data like the training
        set is a gentle test.
    share : float
        Of those held out, 0 to 1.
    rng : numpy.random.Generator

    Returns
    -------
    train, held_out : lists of Atoms
        Each in the old order.
    """
    _check_share(share)
    check_generator(rng)
    held: Array = np.zeros(len(structures), dtype=bool)
    held[rng.permutation(len(structures))[: round(share * len(structures))]] = True
    return (
        [atoms for atoms, out in zip(structures, held, strict=True) if not out],
        [atoms for atoms, out in zip(structures, held, strict=True) if out],
    )


class HoldOut:
    """Labels structures for `learn`, and keeps some of those that were looked for.

    What an explorer finds is what the model finds difficult; a share of it makes a difficult
    test set (Waters & Rondinelli 2024: 20 %). Seeds are never kept.

    Parameters
    ----------
    share : float
        Of the structures that are held out, 0 to 1.
    rng : numpy.random.Generator
        Decides about each structure, by its iteration and index: a loop that is continued with
        the same generator holds out the same ones.
    label : callable
        Does the work; see `ase_hal.label`.

    Attributes
    ----------
    difficult : list of Atoms
        What was held out, with labels.

    Examples
    --------
    >>> hold_out = HoldOut(0.2, rng=rng)
    >>> for step in learn(seeds, fit, explore, reference, rng=rng, label=hold_out):
    ...     print(compare(step.committee, hold_out.difficult).errors())
    """

    def __init__(
        self,
        share: float = 0.2,
        *,
        rng: np.random.Generator,
        label: Callable[..., list[Atoms]] = label,
    ) -> None:
        _check_share(share)
        check_generator(rng)
        self.share = share
        self.difficult: list[Atoms] = []
        self._label = label
        self._key = int(rng.integers(2**63))

    def __call__(
        self,
        structures: Sequence[Atoms],
        calculator: Any,
        *,
        on_failure: Callable[[Failure], None],
    ) -> list[Atoms]:
        """Label; those to train on."""
        labelled = self._label(structures, calculator, on_failure=on_failure)
        self.difficult += [atoms for atoms in labelled if self._held(atoms)]
        return [atoms for atoms in labelled if not self._held(atoms)]

    def _held(self, atoms: Atoms) -> bool:
        iteration = int(atoms.info.get("hal_iteration", 0))
        if iteration < 1:
            return False
        entropy = [self._key, iteration, int(atoms.info["hal_index"])]
        return bool(np.random.default_rng(entropy).random() < self.share)


def _check_share(share: float) -> None:
    if not 0 <= share <= 1:
        raise ValueError(f"share is between 0 and 1, got {share}")
