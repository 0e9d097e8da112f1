"""What the studies of sampling share: alloys with their truths, and results kept on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.optimize import BFGS
from loky import ProcessPoolExecutor

from ase_hal.ace import ACEBasis, PairPart
from ase_hal.journal import read_json, write_json
from ase_hal.named_references import named_calculator
from ase_hal.structures import METALS, OXIDES, derive, random_alloy, random_structure

# Okabe and Ito's palette, which colour-blind readers can tell apart
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


@dataclass(frozen=True)
class Alloy:
    """An alloy: what makes its truth, a basis, and structures, ``(rng) -> Atoms``."""

    name: str
    truth: Callable[[], Any]
    basis: Callable[[], ACEBasis]
    crystal: Callable[[np.random.Generator], Atoms]
    start: Callable[[np.random.Generator], Atoms]


def fcc_alsi(rng: np.random.Generator, *, silicon: int = 3, repeat: Sequence[int] = (2, 2, 2)):
    """An fcc cell of aluminium with so many silicon atoms at random, at a random volume."""
    atoms = bulk("Al", a=rng.uniform(3.95, 4.15), cubic=True) * tuple(repeat)
    atoms.symbols[rng.choice(len(atoms), silicon, replace=False)] = "Si"
    return atoms


def alsi_basis(elements: Sequence[str] = ("Al", "Si")) -> ACEBasis:
    return ACEBasis(
        elements, rcut=5.0, nradmax_by_orders=[8, 4], lmax_by_orders=[0, 3], pair=PairPart(6.0, 8)
    )


def _alsi_crystal(rng: np.random.Generator) -> Atoms:
    return fcc_alsi(rng, silicon=int(rng.integers(1, 5)), repeat=(2, 2, 1))


def _alsi_start(rng: np.random.Generator) -> Atoms:
    """Derived from fcc or diamond cells, or random: a quarter, a quarter, a half."""
    kind = rng.choice(["fcc", "diamond", "random", "random"])
    if kind == "random":
        silicon = int(rng.integers(1, 9))
        return random_structure({"Al": 16 - silicon, "Si": silicon}, density=2.4, rng=rng)
    parent = _alsi_crystal(rng)
    if kind == "diamond":
        parent = bulk("Si", cubic=True) * (2, 1, 1)
        parent.symbols[rng.choice(16, int(rng.integers(1, 5)), replace=False)] = "Al"
    return derive(parent, OXIDES, rng=rng)


def nbtizr_basis() -> ACEBasis:
    return ACEBasis(
        ("Nb", "O", "Ti", "Zr"), rcut=5.5, nradmax_by_orders=[8, 2], lmax_by_orders=[0, 3]
    )


def nbtizr(
    rng: np.random.Generator, *, size: int = 2, oxygen: tuple[float, float] = (0.0, 0.0)
) -> Atoms:
    """A bcc cell of NbTiZr at random, with a share of interstitial oxygen from this range."""
    return random_alloy(
        ("Nb", "Ti", "Zr"), a=3.4, rng=rng, size=(size, size, size), interstitial_share=oxygen
    )


def _nbtizr_start(rng: np.random.Generator) -> Atoms:
    """Derived from metals or from cells with oxygen, or random: a quarter, a quarter, a half."""
    kind = rng.choice(["metal", "oxide", "random", "random"])
    if kind == "metal":
        return derive(nbtizr(rng), METALS, rng=rng)
    if kind == "oxide":
        return derive(nbtizr(rng, oxygen=(0.05, 0.3)), OXIDES, rng=rng)
    metals = rng.multinomial(12, rng.dirichlet(np.ones(3)))
    counts = dict(zip(("Nb", "Ti", "Zr"), metals.tolist(), strict=True))
    return random_structure({**counts, "O": int(rng.integers(9))}, density=5.8, rng=rng)


def sevennet() -> Any:
    """SevenNet-0, a universal potential in the place of density functional theory."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


ALLOYS = {
    "alsi": Alloy(
        "Al-Si, MEAM", partial(named_calculator, "lammps_meam"), alsi_basis, _alsi_crystal,
        _alsi_start,
    ),
    "nbtizr": Alloy(
        "NbTiZr+O, SevenNet-0", sevennet, nbtizr_basis, partial(nbtizr, oxygen=(0.0, 0.2)),
        _nbtizr_start,
    ),
}  # fmt: skip


def labelled(atoms: Atoms) -> Atoms:
    """A copy that keeps what the calculator of the atoms says."""
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(
        copy,
        energy=atoms.get_potential_energy(force_consistent=True),
        forces=atoms.get_forces(),
        stress=atoms.get_stress(),
    )
    return copy


def label_here(structures: Sequence[Atoms], truth: Any, *, on_failure: Any = None) -> list[Atoms]:
    """Label like `ase_hal.label`, but in this process, with one calculator for everything.

    SevenNet-0 takes ten seconds to load and one to calculate.
    """
    found = []
    for atoms in structures:
        copy = atoms.copy()
        copy.calc = truth
        found.append(labelled(copy))
    return found


def relaxation(atoms: Atoms, *, steps: int) -> list[Atoms]:
    """Labelled structures on the way to a minimum of the calculator of the atoms."""
    with BFGS(atoms, logfile=None, maxstep=0.1) as optimizer:
        return [labelled(atoms) for _ in optimizer.irun(fmax=0.02, steps=steps)]


def spread_out(frames: Sequence[Atoms], n: int) -> list[Atoms]:
    """At most n of the frames, at equal distances, the first and the last one included."""
    return [frames[i] for i in np.unique(np.linspace(0, len(frames) - 1, n).round().astype(int))]


def settle(folder: Path, settings: Mapping[str, Any]) -> None:
    """Make a folder for results of these settings; refuse one that holds others."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "settings.json"
    if file.exists() and read_json(file) != settings:
        raise SystemExit(f"{folder} holds results of other settings ({file}): take another folder")
    write_json(file, settings)


def calculate(jobs: Mapping[Path, Callable[[Path], None]], *, workers: int) -> None:
    """Have the files written that are not there yet, each by its job in a process."""
    missing = {file: job for file, job in jobs.items() if not file.exists()}
    if not missing:
        return
    pool = ProcessPoolExecutor(workers, env={"OMP_NUM_THREADS": "1"})
    try:
        running = {pool.submit(job, file): file for file, job in missing.items()}
        for future in as_completed(running):
            future.result()
            print(f"{running[future].name}: done", flush=True)
    except BaseException:  # nobody waits for the rest
        pool.shutdown(kill_workers=True)
        raise
    pool.shutdown()


def mean_and_error(values: Iterable[float]) -> tuple[float, float]:
    """Mean and its standard error; those that are nan do not count."""
    known = np.array([value for value in values if not np.isnan(value)])
    if not len(known):
        return np.nan, np.nan
    return float(known.mean()), float(known.std() / np.sqrt(max(len(known) - 1, 1)))
