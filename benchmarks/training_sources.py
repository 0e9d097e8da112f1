"""Molecular dynamics, contour exploration and dimer searches as sources of training data.

    python benchmarks/training_sources.py OUTPUT [--silicon 3 0] [--seeds 5] [--starts 12]
                                          [--steps 240] [--frames 20] [--workers 2]

After the three-way benchmark of Waters & Rondinelli (2024), with MEAM in the place of DFT. From
the same relaxed fcc Al-Si cells of 32 atoms go, on the truth itself and without any active
learning, a trajectory of dynamics at 1200 K (2 fs), one of contour exploration at the potential
energy that this temperature has in a harmonic crystal (0.155 eV per atom above the minimum), and
a chain of dimer searches from random displacements of 0.1 Å. All have the same number of steps.
The first quarter of dynamics and contours, which do not start at their energies, goes; from what
is left and from the whole of the dimer's the same number of structures are taken at equal
distances. How many evaluations of the truth that costs is told: a step of the dimer takes several.

A linear ACE potential is fitted to what each source gave, and one to a third of each. All are
judged on trajectories from other cells, by mean absolute errors: on those of the same source, of
the others, and on all together. The errors of a model that predicts the mean energy and no force
stand below. No smooth potential follows this MEAM where Al and Si meet (docs/alsi10.md), so pure
aluminium, where ACE can, stands beside it.

What a source is made of is told by its energies above the minima and by its forces. How different
its structures are is told by the principal components of the ACE descriptors of the aluminium
atoms: the share of the variance of all three sources (spread, 1 on average) and how many components
share it (dimensions, the participation ratio).

Results are written to OUTPUT one seed and composition at a time; those that are there are not
computed again. The figure is OUTPUT/training_sources.png.
"""

from __future__ import annotations

import argparse
import itertools
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from alloys import alsi_basis, aluminium_basis, fcc_alsi, meam
from ase import Atoms
from sampling_studies import (
    COLOURS,
    calculate,
    markdown,
    mean_and_error,
    relaxation,
    settle,
    with_error,
)
from trajectories import SOURCES, trajectory

from ase_hal import LinearFit
from ase_hal.ace import ACEBasis
from ase_hal.journal import read_json, write_json
from ase_hal.metrics import compare

POINTS = 300  # of a source in the figure

Sets = dict[str, list[Atoms]]


