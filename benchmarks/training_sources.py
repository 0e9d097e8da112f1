"""Molecular dynamics, contour exploration and dimer searches as sources of training data.

    python benchmarks/training_sources.py OUTPUT [--silicon 3 0] [--seeds 5] [--starts 16]
                                          [--steps 200] [--frames 20] [--workers 2]

After the three-way benchmark of Waters & Rondinelli (2024), with MEAM in the place of DFT. From
the same relaxed fcc Al-Si cells of 32 atoms go, on the truth itself and without any active
learning, a trajectory of dynamics at 1200 K (2 fs), one of contour exploration at the potential
energy that this temperature has in a harmonic crystal (0.155 eV per atom above the minimum), and
a chain of dimer searches from random displacements of 0.1 Å. All have the same number of steps,
of which the same number are taken at equal distances; a step of the dimer costs several
evaluations of the truth, one of the others costs one.

A linear ACE potential is fitted to what each source gave, and one to a third of each. All are
judged on trajectories from other cells, by mean absolute errors: on those of the same source and
on those of the others. No smooth potential follows this MEAM where Al and Si meet
(docs/alsi10.md), so pure aluminium, where ACE can, stands beside it.

How different the structures of a source are is told by the principal components of the ACE
descriptors of the aluminium atoms: the share of the variance of all three sources (spread, 1 on
average) and how many components share it (dimensions, the participation ratio).

Results are written to OUTPUT one seed and composition at a time; those that are there are not
computed again. The figure is OUTPUT/training_sources.png.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.contour_exploration import ContourExploration
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate
from sampling_studies import (
    ALLOYS,
    COLOURS,
    alsi_basis,
    calculate,
    fcc_alsi,
    labelled,
    mean_and_error,
    relaxation,
    settle,
    spread_out,
)

from ase_hal import LinearFit
from ase_hal.ace import ACEBasis
from ase_hal.journal import read_json, write_json
from ase_hal.metrics import compare

TEMPERATURE = 1200.0  # K
EXCESS = 1.5 * units.kB * TEMPERATURE  # eV per atom
MAX_FORCE = 25.0  # eV/Å: structures with larger forces are not taken
POINTS = 300  # of a source in the figure


def dynamics(atoms: Atoms, steps: int, rng: np.random.Generator) -> Iterator[Any]:
    thermalize_momenta(atoms, temperature_K=2 * TEMPERATURE, rng=rng)
    yield from Langevin(
        atoms, 2 * units.fs, temperature_K=TEMPERATURE, friction=0.01 / units.fs, fixcm=False,
        rng=rng,
    ).irun(steps)  # fmt: skip


def contour(atoms: Atoms, steps: int, rng: np.random.Generator) -> Iterator[Any]:
    target = atoms.get_potential_energy(force_consistent=True) + len(atoms) * EXCESS
    atoms.positions += rng.normal(0.0, 0.1, (len(atoms), 3))
    yield from ContourExploration(atoms, energy_target=target, rng=rng).irun(steps)


def dimer(atoms: Atoms, steps: int, rng: np.random.Generator) -> Iterator[Any]:
    """One search after the other until the steps are done."""
    minimum, done = atoms.get_positions(), 0
    while done < steps:
        away = rng.normal(0.0, 0.1, (len(atoms), 3))
        atoms.positions = minimum + away
        control = DimerControl(logfile=None, max_num_rot=3, dimer_separation=0.01)
        modes = MinModeAtoms(
            atoms, control, eigenmodes=[away / np.linalg.norm(away)],
            random_seed=int(rng.integers(2**31)),
        )  # fmt: skip
        search = MinModeTranslate(modes, logfile=None).irun(fmax=0.05, steps=steps - done)
        for number, _ in enumerate(search):
            yield number
        done += max(number, 1)


SOURCES: dict[str, Callable[[Atoms, int, np.random.Generator], Iterator[Any]]] = {
    "dynamics": dynamics,
    "contour": contour,
    "dimer": dimer,
}


def trajectory(source: str, minimum: Atoms, steps: int, rng: np.random.Generator) -> list[Atoms]:
    """The labelled structures of a trajectory, but for the first and those with huge forces."""
    atoms = minimum.copy()
    atoms.calc = minimum.calc
    frames = [labelled(atoms) for _ in SOURCES[source](atoms, steps, rng)][1:]
    return [a for a in frames if np.linalg.norm(a.get_forces(), axis=1).max() < MAX_FORCE]


def trajectories(
    silicon: int, seed: int, given: argparse.Namespace
) -> tuple[dict[str, list[Atoms]], dict[str, list[Atoms]]]:
    """What each source gives to train on and, from other cells, to test."""
    truth = ALLOYS["alsi"].truth()
    train: dict[str, list[Atoms]] = {source: [] for source in SOURCES}
    test: dict[str, list[Atoms]] = {source: [] for source in SOURCES}
    for start in range(given.starts):
        rng = np.random.default_rng([seed, start])
        atoms = fcc_alsi(rng, silicon=silicon)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = truth
        relaxation(atoms, steps=100)
        kept = test if start < max(given.starts // 4, 1) else train
        for source, child in zip(SOURCES, rng.spawn(len(SOURCES)), strict=True):
            frames = trajectory(source, atoms, given.steps, child)
            kept[source] += spread_out(frames, given.frames)
    return train, test


def aluminium_descriptors(basis: ACEBasis, structures: list[Atoms]) -> np.ndarray:
    evaluator = basis.evaluator()
    return np.concatenate([evaluator.atomic_descriptors(a)[a.symbols == "Al"] for a in structures])


def diversity(basis: ACEBasis, train: dict[str, list[Atoms]], seed: int) -> dict[str, Any]:
    """Principal components: some points of every source, its spread and its dimensions."""
    found = {source: aluminium_descriptors(basis, frames) for source, frames in train.items()}
    everything = np.concatenate(list(found.values()))
    scale = everything.std(axis=0)
    used = scale > 1e-10 * scale.max()  # functions of silicon atoms are zero
    centre, scale = everything.mean(axis=0)[used], scale[used]
    _, axes = np.linalg.eigh(np.cov((everything[:, used] - centre) / scale, rowvar=False))
    rng = np.random.default_rng(seed)
    result = {}
    for source, descriptors in found.items():
        standard = (descriptors[:, used] - centre) / scale
        variances = np.linalg.eigvalsh(np.cov(standard, rowvar=False))
        chosen = rng.permutation(len(standard))[:POINTS]
        result[source] = {
            "spread": variances.sum() / len(scale),
            "dimensions": variances.sum() ** 2 / (variances**2).sum(),
            "points": standard[chosen] @ axes[:, [-1, -2]],
        }
    return result


def study(silicon: int, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Sample, fit, judge; all errors of all fits on all tests."""
    train, test = trajectories(silicon, seed, given)
    basis = alsi_basis(("Al", "Si") if silicon else ("Al",))
    sets = {**train, "a third of each": [a for frames in train.values() for a in frames[::3]]}
    errors: dict[str, dict[str, Any]] = {}
    for trained, structures in sets.items():
        committee = LinearFit(basis)(structures, rng=np.random.default_rng(seed))
        errors[trained] = {}
        for tested, frames in {"itself": structures, **test}.items():
            of = compare(committee, frames, force_bound=MAX_FORCE).errors()
            errors[trained][tested] = {
                "energy": 1e3 * of.energy_mae, "forces": of.forces_mae, "angle": of.force_angle
            }  # fmt: skip
    labels = {trained: len(structures) for trained, structures in sets.items()}
    write_json(
        file, {"labels": labels, "errors": errors, "diversity": diversity(basis, train, seed)}
    )


