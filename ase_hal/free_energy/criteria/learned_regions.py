"""Criteria that ask the surface of the round before where to look (sections 2.1.3 to 2.1.8)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np

from ase_hal.free_energy.candidates import Candidates
from ase_hal.free_energy.criteria.criterion import Criterion, Knowledge, dealt
from ase_hal.free_energy.errors import squared_errors
from ase_hal.free_energy.ideal_mixing import IdealMixing
from ase_hal.free_energy.paths import PathGrid, lowest_path
from ase_hal.free_energy.surface import Surface, hessian_eigenvalues
from ase_hal.free_energy.symmetry import Array, IntArray


@dataclass(frozen=True, kw_only=True)
class HighError(Criterion):
    """The labelled points that the surface reproduces worst (Eq. 9)."""

    name: ClassVar[str] = "high_error"
    requires: ClassVar[Literal["nothing", "surface", "committee"]] = "surface"

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """The points with the largest errors."""
        points = known.points
        # means of Monte Carlo may lie a little outside, what was aimed at does not
        inside = known.order_parameters.domain.contains(points.eta)[:, None]
        places = np.where(inside, points.eta, points.target)
        return places[_largest(squared_errors(_surface(known), points), count)]


@dataclass(frozen=True, kw_only=True)
class Sensitivity(Criterion):
    """Candidates where the chemical potentials change fastest beside those of ideal mixing.

    The largest eigenvalues of what ideal mixing leaves of the Hessian: its own curvature, which
    nobody has to learn, is largest at the walls of the domain and would draw all points there.
    """

    name: ClassVar[str] = "sensitivity"
    requires: ClassVar[Literal["nothing", "surface", "committee"]] = "surface"
    needs_candidates: ClassVar[bool] = True
    spreads_by_symmetry: ClassVar[bool] = True

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """The candidates with the largest eigenvalues."""
        eta, surface = _candidates(known).eta, _surface(known)
        mixing = IdealMixing(known.order_parameters.inverse)
        kelvin = known.temperature_K
        values = hessian_eigenvalues(
            surface, eta, without=lambda e: mixing.hessian(e, np.full(len(e), kelvin))
        )
        return eta[_largest(values[:, -1], count)]


@dataclass(frozen=True, kw_only=True)
class QueryByCommittee(Criterion):
    """Candidates about whose chemical potentials a committee disagrees most (Eqs. 10 to 12)."""

    name: ClassVar[str] = "committee"
    requires: ClassVar[Literal["nothing", "surface", "committee"]] = "committee"
    needs_candidates: ClassVar[bool] = True
    spreads_by_symmetry: ClassVar[bool] = True

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """The candidates with the largest variances."""
        if known.committee is None:
            raise ValueError("this criterion needs a committee of surfaces")
        candidates = _candidates(known)
        return candidates.eta[_largest(candidates.disagreement(known.committee), count)]


@dataclass(frozen=True, kw_only=True)
class FindWells(Criterion):
    """Candidates near minima: positive definite Hessians, smallest chemical potentials.

    That of the composition counts like all others: minima are those of g as it is, whose slope
    along the composition depends on what an occupied site is said to cost.
    """

    name: ClassVar[str] = "find_wells"
    requires: ClassVar[Literal["nothing", "surface", "committee"]] = "surface"
    needs_candidates: ClassVar[bool] = True
    spreads_by_symmetry: ClassVar[bool] = True

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """The convex candidates with the smallest slopes."""
        candidates = _candidates(known)
        convex = np.flatnonzero(candidates.eigenvalues[:, 0] > 0)
        return candidates.eta[convex[_largest(-candidates.slope[convex], count)]]


@dataclass(frozen=True, kw_only=True)
class NonConvexity(Criterion):
    """Candidates that are not stable: the Hessian has a negative eigenvalue."""

    name: ClassVar[str] = "non_convexity"
    requires: ClassVar[Literal["nothing", "surface", "committee"]] = "surface"
    needs_candidates: ClassVar[bool] = True
    spreads_by_symmetry: ClassVar[bool] = True

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Random ones of them."""
        candidates = _candidates(known)
        unstable = np.flatnonzero(candidates.eigenvalues[:, 0] < 0)
        return candidates.eta[np.sort(rng.permutation(unstable)[:count])]


@dataclass(frozen=True, kw_only=True)
class LowestPath(Criterion):
    """The states of lowest free energy of compositions around the ordering (section 2.1.8).

    Attributes
    ----------
    grid : PathGrid
        Where they are looked for.
    """

    name: ClassVar[str] = "lowest_path"
    requires: ClassVar[Literal["nothing", "surface", "committee"]] = "surface"
    grid: PathGrid = field(default_factory=PathGrid)

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Deal out the path."""
        path = lowest_path(_surface(known), known.order_parameters, self.grid)
        return dealt(path.eta, count, rng=rng)


def _largest(values: Array, count: int) -> IntArray:
    """Numbers of the largest values (n,), the largest first, always in the same order."""
    return np.argsort(-values, kind="stable")[:count]


def _surface(known: Knowledge) -> Surface:
    if known.surface is None:
        raise ValueError("this criterion needs a surface, which no round has fitted yet")
    return known.surface


def _candidates(known: Knowledge) -> Candidates:
    if known.candidates is None:
        raise ValueError("this criterion needs candidates and a surface to ask about them")
    return known.candidates
