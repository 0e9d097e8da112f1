"""Criteria that fill the domain, whatever the surface (section 2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from ase_hal.free_energy.criteria.criterion import Criterion, Knowledge
from ase_hal.free_energy.sampling import billiard_section, billiard_walk, quasi_random
from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True, kw_only=True)
class GlobalSampling(Criterion):
    """Points everywhere.

    Attributes
    ----------
    method : str
        ``"billiard"``, or a sequence of `quasi_random`.
    boundary : float
        Fraction of the points of a billiard walk that are taken where it meets a wall.
    """

    name: ClassVar[str] = "global"
    method: Literal["billiard", "sobol", "halton", "latin_hypercube"] = "billiard"
    boundary: float = 0.0

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Fill the domain with points (count, d)."""
        domain = known.order_parameters.domain
        if self.method == "billiard":
            return billiard_walk(domain, count, boundary=self.boundary, rng=rng)
        return quasi_random(domain, count, method=self.method, rng=rng)


@dataclass(frozen=True, kw_only=True)
class SectionSampling(Criterion):
    """Points in which only a few order parameters are far from zero: the 2D billiard walk.

    Attributes
    ----------
    free : tuple of int, optional
        Those that take all values; by default the trivial ones (the composition) and the first
        other one.
    width : float
        By how much at most the others differ from zero.
    """

    name: ClassVar[str] = "section"
    free: tuple[int, ...] | None = None
    width: float = 0.05

    def find(self, known: Knowledge, count: int, *, rng: np.random.Generator) -> Array:
        """Fill the section with points (count, d)."""
        free = self.free or tuple(range(known.order_parameters.n_trivial + 1))
        domain = known.order_parameters.domain
        return billiard_section(domain, count, free=free, width=self.width, rng=rng)
