"""The paper's study of criteria on LCO, with our Monte Carlo: Tables 1 and 2, Figures 4 to 11.

    python benchmarks/lco_study.py STUDY --scale 0.125
    python benchmarks/lco_study.py STUDY --temperatures 260 300 340 --sets wells_vertices
    python benchmarks/lco_study.py STUDY --tables

Every set of criteria, seed and temperature is a run of `ase-hal free-energy` in a folder of its
own: what was interrupted goes on, what is finished is left alone. Point counts are the paper's
(950 + 50 global points and 400 high-error points three times a round; 2000 global points and 20
for each criterion where all are combined) times ``--scale``; the count of a single criterion,
which the paper chose by a surrogate and does not tell, is 200 times it. Networks are trained
anew in every round. Global points are the same in all runs of a seed, as in the paper, and are
calculated once. Results go to ``results.jsonl``.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import yaml
from sampling_studies import markdown
from scipy.stats import gmean

from ase_hal.free_energy.criteria.known_regions import disordered
from ase_hal.free_energy.errors import errors_by_criterion, mean_squared_error
from ase_hal.free_energy.fixed_temperature import AtTemperature
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.free_energy_run.run import run
from ase_hal.journal import Log, write_atomically

Criteria = list[dict[str, Any]]
REGIONS = ("section", "global", "lowest_path", "non_convexity", "vertices", "wells")
# What a single set adds to global points and high error; perturbations are the paper's.
OWN: dict[str, Criteria] = {
    "find_wells": [{"name": "find_wells", "perturbation": 0.05}],
    "wells_vertices": [
        {"name": "wells", "perturbation": 0.05},
        {"name": "vertices", "perturbation": 0.02},
        {"name": "end_points", "perturbation": 0.05},
    ],
    "lowest_path": [{"name": "lowest_path", "perturbation": 0.02}],
    "non_convexity": [{"name": "non_convexity", "perturbation": 0.05}],
    "committee": [{"name": "committee", "perturbation": 0.05}],
    "sensitivity": [{"name": "sensitivity", "perturbation": 0.05}],
}
NOVELTY = {"novelty_r1": "mean", "novelty_r2": "max"}
SETS = ("billiard", "billiard_2d", "high_error", *OWN, "all", "all_reweighted", *NOVELTY)
# The paper's Table 1 (testing MSE in (100 mu)^2), for the eye.
PAPER = {
    "billiard": 1.096225, "billiard_2d": 0.010057, "find_wells": 0.002252,
    "wells_vertices": 0.001960, "lowest_path": 0.002529, "non_convexity": 0.002612,
    "committee": 0.001164, "high_error": 0.001696, "sensitivity": 0.001804, "all": 0.003096,
    "all_reweighted": 0.002662, "novelty_r1": 0.007075, "novelty_r2": 0.007498,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One run of the study."""

    criteria: str
    seed: int
    temperature_K: float

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.criteria}-{self.temperature_K:g}K-seed{self.seed}"


def criteria_of(name: str, scale: float) -> Criteria:
    """The criteria of a set with their counts in a round."""

    def scaled(count: float) -> int:
        return max(round(count * scale), 1)

    def filling(total: float, section: float) -> Criteria:
        flat = [{"name": "section", "count": scaled(total * section)}] if section else []
        return [{"name": "global", "count": scaled(total * (1 - section))}, *flat]

    if name == "billiard":
        return filling(1000, 0.0)
    if name == "billiard_2d" or name in NOVELTY:
        return filling(1000, 0.05)
    high_error = {"name": "high_error", "perturbation": 0.075}
    if name.startswith("all"):
        every = [high_error, *(criterion for part in OWN.values() for criterion in part)]
        return [*filling(2000, 0.05), *({"count": scaled(20), **c} for c in every)]
    own = [{"count": scaled(200 / len(OWN[name])), **c} for c in OWN[name]] if name in OWN else []
    return [*filling(1000, 0.05), {"count": scaled(400), "repeats": 3, **high_error}, *own]


