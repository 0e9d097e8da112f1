"""Sections of a run file about the exploration: ``explore`` and its stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from ase import Atoms
from pydantic import ValidationInfo, field_validator, model_validator

from ase_hal.dynamics.barostat import Barostat
from ase_hal.dynamics.explorer import Stage
from ase_hal.dynamics.moves import CellMC, SwapMC
from ase_hal.dynamics.tau import AdaptiveTau
from ase_hal.dynamics.trigger import Trigger
from ase_hal.quantities import (
    LENGTH,
    VOLUME,
    Force,
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


class StageSection(Part):
    """``explore.stages[i]``: the conditions of one part of the exploration."""

    name: Name
    temperature: TemperatureOrRamp
    steps: Count = Stage.steps
    timestep: Time | None = None
    friction: Rate | None = None
    tau_rel: NumberOrRamp
    tau: TauSection = TauSection()
    trigger: TriggerSection = TriggerSection()
    swap: SwapSection | None = None
    cell: CellSection | None = None
    barostat: BarostatSection | None = None
    start: Literal["seeds", "previous", "any"] | None = None
    patience: Count | None = None
    max_labels: Count | None = None

    def build(self) -> Stage:
        parts = dict(self.parts())
        return Stage(
            name=self.name,
            temperature_K=ramp(self.temperature, self.steps),
            tau=AdaptiveTau(ramp(self.tau_rel, self.steps), **self.tau.given()),
            trigger=parts["trigger"],
            barostat=parts.get("barostat"),
            moves=tuple(parts[key] for key in ("swap", "cell") if key in parts),
            **self.given("steps", "timestep", "friction", "start", "patience", "max_labels"),
        )

    def parts(self) -> Iterator[tuple[str, Any]]:
        """The parts that may refuse a structure, with their keys."""
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
