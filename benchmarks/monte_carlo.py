"""How many trial moves a second, beside mchammer on the same machine in the same run.

    python benchmarks/monte_carlo.py [--quick]

Lithium and vacancies of LCO, 6912 sites, four shells of pairs, biased on composition and the six
order parameters of the zigzag ordering. mchammer (with icet, if installed) runs the same
Hamiltonian and the same bias as an ensemble of its own, in Python as its ensembles are. Times are
CPU time of one thread, the best of several rounds in which both take turns. The billiard walk in
the seven order parameters is timed as well.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from ase.units import kB

from ase_hal.free_energy import Ensemble, OrderParameters, billiard_walk, lco
from ase_hal.free_energy.walker import Arena, Walker

REPEAT = (6, 6, 6)
TEMPERATURE = 300.0
PHI = np.array([5.0, *[0.05] * 6])
CENTRES = {"disordered": (0.5, 0.0), "half ordered": (0.5, 0.25), "ordered": (0.5, 0.48)}


def rate(work: Callable[[], Any], n: int) -> float:
    """Trials or points a second of CPU time."""
    start = time.process_time()
    work()
    return n / (time.process_time() - start)


def mchammer_run(found: OrderParameters, kappa: np.ndarray, n: int) -> Callable[[], Any]:
    """Run n trials of the same ensemble in mchammer."""
    from icet import ClusterExpansion, ClusterSpace
    from mchammer import DataContainer
    from mchammer.calculators import ClusterExpansionCalculator
    from mchammer.ensembles.thermodynamic_base_ensemble import ThermodynamicBaseEnsemble

    crystal = lco.crystal()
    space = ClusterSpace(crystal, [5.65], [["Li", "Be"], ["Co"], ["O"], ["O"]])
    shells = {2.816: 0.030, 4.877: 0.010, 4.957: 0.004, 5.631: 0.010}
    parameters = np.zeros(len(space))
    for k, orbit in enumerate(space.as_list):
        if orbit["order"] == 2:
            distance = min(shells, key=lambda d, o=orbit: abs(d - 2 * o["radius"]))
            parameters[k] = shells[distance] * orbit["multiplicity"] / len(crystal)
    expansion = ClusterExpansion(space, parameters)
    cell = found.supercell.repeated(REPEAT)
    atoms = cell.atoms(np.ones(cell.n_sites, int), "Li")
    kinds = found.supercell.kinds(cell)
    primitive = space.primitive_structure
    structure = atoms.copy()
    for atom in primitive[1:]:
        others = atoms.copy()
        others.symbols[:] = atom.symbol
        others.positions += atom.position - primitive.positions[0]
        structure += others
    weights = found.inverse[kinds] / cell.n_sites

    class Umbrella(ThermodynamicBaseEnsemble):
        """Flips under a bias on order parameters."""

        def __init__(self, **keywords: Any) -> None:
            self._ensemble_parameters = {"temperature": TEMPERATURE}
            super().__init__(**keywords)
            filled = self.configuration.occupations[: cell.n_sites] == 3
            self.eta = filled @ weights

        @property
        def temperature(self) -> float:
            return TEMPERATURE

        def _do_trial_step(self) -> int:
            index, species = self.configuration.get_flip_state(0)
            change = weights[index] if species == 3 else -weights[index]
            eta = self.eta + change
            bias = cell.n_sites * (PHI @ ((eta - kappa) ** 2 - (self.eta - kappa) ** 2))
            if self._acceptance_condition(self._get_property_change([index], [species]) + bias):
                self.update_occupations([index], [species])
                self.eta = eta
                return 1
            return 0

    flat = np.random.default_rng(0).random(cell.n_sites) < 0.5
    structure.numbers[: cell.n_sites] = np.where(flat, 3, 4)
    calculator = ClusterExpansionCalculator(structure, expansion)
    ensemble = Umbrella(
        structure=structure,
        calculator=calculator,
        random_seed=1,
        data_container_class=DataContainer,
        ensemble_data_write_interval=10**9,
        trajectory_write_interval=10**9,
        boltzmann_constant=kB,
    )
    return lambda: ensemble.run(n)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs")
    quick = parser.parse_args().quick
    rng = np.random.default_rng(1)
    sweeps, trials = (20, 5000) if quick else (100, 20_000)
    found = OrderParameters.from_ordering(lco.lattice(), lco.zigzag())
    cell = found.supercell.repeated(REPEAT)
    arena = Arena.of(lco.hamiltonian(), found, cell)
    walks = {}
    for name, (composition, order) in CENTRES.items():
        kappa = np.array([composition, order, 0, 0, 0, 0, 0])
        probability = np.clip(found.inverse @ kappa, 0, 1)[arena.kind]
        walker = Walker(arena, rng.random(cell.n_sites) < probability, rng=rng)
        ensemble = Ensemble.umbrella(TEMPERATURE, kappa, PHI)
        walker.run(ensemble, sweeps)
        walks[name] = (walker, ensemble)
    try:
        reference = mchammer_run(found, np.array([0.5, *[0.0] * 6]), trials)
    except ImportError:
        reference = None
    if reference is not None:
        reference()
    rates: dict[str, list[float]] = {name: [] for name in (*walks, "mchammer", "billiard walk")}
    acceptance = {}
    for _ in range(3 if quick else 5):
        for name, (walker, ensemble) in walks.items():
            start = time.process_time()
            acceptance[name] = walker.run(ensemble, sweeps)[2]
            rates[name].append(sweeps * cell.n_sites / (time.process_time() - start))
        if reference is not None:
            rates["mchammer"].append(rate(reference, trials))
        walk = lambda: billiard_walk(found.domain, 20_000, rng=rng)  # noqa: E731
        rates["billiard walk"].append(rate(walk, 20_000))
    print(f"{cell.n_sites} sites, {TEMPERATURE:g} K")
    for name in walks:
        line = f"{name:14} {max(rates[name]):10.3g} trials/s, {acceptance[name]:.1%} accepted"
        if reference is not None:
            line += f", {max(rates[name]) / max(rates['mchammer']):.0f} times mchammer"
        print(line)
    if reference is not None:
        print(f"{'mchammer':14} {max(rates['mchammer']):10.3g} trials/s (disordered)")
    else:
        print("mchammer       not installed (pip install icet)")
    print(f"{'billiard walk':14} {max(rates['billiard walk']):10.3g} points/s")


if __name__ == "__main__":
    main()
