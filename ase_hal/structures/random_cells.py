"""Random structures: atoms and molecules inserted at minimum separations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from ase import Atoms, units
from ase.data import atomic_masses, atomic_numbers, covalent_radii

from ase_hal.prediction import Array
from ase_hal.randomness import check_generator
from ase_hal.structures.origin import record

_INSERTIONS = 200  # of one component before everything is taken out again
_RESTARTS = 10

Components = Mapping[str, int] | Sequence[tuple[str | Atoms, int]]


def random_structure(
    components: Components,
    *,
    density: float,
    rng: np.random.Generator,
    separation: float = 0.75,
    separations: Mapping[tuple[str, str], float] | None = None,
    aspect: float = 1.5,
    skew: float = 20.0,
) -> Atoms:
    """Insert components at random positions and orientations into a random cell.

    Parameters
    ----------
    components : mapping of str to int, or sequence of (str or Atoms, int)
        What, and how many of it: ``{"Zr": 4, "O": 8}``, ``[(molecule("H2O"), 8)]``. Molecules
        stay rigid, and separations within one do not count. Large components go first.
    density : float
        g/cm^3; with the composition it gives the volume.
    rng : numpy.random.Generator
    separation : float
        Shortest distance, as a fraction of the sum of two covalent radii.
    separations : mapping of (str, str) to float, optional
        Shortest distances of pairs of elements in Å, instead of that.
    aspect : float
        Largest ratio of two edges of the cell, 1 or more.
    skew : float
        Largest deviation of a cell angle from 90 degrees.

    Raises
    ------
    ValueError
        Where the components do not fit: the density is too high for the separations.
    """
    check_generator(rng)
    parts = _parts(components)
    if not 0 < density < math.inf or not separation >= 0:
        raise ValueError(
            f"density is above 0 and separation 0 or more, got {density} and {separation}"
        )
    if not aspect >= 1 or not 0 <= skew < 30:
        raise ValueError(f"aspect is at least 1 and skew 0 to 30 degrees, got {aspect}, {skew}")
    numbers = sorted({int(z) for part in parts for z in part.numbers})
    limits = _limits(numbers, separation, separations or {})
    mass = sum(float(atomic_masses[part.numbers].sum()) for part in parts)
    volume = mass / units.kg * 1e3 / density * (units.m / 100) ** 3  # g, cm^3
    for _ in range(_RESTARTS):
        cell = _random_cell(volume, aspect, skew, rng)
        atoms = _fill(cell, parts, limits, rng)
        if atoms is not None:
            record(atoms, "random", formula=atoms.get_chemical_formula(), density=density)
            return atoms
    formula = "".join(part.get_chemical_formula() for part in parts)
    raise ValueError(
        f"{formula} does not fit into {volume:.1f} Å^3 ({density:g} g/cm^3) at these separations: "
        "lower the density or the separations"
    )


def _parts(components: Components) -> list[Atoms]:
    items = components.items() if isinstance(components, Mapping) else components
    parts: list[Atoms] = []
    for what, count in items:
        if isinstance(what, str) and what not in atomic_numbers:
            raise ValueError(f"components are chemical symbols or Atoms, got {what!r}")
        if int(count) != count or count < 0:
            raise ValueError(f"the number of a component is 0 or more, got {count}")
        part = Atoms(what) if isinstance(what, str) else what
        parts.extend([part] * int(count))
    if not parts or not all(len(part) for part in parts):
        raise ValueError("random_structure needs at least one component, and none of them empty")
    return sorted(parts, key=len, reverse=True)


def _limits(
    numbers: list[int], separation: float, separations: Mapping[tuple[str, str], float]
) -> Array:
    """Shortest distances by atomic numbers, (119, 119), Å."""
    limits = np.zeros((119, 119))
    for i, j in itertools.product(numbers, repeat=2):
        limits[i, j] = separation * (covalent_radii[i] + covalent_radii[j])
    for (first, second), distance in separations.items():
        if first not in atomic_numbers or second not in atomic_numbers or not distance >= 0:
            raise ValueError(f"separations are {{(symbol, symbol): Å}}, got {separations}")
        i, j = atomic_numbers[first], atomic_numbers[second]
        limits[i, j] = limits[j, i] = distance
    return limits


def _random_cell(volume: float, aspect: float, skew: float, rng: np.random.Generator) -> Array:
    """A cell of this volume with random edges and angles, (3, 3)."""
    lengths = aspect ** rng.uniform(0.0, 1.0, size=3)
    angles = np.radians(90 + rng.uniform(-skew, skew, size=3))
    cosines = np.cos(angles)
    gram = np.eye(3)
    gram[[1, 0, 0], [2, 2, 1]] = gram[[2, 2, 1], [1, 0, 0]] = cosines
    cell = lengths[:, None] * np.linalg.cholesky(gram)  # definite below 120 degrees
    return cell * np.cbrt(volume / abs(np.linalg.det(cell)))


def _images(cell: Array, reach: float) -> Array:
    """Lattice vectors that can bring an atom of the cell within reach of another, (M, 3)."""
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    counts = np.ceil(reach / heights).astype(int) + 1
    grids = np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij")
    return np.stack(grids, axis=-1).reshape(-1, 3) @ cell


def _fill(cell: Array, parts: list[Atoms], limits: Array, rng: np.random.Generator) -> Atoms | None:
    """Insert one part after the other; None where one does not find a place."""
    size = max(float(np.ptp(part.positions, axis=0).max()) for part in parts)
    images = _images(cell, limits.max() + 2 * size)
    others = images[np.linalg.norm(images, axis=1) > 1e-9]
    atoms = Atoms(cell=cell, pbc=True)
    for part in parts:
        for _ in range(_INSERTIONS):
            trial = part.positions - part.positions.mean(axis=0)
            trial = trial @ _random_rotation(rng) + rng.random(3) @ cell
            if _fits(trial, part.numbers, trial, part.numbers, others, limits) and _fits(
                trial, part.numbers, atoms.positions, atoms.numbers, images, limits
            ):
                atoms += Atoms(part.numbers, trial)
                break
        else:
            return None
    atoms.wrap()
    return atoms


def _fits(
    new: Array, new_numbers: Array, old: Array, old_numbers: Array, images: Array, limits: Array
) -> bool:
    """Whether no new atom is too close to an image of an old one."""
    vectors = new[:, None, None] - old[None, :, None] - images  # (new, old, images, 3)
    squares = np.einsum("nomx,nomx->nom", vectors, vectors)
    bounds = limits[np.ix_(new_numbers, old_numbers)] ** 2
    return not bool((squares < bounds[:, :, None]).any())


def _random_rotation(rng: np.random.Generator) -> Array:
    """Uniform among the rotations, (3, 3), from a random unit quaternion."""
    w, x, y, z = (q := rng.normal(size=4)) / np.linalg.norm(q)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )
