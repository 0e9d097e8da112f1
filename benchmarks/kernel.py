"""How fast the compiled evaluation is, against python-ace on the same machine in the same run.

    python benchmarks/kernel.py [--rounds 30] [--quick]

Times are CPU time of one thread, best of several rounds in which all contestants take turns, so
that ratios survive a busy machine. Neighbour lists are part of our times (a skin list that holds)
and not of python-ace's. HAL is what a step of biased dynamics asks for: `HALCalculator` with a
`LinearCommittee` on atoms that have moved, biased forces and stress, and the update of an adaptive
tau; python-ace's side is the bare evaluation. New neighbour lists are timed apart, beside those
of vesin and matscipy where they are installed.

Models: silicon, 989 functions, 64 atoms; Al29Si3, 1460 functions, 32 atoms.
"""

from __future__ import annotations

import argparse
import itertools
import os
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
from pyace import create_multispecies_basis_config
from pyace.atomicenvironment import aseatoms_to_atomicenvironment
from pyace.basis import ACEBBasisSet
from pyace.calculator import ACECalculator
from pyace.evaluator import ACEBEvaluator, ACERecursiveEvaluator

from ase_hal import LinearCommittee, LinearFit
from ase_hal.ace import ACEBasis
from ase_hal.ace.evaluator import Evaluator
from ase_hal.ace.neighbors import NeighborList
from ase_hal.ace.tables import FunctionTables
from ase_hal.baseline import Baseline
from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import AdaptiveTau
from ase_hal.regression import Posterior

Call = Callable[[], Any]


def make_basis(elements: list[str], n_max: list[int], l_max: list[int]) -> ACEBBasisSet:
    """All functions up to n_max and l_max of each rank."""
    return ACEBBasisSet(
        create_multispecies_basis_config(
            {
                "deltaSplineBins": 0.001,
                "elements": elements,
                "embeddings": {
                    "ALL": {"npot": "FinnisSinclair", "fs_parameters": [1, 1], "ndensity": 1}
                },
                "bonds": {
                    "ALL": {
                        "radbase": "SBessel",
                        "radparameters": [5.25],
                        "rcut": 5.5,
                        "dcut": 0.01,
                        "NameOfCutoffFunction": "cos",
                    }
                },
                "functions": {"ALL": {"nradmax_by_orders": n_max, "lmax_by_orders": l_max}},
            }
        )
    )


def silicon(repeat: int | tuple[int, int, int] = 2) -> Atoms:
    """Rattled diamond."""
    atoms = bulk("Si", cubic=True) * repeat
    atoms.rattle(0.1, seed=1)
    return atoms


def aluminium_silicon() -> Atoms:
    """Rattled fcc Al29Si3."""
    atoms = bulk("Al", cubic=True, a=4.0) * 2
    atoms.symbols[[3, 11, 20]] = "Si"
    atoms.rattle(0.1, seed=1)
    return atoms


class BiasedSteps:
    """What every step of biased dynamics costs beside the integration."""

    def __init__(self, committee: LinearCommittee, atoms: Atoms) -> None:
        self.atoms = atoms.copy()
        self.atoms.calc = HALCalculator(committee)
        self._window = AdaptiveTau(0.1, burn_in=0).start()

    def __call__(self) -> None:
        calc = self.atoms.calc
        self.atoms.positions[0, 0] += 1e-7  # Å: the calculator remembers what it has seen
        self.atoms.get_forces()
        calc.tau = self._window.update(calc.predict(self.atoms), self.atoms)


