"""A free energy surface in the place of Monte Carlo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.domain import Domain
from ase_hal.free_energy.ensemble import Ensemble
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.properties import PropertyCalculator
from ase_hal.free_energy.sample import Sample
from ase_hal.free_energy.surface import Surface
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy.window import Windows
from ase_hal.randomness import check_generator

WALL = 1e-7  # eV per site: a potential -WALL ln(distance) keeps order parameters in the domain


class SurrogateMC(PropertyCalculator):
    r"""Answers as `UmbrellaMC` would if a surface were the true free energy, at little cost.

    The bias makes order parameters settle at the minimum of

    .. math:: g(\eta) + \sum_j \phi_j (\eta_j - \kappa_j)^2

    nearest to where they began, with chemical potentials
    :math:`\mu_j = -2 \phi_j (\eta_j - \kappa_j)` (Eqs. 3 and 4). Counts of points and criteria
    can be tuned with it before the real runs.

    Parameters
    ----------
    surface : Surface
    order_parameters : OrderParameters
    temperature_K : float
    rng : np.random.Generator
    phi : (2,) or (d,) array
        Stiffness, as for `UmbrellaMC`.
    precision : float
        Standard error of the order parameters: noise of this size is added to them, and appears
        in mu multiplied by 2 phi, as that of Monte Carlo does. The default is none.

    Notes
    -----
    Samples have no energy, acceptance or length: these are NaN and 0.
    """

    def __init__(
        self,
        surface: Surface,
        order_parameters: OrderParameters,
        *,
        temperature_K: float,
        rng: np.random.Generator,
        phi: npt.ArrayLike = (5.0, 0.05),
        precision: float = 0.0,
    ) -> None:
        check_generator(rng)
        if surface.dimension != order_parameters.dimension:
            raise ValueError(
                f"the surface has {surface.dimension} order parameters, not "
                f"{order_parameters.dimension}"
            )
        if not 0 <= precision < np.inf:
            raise ValueError(f"the precision is a standard error, got {precision}")
        self._surface = surface
        self.order_parameters = order_parameters
        self.temperature_K = float(temperature_K)
        self.phi = Windows.each(order_parameters, phi)
        self.precision = float(precision)
        self.rng = rng
        Ensemble.umbrella(self.temperature_K, np.zeros_like(self.phi), self.phi)  # checks them

    @property
    def surface(self) -> Surface:
        """What answers; another one needs another calculator."""
        return self._surface

    @property
    def parameters(self) -> dict[str, Any]:
        """What the results depend on, beside the surface."""
        return {
            "temperature_K": self.temperature_K,
            "phi": self.phi.tolist(),
            "precision": self.precision,
        }

    def sample(
        self,
        eta: npt.ArrayLike | None = None,
        *,
        kappa: npt.ArrayLike | None = None,
        mu: npt.ArrayLike | None = None,
        phi: npt.ArrayLike | None = None,
        temperature_K: float | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        """Solve one window; see ``UmbrellaMC.sample``."""
        window = self._windows()(eta, kappa=kappa, mu=mu, phi=phi, temperature_K=temperature_K)
        start = self._inside(window.kappa) if eta is None else np.asarray(eta, dtype=float)
        return self._solve(start[None], [window], [rng or self.rng])[0]

    def sample_many(
        self,
        eta: npt.ArrayLike,
        *,
        mu: npt.ArrayLike | None = None,
        executor: Executor | None = None,
        on_sample: Callable[[int, Sample], None] | None = None,
        rngs: Sequence[np.random.Generator] | None = None,
        progress: bool = False,
    ) -> list[Sample]:
        """Solve a window near each of many points, all at once: no executor or bar is needed.

        See ``UmbrellaMC.sample_many``.
        """
        points = self.order_parameters.checked(eta)
        guesses = np.zeros_like(points) if mu is None else np.asarray(mu, dtype=float)
        if points.ndim != 2 or guesses.shape != points.shape:
            raise ValueError(f"points (n, d) are needed, got {points.shape}, mu {guesses.shape}")
        make = self._windows()
        windows = [make(p, mu=m) for p, m in zip(points, guesses, strict=True)]
        streams = self.rng.spawn(len(points)) if rngs is None else rngs
        samples = self._solve(points, windows, streams)
        for i, sample in enumerate(samples):
            if on_sample is not None:
                on_sample(i, sample)
        return samples

    def _windows(self) -> Windows:
        return Windows(self.order_parameters, self.temperature_K, self.phi)

    def _solve(
        self, start: Array, windows: list[Ensemble], streams: Sequence[np.random.Generator]
    ) -> list[Sample]:
        """Samples of windows that share phi and the temperature."""
        if not windows:
            return []
        kappa, phi = np.array([w.kappa for w in windows]), windows[0].phi
        temperature = windows[0].temperature_K
        eta, converged = _minimum(
            _Biased(self.surface, self.order_parameters, kappa, phi, temperature), start
        )
        if self.precision:
            noise = [rng.normal(size=eta.shape[1]) for rng in streams]
            eta = eta + self.precision * np.array(noise)
        error = np.full(eta.shape[1], self.precision)
        order = np.linalg.norm(eta[:, self.order_parameters.n_trivial :], axis=1)
        return [
            Sample(
                eta=point,
                eta_error=error,
                mu=-window.force(point),
                mu_error=2 * phi * error,
                energy=np.nan,
                energy_error=np.nan,
                order=float(length),
                ensemble=window,
                acceptance=np.nan,
                sweeps=0,
                discarded=0,
                converged=bool(settled),
            )
            for point, window, length, settled in zip(eta, windows, order, converged, strict=True)
        ]

    def _inside(self, point: Array) -> Array:
        """The point of the domain towards a centre of a bias that may be outside."""
        domain = self.order_parameters.domain
        return point if domain.contains(point) else _towards(domain.centre, point, domain)


class _Biased:
    """g plus the bias plus the walls, at one point for each window."""

    def __init__(
        self,
        surface: Surface,
        order_parameters: OrderParameters,
        kappa: Array,
        phi: Array,
        temperature_K: float,
    ) -> None:
        self.surface, self.temperature_K = surface, temperature_K
        self.domain, self.kappa, self.phi = order_parameters.domain, kappa, phi

    def value(self, eta: Array, rows: npt.NDArray[np.int64]) -> Array:
        """Values (n,) at points (n, d) of the windows `rows`."""
        g = self.surface.free_energy(eta, self.temperature_K)
        bias = (eta - self.kappa[rows]) ** 2 @ self.phi
        below, above = self._gaps(eta)
        return np.asarray(g + bias - WALL * (np.log(below) + np.log(above)).sum(axis=1))

    def derivatives(self, eta: Array, rows: npt.NDArray[np.int64]) -> tuple[Array, Array]:
        """First (n, d) and second (n, d, d) derivatives."""
        below, above = self._gaps(eta)
        normals = self.domain.normals
        first = self.surface.chemical_potentials(eta, self.temperature_K)
        first = first + 2 * self.phi * (eta - self.kappa[rows])
        first = first - WALL * (1 / below - 1 / above) @ normals
        second = self.surface.hessian(eta, self.temperature_K) + 2 * np.diag(self.phi)
        walls = WALL * (1 / below**2 + 1 / above**2)
        return first, second + np.einsum("nw,wi,wj->nij", walls, normals, normals)

    def longest(self, eta: Array, step: Array) -> Array:
        """How much (n,) of each step, at most all of it, stays clear of the walls."""
        below, above = self._gaps(eta)
        speed = step @ self.domain.normals.T
        with np.errstate(divide="ignore"):
            limit = np.where(speed > 0, above / speed, np.where(speed < 0, -below / speed, np.inf))
        return np.minimum(1.0, 0.95 * limit.min(axis=1))

    def _gaps(self, eta: Array) -> tuple[Array, Array]:
        heights = eta @ self.domain.normals.T
        return heights - self.domain.lower, self.domain.upper - heights


def _minimum(
    function: _Biased, start: Array, *, tolerance: float = 1e-9, max_steps: int = 200
) -> tuple[Array, npt.NDArray[np.bool_]]:
    """Local minima (n, d) from starting points (n, d), and which of them were found.

    Newton's method with the absolute values of curvatures, so that it goes downhill, and steps
    that are halved until they do.
    """
    eta = _towards(function.domain.centre, start, function.domain)
    found = np.zeros(len(eta), dtype=bool)
    for _ in range(max_steps):
        rows = np.flatnonzero(~found)
        if not len(rows):
            break
        here = eta[rows]
        first, second = function.derivatives(here, rows)
        curvature, axes = np.linalg.eigh(second)
        along = np.einsum("nij,ni->nj", axes, first) / np.maximum(np.abs(curvature), 1e-6)
        step = -np.einsum("nij,nj->ni", axes, along)
        found[rows] = np.abs(step).max(axis=1) < tolerance
        length = function.longest(here, step)
        value = function.value(here, rows)
        slope = np.einsum("ni,ni->n", first, step)
        accepted = np.zeros(len(rows), dtype=bool)
        for _ in range(40):
            trial = here + length[:, None] * step
            # equal within rounding counts as downhill: the last steps are that small
            accepted = function.value(trial, rows) <= value + 1e-4 * length * slope + 1e-15
            if accepted.all():
                break
            length = np.where(accepted, length, length / 2)
        eta[rows[accepted]] = (here + length[:, None] * step)[accepted]
        if not accepted.any():
            break
    return eta, found


def _towards(centre: Array, points: Array, domain: Domain) -> Array:
    """Points (..., d), pulled towards a centre where they are outside or on a wall."""
    heights, middle = points @ domain.normals.T, domain.normals @ centre
    span = np.where(heights > middle, domain.upper - middle, domain.lower - middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        reach = np.where(heights != middle, span / (heights - middle), np.inf).min(axis=-1)
    share = np.minimum(1.0, (1 - 1e-6) * reach)
    return np.asarray(centre + share[..., None] * (points - centre))
