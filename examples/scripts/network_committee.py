"""A committee of small networks learns from biased relaxations. Needs ase-hal[torch].

python network_committee.py [iterations]
"""

import sys

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_hal import NetworkFit, learn
from ase_hal.ace import ACEBasis
from ase_hal.dynamics import EvolutionExplorer, Pick, Relaxation
from ase_hal.held_out import HoldOut
from ase_hal.metrics import errors_by_kind

iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 5
rng = np.random.default_rng(1)
seeds = [bulk("Al", a=a, cubic=True) * (2, 1, 1) for a in np.linspace(3.85, 4.15, 6)]
for atoms in seeds:
    atoms.rattle(0.1, rng=rng)

fit = NetworkFit(ACEBasis.preset("small", ["Al"], rcut=4.5))  # eight networks, two layers of ten
explore = EvolutionExplorer(
    Relaxation(alpha=1.0, steps=10), walkers=3, rattle=0.1, pick=Pick(max_force=10)
)
difficult = HoldOut(0.2, rng=rng)
for step in learn(
    seeds, fit, explore, EMT, rng=rng, n_select=4, max_iterations=iterations, label=difficult
):
    print(f"iteration {step.iteration}: {len(step.dataset)} structures")
for kind, errors in errors_by_kind(step.committee, [*step.dataset, *difficult.difficult]).items():
    print(f"{kind}: {errors.forces_rmse:.3f} eV/Å, {errors.force_angle:.1f} degrees")
step.committee.write("al_networks.json")
