r"""How uncertain a prediction is: the numbers that decide when a structure needs a label.

=================  =======================  ==========================================
paper              here                     meaning
=================  =======================  ==========================================
sigma              `energy_std`             standard deviation of the energy, eV
f_i (Eq. 6)        `relative_force_error`   spread of the members' forces on atom i
                                            over the size of the mean force
s_i (Eq. 8)        `softmax_score`          f_i pressed into [0, 1] by a softmax
epsilon (Eq. 6)    ``eps``                  eV/Å, keeps f_i finite where forces vanish
=================  =======================  ==========================================

Equations: van der Oord et al., "Hyperactive learning for data-driven interatomic
potentials" (2022).
"""

from __future__ import annotations

import math

import numpy as np

from ase_hal.prediction import Array, Prediction


def energy_std(prediction: Prediction, *, noise: bool = True, per_atom: bool = False) -> float:
    """Standard deviation of the energy (Eq. 3 or 5).

    Parameters
    ----------
    prediction : Prediction
        What the committee said about N atoms.
    noise : bool
        Count the noise of the labels. Without it only the part that more data can remove is
        left, which is the one to use when structures are compared.
    per_atom : bool
        Divide by N.

    Returns
    -------
    float
        eV, or eV per atom.
    """
    sigma = prediction.energy_std if noise else prediction.model_std
    return float(sigma / len(prediction.forces) if per_atom else sigma)


def relative_force_error(prediction: Prediction, eps: float | None = None) -> Array:
    r"""Relative force error of every atom, Eq. 6.

    .. math:: f_i = \frac{K^{-1} \sum_k |F_i^k - \bar F_i|}{|\bar F_i| + \varepsilon}

    Parameters
    ----------
    prediction : Prediction
        For N atoms, with the forces of the members.
    eps : float, optional
        Epsilon in eV/Å. By default the typical force of the training set
        (``prediction.force_scale``); that of the structure itself would vanish in a perfect
        crystal and make every atom look uncertain.

    Returns
    -------
    (N,) array
        Dimensionless; not a number where a force is not.
    """
    if prediction.member_forces is None:
        raise ValueError(
            "this prediction has no member forces: ask the committee with members=True"
        )
    epsilon = prediction.force_scale if eps is None else eps
    if not (math.isfinite(epsilon) and epsilon > 0):
        source = "the committee's force_scale" if eps is None else "eps"
        raise ValueError(f"{source} must be a positive force in eV/Å, got {epsilon}")
    # An exploded member gives inf - inf. The result says so; a warning would add nothing.
    with np.errstate(invalid="ignore", over="ignore"):
        spread = np.linalg.norm(prediction.member_forces - prediction.forces, axis=2)
        size = np.linalg.norm(prediction.forces, axis=1)
        return spread.mean(axis=0) / (size + epsilon)


def softmax_score(prediction: Prediction, eps: float | None = None) -> Array:
    r"""Softmax of the relative force error over the atoms, Eq. 8.

    .. math:: s_i = \exp(f_i) / \sum_j \exp(f_j)

    The score measures how far one atom stands out from the others, so that it depends on
    their number: for a single outlier among N atoms to reach 0.5, its f_i must exceed that
    of the others by ln(N - 1), that is 3.4 for 32 atoms and 7.2 for 1400.

    Parameters
    ----------
    prediction : Prediction
        For N atoms, with the forces of the members.
    eps : float, optional
        As in `relative_force_error`.

    Returns
    -------
    (N,) array
        In [0, 1], with sum 1; not a number where a force is not.
    """
    error = relative_force_error(prediction, eps)
    with np.errstate(invalid="ignore"):
        weights = np.exp(error - error.max())
    return weights / weights.sum()
