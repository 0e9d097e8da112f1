"""Twenty conformations of H[OCH2CH2]nOH at 500 K, from molecular dynamics with GFN2-xTB.

    python make_seeds.py [n] [count] [steps between them]

writes seeds.xyz, the starting structures of run.yaml.
"""

import sys

import numpy as np
from ase import units
from ase.io import read, write
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta

from ase_hal.named_references import named_calculator

n, count, steps = ([int(a) for a in sys.argv[1:]] + [2, 20, 200][len(sys.argv) - 1 :])[:3]
rng = np.random.default_rng(1)
atoms = read(f"peg{n}.xyz")
atoms.calc = named_calculator("gfn2-xtb")
thermalize_momenta(atoms, temperature_K=500, rng=rng)
dyn = Langevin(
    atoms, 1 * units.fs, temperature_K=500, friction=0.02 / units.fs, fixcm=False, rng=rng
)
seeds = []
for _ in range(count):
    dyn.run(steps)
    seeds.append(atoms.copy())
write("seeds.xyz", seeds)
