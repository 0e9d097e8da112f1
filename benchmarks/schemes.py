"""Six ways to evolve structures in a learning loop: which of them generalises a model fastest?

    python benchmarks/schemes.py OUTPUT [--system alsi|nbtizr] [--seeds 5] [--iterations 6]
                                 [--labels 10] [--steps 150] [--alpha 3] [--gamma 0.3] [--workers 2]

After Waters & Rondinelli (2024): relaxation, molecular dynamics and contour exploration, each
with and without adversarial bias. A model starts from structures on the way of crystals to their
minima, which teach it little; what is left of them is the gentle test set. In every iteration
structures derived from crystals (half) and random ones (half) evolve on the model; from each
evolution comes the most uncertain structure with forces below 25 eV/Å, the most uncertain ones
of these are labelled, and a fifth of them is held out. What all six schemes held out with one
seed is the difficult test set of that seed, on which all six are judged, by mean absolute errors.

With one seed all schemes start from the same labels, evolve the same structures in the first
iteration and hold out the same share. The model is linear ACE with its exact posterior, where
the slides have eight small networks.

    alsi    fcc, diamond and random cells of 16 atoms; MEAM in LAMMPS
    nbtizr  bcc cells of 16 metal atoms with interstitial oxygen, and random ones; SevenNet-0
            (pip install sevenn), where a seed takes a quarter of an hour of one core

Results are written to OUTPUT one scheme and seed at a time; those that are there are not
computed again. The figure is OUTPUT/schemes.png.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from sampling_studies import (
    ALLOYS,
    COLOURS,
    Alloy,
    calculate,
    label_here,
    mean_and_error,
    relaxation,
    settle,
    spread_out,
)

from ase_hal import LinearFit, learn, read_dataset
from ase_hal.datasets import write_dataset
from ase_hal.dynamics import (
    ContourWalk,
    Evolution,
    EvolutionExplorer,
    MolecularDynamics,
    Pick,
    Relaxation,
)
from ase_hal.held_out import HoldOut, split
from ase_hal.journal import read_json, write_json
from ase_hal.metrics import compare
from ase_hal.structures import random_strain

TEMPERATURE = 1000.0  # K
EXCESS = 0.05  # eV per atom, of a contour above the structure that the walk starts from
MAX_FORCE = 25.0  # eV/Å: of structures to label, and of the force components that are judged
SCHEMES = (
    "relaxation", "biased relaxation", "dynamics", "biased dynamics", "contour", "biased contour"
)  # fmt: skip
TESTS = ("gentle", "difficult")


def evolution(scheme: str, given: argparse.Namespace) -> Evolution:
    biased = scheme.startswith("biased")
    alpha, steps = given.alpha if biased else 0.0, given.steps
    if scheme.endswith("relaxation"):
        return Relaxation(alpha=alpha, steps=steps)
    if scheme.endswith("dynamics"):
        return MolecularDynamics(TEMPERATURE, alpha=alpha, steps=steps)
    return ContourWalk(EXCESS, gamma=given.gamma if biased else 0.0, steps=steps)


def start(alloy: Alloy, seed: int, crystals: int, file: Path) -> None:
    """Label relaxations of strained, displaced crystals; half of that is the gentle test."""
    rng, truth, frames = np.random.default_rng([seed, 0]), alloy.truth(), []
    for _ in range(crystals):
        atoms = random_strain(alloy.crystal(rng), rng=rng, linear=(-0.03, 0.03))
        atoms.rattle(0.1, rng=rng)
        atoms.calc = truth
        frames += spread_out(relaxation(atoms, steps=30), 5)
    train, gentle = split(frames, 0.5, rng=rng)
    for atoms in gentle:
        atoms.info["test"] = "gentle"
    write_dataset(file, [*train, *gentle])


def loop(alloy: Alloy, scheme: str, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Learn; what was labelled, with what was held out at the end."""
    seeds = [a for a in read_dataset(start_file(given, seed)) if "test" not in a.info]
    explore = EvolutionExplorer(
        evolution(scheme, given),
        starts=alloy.start,
        walkers=given.labels + given.labels // 2,  # some find nothing
        pick=Pick(max_force=MAX_FORCE),
        rattle=0.0,
    )
    hold_out = HoldOut(given.held_out, rng=np.random.default_rng([seed, 1]), label=label_here)
    *_, last = learn(
        seeds, LinearFit(alloy.basis()), explore, alloy.truth(),
        rng=np.random.default_rng([seed, 2]), n_select=given.labels,
        max_iterations=given.iterations, label=hold_out,
    )  # fmt: skip
    for atoms in hold_out.difficult:
        atoms.info["test"] = "difficult"
    write_dataset(file, [*last.dataset, *hold_out.difficult])


