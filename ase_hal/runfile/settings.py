"""The whole of a run file, with the checks that concern more than one section."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from ase import Atoms
from pydantic import ValidationInfo, field_validator, model_validator

from ase_hal.data.constraints import check_constraints
from ase_hal.data.lone_atoms import with_neighbours
from ase_hal.runfile.data_sections import HoldOutSection, SeedsSection
from ase_hal.runfile.errors import Problems, did_you_mean
from ase_hal.runfile.explore_sections import ExploreSection
from ase_hal.runfile.fields import (
    NOT_EMPTY,
    Count,
    Elements,
    Index,
    Positive,
    Section,
    directory_of,
)
from ase_hal.runfile.model_sections import BasisSection, FitSection
from ase_hal.runfile.reference_section import ReferenceSection


class LoopSection(Section):
    """``loop``: how many labels, in how many iterations."""

    select: Count = 4
    max_labels: Index | None = None
    max_iterations: Count = 1000


class FinalSection(Section):
    """``final``: fits by automatic relevance determination after the loop has ended."""

    relevance_thresholds: Annotated[tuple[Positive, ...], NOT_EMPTY]
    inner_cutoff: Literal["shortest"] | None = None


class Settings(Section):
    """All sections of a run file.

    Fields are read in this order, and a check sees those before it that are all right: one
    wrong section does not hide what is wrong with the others.
    """

    elements: Elements
    seed: Index
    workers: Count = 1
    seeds: SeedsSection
    reference: ReferenceSection
    basis: BasisSection
    fit: FitSection = FitSection()
    explore: ExploreSection
    loop: LoopSection = LoopSection()
    test: HoldOutSection | None = None
    final: FinalSection | None = None

    @field_validator("seeds")
    @classmethod
    def _seeds_are_readable(cls, seeds: SeedsSection, info: ValidationInfo) -> SeedsSection:
        structures = seeds.build(info.data.get("seed", 0))
        place = ("file",) if seeds.alloy is None else ("alloy", "composition")
        _require_elements(structures, place, info)
        _require_lasting_constraints(structures, place)
        return seeds

    @field_validator("reference")
    @classmethod
    def _reference_exists(
        cls, reference: ReferenceSection, info: ValidationInfo
    ) -> ReferenceSection:
        reference.check(directory_of(info), info.data.get("elements", ()))
        return reference

    @field_validator("basis")
    @classmethod
    def _basis_exists(cls, basis: BasisSection, info: ValidationInfo) -> BasisSection:
        if "elements" in info.data:
            basis.build(info.data["elements"])
        return basis

    @field_validator("fit")
    @classmethod
    def _fit_knows_elements(cls, fit: FitSection, info: ValidationInfo) -> FitSection:
        elements = info.data.get("elements")
        if elements is not None and fit.one_body is not None:
            missing = [e for e in elements if e not in fit.one_body]
            unknown = [e for e in fit.one_body if e not in elements]
            Problems.raise_any(
                [
                    *((("one_body",), f"{e} is missing") for e in missing),
                    *((("one_body", e), _not_among(elements)) for e in unknown),
                ]
            )
        return fit

    @field_validator("explore")
    @classmethod
    def _stages_suit_seeds(cls, explore: ExploreSection, info: ValidationInfo) -> ExploreSection:
        if "seeds" in info.data:
            structures = info.data["seeds"].build(info.data.get("seed", 0))
            if "basis" in info.data and "elements" in info.data:
                # no trajectory starts from lone atoms
                basis = info.data["basis"].build(info.data["elements"])
                structures = with_neighbours(structures, basis)
            Problems.raise_any(explore.refusals(structures))
        return explore

    @field_validator("test")
    @classmethod
    def _test_is_readable(
        cls, test: HoldOutSection | None, info: ValidationInfo
    ) -> HoldOutSection | None:
        if test is not None and test.file is not None:
            structures = test.read()
            _require_elements(structures, ("file",), info)
            _require_lasting_constraints(structures, ("file",))
        return test

    @model_validator(mode="after")
    def _weighted_kinds_exist(self) -> Settings:
        weights = self.fit.weights
        if not weights.types:
            return self
        structures = self.seeds.build(self.seed)
        kinds = {str(a.info[weights.type_key]) for a in structures if weights.type_key in a.info}
        known = sorted({*kinds, *(stage.name for stage in self.explore.stages)})
        Problems.raise_any(
            (
                ("fit", "weights", "types", name),
                f"is neither a {weights.type_key} of the seeds nor a stage"
                f"{did_you_mean(name, known)}",
            )
            for name in weights.types
            if name not in known
        )
        return self


def _require_elements(
    structures: Sequence[Atoms], place: tuple[str | int, ...], info: ValidationInfo
) -> None:
    """Raise `Problems` for elements that are not among those of the run."""
    if "elements" not in info.data:
        return
    elements = info.data["elements"]
    found: dict[str, int] = {}
    for index, atoms in enumerate(structures):
        for symbol in atoms.symbols:
            found.setdefault(symbol, index)
    Problems.raise_any(
        (place, f"{symbol} (structure {i}) {_not_among(elements)}")
        for symbol, i in found.items()
        if symbol not in elements
    )


def _require_lasting_constraints(structures: Sequence[Atoms], place: tuple[str | int, ...]) -> None:
    """Raise `Problems` for the first constraint that the files of the run could not hold."""
    for index, atoms in enumerate(structures):
        if reason := _what_is_lost(atoms):
            raise Problems([(place, f"structure {index}: {reason}")])


def _what_is_lost(atoms: Atoms) -> str | None:
    try:
        check_constraints(atoms)
    except ValueError as error:
        return str(error)
    return None


def _not_among(elements: Sequence[str]) -> str:
    return f"is not one of the elements {', '.join(elements)}"
