"""Free energies that are known exactly, and samplers that know them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ase_hal.free_energy import Ensemble, Points, Sample


@dataclass(frozen=True)
class Landau:
    """A minimum at the composition x0 and eta = 0 for positive a, or wells on the axes.

    g = k (x - x0)^2 + sum_i [a eta_i^2 + b eta_i^4] + c (sum_i eta_i^2)^2, with a = a0 + a1 T
    """

    d: int
    x0: float = 0.5
    k: float = 2.0
    a0: float = -0.06
    a1: float = 0.0
    b: float = 0.0
    c: float = 0.3

    @property
    def dimension(self):
        return self.d

    def a(self, temperature_K):
        return self.a0 + self.a1 * (temperature_K or 0.0)

    def free_energy(self, eta, temperature_K=None):
        x, y = eta[:, 0], eta[:, 1:] ** 2
        quadratic = self.a(temperature_K) * y.sum(1) + self.b * (y**2).sum(1)
        return self.k * (x - self.x0) ** 2 + quadratic + self.c * y.sum(1) ** 2

    def chemical_potentials(self, eta, temperature_K=None):
        y = eta[:, 1:]
        r2 = (y**2).sum(1, keepdims=True)
        slope = 2 * self.a(temperature_K) * y + 4 * self.b * y**3 + 4 * self.c * r2 * y
        return np.hstack([2 * self.k * (eta[:, :1] - self.x0), slope])

    def hessian(self, eta, temperature_K=None):
        y = eta[:, 1:]
        r2 = (y**2).sum(1)
        n, m = y.shape
        result = np.zeros((n, m + 1, m + 1))
        result[:, 0, 0] = 2 * self.k
        diagonal = 2 * self.a(temperature_K) + 12 * self.b * y**2 + 4 * self.c * r2[:, None]
        outer = 8 * self.c * y[:, :, None] * y[:, None]
        result[:, 1:, 1:] = np.eye(m) * diagonal[:, None] + outer
        return result


@dataclass
class Oracle:
    """A sampler that knows a surface, with a little noise; it does not know some points."""

    surface: Landau
    temperature_K: float = 300.0
    noise: float = 1e-4
    refuses: object = None  # (eta) -> reason or None

    def sample(self, eta, *, mu=None, rng=None):
        point = np.array(eta, dtype=float)
        reason = self.refuses and self.refuses(point)
        if reason:
            raise RuntimeError(reason)
        error = np.full(len(point), self.noise)
        exact = self.surface.chemical_potentials(point[None], self.temperature_K)[0]
        return Sample(
            eta=point,
            eta_error=error,
            mu=exact + rng.normal(0, self.noise, len(point)),
            mu_error=error,
            energy=0.0,
            energy_error=self.noise,
            order=float(np.linalg.norm(point[1:])),
            ensemble=Ensemble.umbrella(self.temperature_K, point, np.ones(len(point))),
            acceptance=0.5,
            sweeps=1000,
            discarded=100,
            converged=bool(rng.random() < 0.9),
        )

    def sample_many(self, eta, *, mu=None, executor=None, on_sample=None, rngs=None):
        samples = []
        for i, point in enumerate(np.asarray(eta)):
            samples.append(self.sample(point, rng=rngs[i]))
            if on_sample is not None:
                on_sample(i, samples[-1])
        return samples


def exact_points(surface, eta, *, temperature_K=300.0, criterion="global"):
    """Points at eta (n, d) with the potentials of a surface."""
    n, d = eta.shape
    zero = np.zeros((n, d))
    return Points(
        eta=eta,
        eta_error=zero,
        mu=surface.chemical_potentials(eta, temperature_K),
        mu_error=zero,
        target=eta,
        temperature_K=np.full(n, temperature_K),
        round=np.zeros(n, dtype=np.int64),
        criterion=np.full(n, criterion),
        converged=np.ones(n, dtype=bool),
    )