def judge(alloy: Alloy, scheme: str, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Mean absolute errors on both test sets before and after every iteration."""
    everything = {name: read_dataset(loop_file(given, name, seed)) for name in SCHEMES}
    frames = read_dataset(start_file(given, seed)) + [a for f in everything.values() for a in f]
    tests = {test: [a for a in frames if a.info.get("test") == test] for test in TESTS}
    mine = [a for a in everything[scheme] if "test" not in a.info]
    fit, records = LinearFit(alloy.basis()), []
    for iteration in range(given.iterations + 1):
        dataset = [a for a in mine if a.info.get("hal_iteration", 0) <= iteration]
        committee = fit(dataset, rng=np.random.default_rng(seed))
        record: dict[str, Any] = {"labels": len(dataset)}
        for test, structures in tests.items():
            errors = compare(committee, structures, force_bound=MAX_FORCE).errors()
            record[test] = {
                "energy": 1e3 * errors.energy_mae,
                "forces": errors.forces_mae,
                "angle": errors.force_angle,
                "structures": errors.n_structures,
            }
        records.append(record)
    write_json(file, records)


def start_file(given: argparse.Namespace, seed: int) -> Path:
    return given.output / f"start_seed{seed}.extxyz"


def loop_file(given: argparse.Namespace, scheme: str, seed: int) -> Path:
    return given.output / f"{scheme.replace(' ', '_')}_seed{seed}.extxyz"


UNITS = {"energy": "meV/atom", "forces": "eV/Å", "angle": "degrees"}
Results = dict[str, list[list[dict[str, Any]]]]  # records by scheme, seed and iteration


def course(runs: list[list[dict[str, Any]]], test: str, quantity: str) -> np.ndarray:
    """Mean over seeds and its standard error after every iteration, (iterations + 1, 2)."""
    together = zip(*runs, strict=True)
    return np.array([mean_and_error(r[test][quantity] for r in now) for now in together])


def table(results: Results) -> str:
    """Errors before and after the loop, with their standard errors over seeds."""
    columns = [(test, quantity) for test in TESTS for quantity in UNITS]
    head = ["scheme", "labels"]
    head += [f"{test}, {quantity} ({UNITS[quantity]})" for test, quantity in columns]
    lines = [head, ["---"] * len(head)]
    for scheme, runs in results.items():
        for when in (0, -1) if scheme == SCHEMES[0] else (-1,):
            labels = np.mean([run[when]["labels"] for run in runs])
            cells = (course(runs, *column)[when] for column in columns)
            name = scheme if when else "before"
            shown = (f"{mean:.3g} ± {error:.1g}" for mean, error in cells)
            lines.append([name, f"{labels:.0f}", *shown])
    first = [run[0] for run in results[SCHEMES[0]]]
    sizes = [np.mean([record[test]["structures"] for record in first]) for test in TESTS]
    lines = [f"| {' | '.join(cells)} |" for cells in lines]
    return "\n".join([*lines, "", "Structures: gentle {:.0f}, difficult {:.0f}.".format(*sizes)])


def plot(results: Results, title: str, path: Path) -> None:
    """Errors by iteration; biased schemes are dashed."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, rows = plt.subplots(
        2, 3, figsize=(11, 6.4), sharex=True, squeeze=False, layout="constrained"
    )
    for axes_row, test in zip(rows, TESTS, strict=True):
        for axes, quantity in zip(axes_row, UNITS, strict=True):
            for number, (scheme, runs) in enumerate(results.items()):
                mean, error = course(runs, test, quantity).T
                axes.errorbar(
                    np.arange(len(mean)) + 0.05 * (number - 2.5), mean, error, capsize=2,
                    color=COLOURS[number // 2], linestyle="-" if number % 2 == 0 else "--",
                    marker="os^"[number // 2], markersize=4, label=scheme,
                )  # fmt: skip
            axes.set(title=f"{test} set", ylabel=f"error of {quantity} ({UNITS[quantity]})")
            if quantity != "angle":
                axes.set_yscale("log")
    for axes in rows[-1]:
        axes.set_xlabel("iterations")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = rows[0, 0].get_legend_handles_labels()
    figure.legend(*handles, fontsize="small", ncols=6, loc="outside lower center")
    figure.suptitle(title)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--system", choices=list(ALLOYS), default="alsi")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--crystals", type=int, default=8, help="to start from")
    parser.add_argument("--iterations", type=int, default=6)
    parser.add_argument("--labels", type=int, default=10, help="in one iteration")
    parser.add_argument("--held-out", type=float, default=0.2, help="share of the labels")
    parser.add_argument("--steps", type=int, default=150, help="of an evolution")
    parser.add_argument("--alpha", type=float, default=3.0, help="bias on E - alpha sigma")
    parser.add_argument("--gamma", type=float, default=0.3, help="bias of contours")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    later = ("output", "seeds", "workers")  # may change without touching what is there
    settle(given.output, {k: v for k, v in vars(given).items() if k not in later})
    alloy, seeds = ALLOYS[given.system], range(1, given.seeds + 1)
    keys = [(scheme, seed) for seed in seeds for scheme in SCHEMES]
    calculate(
        {start_file(given, seed): partial(start, alloy, seed, given.crystals) for seed in seeds},
        workers=given.workers,
    )
    calculate(
        {loop_file(given, *key): partial(loop, alloy, *key, given) for key in keys},
        workers=given.workers,
    )
    files = {key: loop_file(given, *key).with_suffix(".json") for key in keys}
    jobs = {file: partial(judge, alloy, *key, given) for key, file in files.items()}
    calculate(jobs, workers=given.workers)
    results = {scheme: [read_json(files[scheme, seed]) for seed in seeds] for scheme in SCHEMES}
    print(table(results))
    plot(results, alloy.name, given.output / "schemes.png")


if __name__ == "__main__":
    main()
