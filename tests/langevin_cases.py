"""A crystal and a HALLangevin on it, shared by several tests."""

import numpy as np
from analytic import HarmonicCrystal
from ase import units
from ase.build import bulk
from ase.md.velocitydistribution import thermalize_momenta

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import AdaptiveTau, HALLangevin


def crystal(seed=0, **keywords):
    """Eight rattled atoms at 300 K, and a committee that agrees about some more than others."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Al", cubic=True) * (2, 1, 1)
    spread = rng.normal(scale=0.15, size=(6, 8))
    committee = HarmonicCrystal.around(
        atoms, spread=spread - spread.mean(axis=0), noise=0.05, **keywords
    )
    thermalize_momenta(atoms, temperature_K=300, rng=rng)
    return atoms, committee


def dynamics(atoms, committee, seed=1, **keywords):
    atoms.calc = HALCalculator(committee)
    defaults = {
        "temperature_K": 300,
        "friction": 0.02 / units.fs,
        "tau": AdaptiveTau(0.1, burn_in=10),
        "trigger": None,
        "rng": np.random.default_rng(seed),
    }
    return HALLangevin(atoms, 2 * units.fs, **{**defaults, **keywords})