def run_file(case: Case, options: argparse.Namespace) -> dict[str, Any]:
    """The run file of a case."""
    count = max(round(200 * options.scale), 4)
    criteria = criteria_of(case.criteria, options.scale)
    fit: dict[str, Any] = {"name": options.fit}
    if options.fit == "idnn":
        fit["iterations"] = options.iterations
    if any(criterion["name"] == "committee" for criterion in criteria):
        fit["members"] = options.members
    document: dict[str, Any] = {
        "seed": case.seed,
        "workers": options.workers,
        "system": {"name": "lco"},
        "hamiltonian": {"name": options.hamiltonian},
        "monte_carlo": {
            "temperature": f"{case.temperature_K:g} K",
            "repeat": [options.repeat] * 3,
            "precision": options.precision,
            "max_sweeps": options.max_sweeps,
        },
        "fit": fit,
        "criteria": criteria,
        "candidates": options.candidates,
        # what a surface says moves no window: global points are the same in all runs
        "aim": False,
        "stopping": {"rounds": options.rounds},
        "test": {
            "criteria": [
                {"name": name, "count": count, "perturbation": 0.02 if name == "wells" else 0.0}
                for name in REGIONS
            ],
            "candidates": options.candidates,
        },
    }
    if case.criteria == "all_reweighted":
        document["reweighting"] = {"alpha": 1.0}
    if case.criteria in NOVELTY:
        document["novelty"] = {"threshold": NOVELTY[case.criteria]}
    return document


def share(source: Path, target: Path, *, points: bool) -> None:
    """Give a new run the test set of another one and, where they are the same, global points."""
    names = [path.name for path in source.glob("test*.jsonl")]
    for name in names:
        write_atomically(target / name, (source / name).read_bytes())
    if points:
        kept = [p for p in Log.read(source / "points.jsonl") if p["criterion"] in REGIONS[:2]]
        text = "".join(json.dumps(point) + "\n" for point in kept)
        write_atomically(target / "points.jsonl", text.encode())


def perform(case: Case, options: argparse.Namespace) -> None:
    """Start a case, or go on with it."""
    folder = options.study / case.name
    if not folder.is_dir():
        # a folder that is half prepared has another name
        fresh = options.study / f".{case.name}"
        fresh.mkdir(parents=True, exist_ok=True)
        base = options.study / Case("billiard_2d", case.seed, case.temperature_K).name
        if case.criteria != "billiard_2d" and (base / "surface.json").is_file():
            counts = [
                criteria_of(name, options.scale)[:2] for name in ("billiard_2d", case.criteria)
            ]
            same = counts[0] == counts[1] and case.criteria not in NOVELTY
            share(base, fresh, points=same)
        file = fresh / "run.yaml"
        file.write_text(yaml.safe_dump(run_file(case, options)))
        fresh.rename(folder)
    run(folder / "run.yaml", folder, on_event=lambda event: tell(case, event))


def tell(case: Case, event: dict[str, Any]) -> None:
    """Write a line for each round."""
    if event["event"] == "round":
        error = event["test_error"]
        print(f"{case.name} round {event['round']}: {event['n_points']} points, test {error:.4g}",
              flush=True)  # fmt: skip


def result(case: Case, folder: Path) -> dict[str, Any]:
    """What a finished run gives: the errors of the round that is best on the training set."""
    found = LearningRun.read(folder)
    best = min(found.final_errors, key=lambda number: found.final_errors[number])
    surface, test = found.surfaces[best], found.test
    return {
        "set": case.criteria,
        "seed": case.seed,
        "temperature_K": case.temperature_K,
        "points": len(found.points),
        "best_round": best,
        "train": found.final_errors[best],
        "test": mean_squared_error(surface, test),
        "regions": errors_by_criterion(surface, test),
        "train_by_round": list(found.final_errors.values()),
        "test_by_round": [event["test_error"] for event in found.rounds],
        "well_meV": 1000 * well_depth(found),
    }


