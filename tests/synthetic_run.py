"""Run directories made up from random numbers, as a run would have left them.

The numbers follow what runs do: errors fall, trajectories grow longer, sigma is honest up to a
factor that a test may choose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal.dynamics.trace import Trace
from ase_hal.frames import Frames
from ase_hal.journal import Log

TOLERANCE = 0.5


class SyntheticRun:
    """Writes a run directory iteration by iteration.

    Parameters
    ----------
    directory : Path
        Must exist.
    stages : sequence of str
        The iterations are shared out equally among them.
    test : bool
        Whether fits know test errors and there is a ``test.extxyz``.
    periodic : bool
        Without it there is no pressure.
    sigma_factor : float
        What the true spread of errors is, over the sigma that is reported.
    """

    def __init__(
        self,
        directory: Path,
        *,
        rng: np.random.Generator,
        stages: Sequence[str] = ("solid", "liquid"),
        test: bool = True,
        periodic: bool = True,
        sigma_factor: float = 1.0,
    ) -> None:
        self.directory = directory
        self.rng = rng
        self.stages = stages
        self.test = test
        self.periodic = periodic
        self.sigma_factor = sigma_factor
        self.n_structures = 0
        settings = [{"name": s, "trigger": {"tolerance": TOLERANCE}} for s in stages]
        (directory / "run.yaml").write_text(yaml.safe_dump({"explore": {"stages": settings}}))
        self.emit("start", version="0.1.0", time=1.8e9, iteration=1)

    def emit(self, event: str, **record: Any) -> None:
        with Log(self.directory / "log.jsonl") as log:
            log.append({"event": event, **record})

    def write(self, iterations: int, *, n_seeds: int = 6, finished: str | None = None) -> None:
        """Seeds, iterations and, if it is finished, sparse fits and the end."""
        self.seeds(n_seeds)
        for iteration in range(1, iterations + 1):
            self.iteration(iteration, iterations)
        if finished is not None:
            self.finish(iterations, finished)

    def seeds(self, n: int) -> None:
        for index in range(n):
            self.store("dataset.extxyz", hal_iteration=0, hal_index=index)
            self.label_event(0, index, None, np.nan)

    def iteration(self, iteration: int, iterations: int) -> None:
        progress = iteration / iterations
        stage = self.stages[min(int(progress * len(self.stages)), len(self.stages) - 1)]
        self.fit_event(iteration, progress)
        for walker in range(2):
            length = int(150 * np.exp(3.2 * progress + 0.4 * self.rng.normal()))
            outcome = "stable" if length > 2500 else "uncertain"
            if self.rng.random() < 0.06:
                outcome = "untrustworthy"
            self.trajectory(iteration, stage, walker, min(length, 2500), outcome)
            if outcome == "stable":
                continue
            if self.rng.random() < 0.05:
                self.emit(
                    "failure", iteration=iteration, index=walker, reason="SCF did not converge"
                )
                continue
            self.store(
                "dataset.extxyz", hal_iteration=iteration, hal_index=walker, hal_stage=stage,
                hal_walker=walker, hal_step=length, hal_outcome=outcome,
            )  # fmt: skip
            self.label_event(iteration, walker, stage, 0.012 * np.exp(-2.2 * progress))
        self.emit("step", iteration=iteration, n_structures=self.n_structures)

    def fit_event(self, iteration: int, progress: float) -> None:
        energy = 1e-3 * (1.6 + progress) * np.exp(0.08 * self.rng.normal())
        forces = (0.05 + 0.04 * progress) * np.exp(0.05 * self.rng.normal())
        excess = 1 + 4 * np.exp(-4 * progress)
        self.emit(
            "fit", iteration=iteration, n_structures=self.n_structures, n_basis=723,
            noise_precision=120.0, prior_precision=0.4, log_evidence=5e3 * progress,
            train_energy_rmse=energy, train_forces_rmse=forces,
            test_energy_rmse=energy * excess if self.test else None,
            test_forces_rmse=forces * excess if self.test else None,
            seconds=0.5 + 3 * progress,
        )  # fmt: skip

    def trajectory(self, iteration: int, stage: str, walker: int, steps: int, outcome: str) -> None:
        path = self.directory / "iterations" / f"{iteration:04d}" / f"walker{walker}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **asdict(self.trace(steps, outcome)))
        reason = "distance 0.92 Å between Si 3 and Al 7, less than 0.6 times the sum of radii"
        self.emit(
            "trajectory", iteration=iteration, stage=stage, walker=walker, outcome=outcome,
            reason=reason if outcome == "untrustworthy" else "", steps=steps,
            trace=str(path.relative_to(self.directory)),
            acceptance={"SwapMC": self.rng.uniform(0.2, 0.5), "CellMC": self.rng.uniform(0.3, 0.4)},
        )  # fmt: skip

    def trace(self, steps: int, outcome: str) -> Trace:
        step = np.arange(steps + 1)
        noise = self.rng.normal(size=(3, len(step)))
        slow = np.convolve(noise[0], np.ones(40) / np.sqrt(40), mode="same")
        score = 0.12 + 0.03 * slow + 0.38 * (step / steps) ** 3 * (outcome != "stable")
        score = np.clip(score, 0.03, 1)
        if outcome == "uncertain":
            score[-1] = TOLERANCE + 0.04
        score[step % 10 != 0] = np.nan
        pressure = 2.0 * np.sin(step / 60) + noise[1]
        return Trace(
            step=step,
            time_fs=1.0 * step,
            temperature_K=800 + 90 * np.convolve(noise[2], np.ones(15) / np.sqrt(15), "same"),
            pressure_GPa=pressure if self.periodic else np.full(len(step), np.nan),
            tau=np.where(step < 100, 0.0, 4 + 0.5 * slow),
            energy=-100 + slow,
            energy_std=np.abs(0.05 + 0.01 * slow),
            score=np.append(score[:-1], TOLERANCE + 0.04 if outcome == "uncertain" else score[-1]),
        )

    def label_event(
        self, iteration: int, index: int, stage: str | None, sigma: float, event: str = "label"
    ) -> None:
        std = sigma * np.exp(0.5 * self.rng.normal())
        error = self.sigma_factor * std * self.rng.normal()
        self.emit(
            event, iteration=iteration, index=index, stage=stage, n_atoms=32,
            seconds=40 + 8 * self.rng.normal(),
            energy_std=None if stage is None else std,
            energy_error=None if stage is None else error,
            forces_rmse=None if stage is None else 12 * sigma * np.exp(0.2 * self.rng.normal()),
        )  # fmt: skip

    def store(self, file: str, **info: Any) -> Atoms:
        atoms = bulk("Al", cubic=True) * (2, 2, 2)
        atoms.symbols[self.rng.choice(len(atoms), 3, replace=False)] = "Si"
        atoms.positions += self.rng.normal(scale=0.1, size=atoms.positions.shape)
        if not self.periodic:
            atoms = Atoms(atoms.symbols, atoms.positions)
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=-3.6 * len(atoms) + self.rng.normal(),
            forces=self.rng.normal(scale=0.8, size=(len(atoms), 3)),
        )
        atoms.info |= {**info, "hal_label_seconds": 40.0}
        with Frames(self.directory / file) as frames:
            frames.append(atoms)
        self.n_structures += file == "dataset.extxyz"
        return atoms

    def finish(self, iterations: int, reason: str) -> None:
        """The test set, the sparse fits and the end."""
        errors: Mapping[str, float | None] = {}
        for index in range(12 if self.test else 0):
            self.store("test.extxyz", hal_iteration=-1, hal_index=index)
            self.label_event(-1, index, self.stages[-1], 0.003, event="test")
        table = (
            (1e3, 38, 7.7, 8.0),
            (1e4, 116, 4.2, 6.2),
            (8e4, 295, 2.4, 5.1),
            (3e5, 621, 1.9, 5.2),
        )
        for threshold, n_basis, train, test in table:
            errors = {
                "train_energy_rmse": 1e-3 * train, "train_forces_rmse": 0.035 + train / 77,
                "test_energy_rmse": 1e-3 * test if self.test else None,
                "test_forces_rmse": 0.04 + test / 77 if self.test else None,
            }  # fmt: skip
            self.emit("relevance", threshold=threshold, n_basis=n_basis, **errors, seconds=2.0)
        self.emit("end", finished=reason, n_structures=self.n_structures, **errors, seconds=9000.0)
