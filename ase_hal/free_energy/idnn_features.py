"""Standardised invariants without their long tails, as tensors, and their derivatives."""

from __future__ import annotations

import numpy as np

from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.symmetry import Array, IntArray

try:
    import torch
    from torch import Tensor
except ModuleNotFoundError as error:
    if error.name != "torch":
        raise
    raise ImportError("an IDNN needs torch: pip install 'ase-hal[torch]'") from error


TAIL = 2.0  # standard deviations from which on features of degree 2 and more grow slowly


class Features(torch.nn.Module):
    """Features x_k = f_k((h_k(eta) - shift_k) / scale_k) of n points, k of them.

    The h are linear in a table of monomials, in which each is a variable times another one. The
    f_k of degree 1 are the identity. Invariants of higher degrees have long tails: a well-ordered
    structure lies ten standard deviations from disordered ones, where networks have never been.
    Their ``f(x) = TAIL arsinh(x / TAIL)`` brings that down below five.

    Parameters
    ----------
    invariants : Polynomials
        The h.
    shift, scale : (k,) arrays
    """

    def __init__(self, invariants: Polynomials, shift: Array, scale: Array) -> None:
        super().__init__()
        exponents = _closed_under_lowering(invariants.exponents)
        place = {tuple(e): t for t, e in enumerate(exponents.tolist())}
        self.dimension = invariants.dimension
        parents, variables = _genealogy(exponents, place)
        self._degrees = [torch.as_tensor(p) for p in parents]
        self._variables = [torch.as_tensor(v) for v in variables]
        values = np.zeros((len(exponents), len(invariants)))
        values[[place[tuple(e)] for e in invariants.exponents.tolist()]] = invariants.coefficients.T
        values[0] -= shift  # the first monomial is 1
        values /= scale
        slopes = _differentiated(values, exponents, place)
        curvatures = _differentiated(slopes, exponents, place)
        self._long = torch.as_tensor(invariants.degrees > 1)
        self.register_buffer("values", torch.as_tensor(values))
        self.register_buffer("slopes", torch.as_tensor(slopes))
        self.register_buffer("curvatures", torch.as_tensor(curvatures))

    def monomials(self, eta: Tensor) -> Tensor:
        """The table (n, U) at points (n, d)."""
        block = torch.ones_like(eta[:, :1])
        blocks = [block]
        for parents, variables in zip(self._degrees, self._variables, strict=True):
            block = block[:, parents] * eta[:, variables]
            blocks.append(block)
        return torch.cat(blocks, dim=1)

    def forward(self, eta: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, k) and their derivatives (n, k, d)."""
        table = self.monomials(eta)
        x, slope, _ = self._shortened(table @ self.values)
        return x, slope[:, :, None] * torch.einsum("nu,ukd->nkd", table, self.slopes)

    def weighted_curvature(self, eta: Tensor, weights: Tensor) -> Tensor:
        """Second derivatives (n, d, d) of sum_k weights_k x_k, for weights (n, k)."""
        table = self.monomials(eta)
        _, slope, bend = self._shortened(table @ self.values)
        size, k, d, _ = self.curvatures.shape
        second = (table @ self.curvatures.reshape(size, k * d * d)).reshape(-1, k, d, d)
        first = torch.einsum("nu,ukd->nkd", table, self.slopes)
        steep = (weights * bend)[:, :, None] * first
        return torch.einsum("nk,nkij->nij", weights * slope, second) + steep.transpose(1, 2) @ first

    def _shortened(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """f, f' and f'' of standardised invariants (n, k)."""
        slope = (1 + (x / TAIL) ** 2) ** -0.5
        bend = -x / TAIL**2 * slope**3
        long = self._long
        return (
            torch.where(long, TAIL * torch.asinh(x / TAIL), x),
            torch.where(long, slope, 1.0),
            torch.where(long, bend, 0.0),
        )


def _closed_under_lowering(exponents: IntArray) -> IntArray:
    """These monomials and all their derivatives, sorted by degree; the first is 1."""
    found = {tuple(e) for e in exponents.tolist()} | {(0,) * exponents.shape[1]}
    waiting = list(found)
    while waiting:
        monomial = waiting.pop()
        for i, power in enumerate(monomial):
            if power:
                lower = (*monomial[:i], power - 1, *monomial[i + 1 :])
                if lower not in found:
                    found.add(lower)
                    waiting.append(lower)
    return np.array(sorted(found, key=lambda e: (sum(e), e)))


def _genealogy(
    exponents: IntArray, place: dict[tuple[int, ...], int]
) -> tuple[list[IntArray], list[IntArray]]:
    """For each degree from 1: which monomial of the last degree, times which variable."""
    degrees = exponents.sum(axis=1)
    parents, variables = [], []
    for degree in range(1, int(degrees.max()) + 1):
        rows = exponents[degrees == degree]
        chosen = (rows > 0).argmax(axis=1)
        lower = rows.copy()
        lower[np.arange(len(rows)), chosen] -= 1
        first = int((degrees < degree - 1).sum())
        parents.append(np.array([place[tuple(e)] - first for e in lower.tolist()]))
        variables.append(chosen)
    return parents, variables


def _differentiated(
    coefficients: Array, exponents: IntArray, place: dict[tuple[int, ...], int]
) -> Array:
    """Coefficients (U, ..., d) of the derivatives of polynomials with coefficients (U, ...)."""
    result = np.zeros((*coefficients.shape, exponents.shape[1]))
    for t, monomial in enumerate(exponents.tolist()):
        for i, power in enumerate(monomial):
            if power:
                lower = (*monomial[:i], power - 1, *monomial[i + 1 :])
                result[place[lower], ..., i] += power * coefficients[t]
    return result
