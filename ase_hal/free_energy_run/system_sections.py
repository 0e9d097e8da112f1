"""Sections of a run file about what is sampled: ``system``, ``hamiltonian``, ``monte_carlo``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import ase.io
import numpy as np
from ase import Atoms
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from ase_hal.free_energy import Hamiltonian, Lattice, OrderParameters, RunLength, UmbrellaMC, lco
from ase_hal.quantities import PositiveEnergy, PositiveTemperature
from ase_hal.runfile.errors import Problems, reason_of
from ase_hal.runfile.fields import (
    NOT_EMPTY,
    Count,
    ExistingFile,
    ModuleFunction,
    Positive,
    Section,
)
from ase_hal.runfile.importing import import_function


class SystemSection(Section):
    """``system``: a crystal, the sublattice that is occupied or not, and one ordering of it."""

    name: Literal["lco"] | None = None
    crystal: ExistingFile | None = None
    sublattice: str | None = None
    ordering: ExistingFile | None = None
    occupied: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> SystemSection:
        own = {key for key in ("crystal", "sublattice", "ordering") if getattr(self, key) is None}
        if self.name is not None and (self.model_fields_set - {"name"}):
            raise ValueError("give either name, or crystal, sublattice and ordering")
        if self.name is None and own:
            raise Problems([((key,), "is missing") for key in sorted(own)])
        return self

    @cached_property
    def order_parameters(self) -> OrderParameters:
        """Those of the ordering, derived once; `Problems` where there are none."""
        if self.name is not None:
            return OrderParameters.from_ordering(lco.lattice(), lco.zigzag())
        crystal = _structure(self.crystal, "crystal")
        ordering = _structure(self.ordering, "ordering")
        try:
            lattice = Lattice.from_atoms(crystal, str(self.sublattice))
        except ValueError as error:
            raise Problems([(("sublattice",), str(error))]) from error
        try:
            return OrderParameters.from_ordering(lattice, ordering, self.occupied)
        except ValueError as error:
            raise Problems([(("ordering",), str(error))]) from error


class HamiltonianSection(Section):
    """``hamiltonian``: energies of occupations of the sublattice.

    A function of your own takes the lattice and `parameters`, and returns a `Hamiltonian`.
    """

    name: Literal["model", "fitted"] | None = None
    import_: ModuleFunction | None = Field(default=None, alias="import")
    parameters: dict[str, Any] = Field(default_factory=dict)
    cluster_expansion: ExistingFile | None = None
    occupied: str | None = None

    @model_validator(mode="after")
    def _one_source(self) -> HamiltonianSection:
        sources = (self.name, self.import_, self.cluster_expansion)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("give one of name, import and cluster_expansion")
        if self.cluster_expansion is not None and self.occupied is None:
            raise Problems([(("occupied",), "is missing: the species that means occupied")])
        return self

    def build(self, order_parameters: OrderParameters, directory: Path) -> Hamiltonian:
        """The Hamiltonian, which has the symmetry of the lattice; `Problems` otherwise."""
        lattice = order_parameters.supercell.lattice
        place, found = self._source(lattice, directory)
        if not isinstance(found, Hamiltonian):
            raise Problems([((place,), f"made a {type(found).__name__}, not a Hamiltonian")])
        if place == "cluster_expansion" and not found.lattice.same_as(lattice):
            reason = (
                "icet describes the lattice by a primitive cell of its own choice: make "
                "system.crystal the primitive_structure of the cluster expansion"
            )
            raise Problems([((place,), reason)])
        try:
            found.check_symmetry(lattice)
        except ValueError as error:
            raise Problems([((place,), str(error))]) from error
        return found

    def _source(self, lattice: Lattice, directory: Path) -> tuple[str, Any]:
        if self.name is not None:
            return "name", lco.hamiltonian(lco.MODEL if self.name == "model" else lco.FITTED)
        if self.import_ is not None:
            function = import_function(self.import_, directory, lattice, **self.parameters)
            try:
                return "import", function(lattice, **self.parameters)
            except Exception as error:  # whatever somebody else's function raises
                reason = f"{self.import_} raises {type(error).__name__}: {reason_of(error)}"
                raise Problems([(("import",), reason)]) from error
        try:
            from icet import ClusterExpansion

            from ase_hal.free_energy import from_icet

            expansion = ClusterExpansion.read(str(self.cluster_expansion))
            return "cluster_expansion", from_icet(expansion, occupied=str(self.occupied))
        except Exception as error:  # icet's readers raise anything
            raise Problems([(("cluster_expansion",), reason_of(error))]) from error


class StiffnessSection(Section):
    """``monte_carlo.stiffness``: phi of the composition and of the other order parameters."""

    composition: PositiveEnergy = 5.0
    order: PositiveEnergy = 0.05


def _several(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _different(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a temperature is given twice")
    return values


class MonteCarloSection(Section):
    """``monte_carlo``: how chemical potentials are found."""

    temperature: Annotated[
        tuple[PositiveTemperature, ...],
        BeforeValidator(_several),
        NOT_EMPTY,
        AfterValidator(_different),
    ]
    repeat: tuple[Count, Count, Count] = (3, 3, 3)
    stiffness: StiffnessSection = StiffnessSection()
    precision: Positive = RunLength.precision
    min_sweeps: Count = RunLength.min_sweeps
    max_sweeps: Count = RunLength.max_sweeps

    @model_validator(mode="after")
    def _accepted(self) -> MonteCarloSection:
        self.run_length()
        return self

    def run_length(self) -> RunLength:
        """How long a window is run."""
        return RunLength(self.precision, self.min_sweeps, self.max_sweeps)

    def build(
        self,
        hamiltonian: Hamiltonian,
        order_parameters: OrderParameters,
        *,
        rng: np.random.Generator,
    ) -> Mapping[float, UmbrellaMC]:
        """A calculator for each temperature, K."""
        return {
            temperature: UmbrellaMC(
                hamiltonian,
                order_parameters,
                temperature_K=temperature,
                rng=rng,
                repeat=self.repeat,
                phi=(self.stiffness.composition, self.stiffness.order),
                run_length=self.run_length(),
            )
            for temperature in sorted(self.temperature)
        }


def _structure(path: Path | None, place: str) -> Atoms:
    try:
        found = ase.io.read(str(path))
    except Exception as error:  # readers of some ninety formats raise anything
        raise Problems([((place,), f"cannot read {path}: {reason_of(error)}")]) from error
    assert isinstance(found, Atoms)
    return found
