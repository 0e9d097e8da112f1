"""Active learning of diffusion barriers in random NbTiZr: small cells against large ones.

    python benchmarks/barriers.py OUTPUT [--sizes 2 3] [--seeds 2] [--loops 6] [--hops 6]
                                  [--labels 12] [--tests 3] [--force-floor 0.1] [--workers 2]

After Waters & Rondinelli (2024), with SevenNet-0 in the place of DFT. In every loop oxygen hops
between octahedral sites and vacancy hops in new random bcc alloys are searched for saddles on the
model; the most uncertain of their starts, saddles, ends and failures are labelled. One model
learns from 2x2x2 cells only, the other from 3x3x3 cells only. A label of the latter has three
times the atoms, which is what DFT asks to be paid for with more than three times the work.

Both are judged on hops that neither saw, of both sizes, whose saddles were searched on SevenNet-0
itself in the same way: by the barrier that the same search finds on the model, and by energies,
forces and their angles at starts, saddles and ends, displaced by 0.05 Å (where a structure is
relaxed its forces have no direction to speak of). Hops without a saddle on SevenNet-0 are left
out. Saddles of a model are proximal when SevenNet-0 has no force above 2 eV/Å there.

--force-floor fits with forces weighed relative to their size. Results are written to OUTPUT one
hop or one model at a time; those that are there are not computed again. The figure is
OUTPUT/barriers.png.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from sampling_studies import ALLOYS, COLOURS, calculate, label_here, mean_and_error, nbtizr, settle

from ase_hal import LinearFit, Prediction, Weights, learn, read_dataset
from ase_hal.committee import Committee
from ase_hal.datasets import write_dataset
from ase_hal.dynamics import Pick, SaddleSearch, saddle_kind
from ase_hal.journal import read_json, write_json
from ase_hal.metrics import compare
from ase_hal.structures import interstitial_hop, random_strain, vacancy_hop

ALLOY = ALLOYS["nbtizr"]
KINDS = ("oxygen", "vacancy")
FOUND = ("dimer", "neb")  # outcomes of a search that has a saddle
DISPLACED = 0.05  # Å


class Truth:
    """SevenNet-0 as a committee that is never in doubt, for the same search on it."""

    def __init__(self) -> None:
        self.calculator = ALLOY.truth()
        self.elements = ALLOY.basis().elements
        self._known: dict[bytes, Prediction] = {}

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        key = atoms.cell.array.tobytes() + atoms.positions.tobytes()
        if key not in self._known:  # a dimer comes back to its middle
            bare = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
            forces = np.array(self.calculator.get_property("forces", bare), dtype=float)
            energy = float(self.calculator.get_property("energy", bare))
            self._known[key] = Prediction(
                energy, forces, energy_std=0.0, energy_std_gradient=np.zeros_like(forces),
                model_std=0.0, force_scale=1.0, member_energies=np.full(2, energy),
            )  # fmt: skip
        return self._known[key]


def search_for(
    initial: Atoms, final: Atoms, given: argparse.Namespace, **more: Any
) -> SaddleSearch:
    """The search on models and on the truth alike."""
    pick = Pick(max_force=40.0)  # oxygen starts between two metal atoms
    return SaddleSearch(
        initial, final, n_images=3, fmax=given.fmax, steps=given.steps, pick=pick, **more
    )


def hop(kind: str, size: int, rng: np.random.Generator) -> tuple[Atoms, Atoms]:
    """A random hop in a random alloy, slightly strained."""
    strain = {"linear": (-0.02, 0.02), "von_mises": (0.0, 0.02)}
    alloy = random_strain(nbtizr(rng, size=size), rng=rng, **strain)
    if kind == "vacancy":
        return vacancy_hop(alloy, rng=rng)
    return interstitial_hop(alloy, "O", size=(size, size, size), rng=rng)


def explore(
    committee: Committee,
    *,
    dataset: Sequence[Atoms],
    rng: np.random.Generator,
    size: int,
    given: argparse.Namespace,
) -> Iterator[Atoms]:
    """Search new hops for saddles on the model; the explorer of the loop."""
    for number, child in enumerate(rng.spawn(given.hops)):
        kind = KINDS[number % 2]
        search = search_for(*hop(kind, size, child), given, name=kind)
        yield from search(committee, dataset=dataset, rng=child)


def first_structures(size: int, count: int, rng: np.random.Generator) -> list[Atoms]:
    """Displaced alloys, one with an oxygen atom, the next with a vacancy."""
    found = []
    for number in range(count):
        atoms, _ = hop(KINDS[number % 2], size, rng)
        atoms.rattle(rng.uniform(0.02, 0.25), rng=rng)
        found.append(atoms)
    return found


def test_hop(kind: str, size: int, number: int) -> tuple[Atoms, Atoms]:
    return hop(kind, size, np.random.default_rng([10_000, size, KINDS.index(kind), number]))


def search_truth(kind: str, size: int, number: int, given: argparse.Namespace, file: Path) -> None:
    """Start, saddle and end on SevenNet-0, as they are and displaced."""
    rng, truth = np.random.default_rng(number), Truth()
    path = search_for(*test_hop(kind, size, number), given).search(truth, rng=rng)
    frames = []
    for role, atoms in (("start", path.start), ("saddle", path.saddle), ("end", path.end)):
        for displacement in (0.0, DISPLACED) if atoms is not None else ():
            copy = atoms.copy()
            copy.positions += rng.normal(0.0, displacement, copy.positions.shape)
            frames += label_here([copy], truth.calculator)
            frames[-1].info = {"role": role, "outcome": path.outcome, "displaced": displacement}
            frames[-1].info["reason"] = path.reason or "found"
    write_dataset(file, frames)


def tests(given: argparse.Namespace, size: int) -> Iterator[tuple[Atoms, Atoms, list[Atoms]]]:
    """Hops of a size with a saddle on SevenNet-0: initial, final, and what is there."""
    for kind in KINDS:
        for number in range(given.tests):
            frames = read_dataset(truth_file(given, kind, size, number))
            if frames[0].info["outcome"] in FOUND:
                yield (*test_hop(kind, size, number), frames)


def barrier(frames: Sequence[Atoms]) -> float:
    """True barrier, eV."""
    energies = {
        a.info["role"]: a.get_potential_energy() for a in frames if a.info["displaced"] == 0
    }
    return energies["saddle"] - energies["start"]


def judge(committee: Committee, given: argparse.Namespace, size: int) -> dict[str, float]:
    """Errors on the hops of one size."""
    off, displaced = [], []
    for number, (initial, final, frames) in enumerate(tests(given, size)):
        search = search_for(initial, final, given, max_std=np.inf)
        path = search.search(committee, rng=np.random.default_rng(number))
        off.append(path.barrier - barrier(frames))  # nan without a saddle
        displaced += [atoms for atoms in frames if atoms.info["displaced"] > 0]
    errors = compare(committee, displaced).errors()
    return {
        "barrier": mean_and_error(np.abs(off))[0],
        "found": float(np.mean(~np.isnan(off))) if off else np.nan,
        "energy": 1e3 * errors.energy_mae,
        "forces": errors.forces_mae,
        "angle": errors.force_angle,
    }


def study(size: int, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Learn from cells of one size; errors before every loop and after the last one."""
    rng = np.random.default_rng([seed, size])
    weights = Weights() if given.force_floor is None else Weights(
        forces=0.3, force_floor=given.force_floor
    )  # fmt: skip
    truth = ALLOY.truth()
    seeds = label_here(first_structures(size, given.first, rng), truth)
    loops = learn(
        seeds, LinearFit(ALLOY.basis(), weights=weights),
        partial(explore, size=size, given=given), truth,
        rng=rng, n_select=given.labels, max_iterations=given.loops, label=label_here,
    )  # fmt: skip
    records, saddles = [], []
    for step in loops:
        known = step.dataset[: len(step.dataset) - len(step.labelled)]
        records.append(
            {
                "labels": len(known),
                "atoms": sum(map(len, known)),
                "proximal": float(np.mean(saddles)) if saddles else np.nan,
                "tests": {str(other): judge(step.committee, given, other) for other in given.sizes},
            }
        )
        saddles = [
            saddle_kind(a) == "proximal"
            for a in step.labelled
            if a.info["hal_role"] == "saddle" and a.info["hal_outcome"] in FOUND
        ]
    write_json(file, records)


