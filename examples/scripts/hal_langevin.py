"""Biased dynamics that ends at the first structure the model is unsure about.

python hal_langevin.py [steps]
"""

import sys

import numpy as np
from ase import units
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_hal import LinearFit, label
from ase_hal.ace import ACEBasis
from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import AdaptiveTau, HALLangevin, Trigger

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
rng = np.random.default_rng(1)

# A first model, from six strained and rattled cells.
seeds = [bulk("Al", a=a, cubic=True) * 2 for a in np.linspace(3.85, 4.15, 6)]
for atoms in seeds:
    atoms.rattle(0.1, rng=rng)
fit = LinearFit(ACEBasis.preset("small", ["Al"], rcut=5.0))
committee = fit(label(seeds, EMT()), rng=rng)
committee.write("al.json")

atoms = bulk("Al", a=4.0, cubic=True) * 2
atoms.calc = HALCalculator(committee)
dyn = HALLangevin(
    atoms,
    2 * units.fs,
    temperature_K=800,
    friction=0.01 / units.fs,
    tau=AdaptiveTau(0.1),
    trigger=Trigger("relative", 0.05),
    rng=rng,
    logfile="-",
    loginterval=max(steps // 20, 1),
)
dyn.run(steps)  # ends early at the first uncertain structure, which is left in `atoms`
print(f"{dyn.outcome} after {dyn.nsteps} steps. {dyn.reason}")
