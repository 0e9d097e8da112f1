"""Types of the fields of a run file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar

from ase.data import chemical_symbols
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    Tag,
    ValidationInfo,
    model_validator,
)

from ase_hal.dynamics.ramp import Ramp
from ase_hal.quantities import Length, Pressure, Temperature
from ase_hal.runfile.errors import SPAN, VALUE

T = TypeVar("T")


class Section(BaseModel):
    """A part of a run file: unknown keys are errors, and what was read can't be changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def given(self, *names: str) -> dict[str, Any]:
        """What was written in the file under these keys, or under all; the rest has defaults."""
        written = {name: getattr(self, name) for name in names or type(self).model_fields}
        return {
            name: value
            for name, value in written.items()
            if name in self.model_fields_set and value is not None
        }


class Part(Section):
    """A section that is tried as soon as it is read."""

    @model_validator(mode="after")
    def _accepted(self) -> Part:
        self.build()
        return self

    def build(self) -> Any:
        """The object that the section describes; ValueError where it refuses something."""
        raise NotImplementedError


class Span(Section, Generic[T]):
    """``{from: ..., to: ...}``"""

    start: T = Field(alias="from")
    stop: T = Field(alias="to")


def _branch(value: Any) -> str:
    return SPAN if isinstance(value, Mapping | Span) else VALUE


def ramp(value: float | Span[float], steps: int) -> float | Ramp:
    """The value, or its ramp over the length of a trajectory."""
    return Ramp(value.start, value.stop, steps) if isinstance(value, Span) else value


def _symbol(value: str) -> str:
    if value not in chemical_symbols[1:]:
        raise ValueError(f"{value!r} is not a chemical symbol")
    return value


def _all_different(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError(f"an element is named twice in {', '.join(values)}")
    return values


def _not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if not values:
        raise ValueError("is empty")
    return values


def _whole(value: Any) -> Any:
    """1e3 is a whole number too, but True and '5' are none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def directory_of(info: ValidationInfo) -> Path:
    """Where the run file is."""
    return Path((info.context or {}).get("directory", "."))


def _existing(path: Path, info: ValidationInfo) -> Path:
    """The path, relative to the run file, of a file that is there."""
    path = directory_of(info) / path.expanduser()
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


# Not a minimum length, which pydantic also finds missing where the items are wrong.
NOT_EMPTY = AfterValidator(_not_empty)

Count = Annotated[int, Strict(), Field(ge=1), BeforeValidator(_whole)]
Index = Annotated[int, Strict(), Field(ge=0), BeforeValidator(_whole)]
Number = Annotated[float, Strict()]
Positive = Annotated[float, Strict(), Field(gt=0)]
NotNegative = Annotated[float, Strict(), Field(ge=0)]
Symbol = Annotated[str, AfterValidator(_symbol)]
Elements = Annotated[tuple[Symbol, ...], NOT_EMPTY, AfterValidator(_all_different)]


def _module_and_function(value: str) -> str:
    if not re.fullmatch(r"[\w.]+:\w+", value):
        raise ValueError(f"{value!r} is not written as module:function")
    return value


ModuleFunction = Annotated[str, AfterValidator(_module_and_function)]
Name = Annotated[str, Field(pattern=r"^[\w-]+$")]
ExistingFile = Annotated[Path, AfterValidator(_existing)]

# One value, or one that changes from a first to a last one.
_Branch = Discriminator(_branch)
LengthOrSpan = Annotated[
    Annotated[Length, Tag(VALUE)] | Annotated[Span[Length], Tag(SPAN)], _Branch
]
NumberOrRamp = Annotated[
    Annotated[NotNegative, Tag(VALUE)] | Annotated[Span[NotNegative], Tag(SPAN)], _Branch
]
PressureOrRamp = Annotated[
    Annotated[Pressure, Tag(VALUE)] | Annotated[Span[Pressure], Tag(SPAN)], _Branch
]
TemperatureOrRamp = Annotated[
    Annotated[Temperature, Tag(VALUE)] | Annotated[Span[Temperature], Tag(SPAN)], _Branch
]
