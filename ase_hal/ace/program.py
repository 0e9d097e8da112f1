r"""Compilation of a linear ACE into shared products.

All functions of one central species are sums over *leaves*, distinct products of A. A leaf is
written ``Re(P X_k)`` where ``P = X_left X_right`` is shared by a *group* of leaves and the partner
X_k is an A, or for rank >= 4 a *node*: the product of the rest. One pass over groups and leaves
then gives every leaf, or, with one coefficient per leaf, the derivative of the energy with respect
to every A.

Numbering of the values X, the same for all central species up to the products:

====================  ===========================================================
0                     the constant 1 (so that rank 1 and 2 are groups like others)
base + s K + k        sum of g_k over neighbours of species s (rank 1)
atomic + (s L2 + l (l + 1) + m) n_max + n     A_snlm, with m < 0 included
product + p           nodes of the central species, in order of dependence
====================  ===========================================================
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from ase_hal.ace.tables import FunctionTables, Products

Int = NDArray[np.int64]
Key = tuple[int, ...]
Group = tuple[Key, list[tuple[int, int]]]  # pair, and (partner, leaf) of its leaves


@dataclass(frozen=True)
class Numbering:
    """Where each kind of X starts (see the module), and the sizes this follows from."""

    n_species: int
    n_base: int
    n_max: int
    l_max: int

    @classmethod
    def of(cls, tables: FunctionTables) -> Numbering:
        """The smallest numbering that covers the functions in use."""
        rank1 = np.repeat(tables.rank == 1, tables.rank)
        return cls(
            n_species=len(tables.elements),
            n_base=int(tables.n[rank1].max(initial=-1)) + 1,
            n_max=int(tables.n[~rank1].max(initial=-1)) + 1,
            l_max=int(tables.l.max(initial=0)),
        )

    @property
    def n_lm(self) -> int:
        """Number of (l, m), none where all functions are of rank 1."""
        return (self.l_max + 1) ** 2 if self.n_max else 0

    @property
    def base(self) -> int:
        """First sum of g_k."""
        return 1

    @property
    def atomic(self) -> int:
        """First A."""
        return self.base + self.n_species * self.n_base

    @property
    def product(self) -> int:
        """First product node."""
        return self.atomic + self.n_species * self.n_lm * self.n_max

    def ids(self, products: Products, sign: int = 1) -> Int:
        """Numbers of the factors of products, with every m times ``sign``; rows sorted."""
        if products.m.shape[1] == 1:
            return self.base + products.species * self.n_base + products.n
        lm = products.l * (products.l + 1) + sign * products.m
        ids = self.atomic + (products.species * self.n_lm + lm) * self.n_max + products.n
        return np.sort(ids, axis=1)

    def conjugate(self, ids: Int) -> Int:
        """Numbers of the factors with m -> -m; rows sorted."""
        offset = ids - self.atomic
        lm = (offset // self.n_max) % self.n_lm
        l = np.sqrt(lm).astype(np.int64)  # noqa: E741
        return np.sort(ids + 2 * (l * (l + 1) - lm) * self.n_max, axis=1)


@dataclass(frozen=True, eq=False)
class Program:
    """Groups, leaves and nodes; ``node_first`` and ``tile_first`` (S + 1,) bound central species.

    Attributes
    ----------
    numbering : Numbering
    node_left, node_right, node_first : int arrays
        Product nodes X[product + p] = X[left] X[right], p counted from 0 for each species.
    group_left, group_right : int arrays
        P of each group.
    tile_group : (tiles + 1,) int array
        Groups of each tile: one, or two that have the same partners.
    tile_first : (S + 1,) int array
    leaf_first : (groups + 1,) int array
        Leaves of each group.
    partner : (leaves,) int array
        X_k of each leaf.
    couplings : (size, leaves) sparse array
        B = couplings @ (leaves summed over atoms).
    """

    numbering: Numbering
    node_left: Int
    node_right: Int
    node_first: Int
    group_left: Int
    group_right: Int
    tile_group: Int
    tile_first: Int
    leaf_first: Int
    partner: Int
    couplings: csr_array

    @property
    def max_nodes(self) -> int:
        """Largest number of X of a central species."""
        return self.numbering.product + int(np.diff(self.node_first).max())


def compile_program(tables: FunctionTables) -> Program:
    """Find the shared products of all functions."""
    numbering = Numbering.of(tables)
    nodes: list[Key] = []
    groups: list[Key] = []
    partners: list[list[int]] = []
    tile_group, node_first, tile_first = [0], [0], [0]
    couplings = _Couplings()
    for central in range(len(tables.elements)):
        species = _CentralSpecies(numbering)
        for rank, functions in tables.by_rank():
            products = tables.products(rank, functions[tables.central[functions] == central])
            if len(products.function):
                leaves, which = _distinct(numbering, products)
                couplings.add(products, species.add(leaves), which)
        for tile in species.tiles():
            for key, group in tile:
                groups.append(key)
                partners.append([partner for partner, _ in group])
                couplings.place([leaf for _, leaf in group])
            tile_group.append(len(groups))
        couplings.close(species.n_leaves)
        nodes += species.nodes
        node_first.append(len(nodes))
        tile_first.append(len(tile_group) - 1)
    node_pairs = np.array(nodes, dtype=np.int64).reshape(-1, 2)
    group_pairs = np.array(groups, dtype=np.int64).reshape(-1, 2)
    return Program(
        numbering=numbering,
        node_left=node_pairs[:, 0].copy(),
        node_right=node_pairs[:, 1].copy(),
        node_first=np.array(node_first),
        group_left=group_pairs[:, 0].copy(),
        group_right=group_pairs[:, 1].copy(),
        tile_group=np.array(tile_group),
        tile_first=np.array(tile_first),
        leaf_first=np.cumsum([0, *(len(partner) for partner in partners)]),
        partner=np.array([k for partner in partners for k in partner], dtype=np.int64),
        couplings=couplings.matrix(tables.size),
    )


def _distinct(numbering: Numbering, products: Products) -> tuple[Int, Int]:
    """Distinct products modulo conjugation, (leaves, rank), and which of them each product is."""
    ids = numbering.ids(products)
    conjugate = numbering.ids(products, sign=-1)
    different = ids != conjugate
    first = different.argmax(axis=1)
    rows = np.arange(len(ids))
    smaller = conjugate[rows, first] < ids[rows, first]
    leaves, which = np.unique(
        np.where(smaller[:, None], conjugate, ids), axis=0, return_inverse=True
    )
    return leaves, which.reshape(-1)


class _Couplings:
    """Collects (function, leaf, coupling), leaves being numbered in the order of the groups."""

    def __init__(self) -> None:
        self._entries: list[tuple[Int, Int, NDArray[np.float64]]] = []
        self._pending: list[tuple[Int, Int, NDArray[np.float64]]] = []
        self._placed: list[int] = []
        self._start = 0

    def add(self, products: Products, first_leaf: int, which: Int) -> None:
        """Products of one rank, whose distinct leaves were given numbers from ``first_leaf``."""
        self._pending.append((products.function, first_leaf + which, products.coupling))

    def place(self, leaves: list[int]) -> None:
        """The next leaves in the order of evaluation."""
        self._placed += leaves

    def close(self, n_leaves: int) -> None:
        """End of a central species: turn its leaf numbers into places."""
        place = np.empty(n_leaves, dtype=np.int64)
        place[self._placed] = self._start + np.arange(n_leaves)
        for function, leaf, coupling in self._pending:
            self._entries.append((function, place[leaf], coupling))
        self._start += n_leaves
        self._pending, self._placed = [], []

    def matrix(self, size: int) -> csr_array:
        """The sparse (size, leaves) array; repeated entries add up."""
        function, leaf, coupling = (
            np.concatenate(parts) for parts in zip(*self._entries, strict=True)
        )
        matrix = csr_array((coupling, (function, leaf)), shape=(size, self._start))
        matrix.sum_duplicates()
        return matrix


class _CentralSpecies:
    """Groups and nodes of one central species."""

    def __init__(self, numbering: Numbering) -> None:
        self._numbering = numbering
        self._node_of: dict[Key, int] = {}
        self.nodes: list[Key] = []
        self.groups: defaultdict[Key, list[tuple[int, int]]] = defaultdict(list)
        self.n_leaves = 0

    def tiles(self) -> list[list[Group]]:
        """Groups in twos where the partners are the same, and similar partners close together."""
        alike: defaultdict[tuple[int, Key], list[Group]] = defaultdict(list)
        for key, group in self.groups.items():
            group.sort()
            alike[self._total_m(key), tuple(partner for partner, _ in group)].append((key, group))
        result = []
        for _, groups in sorted(alike.items()):
            groups.sort()
            result += [groups[first : first + 2] for first in range(0, len(groups), 2)]
        return result

    def _total_m(self, key: Key) -> int:
        """Sum of m of a pair; all its partners have the opposite one."""
        numbering = self._numbering
        total = 0
        for factor in key:
            if factor >= numbering.atomic:
                lm = ((factor - numbering.atomic) // numbering.n_max) % numbering.n_lm
                l = int(lm**0.5)  # noqa: E741
                total += lm - l * (l + 1)
        return total

    def add(self, leaves: Int) -> int:
        """Place distinct leaves of one rank into groups; returns the number of the first."""
        first = self.n_leaves
        self.n_leaves += len(leaves)
        rank = leaves.shape[1]
        if rank == 1:
            self.groups[0, 0] += [(int(k), first + i) for i, (k,) in enumerate(leaves)]
            return first
        conjugates = self._numbering.conjugate(leaves)
        for leaf, pair, rest in _share_pairs(leaves.tolist(), conjugates.tolist()):
            self.groups[pair].append((self._node(rest), first + leaf))
        return first

    def _node(self, factors: Key) -> int:
        """Number of the product of some factors, made when first asked for."""
        if len(factors) == 1:
            return factors[0]
        if factors not in self._node_of:
            left = self._node(factors[:-1])
            self._node_of[factors] = self._numbering.product + len(self.nodes)
            self.nodes.append((left, factors[-1]))
        return self._node_of[factors]


def _share_pairs(leaves: list[list[int]], conjugates: list[list[int]]) -> list:
    """Choose for each leaf the factors (left, right) of its group: the most shared first.

    Returns tuples (leaf, pair, rest of the factors). A leaf may be replaced by its conjugate,
    which has the same real part. For rank 2 the pair is (one factor, the constant 1).
    """
    members: defaultdict[Key, list[int]] = defaultdict(list)
    for leaf, variants in enumerate(zip(leaves, conjugates, strict=True)):
        for pair in {pair for factors in variants for pair, _ in _splits(factors)}:
            members[pair].append(leaf)
    heap = [(-len(leaf_list), pair) for pair, leaf_list in members.items()]
    heapq.heapify(heap)
    placed = [False] * len(leaves)
    result = []
    while heap:
        count, pair = heapq.heappop(heap)
        remaining = [leaf for leaf in members[pair] if not placed[leaf]]
        if len(remaining) < -count:
            members[pair] = remaining
            if remaining:
                heapq.heappush(heap, (-len(remaining), pair))
            continue
        for leaf in remaining:
            placed[leaf] = True
            for factors in (leaves[leaf], conjugates[leaf]):
                rest = dict(_splits(factors)).get(pair)
                if rest is not None:
                    result.append((leaf, pair, rest))
                    break
    return result


def _splits(factors: list[int]) -> list[tuple[Key, Key]]:
    """All ways to take a pair out of sorted factors: (pair, rest)."""
    if len(factors) == 2:
        return [((factors[0], 0), (factors[1],)), ((factors[1], 0), (factors[0],))]
    return [
        ((factors[a], factors[b]), tuple(f for t, f in enumerate(factors) if t not in (a, b)))
        for b in range(1, len(factors))
        for a in range(b)
    ]
