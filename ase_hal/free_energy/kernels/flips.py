"""Metropolis flips of occupations under a bias on order parameters."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from ase_hal.compiled import inlined, kernel
from ase_hal.free_energy.kernels.randomness import random_bits

_UNIT = 1.0 / (1 << 32)


@kernel
def flip(
    occupied, field, kind, counts, bias, curvature, coupling, filling,
    neighbours, row, values, start, others, size, strength,
    n_trials, records, energies, energy, state,
):  # fmt: skip
    r"""Try n_trials flips before each record, of random sites one after another.

    All energies are in units of k T. Flipping site i by s = +-1 changes the energy of the
    Hamiltonian by ``s field[i]`` and the polynomial of the filling, and that of the bias by
    ``s bias[kind[i]] + curvature[kind[i]]``. What is kept up to date when a flip is accepted:
    the fields of the neighbours, the biases of all kinds, and the counts.

    Parameters
    ----------
    occupied : (N,) int8
    field : (N,) array
        What filling a site costs in the present surroundings.
    kind : (N,) int32
        Which site of the mutually commensurate supercell a site repeats.
    counts : (K,) int64
        Occupied sites of each kind.
    bias, curvature : (K,) arrays
    coupling : (K, K) array
        How much filling a site of one kind raises the bias of another.
    filling : (N + 1,) array
        Energy of the composition polynomial for each number of occupied sites.
    neighbours, row, values : (N, Z) int32, (N,) int32, (R, Z) arrays
        Pairs of each site and, in the row of the site, their interactions.
    start, others, size, strength : (N + 1,) int64, (C, L) int32, (C,) int32, (C,) arrays
        Larger clusters ``start[i]:start[i + 1]`` of each site: its `size` other sites, and
        the interaction.
    n_trials : int
    records, energies : (n, K) int64, (n,) arrays
        Filled with the counts and the energies.
    energy : float
        That of the Hamiltonian at the start.
    state : (4,) uint64
        Of the random numbers.

    Returns
    -------
    int
        Accepted flips.
    """
    n_sites, n_kinds, n_pairs = len(occupied), len(counts), neighbours.shape[1]
    n_filled = 0
    for k in range(n_kinds):
        n_filled += counts[k]
    accepted = 0
    for record in range(len(records)):
        for _ in range(n_trials):
            bits = random_bits(state)
            i = np.int64(((bits >> np.uint64(32)) * np.uint64(n_sites)) >> np.uint64(32))
            k = kind[i]
            s = 1 - 2 * occupied[i]
            cost = s * field[i] + (filling[n_filled + s] - filling[n_filled])
            total = cost + (s * bias[k] + curvature[k])
            if total > 0.0 and not _accepts(total, bits):
                continue
            accepted += 1
            energy += cost
            occupied[i] += s
            counts[k] += s
            n_filled += s
            for l in range(n_kinds):  # noqa: E741
                bias[l] += s * coupling[k, l]
            r = row[i]
            for z in range(n_pairs):
                field[neighbours[i, z]] += s * values[r, z]
            for c in range(start[i], start[i + 1]):
                _update_cluster(field, occupied, others, c, size[c], s * strength[c])
        for k in range(n_kinds):
            records[record, k] = counts[k]
        energies[record] = energy
    return accepted


@inlined
def _accepts(cost, bits):
    """Accept with the probability exp(-cost), by the lower half of random bits."""
    uniform = (np.int64(bits & np.uint64(0xFFFFFFFF)) + 0.5) * _UNIT
    if uniform * (1.0 + cost) > 1.0:  # exp(-x) < 1 / (1 + x)
        return False
    return uniform < math.exp(-cost)


@inlined
def _update_cluster(field, occupied, others, c, size, change):
    """Change the fields of a cluster's other sites: only where all but the site are filled."""
    empty, at = 0, 0
    for k in range(size):
        if occupied[others[c, k]] == 0:
            empty += 1
            at = others[c, k]
    if empty == 0:
        for k in range(size):
            field[others[c, k]] += change
    elif empty == 1:
        field[at] += change
