"""Hyperactive against plain active learning on diethylene glycol, as in Fig. 6 of the HAL paper.

    python benchmarks/peg_stability.py OUTPUT [--tau 0 0.05 0.1 0.2 0.25] [--repeats 3]
                                       [--test-steps 20000] [--workers 1]

For each relative biasing strength and repeat: start from twenty conformations at 500 K, explore
with H[OCH2CH2]2OH at 500 K (0.5 fs), label with GFN2-xTB what the trigger finds, refit. After every
few labels the potential is tested: ten molecules of it at 500 K (1 fs, no bias). A test is passed
when for all steps all C-C and C-O bonds stay within 1.0 to 2.0 Å and all C-H and O-H bonds within
0.8 to 2.0 Å. A repeat ends with the first passed test.

What counts is how many exploratory steps that took. Results are written to OUTPUT one repeat at a
time; those that are there are not computed again. The figure is OUTPUT/peg_stability.png.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.neighborlist import build_neighbor_list, natural_cutoffs
from sampling_studies import calculate

from ase_hal import LinearCommittee, LinearFit, Weights, label, learn
from ase_hal.ace import ACEBasis, InnerCutoff, PairPart
from ase_hal.dynamics import AdaptiveTau, HALExplorer, Stage, Trigger
from ase_hal.journal import replacing, write_json
from ase_hal.named_references import named_calculator

MOLECULE = Path(__file__).parent.parent / "examples" / "peg" / "peg2.xyz"
TEMPERATURE = 500.0  # K
LABELS = (0, 2, 5, 10, 15, 20, 30, 40, 50, 60, 80)  # when to test
EXPLORED_AT_MOST = 200_000  # steps in one repeat
REFERENCE = partial(named_calculator, "gfn2-xtb")


@dataclass(frozen=True)
class Test:
    """One stability test: after how many labels and exploratory steps, and how long it went."""

    labels: int
    explored: int
    stable_steps: int


def conformations(count: int, *, rng: np.random.Generator) -> list[Atoms]:
    """Structures from molecular dynamics with the reference, 50 fs apart."""
    atoms = read(MOLECULE)
    atoms.calc = REFERENCE()
    thermalize_momenta(atoms, temperature_K=TEMPERATURE, rng=rng)
    dyn = Langevin(
        atoms, units.fs, temperature_K=TEMPERATURE, friction=0.02 / units.fs, fixcm=False, rng=rng
    )
    found = []
    for _ in range(count):
        dyn.run(50)
        found.append(atoms.copy())
    return found


def starting_set(seed: int, folder: Path) -> list[Atoms]:
    """Twenty labelled conformations, the same for all biasing strengths; kept in a file."""
    file = folder / f"start_seed{seed}.extxyz"
    if not file.exists():
        found = label(conformations(20, rng=np.random.default_rng(seed)), REFERENCE)
        with replacing(file) as temporary:
            write(temporary, found, format="extxyz")
    return read(file, ":")


def basis() -> ACEBasis:
    return ACEBasis.total_degree(
        ("C", "H", "O"),
        rcut=4.5,
        order=3,
        degree=6,
        inner_cutoff=InnerCutoff(0.5),
        pair=PairPart(5.5, 10),
    )


class Bonds:
    """The bonds of the molecule, with their windows."""

    def __init__(self, atoms: Atoms) -> None:
        pairs = build_neighbor_list(atoms, natural_cutoffs(atoms), self_interaction=False)
        self.first, self.second = pairs.get_connectivity_matrix().nonzero()
        hydrogen = (atoms.numbers[self.first] == 1) | (atoms.numbers[self.second] == 1)
        self.shortest = np.where(hydrogen, 0.8, 1.0)

    def whole(self, positions: np.ndarray) -> bool:
        """Whether all bonds of all copies, positions (copies, atoms, 3), are in their windows."""
        vectors = positions[:, self.first] - positions[:, self.second]
        length = np.linalg.norm(vectors, axis=-1)
        return bool(((length >= self.shortest) & (length <= 2.0)).all())


def stable_steps(
    committee: LinearCommittee, atoms: Atoms, steps: int, *, rng: np.random.Generator
) -> int:
    """Steps until a bond of one of ten molecules breaks, at most ``steps``."""
    copies, apart, n = 10, 100.0, len(atoms)
    crowd = Atoms(
        list(atoms.symbols) * copies,
        np.concatenate([atoms.positions + np.array([apart * i, 0, 0]) for i in range(copies)]),
    )
    evaluator, mean = committee.basis.evaluator(), committee.posterior.mean
    bonds, mass = Bonds(atoms), crowd.get_masses()[:, None]
    dt, friction = units.fs, 0.01 / units.fs
    decay = np.exp(-friction * dt)
    thermal = np.sqrt(units.kB * TEMPERATURE / mass)
    velocity = thermal * rng.standard_normal((len(crowd), 3))
    forces = evaluator.energy_forces(crowd, mean)[1]
    for step in range(1, steps + 1):  # BAOAB
        velocity += 0.5 * dt * forces / mass
        crowd.positions += 0.5 * dt * velocity
        velocity = decay * velocity + np.sqrt(1 - decay**2) * thermal * rng.standard_normal(
            velocity.shape
        )
        crowd.positions += 0.5 * dt * velocity
        if not bonds.whole(crowd.positions.reshape(copies, n, 3)):
            return step - 1
        forces = evaluator.energy_forces(crowd, mean)[1]
        velocity += 0.5 * dt * forces / mass
    return steps


def repeat(tau_rel: float, dataset: list[Atoms], seed: int, test_steps: int) -> list[Test]:
    """Learn until a test is passed; all tests on the way."""
    explored = 0

    def count(trajectory) -> None:
        nonlocal explored
        explored += trajectory.steps

    stage = Stage(
        "500 K",
        temperature_K=TEMPERATURE,
        steps=5000,
        timestep=0.5 * units.fs,
        tau=AdaptiveTau(tau_rel),
        trigger=Trigger("relative", 0.3),
        patience=EXPLORED_AT_MOST // 5000,
    )
    tests: list[Test] = []
    fit = LinearFit(basis(), weights=Weights(energy=15, forces=1, virial=0))
    explorer = HALExplorer([stage], on_trajectory=count)
    rng = np.random.default_rng([seed, int(1000 * tau_rel)])
    before = 0
    for step in learn(dataset, fit, explorer, REFERENCE, rng=rng, n_select=1, max_labels=80):
        # the committee of a step was fitted before the step's own exploration and labels
        labels = len(step.dataset) - len(step.labelled) - len(dataset)
        if labels in LABELS and labels not in [test.labels for test in tests]:
            generator = np.random.default_rng([seed, 17])
            steps = stable_steps(step.committee, dataset[-1], test_steps, rng=generator)
            tests.append(Test(labels, before, steps))
            if steps == test_steps:
                break
        before = explored
        if explored >= EXPLORED_AT_MOST:
            break
    return tests


def to_file(tau_rel: float, dataset: list[Atoms], seed: int, test_steps: int, file: Path) -> None:
    """One repeat into its file."""
    tests = repeat(tau_rel, dataset, seed, test_steps)
    write_json(file, {"tests": [asdict(test) for test in tests]})


def passed(tests: list[Test], test_steps: int) -> bool:
    return tests[-1].stable_steps == test_steps


def plot(results: dict[tuple[float, int], list[Test]], test_steps: int, path: Path) -> None:
    """Stability against exploratory steps, and how many of these a passed test took."""
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(10, 4.2), layout="constrained", width_ratios=[3, 2]
    )
    taus = sorted({tau for tau, _ in results})
    colours = plt.get_cmap("viridis")(np.linspace(0, 0.9, len(taus)))
    for place, (tau, colour) in enumerate(zip(taus, colours, strict=True)):
        runs = [tests for (own, _), tests in sorted(results.items()) if own == tau]
        needed = [run[-1].explored if passed(run, test_steps) else np.inf for run in runs]
        for number, run in enumerate(runs):
            left.plot(
                [max(test.explored, 100) for test in run],
                [max(test.stable_steps, 1) for test in run],
                "o-", color=colour, markersize=4, label=None if number else f"$\\tau_r$ = {tau:g}",
            )  # fmt: skip
            shown = min(needed[number], EXPLORED_AT_MOST)
            marker = "o" if np.isfinite(needed[number]) else "^"
            right.plot(place + 0.12 * (number - 1), shown, marker, color=colour, markersize=7)
    left.axhline(test_steps, color="grey", linestyle=":", label="test passed")
    left.set(
        xscale="log", yscale="log",
        xlabel="exploratory MD steps (0.5 fs; first test at the left edge)",
        ylabel="shortest of ten stable trajectories (steps of 1 fs)",
    )  # fmt: skip
    left.legend(fontsize="small")
    right.set(
        yscale="log", ylim=(1e3, 2 * EXPLORED_AT_MOST), xlabel="$\\tau_r$",
        ylabel="exploratory MD steps until the test is passed\n(triangles: not passed by then)",
    )  # fmt: skip
    right.set_xticks(range(len(taus)), [f"{tau:g}" for tau in taus])
    figure.suptitle("H[OCH$_2$CH$_2$]$_2$OH at 500 K, GFN2-xTB")
    figure.savefig(path, dpi=150)


def table(results: dict[tuple[float, int], list[Test]], test_steps: int) -> str:
    """Exploratory steps and labels until the test was passed, by biasing strength."""
    lines = ["tau_rel  seed  labels  exploratory steps  stable steps"]
    for (tau, seed), tests in sorted(results.items()):
        last = tests[-1]
        end = "passed" if passed(tests, test_steps) else f"{last.stable_steps}"
        lines.append(f"{tau:7.2f}  {seed:4d}  {last.labels:6d}  {last.explored:17d}  {end:>12}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--tau", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2, 0.25])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--test-steps", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    keys = [(tau, seed) for seed in range(1, given.repeats + 1) for tau in given.tau]
    files = {
        key: given.output / f"tau{key[0]:g}_seed{key[1]}_{given.test_steps}.json" for key in keys
    }
    starts = {seed: starting_set(seed, given.output) for _, seed in keys}
    jobs = {
        file: partial(to_file, tau, starts[seed], seed, given.test_steps)
        for (tau, seed), file in files.items()
    }
    calculate(jobs, workers=given.workers)
    results = {
        key: [Test(**test) for test in json.loads(file.read_text())["tests"]]
        for key, file in files.items()
    }
    print(table(results, given.test_steps))
    plot(results, given.test_steps, given.output / "peg_stability.png")


if __name__ == "__main__":
    main()
