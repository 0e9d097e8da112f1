"""Fits and searches for hyperparameters that are on disk once they are done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ase_hal.free_energy import (
    IDNNFit,
    IDNNSearch,
    IDNNSurface,
    Points,
    Surface,
    SurfaceCommittee,
    read_surface,
    write_surface,
)
from ase_hal.free_energy.idnn_fit import FoundIDNN
from ase_hal.free_energy.idnn_settings import Optimizer, Training
from ase_hal.free_energy.learning import Fit
from ase_hal.journal import read_json, write_json

_OPTIMIZERS = {kind.__name__: kind for kind in get_args(Optimizer)}


def round_folder(directory: Path, points: Points) -> Path:
    """Where the surface of the newest round of points belongs."""
    return directory / "rounds" / f"{points.round.max():04d}"


@dataclass(frozen=True)
class RememberedFit:
    """A fit that is read from the folder of its round if it is there.

    Attributes
    ----------
    fit : callable
    directory : Path
        Of the run.
    on_fit : callable
        Called with the number of points before a fit that is not on disk.
    """

    fit: Fit
    directory: Path
    on_fit: Callable[[int], None]

    def __call__(self, points: Points, *, rng: np.random.Generator) -> Surface:
        """Fit, or read; what is returned has always been on the disk."""
        stem = round_folder(self.directory, points) / "surface"
        if not stem.with_suffix(".json").is_file():
            self.on_fit(len(points))
            stem.parent.mkdir(parents=True, exist_ok=True)
            write_surface(self.fit(points, rng=rng), stem)
        return read_surface(stem)


@dataclass(frozen=True)
class RememberedSearch:
    """The same for a search: ``better`` and ``committee`` beside ``surface``."""

    search: IDNNSearch
    directory: Path
    on_fit: Callable[[int], None]

    def __call__(self, points: Points, fit: Fit, *, rng: np.random.Generator) -> FoundIDNN:
        """Search, or read; the fit that is found is remembered, too."""
        own = fit.fit if isinstance(fit, RememberedFit) else fit
        if not isinstance(own, IDNNFit):
            raise TypeError(f"hyperparameters are those of an IDNNFit, got {type(own).__name__}")
        folder = round_folder(self.directory, points)
        if not (folder / "search.json").is_file():
            self.on_fit(len(points))
            found = self.search(points, own, rng=rng)
            folder.mkdir(parents=True, exist_ok=True)
            write_surface(found.surface, folder / "better")
            if found.committee is not None:
                write_surface(found.committee, folder / "committee")
            write_json(folder / "search.json", _settings(found))
        kept = read_json(folder / "search.json")
        committee = read_surface(folder / "committee") if kept["committee"] else None
        assert committee is None or isinstance(committee, SurfaceCommittee)
        surface = read_surface(folder / "better")
        first = surface.members[0] if isinstance(surface, SurfaceCommittee) else surface
        assert isinstance(first, IDNNSurface)
        idnn = replace(
            own.idnn,
            architecture=first.architecture,
            training=_training(kept["training"], kept["optimizer"]),
        )
        best = RememberedFit(replace(own, idnn=idnn), self.directory, self.on_fit)
        return FoundIDNN(kept["improved"], best, surface, committee)


def _settings(found: FoundIDNN) -> dict[str, Any]:
    assert isinstance(found.fit, IDNNFit)
    training = found.fit.idnn.training
    return {
        "improved": found.improved,
        "training": {**asdict(training), "optimizer": asdict(training.optimizer)},
        "optimizer": type(training.optimizer).__name__,
        "committee": found.committee is not None,
    }


def _training(values: dict[str, Any], optimizer: str) -> Training:
    return Training(**{**values, "optimizer": _OPTIMIZERS[optimizer](**values["optimizer"])})
