"""Sections of a run file about learning: criteria, fit, novelty, reweighting, stopping."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator

from ase_hal.free_energy import (
    Criterion,
    EndPoints,
    FindWells,
    GivenPoints,
    GlobalSampling,
    HighError,
    LowestPath,
    NonConvexity,
    Novelty,
    OrderParameters,
    PathGrid,
    QueryByCommittee,
    Reweighting,
    SectionSampling,
    Sensitivity,
    Stopping,
    Vertices,
    Wells,
)
from ase_hal.runfile.errors import Problem, Problems
from ase_hal.runfile.fields import NOT_EMPTY, Count, Index, NotNegative, Part, Positive, Section

Fraction = Annotated[NotNegative, Field(le=1)]
# Hessians of this many points take a day.
CandidateCount = Annotated[Count, Field(le=100_000_000)]

_KINDS: dict[str, type[Criterion]] = {
    kind.name: kind
    for kind in (
        GlobalSampling, SectionSampling, Wells, Vertices, EndPoints, HighError, Sensitivity,
        QueryByCommittee, FindWells, NonConvexity, LowestPath, GivenPoints,
    )
}  # fmt: skip
_GRID = ("half_width", "composition_step", "order_step", "pairs")
_OWN = {
    "global": ("method", "boundary"),
    "section": ("free", "width"),
    "lowest_path": _GRID,
    "given": ("points",),
}


class CriterionSection(Section):
    """One of ``criteria``: where points are wanted."""

    name: Literal[
        "global", "section", "wells", "vertices", "end_points", "high_error", "sensitivity",
        "committee", "find_wells", "non_convexity", "lowest_path", "given",
    ]  # fmt: skip
    count: Count | None = None
    repeats: Count = 1
    perturbation: NotNegative = 0.0
    method: Literal["billiard", "sobol", "halton", "latin_hypercube"] | None = None
    boundary: Fraction | None = None
    free: Annotated[tuple[Index, ...], NOT_EMPTY] | None = None
    width: NotNegative | None = None
    half_width: Positive | None = None
    composition_step: Positive | None = None
    order_step: Positive | None = None
    pairs: Literal["first", "all"] | None = None
    points: Annotated[tuple[tuple[float, ...], ...], NOT_EMPTY] | None = None

    @model_validator(mode="after")
    def _keys_belong_together(self) -> CriterionSection:
        mine = ("name", "count", "repeats", "perturbation", *_OWN.get(self.name, ()))
        strange = sorted(self.model_fields_set - set(mine))
        Problems.raise_any(((key,), f"does not go with {self.name!r}") for key in strange)
        needed = "points" if self.name == "given" else "count"
        if getattr(self, needed) is None:
            raise Problems([((needed,), "is missing")])
        self.build()
        return self

    def build(self) -> Criterion:
        """The criterion; ValueError where it refuses something."""
        options = self.given("count", "repeats", "perturbation", *_OWN.get(self.name, ()))
        if self.name == "lowest_path":
            grid = {key: options.pop(key) for key in _GRID if key in options}
            options["grid"] = PathGrid(**grid)
        return _KINDS[self.name](**options)

    def refusals(self, order_parameters: OrderParameters) -> list[Problem]:
        """What does not suit some order parameters."""
        d = order_parameters.dimension
        if self.free is not None:
            if not all(i < d for i in self.free):
                return [(("free",), f"there are {d} order parameters, counted from 0")]
            if len(set(self.free)) < len(self.free):
                return [(("free",), "an order parameter is given twice")]
            try:
                order_parameters.domain.section(self.free, np.zeros(d)).centre  # noqa: B018
            except ValueError:
                return [(("free",), "there are no states in which all others are zero")]
        found: list[Problem] = []
        for i, point in enumerate(self.points or ()):
            if len(point) != d:
                found.append((("points", i), f"{d} order parameters are needed, got {len(point)}"))
            elif not order_parameters.domain.contains(point):
                found.append((("points", i), f"{list(point)} is outside the domain"))
        return found


Criteria = Annotated[tuple[CriterionSection, ...], NOT_EMPTY]


class NoveltySection(Part):
    """``novelty``: which of the proposed points are kept."""

    threshold: Literal["mean", "max"] = "mean"
    neighbours: Count = Novelty.neighbours
    closest: NotNegative = Novelty.closest
    cap: Annotated[Positive, Field(le=1)] = Novelty.cap

    def build(self) -> Novelty:
        return Novelty(**self.model_dump())


class ReweightingSection(Part):
    """``reweighting``: more points where the surface still improves."""

    alpha: NotNegative = Reweighting.alpha
    smallest: Fraction = Reweighting.smallest

    def build(self) -> Reweighting:
        return Reweighting(**self.model_dump())


class StoppingSection(Part):
    """``stopping``: when the rounds end."""

    rounds: Count = Stopping.rounds
    target: NotNegative = Stopping.target
    patience: Count | None = None
    improvement: Fraction = Stopping.improvement

    def build(self) -> Stopping:
        return Stopping(**self.model_dump())


class HoldOutSection(Section):
    """``test``: points that are never fitted to, found by criteria of their own."""

    criteria: Criteria
    candidates: CandidateCount = 100_000


class CurveSection(Section):
    """``composition_curve``: Monte Carlo along the composition, with and without a bias."""

    points: Annotated[Count, Field(ge=3)] = 25
