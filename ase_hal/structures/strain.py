"""Random strains and supercells."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.structures.origin import check_range, record

Range = tuple[float, float]


def random_deformation(volume: Range, von_mises: Range, *, rng: np.random.Generator) -> Array:
    r"""Deformation gradient of a random strain, (3, 3).

    .. math:: F = (1 + v)^{1/3} \exp(e), \qquad
              \mathrm{tr}\, e = 0, \qquad \sqrt{\tfrac{2}{3}\, e : e} = \varepsilon_{vM}

    Parameters
    ----------
    volume : (float, float)
        Range of the relative change of volume v, uniform.
    von_mises : (float, float)
        Range of the von Mises equivalent strain of e, uniform; the direction of e is isotropic
        among the traceless symmetric tensors.
    rng : numpy.random.Generator

    Returns
    -------
    (3, 3) array
        Symmetric, with determinant 1 + v; the strained cell is ``cell @ F``.
    """
    check_generator(rng)
    check_range("volume", volume, above=-1)
    check_range("von_mises", von_mises, above=-1e-300)
    v = rng.uniform(*volume)
    size = rng.uniform(*von_mises)
    e = rng.normal(size=(3, 3))
    e = e + e.T  # off-diagonal variance 2, diagonal 4: isotropic in the norm e : e
    e -= np.trace(e) / 3 * np.eye(3)
    e *= size / np.sqrt(2 / 3 * np.vdot(e, e))
    values, vectors = np.linalg.eigh(e)
    return np.cbrt(1 + v) * (vectors * np.exp(values)) @ vectors.T


def von_mises_strain(deformation: Array) -> float:
    """Von Mises equivalent strain of a symmetric deformation gradient (3, 3).

    That of `random_deformation`, which leaves the change of volume out.
    """
    e = np.log(np.linalg.eigvalsh(deformation))
    e -= e.mean()
    return float(np.sqrt(2 / 3 * e @ e))


def random_strain(
    atoms: Atoms,
    *,
    rng: np.random.Generator,
    linear: Range = (-0.05, 0.10),
    von_mises: Range = (0.0, 0.05),
) -> Atoms:
    """A copy in a randomly strained cell, as complex alloys strain their surroundings.

    Parameters
    ----------
    atoms : ase.Atoms
        With three cell vectors; atoms move with the cell.
    rng : numpy.random.Generator
    linear : (float, float)
        Range of the uniform strain of every length.
    von_mises : (float, float)
        Range of the von Mises strain on top of it.
    """
    check_range("linear", linear, above=-1)
    low, high = linear
    stretch = rng.uniform(low, high)
    volume = (1 + stretch) ** 3 - 1
    deformation = random_deformation((volume, volume), von_mises, rng=rng)
    strained = deformed(atoms, deformation)
    record(strained, "strain", linear=stretch, von_mises=von_mises_strain(deformation))
    return strained


def deformed(atoms: Atoms, deformation: Array) -> Atoms:
    """A copy whose cell and positions follow a deformation gradient (3, 3)."""
    if atoms.cell.rank < 3:
        raise ValueError(f"a strain needs three cell vectors, got a cell of rank {atoms.cell.rank}")
    copy = atoms.copy()
    copy.set_cell(atoms.cell.array @ deformation, scale_atoms=True)
    return copy


def random_supercell(
    atoms: Atoms, *, rng: np.random.Generator, sizes: Sequence[int] = (2, 3)
) -> Atoms:
    """N1 x N2 x N3 cells with every N drawn from `sizes`: small cells of every shape."""
    repeat = random_size(rng=rng, sizes=sizes)
    supercell = atoms * repeat
    record(supercell, "supercell", size=repeat)
    return supercell


def random_size(*, rng: np.random.Generator, sizes: Sequence[int] = (2, 3)) -> tuple[int, int, int]:
    """N1, N2 and N3, each drawn from `sizes`."""
    check_generator(rng)
    if not len(sizes) or any(int(n) != n or n < 1 for n in sizes):
        raise ValueError(f"sizes are positive whole numbers, got {sizes}")
    first, second, third = rng.choice(np.asarray(sizes, dtype=int), size=3).tolist()
    return first, second, third
