"""Random alloys on a lattice, with interstitials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atom, Atoms
from ase.build import bulk
from ase.data import atomic_numbers
from ase.geometry import get_distances

from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.structures.origin import check_range, record

# Octahedral interstices of the cubic cells, scaled, and their closest distance over a.
OCTAHEDRA = {
    "bcc": (
        [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
        0.5,
    ),
    "fcc": ([[0.5, 0.5, 0.5], [0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5]], 0.5**0.5),
}


def random_composition(n: int, *, rng: np.random.Generator, bias: float = 4.0) -> Array:
    r"""Shares of n elements, more often near equal than at the edges.

    .. math:: p(x) \propto 1 + (b - 1) \, n^n \prod_i x_i

    The density at equal shares is b times the one where an element is missing; the slides say
    about 4 : 1.

    Parameters
    ----------
    n : int
        Number of elements.
    rng : numpy.random.Generator
    bias : float
        b, at least 1; with 1 all compositions are equally likely.

    Returns
    -------
    (n,) array
        With sum 1.
    """
    check_generator(rng)
    if n < 1 or not 1 <= bias < np.inf:
        raise ValueError(f"n is at least 1 and bias at least 1, got {n} and {bias}")
    while True:
        shares = rng.dirichlet(np.ones(n))
        height = 1 + (bias - 1) * float(np.prod(n * shares))
        if rng.random() * bias < height:
            return shares


def random_alloy(
    elements: Sequence[str],
    *,
    a: float,
    rng: np.random.Generator,
    lattice: str = "bcc",
    size: tuple[int, int, int] = (2, 2, 2),
    bias: float = 4.0,
    interstitial: str = "O",
    interstitial_share: tuple[float, float] = (0.0, 0.3),
) -> Atoms:
    """A random alloy with interstitial atoms in octahedral sites.

    Parameters
    ----------
    elements : sequence of str
        Metals; their shares come from `random_composition`, and every site draws its own.
    a : float
        Lattice parameter of the cubic cell, Å.
    rng : numpy.random.Generator
    lattice : {"bcc", "fcc"}
    size : (int, int, int)
        Cubic cells along each axis.
    bias : float
        See `random_composition`.
    interstitial : str
        Element of the interstitials.
    interstitial_share : (float, float)
        Range of their share in all atoms, uniform. No two of them take neighbouring sites, so
        that a small cell may hold fewer; how many there are is recorded.
    """
    check_generator(rng)
    if lattice not in OCTAHEDRA:
        raise ValueError(f"lattice is one of {sorted(OCTAHEDRA)}, got {lattice!r}")
    if not elements or any(symbol not in atomic_numbers for symbol in [*elements, interstitial]):
        raise ValueError(f"elements are chemical symbols, got {elements} and {interstitial!r}")
    if not 0 < a < np.inf:
        raise ValueError(f"a is a positive length in Å, got {a}")
    check_range("interstitial_share", interstitial_share, above=-1e-300)
    if interstitial_share[1] >= 1:
        raise ValueError(f"interstitial_share is below 1, got {interstitial_share}")
    shares = random_composition(len(elements), rng=rng, bias=bias)
    atoms = bulk(elements[0], lattice, a=a, cubic=True) * size
    atoms.symbols = rng.choice(np.array(elements), size=len(atoms), p=shares)
    share = rng.uniform(*interstitial_share)
    wanted = round(share / (1 - share) * len(atoms))
    placed = _interstitial_sites(atoms, lattice, a, size, wanted, rng)
    for position in placed:
        atoms.append(Atom(interstitial, position))
    record(atoms, "alloy", lattice=lattice, a=a, size=size, interstitials=len(placed))
    return atoms


def _interstitial_sites(
    atoms: Atoms, lattice: str, a: float, size: tuple[int, int, int], wanted: int,
    rng: np.random.Generator,
) -> list[Array]:  # fmt: skip
    """Positions of up to `wanted` octahedral sites, no two of which are neighbours."""
    scaled, spacing = OCTAHEDRA[lattice]
    corners = np.stack(np.meshgrid(*map(np.arange, size), indexing="ij"), axis=-1).reshape(-1, 3)
    sites = a * (np.array(scaled) + corners[:, None]).reshape(-1, 3)
    chosen: list[Array] = []
    for index in rng.permutation(len(sites)):
        if len(chosen) == wanted:
            break
        site = sites[index]
        if chosen:
            _, distances = get_distances([site], chosen, cell=atoms.cell, pbc=True)
            if distances.min() < spacing * a * 1.01:
                continue
        chosen.append(site)
    return chosen
