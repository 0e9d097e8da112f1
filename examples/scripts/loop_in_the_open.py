"""The whole loop, written out: `learn` is these lines with bookkeeping.

python loop_in_the_open.py [iterations]
"""

import sys

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_hal import LinearFit, label, select
from ase_hal.ace import ACEBasis
from ase_hal.dynamics import HALExplorer, Stage, Trigger

iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 10
rng = np.random.default_rng(1)
fit = LinearFit(ACEBasis.preset("small", ["Cu"], rcut=5.0))
trigger = Trigger("relative", 0.05)
explore = HALExplorer([Stage("solid", temperature_K=900, steps=1000, trigger=trigger)])

seeds = [bulk("Cu", a=a, cubic=True) * 2 for a in (3.5, 3.6, 3.7)]
for atoms in seeds:
    atoms.rattle(0.1, rng=rng)
dataset = label(seeds, EMT())
for iteration in range(iterations):
    committee = fit(dataset, rng=rng)
    candidates = list(explore(committee, dataset=dataset, rng=rng))
    if not candidates:
        break
    dataset += label(select(candidates, committee, n=1), EMT())
    print(f"iteration {iteration}: {len(dataset)} structures")
