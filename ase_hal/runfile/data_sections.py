"""Sections of a run file about structures: ``seeds`` and ``test``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import numpy as np
from ase import Atoms
from ase.build import bulk
from pydantic import ValidationInfo, field_validator, model_validator

from ase_hal.data.label_keys import LabelKeys, drop_standard_labels
from ase_hal.data.reading import LabelledFile, read_labelled, read_structures
from ase_hal.quantities import Displacement
from ase_hal.runfile.errors import Problems, one_line
from ase_hal.runfile.fields import (
    Count,
    ExistingFile,
    Index,
    LengthOrSpan,
    Number,
    Section,
    Span,
    Symbol,
)

T = TypeVar("T")

_SITES = {"sc": 1, "bcc": 2, "fcc": 4, "hcp": 4, "diamond": 8}

# Keeps the draws for seed structures apart from those of the loop.
_SEEDS_STREAM = 0x5EED


class StructureFile(Section):
    """A file of structures, with the keys of its labels where they are wanted."""

    file: ExistingFile | None = None
    index: str | Index = ":"
    energy_key: str | None = None
    forces_key: str | None = None
    stress_key: str | None = None
    virial_key: str | None = None
    stress_factor: Number = 1.0
    check: bool = True

    def read(self) -> list[Atoms]:
        """The structures with their constraints; without keys, labels are left behind.

        Raises
        ------
        Problems
            If the file can't be read.
        """
        labelled = self.read_labelled()
        if labelled is not None:
            return list(labelled.structures)
        structures = self._read(read_structures, index=self.index)
        for atoms in structures:
            atoms.calc = None
            drop_standard_labels(atoms)
        return structures

    def read_labelled(self) -> LabelledFile | None:
        """The structures with their labels and what reading them has shown; None without keys.

        Raises
        ------
        Problems
            If the file can't be read.
        """
        given = self.given("energy_key", "forces_key", "stress_key", "virial_key")
        if not given:
            return None
        keys = {name.removesuffix("_key"): key for name, key in given.items()}
        return self._read(
            lambda path, **options: read_labelled(path, LabelKeys(**keys), **options),
            index=self.index,
            stress_factor=self.stress_factor,
        )

    def _read(self, reader: Callable[..., T], **options: Any) -> T:
        try:
            return reader(str(self.file), **options)
        except Exception as error:  # readers of some ninety formats raise anything
            reason = one_line(error) or type(error).__name__
            raise Problems([(("file",), f"cannot read {self.file}: {reason}")]) from error


class AlloySection(Section):
    """``seeds.alloy``: cells of a lattice with the elements placed at random."""

    lattice: Literal["sc", "bcc", "fcc", "hcp", "diamond"]
    repeat: tuple[Count, Count, Count]
    composition: dict[Symbol, Count]
    lattice_constant: LengthOrSpan
    count: Count
    displacement: Displacement = 0.0

    @field_validator("composition")
    @classmethod
    def _fills_lattice(cls, value: dict[str, int], info: ValidationInfo) -> dict[str, int]:
        if "lattice" in info.data and "repeat" in info.data:
            lattice, repeat = info.data["lattice"], info.data["repeat"]
            sites = _SITES[lattice] * math.prod(repeat)
            if (atoms := sum(value.values())) != sites:
                cells = "x".join(map(str, repeat))
                raise ValueError(f"{atoms} atoms for the {sites} sites of {cells} {lattice} cells")
        return value

    def build(self, seed: int) -> list[Atoms]:
        """The cells, with lattice constants evenly spaced; each has draws of its own."""
        a = self.lattice_constant
        first, last = (a.start, a.stop) if isinstance(a, Span) else (a, a)
        constants = np.linspace(first, last, self.count)
        return [self._cell(a, [seed, _SEEDS_STREAM, i]) for i, a in enumerate(constants)]

    def _cell(self, lattice_constant: float, entropy: list[int]) -> Atoms:
        rng = np.random.default_rng(entropy)
        shape: dict[str, Any] = {"cubic": True}
        if self.lattice == "hcp":
            shape = {"orthorhombic": True, "covera": np.sqrt(8 / 3)}
        atoms = bulk("X", self.lattice, a=lattice_constant, **shape) * self.repeat
        symbols = [symbol for symbol, n in self.composition.items() for _ in range(n)]
        atoms.symbols = rng.permutation(symbols)
        atoms.positions += self.displacement * rng.standard_normal((len(atoms), 3))
        return atoms


class SeedsSection(StructureFile):
    """``seeds``: the structures to start from, from a file or made here."""

    alloy: AlloySection | None = None

    @model_validator(mode="after")
    def _one_source(self) -> SeedsSection:
        if (self.file is None) == (self.alloy is None):
            raise ValueError("give either file or alloy")
        if self.alloy is not None and (extra := sorted(self.model_fields_set - {"alloy"})):
            raise Problems([((key,), "goes with file only") for key in extra])
        return self

    def build(self, seed: int) -> list[Atoms]:
        """The structures; `Problems` if they can't be read."""
        return self.read() if self.alloy is None else self.alloy.build(seed)


class HoldOutSection(StructureFile):
    """``test``: structures that are never trained on, from a file or found by exploring on."""

    per_stage: Count | None = None

    @model_validator(mode="after")
    def _some_source(self) -> HoldOutSection:
        if self.file is None and self.per_stage is None:
            raise ValueError("give file, per_stage or both")
        if self.file is not None and self.energy_key is None:
            raise Problems([(("energy_key",), "is missing: a test set needs its labels")])
        return self