UNITS = {"energy": "meV/atom", "forces": "eV/Å", "angle": "degrees"}
Results = dict[int, list[dict[str, Any]]]  # of every seed, by the number of silicon atoms


def table(results: Results) -> str:
    """Errors with their standard errors over seeds, and the diversity of the sources."""
    tests = ["itself", *SOURCES]
    head = ["Si", "error", "trained on", *(f"on {test}" for test in tests), "labels"]
    lines = [head, ["---"] * len(head)]
    for (silicon, records), quantity in itertools.product(results.items(), UNITS):
        for trained, labels in records[0]["labels"].items():
            cells = (
                mean_and_error(record["errors"][trained][test][quantity] for record in records)
                for test in tests
            )
            shown = [f"{mean:.3g} ± {error:.1g}" for mean, error in cells]
            lines.append(
                [f"{silicon}", f"{quantity} ({UNITS[quantity]})", trained, *shown, f"{labels}"]
            )
    lines += [[""], ["Si", "source", "spread", "dimensions"], ["---"] * 4]
    for (silicon, records), source in itertools.product(results.items(), SOURCES):
        cells = (
            mean_and_error(record["diversity"][source][measure] for record in records)
            for measure in ("spread", "dimensions")
        )
        lines.append(
            [f"{silicon}", source, *(f"{mean:.2f} ± {error:.1g}" for mean, error in cells)]
        )
    return "\n".join(f"| {' | '.join(cells)} |" if len(cells) > 1 else "" for cells in lines)


