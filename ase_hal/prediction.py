"""What a committee says about one structure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Prediction:
    r"""Mean, uncertainty and members of a committee for one structure of N atoms.

    Attributes
    ----------
    energy : float
        Mean potential energy E, eV.
    forces : (N, 3) array
        Mean forces, eV/Å.
    energy_std : float
        sigma, the standard deviation of the energy in eV with the noise of the labels
        included (van der Oord et al. 2022, Eq. 3 or Eq. 5).
    energy_std_gradient : (N, 3) array
        grad sigma, eV/Å (Eqs. 9-11). The biased force is ``forces + tau * energy_std_gradient``.
    model_std : float
        The part of sigma that more data can remove, sqrt(B^T Sigma B), eV. Use this one to
        compare how uncertain the model is about different structures.
    force_scale : float
        Typical force of the training set, eV/Å: the default epsilon of Eq. 6.
    member_energies : (K,) array
        Energies of the K members, eV.
    member_forces : (K, N, 3) array or None
        Forces of the members, eV/Å; None unless they were asked for.
    stress : (6,) array or None
        Mean stress (xx, yy, zz, yz, xz, xy), eV/Å^3; None where it has no meaning (see
        `has_stress`) or where it was not asked for and would have cost something.
    energy_std_stress : (6,) array or None
        d sigma / d strain / V in the same order and units: the biased stress is
        ``stress - tau * energy_std_stress``.
    """

    energy: float
    forces: Array
    energy_std: float
    energy_std_gradient: Array
    model_std: float
    force_scale: float
    member_energies: Array
    member_forces: Array | None = None
    stress: Array | None = None
    energy_std_stress: Array | None = None


def has_stress(atoms: Atoms) -> bool:
    """Whether a stress means anything: a cell with a volume that repeats in some direction.

    A molecule in a box has none. A slab in vacuum has one, though per volume of its cell.
    """
    return bool(atoms.pbc.any()) and atoms.cell.rank == 3


def demand_stress(atoms: Atoms) -> None:
    """Raise a ValueError where a stress has no meaning."""
    if not has_stress(atoms):
        raise ValueError(
            "the stress needs a periodic cell with a volume; this one has "
            f"pbc={atoms.pbc.tolist()} and rank {atoms.cell.rank}"
        )
