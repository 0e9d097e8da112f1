"""`learn` with an explorer and a fit of your own: both are plain functions.

python learn_with_your_own_parts.py [iterations]
"""

import sys

import numpy as np
from ase.build import bulk
from ase.calculators.emt import EMT

from ase_hal import LinearFit, Weights, learn
from ase_hal.ace import ACEBasis

iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 4
ridge = LinearFit(
    ACEBasis.preset("small", ["Ni"], rcut=5.0), weights=Weights(energy=30, forces=1, virial=1)
)


def explore(committee, *, dataset, rng):
    """Rattle and strain what is known, and offer what the committee finds uncertain."""
    for start in dataset[-5:]:
        atoms = start.copy()
        atoms.set_cell(atoms.cell * rng.uniform(0.95, 1.05), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
        if committee.predict(atoms).model_std > 0.001 * len(atoms):
            yield atoms


def fit(dataset, *, rng):
    """Any function of this shape; here, the Bayesian ridge on the newest 100 structures."""
    return ridge(dataset[-100:], rng=rng)


seeds = [bulk("Ni", a=a, cubic=True) * (2, 1, 1) for a in (3.4, 3.5, 3.6)]
for step in learn(
    seeds, fit, explore, EMT, rng=np.random.default_rng(1), n_select=2, max_iterations=iterations
):
    print(
        f"iteration {step.iteration}: {len(step.dataset)} structures, {step.finished or 'going on'}"
    )
step.committee.write("ni.json")
