"""Walk along a contour of the mean energy, towards what the committee does not know.

python contour_exploration.py [steps]
"""

import sys

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_hal import LinearFit, label
from ase_hal.ace import ACEBasis
from ase_hal.calculators import CommitteeCalculator
from ase_hal.dynamics import BiasedContourExploration, run_until
from ase_hal.uncertainty import relative_force_error

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 500
rng = np.random.default_rng(1)
seeds = [bulk("Al", a=a, cubic=True) * 2 for a in np.linspace(3.85, 4.15, 6)]
for atoms in seeds:
    atoms.rattle(0.1, rng=rng)
committee = LinearFit(ACEBasis.preset("small", ["Al"], rcut=5.0))(label(seeds, EMT()), rng=rng)

atoms = bulk("Al", a=4.0, cubic=True) * 2
atoms.rattle(0.05, rng=rng)
atoms.calc = CommitteeCalculator(committee)
start = atoms.get_potential_energy()
dyn = BiasedContourExploration(atoms, energy_target=start + 2.0, gamma=0.3, maxstep=0.3, rng=rng)
found = run_until(
    dyn,
    lambda: relative_force_error(committee.predict(atoms, members=True)).max() > 0.3,
    steps=steps,
)
print(f"{'uncertain' if found else 'certain'} after {dyn.nsteps} steps")
print(f"{atoms.get_potential_energy() - start:.2f} eV above the start")
