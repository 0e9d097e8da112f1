"""Six ways to evolve structures in a learning loop: which of them generalises a model fastest?

    python benchmarks/schemes.py OUTPUT [--system alsi|al|nbtizr] [--seeds 5] [--iterations 6]
                                 [--labels 10] [--steps 150] [--alpha 3] [--gamma 0.3] [--workers 2]

After Waters & Rondinelli (2024): relaxation, molecular dynamics and contour exploration, each
with and without adversarial bias. A model starts from structures on the way of crystals to their
minima, which teach it little; the way of other crystals is the gentle test set. In every iteration
structures derived from crystals (half) and random ones (half) evolve on the model; from each
evolution comes the most uncertain structure with forces below 25 eV/Å, the most uncertain ones
of these are labelled, and a fifth of them is held out. What all six schemes held out with one
seed is the difficult test set of that seed, on which all six are judged, by mean absolute errors.

Forces on the model and on the truth differ. Labels with true forces above 25 eV/Å are paid for and
learned from, with small weights, but nothing is judged on them; the table tells their share.

With one seed all schemes start from the same labels, evolve the same structures in the first
iteration and hold out the same share. What is compared is therefore the ratio of errors with the
same seed: of every scheme to plain dynamics, and of every biased scheme to the same one without
bias; after the last iteration, and on average (geometric) over all of them, which is about how
fast a scheme learns. The model is linear ACE with its exact posterior, where the slides have eight
small networks.

    alsi    fcc, diamond and random cells of 16 atoms; MEAM in LAMMPS, which no smooth potential
            follows where Al and Si meet (docs/alsi10.md): errors end at what that leaves
    al      fcc, bcc and random cells of pure aluminium with the same MEAM, which ACE can follow
    nbtizr  bcc cells of 16 metal atoms with interstitial oxygen, and random ones; SevenNet-0
            (pip install sevenn); --seeds 3 --iterations 4 --steps 100 fit 45 minutes of two cores

Results are written to OUTPUT one scheme and seed at a time; those that are there are not
computed again. The figure is OUTPUT/schemes.png.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from alloys import ALLOYS, MAX_FORCE, Alloy, largest_force, weights
from ase import Atoms
from sampling_studies import calculate, label_here, relaxation, settle, spread_out
from schemes_report import SCHEMES, TESTS, plot, report

from ase_hal import LinearFit, learn, read_dataset
from ase_hal.committee import Committee
from ase_hal.data import write_dataset
from ase_hal.dynamics import (
    ContourWalk,
    Evolution,
    EvolutionExplorer,
    Evolved,
    MolecularDynamics,
    Pick,
    Relaxation,
)
from ase_hal.held_out import HoldOut, split
from ase_hal.journal import read_json, write_json
from ase_hal.metrics import Errors, compare, errors_by_kind
from ase_hal.structures import random_strain

TEMPERATURE = 1000.0  # K
EXCESS = 0.05  # eV per atom, of a contour above the structure that the walk starts from


def evolution(scheme: str, given: argparse.Namespace) -> Evolution:
    biased = scheme.startswith("biased")
    alpha, steps = given.alpha if biased else 0.0, given.steps
    if scheme.endswith("relaxation"):
        return Relaxation(alpha=alpha, steps=steps)
    if scheme.endswith("dynamics"):
        return MolecularDynamics(TEMPERATURE, alpha=alpha, steps=steps)
    return ContourWalk(EXCESS, gamma=given.gamma if biased else 0.0, steps=steps)


def start(alloy: Alloy, seed: int, crystals: int, file: Path) -> None:
    """Label relaxations of strained, displaced crystals; half of the crystals are for the test."""
    rng, truth = np.random.default_rng([seed, 0]), alloy.truth()
    strained = [
        random_strain(alloy.crystal(rng), rng=rng, linear=(-0.03, 0.03)) for _ in range(crystals)
    ]
    frames = []
    for test, ways in zip(("", "gentle"), split(strained, 0.5, rng=rng), strict=True):
        for atoms in ways:
            atoms.rattle(0.1, rng=rng)
            atoms.info["test"] = test
            atoms.calc = truth
            frames += spread_out(relaxation(atoms, steps=30), 5)
    write_dataset(file, frames)


def loop(alloy: Alloy, scheme: str, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Learn; what was labelled, with what was held out at the end."""
    seeds = [a for a in read_dataset(start_file(given, seed)) if not a.info.get("test")]
    evolved: list[Evolved] = []
    explore = EvolutionExplorer(
        evolution(scheme, given),
        starts=alloy.start,
        walkers=given.labels + given.labels // 2,  # some find nothing
        pick=Pick(max_force=MAX_FORCE, min_distance=alloy.closest),
        rattle=0.0,
        on_evolved=evolved.append,
    )
    hold_out = HoldOut(given.held_out, rng=np.random.default_rng([seed, 1]), label=label_here)
    *_, last = learn(
        seeds, LinearFit(alloy.basis(), weights=weights), explore, alloy.truth(),
        rng=np.random.default_rng([seed, 2]), n_select=given.labels,
        max_iterations=given.iterations, label=hold_out,
    )  # fmt: skip
    for atoms in hold_out.difficult:
        atoms.info |= {"test": "difficult", "scheme": scheme}
    write_json(
        evolved_file(given, scheme, seed),
        {
            "found": np.mean([e.found is not None for e in evolved]),
            "steps": np.mean([e.steps for e in evolved]),
        },
    )
    write_dataset(file, [*last.dataset, *hold_out.difficult])


