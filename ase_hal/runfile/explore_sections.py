"""Sections of a run file about the exploration: ``explore`` and its stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from ase import Atoms
from pydantic import ValidationInfo, field_validator, model_validator

from ase_hal.dynamics.barostat import Barostat
from ase_hal.dynamics.evolution import ContourWalk, Relaxation
from ase_hal.dynamics.evolution_explorer import Pick
from ase_hal.dynamics.evolution_stage import EvolutionStage
from ase_hal.dynamics.explorer import Stage
from ase_hal.dynamics.moves import CellMC, SwapMC
from ase_hal.dynamics.tau import AdaptiveTau
from ase_hal.dynamics.trigger import Trigger
from ase_hal.quantities import (
    LENGTH,
    VOLUME,
    Displacement,
    Energy,
    Force,
    Length,
    NotNegativeEnergy,
    Rate,
    Stiffness,
    Time,
)
from ase_hal.runfile.errors import Problem, Problems
from ase_hal.runfile.fields import (
    NOT_EMPTY,
    Count,
    Elements,
    Index,
    Name,
    NotNegative,
    Number,
    NumberOrRamp,
    Part,
    Positive,
    PressureOrRamp,
    Section,
    TemperatureOrRamp,
    ramp,
)


class TauSection(Section):
    """``tau``: bounds of the adaptive bias; its strength is ``tau_rel``."""

    cap: Positive | None = None
    max_bias: Positive | None = None
    window: Count | None = None
    burn_in: Index | None = None


class TriggerSection(Part):
    """``trigger``: when a trajectory has found something, and when it can't be trusted."""

    criterion: Literal["softmax", "relative"] | None = None
    tolerance: Positive | None = None
    interval: Count | None = None
    min_distance: NotNegative | None = None
    max_temperature: Positive | None = None
    max_volume_change: Positive | None = None
    eps: Force | None = None

    def build(self) -> Trigger:
        return Trigger(**self.given())


class BarostatSection(Part):
    """``barostat``: proportional control of the pressure."""

    pressure: PressureOrRamp
    relaxation_time: Time | None = None
    bulk_modulus: Stiffness | None = None
    isotropic: bool | None = None
    interval: Count | None = None
    max_strain: Positive | None = None

    def build(self, steps: int = 1) -> Barostat:
        options = self.given() | {"pressure": ramp(self.pressure, steps)}
        return Barostat(**options)


class SwapSection(Part):
    """``swap``: Monte Carlo exchange of atoms of different elements."""

    interval: Count
    elements: Elements | None = None
    attempts: Count | None = None

    def build(self) -> SwapMC:
        return SwapMC(**self.given())


class CellSection(Part):
    """``cell``: Monte Carlo changes of the cell."""

    interval: Count
    kind: Literal["cell", "strain", "volume", "log_volume"] = "cell"
    pressure: PressureOrRamp | None = None
    step: Any = None
    min_aspect_ratio: NotNegative | None = None
    attempts: Count | None = None

    @field_validator("step")
    @classmethod
    def _in_units_of_its_kind(cls, value: Any, info: ValidationInfo) -> float | None:
        kind = info.data.get("kind")
        dimension = {"cell": LENGTH, "volume": VOLUME}.get(str(kind))
        if value is None or kind is None:
            return None
        if dimension is not None:
            return dimension.parse(value, above=0.0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"a move of kind {kind!r} takes a positive number, got {value!r}")
        return float(value)

    def build(self, steps: int = 1) -> CellMC:
        options = self.given()
        if self.pressure is not None:
            options["pressure"] = ramp(self.pressure, steps)
        return CellMC(**options)


class RelaxationSection(Part):
    """``relaxation``: on E - alpha sigma."""

    alpha: Number = 0.0
    steps: Count | None = None
    fmax: Force | None = None
    cell: bool | None = None

    def build(self) -> Relaxation:
        return Relaxation(**self.given())


class ContourSection(Part):
    """``contour``: along a contour of the mean energy, towards uncertainty."""

    excess: Energy
    gamma: NotNegative | None = None
    steps: Count | None = None
    maxstep: Length | None = None

    def build(self) -> ContourWalk:
        return ContourWalk(**self.given())


class PickSection(Part):
    """``pick``: which structure of a relaxation or contour walk is labelled."""

    max_force: Force | None = None
    min_distance: NotNegative | None = None
    min_std: NotNegativeEnergy | None = None

    def build(self) -> Pick:
        return Pick(**self.given())


