"""Learn one barrier: a gold atom hops on Al(100). With EMT it is 0.374 eV.

python barrier_learning.py [labels]
"""

import sys

import numpy as np
from ase.build import add_adsorbate, fcc100
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms

from ase_hal import LinearFit, learn
from ase_hal.ace import ACEBasis, PairPart
from ase_hal.dynamics import SaddleSearch, count_saddles

labels = int(sys.argv[1]) if len(sys.argv) > 1 else 18
rng = np.random.default_rng(1)
initial = fcc100("Al", (2, 2, 3))
add_adsorbate(initial, "Au", 1.7, "hollow")
initial.center(axis=2, vacuum=4.0)
initial.set_constraint(FixAtoms([atom.index for atom in initial if atom.tag > 1]))
final = initial.copy()
final[-1].x += initial.cell[0, 0] / 2
for atoms in (initial, final):
    atoms.rattle(0.1, rng=rng)

pair = PairPart(rcut=6.0, nradmax=8)
basis = ACEBasis(
    ("Al", "Au"), rcut=5.5, nradmax_by_orders=[8, 4, 2], lmax_by_orders=[0, 3, 2], pair=pair
)
search = SaddleSearch(initial, final, n_images=5, max_std=0.3, max_labels=labels)
for step in learn([initial, final], LinearFit(basis), search, EMT, rng=rng):
    for atoms in step.labelled:
        print(step.iteration, atoms.info["hal_role"], atoms.info["hal_outcome"])
print(count_saddles(step.dataset), f"finished: {step.finished}")
path = search.search(step.committee, rng=rng)
print(f"{len(step.dataset)} labels, outcome {path.outcome}, barrier {path.barrier:.3f} eV")
