"""IDNN: how a free energy is learned from its derivatives."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from ase_hal.free_energy.idnn_settings import Architecture, Training
from ase_hal.free_energy.idnn_surface import Constants, IDNNSurface
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.surface import checked_points
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.free_energy.symmetry import Array
from ase_hal.parallel import in_order, one_torch_thread
from ase_hal.randomness import check_generator
from ase_hal.threads import ProcessWideLimit

POINTS_OF_A_BEND = 5  # finer structure along the composition is not looked for to begin with

# Several may train at once in threads, and sums must not depend on when another one is done.
_one_blas_thread = ProcessWideLimit(
    lambda: threadpool_limits(1, user_api="blas").restore_original_limits
)


@dataclass(frozen=True, eq=False)
class IDNN:
    """Integrable deep neural network (section 1.1.4), to be trained.

    A network of the invariants of the order parameters is the free energy; its derivatives by
    the order parameters are trained to be the chemical potentials (Eq. 6).

    Attributes
    ----------
    invariants : Polynomials
        Inputs, as ``OrderParameters.invariants`` gives them: the trivial order parameters, which
        are of degree 1, come first.
    architecture : Architecture
    training : Training
    mixing : {"composition", "none"} or (S, d) array
        Term that is added to the networks: k_B T [x ln x + (1 - x) ln(1 - x)], whose derivative
        is steep at the ends of the composition as the true one is. An array gives the mean
        occupations x = rows @ eta of S equal sublattices, for instance ``OrderParameters.inverse``.

    Examples
    --------
    >>> idnn = IDNN.of(order_parameters)
    >>> surface = idnn.fit(eta, mu, temperature_K=300, rng=rng)
    >>> surface.hessian(points)
    """

    invariants: Polynomials
    architecture: Architecture = field(default_factory=Architecture)
    training: Training = field(default_factory=Training)
    mixing: Literal["composition", "none"] | npt.ArrayLike = "composition"

    def __post_init__(self) -> None:
        trivial = self.invariants.degrees == 1
        if trivial[trivial.sum() :].any() or not trivial[:1].all():
            raise ValueError(
                f"invariants of degree 1, the composition first, come before all others; their "
                f"degrees are {self.invariants.degrees.tolist()}"
            )
        self._mixing()  # checks it

    @classmethod
    def of(
        cls,
        order_parameters: OrderParameters,
        degree: int = 6,
        *,
        architecture: Architecture | None = None,
        training: Training | None = None,
    ) -> IDNN:
        """Invariants up to a degree, and ideal mixing on the sublattices of the ordering.

        With the sublattices, chemical potentials are steep at all walls of the domain, as they are
        in truth: on the Monte Carlo of LCO the networks then learn several times faster.
        """
        return cls(
            order_parameters.invariants(degree),
            architecture or Architecture(),
            training or Training(),
            order_parameters.inverse,
        )

    def fit(
        self,
        eta: npt.ArrayLike,
        mu: npt.ArrayLike,
        *,
        temperature_K: npt.ArrayLike,
        rng: np.random.Generator,
        weights: npt.ArrayLike | None = None,
        start: IDNNSurface | None = None,
    ) -> IDNNSurface:
        """Train with chemical potentials at points.

        Parameters
        ----------
        eta : (n, d) array
        mu : (n, d) array
            dg/deta at the points, eV per site.
        temperature_K : float or (n,) array
            Where it takes several values it becomes an input of the networks.
        rng : np.random.Generator
            Draws the parameters to begin with and the points for validation.
        weights : (n,) array, optional
            Of the points in the loss; by default all alike.
        start : IDNNSurface, optional
            Go on from its parameters, with its standardisation, instead of new ones. It has the
            same networks, invariants and mixing term, and was trained at these temperatures.

        Raises
        ------
        ValueError
            If something is not finite, has the wrong shape, or leaves nothing to train on.
        RuntimeError
            If the loss was never finite.
        """

        from ase_hal.free_energy import idnn_training  # noqa: F401 (loads what is limited below)

        check_generator(rng)
        data = _checked(eta, mu, temperature_K, weights, self.invariants.dimension)
        if start is not None:
            self._check_start(start, data[2])
        with one_torch_thread(), _one_blas_thread():
            return self._trained(data, start, rng)

    def _trained(
        self,
        data: tuple[Array, Array, Array, Array],
        start: IDNNSurface | None,
        rng: np.random.Generator,
    ) -> IDNNSurface:
        """`fit` with points, potentials, temperatures and weights that were checked."""
        from ase_hal.free_energy.idnn_features import torch
        from ase_hal.free_energy.idnn_network import build, parameters_of
        from ase_hal.free_energy.idnn_training import Batch, Objective, finish, start_linear, train

        constants = self._constants(*data[:3]) if start is None else start.constants
        model = build(
            self.invariants,
            self.architecture,
            constants,
            None if start is None else start.parameters,
        )
        if start is None:
            model.whole.draw(rng=rng)
            if model.trivial is not None:
                model.trivial.draw(
                    rng=rng, fine=model.n_trivial, bends=len(data[0]) // POINTS_OF_A_BEND
                )
        everything = Batch.of(model, *data)
        n_held_out = int(self.training.validation * len(everything))
        order = rng.permutation(len(everything))
        known, held_out = (
            everything[torch.as_tensor(np.sort(rows))]
            for rows in (order[n_held_out:], order[:n_held_out])
        )
        spread = torch.as_tensor(self._spread(everything.target.numpy()))
        objective = Objective(model, self.training, spread)
        if start is None:
            start_linear(objective, known)
        history = train(objective, known, held_out, rng=rng)
        if n_held_out:
            finish(objective, everything)
        return IDNNSurface(
            self.invariants, self.architecture, constants, parameters_of(model), history
        )

    def fit_committee(
        self,
        eta: npt.ArrayLike,
        mu: npt.ArrayLike,
        *,
        n_members: int,
        temperature_K: npt.ArrayLike,
        rng: np.random.Generator,
        weights: npt.ArrayLike | None = None,
        executor: Executor | None = None,
    ) -> SurfaceCommittee:
        """Train several, which differ in their first parameters and points for validation."""
        check_generator(rng)
        jobs = [
            (self, eta, mu, temperature_K, generator, weights) for generator in rng.spawn(n_members)
        ]
        return SurfaceCommittee(tuple(in_order(_fit, jobs, executor)))

    def with_architecture(self, architecture: Architecture) -> IDNN:
        """The same with other layers."""
        return replace(self, architecture=architecture)

    def _check_start(self, start: IDNNSurface, temperature_K: Array) -> None:
        """ValueError where parameters of another surface would mean something else here."""
        own, theirs, known = self.invariants, start.invariants, start.constants
        if start.architecture != self.architecture:
            raise ValueError(f"the start has other networks: {start.architecture}")
        if not (
            np.array_equal(own.exponents, theirs.exponents)
            and np.array_equal(own.coefficients, theirs.coefficients)
        ):
            raise ValueError("the start has other invariants")
        if not np.array_equal(self._mixing()[0], known.mixing_rows):
            raise ValueError("the start has another mixing term")
        if not start.temperature_is_input and (np.abs(temperature_K - known.centre_K) > 1e-6).any():
            raise ValueError(
                f"the start was trained at {known.centre_K:g} K only, not at "
                f"{temperature_K.min():g} to {temperature_K.max():g} K"
            )

    def _mixing(self) -> tuple[Array, Array]:
        """Rows (S, d) and weights (S,) of the mixing term."""
        d = self.invariants.dimension
        if isinstance(self.mixing, str):
            if self.mixing not in ("composition", "none"):
                raise ValueError(
                    f"mixing is 'composition', 'none' or an array, got {self.mixing!r}"
                )
            rows = np.eye(d)[: self.mixing == "composition"]
        else:
            rows = checked_points(self.mixing, d)
        return rows, np.full(len(rows), 1 / max(len(rows), 1))

    def _constants(self, eta: Array, mu: Array, temperature_K: Array) -> Constants:
        values = self.invariants(eta)
        spread = values.std(axis=0)
        # a unit in which the networks need slopes of about one
        energy = float((mu.std(axis=0) * eta.std(axis=0)).max())
        if not energy > 0:
            raise ValueError("all chemical potentials or all points are alike: nothing to learn")
        rows, weights = self._mixing()
        width = float(temperature_K.std()) if np.ptp(temperature_K) > 1e-6 else 0.0
        return Constants(
            shift=values.mean(axis=0),
            scale=np.where(spread > 1e-12, spread, 1.0),
            energy=energy,
            centre_K=float(temperature_K.mean()),
            width_K=width,
            mixing_rows=rows,
            mixing_weights=weights,
        )

    def _spread(self, target: Array) -> Array:
        """Standard deviations (d,) of the targets; that of all non-trivial ones is the same."""
        n_trivial = int((self.invariants.degrees == 1).sum())
        unit = self.invariants.gradient(np.zeros(self.invariants.dimension))[:n_trivial]
        alone = (unit != 0).any(axis=0)
        spread = target.std(axis=0)
        if not alone.all():
            spread[~alone] = np.sqrt(np.mean(target[:, ~alone] ** 2))
        return np.asarray(np.maximum(spread, 1e-6 * spread.max()))


def _fit(
    idnn: IDNN,
    eta: npt.ArrayLike,
    mu: npt.ArrayLike,
    temperature_K: npt.ArrayLike,
    rng: np.random.Generator,
    weights: npt.ArrayLike | None,
) -> IDNNSurface:
    return idnn.fit(eta, mu, temperature_K=temperature_K, rng=rng, weights=weights)


def _checked(
    eta: npt.ArrayLike,
    mu: npt.ArrayLike,
    temperature_K: npt.ArrayLike,
    weights: npt.ArrayLike | None,
    dimension: int,
) -> tuple[Array, Array, Array, Array]:
    """Points (n, d), potentials (n, d), temperatures (n,) and weights (n,); ValueError."""
    points = checked_points(eta, dimension)
    n = len(points)
    potentials = np.asarray(mu, dtype=float)
    if potentials.shape != points.shape:
        raise ValueError(f"{points.shape} points need as many mu, got shape {potentials.shape}")
    bad = ~np.isfinite(potentials).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise ValueError(f"chemical potentials are finite, got {potentials[row]} in row {row}")
    if n < 2:
        raise ValueError(f"training needs at least two points, got {n}")
    temperatures = np.asarray(temperature_K, dtype=float)
    if (
        temperatures.shape not in ((), (n,))
        or not ((temperatures > 0) & (temperatures < np.inf)).all()
    ):
        raise ValueError(f"one positive temperature or {n} are needed, got {temperature_K!r}")
    of_points = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    if of_points.shape != (n,) or not ((of_points >= 0) & (of_points < np.inf)).all():
        raise ValueError(f"{n} weights that are not negative are needed, got {weights!r}")
    if not of_points.any():
        raise ValueError("all weights are zero: nothing to train on")
    return points, potentials, np.array(np.broadcast_to(temperatures, n)), of_points
