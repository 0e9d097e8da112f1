"""Trajectories on the truth: dynamics, contour exploration, and chains of dimer searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from alloys import MAX_FORCE, largest_force
from ase import Atoms, units
from ase.md.contour_exploration import ContourExploration
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate
from sampling_studies import labelled, spread_out

TEMPERATURE = 1200.0  # K
EXCESS = 1.5 * units.kB * TEMPERATURE  # eV per atom


def dynamics(atoms: Atoms, steps: int, rng: np.random.Generator) -> Iterator[int]:
    thermalize_momenta(atoms, temperature_K=2 * TEMPERATURE, rng=rng)
    langevin = Langevin(
        atoms, 2 * units.fs, temperature_K=TEMPERATURE, friction=0.01 / units.fs, fixcm=False,
        rng=rng,
    )  # fmt: skip
    for number, _ in enumerate(langevin.irun(steps)):
        yield number + 1


def contour(atoms: Atoms, steps: int, rng: np.random.Generator) -> Iterator[int]:
    target = atoms.get_potential_energy(force_consistent=True) + len(atoms) * EXCESS
    atoms.positions += rng.normal(0.0, 0.1, (len(atoms), 3))
    walk = ContourExploration(atoms, energy_target=target, rng=rng)
    for number, _ in enumerate(walk.irun(steps)):
        yield number + 1


def dimer(atoms: Atoms, steps: int, rng: np.random.Generator) -> Iterator[int]:
    """One search after the other until the steps are done."""
    minimum, done, calls = atoms.get_positions(), 0, 0
    while done < steps:
        away = rng.normal(0.0, 0.1, (len(atoms), 3))
        atoms.positions = minimum + away
        control = DimerControl(logfile=None, max_num_rot=3, dimer_separation=0.01)
        modes = MinModeAtoms(
            atoms, control, eigenmodes=[away / np.linalg.norm(away)],
            random_seed=int(rng.integers(2**31)),
        )  # fmt: skip
        search = MinModeTranslate(modes, logfile=None).irun(fmax=0.05, steps=steps - done)
        for number, _ in enumerate(search):  # noqa: B007
            yield calls + control.get_counter("forcecalls")
        calls += control.get_counter("forcecalls")
        done += max(number, 1)


# Each yields how often the truth was evaluated.
SOURCES: dict[str, Callable[[Atoms, int, np.random.Generator], Iterator[int]]] = {
    "dynamics": dynamics,
    "contour": contour,
    "dimer": dimer,
}


def trajectory(
    source: str, minimum: Atoms, *, steps: int, count: int, rng: np.random.Generator
) -> tuple[list[Atoms], int]:
    """So many labelled structures of a trajectory, and the evaluations of the truth it took."""
    atoms, energy = minimum.copy(), minimum.get_potential_energy()
    atoms.calc = minimum.calc
    frames, calls = [], 0
    for calls in SOURCES[source](atoms, steps, rng):  # noqa: B007
        frames.append(labelled(atoms))
        frames[-1].info["excess"] = (frames[-1].get_potential_energy() - energy) / len(atoms)
    settled = frames[1:] if source == "dimer" else frames[1 + steps // 4 :]
    sane = [a for a in settled if largest_force(a) < MAX_FORCE]
    return spread_out(sane, count) if sane else [], calls