class Contestants:
    """Everything that is timed for one basis and one structure."""

    def __init__(self, elements: list[str], n_max: list[int], l_max: list[int], atoms: Atoms):
        rng = np.random.default_rng(0)
        basis = make_basis(elements, n_max, l_max)
        ours = ACEBasis(elements, rcut=5.5, nradmax_by_orders=n_max, lmax_by_orders=l_max)
        self.atoms = atoms
        self.size = len(basis.basis_coeffs)
        self.coefficients = rng.normal(size=self.size)
        self.members = self.coefficients + 0.1 * rng.normal(size=(80, self.size))
        tables = FunctionTables.from_pyace(basis)
        # one each, so that no contestant finds the buffers of another in the cache
        self.plain_evaluator, self.evaluator = Evaluator([tables]), Evaluator([tables])
        root = rng.normal(size=(self.size, self.size)) / self.size
        self.biased = {
            name: BiasedSteps(self._committee(ours, root, members, sigma), atoms)
            for name, members, sigma in (
                ("hal_exact", 8, "exact"), ("hal_8", 8, "members"), ("hal_80", 80, "members")
            )
        }  # fmt: skip
        basis.basis_coeffs = self.coefficients.tolist()
        self._keep = (basis, basis.to_ACECTildeBasisSet())  # python-ace keeps bare pointers
        self._b = ACECalculator()
        self._b_evaluator = ACEBEvaluator(self._keep[0])
        self._b.set_evaluator(self._b_evaluator)
        self._recursive = ACECalculator()
        self._recursive_evaluator = ACERecursiveEvaluator(self._keep[1])
        self._recursive_evaluator.set_recursive(True)
        self._recursive.set_evaluator(self._recursive_evaluator)
        self._environment = aseatoms_to_atomicenvironment(
            atoms, cutoff=basis.cutoffmax, elements_mapper_dict=basis.elements_to_index_map
        )

    def _committee(
        self, basis: ACEBasis, root: np.ndarray, members: int, sigma: str
    ) -> LinearCommittee:
        posterior = Posterior(
            self.coefficients, root, noise_precision=1.0, prior_precision=np.ones(self.size),
            log_evidence=0.0, n_observations=0,
        )  # fmt: skip
        return LinearCommittee(
            basis, posterior, self.members[:members], noise_std=0.0, force_scale=1.0, sigma=sigma,
            baseline=Baseline(dict.fromkeys(basis.elements, 0.0)),
        )  # fmt: skip

    def check(self) -> None:
        """What is compared must agree."""
        energy, forces, _ = self.plain_evaluator.energy_forces(self.atoms, self.coefficients)
        self.recursive()
        np.testing.assert_allclose(energy, self._recursive.energy, rtol=1e-9)
        reference = np.array(self._recursive.forces).reshape(-1, 3)
        np.testing.assert_allclose(forces, reference, atol=1e-8 * np.abs(reference).max())
        for steps in self.biased.values():
            unbiased = steps.atoms.calc.predict(self.atoms)
            np.testing.assert_allclose(unbiased.forces, forces, atol=1e-8 * np.abs(forces).max())

    def recursive(self) -> None:
        """python-ace's fastest energy and forces."""
        self._recursive.compute(self._environment)

    def b_evaluator(self) -> None:
        """python-ace's evaluator of B-basis functions: energy and forces."""
        self._b.compute(self._environment)

    def b_grad(self) -> None:
        """python-ace's derivatives of every function."""
        self._b.compute(self._environment, compute_projections=True, compute_b_grad=True)

    def plain(self) -> None:
        """Energy, forces and virial of one coefficient vector."""
        self.plain_evaluator.energy_forces(self.atoms, self.coefficients)

    def member_forces(self) -> None:
        """Forces of eight members."""
        self.evaluator.descriptors(self.atoms)
        self.evaluator.forces(self.members[:8])

    def rows(self) -> None:
        """Derivatives of every function."""
        self.evaluator.rows(self.atoms)


def best_times(
    calls: dict[str, Call], rounds: int, repeats: dict[str, int] | None = None
) -> dict[str, float]:
    """Smallest CPU time of each call in seconds; calls take turns of some repeats each."""
    best = dict.fromkeys(calls, np.inf)
    for _ in range(rounds):
        for name, call in calls.items():
            call()  # finds its data in the cache, as the next step of a simulation would
            for _ in range(repeats[name] if repeats else 1):
                start = time.thread_time()
                call()
                best[name] = min(best[name], time.thread_time() - start)
    return best


def report(what: str, ratio: float, target: float, at_most: bool = False) -> None:
    """One line of the table."""
    met = ratio <= target if at_most else ratio >= target
    limit = f"{'<=' if at_most else '>='} {target:g}"
    print(f"  {what:<58s}{ratio:8.2f}   {limit:>8s}   {'met' if met else 'MISSED'}")