def trajectories(
    silicon: int, seed: int, given: argparse.Namespace
) -> tuple[Sets, Sets, dict[str, int]]:
    """What each source gives to train on and, from other cells, to test; its evaluations."""
    train: Sets = {source: [] for source in SOURCES}
    test: Sets = {source: [] for source in SOURCES}
    calls = dict.fromkeys(SOURCES, 0)
    for start in range(given.starts):
        rng = np.random.default_rng([seed, start])
        atoms = fcc_alsi(rng, silicon=silicon)
        atoms.rattle(0.05, rng=rng)
        atoms.calc = meam()
        relaxation(atoms, steps=100)
        kept = test if start < max(given.starts // 4, 1) else train
        for source, child in zip(SOURCES, rng.spawn(len(SOURCES)), strict=True):
            frames, cost = trajectory(
                source, atoms, steps=given.steps, count=given.frames, rng=child
            )
            kept[source] += frames
            calls[source] += cost if kept is train else 0
    return train, test, calls


def aluminium_descriptors(basis: ACEBasis, structures: list[Atoms]) -> np.ndarray:
    evaluator = basis.evaluator()
    return np.concatenate([evaluator.atomic_descriptors(a)[a.symbols == "Al"] for a in structures])


def diversity(basis: ACEBasis, train: Sets, seed: int) -> dict[str, dict[str, Any]]:
    """What a source is made of; some points of it along the principal components."""
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
        forces = np.concatenate([a.get_forces() for a in train[source]])
        result[source] = {
            "excess": 1e3 * np.mean([a.info["excess"] for a in train[source]]),
            "force": np.linalg.norm(forces, axis=1).mean(),
            "spread": variances.sum() / len(scale),
            "dimensions": variances.sum() ** 2 / (variances**2).sum(),
            "points": standard[chosen] @ axes[:, [-1, -2]],
        }
    return result


def without_model(frames: list[Atoms]) -> dict[str, float]:
    """Errors of the mean energy and no forces."""
    energies = np.array([a.get_potential_energy() / len(a) for a in frames])
    forces = np.concatenate([a.get_forces() for a in frames])
    return {
        "energy": 1e3 * float(np.abs(energies - energies.mean()).mean()),
        "forces": float(np.abs(forces).mean()),
        "angle": 90.0,
    }


def study(silicon: int, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Sample, fit, judge; all errors of all fits on all tests."""
    train, test, calls = trajectories(silicon, seed, given)
    test["all"] = [a for frames in test.values() for a in frames]
    basis = alsi_basis() if silicon else aluminium_basis()
    sets = {**train, "a third of each": [a for frames in train.values() for a in frames[::3]]}
    errors: dict[str, dict[str, Any]] = {}
    for trained, structures in sets.items():
        committee = LinearFit(basis)(structures, rng=np.random.default_rng(seed))
        errors[trained] = {}
        for tested, frames in {"itself": structures, **test}.items():
            of = compare(committee, frames).errors()
            errors[trained][tested] = {
                "energy": 1e3 * of.energy_mae, "forces": of.forces_mae, "angle": of.force_angle
            }  # fmt: skip
    errors["(no model)"] = {tested: without_model(frames) for tested, frames in test.items()}
    sources = diversity(basis, train, seed)
    for source, of_source in sources.items():
        of_source |= {"labels": len(train[source]), "calls": calls[source]}
    labels = {trained: len(structures) for trained, structures in sets.items()}
    write_json(file, {"labels": labels, "errors": errors, "sources": sources})


UNITS = {"energy": "meV/atom", "forces": "eV/Å", "angle": "degrees"}
MEASURES = {
    "labels": "", "calls": " of the truth", "excess": " (meV/atom)", "force": " (eV/Å)",
    "spread": "", "dimensions": "",
}  # fmt: skip
Results = dict[int, list[dict[str, Any]]]  # of every seed, by the number of silicon atoms


def table(results: Results) -> str:
    """Errors with their standard errors over seeds, and what the sources are made of."""
    tests = ["itself", *SOURCES, "all"]
    lines = [["Si", "error", "trained on", *(f"on {test}" for test in tests), "labels"]]
    for (silicon, records), quantity in itertools.product(results.items(), UNITS):
        for trained in records[0]["errors"]:
            of_seeds = [record["errors"][trained] for record in records]
            cells = [
                mean_and_error(errors.get(test, {}).get(quantity, np.nan) for errors in of_seeds)
                for test in tests
            ]
            labels, _ = mean_and_error(record["labels"].get(trained, 0) for record in records)
            lines.append(
                [f"{silicon}", f"{quantity} ({UNITS[quantity]})", trained]
                + [with_error(*cell) for cell in cells]
                + [f"{labels:.0f}"]
            )
    sources = [["Si", "source", *(f"{name}{unit}" for name, unit in MEASURES.items())]]
    for (silicon, records), source in itertools.product(results.items(), SOURCES):
        cells = [
            mean_and_error(record["sources"][source][measure] for record in records)
            for measure in MEASURES
        ]
        sources.append([f"{silicon}", source, *(with_error(*cell) for cell in cells)])
    return f"{markdown(lines)}\n\n{markdown(sources)}"


def plot(results: Results, path: Path) -> None:
    """Descriptors, errors of forces and their angles; a row for each composition."""
    import matplotlib.pyplot as plt

    figure, rows = plt.subplots(
        len(results), 3, figsize=(11, 3.6 * len(results)), layout="constrained", squeeze=False
    )
    for (silicon, records), (scatter, *bars) in zip(results.items(), rows, strict=True):
        for source, colour in zip(SOURCES, COLOURS, strict=False):
            x, y = np.array(records[0]["sources"][source]["points"]).T
            scatter.plot(x, y, ".", color=colour, markersize=3, label=source)
        scatter.set(
            xlabel="component 1", ylabel="component 2",
            title=("Al" if not silicon else f"Al$_{{{32 - silicon}}}$Si$_{{{silicon}}}$")
            + ": descriptors of Al atoms",
        )  # fmt: skip
        scatter.legend(fontsize="small", markerscale=3)
        for axes, quantity in zip(bars, ("forces", "angle"), strict=True):
            tests = [*SOURCES, "all"]
            for number, trained in enumerate(records[0]["labels"]):
                values = [
                    mean_and_error(r["errors"][trained][test][quantity] for r in records)
                    for test in tests
                ]
                means, errors = np.array(values).T
                axes.bar(
                    np.arange(len(tests)) + 0.2 * number - 0.3, means, 0.18, yerr=errors,
                    color=COLOURS[number], label=trained,
                )  # fmt: skip
            axes.set_xticks(range(len(tests)), tests)
            axes.set(xlabel="tested on", ylabel=f"error of {quantity} ({UNITS[quantity]})")
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
    parser.add_argument("--starts", type=int, default=12, help="cells, a quarter for tests")
    parser.add_argument("--steps", type=int, default=240, help="of a trajectory")
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
