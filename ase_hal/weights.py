"""Weights: how much energies, forces and virials count in a fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from ase import Atoms

from ase_hal.prediction import Array

# Weights that files give to single structures, and the labels they belong to. They are weights of
# squares, as in MACE, GAP and other programs: 2 counts like two copies of the structure.
FILE_WEIGHTS: dict[str, tuple[str, ...]] = {
    "config_weight": ("energy", "forces", "virial"),
    "energy_weight": ("energy",),
    "config_energy_weight": ("energy",),
    "forces_weight": ("forces",),
    "force_weight": ("forces",),
    "config_forces_weight": ("forces",),
    "stress_weight": ("virial",),
    "config_stress_weight": ("virial",),
    "virial_weight": ("virial",),
    "virials_weight": ("virial",),
    "config_virial_weight": ("virial",),
    "config_virials_weight": ("virial",),
}
TYPE_KEY = "config_type"


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
    The weights of the loss (van der Oord et al. 2022, Eq. 18) are their squares. Weights that a
    structure has brought from its file (``config_weight``, ``energy_weight``, ...) multiply those
    squares in every fit; see `FILE_WEIGHTS`.
    """

    energy: float = 15.0
    forces: float = 1.0
    virial: float = 1.0
    force_floor: float | None = None

    def __post_init__(self) -> None:
        factors = (self.energy, self.forces, self.virial)
        if not all(0 <= factor < math.inf for factor in factors) or self.energy == 0:
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


@dataclass(frozen=True)
class WeightsByType:
    """Weights that depend on the kind of a structure; any fit takes it as its weights.

    Attributes
    ----------
    default : Weights
        Those of kinds that are not named.
    types : mapping of str to Weights
        By the name of the stage for structures that a run has found, else by ``atoms.info[key]``.
    key : str
        Entry of ``info`` that tells the kind.

    Examples
    --------
    >>> weights = WeightsByType(Weights(), {"liquid": Weights(energy=5, forces=0.5)})
    >>> fit = LinearFit(basis, weights=weights)
    """

    default: Weights = field(default_factory=Weights)
    types: Mapping[str, Weights] = field(default_factory=dict)
    key: str = TYPE_KEY

    def __call__(self, atoms: Atoms) -> Weights:
        """Weights of a structure."""
        return self.types.get(kind_of(atoms, self.key) or "", self.default)


def kind_of(atoms: Atoms, key: str = TYPE_KEY) -> str | None:
    """The kind of a structure: what its file says, or the stage of a run that has found it."""
    kind = atoms.info.get("hal_stage", atoms.info.get(key))
    return None if kind is None else str(kind)


def weights_of(atoms: Atoms, weights: Weights | Callable[[Atoms], Weights]) -> Weights:
    """Weights of a structure, given for all of them or as a function of it."""
    return weights if isinstance(weights, Weights) else weights(atoms)


class FileFactors(NamedTuple):
    """Row factors of one structure from weights in its file, 1 where there are none."""

    energy: float = 1.0
    forces: float = 1.0
    virial: float = 1.0


def file_factors(atoms: Atoms) -> FileFactors:
    """Row factors that a structure has brought from its file: square roots of weights.

    Raises
    ------
    ValueError
        For a weight in ``info`` that is not a number, 0 or more, and for two names of one weight
        that do not agree.
    """
    weights = file_weights(atoms)
    if not weights:
        return FileFactors()
    common = weights.pop("config_weight", 1.0)
    factors = []
    for label in FileFactors._fields:
        of_label = {key: w for key, w in weights.items() if label in FILE_WEIGHTS[key]}
        if len(set(of_label.values())) > 1:
            names = ", ".join(f"{key} {w:g}" for key, w in of_label.items())
            raise ValueError(f"it has several weights of its {label}: {names}")
        factors.append(math.sqrt(common * next(iter(of_label.values()), 1.0)))
    return FileFactors(*factors)


def counts_for_energy(atoms: Atoms) -> bool:
    """Whether the weights in its file leave anything of the energy of a structure."""
    try:
        return file_factors(atoms).energy > 0
    except ValueError:
        return True


def file_weights(atoms: Atoms) -> dict[str, float]:
    """Weights that a structure has brought from its file, by their names in ``info``."""
    found: dict[str, float] = {}
    for key in FILE_WEIGHTS:
        if (value := atoms.info.get(key)) is None:
            continue
        plain = value.tolist() if isinstance(value, np.ndarray | np.generic) else value
        try:
            number = math.nan if isinstance(plain, bool) else float(plain)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 <= number < math.inf:
            raise ValueError(f"its {key} is {plain!r}: a weight is a number, 0 or more")
        found[key] = number
    return found
