"""Committees that need no fit, and structures of many sizes to ask them about."""

from __future__ import annotations

from dataclasses import fields
from functools import cache

import numpy as np
from ase import Atoms
from ase.build import bulk, fcc111
from datasets_emt import al_cu_basis

from ase_hal import LinearCommittee, NetworkCommittee
from ase_hal.baseline import Baseline
from ase_hal.networks import AtomicNetworks, Components, columns_of
from ase_hal.prediction import Prediction
from ase_hal.regression import Posterior
from ase_hal.repulsion import ZBL

BASELINE = Baseline({"Al": -3.0, "Cu": -3.5}, ZBL(1.0, 2.8))


def linear_committee(basis=None, *, sigma="exact", baseline=BASELINE, seed=0) -> LinearCommittee:
    """Random coefficients, whose energies are of the size of those of a metal."""
    basis = basis or al_cu_basis()
    n, rng = basis.size, np.random.default_rng(seed)
    posterior = Posterior(
        mean=0.05 * rng.normal(size=n),
        covariance_factor=1e-3 * rng.normal(size=(n, n)),
        noise_precision=1e4,
        prior_precision=np.ones(n),
        log_evidence=0.0,
        n_observations=10,
        iterations=1,
    )
    members = posterior.mean + 0.002 * rng.normal(size=(4, n))
    return LinearCommittee(
        basis, posterior, members, baseline=baseline, noise_std=1e-3, force_scale=1.0, sigma=sigma
    )


def network_committee() -> NetworkCommittee:
    """Three networks of random weights, made without torch."""
    basis, rng, networks = al_cu_basis(), np.random.default_rng(1), {}
    for element, columns in columns_of(basis).items():
        n, m = len(columns), 5
        components = Components(columns, rng.normal(size=n), 0.05 * rng.normal(size=(n, n)))
        layers = tuple(
            (rng.normal(size=(3, a, b)) / np.sqrt(a), rng.normal(size=(3, 1, b)))
            for a, b in ((m, 4), (4, 1))
        )
        networks[element] = AtomicNetworks(components, 0.1 * rng.normal(size=(3, n)), layers, 0.5)
    return NetworkCommittee(basis, networks, baseline=BASELINE, noise_std=1e-3, force_scale=1.0)


@cache
def structures() -> tuple[Atoms, ...]:
    """Three hundred: of one to 32 atoms, many of them of the same atoms a little displaced."""
    rng = np.random.default_rng(2)
    kinds = [
        bulk("Al", a=4.0),
        bulk("Cu", a=3.7, cubic=True),
        bulk("Al", a=4.0, cubic=True) * (2, 1, 1),
        bulk("Al", a=4.0, cubic=True) * 2,
        fcc111("Al", (2, 2, 3), vacuum=3.0),
        Atoms("Al3Cu2", rng.uniform(size=(5, 3)) + np.outer(np.arange(5), [2.6, 0, 0])),
    ]  # fmt: skip
    made = []
    for i in range(300):
        atoms = kinds[i % len(kinds)].copy()
        if i % 4:  # the others are close enough to one another to share a list
            atoms.symbols[rng.random(len(atoms)) < 0.3] = "Cu"
        atoms.set_cell(atoms.cell * rng.normal(1.0, 0.003), scale_atoms=True)
        atoms.positions += rng.normal(scale=0.03 if i % 2 else 0.12, size=(len(atoms), 3))
        made.append(atoms)
    return tuple(made)


def bits(prediction: Prediction) -> dict[str, bytes]:
    """Everything that was predicted, to the last bit."""
    values = {field.name: getattr(prediction, field.name) for field in fields(prediction)}
    return {
        name: np.asarray(v, dtype=float).tobytes() for name, v in values.items() if v is not None
    }
