r"""AdaptiveTau: a bias whose strength is set relative to the forces, Eq. 12.

Equation: van der Oord et al., "Hyperactive learning for data-driven interatomic potentials"
(2022). As printed, Eq. 12 has the two sums exchanged; the text, and this file, mean

.. math:: \tau = \tau_r \frac{\sum_m |\bar F(t - m \Delta t)|}{\sum_m |F^\sigma(t - m \Delta t)|}

=============  ==============================  =====================================
paper          here                            meaning
=============  ==============================  =====================================
tau_r          `tau_rel`                       bias force over mean force, on average
F-bar          ``prediction.forces``           unbiased mean forces
F^sigma        ``prediction.energy_std_gradient``  grad sigma
100            `window`                        steps in the sums
=============  ==============================  =====================================
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import KW_ONLY, dataclass

import numpy as np
from ase import Atoms

from ase_hal.dynamics.ramp import Ramp, extremes, value_at
from ase_hal.dynamics.sanity import movable
from ase_hal.prediction import Array, Prediction

# Forces below it (eV/Å) are zero by symmetry up to rounding errors.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class AdaptiveTau:
    r"""How tau follows the dynamics. A specification: it holds no state and can be shared.

    Eq. 12 divides by the uncertainty gradient, which nearly vanishes on structures like those
    of the training set: tau grows without limit there, just before it meets gradients that are
    not small. Two bounds prevent that.

    - `max_bias` compares forces at the present structure, so that the average of the window
      cannot be outrun: ``tau |grad sigma| <= max_bias <|F-bar|>``. By default the bias is
      never stronger than the forces themselves, whatever the units and size of the system.
    - `cap` limits tau itself, which says how many standard deviations below the mean the
      dynamics may believe the energy to be. Monte Carlo moves feel the energy and no
      gradient. For linear ACE models of a 32-atom alloy and tau_rel = 0.1, Eq. 12 gave 0.3 to 6
      where the largest relative force error was 20 to 80 %, and 4 to 25 where it was 4 to 14 %;
      the default leaves such models alone.

    Parameters
    ----------
    tau_rel : float or Ramp
        Relative strength of the bias; 0.05 to 0.25 in the paper. 0 is plain dynamics.
    cap : float
        Largest tau.
    max_bias : float
        Largest norm of the bias force, in units of the average norm of the mean force.
    window : int
        Dynamics steps in the two sums.
    burn_in : int
        Dynamics steps during which tau is 0.
    """

    tau_rel: float | Ramp
    _: KW_ONLY
    cap: float = 50.0
    max_bias: float = 1.0
    window: int = 100
    burn_in: int = 100

    def __post_init__(self) -> None:
        low, high = extremes(self.tau_rel)
        if not (low >= 0 and high < math.inf):
            raise ValueError(f"tau_rel must be finite and not negative, got {self.tau_rel}")
        if not 0 < self.cap < math.inf:
            raise ValueError(f"cap must be positive and finite, got {self.cap}")
        if not self.max_bias >= high:
            raise ValueError(f"max_bias must be at least tau_rel ({high}), got {self.max_bias}")
        if self.window < 1 or self.burn_in < 0:
            raise ValueError(
                f"window must be at least 1 and burn_in at least 0, "
                f"got {self.window} and {self.burn_in}"
            )

    def start(self) -> TauWindow:
        """State for one trajectory, to be updated once per dynamics step.

        `HALLangevin` does this by itself. With any other dynamics:

        >>> window = AdaptiveTau(0.1).start()
        >>> def update():
        ...     atoms.calc.tau = window.update(atoms.calc.predict(atoms))
        >>> dyn.attach(update)
        """
        return TauWindow(self)


class TauWindow:
    """The two sums of Eq. 12 along one trajectory. Made by `AdaptiveTau.start`."""

    def __init__(self, rule: AdaptiveTau) -> None:
        self.rule = rule
        self.tau = 0.0
        self.steps = 0
        self._forces: deque[float] = deque(maxlen=rule.window)
        self._gradients: deque[float] = deque(maxlen=rule.window)

    def update(self, prediction: Prediction, atoms: Atoms | None = None) -> float:
        """Count the structure after one more dynamics step; return tau for the next one.

        Where ``atoms`` are given, their constraints hold for the forces that are compared: those
        on atoms that cannot move do not count.
        """
        force = _norm(movable(prediction.forces, atoms))
        gradient = _norm(movable(prediction.energy_std_gradient, atoms))
        if math.isfinite(force + gradient):  # the guards see the rest; the sums must not
            self.steps += 1
            self._forces.append(force)
            self._gradients.append(gradient)
            self.tau = self._strength(gradient) if self.steps >= self.rule.burn_in else 0.0
        return self.tau

    def _strength(self, gradient: float) -> float:
        rule = self.rule
        forces, gradients = sum(self._forces), sum(self._gradients)
        if forces <= _ROUNDING * len(self._forces):
            return 0.0
        tau = _bounded(value_at(rule.tau_rel, self.steps) * forces, gradients, rule.cap)
        return min(tau, _bounded(rule.max_bias * forces / len(self._forces), gradient, rule.cap))


def _norm(vectors: Array) -> float:
    return math.sqrt(np.vdot(vectors, vectors))


def _bounded(numerator: float, denominator: float, cap: float) -> float:
    """The ratio, or the cap where that is smaller; defined for a vanishing denominator."""
    if numerator == 0:
        return 0.0
    return cap if numerator >= cap * denominator else numerator / denominator