# The ways to explore, and the keys that go with them alone.
_EVOLUTIONS = ("relaxation", "contour")
_OF_EVOLUTIONS = ("pick", "rattle")
_OF_DYNAMICS = (
    "temperature", "steps", "timestep", "friction", "tau_rel", "tau", "trigger", "swap", "cell",
    "barostat",
)  # fmt: skip


class StageSection(Part):
    """``explore.stages[i]``: the conditions of one part of the exploration."""

    name: Name
    relaxation: RelaxationSection | None = None
    contour: ContourSection | None = None
    pick: PickSection = PickSection()
    rattle: Displacement | None = None
    temperature: TemperatureOrRamp | None = None
    steps: Count = Stage.steps
    timestep: Time | None = None
    friction: Rate | None = None
    tau_rel: NumberOrRamp | None = None
    tau: TauSection = TauSection()
    trigger: TriggerSection = TriggerSection()
    swap: SwapSection | None = None
    cell: CellSection | None = None
    barostat: BarostatSection | None = None
    start: Literal["seeds", "previous", "any"] | None = None
    patience: Count | None = None
    max_labels: Count | None = None

    @property
    def evolution(self) -> RelaxationSection | ContourSection | None:
        """What takes the place of dynamics, if anything does."""
        return self.relaxation or self.contour

    @model_validator(mode="after")
    def _accepted(self) -> StageSection:
        given = self.model_fields_set
        chosen = [key for key in _EVOLUTIONS if key in given]
        if len(chosen) > 1:
            raise ValueError(f"give one of {', '.join(chosen)}")
        if chosen:
            wrong = [key for key in _OF_DYNAMICS if key in given]
            Problems.raise_any([((key,), f"does not go with {chosen[0]}") for key in wrong])
        else:
            missing = [key for key in ("temperature", "tau_rel") if getattr(self, key) is None]
            wrong = [key for key in _OF_EVOLUTIONS if key in given]
            ways = " or ".join(_EVOLUTIONS)
            Problems.raise_any(
                [
                    *(((key,), "is missing") for key in missing),
                    *(((key,), f"goes with {ways} only") for key in wrong),
                ]
            )
        self.build()
        return self

    def build(self) -> Stage | EvolutionStage:
        common = self.given("start", "patience", "max_labels")
        if self.evolution is not None:
            return EvolutionStage(
                self.name,
                self.evolution.build(),
                pick=self.pick.build(),
                **self.given("rattle"),
                **common,
            )
        if self.temperature is None or self.tau_rel is None:
            raise ValueError("temperature and tau_rel are missing")
        parts = dict(self.parts())
        return Stage(
            name=self.name,
            temperature_K=ramp(self.temperature, self.steps),
            tau=AdaptiveTau(ramp(self.tau_rel, self.steps), **self.tau.given()),
            trigger=parts["trigger"],
            barostat=parts.get("barostat"),
            moves=tuple(parts[key] for key in ("swap", "cell") if key in parts),
            **self.given("steps", "timestep", "friction"),
            **common,
        )

    def parts(self) -> Iterator[tuple[str, Any]]:
        """The parts that may refuse a structure, with their keys."""
        if self.evolution is not None:
            return
        yield "trigger", self.trigger.build()
        if self.swap is not None:
            yield "swap", self.swap.build()
        if self.cell is not None:
            yield "cell", self.cell.build(self.steps)
        if self.barostat is not None:
            yield "barostat", self.barostat.build(self.steps)


class ExploreSection(Section):
    """``explore``: walkers, and the stages that they go through in order."""

    walkers: Count = 1
    stages: Annotated[tuple[StageSection, ...], NOT_EMPTY]

    @model_validator(mode="after")
    def _stages_follow(self) -> ExploreSection:
        names = [stage.name for stage in self.stages]
        problems: list[Problem] = [
            (("stages", i, "name"), f"an earlier stage has the name {name!r} too")
            for i, name in enumerate(names)
            if name in names[:i]
        ]
        if self.stages[0].start == "previous":
            problems.append((("stages", 0, "start"), "there is no stage before the first one"))
        Problems.raise_any(problems)
        return self

    def refusals(self, structures: Sequence[Atoms]) -> Iterator[Problem]:
        """What the stages refuse about the structures to start from."""
        for i, stage in enumerate(self.stages):
            for key, part in stage.parts():
                if reason := _first_refusal(part, structures):
                    yield ("stages", i, key), reason


def _first_refusal(part: Any, structures: Sequence[Atoms]) -> str | None:
    for index, atoms in enumerate(structures):
        try:
            part.check(atoms)
        except ValueError as error:  # noqa: PERF203
            return f"seed {index}: {error}"
    return None
