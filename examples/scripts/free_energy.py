"""Monte Carlo as a calculator: chemical potentials of Li_x CoO2 near points, and a network of them.

python free_energy.py [points]
"""

import sys

import numpy as np

from ase_hal import free_energy as fe
from ase_hal.free_energy import lco

count = int(sys.argv[1]) if len(sys.argv) > 1 else 40
rng = np.random.default_rng(1)
zigzag = fe.OrderParameters.from_ordering(lco.lattice(), lco.zigzag())
mc = fe.UmbrellaMC(
    lco.hamiltonian(),
    zigzag,
    temperature_K=300,
    rng=rng,
    run_length=fe.RunLength(precision=2e-3, max_sweeps=3000),
)

point = mc.sample(0.9 * zigzag.wells[0])  # almost the zigzag ordering
print("order parameters", np.round(point.eta, 3))
print(
    "chemical potentials (meV)", np.round(1e3 * point.mu, 1), "±", np.round(1e3 * point.mu_error, 1)
)

samples = mc.sample_many(fe.billiard_walk(zigzag.domain, count, rng=rng))
eta, mu = (np.array([getattr(s, name) for s in (point, *samples)]) for name in ("eta", "mu"))
idnn = fe.IDNN.of(zigzag, degree=4, training=fe.Training(fe.LevenbergMarquardt(20)))
surface = idnn.fit(eta, mu, temperature_K=300, rng=rng)
low, high = eta[:, 0].min(), eta[:, 0].max()  # beyond the points a surface only guesses
along = np.linspace(low, high, 7)[:, None] * np.eye(7)[0]
for x, g in zip(along[:, 0], surface.free_energy(along), strict=True):
    print(f"composition {x:.2f}: free energy {1e3 * g:7.2f} meV per site")

surface.write("surface.npz")  # for Python: fe.IDNNSurface.read
fe.export_torchscript(surface, "surface.pt")  # for C++: (n, 7) order parameters in, (g, mu) out