def cube(size: int) -> str:
    return f"{size}x{size}x{size}"


def truth_file(given: argparse.Namespace, kind: str, size: int, number: int) -> Path:
    return given.output / f"truth_{kind}_{cube(size)}_{number}.extxyz"


UNITS = {"barrier": "eV", "energy": "meV/atom", "forces": "eV/Å", "angle": "degrees"}
Results = dict[int, list[list[dict[str, Any]]]]  # records by size, seed and loop


def course(runs: list[list[dict[str, Any]]], test: int, quantity: str) -> np.ndarray:
    """Mean over seeds and its standard error before every loop and after the last, (n, 2)."""
    together = zip(*runs, strict=False)  # a run may end early
    return np.array(
        [mean_and_error(r["tests"][str(test)][quantity] for r in now) for now in together]
    )


def table(results: Results) -> str:
    """Errors before the first loop, in the middle and at the end."""
    head = ["trained on", "tested on", "loop", "labels", "atoms", "proximal", "found"]
    head += [f"{quantity} ({unit})" for quantity, unit in UNITS.items()]
    lines = [head, ["---"] * len(head)]
    for size, runs in results.items():
        last = min(map(len, runs)) - 1
        for test in results:
            for loop in sorted({0, last // 2, last}):
                now = [run[loop] for run in runs]
                counts = [f"{np.mean([r[key] for r in now]):.0f}" for key in ("labels", "atoms")]
                shares = [
                    mean_and_error(r["proximal"] for r in now)[0],
                    course(runs, test, "found")[loop][0],
                ]
                cells = (course(runs, test, quantity)[loop] for quantity in UNITS)
                lines.append(
                    [cube(size), cube(test), f"{loop}", *counts]
                    + [f"{100 * share:.0f} %" for share in shares]
                    + [f"{mean:.3g} ± {error:.1g}" for mean, error in cells]
                )
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def plot(results: Results, path: Path) -> None:
    """Errors by loop: a colour for what was learned from, dashes for tests in other cells."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, grid = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, layout="constrained")
    for axes, (quantity, unit) in zip(grid.flat, UNITS.items(), strict=True):
        for number, (size, runs) in enumerate(results.items()):
            for test in results:
                mean, error = course(runs, test, quantity).T
                axes.errorbar(
                    np.arange(len(mean)), mean, error, capsize=2, color=COLOURS[number],
                    linestyle="-" if test == size else "--", marker="o" if test == size else "s",
                    markersize=4, label=f"learned {cube(size)}, tested {cube(test)}",
                )  # fmt: skip
        axes.set(ylabel=f"error of {quantity} ({unit})")
    for axes in grid[-1]:
        axes.set_xlabel("loops")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, fontsize="small", ncols=2, loc="outside lower center")
    figure.suptitle("O and vacancy hops in NbTiZr, SevenNet-0")
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3], help="of cells")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=20, help="structures to start from")
    parser.add_argument("--loops", type=int, default=6)
    parser.add_argument("--hops", type=int, default=6, help="searched in one loop")
    parser.add_argument("--labels", type=int, default=12, help="in one loop")
    parser.add_argument("--tests", type=int, default=3, help="hops of every kind and size")
    parser.add_argument("--fmax", type=float, default=0.05, help="eV/Å, of minima and saddles")
    parser.add_argument("--steps", type=int, default=60, help="of a relaxation, dimer or band")
    parser.add_argument("--force-floor", type=float, help="eV/Å; of relative force weights")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    later = ("output", "seeds", "workers")  # may change without touching what is there
    settle(given.output, {k: v for k, v in vars(given).items() if k not in later})
    hops = [(kind, size, n) for size in given.sizes for n in range(given.tests) for kind in KINDS]
    calculate(
        {truth_file(given, *key): partial(search_truth, *key, given) for key in hops},
        workers=given.workers,
    )
    for size in given.sizes:
        found = len(list(tests(given, size)))
        print(f"{cube(size)}: {found} of {2 * given.tests} test hops have a saddle")
        if not found:
            raise SystemExit("no test hop of this size has a saddle: give more --tests")
    files = {
        (size, seed): given.output / f"{cube(size)}_seed{seed}.json"
        for seed in range(1, given.seeds + 1)
        for size in given.sizes
    }
    jobs = {file: partial(study, *key, given) for key, file in files.items()}
    calculate(jobs, workers=given.workers)
    results = {
        size: [read_json(file) for (n, _), file in files.items() if n == size]
        for size in given.sizes
    }
    print(table(results))
    plot(results, given.output / "barriers.png")


if __name__ == "__main__":
    main()
