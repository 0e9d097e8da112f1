r"""Everything the evaluation of one linear ACE needs, as plain arrays.

A pacemaker B-basis function of central species mu0 and rank nu is

.. math:: B = \sum_m C_m \; \mathrm{Re} \prod_{t=1}^{\nu} A_{\mu_t n_t l_t m_t}
   \quad (\nu \ge 2), \qquad B = \sum_{j \in \mu_1} g_n(r_{ij}) \quad (\nu = 1),

with :math:`A_{\mu n l m} = \sum_{j \in \mu} R_{nl}(r_{ij}) Y_{lm}(\hat r_{ij})`,
:math:`R_{nl} = \sum_k c_{nlk} g_k` and :math:`r_{ij} = r_j - r_i`. The spherical harmonics carry
the Condon-Shortley phase and a factor :math:`\sqrt{4 \pi}` (so that Y_00 = 1). Of each pair
(m, -m) of products, which are complex conjugates, only one is listed, and C_m holds the factor 2.
(Drautz 2019; Lysogorskiy et al., npj Comput. Mater. 7, 97 (2021).)

The radial functions g_k are cubic Hermite splines on the knots python-ace uses itself, so that
energies and forces agree to rounding. Functions are in the order of ``basis_coeffs``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class FunctionTables:
    """The functions of one pacemaker B-basis: radial splines, couplings, bookkeeping.

    Sums of ``rank`` and ``n_terms`` over functions are called F and T below; S is the number of
    elements. Build it with `from_pyace` or `from_arrays`, which check what they are given.

    Attributes
    ----------
    elements : tuple of str
        Chemical symbols; species are numbered in this order.
    cutoffs : (S, S) array
        Cutoff of neighbours of species [central, neighbour], Å.
    bins : (S, S) int array
        Number of spline bins between 0 and the cutoff.
    spline : (S, S) int array
        Which spline table the pair uses: pairs with equal parameters share one.
    knots : (sum over splines of bins + 1, 2, K) array
        Values of g_k at the knots, and their derivatives times the width of a bin. Knot 0 of
        each spline is unused.
    crad : (S, S, n_max, l_max + 1, K) array
        Coefficients c_nlk of R_nl in g_k.
    central, rank, n_terms : (size,) int arrays
        Central species, rank, and number of products of each function.
    species, n, l : (F,) int arrays
        Neighbour species, radial index (from 0) and l of each factor, function after function.
    couplings : (T,) array
        Generalised Clebsch-Gordan coefficients C_m.
    m : (sum over functions of n_terms * rank,) int array
        The m of every factor of every product.
    """

    elements: tuple[str, ...]
    cutoffs: Float
    bins: Int
    spline: Int
    knots: Float
    crad: Float
    central: Int
    rank: Int
    n_terms: Int
    species: Int
    n: Int
    l: Int  # noqa: E741
    couplings: Float
    m: Int

    @property
    def size(self) -> int:
        """Number of functions, those of all central species together."""
        return len(self.central)

    @property
    def cutoff(self) -> float:
        """Largest cutoff of any pair, Å."""
        return float(self.cutoffs.max())

    @classmethod
    def from_pyace(cls, bbasis: Any) -> FunctionTables:
        """Read a ``pyace.basis.ACEBBasisSet`` (which is not changed).

        Coefficients of the functions play no part, nor do one-body energies, which an
        ``ACEBBasisSet`` does not show.

        Raises
        ------
        ValueError
            If the energy of the basis is not linear in its coefficients.
        """
        _require_linear(bbasis)
        cutoffs, bins, spline, knots = _tabulate(bbasis.radial_functions)
        crad = np.array(bbasis.radial_functions.crad, dtype=float)
        if crad.size == 0:  # functions of rank 1 only
            crad = np.zeros((*cutoffs.shape, 0, 1, knots.shape[2]))
        central, rank, n_terms = [], [], []
        species, n, l, couplings, m = [], [], [], [], []  # noqa: E741
        for rank1, higher in zip(bbasis.basis_rank1, bbasis.basis, strict=True):
            for function in [*rank1, *higher]:
                products = function.ms_combs if function.rank > 1 else [[0]]
                central.append(function.mu0)
                rank.append(function.rank)
                n_terms.append(len(products))
                species += list(function.mus)
                n += [index - 1 for index in function.ns]
                l += list(function.ls) if function.rank > 1 else [0]  # noqa: E741
                couplings += list(function.gen_cgs) if function.rank > 1 else [1.0]
                for product in products:
                    m += list(product)
        return cls.from_arrays(
            {
                "format": np.array(_FORMAT),
                "elements": np.array(bbasis.elements_name),
                "cutoffs": cutoffs,
                "bins": bins,
                "spline": spline,
                "knots": knots,
                "crad": crad,
                "central": np.array(central, dtype=np.int64),
                "rank": np.array(rank, dtype=np.int64),
                "n_terms": np.array(n_terms, dtype=np.int64),
                "species": np.array(species, dtype=np.int64),
                "n": np.array(n, dtype=np.int64),
                "l": np.array(l, dtype=np.int64),
                "couplings": np.array(couplings, dtype=float),
                "m": np.array(m, dtype=np.int64),
            }
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays of numbers and fixed-width strings, fit for ``np.savez`` without pickle."""
        arrays = {field.name: np.array(getattr(self, field.name)) for field in fields(self)}
        return {"format": np.array(_FORMAT), **arrays}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> FunctionTables:
        """The inverse of `to_arrays`.

        Raises
        ------
        ValueError
            If something is missing or inconsistent: wrong numbers here would be wrong
            addresses in compiled code.
        """
        missing = {"format", *(field.name for field in fields(cls))} - set(arrays)
        if missing:
            raise ValueError(f"function tables lack {sorted(missing)}")
        if int(arrays["format"]) != _FORMAT:
            raise ValueError(f"format {int(arrays['format'])} of function tables, not {_FORMAT}")
        integers = {"bins", "spline", "central", "rank", "n_terms", "species", "n", "l", "m"}
        values: dict[str, Any] = {"elements": tuple(str(e) for e in arrays["elements"])}
        for field in fields(cls)[1:]:
            array = np.asarray(arrays[field.name])
            kind = "i" if field.name in integers else "f"
            if array.dtype.kind != kind:
                raise ValueError(f"{field.name} has dtype {array.dtype}, want kind {kind!r}")
            dtype = np.int64 if kind == "i" else np.float64
            values[field.name] = np.array(array, dtype=dtype, order="C")  # a copy of our own
            values[field.name].flags.writeable = False
        tables = cls(**values)
        tables._check()
        return tables

    def _check(self) -> None:
        """Refuse tables whose indices point outside, or whose numbers are not finite."""
        n_species = len(self.elements)
        if len(set(self.elements)) != n_species or n_species == 0:
            raise ValueError(f"elements must be distinct, got {self.elements}")
        _expect(self.crad.ndim == 5 and self.knots.ndim == 3, "crad (5-d) and knots (3-d)")
        n_max, n_l, n_base = self.crad.shape[2:]
        square = (n_species, n_species)
        _expect(self.crad.shape[:2] == square, "the shape of crad")
        _expect(self.knots.shape[1:] == (2, n_base), "the shape of knots")
        for name in ("cutoffs", "bins", "spline"):
            _expect(getattr(self, name).shape == square, f"the shape of {name}")
        size, n_factors = len(self.central), int(self.rank.sum())
        _expect(self.rank.shape == self.n_terms.shape == (size,) and size > 0, "rank, n_terms")
        for name in ("species", "n", "l"):
            _expect(getattr(self, name).shape == (n_factors,), f"the length of {name}")
        _expect(self.couplings.shape == (int(self.n_terms.sum()),), "the length of couplings")
        _expect(self.m.shape == (int((self.n_terms * self.rank).sum()),), "the length of m")
        for name in ("cutoffs", "knots", "crad", "couplings"):
            _expect(bool(np.isfinite(getattr(self, name)).all()), f"{name}: not finite")
        _expect(bool((self.rank >= 1).all() and (self.n_terms >= 1).all()), "rank or n_terms < 1")
        _expect(bool((self.cutoffs > 0).all() and (self.bins >= 2).all()), "cutoffs or bins")
        self._check_splines()
        within(self.central, n_species, "central")
        within(self.species, n_species, "species")
        rank1 = np.repeat(self.rank == 1, self.rank)
        within(self.n[rank1], n_base, "n of rank 1")
        within(self.n[~rank1], n_max, "n")
        within(self.l, n_l, "l")
        _expect(not self.l[rank1].any(), "l of rank 1")
        if (np.diff(self.central) < 0).any():
            raise ValueError("functions must be sorted by central species")
        for rank, indices in self.by_rank():
            products = self.products(rank, indices)
            _expect(not products.m.sum(axis=1).any(), "m of a product must add up to zero")
            _expect(bool((abs(products.m) <= products.l).all()), "|m| larger than l")

    def _check_splines(self) -> None:
        within(self.spline, self.spline.max() + 1, "spline")
        counts = np.zeros(self.spline.max() + 1, dtype=np.int64)
        counts[self.spline] = self.bins + 1
        _expect(bool((counts[self.spline] == self.bins + 1).all()), "bins of a shared spline")
        _expect(bool((counts > 0).all()) and counts.sum() == len(self.knots), "number of knots")

    def by_rank(self) -> list[tuple[int, Int]]:
        """Pairs of a rank and the indices of the functions of that rank."""
        return [(int(rank), np.flatnonzero(self.rank == rank)) for rank in np.unique(self.rank)]

    def products(self, rank: int, functions: Int) -> Products:
        """All products of some functions of one rank, one row each."""
        first_factor = np.cumsum(self.rank) - self.rank
        first_term = np.cumsum(self.n_terms) - self.n_terms
        first_m = np.cumsum(self.n_terms * self.rank) - self.n_terms * self.rank
        counts = self.n_terms[functions]
        function = np.repeat(functions, counts)
        term = np.arange(len(function)) - np.repeat(np.cumsum(counts) - counts, counts)
        slots = np.arange(rank)
        factors = first_factor[function, None] + slots
        return Products(
            function=function,
            coupling=self.couplings[first_term[function] + term],
            species=self.species[factors],
            n=self.n[factors],
            l=self.l[factors],
            m=self.m[first_m[function, None] + term[:, None] * rank + slots],
        )


