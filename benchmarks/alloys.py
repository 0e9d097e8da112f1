"""The alloys of the studies of sampling: their truths, bases, and structures to start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.build import bulk
from ase.data import atomic_masses, atomic_numbers

from ase_hal import Weights
from ase_hal.ace import ACEBasis, PairPart
from ase_hal.dynamics.sanity import closest_contact
from ase_hal.named_references import named_calculator
from ase_hal.structures import METALS, OXIDES, Derivation, derive, random_alloy, random_structure

MAX_FORCE = 25.0  # eV/Å, on an atom; the slides look for structures below it

Maker = Callable[[np.random.Generator], Atoms]


@dataclass(frozen=True)
class Alloy:
    """What makes the truth of an alloy, a basis, and structures.

    ``start`` makes what evolves in a learning loop and notes its ``kind``; no two of its atoms are
    closer than ``closest`` times the sum of their covalent radii.
    """

    name: str
    truth: Callable[[], Any]
    basis: Callable[[], ACEBasis]
    crystal: Maker
    start: Maker
    closest: float


@cache  # for every process: SevenNet-0 takes ten seconds to make
def meam() -> Any:
    return named_calculator("lammps_meam")


@cache
def sevennet() -> Any:
    """SevenNet-0, a universal potential in the place of density functional theory."""
    from sevenn.calculator import SevenNetCalculator

    return SevenNetCalculator("7net-0", device="cpu")


def largest_force(atoms: Atoms) -> float:
    return float(np.linalg.norm(atoms.get_forces(), axis=1).max())


def weights(atoms: Atoms) -> Weights:
    """Less where labels are beyond `MAX_FORCE`: whoever goes there has other worries than meV."""
    share = min(1.0, (MAX_FORCE / max(largest_force(atoms), 1e-9)) ** 2)
    return Weights(energy=15.0 * share, forces=share, virial=share)


def of_kind(kind: str, make: Callable[[], Atoms], closest: float) -> Atoms:
    """The first structure without close contacts."""
    while True:
        atoms = make()
        if closest_contact(atoms, closest) is None:
            atoms.info["kind"] = str(kind)
            return atoms


# ---------------------------------------------------------------------------- aluminium, silicon


def fcc_alsi(rng: np.random.Generator, *, silicon: int = 3, repeat: Sequence[int] = (2, 2, 2)):
    """An fcc cell of aluminium with so many silicon atoms at random, at a random volume."""
    atoms = bulk("Al", a=rng.uniform(3.95, 4.15), cubic=True) * tuple(repeat)
    atoms.symbols[rng.choice(len(atoms), silicon, replace=False)] = "Si"
    return atoms


def alsi_basis() -> ACEBasis:
    return ACEBasis(
        ("Al", "Si"), rcut=5.0, nradmax_by_orders=[8, 4, 2], lmax_by_orders=[0, 3, 2],
        pair=PairPart(6.0, 8),
    )  # fmt: skip


def aluminium_basis() -> ACEBasis:
    return ACEBasis(
        ("Al",), rcut=5.0, nradmax_by_orders=[10, 6, 3], lmax_by_orders=[0, 4, 2],
        pair=PairPart(6.0, 8),
    )  # fmt: skip


def _alsi_crystal(rng: np.random.Generator) -> Atoms:
    return fcc_alsi(rng, silicon=int(rng.integers(1, 5)), repeat=(2, 2, 1))


def _silicon_crystal(rng: np.random.Generator) -> Atoms:
    atoms = bulk("Si", cubic=True) * (2, 1, 1)
    atoms.symbols[rng.choice(16, int(rng.integers(1, 5)), replace=False)] = "Al"
    return atoms


def _alsi_start(rng: np.random.Generator) -> Atoms:
    """Derived from fcc or diamond cells, or random: a quarter, a quarter, a half."""
    kind, silicon = rng.choice(["fcc", "diamond", "random", "random"]), int(rng.integers(1, 9))
    makers = {
        "fcc": lambda: derive(_alsi_crystal(rng), OXIDES, rng=rng),
        "diamond": lambda: derive(_silicon_crystal(rng), OXIDES, rng=rng),
        "random": lambda: random_structure(
            {"Al": 16 - silicon, "Si": silicon}, density=2.4, rng=rng
        ),
    }
    return of_kind(kind, makers[kind], 0.6)


def _aluminium_crystal(rng: np.random.Generator) -> Atoms:
    return fcc_alsi(rng, silicon=0, repeat=(2, 2, 1))


def _aluminium_start(rng: np.random.Generator) -> Atoms:
    """Derived from fcc or bcc cells, or random: a quarter, a quarter, a half."""
    kind = rng.choice(["fcc", "bcc", "random", "random"])
    derivation = Derivation(displacement=0.3, substitution=0.0)
    bcc = bulk("Al", "bcc", a=rng.uniform(3.15, 3.35), cubic=True) * 2
    makers = {
        "fcc": lambda: derive(_aluminium_crystal(rng), derivation, rng=rng),
        "bcc": lambda: derive(bcc, derivation, rng=rng),
        "random": lambda: random_structure({"Al": 16}, density=2.4, rng=rng),
    }
    return of_kind(kind, makers[kind], 0.6)


# ------------------------------------------------------------- niobium, titanium, zirconium, oxygen

VOLUMES = {"Nb": 18.0, "Ti": 17.5, "Zr": 23.3, "O": 9.0}  # Å^3 of an atom
METALS_OF_NBTIZR = ("Nb", "Ti", "Zr")


def nbtizr_basis() -> ACEBasis:
    return ACEBasis(
        ("Nb", "O", "Ti", "Zr"), rcut=5.5, nradmax_by_orders=[8, 2, 1], lmax_by_orders=[0, 3, 1]
    )


def nbtizr(rng: np.random.Generator, *, oxygen: tuple[float, float] = (0.0, 0.0)) -> Atoms:
    """A bcc cell of NbTiZr at random, with a share of interstitial oxygen from this range."""
    return random_alloy(METALS_OF_NBTIZR, a=3.4, rng=rng, interstitial_share=oxygen)


def equimolar_nbtizr(rng: np.random.Generator, size: int) -> Atoms:
    """As many atoms of each metal as there can be, on the sites of a bcc cell at random."""
    atoms = bulk("Nb", "bcc", a=3.4, cubic=True) * size
    most_first = rng.permutation(METALS_OF_NBTIZR)
    atoms.symbols = rng.permutation(np.resize(most_first, len(atoms)))
    return atoms


def _random_oxide(rng: np.random.Generator, metals: Sequence[int], oxygen: int) -> Atoms:
    """A random cell 15 % larger than its atoms."""
    counts = dict(zip((*METALS_OF_NBTIZR, "O"), (*metals, oxygen), strict=True))
    mass = sum(n * atomic_masses[atomic_numbers[symbol]] for symbol, n in counts.items())
    volume = 1.15 * sum(n * VOLUMES[symbol] for symbol, n in counts.items())
    density = mass / volume / units.kg * 1e3 * (units.m / 100) ** 3  # g/cm^3
    return random_structure(counts, density=density, separation=0.7, rng=rng)


def _nbtizr_crystal(rng: np.random.Generator) -> Atoms:
    return nbtizr(rng, oxygen=(0.0, 0.2))


def _nbtizr_start(rng: np.random.Generator) -> Atoms:
    """Derived from metals or from cells with oxygen, or random: a quarter, a quarter, a half."""
    kind = rng.choice(["metal", "oxide", "random", "random"])
    metals = rng.multinomial(12, rng.dirichlet(np.ones(3))).tolist()
    oxygen = int(rng.integers(9))
    makers = {
        "metal": lambda: derive(nbtizr(rng), METALS, rng=rng),
        "oxide": lambda: derive(nbtizr(rng, oxygen=(0.05, 0.3)), OXIDES, rng=rng),
        "random": lambda: _random_oxide(rng, metals, oxygen),
    }
    return of_kind(kind, makers[kind], 0.5)


ALLOYS = {
    "alsi": Alloy("Al-Si, MEAM", meam, alsi_basis, _alsi_crystal, _alsi_start, 0.6),
    "al": Alloy("Al, MEAM", meam, aluminium_basis, _aluminium_crystal, _aluminium_start, 0.6),
    "nbtizr": Alloy(
        "NbTiZr+O, SevenNet-0", sevennet, nbtizr_basis, _nbtizr_crystal, _nbtizr_start, 0.5
    ),
}
