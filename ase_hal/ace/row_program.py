r"""Compilation of the derivatives of every single function, for rows of a design matrix.

The derivative of function f of central atom i by a neighbour's position is

.. math:: \frac{dB_f}{dr_j} = \sum_e J_e \frac{d a_{\alpha(e)}}{dr_j}

over its *entries* e: the real quantities a (sums of g_k, real and imaginary parts of A with
m >= 0) it depends on. J is computed once per atom from the other factors of each product, the
derivatives of a once per neighbour.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_hal.ace.program import Numbering
from ase_hal.ace.tables import FunctionTables

Array = NDArray[Any]


class RowProgram(NamedTuple):
    """Arrays for the kernel of design rows; numbers of X as in ``ase_hal.ace.program``.

    Entries are sorted by (central species, neighbour species, function, alpha). Alpha counts
    g_k first and then (component, n), see ``kernels.layout``.
    """

    function_first: Array  # (S + 1,) functions of each central species
    term_first: Array  # (S + 1,) products of each central species
    coupling: Array  # (T,)
    factor_first: Array  # (T + 1,)
    factor: Array  # X of each factor
    entry_real: Array  # entry that the real part of the other factors goes to
    entry_imaginary: Array  # -1 for m = 0
    sign: Array  # (-1)^m for m < 0, where the conjugate is added, else 1
    conjugate: Array  # bool
    entry_first: Array  # first entry of (function, neighbour species), see `first_of`
    first_of: Array  # (S,) where those of a central species start, neighbour species slowest
    entry_start: Array  # (S + 1,) first entry of each central species
    alpha: Array


def compile_rows(tables: FunctionTables, numbering: Numbering) -> RowProgram:
    """Entries and products of every function."""
    factors = _factors(tables, numbering)
    n_species, n_alpha = numbering.n_species, numbering.n_base + numbering.n_lm * numbering.n_max
    bounds = np.searchsorted(tables.central, np.arange(n_species + 1))
    counts = np.diff(bounds)
    # key of (function, neighbour species) in the order of entry_first
    central = tables.central[factors.function]
    first_of = n_species * bounds[:-1]
    local = factors.function - bounds[central]
    pair = first_of[central] + factors.species * counts[central] + local
    real = pair * n_alpha + factors.alpha
    imaginary = (pair * n_alpha + factors.alpha_imaginary)[factors.m != 0]
    keys, entry = np.unique(np.concatenate([real, imaginary]), return_inverse=True)
    entry = entry.reshape(-1)
    entry_imaginary = np.full(len(real), -1)
    entry_imaginary[factors.m != 0] = entry[len(real) :]
    entry_first = np.searchsorted(keys, np.arange(n_species * tables.size + 1) * n_alpha)
    return RowProgram(
        function_first=bounds,
        term_first=np.searchsorted(factors.term_function, bounds),
        coupling=factors.coupling,
        factor_first=factors.first,
        factor=factors.ids,
        entry_real=entry[: len(real)],
        entry_imaginary=entry_imaginary,
        sign=np.where((factors.m < 0) & (factors.m % 2 == 1), -1.0, 1.0),
        conjugate=factors.m < 0,
        entry_first=entry_first,
        first_of=first_of,
        entry_start=np.append(entry_first[first_of], len(keys)),
        alpha=keys % n_alpha,
    )


class _Factors(NamedTuple):
    """Factors of all products, in the order of functions; first (T + 1,) bounds each product."""

    first: Array
    coupling: Array
    term_function: Array
    function: Array
    ids: Array
    species: Array
    m: Array
    alpha: Array
    alpha_imaginary: Array


def _factors(tables: FunctionTables, numbering: Numbering) -> _Factors:
    term_function = np.repeat(np.arange(tables.size), tables.n_terms)
    rank = tables.rank[term_function]
    first = np.concatenate([[0], np.cumsum(rank)])
    term = np.repeat(np.arange(len(rank)), rank)
    function = term_function[term]
    slot = np.arange(len(term)) - first[term]
    source = (np.cumsum(tables.rank) - tables.rank)[function] + slot
    species, n, l, m = tables.species[source], tables.n[source], tables.l[source], tables.m  # noqa: E741
    lm = l * (l + 1) + m
    ids = numbering.atomic + (species * numbering.n_lm + lm) * numbering.n_max + n
    base = numbering.base + species * numbering.n_base + n
    rank1 = tables.rank[function] == 1
    component = l * l + np.maximum(2 * abs(m) - 1, 0)
    alpha = numbering.n_base + component * numbering.n_max + n
    return _Factors(
        first=first,
        coupling=tables.couplings,
        term_function=term_function,
        function=function,
        ids=np.where(rank1, base, ids),
        species=species,
        m=m,
        alpha=np.where(rank1, n, alpha),
        alpha_imaginary=alpha + numbering.n_max,
    )