@dataclass(frozen=True, eq=False)
class Products:
    """Products of A of one rank: function and coupling (T,); species, n, l, m (T, rank)."""

    function: Int
    coupling: Float
    species: Int
    n: Int
    l: Int  # noqa: E741
    m: Int


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(f"inconsistent function tables: {what}")


def within(values: Int, bound: int, name: str) -> None:
    """Raise ValueError unless 0 <= values < bound."""
    _expect(values.size == 0 or bool(values.min() >= 0 and values.max() < bound), name)


def _require_linear(bbasis: Any) -> None:
    for species, embedding in bbasis.map_embedding_specifications.items():
        element = bbasis.elements_name[species]
        got = (embedding.npoti, embedding.ndensity, list(embedding.FS_parameters))
        if (
            embedding.npoti not in ("FinnisSinclair", "FinnisSinclairShiftedScaled")
            or embedding.ndensity != 1
            or list(embedding.FS_parameters) != [1.0, 1.0]
        ):
            raise ValueError(
                f"the energy of {element} is not linear in the coefficients: embedding {got}; "
                "use npot FinnisSinclair with ndensity 1 and fs_parameters [1, 1]"
            )
    for pair, bond in bbasis.map_bond_specifications.items():
        name = "-".join(bbasis.elements_name[species] for species in pair)
        if bond.prehc != 0.0:
            raise ValueError(
                f"{name} has a core repulsion (prefactor {bond.prehc}), which makes the energy "
                "nonlinear in the coefficients; use a separate pair repulsion as a baseline"
            )
        if bond.inner_cutoff_type != "distance":
            raise ValueError(
                f"{name} has an inner cutoff of type {bond.inner_cutoff_type!r}, which depends on "
                "more than the distance of the pair; only 'distance' is linear"
            )