def plot(results: Results, path: Path) -> None:
    """Descriptors, errors of forces and their angles; a row for each composition."""
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(
        len(results), 3, figsize=(11, 3.6 * len(results)), layout="constrained", squeeze=False
    )
    for (silicon, records), (scatter, *bars) in zip(results.items(), rows, strict=True):
        for source, colour in zip(SOURCES, COLOURS, strict=False):
            x, y = np.array(records[0]["diversity"][source]["points"]).T
            scatter.plot(x, y, ".", color=colour, markersize=3, label=source)
        scatter.set(
            xlabel="component 1", ylabel="component 2",
            title=f"Al$_{{{32 - silicon}}}$Si$_{{{silicon}}}$: descriptors of Al atoms",
        )  # fmt: skip
        scatter.legend(fontsize="small", markerscale=3)
        for axes, quantity in zip(bars, ("forces", "angle"), strict=True):
            for number, trained in enumerate(records[0]["errors"]):
                values = [
                    mean_and_error(r["errors"][trained][test][quantity] for r in records)
                    for test in SOURCES
                ]
                means, errors = np.array(values).T
                axes.bar(
                    np.arange(len(SOURCES)) + 0.2 * number - 0.3, means, 0.18, yerr=errors,
                    color=COLOURS[number], label=trained,
                )  # fmt: skip
            axes.set_xticks(range(len(SOURCES)), [f"on {source}" for source in SOURCES])
            axes.set(ylabel=f"error of {quantity} ({UNITS[quantity]})")
    figure.legend(
        *bars[0].get_legend_handles_labels(), title="trained on", fontsize="small", ncols=4,
        loc="outside lower right",
    )  # fmt: skip
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--silicon", type=int, nargs="+", default=[3, 0], help="of 32 atoms")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--starts", type=int, default=16, help="cells, a quarter for tests")
    parser.add_argument("--steps", type=int, default=200, help="of a trajectory")
    parser.add_argument("--frames", type=int, default=20, help="taken from a trajectory")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if given.starts < 2:
        parser.error("--starts is at least 2: one cell to train, one to test")
    settle(given.output, {name: getattr(given, name) for name in ("starts", "steps", "frames")})
    files = {
        (silicon, seed): given.output / f"silicon{silicon}_seed{seed}.json"
        for silicon, seed in itertools.product(given.silicon, range(1, given.seeds + 1))
    }
    jobs = {file: partial(study, *key, given) for key, file in files.items()}
    calculate(jobs, workers=given.workers)
    results = {
        silicon: [read_json(file) for (n, _), file in files.items() if n == silicon]
        for silicon in given.silicon
    }
    print(table(results))
    plot(results, given.output / "training_sources.png")


if __name__ == "__main__":
    main()
