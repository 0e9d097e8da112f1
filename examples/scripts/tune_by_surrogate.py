"""Which criteria and counts are enough? Ask a surrogate before the long Monte Carlo runs.

Brass on a body-centred cubic lattice, which orders as CsCl does: a rough surface of a few Monte
Carlo points takes the place of Monte Carlo, and strategies are compared on it in seconds. At the
end the rough surface goes to files, as one of a real run would: its coefficients, and values on a
grid for phase-field codes (where xarray is installed).

python tune_by_surrogate.py [points]
"""

import sys
from importlib.util import find_spec

import numpy as np
from ase.build import bulk

from ase_hal import free_energy as fe

count = int(sys.argv[1]) if len(sys.argv) > 1 else 60
rng = np.random.default_rng(1)
lattice = fe.Lattice.from_atoms(bulk("Cu", "bcc", a=2.95), "Cu")
b2 = fe.OrderParameters.from_ordering(lattice, bulk("CuZn", "cesiumchloride", a=2.95), "Cu")
point, pair = fe.find_orbits(lattice, [2.6])
brass = fe.Hamiltonian.from_orbits(lattice, [(point, -0.16), (pair, 0.04)])  # eV

# a rough surface
quick = fe.RunLength(precision=5e-3, max_sweeps=2000)
settings = {"temperature_K": 650, "phi": (5, 0.2), "rng": rng}
mc = fe.UmbrellaMC(brass, b2, repeat=(6, 6, 6), run_length=quick, **settings)
places = np.concatenate([fe.quasi_random(b2.domain, count, method="sobol", rng=rng), b2.wells])
once = fe.Strategy([fe.GivenPoints(points=places)], stopping=fe.Stopping(rounds=1))
fit = fe.PolynomialFit(b2, degree=6, composition_degree=8)
(first,) = fe.learn_free_energy({650.0: mc}, b2, once, fit, rng=rng)
rough = first.surface

# strategies, with the rough surface in the place of Monte Carlo
surrogate = fe.SurrogateMC(rough, b2, precision=1e-4, **settings)
everywhere = fe.GlobalSampling(count=15)
order = fe.Vertices(count=5)
strategies = {
    "everywhere": [fe.GlobalSampling(count=20)],
    "with order": [everywhere, order],
    "with errors": [everywhere, fe.HighError(count=5, perturbation=0.05)],
}
test = fe.make_test_set(
    {650.0: surrogate}, b2, [everywhere, fe.Vertices(count=15)], fit, rng=rng, n_candidates=1000
)
for name, criteria in strategies.items():
    strategy = fe.Strategy(criteria, stopping=fe.Stopping(rounds=3))
    *_, last = fe.learn_free_energy({650.0: surrogate}, b2, strategy, fit, rng=rng, test=test)
    print(f"{name:12} {len(last.points)} points, test error {last.test_error:.3g} (10 meV)^2")

rough.write("surface.npz")
surface = fe.PolynomialSurface.read("surface.npz")
if find_spec("xarray") and find_spec("h5netcdf"):
    axes = {0: np.linspace(0, 1, 51), 1: np.linspace(-0.5, 0.5, 51)}
    fe.write_grid(fe.on_grid(surface, axes, domain=b2.domain), "surface.nc")
