"""FreeEnergyRunFile: the learning of a free energy in one YAML file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator

from ase_hal.free_energy import Hamiltonian, IDNNSearch, OrderParameters, Strategy
from ase_hal.free_energy.learning import Fit
from ase_hal.free_energy_run.fit_sections import FitSection, SearchSection
from ase_hal.free_energy_run.learning_sections import (
    CandidateCount,
    Criteria,
    CriterionSection,
    CurveSection,
    HoldOutSection,
    NoveltySection,
    ReweightingSection,
    StoppingSection,
)
from ase_hal.free_energy_run.system_sections import (
    HamiltonianSection,
    MonteCarloSection,
    SystemSection,
)
from ase_hal.runfile.document import read_document
from ase_hal.runfile.errors import Problem, Problems, RunFileError, describe
from ase_hal.runfile.fields import Count, Index, Section, directory_of

_SITES = 16  # of a supercell, at least: in less a window hardly moves


class Settings(Section):
    """All sections of a run file.

    Fields are read in this order, and a check sees those before it that are all right.
    """

    seed: Index
    workers: Count = 1
    system: SystemSection
    hamiltonian: Annotated[HamiltonianSection, Field(validate_default=True)] = HamiltonianSection(
        name="model"
    )
    monte_carlo: MonteCarloSection
    fit: FitSection = FitSection()
    search: SearchSection | None = None
    criteria: Criteria
    candidates: CandidateCount = 1_000_000
    aim: bool = True
    novelty: NoveltySection | None = None
    reweighting: ReweightingSection | None = None
    stopping: StoppingSection = StoppingSection()
    test: HoldOutSection | None = None
    composition_curve: CurveSection | None = None

    @field_validator("system")
    @classmethod
    def _system_exists(cls, system: SystemSection) -> SystemSection:
        system.order_parameters  # noqa: B018
        return system

    @field_validator("hamiltonian")
    @classmethod
    def _hamiltonian_fits(
        cls, hamiltonian: HamiltonianSection, info: ValidationInfo
    ) -> HamiltonianSection:
        system = info.data.get("system")
        if system is not None:
            if system.name is None and hamiltonian.name is not None:
                reason = "is one of the system 'lco'; a crystal of your own needs another source"
                raise Problems([(("name",), f"{hamiltonian.name!r} {reason}")])
            hamiltonian.build(system.order_parameters, directory_of(info))
        return hamiltonian

    @field_validator("monte_carlo")
    @classmethod
    def _cell_is_large_enough(
        cls, monte_carlo: MonteCarloSection, info: ValidationInfo
    ) -> MonteCarloSection:
        if "system" in info.data:
            smallest = info.data["system"].order_parameters.n_sites
            sites = smallest * int(np.prod(monte_carlo.repeat))
            if sites < _SITES:
                reason = f"makes {sites} sites, at least {_SITES} are needed, better a thousand"
                raise Problems([(("repeat",), reason)])
        return monte_carlo

    @field_validator("fit")
    @classmethod
    def _fit_exists(cls, fit: FitSection, info: ValidationInfo) -> FitSection:
        if "system" in info.data:
            fit.build(info.data["system"].order_parameters)
        return fit

    @field_validator("search")
    @classmethod
    def _search_needs_networks(
        cls, search: SearchSection | None, info: ValidationInfo
    ) -> SearchSection | None:
        fit = info.data.get("fit")
        if search is not None and fit is not None and fit.name != "idnn":
            raise ValueError(f"hyperparameters are those of an idnn, the fit is {fit.name!r}")
        return search

    @field_validator("criteria")
    @classmethod
    def _criteria_suit(
        cls, criteria: tuple[CriterionSection, ...], info: ValidationInfo
    ) -> tuple[CriterionSection, ...]:
        searched = info.data.get("search") is not None
        Problems.raise_any(_refusals(criteria, info, searched=searched))
        return criteria

    @field_validator("test")
    @classmethod
    def _test_suits(
        cls, test: HoldOutSection | None, info: ValidationInfo
    ) -> HoldOutSection | None:
        if test is not None:
            found = _refusals(test.criteria, info, searched=False)
            Problems.raise_any((("criteria", *place), text) for place, text in found)
        return test


def _refusals(
    criteria: tuple[CriterionSection, ...], info: ValidationInfo, *, searched: bool
) -> list[Problem]:
    """What is wrong with criteria; a search for hyperparameters may find a committee."""
    names = [criterion.name for criterion in criteria]
    found: list[Problem] = [
        ((i,), f"{name!r} is there already") for i, name in enumerate(names) if name in names[:i]
    ]
    if all(criterion.build().requires != "nothing" for criterion in criteria):
        found.append(((), "all need a surface: nothing proposes the first points"))
    fit = info.data.get("fit")
    if "committee" in names and not searched and fit is not None and fit.members < 2:
        reason = "would never be asked: it needs fit.members of at least 2, or a search"
        found.append(((names.index("committee"),), reason))
    if "system" in info.data:
        order_parameters = info.data["system"].order_parameters
        for i, criterion in enumerate(criteria):
            found += [((i, *at), text) for at, text in criterion.refusals(order_parameters)]
    return found


@dataclass(frozen=True)
class FreeEnergyRunFile:
    """What a run file says, and the objects it describes.

    Attributes
    ----------
    path : Path
        The file; paths in it are relative to its directory.
    settings : Settings
        Its sections; quantities in eV and K.
    """

    path: Path
    settings: Settings

    @classmethod
    def read(cls, path: str | Path) -> FreeEnergyRunFile:
        """Read and check a run file.

        The order parameters, the Hamiltonian and its symmetry, and every criterion are tried, so
        that what can be wrong is found before anything starts.

        Raises
        ------
        RunFileError
            With one line for everything that is wrong.
        """
        path = Path(path)
        document = read_document(path, such_as="monte_carlo", foreign="elements")
        context = {"directory": path.resolve().parent}
        try:
            return cls(path, Settings.model_validate(document, context=context))
        except ValidationError as error:
            raise RunFileError(describe(error, Settings)) from None

    @property
    def order_parameters(self) -> OrderParameters:
        """Those of the section ``system``."""
        return self.settings.system.order_parameters

    @cached_property
    def hamiltonian(self) -> Hamiltonian:
        """What the section ``hamiltonian`` describes."""
        return self.settings.hamiltonian.build(self.order_parameters, self.path.resolve().parent)

    def fit(self) -> Fit:
        """The fit of the section ``fit``."""
        return self.settings.fit.build(self.order_parameters, self.settings.workers)

    def search(self) -> IDNNSearch | None:
        """The search of the section ``search``, if there is one."""
        wanted = self.settings.search
        return None if wanted is None else IDNNSearch(wanted.trials, wanted.members)

    def strategy(self) -> Strategy:
        """How points are chosen."""
        own = self.settings
        return Strategy(
            [criterion.build() for criterion in own.criteria],
            novelty=None if own.novelty is None else own.novelty.build(),
            reweighting=None if own.reweighting is None else own.reweighting.build(),
            stopping=own.stopping.build(),
            n_candidates=own.candidates,
            aim=own.aim,
        )

    def summary(self) -> str:
        """A line that says what was read."""
        found = self.order_parameters
        sites = found.n_sites * int(np.prod(self.settings.monte_carlo.repeat))
        criteria = ", ".join(criterion.name for criterion in self.settings.criteria)
        return (
            f"{self.path} is all right: {found.dimension} order parameters, {len(found.wells)} "
            f"variants, Monte Carlo of {sites} sites, criteria {criteria}"
        )