def compare(
    name: str, contestants: Contestants, rounds: int, plain: float, hal: float
) -> dict[str, float]:
    """All ratios of one model."""
    contestants.check()
    n_atoms = len(contestants.atoms)
    print(f"\n{name}: {contestants.size} functions, {n_atoms} atoms; us/atom")
    calls: dict[str, Call] = {
        "recursive": contestants.recursive,
        "b_evaluator": contestants.b_evaluator,
        "plain": contestants.plain,
        **contestants.biased,
        "member_forces": contestants.member_forces,
    }
    times = best_times(calls, rounds)
    times |= best_times({"b_grad": contestants.b_grad, "rows": contestants.rows}, rounds // 8 + 1)
    print("  " + "  ".join(f"{key} {value / n_atoms * 1e6:.1f}" for key, value in times.items()))
    recursive = times["recursive"]
    report("recursive / energy and forces", recursive / times["plain"], plain)
    report("recursive / HAL, exact sigma", recursive / times["hal_exact"], hal)
    report("8 recursive / forces of 8 members", 8 * recursive / times["member_forces"], 8)
    report("b_grad / rows", times["b_grad"] / times["rows"], 40)
    report(
        "HAL, 8 members / python-ace B evaluator", times["hal_8"] / times["b_evaluator"], 3, True
    )
    report(
        "HAL, exact sigma / python-ace B evaluator",
        times["hal_exact"] / times["b_evaluator"],
        3,
        True,
    )
    report("HAL with 80 / with 8 members", times["hal_80"] / times["hal_8"], 1.1, True)
    return times


def scaling(basis: ACEBBasisSet, repeats: list[tuple[int, int, int]], rounds: int) -> None:
    """Time per atom against the number of atoms."""
    tables = FunctionTables.from_pyace(basis)
    coefficients = np.random.default_rng(0).normal(size=tables.size)
    calls: dict[str, Call] = {}
    sizes: dict[str, int] = {}
    for repeat in repeats:
        atoms = silicon(repeat)
        plain, hal = Evaluator([tables]), Evaluator([tables])

        def run_plain(evaluator: Evaluator = plain, atoms: Atoms = atoms) -> None:
            evaluator.energy_forces(atoms, coefficients)

        def run_hal(evaluator: Evaluator = hal, atoms: Atoms = atoms) -> None:
            evaluator.descriptors(atoms)
            evaluator.forces(np.stack([coefficients, coefficients]))

        for key, call in (("plain", run_plain), ("HAL", run_hal)):
            calls[f"{key} {len(atoms)}"] = call
            sizes[f"{key} {len(atoms)}"] = len(atoms)
    times = best_times(calls, rounds, {key: 1 + 2000 // size for key, size in sizes.items()})
    print("\nScaling, silicon: us/atom")
    for kind in ("plain", "HAL"):
        per_atom = {
            size: times[f"{kind} {size}"] / size * 1e6 for size in sorted(set(sizes.values()))
        }
        print("  " + "  ".join(f"{size}: {value:.1f}" for size, value in per_atom.items()))
        values = list(per_atom.values())
        report(f"slowest / fastest size, {kind}", max(values) / min(values), 1.5, True)


def new_lists(repeats: list[tuple[int, int, int]], rounds: int) -> None:
    """Time per atom of a new neighbour list of 5.5 Å + 0.5 Å, ours and others'."""
    others: dict[str, Callable[[Atoms], Any]] = {}
    try:
        import vesin

        others["vesin"] = lambda atoms: vesin.ase_neighbor_list("ijS", atoms, 6.0)
    except ImportError:
        pass
    try:
        from matscipy.neighbours import neighbour_list

        others["matscipy"] = lambda atoms: neighbour_list("ijS", atoms, 6.0)
    except ImportError:
        pass
    calls: dict[str, Call] = {}
    for repeat in repeats:
        atoms, moved = silicon(repeat), silicon(repeat)
        moved.rattle(0.4, seed=2)  # beyond the skin: the list has to be made anew
        pairs, turns = NeighborList(("Si",), 5.5, 0.5), itertools.cycle((atoms, moved))
        calls[f"ase_hal {len(atoms)}"] = lambda pairs=pairs, turns=turns: pairs.update(next(turns))
        for name, call in others.items():
            calls[f"{name} {len(atoms)}"] = lambda call=call, atoms=atoms: call(atoms)
    times = best_times(calls, rounds)
    print("\nNew neighbour list of 6 Å, silicon: us/atom")
    for name in ("ase_hal", *others):
        sizes = [int(key.split()[1]) for key in times if key.startswith(name)]
        shown = (f"{size}: {times[f'{name} {size}'] / size * 1e6:.1f}" for size in sizes)
        print(f"  {name:9} " + "  ".join(shown))


def refit(n_structures: int) -> None:
    """Adding one structure to a fit against fitting all of them (rows, factor, evidence)."""
    rng = np.random.default_rng(0)
    truth, dataset = EMT(), []
    for _ in range(n_structures):
        atoms = bulk("Al", cubic=True, a=4.0) * 2
        atoms.symbols[rng.choice(32, 3, replace=False)] = "Cu"
        atoms.positions += rng.normal(scale=0.1, size=(32, 3))
        atoms.calc = SinglePointCalculator(
            atoms, energy=truth.get_potential_energy(atoms), forces=truth.get_forces(atoms)
        )
        dataset.append(atoms)
    basis = ACEBasis.total_degree(("Al", "Cu"), order=2, degree=13, rcut=5.5)
    basis.rows(dataset[0])
    start = time.thread_time()
    LinearFit(basis)(dataset, rng=rng)
    full = time.thread_time() - start
    fit = LinearFit(basis)
    fit(dataset[:-1], rng=rng)
    start = time.thread_time()
    fit(dataset, rng=rng)
    added = time.thread_time() - start
    print(f"\nFit of {basis.size} functions to {n_structures} structures of 32 atoms")
    print(f"  all {full:.2f} s, one more {added:.2f} s")
    report("all / one more", full / added, 4)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--quick", action="store_true", help="scaling up to 2744 atoms only")
    arguments = parser.parse_args()
    print(f"  {'':<58s}{'ratio':>8s}   {'target':>8s}")
    shape = [15, 6, 4, 3], [0, 5, 4, 2]
    compare("Si", Contestants(["Si"], *shape, silicon()), arguments.rounds, plain=8, hal=4)
    alloy = Contestants(["Al", "Si"], [12, 6, 2], [0, 6, 2], aluminium_silicon())
    compare("AlSi", alloy, arguments.rounds, plain=5, hal=2.5)
    repeats = [(2, 2, 1), (2, 2, 2), (4, 4, 2), (7, 7, 7)]
    if not arguments.quick:
        repeats.append((14, 14, 13))
    scaling(make_basis(["Si"], *shape), repeats, max(3, arguments.rounds // 6))
    new_lists(repeats, max(3, arguments.rounds // 6))
    refit(88)


if __name__ == "__main__":
    main()
