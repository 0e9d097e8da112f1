"""Section of a run file about what labels structures: ``reference``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from ase.calculators import emt
from ase.calculators.calculator import BaseCalculator
from pydantic import Field, Strict, model_validator

from ase_hal.named_references import named_calculator
from ase_hal.quantities import Duration
from ase_hal.runfile.errors import Problem, Problems, reason_of
from ase_hal.runfile.fields import ModuleFunction, Section
from ase_hal.runfile.importing import import_function


class ReferenceSection(Section):
    """``reference``: what labels the structures.

    Texts in ``parameters`` that begin with ``./`` or ``../`` are paths relative to the run file.
    ``allow_unconverged`` and ``check_forces`` are those of `ase_hal.label`; forces are compared
    for the first label of a run.
    """

    name: str | None = None
    import_: ModuleFunction | None = Field(default=None, alias="import")
    parameters: dict[str, Any] = Field(default_factory=dict)
    timeout: Duration | None = None
    allow_unconverged: Annotated[bool, Strict()] = False
    check_forces: Annotated[bool, Strict()] = False

    @model_validator(mode="after")
    def _one_source(self) -> ReferenceSection:
        if (self.name is None) == (self.import_ is None):
            raise ValueError("give either name or import")
        return self

    def build(self, directory: Path) -> Callable[[], BaseCalculator]:
        """What makes the calculator, in any process.

        Parameters
        ----------
        directory : Path
            Of the run file; modules are looked for there too.

        Raises
        ------
        Problems
            If there is nothing to import under the name given.
        """
        parameters = {key: _resolved(value, directory) for key, value in self.parameters.items()}
        if self.import_ is None:
            return partial(named_calculator, str(self.name), **parameters)
        return partial(import_function(self.import_, directory, **parameters), **parameters)

    def check(self, directory: Path, elements: Sequence[str]) -> None:
        """Raise `Problems` where there is no such reference, or it does not know an element.

        A calculator from somebody else's function is not made here: it may be big.
        """
        factory = self.build(directory)
        if self.import_ is not None:
            return
        try:
            known = _elements_of(factory())
        except (ValueError, ImportError, OSError) as error:
            raise Problems([(("name",), reason_of(error))]) from error
        unknown: list[Problem] = [
            (("name",), f"{self.name} does not know {element}, only {', '.join(sorted(known))}")
            for element in elements
            if known and element not in known
        ]
        Problems.raise_any(unknown)


def _elements_of(calculator: BaseCalculator) -> set[str]:
    """The elements a calculator is set up for; empty where it does not tell."""
    if isinstance(calculator, emt.EMT):
        return set(emt.parameters)
    for name in ("atom_types", "pseudopotentials"):
        value = calculator.parameters.get(name)
        if isinstance(value, Mapping):
            return set(value)
    return set()


def _resolved(value: Any, directory: Path) -> Any:
    if isinstance(value, str) and value.startswith(("./", "../")):
        return str((directory / value).resolve())
    return value
