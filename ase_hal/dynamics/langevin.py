"""HALLangevin: Langevin dynamics on a biased surface, until it finds something to label."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from typing import IO, Any, Literal

import numpy as np
from ase import Atoms, units
from ase.md.langevin import Langevin

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics.barostat import Barostat
from ase_hal.dynamics.log import HALLogger
from ase_hal.dynamics.moves import Move, MoveCount
from ase_hal.dynamics.ramp import Ramp, extremes, value_at
from ase_hal.dynamics.sanity import StructureRefused, refusals_named, volume_of
from ase_hal.dynamics.tau import AdaptiveTau, TauWindow
from ase_hal.dynamics.trace import Recorder, Trace
from ase_hal.dynamics.trigger import Trigger
from ase_hal.prediction import Prediction
from ase_hal.randomness import check_generator

logger = logging.getLogger(__name__)

Outcome = Literal["uncertain", "stable", "untrustworthy"]


class HALLangevin(Langevin):
    """Hyperactive learning molecular dynamics (van der Oord et al. 2022).

    ASE's `Langevin` on the surface of a `HALCalculator` whose tau follows the forces, with a
    barostat and moves between the steps, ended by a trigger. One step is

    1. barostat, then moves, where their ``interval`` has passed, at the present tau;
    2. Langevin step at the present tau and temperature;
    3. update of tau, from the unbiased prediction for the new structure;
    4. judgement of the new structure by the trigger, where its ``interval`` has passed;
    5. trace, log and observers.

    `run` returns True after all its steps and False where it ended early. The structure that
    ended it is left in ``atoms`` as it was judged. Running again goes on from there.

    Parameters
    ----------
    atoms : ase.Atoms
        With a `HALCalculator`. Its momenta are used as they are.
    timestep : float
        ASE time units.
    temperature_K : float or Ramp
        K.
    friction : float
        Inverse ASE time units.
    tau : float, Ramp or AdaptiveTau
        Strength of the bias; becomes the tau of the calculator.
    trigger : Trigger or None
        What ends the trajectory early. Without one, only numbers that are not finite do.
    rng : numpy.random.Generator
        For the thermostat and the moves.
    barostat : Barostat, optional
        Pressure control.
    moves : sequence of Move
        `SwapMC`, `CellMC` or your own.
    logfile : str or file, optional
        Table of the trace; '-' is standard output.
    **ase_keywords
        ``trajectory``, ``loginterval``, ``append_trajectory``: see ASE. Energies and forces in
        a trajectory are the biased ones, next to their tau.

    Attributes
    ----------
    outcome : 'uncertain', 'stable', 'untrustworthy' or None
        How the last run ended: at an uncertain structure, after all its steps, or at a structure
        that should not be labelled. None while it runs.
    reason : str
        The same in words; empty where the run was stable.
    last_sane : ase.Atoms or None
        Copy of the last structure that passed the guards of the trigger.
    tau : float
        Present strength of the bias.
    """

    def __init__(
        self,
        atoms: Atoms,
        timestep: float,
        *,
        temperature_K: float | Ramp,
        friction: float,
        tau: float | Ramp | AdaptiveTau,
        trigger: Trigger | None,
        rng: np.random.Generator,
        barostat: Barostat | None = None,
        moves: Sequence[Move] = (),
        logfile: IO[str] | str | None = None,
        **ase_keywords: Any,
    ) -> None:
        _hal_calculator(atoms)
        _check_arguments(timestep, temperature_K, friction, rng, moves)
        for part in (trigger, barostat, *moves):
            if part is not None:
                part.check(atoms)
        super().__init__(
            atoms,
            timestep,
            temperature_K=value_at(temperature_K, 0),
            friction=friction,
            fixcm=False,
            rng=rng,
            **ase_keywords,
        )
        self.trigger = trigger
        self.barostat = barostat
        self.moves = tuple(moves)
        self.outcome: Outcome | None = None
        self.reason = ""
        self.last_sane: Atoms | None = None
        self._generator = rng
        self._temperature = temperature_K
        self._bias = tau
        self._window: TauWindow | None = None
        if isinstance(tau, AdaptiveTau):
            self._window = tau.start()
            self.tau = 0.0
        else:
            self.tau = float(value_at(tau, 0))
        self._initial_volume = volume_of(atoms)
        self._counts = [[0, 0] for _ in self.moves]
        self._recorder = Recorder()
        self._freedom = 0
        self._log_interval = ase_keywords.get("loginterval", 1)
        self._logger: HALLogger | None = None
        if logfile is not None:
            self._logger = self.closelater(HALLogger(logfile, self.comm))
        self.calc.tau = self.tau

    @property
    def calc(self) -> HALCalculator:
        """The calculator of the atoms, which must be a `HALCalculator`."""
        return _hal_calculator(self.atoms)

    @property
    def trace(self) -> Trace:
        """What happened at every step so far, as arrays."""
        return self._recorder.trace()

    @property
    def move_counts(self) -> tuple[MoveCount, ...]:
        """Trials of every move so far, attempted and accepted."""
        return tuple(MoveCount(m, *n) for m, n in zip(self.moves, self._counts, strict=True))

    def todict(self) -> dict[str, Any]:
        """What is written into the header of a trajectory."""
        return {**super().todict(), "tau": repr(self._bias)}

    def irun(self, steps: int = 50) -> Iterator[bool]:
        """Run as a generator; yields True once all steps are done and nothing ended them."""
        self.outcome, self.reason = None, ""
        self.max_steps = self.nsteps + steps
        self.calc.tau = self.tau
        self._freedom = self.atoms.get_number_of_degrees_of_freedom()
        if self.nsteps == 0:
            self._observe(self.calc.predict(self.atoms), self._kinetic_energy())
        yield self.nsteps == self.max_steps
        while self.nsteps < self.max_steps:
            try:
                self.step()
                self.nsteps += 1
                self._judge_and_observe()
            except StructureRefused as error:
                self._end("untrustworthy", str(error))
                logger.debug("refused by", exc_info=True)
            yield self.nsteps == self.max_steps and self.outcome is None
            if self.outcome is not None:
                return
        self.outcome = "stable"

    def step(self, forces: np.ndarray | None = None) -> np.ndarray:
        """Barostat, moves, one Langevin step, and the update of tau."""
        calc, following = self.calc, self.nsteps + 1
        if isinstance(self._temperature, Ramp):
            self.set_temperature(temperature_K=self._temperature(self.nsteps))
        with refusals_named():
            if self.nsteps > 0:
                self._between_steps()
            calc.eager_members = self._is_judged(following)
            try:
                forces = super().step(forces)
            finally:
                calc.eager_members = False
        if self._window is not None:
            self.tau = self._window.update(calc.predict(self.atoms), self.atoms)
        elif isinstance(self._bias, Ramp):
            self.tau = self._bias(following)
        calc.tau = self.tau
        return forces

    def _between_steps(self) -> None:
        step = self.nsteps
        if self.barostat is not None and step % self.barostat.interval == 0:
            self.barostat.apply(self.atoms, timestep=self.dt, step=step)
        temperature = value_at(self._temperature, step)
        for move, count in zip(self.moves, self._counts, strict=True):
            for _ in range(move.attempts if step % move.interval == 0 else 0):
                count[0] += 1
                count[1] += move.attempt(
                    self.atoms, temperature_K=temperature, rng=self._generator, step=step
                )

    def _is_judged(self, step: int) -> bool:
        return self.trigger is not None and step % self.trigger.interval == 0

    def _judge_and_observe(self) -> None:
        judged = self._is_judged(self.nsteps)
        with refusals_named():
            prediction = self.calc.predict(self.atoms, members=judged)
        kinetic = self._kinetic_energy()
        score = math.nan
        if not _is_finite(prediction, kinetic):
            self._end("untrustworthy", "energy, forces or momenta are not finite")
        elif judged and self.trigger is not None:
            score = self._judge(self.trigger, prediction, kinetic)
        self._observe(prediction, kinetic, score)

    def distrust(self, atoms: Atoms, temperature_K: float) -> str | None:
        """Why the guards refuse a structure of this trajectory; None where they do not."""
        if self.trigger is None:
            return None
        return self.trigger.distrust(
            atoms,
            temperature_K=temperature_K,
            target_K=extremes(self._temperature)[1],
            volume=volume_of(atoms),
            initial_volume=self._initial_volume,
        )

    def _judge(self, trigger: Trigger, prediction: Prediction, kinetic: float) -> float:
        """Apply the guards, then the criterion; return the score."""
        distrust = self.distrust(self.atoms, self._kinetic_temperature(kinetic))
        if distrust is not None:
            self._end("untrustworthy", distrust)
            return math.nan
        score = trigger.score(prediction)
        if not math.isfinite(score):
            self._end("untrustworthy", f"the score is {score}")
            return score
        self.last_sane = self.atoms.copy()
        if score > trigger.tolerance:
            self._end("uncertain", f"score {score:.4g} above {trigger.tolerance:g}")
        return score

    def _observe(self, prediction: Prediction, kinetic: float, score: float = math.nan) -> None:
        """Record the present step, write it, and call the observers."""
        row = (
            self.nsteps,
            self.get_time() / units.fs,
            self._kinetic_temperature(kinetic),
            self._pressure(prediction, kinetic) / units.GPa,
            self.tau,
            prediction.energy,
            prediction.energy_std,
            score,
        )
        self._recorder.append(row)
        last = self.outcome is not None
        if self._logger is not None and (last or self.nsteps % self._log_interval == 0):
            self._logger.write(row)
        self._refresh_properties()  # writers take what is there, and tau may have changed
        self.call_observers()

    def _end(self, outcome: Outcome, reason: str) -> None:
        self.outcome, self.reason = outcome, f"{reason} (step {self.nsteps})"
        logger.info("%s: %s", outcome, self.reason)

    def _kinetic_energy(self) -> float:
        momenta = self.atoms.arrays["momenta"]
        return 0.5 * float(np.vdot(momenta, momenta / self.masses))

    def _kinetic_temperature(self, kinetic: float) -> float:
        return 2 * kinetic / (self._freedom * units.kB) if self._freedom else 0.0

    def _pressure(self, prediction: Prediction, kinetic: float) -> float:
        """Pressure of the biased surface with the kinetic term, eV/Å^3; nan without stress."""
        stress, bias = prediction.stress, prediction.energy_std_stress
        volume = volume_of(self.atoms)
        if stress is None or bias is None or volume == 0:
            return math.nan
        static = -(sum(stress[:3].tolist()) - self.tau * sum(bias[:3].tolist())) / 3
        return static + 2 * kinetic / (3 * volume)


def _hal_calculator(atoms: Atoms) -> HALCalculator:
    if not isinstance(atoms.calc, HALCalculator):
        raise TypeError(f"atoms.calc must be a HALCalculator, got {type(atoms.calc).__name__}")
    return atoms.calc


def _is_finite(prediction: Prediction, kinetic: float) -> bool:
    """Squared norms, because np.isfinite takes five times as long and sums warn of inf - inf."""
    forces, gradient = prediction.forces, prediction.energy_std_gradient
    squares = np.vdot(forces, forces) + np.vdot(gradient, gradient)
    return math.isfinite(prediction.energy + prediction.energy_std + kinetic + float(squares))


def _check_arguments(
    timestep: float,
    temperature_K: float | Ramp,
    friction: float,
    rng: np.random.Generator,
    moves: Sequence[Move],
) -> None:
    if not 0 < timestep < math.inf:
        raise ValueError(f"timestep must be positive, got {timestep}")
    if not 0 <= friction < math.inf:
        raise ValueError(f"friction must not be negative, got {friction}")
    low, high = extremes(temperature_K)
    if not (low >= 0 and high < math.inf):
        raise ValueError(f"temperature_K must not be negative, got {temperature_K}")
    if moves and low == 0:
        raise ValueError(f"moves need a temperature above 0 K, got {temperature_K}")
    check_generator(rng)
