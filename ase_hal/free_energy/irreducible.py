"""A symmetry-adapted basis of what the variants of an ordering span."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from ase_hal.free_energy.symmetry import Array, IntArray


def adapted_basis(
    variants: IntArray, permutations: IntArray, n_translations: int
) -> tuple[Array, int]:
    """Split the span of variants into what symmetry does not mix.

    First into irreducible representations, by the eigenspaces of a general matrix that
    commutes with the group; each of those by wave vectors (plus and minus together), the
    eigenspaces of a general sum of translations; within one wave vector the axes follow the
    variants, orthogonal ones where there are such.

    Parameters
    ----------
    variants : (V, N) integers
    permutations : (G, N) integers
        The group: all lattice translations, then each other operation followed by all of them.
    n_translations : int

    Returns
    -------
    basis : (d, N) array
        Orthonormal rows, that of the composition first.
    n_trivial : int
        How many of the rows no operation changes.
    """
    n = variants.shape[1]
    uniform = np.full((1, n), n**-0.5)
    patterns = variants.astype(float)
    # what no operation changes: means over equivalent sites
    trivial = np.concatenate([uniform, _span(np.mean(patterns[:1, permutations], axis=1), uniform)])
    rest = _span(patterns, trivial)
    translations, others = permutations[:n_translations], permutations[::n_translations]
    generators = np.concatenate([translations, others])
    commuting = _general_invariant_matrix(generators)
    waves = _general_sum(translations)
    blocks = []
    for space in _eigenspaces(rest, commuting):
        aligned = [_aligned(block, patterns) for block in _eigenspaces(space, waves)]
        # wave vectors in the order in which the variants have them
        aligned.sort(key=lambda block: int((np.abs(block @ patterns.T) > 1e-6).any(0).argmax()))
        blocks.append(np.concatenate(aligned))
    blocks.sort(key=len)
    return np.concatenate([trivial, *blocks]), len(trivial)


def _span(vectors: Array, known: Array) -> Array:
    """Orthonormal basis (k, N) of vectors (n, N) without their parts in an orthonormal one."""
    remaining = vectors - vectors @ known.T @ known
    _, sizes, basis = np.linalg.svd(remaining, full_matrices=False)
    return np.asarray(basis[sizes > 1e-8 * np.sqrt(vectors.size)])


def _eigenspaces(basis: Array, matrix: Array) -> list[Array]:
    """Common eigenspaces (k, N) of a symmetric matrix (N, N) within a span (d, N)."""
    if not len(basis):
        return []
    values, vectors = np.linalg.eigh(basis @ matrix @ basis.T)
    scale = max(np.abs(values).max(), 1e-12)
    breaks = np.flatnonzero(np.diff(values) > 1e-8 * scale) + 1
    return [part.T @ basis for part in np.split(vectors, breaks, axis=1)]


def _aligned(block: Array, patterns: Array) -> Array:
    """Turn a basis (k, N) so that patterns (V, N), orthogonal ones first, are along its axes."""
    shadows = patterns @ block.T
    lengths = np.linalg.norm(shadows, axis=1)
    shadows = shadows[lengths > 1e-6] / lengths[lengths > 1e-6, None]
    axes = shadows[:1]
    while len(axes) < len(block):
        inside = np.linalg.norm(shadows @ axes.T, axis=1)
        new = shadows[np.argmin(np.round(inside, 8))]
        new = new - new @ axes.T @ axes
        axes = np.concatenate([axes, new[None] / np.linalg.norm(new)])
    return np.asarray(axes @ block)


def _general_invariant_matrix(permutations: IntArray) -> Array:
    """Symmetric matrix (N, N) with another number for every orbit of pairs of sites."""
    n = permutations.shape[1]
    pairs = np.arange(n * n).reshape(n, n)
    moved = [pairs.T.ravel()]
    moved += [pairs[np.ix_(p, p)].ravel() for p in permutations]
    start = np.tile(pairs.ravel(), len(moved))
    graph = coo_array((np.ones(len(start), bool), (start, np.concatenate(moved))), (n * n, n * n))
    _, orbit = connected_components(graph.tocsr(), directed=False)
    return _general_numbers(int(orbit.max()) + 1)[orbit].reshape(n, n)


def _general_sum(translations: IntArray) -> Array:
    """Sum of translations and their inverses with general weights (N, N)."""
    n = translations.shape[1]
    result = np.zeros((n, n))
    for weight, permutation in zip(_general_numbers(len(translations)), translations, strict=True):
        result[permutation, np.arange(n)] += weight
    return result + result.T


def _general_numbers(count: int) -> Array:
    """Numbers in [0, 1) without simple relations among them."""
    return np.sqrt(2.0 + np.arange(count) * np.e) % 1.0
