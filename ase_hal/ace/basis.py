"""ACEBasis: which functions a linear ACE potential is made of.

The functions are pacemaker's (Bochkarev et al. 2022; Lysogorskiy et al. 2021), named and
specified as pacemaker does, so that every model can become a pacemaker or LAMMPS potential.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from ase import Atoms
from ase.data import chemical_symbols

from ase_hal.ace import pacemaker
from ase_hal.ace.specification_checks import (
    check_inner_cutoff,
    check_orders,
    check_radial_part,
)
from ase_hal.threads import threadsafe_cached_property

if TYPE_CHECKING:
    from pyace.basis import BBasisConfiguration

    from ase_hal.ace.evaluator import Evaluator, Rows
    from ase_hal.ace.evaluators import EvaluatorPool
    from ase_hal.ace.part import CompiledTables
    from ase_hal.ace.tables import FunctionTables

# (nradmax_by_orders, lmax_by_orders) for one element and for several: the number of functions
# grows fast with the number of elements (README, "Choosing a basis").
_SIZES = {
    "small": (([8, 4, 2], [0, 3, 1]), ([6, 3, 1], [0, 2, 1])),
    "medium": (([12, 6, 3, 2], [0, 4, 3, 1]), ([8, 4, 2], [0, 3, 1])),
    "large": (([15, 6, 4, 2], [0, 5, 4, 1]), ([12, 6, 2], [0, 5, 1])),
}


@dataclass(frozen=True)
class PairPart:
    """A pair potential with a cutoff of its own: the V2 of van der Oord et al. 2022.

    Attributes
    ----------
    rcut : float
        Cutoff, Å; usually a little longer than that of the many-body part.
    nradmax : int
        Number of radial functions for each pair of elements.
    radbase, radparameters
        Radial basis, in pacemaker's words.
    """

    rcut: float
    nradmax: int
    radbase: str = "SBessel"
    radparameters: tuple[float, ...] = (5.25,)


@dataclass(frozen=True)
class InnerCutoff:
    """Where the many-body functions are switched off at short distance.

    They are zero below ``r_in - delta_in`` and untouched above ``r_in`` (both in Å).
    """

    r_in: float
    delta_in: float = 0.1


@dataclass(frozen=True)
class BasisFunction:
    """One basis function: central element, its neighbours' elements, radial and angular indices.

    ``rank`` is the correlation order nu, so a function couples nu + 1 atoms. ``part`` is
    ``"many-body"`` or ``"pair"``.
    """

    part: str
    elements: tuple[str, ...]
    ns: tuple[int, ...]
    ls: tuple[int, ...]

    @property
    def rank(self) -> int:
        return len(self.ns)


class ACEBasis:
    """The functions of a linear ACE potential.

    Parameters
    ----------
    elements : sequence of str
        Chemical symbols; kept in alphabetical order as pacemaker does.
    rcut : float
        Cutoff of the many-body part, Å.
    nradmax_by_orders, lmax_by_orders : sequence of int
        Largest radial index and angular momentum for correlation order 1, 2, ...
    radbase : str
        Radial basis: ``"SBessel"``, ``"ChebExpCos"``, ``"ChebPow"`` or ``"ChebLinear"``.
    radparameters : sequence of float
        Parameters of the radial basis.
    inner_cutoff : InnerCutoff, optional
        Switches the many-body part off at short distance.
    pair : PairPart, optional
        A pair potential with its own, longer cutoff and no inner cutoff.

    Raises
    ------
    ValueError
        For unknown elements, cutoffs that are not positive, angular momenta beyond those that
        python-ace has at a correlation order, or wrong parameters of a radial basis. Whether
        radial functions vanish smoothly at their cutoffs is seen when `tables` are made: a basis
        where energies or forces would jump is refused then, before anything is fitted.

    See Also
    --------
    ACEBasis.total_degree : all functions up to a total polynomial degree.
    ACEBasis.preset : small, medium or large.
    ACEBasis.from_specification : a pacemaker specification, dict or YAML file.

    Examples
    --------
    >>> basis = ACEBasis(("Al", "Si"), rcut=5.5, nradmax_by_orders=[8, 4], lmax_by_orders=[0, 3])
    >>> basis.elements
    ('Al', 'Si')
    """

    def __init__(
        self,
        elements: Sequence[str],
        *,
        rcut: float,
        nradmax_by_orders: Sequence[int],
        lmax_by_orders: Sequence[int],
        radbase: str = "SBessel",
        radparameters: Sequence[float] = (5.25,),
        inner_cutoff: InnerCutoff | None = None,
        pair: PairPart | None = None,
    ) -> None:
        symbols = _checked_elements(elements)
        many_body = _specification(
            symbols, rcut, nradmax_by_orders, lmax_by_orders, radbase, radparameters
        )
        self._assemble(symbols, many_body, None, inner_cutoff, pair)

    def _assemble(
        self,
        elements: tuple[str, ...],
        many_body: Mapping[str, Any],
        max_degree: tuple[float, float] | None,
        inner_cutoff: InnerCutoff | None,
        pair: PairPart | None,
    ) -> None:
        self.elements = elements
        self.inner_cutoff = inner_cutoff
        self.pair = pair
        self._many_body = deepcopy(dict(many_body))
        bonds = self._many_body["bonds"]
        self._many_body["bonds"] = {
            key if isinstance(key, str) else "".join(key): bond for key, bond in bonds.items()
        }
        self._max_degree = max_degree
        if pair is not None:
            if pair.nradmax < 1:
                raise ValueError(f"a pair part needs nradmax of at least 1, got {pair.nradmax}")
            self._pair_specification(pair)  # the rest of what there is not is refused here
        if inner_cutoff is not None:
            shortest = min(bond.get("rcut", math.inf) for bond in bonds.values())
            check_inner_cutoff("many-body part", inner_cutoff.r_in, inner_cutoff.delta_in, shortest)

    @classmethod
    def total_degree(
        cls,
        elements: Sequence[str],
        *,
        rcut: float,
        order: int,
        degree: float,
        angular_weight: float = 1.5,
        inner_cutoff: InnerCutoff | None = None,
        pair: PairPart | None = None,
    ) -> ACEBasis:
        r"""All functions with sum(n) + angular_weight * sum(l) <= degree, as in the HAL paper.

        ``order=2, degree=13`` for two elements gives the paper's 684 many-body functions.

        Parameters
        ----------
        order : int
            Largest correlation order nu.
        degree : float
            Largest total polynomial degree.
        angular_weight : float
            How much an angular index counts against a radial one.
        elements, rcut, inner_cutoff, pair
            As for the class.
        """
        if order < 1 or degree < order or angular_weight <= 0:
            raise ValueError(
                f"a total-degree basis needs order >= 1, degree >= order and angular_weight > 0, "
                f"got order={order}, degree={degree}, angular_weight={angular_weight}"
            )
        symbols = _checked_elements(elements)
        nradmax = [int(degree - rank + 1) for rank in range(1, order + 1)]
        lmax = [0] + [int((degree - rank) / angular_weight) // 2 for rank in range(2, order + 1)]
        box = _specification(symbols, rcut, nradmax, lmax, "SBessel", (5.25,))
        basis = cls.__new__(cls)
        basis._assemble(symbols, box, (degree, angular_weight), inner_cutoff, pair)
        return basis

    @classmethod
    def preset(cls, size: str, elements: Sequence[str], *, rcut: float, **options: Any) -> ACEBasis:
        """A basis by size: ``"small"``, ``"medium"`` or ``"large"``.

        For one element they hold 58, 274 and 709 functions; for two, 170, 440
        and more than 1,000. Further options are those of the class.
        """
        if size not in _SIZES:
            raise ValueError(f"unknown preset {size!r}; there are {', '.join(_SIZES)}")
        nradmax, lmax = _SIZES[size][min(len(_checked_elements(elements)), 2) - 1]
        return cls(elements, rcut=rcut, nradmax_by_orders=nradmax, lmax_by_orders=lmax, **options)

    @classmethod
    def from_specification(
        cls,
        specification: Mapping[str, Any] | str | Path,
        *,
        tables: Sequence[FunctionTables] | None = None,
    ) -> ACEBasis:
        """Read a specification: what `specification` gives, or a pacemaker input.

        A pacemaker input is the ``potential`` section of an ``input.yaml`` (or the whole
        file) as a dict or the path of a YAML file. It must be linear: one density with
        Finnis-Sinclair parameters [1, 1] and no core repulsion, whose place a `ZBL`
        baseline takes. With ``tables`` (of a saved model) python-ace is not needed.
        """
        if isinstance(specification, str | Path):
            specification = yaml.safe_load(Path(specification).read_text(encoding="utf-8"))
        if not isinstance(specification, Mapping):
            raise ValueError(f"a basis specification is a mapping, got {type(specification)}")
        basis = cls.__new__(cls)
        if "many_body" in specification:
            inner, pair = specification.get("inner_cutoff"), specification.get("pair")
            degree = specification.get("max_degree")
            basis._assemble(
                _checked_elements(specification["many_body"]["elements"]),
                specification["many_body"],
                tuple(degree) if degree else None,
                InnerCutoff(**inner) if inner else None,
                PairPart(**{**pair, "radparameters": tuple(pair["radparameters"])})
                if pair
                else None,
            )
            if tables is not None:
                basis.__dict__["tables"] = tuple(tables)
            return basis
        potential = dict(specification.get("potential", specification))
        if missing := {"elements", "bonds", "functions"} - set(potential):
            raise ValueError(
                f"this is no pacemaker potential: it lacks {', '.join(sorted(missing))}"
            )
        potential.setdefault("embeddings", {"ALL": dict(pacemaker.LINEAR_EMBEDDING)})
        basis._assemble(_checked_elements(potential["elements"]), potential, None, None, None)
        basis.tables  # noqa: B018  a nonlinear specification is refused here and now
        return basis

    @property
    def specification(self) -> dict[str, Any]:
        """What defines the basis, JSON-able; `from_specification` reads it."""
        return {
            "many_body": json.loads(json.dumps(self._many_body)),
            "max_degree": list(self._max_degree) if self._max_degree else None,
            "inner_cutoff": asdict(self.inner_cutoff) if self.inner_cutoff else None,
            "pair": asdict(self.pair) if self.pair else None,
        }

    def with_inner_cutoff(self, inner_cutoff: InnerCutoff | None) -> ACEBasis:
        """The same functions with another inner cutoff, for the final fit."""
        basis = ACEBasis.__new__(ACEBasis)
        basis._assemble(self.elements, self._many_body, self._max_degree, inner_cutoff, self.pair)
        return basis

    def configurations(self) -> Iterator[tuple[str, BBasisConfiguration]]:
        """Pacemaker's configuration of each part, under its name."""
        many_body = deepcopy(self._many_body)
        if self.inner_cutoff is not None:
            for bond in many_body["bonds"].values():
                bond.update(asdict(self.inner_cutoff), inner_cutoff_type="distance")
        yield "many-body", pacemaker.configuration(many_body, self._within_degree)
        if self.pair is not None:
            yield "pair", pacemaker.configuration(self._pair_specification(self.pair))

    def _pair_specification(self, pair: PairPart) -> dict[str, Any]:
        return _specification(
            self.elements, pair.rcut, [pair.nradmax], [0], pair.radbase, pair.radparameters, "pair"
        )

    def _within_degree(self, function: Any) -> bool:
        if self._max_degree is None:
            return True
        degree, angular_weight = self._max_degree
        return bool(sum(function.ns) + angular_weight * sum(function.ls) <= degree + 1e-9)

    @cached_property
    def tables(self) -> tuple[FunctionTables, ...]:
        """The parts of the basis as plain arrays: all that evaluation needs.

        Raises
        ------
        ValueError
            If pacemaker refuses the basis or leaves functions out, or energies or forces would
            jump at some distance.
        """
        from ase_hal.ace.radial_checks import check_radial_functions
        from ase_hal.ace.tables import FunctionTables

        tables = []
        for part, config in self.configurations():
            built = pacemaker.basis_set(config)
            tables.append(FunctionTables.from_pyace(built))
            check_radial_functions(tables[-1], built, part=part)
        return tuple(tables)

    @cached_property
    def functions(self) -> tuple[BasisFunction, ...]:
        """Labels of the basis functions, in the order of the coefficients."""
        labels = []
        for part, config in self.configurations():
            built = pacemaker.basis_set(config)
            symbols = built.elements_name
            for mu in range(built.nelements):
                for f in [*built.basis_rank1[mu], *built.basis[mu]]:
                    kinds = tuple(symbols[m] for m in [f.mu0, *f.mus])
                    labels.append(BasisFunction(part, kinds, tuple(f.ns), tuple(f.ls)))
        return tuple(labels)

    @property
    def size(self) -> int:
        """Number of basis functions."""
        return sum(table.size for table in self.tables)

    @property
    def cutoff(self) -> float:
        """The longest cutoff, Å."""
        return max(table.cutoff for table in self.tables)

    def evaluator(self) -> Evaluator:
        """A new evaluator, which starts without any neighbour list."""
        from ase_hal.ace.evaluator import Evaluator

        return Evaluator(self._compiled)

    def evaluators(self) -> EvaluatorPool:
        """A new pool of evaluators, with which any number of threads can work at once."""
        from ase_hal.ace.evaluators import EvaluatorPool

        return EvaluatorPool(self._compiled)

    @threadsafe_cached_property
    def _compiled(self) -> tuple[CompiledTables, ...]:
        """What all evaluators share, so that functions are compiled only once."""
        from ase_hal.ace.part import CompiledTables

        return tuple(CompiledTables(tables) for tables in self.tables)

    @threadsafe_cached_property
    def _evaluators(self) -> EvaluatorPool:
        return self.evaluators()

    def rows(self, atoms: Atoms) -> Rows:
        """Energy, force and virial rows of the design matrix, per unit coefficient.

        Returns
        -------
        Rows
            ``energy`` (n_basis,), ``forces`` (N, 3, n_basis) in 1/Å, ``virial``
            (6, n_basis) in Voigt order xx, yy, zz, yz, xz, xy.
        """
        with self._evaluators.borrowed() as evaluator:
            return evaluator.rows(atoms)

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()  # in one step: another thread may add to it
        for name in ("_compiled", "_evaluators"):
            state.pop(name, None)
        return state

    def __repr__(self) -> str:
        parts = "" if self.pair is None else f", pair part to {self.pair.rcut} Å"
        return f"ACEBasis({'-'.join(self.elements)}, {self.size} functions{parts})"