def well_depth(found: LearningRun) -> float:
    """Lowest free energy at the composition of the ordering, minus that of disorder, eV.

    Nan where order is no minimum: the free energy falls all the way to disorder.
    """
    assert found.surface is not None
    surface = AtTemperature(found.surface, found.temperatures_K[0])
    centre = disordered(found.order_parameters)
    # along one order parameter, and away from zero: it need not be the lowest minimum
    axis = np.eye(len(centre))[found.order_parameters.n_trivial]
    line = centre + np.linspace(0.25, 0.49, 49)[:, None] * axis
    energies = surface.free_energy(np.vstack([centre, line]))
    return lowest_minimum(energies[1:]) - float(energies[0])


def lowest_minimum(energies: Array) -> float:
    """The lowest of energies (n,) from a barrier to order; nan where they only rise."""
    return float(energies.min()) if energies.argmin() else np.nan


def table(results: Sequence[dict[str, Any]], names: Sequence[str]) -> str:
    """Geometric means of errors over seeds, (10 meV)^2, in the order of the names."""
    heads = ["set", "K", "seeds", "points", "train", "test", "from", "to", "paper"]
    heads += [*REGIONS, "well (meV)"]
    lines = [heads]
    for temperature in sorted({r["temperature_K"] for r in results}):
        for name in names:
            mine = [r for r in results if (r["set"], r["temperature_K"]) == (name, temperature)]
            if not mine:
                continue
            tests = [r["test"] for r in mine]
            means = [
                gmean([r["train"] for r in mine]), gmean(tests), min(tests), max(tests),
                PAPER[name] if temperature == 300 else np.nan,
                *(gmean([r["regions"].get(n, np.nan) for r in mine]) for n in REGIONS),
            ]  # fmt: skip
            counts = (
                f"{temperature:g}",
                f"{len(mine)}",
                f"{np.mean([r['points'] for r in mine]):.0f}",
            )
            depth = np.mean([r["well_meV"] for r in mine])
            well = "" if np.isnan(depth) else f"{depth:.2f}"
            cells = ["" if np.isnan(value) else f"{value:.2g}" for value in means]
            lines.append([name.replace("_", " "), *counts, *cells, well])
    return markdown(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument("--scale", type=float, default=0.125, help="times the paper's counts")
    parser.add_argument("--rounds", type=int, default=11, help="the first one included")
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=SETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1])
    parser.add_argument("--temperatures", nargs="+", type=float, default=[300.0])
    parser.add_argument("--fit", choices=("idnn", "polynomial"), default="idnn")
    parser.add_argument("--members", type=int, default=3, help="where a committee is asked")
    parser.add_argument("--iterations", type=int, default=80, help="of training a network")
    parser.add_argument("--hamiltonian", choices=("model", "fitted"), default="model")
    parser.add_argument("--repeat", type=int, default=3, help="times 32 sites, in each direction")
    parser.add_argument("--precision", type=float, default=1e-3)
    parser.add_argument("--max-sweeps", type=int, default=5000)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--tables", action="store_true", help="only print what there is")
    options = parser.parse_args()
    options.study.mkdir(parents=True, exist_ok=True)
    # the base of the others first
    sets = sorted(options.sets, key=lambda name: name != "billiard_2d")
    cases = [Case(s, seed, t) for t in options.temperatures for seed in options.seeds for s in sets]
    with Log(options.study / "results.jsonl") as results:
        known = {(r["set"], r["seed"], r["temperature_K"]) for r in results}
        for case in cases:
            if not options.tables and (case.criteria, case.seed, case.temperature_K) not in known:
                perform(case, options)
                results.append(result(case, options.study / case.name))
        found = list(results)
    print("\nTable 1: mean squared errors of mu, (10 meV)^2; F(well) - F(disordered)\n")
    print(table(found, [name for name in SETS if name not in NOVELTY]))
    print("\nTable 2: with novelty (all with global points in seven and two variables)\n")
    print(table(found, ["billiard_2d", *NOVELTY]))


if __name__ == "__main__":
    main()
