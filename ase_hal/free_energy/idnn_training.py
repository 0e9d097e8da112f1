"""Training of an IDNN: from chemical potentials to parameters."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from ase.units import kB
from scipy.optimize import OptimizeResult, minimize

from ase_hal.free_energy.idnn_features import Tensor, torch
from ase_hal.free_energy.idnn_levenberg import levenberg_marquardt
from ase_hal.free_energy.idnn_network import FreeEnergy
from ase_hal.free_energy.idnn_settings import (
    LBFGS,
    Adam,
    History,
    LevenbergMarquardt,
    Training,
)
from ase_hal.free_energy.symmetry import Array

logger = logging.getLogger(__name__)

STRIDE = 10  # iterations of L-BFGS between looks at the validation points


@dataclass(frozen=True)
class Batch:
    """What the networks see of n points: everything that does not depend on parameters.

    Attributes
    ----------
    x, t : (n, k) tensor, (n, 1) tensor or None
        Inputs of the networks.
    slopes : (n, k, d) tensor
        Derivatives of x by eta.
    target : (n, d) tensor
        mu without the mixing term, in the unit of energy of the networks.
    weights : (n,) tensor
        Of the points; their mean is 1 over all that is trained on.
    """

    x: Tensor
    t: Tensor | None
    slopes: Tensor
    target: Tensor
    weights: Tensor

    @classmethod
    def of(
        cls, model: FreeEnergy, eta: Array, mu: Array, temperature_K: Array, weights: Array
    ) -> Batch:
        """Prepare points (n, d) and their chemical potentials (n, d), eV per site."""
        points, temperatures = torch.as_tensor(eta), torch.as_tensor(temperature_K)
        with torch.no_grad():
            x, slopes = model.features(points)
            known = torch.as_tensor(mu)
            if model.mixing is not None:
                known = known - kB * temperatures[:, None] * model.mixing(points)[1]
            t = model.standard_T(temperatures)
        return cls(x, t, slopes, known / model.energy, torch.as_tensor(weights / weights.mean()))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Tensor) -> Batch:
        t = None if self.t is None else self.t[rows]
        return Batch(self.x[rows], t, self.slopes[rows], self.target[rows], self.weights[rows])


@dataclass(frozen=True)
class Objective:
    """The loss of `Training`, of a model and a batch.

    Attributes
    ----------
    model : FreeEnergy
    training : Training
    spread : (d,) tensor
        Standard deviations of the components of the targets.
    """

    model: FreeEnergy
    training: Training
    spread: Tensor

    def __call__(self, batch: Batch, masks: list[list[Tensor]] | None = None) -> Tensor:
        """The loss without weight decay."""
        if self.training.loss == "squared":
            return (self.residuals(batch, masks) ** 2).sum() / len(batch)
        difference = (self.mu(batch, masks) - batch.target) / self.spread
        terms = torch.nn.functional.huber_loss(
            difference, torch.zeros_like(difference), reduction="none"
        )
        return 2 * (batch.weights * (terms @ self.scale)).mean()

    def mu(self, batch: Batch, masks: list[list[Tensor]] | None = None) -> Tensor:
        """Derivatives (n, d) of the networks by eta, in their unit of energy."""
        _, by_x, _ = self.model.network(batch.x, batch.t, masks)
        return torch.einsum("nk,nkd->nd", by_x, batch.slopes)

    def residuals(self, batch: Batch, masks: list[list[Tensor]] | None = None) -> Tensor:
        """Differences (n, d) from the targets times `factors`; their squares are the loss."""
        return (self.mu(batch, masks) - batch.target) * self.factors(batch)

    def factors(self, batch: Batch) -> Tensor:
        """How much a difference (n, d) from a target counts."""
        return (batch.weights[:, None] * self.scale).sqrt() / self.spread

    @property
    def scale(self) -> Tensor:
        """Share (d,) of the components, of squares in units of their spread."""
        return (self.spread / self.spread.max()) ** (2 - self.training.component_power)

    def decay(self) -> Tensor:
        """What weight decay adds to the loss."""
        parameters = torch.nn.utils.parameters_to_vector(self.model.parameters())
        return (self.decays * parameters**2).sum()

    @cached_property
    def decays(self) -> Tensor:
        """Weight decay (P,) of the parameters: none for biases."""
        named = self.model.named_parameters()
        kept = torch.cat([torch.full_like(p, "biases" not in name).ravel() for name, p in named])
        return self.training.weight_decay * kept


def start_linear(objective: Objective, batch: Batch) -> None:
    """Give the linear part of the network of all features its least-squares solution."""
    model = objective.model
    with torch.no_grad():
        missing = -objective.residuals(batch).reshape(-1)
        slopes = batch.slopes * objective.factors(batch)[:, None]
        rows = slopes.transpose(1, 2).reshape(-1, batch.x.shape[1])
        # invariants of small order parameters are nearly proportional to each other
        solution = np.linalg.lstsq(rows.numpy(), missing.numpy(), rcond=1e-6)
        model.whole.linear[: batch.x.shape[1]] += torch.as_tensor(solution[0])


def train(
    objective: Objective, batch: Batch, held_out: Batch, *, rng: np.random.Generator
) -> History:
    """Train the model of an objective in place, and leave it with the best parameters found.

    Parameters
    ----------
    objective : Objective
    batch, held_out : Batch
        Points to learn, and those for validation, which may be none.
    rng : np.random.Generator
        Shuffles what Adam sees.

    Raises
    ------
    RuntimeError
        If the loss was never finite.
    """
    watch = _Watch(objective, held_out, len(held_out) / (len(batch) + len(held_out)))
    optimizer = objective.training.optimizer
    if isinstance(optimizer, LevenbergMarquardt):
        levenberg_marquardt(objective, batch, optimizer, watch.goes_on)
    elif isinstance(optimizer, LBFGS):
        _lbfgs(objective, batch, optimizer, watch)
    else:
        _adam(objective, batch, optimizer, watch, rng=rng)
    return watch.finish()


def finish(objective: Objective, everything: Batch) -> None:
    """Have a trained model learn the points for validation, too, in a few steps with all points."""
    optimizer = objective.training.optimizer
    if isinstance(optimizer, LevenbergMarquardt) and optimizer.finishing:
        last = replace(optimizer, iterations=optimizer.finishing)
        levenberg_marquardt(objective, everything, last, lambda step, loss: True)


class _Watch:
    """Sees how training goes, keeps the best parameters, and says when to stop.

    Best is the smallest loss over all points. What is held out is a small share of them, but once
    training overfits, its loss grows and outweighs the others'. On its own it would say more about
    the one point among them that is farthest from all others than about the network.
    """

    def __init__(self, objective: Objective, held_out: Batch, share: float) -> None:
        self.objective, self.held_out, self.share = objective, held_out, share
        self.step, self.score = 0, math.inf
        self.best = (math.inf, 0, math.nan, math.nan)
        self.parameters: dict[str, Tensor] = {}

    def goes_on(self, step: int, loss: float) -> bool:
        """Whether to train on after a step with this training loss."""
        self.step, validation = step, math.nan
        self.score = loss
        if len(self.held_out):
            with torch.no_grad():
                validation = float(self.objective(self.held_out))
            self.score = self.share * validation + (1 - self.share) * loss
        if not math.isfinite(self.score):
            logger.warning("training stopped at step %d: the loss is not finite", step)
            return False
        if self.score < self.best[0]:
            self.best = (self.score, step, loss, validation)
            self.parameters = copy.deepcopy(self.objective.model.state_dict())
        return step - self.best[1] < self.objective.training.allowance

    def finish(self) -> History:
        """Put the best parameters back."""
        if not self.parameters:
            raise RuntimeError("training did not get anywhere: the loss was never finite")
        self.objective.model.load_state_dict(self.parameters)
        return History(self.step, *self.best[1:])


def _lbfgs(objective: Objective, batch: Batch, settings: LBFGS, watch: _Watch) -> None:
    """SciPy's, whose own share of the time is small; torch's costs more than the networks."""
    parameters = list(objective.model.parameters())

    def loss(vector: Array) -> tuple[float, Array]:
        torch.nn.utils.vector_to_parameters(torch.as_tensor(vector), parameters)
        value = objective(batch) + objective.decay()
        gradients = torch.autograd.grad(value, parameters)
        return value.item(), torch.cat([g.reshape(-1) for g in gradients]).numpy()

    step = 0

    def look(intermediate_result: OptimizeResult) -> None:
        nonlocal step
        step += 1
        if step % STRIDE and step != settings.iterations:
            return
        torch.nn.utils.vector_to_parameters(torch.as_tensor(intermediate_result.x), parameters)
        if not watch.goes_on(step, float(intermediate_result.fun)):
            raise StopIteration

    start = torch.nn.utils.parameters_to_vector(parameters).detach().numpy()
    options = {
        "maxcor": settings.history,
        "maxiter": settings.iterations,
        "maxfun": 10 * settings.iterations,
        "ftol": 0.0,
        "gtol": 0.0,
    }
    result = minimize(loss, start, jac=True, method="L-BFGS-B", callback=look, options=options)
    # line searches find nothing better where rounding errors take over
    torch.nn.utils.vector_to_parameters(torch.as_tensor(result.x), parameters)
    watch.goes_on(step, float(result.fun))


def _adam(
    objective: Objective,
    batch: Batch,
    settings: Adam,
    watch: _Watch,
    *,
    rng: np.random.Generator,
) -> None:
    optimizer = torch.optim.Adam(objective.model.parameters(), lr=settings.learning_rate)
    schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=settings.decay_factor, patience=settings.decay_patience
    )
    for epoch in range(1, settings.epochs + 1):
        order = torch.as_tensor(rng.permutation(len(batch)))
        total = 0.0
        for rows in order.split(settings.batch_size):
            optimizer.zero_grad()
            masks = _masks(objective.model, len(rows), settings.dropout, rng=rng)
            loss = objective(batch[rows], masks)
            (loss + objective.decay()).backward()
            optimizer.step()
            total += loss.item() * len(rows)
        if not watch.goes_on(epoch, total / len(batch)):
            return
        schedule.step(watch.score)


def _masks(
    model: FreeEnergy, n: int, dropout: float, *, rng: np.random.Generator
) -> list[list[Tensor]] | None:
    """Which hidden units stay, multiplied to keep the mean, for each network and layer."""
    if not dropout:
        return None
    networks = [net for net in (model.whole, model.trivial) if net is not None]
    kept = 1 - dropout
    return [
        [torch.as_tensor((rng.random((n, len(bias))) < kept) / kept) for bias in net.biases]
        for net in networks
    ]
