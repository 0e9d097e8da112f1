"""Free energies that are known exactly, shared by the tests of what is learned from them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ase_hal.free_energy import Polynomials

CASM = Path(__file__).resolve().parents[2] / "shared" / "data" / "lco_zigzag" / "casm_300K.txt"


@dataclass(frozen=True, eq=False)
class PolynomialG:
    """g = sum_k coefficients_k h_k(eta), at any temperature."""

    polynomials: Polynomials
    coefficients: np.ndarray

    @property
    def dimension(self):
        return self.polynomials.dimension

    def free_energy(self, eta, temperature_K=None):
        return self.polynomials(eta) @ self.coefficients

    def chemical_potentials(self, eta, temperature_K=None):
        return self.coefficients @ self.polynomials.gradient(eta)

    def hessian(self, eta, temperature_K=None):
        columns = [self.coefficients @ self._by(i).gradient(eta) for i in range(self.dimension)]
        return np.stack(columns, axis=1)

    def _by(self, i):
        exponents = self.polynomials.exponents
        lowered = exponents - np.eye(self.dimension, dtype=int)[i]
        factors = self.polynomials.coefficients * exponents[:, i]
        return Polynomials(np.maximum(lowered, 0), factors)


def casm_points():
    """Order parameters and mu (641, 7) of published Monte Carlo at 300 K, numbered as ours."""
    rows = np.loadtxt(CASM)
    # the published invariants are ours under this numbering and these signs
    theirs, signs = [0, 1, 2, 3, 6, 4, 5], [1, 1, 1, 1, 1, 1, -1]
    return rows[:, 7:14][:, theirs] * signs, rows[:, 22:29][:, theirs] * signs
