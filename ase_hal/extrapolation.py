"""Extrapolation grades from the exact posterior, and the tail of their distribution."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ase_hal.linear_committee import LinearCommittee
from ase_hal.prediction import Array


class ExtrapolationGrade:
    r"""How far the environment of every atom lies outside of a training set.

    .. math:: \gamma_i^2 = \frac{b_i^T \Sigma\, b_i}{\max_{j} b_j^T \Sigma\, b_j}

    ==========  ==================================================================
    symbol      meaning
    ==========  ==================================================================
    b_i         ACE functions of atom i, (n,)
    Sigma       posterior covariance of the coefficients, (n, n)
    j           atoms of the training set of the same element
    ==========  ==================================================================

    b^T Sigma b is the leverage of an environment, up to a constant: the variance of its energy.
    gamma up to 1 is interpolation. Because Sigma is the exact posterior and not a list of
    environments, functions that no training structure ever excited keep their prior variance:
    a pair of elements that was never seen is extrapolation, even where each element alone is
    known well.

    Parameters
    ----------
    committee : LinearCommittee
        With the exact posterior.
    dataset : sequence of Atoms
        What it was fitted to. An element that is not in there has the grade infinity.

    Examples
    --------
    >>> grade = ExtrapolationGrade(committee, dataset)
    >>> grade(atoms).max()
    """

    def __init__(self, committee: LinearCommittee, dataset: Sequence[Atoms]) -> None:
        if not hasattr(committee, "posterior") or not hasattr(committee, "basis"):
            raise TypeError(
                "the extrapolation grade needs the posterior of a LinearCommittee, "
                f"got {type(committee).__name__}"
            )
        if not len(dataset):
            raise ValueError("the dataset is empty: nothing to compare with")
        self._evaluators = committee.basis.evaluators()
        self._factor = committee.posterior.covariance_factor
        self._largest = np.zeros(119)
        for atoms in dataset:
            np.maximum.at(self._largest, atoms.numbers, self._variance(atoms))

    def __call__(self, atoms: Atoms) -> Array:
        """Grades of the N atoms, (N,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            grades = np.sqrt(self._variance(atoms) / self._largest[atoms.numbers])
        return np.where(np.isnan(grades), np.inf, grades)

    def _variance(self, atoms: Atoms) -> Array:
        """Variance of the energy of every atom, (N,), eV^2."""
        with self._evaluators.borrowed() as evaluator:
            return ((evaluator.atomic_descriptors(atoms) @ self._factor) ** 2).sum(axis=1)


@dataclass(frozen=True)
class Tail:
    """The tail of a distribution of extrapolation grades.

    Attributes
    ----------
    train, test : tuple of Atoms
        A random split of the tail; the second is a challenging test set.
    threshold : float
        Grade above which a structure is in the tail.
    fraction : float
        Share of all sampled structures that is.
    sampled : int
        How many different ones were looked at.
    """

    train: tuple[Atoms, ...]
    test: tuple[Atoms, ...]
    threshold: float
    fraction: float
    sampled: int


def select_tail(
    structures: Iterable[Atoms],
    grade: Callable[[Atoms], float],
    *,
    n: int,
    rng: np.random.Generator,
    cutoff: float = 1.5,
    test_share: float = 0.2,
    batch: int = 50,
    max_sampled: int = 100_000,
) -> Tail:
    r"""Sample structures until n of them are in the tail of ln gamma (Waters & Rondinelli 2024).

    .. math:: \ln\gamma > m + c \sqrt{\langle (\ln\gamma - m)^2 \rangle}, \qquad
              m = \mathrm{median}(\ln\gamma)

    The slides say "1.5 x second moment above the median", and that 2-3 % are in the tail; 1.5
    standard deviations of a Gaussian leave 6.7 %. Look at ``fraction``.

    Parameters
    ----------
    structures : iterable of Atoms
        Where samples come from; may be endless.
    grade : callable
        ``grade(atoms) -> float``, above 0: ``lambda a: extrapolation_grade(a).max()``.
    n : int
        How many of the tail are wanted; the first n are taken. A structure that comes again
        (of the same formula, with the same grade to eight digits) is not counted.
    rng : numpy.random.Generator
        Splits the tail.
    cutoff : float
        c.
    test_share : float
        Share of the tail that becomes the test set.
    batch : int
        Samples between two looks at the tail; the first look is after as many.
    max_sampled : int
        Most samples.

    Raises
    ------
    ValueError
        For grades that are not positive numbers. A source that ends early is no error: the tail
        is then smaller than n.
    """
    if n < 1 or batch < 2 or max_sampled < 1:
        raise ValueError(f"n, batch and max_sampled: got {n}, {batch} and {max_sampled}")
    if not (math.isfinite(cutoff) and 0 <= test_share <= 1):
        raise ValueError(
            f"cutoff is a number and test_share between 0 and 1, got {cutoff} and {test_share}"
        )
    sampled: list[Atoms] = []
    logarithms: list[float] = []
    known: set[tuple[str, float]] = set()
    threshold, tail = math.nan, np.empty(0, dtype=int)
    source = itertools.islice(structures, max_sampled)
    while len(tail) < n:
        fresh = list(itertools.islice(source, batch))
        if not fresh:
            break
        for atoms in fresh:
            gamma = float(grade(atoms))
            if not 0 < gamma < math.inf:
                raise ValueError(f"a grade is a positive number, got {gamma}")
            key = atoms.get_chemical_formula(), round(math.log(gamma), 8)
            if key in known:
                continue
            known.add(key)
            sampled.append(atoms)
            logarithms.append(math.log(gamma))
        values = np.array(logarithms)
        middle = np.median(values)
        threshold = float(middle + cutoff * np.sqrt(np.mean((values - middle) ** 2)))
        tail = np.flatnonzero(values > threshold)
    chosen = rng.permutation(tail[:n])
    n_test = round(test_share * len(chosen))
    return Tail(
        train=tuple(sampled[i] for i in chosen[n_test:]),
        test=tuple(sampled[i] for i in chosen[:n_test]),
        threshold=math.exp(threshold) if sampled else math.nan,
        fraction=len(tail) / len(sampled) if sampled else math.nan,
        sampled=len(sampled),
    )
