"""Stop any ASE dynamics or optimizer on a condition: here, when a relaxation gets uncertain.

python stop_any_dynamics.py [steps]
"""

import sys

import numpy as np
from ase.build import bulk, fcc100
from ase.calculators.emt import EMT
from ase.optimize import BFGS

from ase_hal import LinearFit, label
from ase_hal.ace import ACEBasis
from ase_hal.calculators import CommitteeCalculator
from ase_hal.dynamics import run_until
from ase_hal.uncertainty import relative_force_error

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 50
rng = np.random.default_rng(1)
seeds = [bulk("Al", a=a, cubic=True) * 2 for a in np.linspace(3.85, 4.15, 6)]
for atoms in seeds:
    atoms.rattle(0.1, rng=rng)
committee = LinearFit(ACEBasis.preset("small", ["Al"], rcut=5.0))(label(seeds, EMT()), rng=rng)

slab = fcc100("Al", (2, 2, 4), vacuum=6.0)  # a surface: the model has seen none
slab.rattle(0.05, rng=rng)
slab.calc = CommitteeCalculator(committee)
found = run_until(
    BFGS(slab, logfile=None),
    lambda: relative_force_error(committee.predict(slab, members=True)).max() > 0.1,
    steps=steps,
)
print("uncertain structure found" if found else "relaxed without doubt")
