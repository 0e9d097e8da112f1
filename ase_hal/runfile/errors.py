"""What is wrong with a run file, in lines that name the place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

# Branches of a union are part of the places that pydantic reports; written like this they
# are recognised and left out.
VALUE, SPAN = "<value>", "<span>"

Place = tuple[str | int, ...]
Problem = tuple[Place, str]


class RunFileError(ValueError):
    """A run file that can't be run; its text has one line for each problem.

    Attributes
    ----------
    problems : tuple of str
        The lines, such as ``"explore.stages[0].temperature: '800 eV' is not a temperature
        (allowed: K)"``.
    """

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


class Problems(ValueError):
    """Several problems of one field, each with its place below that field."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(message for _, message in self.problems))

    @classmethod
    def raise_any(cls, problems: Iterable[Problem]) -> None:
        """Raise those problems, if there are any."""
        if found := tuple(problems):
            raise cls(found)


def describe(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One line for each problem that pydantic found, in the order of the file's keys."""
    lines = [
        f"{_dotted(place)}: {one_line(message)}"
        for details in error.errors(include_url=False)
        for place, message in _messages(details, model)
    ]
    return list(dict.fromkeys(lines))


def one_line(text: object) -> str:
    """The text without line ends."""
    return " ".join(str(text).split())


def reason_of(error: Exception) -> str:
    """What an exception says, or its name, without line ends."""
    return one_line(error) or type(error).__name__


def _messages(details: Mapping[str, Any], model: type[BaseModel]) -> Iterator[Problem]:
    place = tuple(part for part in details["loc"] if part not in (VALUE, SPAN))
    kind, got = details["type"], details["input"]
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, Problems):
        for below, message in cause.problems:
            yield (*place, *below), message
    elif kind == "value_error":
        yield place, str(cause)
    elif kind == "missing":
        yield place, "is missing"
    elif kind == "extra_forbidden":
        yield place, f"unknown key{did_you_mean(str(place[-1]), _keys_at(model, place[:-1]))}"
    elif kind in ("model_type", "dict_type", "model_attributes_type"):
        yield place, f"has to hold keys of its own, got {got!r:.60}"
    else:
        wanted = details["msg"].removeprefix("Input ").removeprefix("Value error, ")
        yield place, f"{wanted[0].lower()}{wanted[1:]}, got {got!r:.60}"


def did_you_mean(key: str, allowed: list[str]) -> str:
    """A suggestion for a word that is not among those allowed, or the list of these."""
    close = difflib.get_close_matches(key, allowed, n=1, cutoff=0.6)
    return f", did you mean {close[0]!r}?" if close else f" (allowed: {', '.join(allowed)})"


def _keys_at(model: type[BaseModel], place: Place) -> list[str]:
    """The keys allowed at a place of the file."""
    for part in place:
        for name, field in model.model_fields.items():
            if part == (field.alias or name):
                model = next(_models_in(field.annotation), model)
    return [field.alias or name for name, field in model.model_fields.items()]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".") or "the file"
