"""Search of the hyperparameters of an IDNN (section 2.2)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.idnn import IDNN
from ase_hal.free_energy.idnn_settings import (
    Activation,
    Adam,
    Architecture,
    Optimizer,
    Training,
)
from ase_hal.free_energy.idnn_surface import IDNNSurface
from ase_hal.free_energy.surface_committee import SurfaceCommittee
from ase_hal.free_energy.symmetry import Array, IntArray
from ase_hal.randomness import check_generator

if TYPE_CHECKING:
    import optuna

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchSpace:
    """Where to look; ranges are (lowest, highest).

    Attributes
    ----------
    layers, width : (2,) int
        Of the network of all invariants. A step of Levenberg-Marquardt costs the square of the
        number of parameters: make networks wide for Adam only.
    trivial_layers, trivial_width : (2,) int
        Of the network of the trivial order parameters; no layers for a plain network.
    activations : tuple of str
    component_power, weight_decay : (2,) float
        See `Training`; weight decay on a logarithmic scale.
    learning_rate, batch_size, dropout, decay_patience, decay_factor
        See `Adam`; used where the optimizer is that one.
    """

    layers: tuple[int, int] = (1, 2)
    width: tuple[int, int] = (10, 30)
    trivial_layers: tuple[int, int] = (0, 1)
    trivial_width: tuple[int, int] = (10, 80)
    activations: tuple[Activation, ...] = ("softplus", "gelu", "silu")
    component_power: tuple[float, float] = (0.5, 1.5)
    weight_decay: tuple[float, float] = (1e-10, 1e-5)
    learning_rate: tuple[float, float] = (3e-4, 1e-2)
    batch_size: tuple[int, int] = (16, 128)
    dropout: tuple[float, float] = (0.0, 0.1)
    decay_patience: tuple[int, int] = (10, 50)
    decay_factor: tuple[float, float] = (0.2, 0.8)

    def draw(self, trial: optuna.Trial, idnn: IDNN) -> IDNN:
        """An IDNN with hyperparameters of a trial."""
        hidden = (trial.suggest_int("width", *self.width),) * trial.suggest_int(
            "layers", *self.layers
        )
        trivial = (trial.suggest_int("trivial_width", *self.trivial_width),) * trial.suggest_int(
            "trivial_layers", *self.trivial_layers
        )
        activation: Any = trial.suggest_categorical("activation", self.activations)
        training = replace(
            idnn.training,
            optimizer=self._optimizer(trial, idnn.training),
            component_power=trial.suggest_float("component_power", *self.component_power),
            weight_decay=trial.suggest_float("weight_decay", *self.weight_decay, log=True),
        )
        return replace(
            idnn, architecture=Architecture(hidden, trivial, activation), training=training
        )

    def _optimizer(self, trial: optuna.Trial, training: Training) -> Optimizer:
        if not isinstance(training.optimizer, Adam):
            return training.optimizer
        return replace(
            training.optimizer,
            learning_rate=trial.suggest_float("learning_rate", *self.learning_rate, log=True),
            batch_size=trial.suggest_int("batch_size", *self.batch_size, log=True),
            dropout=trial.suggest_float("dropout", *self.dropout),
            decay_patience=trial.suggest_int("decay_patience", *self.decay_patience),
            decay_factor=trial.suggest_float("decay_factor", *self.decay_factor),
        )


@dataclass(frozen=True, eq=False)
class Trial:
    """One set of hyperparameters, what came out, and how good it is.

    Attributes
    ----------
    idnn : IDNN
    surface : IDNNSurface
    error : float
        Root mean square error of mu on points that it was not trained with, each component
        divided by its standard deviation.
    """

    idnn: IDNN
    surface: IDNNSurface
    error: float


@dataclass(frozen=True, eq=False)
class Search:
    """Trials of a search, the best first.

    Attributes
    ----------
    trials : tuple of Trial
    """

    trials: tuple[Trial, ...]

    @property
    def best(self) -> Trial:
        """The trial with the lowest error."""
        return self.trials[0]

    def committee(self, n_members: int) -> SurfaceCommittee:
        """The best few surfaces, for query by committee (section 2.1.5)."""
        return SurfaceCommittee(tuple(trial.surface for trial in self.trials[:n_members]))


def search(
    idnn: IDNN,
    eta: npt.ArrayLike,
    mu: npt.ArrayLike,
    *,
    temperature_K: npt.ArrayLike,
    n_trials: int,
    rng: np.random.Generator,
    weights: npt.ArrayLike | None = None,
    space: SearchSpace | None = None,
    sampler: Literal["random", "tpe"] = "random",
    held_out: float = 0.1,
    on_trial: Callable[[int, Trial], None] | None = None,
) -> Search:
    """Train with many sets of hyperparameters.

    All are compared on the same points, chosen at random, that none is trained with. The first
    trial is that of `idnn` itself. Trials whose training fails are left out.

    Parameters
    ----------
    idnn : IDNN
        What is not searched is taken from here.
    eta, mu, temperature_K, weights
        As for `IDNN.fit`.
    n_trials : int
    rng : np.random.Generator
    space : SearchSpace, optional
    sampler : {"random", "tpe"}
        How Optuna chooses: at random, as the paper does, or learning from earlier trials.
    held_out : float
        Fraction of the points to compare on, but at least one point.
    on_trial : callable, optional
        Called with the number of each trial and the trial.

    Raises
    ------
    RuntimeError
        If no trial succeeds.
    """
    optuna = _imported_optuna()
    check_generator(rng)
    points, potentials = np.asarray(eta, dtype=float), np.asarray(mu, dtype=float)
    n = len(points)
    n_test = max(int(held_out * n), 1)
    if n_trials < 1 or not 0 < held_out < 1 or n - n_test < 2:
        raise ValueError(
            f"a search needs trials and points on both sides, got {n_trials} trials and a fraction "
            f"{held_out} of {n} points"
        )
    temperatures = np.broadcast_to(np.asarray(temperature_K, dtype=float), n)
    of_points = np.ones(n) if weights is None else np.asarray(weights, dtype=float)
    data = (points, potentials, temperatures, of_points)
    order = rng.permutation(n)
    test, rows = np.split(order, [n_test])
    spread = np.maximum(potentials.std(axis=0), 1e-12)
    study = _study(optuna, sampler, rng)
    trials: list[Trial] = []
    for number in range(n_trials):
        asked = study.ask()
        candidate = (space or SearchSpace()).draw(asked, idnn) if number else idnn
        try:
            trials.append(_tried(candidate, data, rows, test, spread, rng=rng))
        except RuntimeError as problem:
            logger.info("trial %d of a search failed: %s", number, problem)
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
            continue
        if number:
            study.tell(asked, trials[-1].error)
        if on_trial is not None:
            on_trial(number, trials[-1])
    if not trials:
        raise RuntimeError(f"the training of all {n_trials} trials of a search failed")
    return Search(tuple(sorted(trials, key=lambda trial: trial.error)))


def _tried(
    idnn: IDNN,
    data: tuple[Array, Array, Array, Array],
    rows: IntArray,
    test: IntArray,
    spread: Array,
    *,
    rng: np.random.Generator,
) -> Trial:
    """Train with the rows of points, potentials, temperatures and weights, and test with others.

    RuntimeError where that leads nowhere.
    """
    eta, mu, kelvin, weights = (part[rows] for part in data)
    surface = idnn.fit(eta, mu, temperature_K=kelvin, weights=weights, rng=rng)
    eta, mu, kelvin, _ = (part[test] for part in data)
    found = surface.chemical_potentials(eta, kelvin if surface.temperature_is_input else None)
    error = float(np.sqrt(np.mean(((found - mu) / spread) ** 2)))
    if not np.isfinite(error):
        raise RuntimeError(f"its error is {error}")
    return Trial(idnn, surface, error)


def _imported_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            "a search of hyperparameters needs optuna: pip install 'ase-hal[torch]'"
        ) from error
    return optuna


def _study(optuna: Any, sampler: str, rng: np.random.Generator) -> optuna.Study:
    samplers = {"random": optuna.samplers.RandomSampler, "tpe": optuna.samplers.TPESampler}
    if sampler not in samplers:
        raise ValueError(f"sampler is one of {', '.join(samplers)}, got {sampler!r}")
    seed = int(rng.integers(2**31))
    # a study announces itself on the root of optuna's own logging
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        return optuna.create_study(sampler=samplers[sampler](seed=seed))
    finally:
        optuna.logging.set_verbosity(level)
