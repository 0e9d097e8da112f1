"""Free energies that are polynomials of the invariants: linear models, fitted in a moment."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.ideal_mixing import IdealMixing
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.surface import checked_points, checked_temperatures
from ase_hal.free_energy.symmetry import Array
from ase_hal.journal import write_atomically


@dataclass(frozen=True, eq=False)
class PolynomialBasis:
    """Products u_p(x) h_j(y) of functions of trivial and of other order parameters.

    Attributes
    ----------
    trivial : Polynomials
        u (P of them), of the n_trivial ones x; the first is 1.
    invariants : Polynomials
        h (J of them), of the others y; the first is 1.
    """

    trivial: Polynomials
    invariants: Polynomials

    @property
    def shape(self) -> tuple[int, int]:
        """P and J."""
        return len(self.trivial), len(self.invariants)

    @property
    def dimension(self) -> int:
        """Number of order parameters d."""
        return self.trivial.dimension + self.invariants.dimension

    def gradient(self, eta: Array) -> Array:
        """Derivatives (n, d, P, J) of all products at points (n, d)."""
        x, y = self.split(eta)
        u, h = self.trivial(x)[:, None], self.invariants(y)[:, None]
        du = self.trivial.gradient(x).swapaxes(1, 2)
        dh = self.invariants.gradient(y).swapaxes(1, 2)
        parts = [du[..., None] * h[..., None, :], u[..., None] * dh[..., None, :]]
        return np.concatenate(parts, axis=1)

    def split(self, eta: Array) -> tuple[Array, Array]:
        """Trivial (n, n_trivial) and other order parameters of points (n, d)."""
        k = self.trivial.dimension
        return eta[:, :k], eta[:, k:]


@dataclass(frozen=True, eq=False)
class PolynomialSurface:
    r"""A `Surface` that is linear in its coefficients.

    .. math:: g = \sum_{pj} (A_{pj} + t B_{pj}) u_p(x) h_j(y) + g_{mix}, \quad t = T / T_0 - 1

    Attributes
    ----------
    basis : PolynomialBasis
    coefficients : (2, P, J) array
        A and B, eV per site.
    temperature_K : float
        T_0.
    depends_on_temperature : bool
        Whether the surface may be asked at temperatures other than T_0.
    mixing : IdealMixing or None
    members : tuple of PolynomialSurface
        Others that fit the same data, drawn from the posterior.
    """

    basis: PolynomialBasis
    coefficients: Array
    temperature_K: float
    depends_on_temperature: bool = False
    mixing: IdealMixing | None = None
    members: tuple[PolynomialSurface, ...] = ()

    def __repr__(self) -> str:
        count = (1 + self.depends_on_temperature) * self.coefficients[0].size
        at = "near" if self.depends_on_temperature else "at"
        return (
            f"<PolynomialSurface: {self.dimension} order parameters, {count} coefficients, "
            f"{at} {self.temperature_K:g} K, {len(self.members)} members>"
        )

    @property
    def dimension(self) -> int:
        """Number of order parameters d."""
        return self.basis.dimension

    def free_energy(self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike | None = None) -> Array:
        """Values g (n,) at points (n, d) and one temperature or (n,), eV per site."""
        points, temperature = self._asked(eta, temperature_K)
        x, y = self.basis.split(points)
        u, h = self.basis.trivial(x), self.basis.invariants(y)
        g = self._combined(lambda c: ((u @ c) * h).sum(axis=1), temperature)
        return g if self.mixing is None else g + self.mixing.free_energy(points, temperature)

    def chemical_potentials(
        self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike | None = None
    ) -> Array:
        """First derivatives (n, d), eV per site."""
        points, temperature = self._asked(eta, temperature_K)
        x, y = self.basis.split(points)
        u, h = self.basis.trivial(x), self.basis.invariants(y)
        du, dh = self.basis.trivial.gradient(x), self.basis.invariants.gradient(y)

        def gradient(c: Array) -> Array:
            of_x = np.einsum("npi,np->ni", du, h @ c.T)
            return np.concatenate([of_x, np.einsum("nji,nj->ni", dh, u @ c)], axis=1)

        mu = self._combined(gradient, temperature)
        if self.mixing is not None:
            mu += self.mixing.chemical_potentials(points, temperature)
        return mu

    def hessian(self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike | None = None) -> Array:
        """Second derivatives (n, d, d), eV per site."""
        points, temperature = self._asked(eta, temperature_K)
        x, y = self.basis.split(points)
        h, u = self.basis.invariants, self.basis.trivial

        def second(c: Array) -> Array:
            k = x.shape[1]
            of_c = np.empty((len(points), self.dimension, self.dimension))
            of_c[:, :k, :k] = _second(u, x, h(y) @ c.T)
            of_c[:, k:, k:] = _second(h, y, u(x) @ c)
            mixed = np.einsum("npi,pj,njk->nik", u.gradient(x), c, h.gradient(y), optimize=True)
            of_c[:, :k, k:] = mixed
            of_c[:, k:, :k] = mixed.swapaxes(1, 2)
            return of_c

        result = self._combined(second, temperature)
        if self.mixing is not None:
            result += self.mixing.hessian(points, temperature)
        return result

    def write(self, path: str | PathLike[str]) -> None:
        """Replace a file by the surface, with its members, as numbers only (.npz)."""
        u, h = self.basis.trivial, self.basis.invariants
        arrays = {
            "trivial_exponents": u.exponents,
            "trivial_coefficients": u.coefficients,
            "exponents": h.exponents,
            "invariant_coefficients": h.coefficients,
            "coefficients": np.array([s.coefficients for s in (self, *self.members)]),
            "temperature_K": np.array(self.temperature_K),
            "depends_on_temperature": np.array(self.depends_on_temperature),
        }
        if self.mixing is not None:
            arrays["inverse"] = self.mixing.inverse
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # type: ignore[arg-type]
        write_atomically(path, buffer.getvalue())

    @classmethod
    def read(cls, path: str | PathLike[str]) -> PolynomialSurface:
        """Read what `write` wrote; ValueError if it is something else."""
        try:
            with np.load(path, allow_pickle=False) as found:
                arrays = dict(found)
            basis = PolynomialBasis(
                Polynomials(arrays["trivial_exponents"], arrays["trivial_coefficients"]),
                Polynomials(arrays["exponents"], arrays["invariant_coefficients"]),
            )
            known = (float(arrays["temperature_K"]), bool(arrays["depends_on_temperature"]))
            mixing = IdealMixing(arrays["inverse"]) if "inverse" in arrays else None
            own, *others = arrays["coefficients"]
        except (KeyError, ValueError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} holds no polynomial surface: {error}") from error
        members = tuple(cls(basis, c, *known, mixing) for c in others)
        return cls(basis, own, *known, mixing, members)

    def _asked(
        self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike | None
    ) -> tuple[Array, Array]:
        """Points (n, d) and their temperatures (n,)."""
        points = checked_points(eta, self.dimension)
        temperatures = checked_temperatures(
            temperature_K,
            len(points),
            own=self.temperature_K,
            others=self.depends_on_temperature,
        )
        return points, temperatures

    def _combined(self, linear: Callable[[Array], Array], temperature: Array) -> Array:
        """What a function that is linear in the coefficients is at temperatures (n,)."""
        own = linear(self.coefficients[0])
        if not self.depends_on_temperature:
            return own
        t = temperature / self.temperature_K - 1
        return own + t.reshape(-1, *[1] * (own.ndim - 1)) * linear(self.coefficients[1])


def _second(functions: Polynomials, points: Array, weights: Array) -> Array:
    """Second derivatives (n, d, d) of sum_k weights[:, k] f_k at points (n, d)."""
    d = functions.dimension
    result = np.empty((len(points), d, d))
    for i in range(d):
        slope = derivative(functions, i)
        for j in range(i, d):
            values = derivative(slope, j)(points)
            result[:, i, j] = result[:, j, i] = (values * weights).sum(axis=1)
    return result


def derivative(functions: Polynomials, variable: int) -> Polynomials:
    """Derivatives of polynomials by one of their variables."""
    power = functions.exponents[:, variable]
    kept = power > 0
    lowered = functions.exponents[kept].copy()
    lowered[:, variable] -= 1
    return Polynomials(lowered, functions.coefficients[:, kept] * power[kept])
