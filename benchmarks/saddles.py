"""Reference calls for one barrier: learned, by climbing-image NEB, and by the dimer method.

    python benchmarks/saddles.py OUTPUT [--starts 10] [--methods learned neb dimer]

Two hops with EMT as the reference: gold on Al(100) from hollow to hollow (14 atoms, 0.374 eV) and a
vacancy in copper (31 atoms, 0.761 eV). Each start displaces all atoms of both end points at random
by 0.1 Å. A search relaxes the end points, interpolates by IDPP and looks for the saddle up to
forces of 0.05 eV/Å (learned: 0.03); every evaluation of EMT counts, those of the end points too.

"learned" is `learn` with a linear ACE potential and `SaddleSearch`, the barrier being that of the
last potential. "neb" is ASE's with the improved tangent, FIRE, three images and a climbing one from
the start. "dimer" is ASE's from the middle of the interpolation along its tangent.

Results are written to OUTPUT/saddles.jsonl one search at a time; those that are there are not
computed again.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import add_adsorbate, bulk, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.mep import NEB, DimerControl, MinModeAtoms, MinModeTranslate
from ase.optimize import BFGS, FIRE

from ase_hal import LinearFit, learn
from ase_hal.ace import ACEBasis, PairPart
from ase_hal.dynamics import SaddleSearch
from ase_hal.dynamics.saddle_steps import idpp
from ase_hal.journal import Log
from ase_hal.structures import hop_along, vacancy_chains

FMAX = 0.05  # eV/Å
STEPS = 500
MOST_LABELS = 30
BARRIERS = {"Au on Al(100)": 0.374, "Cu vacancy": 0.7614}  # eV; the first from ASE's documentation

Found = tuple[float, int]  # barrier in eV, reference calls


class CountingEMT(EMT):
    """EMT that adds up its evaluations in a list shared with others."""

    def __init__(self, calls: list[int]) -> None:
        super().__init__()
        self.calls = calls

    def calculate(self, *arguments: Any, **keywords: Any) -> None:
        self.calls.append(1)
        super().calculate(*arguments, **keywords)


def gold_hop() -> tuple[Atoms, Atoms]:
    slab = fcc100("Al", (2, 2, 3))
    add_adsorbate(slab, "Au", 1.7, "hollow")
    slab.center(axis=2, vacuum=4.0)
    slab.set_constraint(FixAtoms([atom.index for atom in slab if atom.tag > 1]))
    final = slab.copy()
    final[-1].x += slab.cell[0, 0] / 2
    return slab, final


def copper_hop() -> tuple[Atoms, Atoms]:
    crystal = bulk("Cu", cubic=True) * 2
    return hop_along(crystal, 0, next(vacancy_chains(crystal, 0, hops=1)))


HOPS: dict[str, Callable[[], tuple[Atoms, Atoms]]] = {
    "Au on Al(100)": gold_hop,
    "Cu vacancy": copper_hop,
}


def learned(initial: Atoms, final: Atoms, rng: np.random.Generator) -> Found:
    elements = sorted(set(initial.symbols))
    basis = ACEBasis(
        elements, rcut=5.5, nradmax_by_orders=[8, 4, 2], lmax_by_orders=[0, 3, 2],
        pair=PairPart(rcut=6.0, nradmax=8),
    )  # fmt: skip
    search = SaddleSearch(initial, final, max_std=0.3, max_labels=MOST_LABELS - 2)
    calls = 2
    for step in learn([initial, final], LinearFit(basis), search, EMT, rng=rng):
        calls += len(step.labelled) + len(step.failures)
    return search.search(step.committee, rng=rng).barrier, calls


def relaxed_ends(initial: Atoms, final: Atoms, calls: list[int]) -> tuple[Atoms, Atoms]:
    for atoms in (initial, final):
        atoms.calc = CountingEMT(calls)
        BFGS(atoms, logfile=None, maxstep=0.1).run(fmax=FMAX, steps=STEPS)
    return initial, final


def neb(initial: Atoms, final: Atoms, rng: np.random.Generator) -> Found:
    calls: list[int] = []
    start, end = relaxed_ends(initial, final, calls)
    inner = idpp(start, end, 3)[1:-1]
    for image in inner:
        image.calc = CountingEMT(calls)
    band = NEB([start, *inner, end], climb=True, method="improvedtangent")
    converged = FIRE(band, logfile=None).run(fmax=FMAX, steps=STEPS)
    highest = max(image.get_potential_energy() for image in inner)
    barrier = highest - start.get_potential_energy() if converged else np.nan
    return barrier, len(calls)


def dimer(initial: Atoms, final: Atoms, rng: np.random.Generator) -> Found:
    calls: list[int] = []
    start, end = relaxed_ends(initial, final, calls)
    images = idpp(start, end, 3)
    saddle = images[2]
    saddle.calc = CountingEMT(calls)
    tangent = images[3].positions - images[1].positions
    control = DimerControl(logfile=None, max_num_rot=3, dimer_separation=0.01)
    mode = tangent / np.linalg.norm(tangent)
    modes = MinModeAtoms(saddle, control, eigenmodes=[mode], random_seed=int(rng.integers(2**31)))
    converged = MinModeTranslate(modes, logfile=None).run(fmax=FMAX, steps=STEPS)
    barrier = saddle.get_potential_energy() - start.get_potential_energy()
    return barrier if converged else np.nan, len(calls)


METHODS: dict[str, Callable[[Atoms, Atoms, np.random.Generator], Found]] = {
    "learned": learned,
    "neb": neb,
    "dimer": dimer,
}


def search(hop: str, method: str, start: int) -> Found:
    """One search from end points displaced at random; the same ones for every method."""
    displacements, rng = np.random.default_rng([start, 1]), np.random.default_rng([start, 2])
    initial, final = HOPS[hop]()
    for atoms in (initial, final):
        atoms.rattle(0.1, rng=displacements)
    return METHODS[method](initial, final, rng)


def table(records: Iterable[dict[str, Any]]) -> str:
    """Calls (median, range) and errors of the searches that found a saddle, in Markdown."""
    groups = defaultdict(list)
    for record in records:
        groups[record["hop"], record["method"]].append((record["barrier"], record["calls"]))
    lines = ["| hop | method | found | calls | largest error (meV) |", "|---|---|---|---|---|"]
    for (hop, method), found in sorted(groups.items()):
        barriers, calls = np.array(found, dtype=float).T
        errors = np.abs(barriers - BARRIERS[hop]) * 1000
        right = errors < 10  # nan is not
        largest = f"{errors[right].max():.1f}" if right.any() else ""
        spread = f"{np.median(calls):.0f} ({calls.min():.0f}-{calls.max():.0f})"
        lines.append(f"| {hop} | {method} | {right.sum()} of {len(found)} | {spread} | {largest} |")
    return "\n".join([*lines, "", "Found: within 10 meV of the barrier."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--starts", type=int, default=10)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with Log(given.output / "saddles.jsonl") as log:
        done = {(r["hop"], r["method"], r["start"]) for r in log}
        for start in range(given.starts):
            for hop in HOPS:
                for method in given.methods:
                    if (hop, method, start) in done:
                        continue
                    barrier, calls = search(hop, method, start)
                    log.append(
                        {"hop": hop, "method": method, "start": start, "barrier": barrier,
                         "calls": calls}
                    )  # fmt: skip
                    print(f"{hop}, {method}, start {start}: {barrier:.4f} eV, {calls} calls")
        print(table(list(log)))


if __name__ == "__main__":
    main()
