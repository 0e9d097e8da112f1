"""What an IDNN looks like and how it is trained: the hyperparameters, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

Activation = Literal["softplus", "gelu", "silu", "tanh"]
Loss = Literal["squared", "huber"]


@dataclass(frozen=True)
class Architecture:
    """Layers of the networks whose sum is the free energy.

    Attributes
    ----------
    hidden : tuple of int
        Widths of the hidden layers of the network of all invariants.
    trivial_hidden : tuple of int
        The same for a network of the trivial order parameters (the composition) alone, which
        takes what varies most from the other; empty for a plain network without it. The units of
        its first layer begin as bends at equal distances over the data, each as wide as about
        eight of these, or as forty points where there are few: mu_0 of LCO has structure on the
        scale of a thirtieth of the composition, which networks that begin smooth never find.
    activation : {"softplus", "gelu", "silu", "tanh"}
        A smooth function: its second derivative makes the Hessian.
    """

    hidden: tuple[int, ...] = (20, 20)
    trivial_hidden: tuple[int, ...] = (64,)
    activation: Activation = "softplus"

    def __post_init__(self) -> None:
        _among("activation", self.activation, get_args(Activation))
        for name in ("hidden", "trivial_hidden"):
            widths = getattr(self, name)
            if not all(isinstance(width, int) and width > 0 for width in widths):
                raise ValueError(f"{name} holds positive widths of layers, got {widths!r}")
        if not self.hidden:
            raise ValueError("a network has at least one hidden layer, got none")


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Damped Gauss-Newton steps with all points at once, for squared losses.

    A step costs about n d P^2 operations for n points in d variables and P parameters, and P^3 / 3
    for every damping that it tries; it needs four matrices of 8 P^2 bytes. Some dozens of steps
    reach what thousands of iterations of L-BFGS do not.

    Attributes
    ----------
    iterations : int
        At most so many steps.
    damping : float
        To begin with, as a share of the diagonal; it adapts.
    finishing : int
        So many steps more in the end, with the points for validation among the others: they are
        too few to overfit, and enough to learn what only those points know.
    """

    PATIENCE: ClassVar[int] = 30

    iterations: int = 80
    damping: float = 1e-3
    finishing: int = 5

    def __post_init__(self) -> None:
        _positive("iterations", self.iterations)
        _positive("damping", self.damping)
        if self.finishing < 0:
            raise ValueError(f"finishing is a number of steps, got {self.finishing}")


@dataclass(frozen=True)
class LBFGS:
    """Full-batch L-BFGS with strong Wolfe line searches.

    Attributes
    ----------
    iterations : int
        At most so many.
    history : int
        Steps that are remembered.
    """

    PATIENCE: ClassVar[int] = 400

    iterations: int = 3000
    history: int = 100

    def __post_init__(self) -> None:
        _positive("iterations", self.iterations)
        _positive("history", self.history)


@dataclass(frozen=True)
class Adam:
    """Adam on shuffled batches; the learning rate falls where the validation error stays.

    Attributes
    ----------
    epochs : int
        At most so many passes over the data.
    learning_rate : float
    batch_size : int
    decay_patience : int
        Epochs without a smaller loss over all points before the learning rate falls,
    decay_factor : float
        by this factor.
    dropout : float
        Fraction of the hidden units that each step leaves out.
    """

    PATIENCE: ClassVar[int] = 400

    epochs: int = 1000
    learning_rate: float = 3e-3
    batch_size: int = 64
    decay_patience: int = 20
    decay_factor: float = 0.5
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "batch_size", "decay_patience"):
            _positive(name, getattr(self, name))
        if not 0 < self.decay_factor < 1:
            raise ValueError(f"decay_factor is between 0 and 1, got {self.decay_factor}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is a fraction below 1, got {self.dropout}")


Optimizer = LevenbergMarquardt | LBFGS | Adam


@dataclass(frozen=True)
class Training:
    r"""What is minimised, and when to stop.

    .. math:: L = \sum_n \frac{p_n}{\sum p} \sum_i \frac{s_{max}}{s_i}
        \left(\frac{\mu_{ni} - \hat\mu_{ni}}{s_{max}}\right)^2 \quad\text{(power 1)}

    with weights p of the points and standard deviations s of the components of mu. Equivalent
    components have one s.

    Attributes
    ----------
    optimizer : LevenbergMarquardt, LBFGS or Adam
    validation : float
        Fraction of the points, chosen at random, that is not trained on but helps to decide when
        to stop; 0 for none.
    patience : int, optional
        Iterations or epochs without a smaller loss over all points, these included, after which
        training ends; by default the ``PATIENCE`` of the optimizer. The best parameters are kept.
    component_power : float
        The weight of a component of mu is ``(s_max / s_i)^power``: with 0 only those that vary
        most count (in LCO the composition's, by a factor of 10 000), with 2 all are alike.
    loss : {"squared", "huber"}
        Huber's is linear beyond one standard deviation; not for Levenberg-Marquardt.
    weight_decay : float
        Multiplies the sum of squared weights (biases excepted) that is added to the loss.
    """

    optimizer: Optimizer = field(default_factory=LevenbergMarquardt)
    validation: float = 0.1
    patience: int | None = None
    component_power: float = 1.0
    loss: Loss = "squared"
    weight_decay: float = 1e-9

    def __post_init__(self) -> None:
        if not isinstance(self.optimizer, Optimizer):
            raise TypeError(
                "optimizer is LevenbergMarquardt, LBFGS or Adam, "
                f"got {type(self.optimizer).__name__}"
            )
        if not 0 <= self.validation < 1:
            raise ValueError(f"validation is a fraction below 1, got {self.validation}")
        if self.patience is not None:
            _positive("patience", self.patience)
        _among("loss", self.loss, get_args(Loss))
        if self.loss == "huber" and isinstance(self.optimizer, LevenbergMarquardt):
            raise ValueError("Levenberg-Marquardt minimises squares; for loss='huber' take LBFGS()")
        if self.component_power < 0 or self.weight_decay < 0:
            raise ValueError(
                f"component_power and weight_decay are not negative, got {self.component_power} "
                f"and {self.weight_decay}"
            )

    @property
    def allowance(self) -> int:
        """Iterations without a smaller loss over all points that are waited for."""
        return self.optimizer.PATIENCE if self.patience is None else self.patience


@dataclass(frozen=True)
class History:
    """How training went, until points for validation were learned, too.

    Attributes
    ----------
    iterations : int
        Steps, iterations or epochs of the optimizer.
    best : int
        The one whose parameters were kept; 0 for those of the start.
    training_loss, validation_loss : float
        There; the latter is NaN without validation points.
    """

    iterations: int
    best: int
    training_loss: float
    validation_loss: float


def _among(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name} is one of {', '.join(allowed)}, got {value!r}")


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ValueError(f"{name} is above 0, got {value}")
