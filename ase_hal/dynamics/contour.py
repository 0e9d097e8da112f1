"""BiasedContourExploration: walks on a contour of the mean, towards what is uncertain."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.md.contour_exploration import ContourExploration

from ase_hal.calculators import CommitteeCalculator, HALCalculator
from ase_hal.dynamics.contour_approach import Approach, UnreachableTarget, overlap
from ase_hal.dynamics.contour_state import ContourState
from ase_hal.dynamics.ramp import Ramp, extremes, value_at
from ase_hal.dynamics.sanity import movable, refusals_named
from ase_hal.prediction import Array
from ase_hal.randomness import check_generator

# Below this the two directions of a mixture cancel, and what is left of them is noise.
_CANCELLED = 1e-6


class BiasedContourExploration(ContourExploration):
    r"""ASE's `ContourExploration` with a tangent that leans towards growing uncertainty.

    The atoms move along a contour of the mean energy of a committee. Before every step the
    tangent T, which is where they were going, becomes (Waters & Rondinelli 2024, scheme 3)

    .. math:: T' \propto \gamma g + (1 - \gamma) T, \qquad
              g \propto \nabla\sigma - (\nabla\sigma \cdot N) N

    ==========  ==============================================  =============
    symbol      meaning                                         units
    ==========  ==============================================  =============
    N           unit vector of the mean forces, (N, 3)          1
    T, T'       unit vectors along the contour                  1
    g           unit vector of the gradient of sigma along the  1
                contour
    gamma       `gamma`                                         1
    ==========  ==============================================  =============

    Everything else is ASE's: a potentiostat that pulls back to the target energy, steps as
    long as the curvature allows, a random drift. With ``gamma=0`` so is the trajectory, step
    by step. Curvature is taken from the steered tangents. Where g and T nearly cancel, T stays.

    Parameters
    ----------
    atoms : ase.Atoms
        With a `CommitteeCalculator` and forces that do not vanish: a perfect crystal has no
        contour to follow, rattle it first. Its velocities, where it has any, are the first
        tangent. Constraints hold.
    energy_target : float or Ramp
        Mean energy of the contour, eV; the potentiostat goes there from wherever it starts.
    gamma : float
        Share of the gradient in the tangent, 0 to 1.
    maxstep : float
        Longest step, as the norm over all atoms, Å.
    rng : numpy.random.Generator
        For the drift, and the first tangent where there are no velocities.
    per_atom : bool
        `energy_target` is in eV per atom.
    loginterval : int
        Steps between lines of the log and frames of the trajectory.
    resume : ContourState, optional
        Go on from there, see `state`: `atoms` and `rng` are set to what they were, and
        everything that follows is as if there had been no interruption.
    logfile, **ase_keywords
        ``trajectory``, ``append_trajectory``, ``angle_limit``, ``parallel_drift`` and so on:
        see ASE. Log and trajectory hold the mean energy.

    Raises
    ------
    UnreachableTarget
        From a run, when the potentiostat gets no closer to the target energy (which is below
        the next minimum, or far above what steps of sane length lead to), when atoms come to
        lie on top of each other on the way, or the forces vanish.

    Examples
    --------
    >>> atoms.calc = CommitteeCalculator(committee)
    >>> dyn = BiasedContourExploration(atoms, energy_target=E0 + 2.0, gamma=0.3, rng=rng)
    >>> dyn.run(500)
    """

    def __init__(
        self,
        atoms: Atoms,
        *,
        energy_target: float | Ramp,
        gamma: float,
        rng: np.random.Generator,
        maxstep: float = 0.5,
        per_atom: bool = False,
        loginterval: int = 1,
        resume: ContourState | None = None,
        logfile: IO[str] | str | None = None,
        **ase_keywords: Any,
    ) -> None:
        _check_calculator(atoms)
        _check_arguments(energy_target, gamma, maxstep, loginterval, rng)
        if resume is not None:
            resume.restore(atoms, rng)
        self.gamma = float(gamma)
        self.loginterval = int(loginterval)
        scale = len(atoms) if per_atom else 1
        self._target = energy_target
        self._target_scale = scale
        super().__init__(
            atoms,
            maxstep=maxstep,
            energy_target=scale * value_at(energy_target, 0),
            rng=rng,
            logfile=logfile,
            **ase_keywords,
        )
        if self.trajectory is not None:  # which ASE writes at every step
            self.observers.clear()
            description = {"interval": self.loginterval}
            self.attach(self._traj_write_image, self.loginterval, description=description)
        self.saturated = False
        self._approach = Approach() if resume is None else Approach(resume.approach)
        if resume is not None:
            self.__dict__.update(resume.memory())
            self._refresh()

    def todict(self) -> dict[str, Any]:
        """What is written into the header of a trajectory."""
        return {**super().todict(), "gamma": self.gamma, "energy_target": self.energy_target}

    def state(self) -> ContourState:
        """Everything that the next steps depend on, to `resume` from.

        A model may remember what it was asked: a neighbour list with a skin changes the last
        digits. The walker therefore goes on with a fresh copy of its committee, as the resumed
        one does, and both take the same steps to the last bit. A walk during which the state
        was taken may differ in these digits from one during which it was not.
        """
        self._refresh()
        return ContourState.of(self)

    def log(self, gradient: Array) -> None:
        """Write a line where `loginterval` has passed."""
        if self.nsteps % self.loginterval == 0:
            super().log(gradient)

    def irun(self, steps: int = 50) -> Iterator[bool]:
        """Run as a generator, which yields False after every step: nothing converges."""
        if self.nsteps == 0:
            self._check_start()
        return super().irun(steps=steps)

    def run(self, steps: int = 50) -> bool:
        """Run, and raise `UnreachableTarget` where that can't be done."""
        for _ in self.irun(steps=steps):
            pass
        return False

    def step(self, f: Array | None = None) -> Array:
        """Steer the tangent and let ASE take the step."""
        self._move_target(self._target_scale * value_at(self._target, self.nsteps))
        with refusals_named():
            forces = self.atoms.get_forces() if f is None else f
            self._check_progress(forces)
            if self.gamma > 0:
                self._steer(forces)
            return super().step(forces)

    def compute_step_contributions(
        self, potentiostat_step_size: float
    ) -> tuple[float, float, float]:
        """ASE's; remembers whether the potentiostat left anything for the contour."""
        self.saturated = abs(potentiostat_step_size) >= self.step_size
        return super().compute_step_contributions(potentiostat_step_size)

    def _refresh(self) -> None:
        """Put a copy that remembers nothing in the place of the committee."""
        self.atoms.calc.committee = copy.copy(self.atoms.calc.committee)

    def _steer(self, forces: Array) -> None:
        """Turn the velocities, from which ASE takes the tangent, at constant kinetic energy."""
        atoms = self.atoms
        gradient = movable(atoms.calc.predict(atoms).energy_std_gradient, atoms)
        steered = steered_tangent(atoms.get_velocities(), gradient, forces, self.gamma)
        if steered is None:
            return
        kinetic = atoms.get_kinetic_energy()
        atoms.set_velocities(steered)
        now = atoms.get_kinetic_energy()
        if now > 0:
            atoms.set_momenta(math.sqrt(kinetic / now) * atoms.get_momenta())

    def _move_target(self, target: float) -> None:
        """Follow a ramp; the energies that ASE averages keep their distances from the target."""
        change = target - self.energy_target
        if change != 0:
            self.previous_energies = self.previous_energies + change
            self.energy_target = target
            self._approach.move(change)

    def _check_start(self) -> None:
        forces = self.atoms.get_forces()
        if not np.linalg.norm(forces) > 1e-10:
            raise UnreachableTarget(
                "the forces on all atoms that may move vanish, which leaves a contour without "
                "direction: displace the atoms first"
            )

    def _check_progress(self, forces: Array) -> None:
        energy = self.atoms.get_potential_energy(force_consistent=True)
        size = float(np.linalg.norm(forces))
        if not math.isfinite(energy + size):
            raise ValueError("energy or forces are not finite")
        hopeless = self._approach.hopeless(energy - self.energy_target, self.saturated)
        still = self.Nold is not None and np.array_equal(self.rold, self.atoms.positions)
        contact = overlap(self.atoms)
        if contact or hopeless or still or size == 0:
            raise UnreachableTarget(
                f"the energy target {self.energy_target:.6g} eV can't be reached: "
                + (f"{contact}" if contact else "the structure stays")
                + f" at {energy:.6g} eV with forces of norm {size:.3g} eV/Å (step {self.nsteps})"
            )


