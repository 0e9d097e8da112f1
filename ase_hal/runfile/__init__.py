"""RunFile: a whole hyperactive-learning run in one YAML file."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

from ase import Atoms
from ase.calculators.calculator import BaseCalculator
from pydantic import ValidationError

from ase_hal.ace.basis import ACEBasis
from ase_hal.data.report import DataReport, check_files
from ase_hal.dynamics.explorer import HALExplorer, Trajectory
from ase_hal.linear_fit import LinearFit
from ase_hal.runfile.document import read_document
from ase_hal.runfile.errors import RunFileError, describe
from ase_hal.runfile.reference_section import ReferenceSection
from ase_hal.runfile.settings import FinalSection, LoopSection, Settings

__all__ = ["RunFile", "RunFileError", "Settings"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFile:
    """What a run file says, and the objects it describes.

    Attributes
    ----------
    path : Path
        The file; paths in it are relative to its directory.
    settings : Settings
        Its sections; quantities in ASE's units.
    """

    path: Path
    settings: Settings

    @classmethod
    def read(cls, path: str | Path) -> RunFile:
        """Read and check a run file.

        Structure files are read and every part of the run but the reference calculations is
        tried, so that what can be wrong is found before anything starts.

        Raises
        ------
        RunFileError
            With one line for everything that is wrong.
        """
        path = Path(path)
        document = read_document(path, such_as="elements", foreign="monte_carlo")
        context = {"directory": path.resolve().parent}
        try:
            return cls(path, Settings.model_validate(document, context=context))
        except ValidationError as error:
            raise RunFileError(describe(error, Settings)) from None

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def workers(self) -> int:
        """Processes for walkers and labels."""
        return self.settings.workers

    @property
    def loop(self) -> LoopSection:
        return self.settings.loop

    @property
    def reference(self) -> ReferenceSection:
        return self.settings.reference

    @property
    def final(self) -> FinalSection | None:
        return self.settings.final

    @property
    def test_per_stage(self) -> int:
        """How many structures of the test set each stage is to find."""
        return (self.settings.test and self.settings.test.per_stage) or 0

    def seeds(self) -> list[Atoms]:
        """The structures to start from; those of a file may carry labels."""
        return self.settings.seeds.build(self.seed)

    def test_structures(self) -> list[Atoms]:
        """Labelled structures of the test set that a file gives."""
        test = self.settings.test
        return [] if test is None or test.file is None else test.read()

    def data_reports(self) -> dict[str, DataReport]:
        """What checks find in the labelled structures of the file, by section."""
        found = {}
        for name, section in (("seeds", self.settings.seeds), ("test", self.settings.test)):
            labelled = None if section is None or not section.check else section.read_labelled()
            if labelled is not None:
                fit = self.fit()
                found[name] = check_files(
                    [labelled],
                    force_bound=fit.force_bound,
                    cutoff=fit.basis.cutoff,
                    one_body=fit.one_body,
                )
        return found

    def check_data(self) -> None:
        """Look at the labels in the files of seeds and tests.

        Raises
        ------
        RunFileError
            Where they are surely wrong. What is probably wrong is logged.
        """
        reports = self.data_reports()
        if wrong := [
            f"{name}.file: {message}"
            for name, report in reports.items()
            for message in report.messages("wrong")
        ]:
            raise RunFileError([*wrong, "(check: false in the section uses the file as it is)"])
        for report in reports.values():
            report.log(logger)

    def calculator(self) -> Callable[[], BaseCalculator]:
        """What makes the reference calculator."""
        return self.reference.build(self.path.resolve().parent)

    def basis(self) -> ACEBasis:
        return self.settings.basis.build(self.settings.elements)

    def fit(self) -> LinearFit:
        return self.settings.fit.build(self.basis())

    def explorer(
        self,
        *,
        executor: Executor | None = None,
        on_trajectory: Callable[[Trajectory], None] | None = None,
    ) -> HALExplorer:
        """The explorer; arguments as for `HALExplorer`."""
        return HALExplorer(
            [stage.build() for stage in self.settings.explore.stages],
            walkers=self.settings.explore.walkers,
            executor=executor,
            on_trajectory=on_trajectory,
        )
