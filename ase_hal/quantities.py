"""Physical quantities written with their units, such as ``800 K`` or ``0.01 1/fs``."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from ase import units
from pydantic import PlainValidator

_NUMBER_AND_UNIT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*)")


@dataclass(frozen=True)
class Dimension:
    """A kind of quantity and the units it may be written in.

    Attributes
    ----------
    noun : str
        With its article, for error messages.
    units : mapping of str to float
        Value of each unit in ASE's units (for durations: in seconds).
    aliases : mapping of str to str
        Other spellings, for keyboards without Å.
    """

    noun: str
    units: Mapping[str, float]
    aliases: Mapping[str, str]

    def parse(self, value: Any, *, minimum: float = -math.inf, above: float = -math.inf) -> float:
        """Turn a text such as ``"800 K"`` into a number in ASE's units.

        Parameters
        ----------
        value : Any
            What was written.
        minimum, above : float
            Smallest allowed value, and a value that must be exceeded.

        Raises
        ------
        ValueError
            Saying what was got and what is allowed.
        """
        allowed = f"(allowed: {', '.join(self.units)})"
        if isinstance(value, int | float) and not isinstance(value, bool):
            example = f"'{value:g} {next(iter(self.units))}'"
            raise ValueError(f"{value!r} has no unit, write for example {example} {allowed}")
        match = _NUMBER_AND_UNIT.fullmatch(str(value).strip()) if isinstance(value, str) else None
        unit = unicodedata.normalize("NFC", match[2]).replace(" ", "") if match else ""
        unit = self.aliases.get(unit, unit)
        if match is None or unit not in self.units:
            raise ValueError(f"{value!r} is not {self.noun} {allowed}")
        number = float(match[1])
        if not math.isfinite(number):
            raise ValueError(f"{value!r} is not finite")
        if number < minimum or number <= above:
            condition = "above 0" if number <= above else "0 or more"
            raise ValueError(f"{value!r} is not allowed here, it has to be {condition}")
        return number * self.units[unit]


_LENGTHS = {"A": "Å", "Ang": "Å", "Angstrom": "Å"}
TEMPERATURE = Dimension("a temperature", {"K": 1.0}, {})
TIME = Dimension("a time", {"fs": units.fs, "ps": 1000 * units.fs}, {})
RATE = Dimension(
    "a rate", {"1/fs": 1 / units.fs, "1/ps": 1e-3 / units.fs}, {"fs^-1": "1/fs", "ps^-1": "1/ps"}
)
LENGTH = Dimension("a length", {"Å": 1.0, "nm": 10.0}, _LENGTHS)
VOLUME = Dimension("a volume", {"Å^3": 1.0}, {f"{a}^3": "Å^3" for a in _LENGTHS})
PRESSURE = Dimension(
    "a pressure",
    {"GPa": units.GPa, "MPa": 1e-3 * units.GPa, "bar": 1e5 * units.Pascal},
    {},
)
ENERGY = Dimension("an energy", {"eV": 1.0, "meV": 1e-3}, {})
FORCE = Dimension(
    "a force",
    {"eV/Å": 1.0, "meV/Å": 1e-3},
    {f"{e}/{a}": f"{e}/Å" for e in ("eV", "meV") for a in _LENGTHS},
)
DURATION = Dimension("a duration", {"s": 1.0, "min": 60.0, "h": 3600.0}, {})


def _any(dimension: Dimension) -> PlainValidator:
    return PlainValidator(dimension.parse)


def _positive(dimension: Dimension) -> PlainValidator:
    return PlainValidator(partial(dimension.parse, above=0.0))


def _not_negative(dimension: Dimension) -> PlainValidator:
    return PlainValidator(partial(dimension.parse, minimum=0.0))


# Types of fields: K, ASE time units, 1/(ASE time units), Å, eV/Å^3, eV, eV/Å, s.
Temperature = Annotated[float, _not_negative(TEMPERATURE)]
PositiveTemperature = Annotated[float, _positive(TEMPERATURE)]
Time = Annotated[float, _positive(TIME)]
Rate = Annotated[float, _not_negative(RATE)]
Length = Annotated[float, _positive(LENGTH)]
Displacement = Annotated[float, _not_negative(LENGTH)]
Pressure = Annotated[float, _any(PRESSURE)]
Stiffness = Annotated[float, _positive(PRESSURE)]
Energy = Annotated[float, _any(ENERGY)]
PositiveEnergy = Annotated[float, _positive(ENERGY)]
NotNegativeEnergy = Annotated[float, _not_negative(ENERGY)]
Force = Annotated[float, _positive(FORCE)]
Duration = Annotated[float, _positive(DURATION)]
