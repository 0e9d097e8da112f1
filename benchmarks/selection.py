"""What `select` costs, against predicting every candidate once on the same machine.

    python benchmarks/selection.py [--candidates 50000] [--picks 100] [--max-force 0]

CPU time of one thread and peak memory of the process. The candidates are rattled fcc AlCu cells
of 32 atoms, the model has 440 functions, and with --members it is a committee of 440 members that
has no posterior.
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal import LinearCommittee, LinearFit, Prediction
from ase_hal.ace import ACEBasis
from ase_hal.selection import rank


class MembersOnly:
    """A committee that has predictions and no more."""

    def __init__(self, committee: LinearCommittee) -> None:
        self.elements, self.committee = committee.elements, committee

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        """Those of the committee."""
        return self.committee.predict(atoms, members, stress)


def make_committee(n_members: int) -> LinearCommittee:
    """A fit to 60 structures labelled by EMT."""
    rng = np.random.default_rng(0)
    dataset = make_candidates(60, rng)
    for atoms in dataset:
        atoms.calc = EMT()
        energy = atoms.get_potential_energy(force_consistent=True)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=atoms.get_forces())
    basis = ACEBasis.preset("medium", ["Al", "Cu"], rcut=5.5)
    return LinearFit(basis, members=n_members)(dataset, rng=rng)


def make_candidates(number: int, rng: np.random.Generator) -> list[Atoms]:
    """Rattled and strained cells of 32 atoms of all compositions."""
    candidates = []
    for _ in range(number):
        atoms = bulk("Al", cubic=True, a=rng.uniform(3.9, 4.2)) * 2
        atoms.symbols[rng.random(32) < rng.random()] = "Cu"
        atoms.positions += rng.normal(scale=rng.uniform(0.02, 0.15), size=(32, 3))
        candidates.append(atoms)
    return candidates


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this thread, and the answer."""
    start = time.thread_time()
    answer = call()
    return time.thread_time() - start, answer


def peak() -> float:
    """Peak memory so far, GB (Linux counts in kB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=50_000)
    parser.add_argument("--picks", type=int, default=100)
    parser.add_argument("--max-force", type=float, default=0.0)
    parser.add_argument("--members", action="store_true")
    arguments = parser.parse_args()
    committee = make_committee(440 if arguments.members else 8)
    model: Any = MembersOnly(committee) if arguments.members else committee
    candidates = make_candidates(arguments.candidates, np.random.default_rng(1))
    rank(candidates[:2], model, n=1)  # compiles
    before = peak()
    select_time, ranking = timed(
        lambda: rank(candidates, model, n=arguments.picks, max_force=arguments.max_force)
    )
    after = peak()
    candidates = [atoms.copy() for atoms in candidates]  # whose neighbours nobody knows yet
    predict_time, _ = timed(lambda: [model.predict(atoms).model_std for atoms in candidates])
    print(
        f"{len(candidates)} candidates of 32 atoms, {committee.basis.size} functions: "
        f"{len(ranking.indices)} taken, {len(ranking.refused)} refused"
    )
    print(f"  peak memory  {before:6.2f} GB with the candidates, {after:.2f} GB with the choice")
    print(f"  select       {select_time:6.1f} s")
    print(f"  predict each {predict_time:6.1f} s")
    print(f"  ratio        {select_time / predict_time:6.2f}   (target below 2)")


if __name__ == "__main__":
    main()