def judge(alloy: Alloy, scheme: str, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Mean absolute errors on both test sets before and after every iteration, and more."""
    everything = {name: read_dataset(loop_file(given, name, seed)) for name in SCHEMES}
    frames = read_dataset(start_file(given, seed)) + [a for f in everything.values() for a in f]
    tests = {
        test: [a for a in frames if a.info.get("test") == test and largest_force(a) < MAX_FORCE]
        for test in TESTS
    }
    mine = [a for a in everything[scheme] if not a.info.get("test")]
    fit, iterations = LinearFit(alloy.basis(), weights=weights), []
    for iteration in range(given.iterations + 1):
        dataset = [a for a in mine if a.info.get("hal_iteration", 0) <= iteration]
        committee = fit(dataset, rng=np.random.default_rng(seed))
        errors = {test: numbers(compare(committee, tests[test]).errors()) for test in TESTS}
        iterations.append({"labels": len(dataset), **errors})
    looked_for = [a for a in everything[scheme] if a.info.get("hal_iteration", 0) > 0]
    record = read_json(evolved_file(given, scheme, seed))
    record |= {
        "paid": len(looked_for),
        "beyond": np.mean([largest_force(a) >= MAX_FORCE for a in looked_for]),
        "iterations": iterations,
        "kinds": grouped(committee, tests["difficult"], "kind"),
        "held out by": grouped(committee, tests["difficult"], "scheme"),
    }
    write_json(file, record)


def numbers(errors: Errors) -> dict[str, float]:
    return {
        "energy": 1e3 * errors.energy_mae,
        "forces": errors.forces_mae,
        "angle": errors.force_angle,
        "structures": errors.n_structures,
    }


def grouped(committee: Committee, dataset: list[Atoms], key: str) -> dict[str, Any]:
    """Errors by what their info says."""
    found = errors_by_kind(committee, dataset, lambda atoms: str(atoms.info[key]))
    return {str(group): numbers(errors) for group, errors in found.items()}


def start_file(given: argparse.Namespace, seed: int) -> Path:
    return given.output / f"start_seed{seed}.extxyz"


def loop_file(given: argparse.Namespace, scheme: str, seed: int) -> Path:
    return given.output / f"{scheme.replace(' ', '_')}_seed{seed}.extxyz"


def evolved_file(given: argparse.Namespace, scheme: str, seed: int) -> Path:
    return loop_file(given, scheme, seed).with_suffix(".evolved.json")


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
    if given.crystals < 2 or given.iterations < 1:
        parser.error("--crystals is at least 2 (one to learn from) and --iterations at least 1")
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
    # The difficult test set of a seed is the same however many seeds there are.
    files = {key: loop_file(given, *key).with_suffix(".json") for key in keys}
    jobs = {file: partial(judge, alloy, *key, given) for key, file in files.items()}
    calculate(jobs, workers=given.workers)
    results = {scheme: [read_json(files[scheme, seed]) for seed in seeds] for scheme in SCHEMES}
    print(report(results))
    plot(results, alloy.name, given.output / "schemes.png")


if __name__ == "__main__":
    main()
