"""Active learning of diffusion barriers in random NbTiZr: small cells against large ones.

    python benchmarks/barriers.py OUTPUT [--sizes 2 3] [--seeds 2] [--loops 4] [--hops 6]
                                  [--labels 12] [--tests 2 1] [--force-floor 0.1] [--workers 2]

After Waters & Rondinelli (2024), with SevenNet-0 in the place of DFT. In every loop oxygen hops
between octahedral sites and vacancy hops in new random bcc alloys, equimolar and slightly
strained, are searched for saddles on the model; the most uncertain of their starts, saddles, ends
and failures are labelled. One model learns from 2x2x2 cells only, the other from 3x3x3 cells only.
Both are given the same number of labelled atoms in every loop, that is 3.4 times fewer labels of
the large cells, and are compared by it. DFT asks to be paid for large cells with more than that.

Both are judged on hops that neither saw, of both sizes, whose saddles were searched on SevenNet-0
itself in the same way: by the barrier that the same search finds on the model, and by energies,
forces and their angles at starts, saddles and ends, displaced by 0.05 Å (where a structure is
relaxed its forces have no direction to speak of). Hops without a saddle on SevenNet-0 are left
out. A search on SevenNet-0 takes hundreds of evaluations, so that there are few hops of large
cells (--tests: of each kind, for every size).

Beside that, what is labelled in a loop is predicted before it is learned from, which is a test of
the size that is learned and costs nothing more: the energy of a saddle above its start at the
structures of the model (where both were labelled), and the angles of forces. Saddles of a model are
proximal when SevenNet-0 has no force above 2 eV/Å there.

The last data of every run are also fitted with forces weighed relative to their size
(--force-floor), and judged alike.

Results are written to OUTPUT one hop or one model at a time; those that are there are not
computed again. The figure is OUTPUT/barriers.png.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from alloys import ALLOYS
from ase import Atoms
from barriers_report import KINDS, cube, plot, report
from barriers_truth import barrier, hop, search_for, search_truth, test_hop
from sampling_studies import calculate, label_here, mean_and_error, settle

from ase_hal import LinearFit, Weights, learn, read_dataset
from ase_hal.committee import Committee
from ase_hal.dynamics.saddle_kinds import FOUND, saddle_kind
from ase_hal.journal import read_json, write_json
from ase_hal.metrics import compare

ALLOY = ALLOYS["nbtizr"]


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
        search = search_for(*hop(KINDS[number % 2], size, child), given, name=f"hop {number}")
        yield from search(committee, dataset=dataset, rng=child)


def first_structures(size: int, count: int, rng: np.random.Generator) -> list[Atoms]:
    """Displaced alloys, one with an oxygen atom, the next with a vacancy."""
    found = []
    for number in range(count):
        atoms, _ = hop(KINDS[number % 2], size, rng)
        atoms.rattle(rng.uniform(0.02, 0.25), rng=rng)
        found.append(atoms)
    return found


Tests = dict[int, dict[str, list[Atoms]]]  # by size and hop: what there is on SevenNet-0


def read_tests(given: argparse.Namespace) -> Tests:
    """The hops with a saddle on SevenNet-0."""
    found: Tests = {size: {} for size in given.sizes}
    for kind, size, number in hops(given):
        frames = read_dataset(truth_file(given, kind, size, number))
        if frames[0].info["outcome"] in FOUND:
            found[size][f"{kind} {number}"] = frames
    return found


def judge(
    committee: Committee, tests: dict[str, list[Atoms]], size: int, given: argparse.Namespace
) -> dict[str, Any]:
    """Errors on the hops of one size."""
    barriers, displaced = {}, []
    for name, frames in tests.items():
        kind, number = name.split()
        ends = test_hop(kind, size, int(number))
        path = search_for(*ends, given, max_std=np.inf).search(
            committee, rng=np.random.default_rng(int(number))
        )
        barriers[name] = {"model": path.barrier, "truth": barrier(frames)}  # nan without a saddle
        displaced += [atoms for atoms in frames if atoms.info["displaced"] > 0]
    off = np.array([b["model"] - b["truth"] for b in barriers.values()])
    errors = compare(committee, displaced).errors()
    return {
        "barrier": mean_and_error(np.abs(off))[0],
        "found": float(np.mean(~np.isnan(off))),
        "energy": 1e3 * errors.energy_mae,
        "forces": errors.forces_mae,
        "angle": errors.force_angle,
        "barriers": barriers,
    }


def foresight(committee: Committee, labelled: Sequence[Atoms]) -> dict[str, float]:
    """How well a model knows what it looked for, before it learns from the labels."""
    saddles = [
        a for a in labelled if a.info["hal_role"] == "saddle" and a.info["hal_outcome"] in FOUND
    ]
    paths: dict[str, dict[str, float]] = defaultdict(dict)
    for atoms in labelled:
        of = committee.predict(atoms).energy - atoms.get_potential_energy()
        paths[atoms.info["hal_path"]][atoms.info["hal_role"]] = of
    found = {atoms.info["hal_path"] for atoms in saddles}
    off = [abs(p["saddle"] - p["start"]) for n, p in paths.items() if n in found and "start" in p]
    return {
        "barrier ahead": mean_and_error(off)[0],
        "angle ahead": compare(committee, labelled).errors().force_angle,
        "saddles": float(len(saddles)),
        "proximal": mean_and_error(float(saddle_kind(a) == "proximal") for a in saddles)[0],
    }


def study(size: int, seed: int, given: argparse.Namespace, file: Path) -> None:
    """Learn from cells of one size; errors before every loop and after the last one."""
    rng, truth, tests = np.random.default_rng([seed, size]), ALLOY.truth(), read_tests(given)
    seeds = label_here(first_structures(size, fewer(given.first, size), rng), truth)
    loops = learn(
        seeds, LinearFit(ALLOY.basis()), partial(explore, size=size, given=given), truth,
        rng=rng, n_select=fewer(given.labels, size), max_iterations=given.loops, label=label_here,
    )  # fmt: skip
    records: list[dict[str, Any]] = []
    for step in loops:
        known = step.dataset[: len(step.dataset) - len(step.labelled)]
        record = {
            "labels": len(known),
            "atoms": sum(map(len, known)),
            "tests": {str(n): judge(step.committee, tests[n], n, given) for n in given.sizes},
        }
        records.append(record | (foresight(step.committee, step.labelled) if step.labelled else {}))
    relative = LinearFit(ALLOY.basis(), weights=Weights(forces=0.3, force_floor=given.force_floor))
    committee = relative(step.dataset, rng=rng)
    write_json(
        file,
        {
            "loops": records,
            "relative": {str(n): judge(committee, tests[n], n, given) for n in given.sizes},
        },
    )


def fewer(count: int, size: int) -> int:
    """Labels of cells of this size with as many atoms as so many of 2x2x2."""
    return max(round(count * 8 / size**3), 1)


def hops(given: argparse.Namespace) -> list[tuple[str, int, int]]:
    """Kind, size and number of the test hops."""
    return [
        (kind, size, number)
        for size, tests in zip(given.sizes, given.tests, strict=True)
        for number in range(tests)
        for kind in KINDS
    ]


def truth_file(given: argparse.Namespace, kind: str, size: int, number: int) -> Path:
    return given.output / f"truth_{kind}_{cube(size)}_{number}.extxyz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2, 3], help="of cells")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--first", type=int, default=20, help="2x2x2 structures to start from")
    parser.add_argument("--loops", type=int, default=4)
    parser.add_argument("--hops", type=int, default=6, help="searched in one loop")
    parser.add_argument("--labels", type=int, default=12, help="of 2x2x2 cells in one loop")
    parser.add_argument(
        "--tests", type=int, nargs="+", default=[2, 1], help="hops of every kind, for every size"
    )
    parser.add_argument("--fmax", type=float, default=0.05, help="eV/Å, of minima and saddles")
    parser.add_argument("--steps", type=int, default=60, help="of a relaxation, dimer or band")
    parser.add_argument("--force-floor", type=float, default=0.1, help="of relative weights, eV/Å")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if len(given.tests) != len(given.sizes):
        parser.error("--tests needs a number for every one of --sizes")
    later = ("output", "seeds", "workers")  # may change without touching what is there
    settle(given.output, {k: v for k, v in vars(given).items() if k not in later})
    calculate(
        {truth_file(given, *key): partial(search_truth, *key, given) for key in hops(given)},
        workers=given.workers,
    )
    for size, tests in read_tests(given).items():
        print(f"{cube(size)}: test hops with a saddle: {', '.join(tests) or 'none'}")
        if not tests:
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
    print(report(results))
    plot(results, given.output / "barriers.png")


if __name__ == "__main__":
    main()
