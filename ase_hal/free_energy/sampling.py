"""Points that fill a domain, and points around given ones that stay inside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.domain import Domain
from ase_hal.free_energy.symmetry import Array


def billiard_walk(
    domain: Domain,
    n: int,
    *,
    rng: np.random.Generator,
    start: npt.ArrayLike | None = None,
    boundary: float = 0.0,
    max_reflections: int | None = None,
) -> Array:
    """Sample a domain uniformly by a billiard walk (Algorithm 1).

    From each point a ball flies in a random direction for a path of random length (exponential),
    reflected by the walls. Where it stops is the next point; flights with too many reflections
    are discarded and their start is repeated, as uniform sampling needs (Polyak and Gryazina,
    2014).

    Parameters
    ----------
    domain : Domain
    n : int
        How many points.
    rng : np.random.Generator
    start : (d,) array, optional
        A point inside; by default the centre.
    boundary : float
        Fraction of the points that are taken where a ball meets a wall instead of where it
        stops. Such points are not uniform; the default is none.
    max_reflections : int, optional
        Discard a flight with more reflections; by default 10 for each variable.

    Returns
    -------
    (n, d) array
        Consecutive points are correlated a little.
    """
    _check_count(n)
    if not 0 <= boundary <= 1:
        raise ValueError(f"boundary is a fraction of the points, got {boundary}")
    origin = domain.centre if start is None else np.array(start, dtype=float)
    if origin.shape != (domain.dimension,) or not domain.contains(origin):
        raise ValueError(f"a billiard walk starts inside its domain, got {origin}")
    diagonal = float(np.linalg.norm(np.ptp(domain.bounds, axis=1)))
    radius = float(domain.wall_distance(domain.centre))
    # long enough to cross the domain, but no longer: every reflection costs time
    path = max(diagonal / 2, 4 * radius)
    limit = 10 * domain.dimension if max_reflections is None else max_reflections
    return _walk(domain, n, origin, path, limit, boundary, rng=rng)


def billiard_section(
    domain: Domain,
    n: int,
    *,
    free: Sequence[int],
    width: float,
    rng: np.random.Generator,
    through: npt.ArrayLike | None = None,
) -> Array:
    """Sample some variables by a billiard walk and keep the others near fixed values.

    The paper's two-dimensional walk (section 2.1.1) is ``free=(0, 1), width=0.05``.

    Parameters
    ----------
    domain : Domain
    n : int
        How many points.
    free : sequence of int
        Variables that take all values; the points fill the section of the domain they span.
    width : float
        The others deviate from their fixed values by at most this, and where the domain ends
        before by a random part of the way there: at perfect order there is no room for any.
    rng : np.random.Generator
    through : (d,) array, optional
        The fixed values, by default zeros.

    Returns
    -------
    (n, d) array
        Uniform in the section; the others uniform in the box where there is room for it.
    """
    _check_count(n)
    fixed = np.zeros(domain.dimension) if through is None else np.array(through, dtype=float)
    others = np.setdiff1d(np.arange(domain.dimension), free)
    places = np.tile(fixed, (n, 1))
    places[:, list(free)] = billiard_walk(domain.section(np.asarray(free), fixed), n, rng=rng)
    aside = np.zeros_like(places)
    aside[:, others] = rng.uniform(-width, width, size=(n, len(others)))
    reach = domain.reach(places, aside)
    return places + aside * np.where(reach < 1, rng.uniform(size=(n, 1)) * reach, 1.0)


def quasi_random(
    domain: Domain,
    n: int,
    *,
    method: Literal["sobol", "halton", "latin_hypercube"],
    rng: np.random.Generator,
) -> Array:
    """Fill a domain with points (n, d) of a sequence in its bounding box that fall inside.

    In many dimensions few do, and what is left of the even filling by the sequence is little:
    in the seven of the zigzag ordering one point in four thousand.
    """
    from scipy.stats import qmc

    _check_count(n)
    engines = {"sobol": qmc.Sobol, "halton": qmc.Halton, "latin_hypercube": qmc.LatinHypercube}
    if method not in engines:
        raise ValueError(f"method is one of {sorted(engines)}, got {method!r}")
    engine = engines[method](domain.dimension, seed=rng)
    low, high = domain.bounds.T
    found: list[Array] = []
    while sum(map(len, found)) < n:
        points = qmc.scale(engine.random(2**14), low, high)
        found.append(points[domain.contains(points)])
    return np.concatenate(found)[:n]


def perturbed(
    domain: Domain, points: npt.ArrayLike, width: float, *, rng: np.random.Generator
) -> Array:
    """Move points uniformly within a box around each, inside the domain.

    Parameters
    ----------
    domain : Domain
    points : (n, d) array
        Inside the domain, or on its boundary.
    width : float
        Half the edge of the box.
    rng : np.random.Generator

    Returns
    -------
    (n, d) array
        Uniform in what the box and the domain have in common.
    """
    centres = np.asarray(points, dtype=float)
    if centres.ndim != 2 or centres.shape[1] != domain.dimension:
        raise ValueError(f"points are an array (n, {domain.dimension}), got {centres.shape}")
    outside = np.flatnonzero(~domain.contains(centres))
    if len(outside):
        raise ValueError(f"point {outside[0]} is outside the domain: {centres[outside[0]]}")
    if not width >= 0:
        raise ValueError(f"a width is not negative, got {width}")
    if width == 0:
        return centres.copy()
    result = centres + rng.uniform(-width, width, size=centres.shape)
    left = np.flatnonzero(~domain.contains(result))
    for _ in range(50):
        result[left] = centres[left] + rng.uniform(-width, width, size=(len(left), len(result.T)))
        left = left[~domain.contains(result[left])]
        if not len(left):
            return result
    for i in left:  # in a narrow corner: walk through what little there is
        corner = domain.within_box(centres[i] - width, centres[i] + width)
        inwards = domain.centre - centres[i]
        origin = centres[i] + inwards * min(0.5, width / np.abs(inwards).max() / 2)
        result[i] = _walk(corner, 20, origin, width, rng=rng)[-1]
    return result


def _walk(
    domain: Domain,
    n: int,
    origin: Array,
    path: float,
    max_reflections: int = 100,
    boundary: float = 0.0,
    *,
    rng: np.random.Generator,
) -> Array:
    from ase_hal.free_energy.kernels import walk

    points = np.empty((n, domain.dimension))
    walk(
        points,
        origin.copy(),
        domain.normals,
        (domain.upper + domain.lower) / 2,
        (domain.upper - domain.lower) / 2,
        domain.normals @ domain.normals.T,
        path,
        max_reflections,
        float(boundary),
        np.empty(3 * len(domain.normals) + 3 * domain.dimension),
        rng.integers(1, 2**64 - 1, size=4, dtype=np.uint64),
    )
    return points


def _check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"n is the number of points, at least 1, got {n}")
