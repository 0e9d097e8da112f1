"""Ways to evolve a structure, each with and without adversarial bias (Waters & Rondinelli 2024).

============  =======================  ==================================================
scheme        here                     bias
============  =======================  ==================================================
relaxation    `Relaxation`             on E - alpha sigma
dynamics      `MolecularDynamics`      on E - alpha sigma
contours      `ContourWalk`            gamma steers the tangent of the contour of E
============  =======================  ==================================================

alpha of the slides is the tau of a `HALCalculator`. With alpha or gamma = 0 each is plain
active learning.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from ase import Atoms, units
from ase.filters import FrechetCellFilter
from ase.md.langevin import Langevin
from ase.md.velocitydistribution import thermalize_momenta
from ase.optimize import BFGS
from ase.optimize.optimize import Optimizer

from ase_hal.dynamics.contour import BiasedContourExploration
from ase_hal.dynamics.ramp import Ramp, extremes


class Evolution(Protocol):
    """Moves atoms and yields at every structure on the way, the first one included.

    The atoms come with a `HALCalculator`, whose tau the evolution sets. Whoever looks on stops
    asking when they have seen enough.
    """

    @property
    def name(self) -> str:
        """Recorded in what is found."""
        ...

    @property
    def bias(self) -> float:
        """alpha or gamma, recorded too."""
        ...

    def __call__(self, atoms: Atoms, *, rng: np.random.Generator) -> Iterator[Any]: ...


@dataclass(frozen=True)
class Relaxation:
    """Relaxation on E - alpha sigma (scheme 1).

    Parameters
    ----------
    alpha : float
        Strength of the bias. Below 0 it leads to what the committee knows.
    steps : int
        Most steps.
    fmax : float
        Ends where all biased forces are below, eV/Å.
    optimizer : type
        One of ASE's optimizers.
    cell : bool
        Relax the cell, too.
    """

    alpha: float = 0.0
    steps: int = 100
    fmax: float = 0.05
    optimizer: type[Optimizer] = BFGS
    cell: bool = False
    name: ClassVar[str] = "relaxation"

    def __post_init__(self) -> None:
        _check(self.alpha, self.steps)
        if not self.fmax >= 0:
            raise ValueError(f"fmax is a force in eV/Å, 0 or more, got {self.fmax}")
        if not (isinstance(self.optimizer, type) and issubclass(self.optimizer, Optimizer)):
            raise TypeError(f"optimizer is one of ASE's optimizer classes, got {self.optimizer!r}")

    @property
    def bias(self) -> float:
        return self.alpha

    def __call__(self, atoms: Atoms, *, rng: np.random.Generator) -> Iterator[Any]:
        """Relax; nothing in it is random."""
        atoms.calc.tau = self.alpha
        mobile: Any = FrechetCellFilter(atoms) if self.cell else atoms
        with self.optimizer(mobile, logfile=None) as optimizer:
            yield from optimizer.irun(fmax=self.fmax, steps=self.steps)


@dataclass(frozen=True)
class MolecularDynamics:
    """Langevin dynamics on E - alpha sigma (scheme 2).

    `HALLangevin` is the one with an adaptive bias and a trigger; this one is its equal among
    the three schemes.

    Parameters
    ----------
    temperature_K : float
        K.
    alpha : float
        Strength of the bias.
    steps : int
        Length.
    timestep, friction : float
        ASE's unit of time, and its inverse.
    """

    temperature_K: float
    alpha: float = 0.0
    steps: int = 500
    timestep: float = 1.0 * units.fs
    friction: float = 0.01 / units.fs
    name: ClassVar[str] = "dynamics"

    def __post_init__(self) -> None:
        _check(self.alpha, self.steps)
        if not (self.temperature_K >= 0 and self.timestep > 0 and self.friction >= 0):
            raise ValueError(
                "temperature_K and friction are 0 or more and timestep above 0, got "
                f"{self.temperature_K}, {self.friction} and {self.timestep}"
            )

    @property
    def bias(self) -> float:
        return self.alpha

    def __call__(self, atoms: Atoms, *, rng: np.random.Generator) -> Iterator[Any]:
        """Run from fresh velocities."""
        atoms.calc.tau = self.alpha
        thermalize_momenta(atoms, temperature_K=self.temperature_K, rng=rng)
        with Langevin(
            atoms, self.timestep, temperature_K=self.temperature_K, friction=self.friction,
            fixcm=False, rng=rng,
        ) as dynamics:  # fmt: skip
            yield from dynamics.irun(self.steps)


@dataclass(frozen=True)
class ContourWalk:
    """Contour exploration with a tangent steered by grad sigma (scheme 3).

    Parameters
    ----------
    excess : float or Ramp
        Mean energy of the contour above that of the structure it starts from, eV per atom.
    gamma : float
        Share of the gradient of sigma in the tangent.
    steps : int
        Length.
    maxstep : float
        Longest step over all atoms, Å.
    """

    excess: float | Ramp
    gamma: float = 0.3
    steps: int = 300
    maxstep: float = 0.5
    name: ClassVar[str] = "contour"

    def __post_init__(self) -> None:
        _check(self.gamma, self.steps)
        if not (0 <= self.gamma <= 1 and self.maxstep > 0):
            raise ValueError(
                "gamma is a share between 0 and 1 and maxstep a positive length, got "
                f"{self.gamma} and {self.maxstep}"
            )
        if not all(map(np.isfinite, extremes(self.excess))):
            raise ValueError(f"excess is an energy in eV per atom, got {self.excess}")

    @property
    def bias(self) -> float:
        return self.gamma

    def __call__(self, atoms: Atoms, *, rng: np.random.Generator) -> Iterator[Any]:
        """Walk; the first tangent is random."""
        atoms.calc.tau = 0.0
        atoms.arrays.pop("momenta", None)
        origin = atoms.get_potential_energy() / len(atoms)
        target: float | Ramp
        if isinstance(self.excess, Ramp):
            ends = origin + self.excess.start, origin + self.excess.stop
            target = Ramp(*ends, steps=self.excess.steps)
        else:
            target = origin + self.excess
        with BiasedContourExploration(
            atoms, energy_target=target, per_atom=True, gamma=self.gamma, maxstep=self.maxstep,
            rng=rng,
        ) as dynamics:  # fmt: skip
            yield from dynamics.irun(self.steps)


def _check(bias: float, steps: int) -> None:
    if not np.isfinite(bias):
        raise ValueError(f"the strength of a bias is a finite number, got {bias}")
    if steps < 1:
        raise ValueError(f"steps is at least 1, got {steps}")