def _tabulate(radial: Any) -> tuple[Float, Int, Int, Float]:
    """Cutoffs, bins, spline of each pair, and the knots, with the spacing python-ace chooses."""
    n_species = len(radial.cut)
    # properties of the C++ object convert whole arrays: read each once
    parameters = [radial.lamb, radial.cut, radial.dcut, radial.radbasenameij]
    inner = [radial.cut_in, radial.dcut_in]
    delta = radial.deltaSplineBins
    cutoffs = np.array(radial.cut, dtype=float)
    bins = (cutoffs / delta).astype(np.int64)
    known: dict[tuple[Any, ...], int] = {}
    spline = np.zeros((n_species, n_species), dtype=np.int64)
    knots = []
    for i in range(n_species):
        for j in range(n_species):
            outer = tuple(table[i][j] for table in parameters)
            key = (*outer, *(table[i][j] for table in inner))
            if key not in known:
                known[key] = len(known)
                knots.append(_knots(radial, key, int(bins[i, j])))
            spline[i, j] = known[key]
    return cutoffs, bins, spline, np.concatenate(knots)


def _knots(radial: Any, key: tuple[Any, ...], bins: int) -> Float:
    decay, cutoff, width_of_cutoff, name, inner, width_of_inner = key
    if bins < 2:
        raise ValueError(f"{bins} spline bins below a cutoff of {cutoff} Å: take a finer spline")
    width = cutoff / bins
    knots = np.zeros((bins + 1, 2, radial.nradbase))
    for knot in range(1, bins + 1):
        radial.radbase(decay, cutoff, width_of_cutoff, name, knot * width, inner, width_of_inner)
        knots[knot, 0] = radial.gr
        knots[knot, 1] = radial.dgr
    knots[:, 1] *= width
    return knots
