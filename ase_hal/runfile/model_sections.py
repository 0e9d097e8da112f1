"""Sections of a run file that make the model: ``basis`` and ``fit``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from ase_hal.ace.basis import ACEBasis, InnerCutoff, PairPart
from ase_hal.linear_fit import LinearFit
from ase_hal.quantities import Energy, Force, Length
from ase_hal.repulsion import ZBL
from ase_hal.runfile.errors import Problems
from ase_hal.runfile.fields import (
    Count,
    ExistingFile,
    Index,
    NotNegative,
    Part,
    Positive,
    Section,
    Symbol,
)
from ase_hal.smoothness import Smoothness
from ase_hal.weights import TYPE_KEY, Weights, WeightsByType

# The ways to choose the functions, each by the keys it takes.
_CHOICES = {
    "preset": ("preset",),
    "order": ("order", "degree"),
    "nradmax_by_orders": ("nradmax_by_orders", "lmax_by_orders"),
    "pacemaker": ("pacemaker",),
}


class PairSection(Section):
    """``basis.pair``: a pair potential with a cutoff of its own."""

    rcut: Length
    nradmax: Count


class BasisSection(Section):
    """``basis``: the functions of the potential, chosen in one of four ways."""

    preset: Literal["small", "medium", "large"] | None = None
    order: Count | None = None
    degree: Positive | None = None
    angular_weight: Positive | None = None
    nradmax_by_orders: tuple[Count, ...] | None = None
    lmax_by_orders: tuple[Index, ...] | None = None
    pacemaker: ExistingFile | None = None
    rcut: Length | None = None
    inner_cutoff: Length | None = None
    pair: PairSection | None = None

    @model_validator(mode="after")
    def _consistent(self) -> BasisSection:
        keys = self.model_fields_set
        chosen = [way for way, needed in _CHOICES.items() if keys & set(needed)]
        if len(chosen) != 1:
            ways = "; ".join(" and ".join(needed) for needed in _CHOICES.values())
            raise ValueError(f"choose the functions in one way: {ways}")
        (way,) = chosen
        problems = [((key,), "is missing") for key in _CHOICES[way] if key not in keys]
        if way == "pacemaker":
            extra = sorted(keys & {"rcut", "inner_cutoff", "pair"})
            problems += [((key,), "belongs into the pacemaker file") for key in extra]
        elif self.rcut is None:
            problems.append((("rcut",), "is missing"))
        elif self.inner_cutoff is not None and self.inner_cutoff >= self.rcut:
            problems.append((("inner_cutoff",), "has to be shorter than rcut"))
        if self.angular_weight is not None and way != "order":
            problems.append((("angular_weight",), "goes with order and degree only"))
        if problems:
            raise Problems(problems)
        return self

    def build(self, elements: Sequence[str]) -> ACEBasis:
        """The basis for some elements; ValueError where there is none like this."""
        if self.pacemaker is not None:
            basis = ACEBasis.from_specification(self.pacemaker)
            if set(basis.elements) != set(elements):
                raise ValueError(
                    f"{self.pacemaker.name} is for {', '.join(basis.elements)}, "
                    f"the run for {', '.join(sorted(elements))}"
                )
            return basis
        options: dict[str, Any] = {
            "rcut": self.rcut,
            "inner_cutoff": None if self.inner_cutoff is None else InnerCutoff(self.inner_cutoff),
            "pair": None if self.pair is None else PairPart(self.pair.rcut, self.pair.nradmax),
        }
        if self.preset is not None:
            return ACEBasis.preset(self.preset, elements, **options)
        if self.order is not None:
            shape = self.given("order", "degree", "angular_weight")
            return ACEBasis.total_degree(elements, **shape, **options)
        shape = self.given("nradmax_by_orders", "lmax_by_orders")
        return ACEBasis(elements, **shape, **options)


class KindWeightsSection(Section):
    """One kind of structure in ``fit.weights.types``; what is not given is as for the others."""

    energy: Positive | None = None
    forces: NotNegative | None = None
    virial: NotNegative | None = None


class WeightsSection(Section):
    """``fit.weights``: factors of the rows of energies, forces and virials."""

    energy: Positive = Weights.energy
    forces: NotNegative = Weights.forces
    virial: NotNegative = Weights.virial
    force_floor: Force | None = None
    types: dict[Annotated[str, BeforeValidator(str)], KindWeightsSection] = Field(
        default_factory=dict
    )
    type_key: str = TYPE_KEY

    def build(self) -> Weights | WeightsByType:
        """The weights; by kind of structure where there is a table of kinds."""
        default = Weights(self.energy, self.forces, self.virial, self.force_floor)
        if not self.types:
            return default
        table = {name: replace(default, **kind.given()) for name, kind in self.types.items()}
        return WeightsByType(default, table, self.type_key)


class RepulsionSection(Part):
    """``fit.repulsion``: screened nuclear repulsion, switched off from inner to outer."""

    inner: Length
    outer: Length

    def build(self) -> ZBL:
        return ZBL(self.inner, self.outer)


class SmoothnessSection(Section):
    """``fit.smoothness``: a prior that falls with degree and correlation order."""

    degree: NotNegative = Smoothness.degree
    order: Positive = Smoothness.order
    angular_weight: NotNegative = Smoothness.angular_weight

    def build(self) -> Smoothness:
        return Smoothness(**self.model_dump())


class FitSection(Section):
    """``fit``: how the potential is fitted."""

    weights: WeightsSection = WeightsSection()
    members: Annotated[Count, Field(ge=2)] | None = None
    force_bound: Force | None = None
    repulsion: RepulsionSection | None = None
    one_body: dict[Symbol, Energy] | None = None
    smoothness: SmoothnessSection | None = None
    label_noise: Force | None = None

    def build(self, basis: ACEBasis) -> LinearFit:
        """The fit of a basis; ValueError for what it refuses."""
        return LinearFit(
            basis,
            weights=self.weights.build(),
            repulsion=None if self.repulsion is None else self.repulsion.build(),
            smoothness=None if self.smoothness is None else self.smoothness.build(),
            **self.given("members", "force_bound", "one_body", "label_noise"),
        )