def _specification(
    elements: Sequence[str],
    rcut: float,
    nradmax: Sequence[int],
    lmax: Sequence[int],
    radbase: str,
    radparameters: Sequence[float],
    part: str = "many-body",
) -> dict[str, Any]:
    check_orders(nradmax, lmax)
    check_radial_part(f"{part} part", radbase, radparameters, rcut)
    return {
        "deltaSplineBins": 0.001,
        "elements": list(elements),
        "embeddings": {"ALL": dict(pacemaker.LINEAR_EMBEDDING)},
        "bonds": {
            "ALL": {
                "radbase": radbase,
                "radparameters": [float(p) for p in radparameters],
                "rcut": float(rcut),
                "dcut": 0.01,
                "NameOfCutoffFunction": "cos",
                "core-repulsion": [0.0, 1.0],
            }
        },
        "functions": {
            "ALL": {
                "nradmax_by_orders": [int(n) for n in nradmax],
                "lmax_by_orders": [int(l) for l in lmax],  # noqa: E741
            }
        },
    }


def _checked_elements(elements: Sequence[str]) -> tuple[str, ...]:
    if isinstance(elements, str) or not elements:
        raise ValueError(f"elements is a sequence of chemical symbols, got {elements!r}")
    if unknown := [e for e in elements if e not in chemical_symbols[1:]]:
        raise ValueError(f"no such chemical elements: {', '.join(map(str, unknown))}")
    if len(set(elements)) != len(elements):
        raise ValueError(f"an element is named twice in {tuple(elements)}")
    return tuple(sorted(elements))
