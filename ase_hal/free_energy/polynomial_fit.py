"""Fitting polynomial free energies to chemical potentials by Bayesian ridge regression."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from ase_hal.free_energy.ideal_mixing import IdealMixing
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.points import Points
from ase_hal.free_energy.polynomial_surface import PolynomialBasis, PolynomialSurface
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.symmetry import Array
from ase_hal.randomness import check_generator
from ase_hal.regression import Factor, bayesian_ridge

_HYPERPRIOR = 1e-12  # bounds the precisions where the targets are all zero


class PolynomialFit:
    """Fit of g as a polynomial of composition and invariants; a callable for the loop.

    The chemical potentials are linear in the coefficients, whose prior precision follows from
    the evidence. Where points are at several temperatures the coefficients are linear in T.

    Parameters
    ----------
    order_parameters : OrderParameters
    degree : int
        Highest degree of the invariants of the non-trivial order parameters.
    composition_degree : int
        Highest degree in the composition of what multiplies each of them.
    mixing : bool
        Add the free energy of ideal mixing, for the steep potentials at the walls of the domain.
    members : int
        Surfaces drawn from the posterior: a committee.
    weigh_errors : bool
        Let points with large statistical errors count less (`Points.weights_by_error`).
    """

    def __init__(
        self,
        order_parameters: OrderParameters,
        *,
        degree: int = 6,
        composition_degree: int = 12,
        mixing: bool = True,
        members: int = 0,
        weigh_errors: bool = False,
    ) -> None:
        if degree < 2 or composition_degree < 1 or members < 0:
            raise ValueError(
                f"degree is at least 2, composition_degree at least 1, and members not negative; "
                f"got {degree}, {composition_degree}, {members}"
            )
        self.order_parameters = order_parameters
        self.degree = degree
        self.composition_degree = composition_degree
        self.members = members
        self.weigh_errors = weigh_errors
        self.mixing = IdealMixing(order_parameters.inverse) if mixing else None

    @cached_property
    def basis(self) -> PolynomialBasis:
        """The functions of the model."""
        n_trivial = self.order_parameters.n_trivial
        u = _chebyshev(n_trivial, self.composition_degree)
        found = self.order_parameters.invariants(self.degree)
        other = (found.exponents[:, :n_trivial] == 0).all(axis=1)
        h = Polynomials(
            found.exponents[other][:, n_trivial:], found.coefficients[n_trivial:][:, other]
        )
        # order parameters are at most about 1/2: all functions of the order of 1
        scaled = Polynomials(h.exponents, h.coefficients * 2.0 ** h.degrees[:, None])
        return PolynomialBasis(u, _with_constant(scaled))

    def __call__(self, points: Points, *, rng: np.random.Generator) -> PolynomialSurface:
        """Fit points.

        Parameters
        ----------
        points : Points
        rng : np.random.Generator
            Draws the members.
        """
        check_generator(rng)
        if not len(points):
            raise ValueError("a fit needs at least one point")
        basis, reference = self.basis, float(points.temperature_K.mean())
        varies = len(points.temperatures_K) > 1
        rows = basis.gradient(points.eta)[..., None, :, :]  # (n, d, 1, P, J)
        t = (points.temperature_K / reference - 1)[:, None, None, None, None]
        rows = np.concatenate([rows, t * rows] if varies else [rows], axis=2)
        size = int(np.prod(rows.shape[2:]))
        target = points.mu
        if self.mixing is not None:
            target = target - self.mixing.chemical_potentials(points.eta, points.temperature_K)
        weights = np.broadcast_to(self._weights(target), target.shape)
        if self.weigh_errors:
            weights = weights * np.sqrt(points.weights_by_error())[:, None]
        rows = (rows.reshape(*target.shape, size) * weights[..., None]).reshape(-1, size)
        used = np.abs(rows).max(axis=0) > 1e-12  # the constant has no derivative
        scale = 1 / np.sqrt(np.mean(rows[:, used] ** 2, axis=0))
        factor = Factor.empty(int(used.sum())).update(rows[:, used], (target * weights).ravel())
        posterior = bayesian_ridge(factor, scale=scale, hyperprior=_HYPERPRIOR)

        def surface(values: Array, *members: PolynomialSurface) -> PolynomialSurface:
            coefficients = np.zeros(size)
            coefficients[used] = values
            shaped = np.zeros((2, *basis.shape))
            shaped[: 1 + varies] = coefficients.reshape(-1, *basis.shape)
            return PolynomialSurface(basis, shaped, reference, varies, self.mixing, members)

        drawn = posterior.sample(self.members, rng=rng) if self.members else ()
        return surface(posterior.mean, *map(surface, drawn))

    def _weights(self, mu: Array) -> Array:
        """Row factors (d,): components that vary less count more, as by ``1 / std`` in a loss.

        Equivalent components have the same.
        """
        n_trivial = self.order_parameters.n_trivial
        spread = mu.std(axis=0)
        spread[n_trivial:] = np.sqrt(np.mean(mu[:, n_trivial:] ** 2))
        return 1 / np.sqrt(np.maximum(spread, 1e-6))


def _chebyshev(dimension: int, degree: int) -> Polynomials:
    """Products of Chebyshev polynomials of 2 x - 1 up to a total degree; the first is 1."""
    chosen = [e for e in np.ndindex(*[degree + 1] * dimension) if sum(e) <= degree]
    chosen.sort(key=lambda e: (sum(e), e))
    exponents = np.array(chosen, dtype=np.int64)
    single = np.zeros((degree + 1, degree + 1))
    for p in range(degree + 1):
        shifted = np.polynomial.Chebyshev.basis(p, domain=[0, 1])
        powers = shifted.convert(kind=np.polynomial.Polynomial).coef
        single[p, : len(powers)] = powers
    coefficients = np.array(
        [
            [np.prod([single[p, q] for p, q in zip(e, f, strict=True)]) for f in chosen]
            for e in chosen
        ]
    )
    return Polynomials(exponents, coefficients)


def _with_constant(functions: Polynomials) -> Polynomials:
    """These polynomials behind the constant 1."""
    t, d = functions.exponents.shape
    exponents = np.concatenate([np.zeros((1, d), dtype=np.int64), functions.exponents])
    coefficients = np.zeros((len(functions) + 1, t + 1))
    coefficients[0, 0] = 1.0
    coefficients[1:, 1:] = functions.coefficients
    return Polynomials(exponents, coefficients)
