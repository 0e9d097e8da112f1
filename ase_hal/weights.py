"""Weights: how much energies, forces and virials count in a fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from ase_hal.prediction import Array


@dataclass(frozen=True)
class Weights:
    r"""Factors that multiply residuals, that is rows of the design matrix of a linear fit.

    Attributes
    ----------
    energy : float
        w_E; an energy is multiplied by ``w_E / sqrt(N)``, 1/eV.
    forces : float
        w_F; a force component is multiplied by it, Å/eV.
    virial : float
        w_V; a virial component is multiplied by ``w_V / sqrt(N)``, 1/eV.
    force_floor : float, optional
        Weigh forces relative to their size (Waters & Rondinelli 2024): those on an atom are
        multiplied by :math:`w_F / \sqrt{|F|^2 + \varepsilon}` with the label F and
        :math:`\varepsilon` the square of this number, eV/Å. w_F then has no unit. Near saddle
        points, where forces vanish, their directions are learned better.

    Notes
    -----
    The weights of the loss (van der Oord et al. 2022, Eq. 18) are their squares.
    """

    energy: float = 15.0
    forces: float = 1.0
    virial: float = 1.0
    force_floor: float | None = None

    def __post_init__(self) -> None:
        if min(self.energy, self.forces, self.virial) < 0 or self.energy <= 0:
            raise ValueError(f"weights are positive (forces and virial may be zero), got {self}")
        if self.force_floor is not None and not 0 < self.force_floor < math.inf:
            raise ValueError(f"force_floor is a positive force in eV/Å, got {self.force_floor}")

    def of_forces(self, labels: Array) -> Array:
        """Factors of the force components (N, 3) with these labels."""
        if self.force_floor is None:
            return np.full(labels.shape, self.forces)
        square = np.sum(labels**2, axis=1, keepdims=True)
        factors = self.forces / np.sqrt(square + self.force_floor**2)
        return np.broadcast_to(factors, labels.shape)


def weights_of(atoms: Atoms, weights: Weights | Callable[[Atoms], Weights]) -> Weights:
    """Weights of a structure, given for all of them or as a function of it."""
    return weights if isinstance(weights, Weights) else weights(atoms)
