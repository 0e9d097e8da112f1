"""Small labelled datasets from ASE's EMT, shared by several tests."""

from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal.ace import ACEBasis, PairPart


def labelled(atoms: Atoms) -> Atoms:
    """A copy with EMT labels."""
    atoms = atoms.copy()
    atoms.calc = EMT()
    results = {
        "energy": atoms.get_potential_energy(force_consistent=True),
        "forces": atoms.get_forces(),
    }
    if atoms.pbc.all():
        results["stress"] = atoms.get_stress()
    atoms.calc = SinglePointCalculator(atoms, **results)
    return atoms


def rattled(element: str, count: int, *, rng, repeat=2, second=None, amplitude=0.08):
    """Strained and rattled fcc cells, optionally with a random share of a second element."""
    lattice = {"Al": 4.0, "Ni": 3.5, "Cu": 3.6}[element]
    for _ in range(count):
        atoms = bulk(element, a=lattice * rng.uniform(0.97, 1.03), cubic=True) * (repeat, 1, 1)
        atoms.positions += rng.normal(scale=amplitude, size=atoms.positions.shape)
        if second:
            atoms.symbols[rng.random(len(atoms)) < 0.3] = second
        yield labelled(atoms)


@cache
def al_cu_dataset() -> tuple[Atoms, ...]:
    """Forty 8-atom cells of Al with some Cu."""
    return tuple(rattled("Al", 40, rng=np.random.default_rng(3), second="Cu"))


@cache
def al_cu_basis() -> ACEBasis:
    return ACEBasis(
        ("Al", "Cu"),
        rcut=4.5,
        nradmax_by_orders=[6, 3],
        lmax_by_orders=[0, 2],
        pair=PairPart(rcut=5.5, nradmax=6),
    )