def steered_tangent(
    velocities: Array, gradient: Array, forces: Array, gamma: float
) -> Array | None:
    """Unit tangent ``gamma * g + (1 - gamma) * T``, perpendicular to the forces.

    Parameters
    ----------
    velocities, gradient, forces : (N, 3) arrays
        Where the atoms go, grad sigma (eV/Å) and forces (eV/Å).
    gamma : float
        Share of the gradient.

    Returns
    -------
    (N, 3) array or None
        None where there is nothing to steer by: the gradient has no part along the contour, or
        cancels the tangent.
    """
    normal = forces / np.linalg.norm(forces)
    tangent = _unit(velocities - np.vdot(velocities, normal) * normal, 0.0)
    uphill = _unit(
        gradient - np.vdot(gradient, normal) * normal, _CANCELLED * float(np.linalg.norm(gradient))
    )
    if tangent is None or uphill is None:
        return None
    return _unit(gamma * uphill + (1 - gamma) * tangent, _CANCELLED)


def _unit(vector: Array, smallest: float) -> Array | None:
    norm = float(np.linalg.norm(vector))
    return vector / norm if norm > smallest else None


def _check_calculator(atoms: Atoms) -> None:
    calc = atoms.calc
    if not isinstance(calc, CommitteeCalculator):
        raise TypeError(f"atoms.calc must be a CommitteeCalculator, got {type(calc).__name__}")
    if isinstance(calc, HALCalculator) and calc.tau != 0:
        raise ValueError(
            f"the contour is that of the mean: the tau of the calculator must be 0, got {calc.tau}"
        )


def _check_arguments(
    energy_target: float | Ramp,
    gamma: float,
    maxstep: float,
    loginterval: int,
    rng: np.random.Generator,
) -> None:
    if not all(map(math.isfinite, extremes(energy_target))):
        raise ValueError(f"energy_target is an energy in eV, got {energy_target}")
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma is a share between 0 and 1, got {gamma}")
    if not 0 < maxstep < math.inf:
        raise ValueError(f"maxstep is a positive length in Å, got {maxstep}")
    if loginterval < 1:
        raise ValueError(f"loginterval is at least 1 step, got {loginterval}")
    check_generator(rng)
