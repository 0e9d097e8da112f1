"""Calculators of different kinds as one committee, and a relaxation pulled to where they differ.

python unlike_committee.py [steps]
"""

import sys

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.optimize import BFGS

from ase_hal import CalculatorCommittee, LinearFit, label
from ase_hal.ace import ACEBasis
from ase_hal.calculators import CommitteeCalculator, HALCalculator

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20
rng = np.random.default_rng(1)
seeds = [bulk("Cu", a=a, cubic=True) * (2, 1, 1) for a in np.linspace(3.45, 3.75, 6)]
for atoms in seeds:
    atoms.rattle(0.1, rng=rng)
ace = LinearFit(ACEBasis.preset("small", ["Cu"], rcut=4.5))(label(seeds, EMT()), rng=rng)

# Any ASE calculators: here EMT and a linear ACE potential. Their energies have the same zero;
# others have to be shifted, or sigma says little else.
committee = CalculatorCommittee([EMT(), CommitteeCalculator(ace)], floor=1e-3)
atoms = bulk("Cu", a=3.6, cubic=True) * (2, 1, 1)
atoms.rattle(0.1, rng=rng)
before = committee.predict(atoms)
atoms.calc = HALCalculator(committee, tau=20.0)
BFGS(atoms, logfile=None).run(fmax=0.02, steps=steps)
after = committee.predict(atoms)
for when, prediction in (("before", before), ("after", after)):
    print(f"{when}: energy {prediction.energy:.3f} eV, sigma {prediction.energy_std:.4f} eV")
