"""Polynomials of order parameters, as plain arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.symmetry import Array, IntArray


@dataclass(frozen=True, eq=False)
class Polynomials:
    """n polynomials h of d variables: h_k = sum_t coefficients[k, t] prod_i eta_i^exponents[t, i].

    Attributes
    ----------
    exponents : (T, d) integers
        Of the monomials.
    coefficients : (n, T) array
    """

    exponents: IntArray
    coefficients: Array

    def __post_init__(self) -> None:
        if self.coefficients.shape[1:] != self.exponents.shape[:1]:
            raise ValueError(
                f"coefficients {self.coefficients.shape} do not fit exponents "
                f"{self.exponents.shape}"
            )

    def __repr__(self) -> str:
        return f"<Polynomials: {len(self)} of {self.dimension} variables>"

    def __len__(self) -> int:
        return len(self.coefficients)

    @property
    def dimension(self) -> int:
        """Number of variables d."""
        return self.exponents.shape[1]

    @property
    def degrees(self) -> IntArray:
        """Degree (n,) of each polynomial."""
        present = self.coefficients != 0
        return np.asarray(np.where(present, self.exponents.sum(axis=1), 0).max(axis=1))

    def __call__(self, eta: npt.ArrayLike) -> Array:
        """Values h (..., n) at eta (..., d)."""
        powers = self._powers(eta)
        return np.asarray(self._monomials(powers, self.exponents) @ self.coefficients.T)

    def gradient(self, eta: npt.ArrayLike) -> Array:
        """Derivatives dh_k/deta_i (..., n, d) at eta (..., d)."""
        powers = self._powers(eta)
        columns = []
        for i in range(self.dimension):
            lowered = self.exponents.copy()
            lowered[:, i] = np.maximum(lowered[:, i] - 1, 0)
            terms = self._monomials(powers, lowered) * self.exponents[:, i]
            columns.append(terms @ self.coefficients.T)
        return np.stack(columns, axis=-1)

    def beside(self, other: Polynomials) -> Polynomials:
        """Put polynomials of other variables behind these."""
        (t, d), (s, e) = self.exponents.shape, other.exponents.shape
        exponents = np.zeros((t + s, d + e), dtype=np.int64)
        exponents[:t, :d] = self.exponents
        exponents[t:, d:] = other.exponents
        coefficients = np.zeros((len(self) + len(other), t + s))
        coefficients[: len(self), :t] = self.coefficients
        coefficients[len(self) :, t:] = other.coefficients
        return Polynomials(exponents, coefficients)

    def _powers(self, eta: npt.ArrayLike) -> Array:
        points = np.asarray(eta, dtype=float)
        if points.shape[-1:] != (self.dimension,):
            raise ValueError(f"points (..., {self.dimension}) are needed, got {points.shape}")
        return points[..., None] ** np.arange(self.exponents.max(initial=0) + 1)

    @staticmethod
    def _monomials(powers: Array, exponents: IntArray) -> Array:
        result = np.ones((*powers.shape[:-2], len(exponents)))
        for i in range(exponents.shape[1]):
            result *= powers[..., i, :][..., exponents[:, i]]
        return result
