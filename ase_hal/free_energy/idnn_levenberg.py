"""Levenberg-Marquardt training of an IDNN: damped least squares with all points at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from ase_hal.free_energy.idnn_features import torch
from ase_hal.free_energy.idnn_settings import LevenbergMarquardt
from ase_hal.free_energy.symmetry import Array

if TYPE_CHECKING:
    from ase_hal.free_energy.idnn_training import Batch, Objective

CHUNK = 64  # points whose Jacobian is held at a time: a few megabytes, which stay in the cache
SMALLEST = 1e-9  # of the largest, of diagonal elements that damping multiplies
HOPELESS = 1e10  # damping at which not even the steepest descent lowers the loss


def levenberg_marquardt(
    objective: Objective,
    batch: Batch,
    settings: LevenbergMarquardt,
    goes_on: Callable[[int, float], bool],
) -> None:
    """Minimise a squared loss in place.

    A step solves ``(J^T J + D + damping diag(J^T J + D)) step = -(J^T r + D v)`` with the
    parameters v and their decay D, zero for biases. The damping falls after it, and grows until
    there is one that lowers the loss.

    Parameters
    ----------
    objective : Objective
    batch : Batch
    settings : LevenbergMarquardt
    goes_on : callable
        Is told of the start, as step 0, and of every step with its loss; false ends the training.
    """
    tensors, decays = list(objective.model.parameters()), objective.decays.numpy()
    here = torch.nn.utils.parameters_to_vector(tensors).detach().numpy().copy()
    loss, damping = _loss(objective, batch), settings.damping
    if not goes_on(0, loss):
        return
    for step in range(1, settings.iterations + 1):
        normal, gradient = normal_equations(objective, batch)
        diagonal = np.diag_indices_from(normal)
        normal[diagonal] += decays
        gradient += decays * here
        scale = np.maximum(normal[diagonal], SMALLEST * normal[diagonal].max())
        while True:
            trial = here - _solved(normal, damping * scale, gradient)
            _put(trial, tensors)
            new = _loss(objective, batch)
            if new < loss:
                break
            damping *= 4
            if damping > HOPELESS:
                _put(here, tensors)
                return
        here, loss, damping = trial, new, max(damping / 3, 1e-12)
        if not goes_on(step, loss):
            return


def normal_equations(objective: Objective, batch: Batch) -> tuple[Array, Array]:
    """J^T J (P, P) and J^T r (P,), means over the points, of `Objective.residuals`."""
    size = sum(p.numel() for p in objective.model.parameters())
    normal, gradient = np.zeros((size, size)), np.zeros(size)
    with torch.no_grad():
        for rows in torch.arange(len(batch)).split(CHUNK):
            jacobian, residuals = _linearised(objective, batch[rows])
            # numpy knows that a matrix times its own transpose is symmetric, torch does not
            normal += jacobian.T @ jacobian
            gradient += jacobian.T @ residuals
    normal /= len(batch)
    return normal, gradient / len(batch)


def _linearised(objective: Objective, batch: Batch) -> tuple[Array, Array]:
    """Derivatives (n d, P) of the residuals and the residuals (n d,)."""
    model, (n, k, d) = objective.model, batch.slopes.shape
    inputs, along = batch.x, batch.slopes.transpose(1, 2)
    if batch.t is not None:  # mu is not a derivative by the temperature
        inputs = torch.cat([inputs, batch.t], dim=1)
        along = torch.cat([along, torch.zeros_like(along[..., :1])], dim=2)
    found = {f"whole.{name}": v for name, v in model.whole.parameter_slopes(inputs, along).items()}
    if model.trivial is not None:
        few = [*range(model.n_trivial), *range(k, inputs.shape[1])]
        slopes = model.trivial.parameter_slopes(inputs[:, few], along[..., few])
        found |= {f"trivial.{name}": v for name, v in slopes.items()}
    columns = [found[name].reshape(n * d, -1) for name, _ in model.named_parameters()]
    jacobian = torch.cat(columns, dim=1).mul_(objective.factors(batch).reshape(-1, 1))
    return jacobian.numpy(), objective.residuals(batch).reshape(-1).numpy()


def _loss(objective: Objective, batch: Batch) -> float:
    with torch.no_grad():
        value = float(objective(batch) + objective.decay())
    return value if np.isfinite(value) else np.inf


def _solved(normal: Array, damping: Array, gradient: Array) -> Array:
    damped = normal.copy()
    damped[np.diag_indices_from(damped)] += damping
    try:
        # transposed, the same matrix is in the order that LAPACK works in
        factor = cho_factor(damped.T, overwrite_a=True, check_finite=False)
        return np.asarray(cho_solve(factor, gradient, check_finite=False))
    except LinAlgError:  # indefinite by rounding: along the diagonal only
        return np.asarray(gradient / (normal.diagonal() + damping))


def _put(vector: Array, tensors: list[torch.nn.Parameter]) -> None:
    torch.nn.utils.vector_to_parameters(torch.as_tensor(vector), tensors)
