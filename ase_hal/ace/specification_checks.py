"""Checks that a basis which is asked for is one that python-ace builds, whole.

python-ace knows the couplings of a limited set of functions and leaves out all others without a
word; from lists of unequal length it takes what both have; a radial function without a parameter
ends the process.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RADIAL_BASES = ("SBessel", "ChebExpCos", "ChebPow", "ChebLinear")

# The largest angular momentum of the functions that python-ace has, by correlation order.
LARGEST_L = {1: 0, 2: 10, 3: 6, 4: 4, 5: 3, 6: 2, 7: 2, 8: 1, 9: 1, 10: 1, 11: 1, 12: 1}

_BOND_KEYS = {
    "radbase", "radparameters", "rcut", "dcut", "NameOfCutoffFunction", "core-repulsion",
    "r_in", "delta_in", "inner_cutoff_type", "nradbase", "nradmax", "lmax",
}  # fmt: skip
_MOST_BINS = 1_000_000


def check_orders(nradmax: Sequence[int], lmax: Sequence[int]) -> None:
    """Raise ValueError for a shape of the basis that python-ace does not have.

    Parameters
    ----------
    nradmax, lmax : sequence of int
        Largest radial index and angular momentum for correlation order 1, 2, ...
    """
    if len(nradmax) != len(lmax) or not len(nradmax):
        raise ValueError(
            "nradmax_by_orders and lmax_by_orders have one entry for each correlation order, "
            f"got {list(nradmax)} and {list(lmax)}"
        )
    if not all(map(_is_whole, (*nradmax, *lmax))):
        raise ValueError(
            "nradmax_by_orders and lmax_by_orders are whole numbers, "
            f"got {list(nradmax)} and {list(lmax)}"
        )
    if lmax[0] != 0:
        raise ValueError(
            f"correlation order 1 has no angular part: lmax starts with 0, got {lmax[0]}"
        )
    if min(nradmax) < 1 or min(lmax) < 0:
        raise ValueError(
            f"nradmax >= 1 and lmax >= 0 are needed, got {list(nradmax)}, {list(lmax)}"
        )
    if len(lmax) > len(LARGEST_L):
        raise ValueError(
            f"python-ace has functions up to correlation order {len(LARGEST_L)}, got {len(lmax)}"
        )
    limits = [LARGEST_L[rank] for rank in range(1, len(lmax) + 1)]
    if any(wanted > limit for wanted, limit in zip(lmax, limits, strict=True)):
        raise ValueError(
            f"lmax_by_orders is at most {limits}, since python-ace has no functions of larger l, "
            f"got {list(lmax)}"
        )


def check_bonds(bonds: Mapping[Sequence[str], Mapping[str, Any]], bin_width: float) -> None:
    """Raise ValueError for radial parts that python-ace takes and builds as something else.

    Parameters
    ----------
    bonds : mapping of pairs of elements to mappings
        Specification of the radial functions of each pair, in pacemaker's words.
    bin_width : float
        Of the splines, Å.
    """
    for pair, bond in bonds.items():
        name = "-".join(pair)
        if unknown := sorted(set(bond) - _BOND_KEYS):
            raise ValueError(
                f"{name}: pacemaker would ignore {', '.join(unknown)} "
                f"(it knows {', '.join(sorted(_BOND_KEYS))})"
            )
        if missing := sorted({"radbase", "radparameters", "rcut"} - set(bond)):
            raise ValueError(f"{name}: {', '.join(missing)} is missing")
        check_radial_part(name, bond["radbase"], bond["radparameters"], bond["rcut"])
        if bond["rcut"] / bin_width > _MOST_BINS:
            raise ValueError(
                f"{name}: a cutoff of {bond['rcut']} Å would need more than {_MOST_BINS} spline "
                f"bins of {bin_width} Å"
            )
        dcut = bond.get("dcut", 0.0)
        if not 0 <= dcut <= bond["rcut"]:
            raise ValueError(f"{name}: dcut lies between 0 and rcut = {bond['rcut']}, got {dcut}")
        if bond.get("r_in", 0.0) or bond.get("delta_in", 0.0):
            check_inner_cutoff(name, bond.get("r_in", 0.0), bond.get("delta_in", 0.0), bond["rcut"])


def check_radial_part(name: str, radbase: str, radparameters: Iterable[float], rcut: float) -> None:
    """Raise ValueError for an unknown radial basis, wrong parameters of it or an unfit cutoff."""
    if radbase not in RADIAL_BASES:
        raise ValueError(
            f"{name}: unknown radbase {radbase!r}; there are {', '.join(RADIAL_BASES)}"
        )
    if isinstance(radparameters, str) or not isinstance(radparameters, Iterable):
        raise ValueError(f"{name}: radparameters is a list of one number, got {radparameters!r}")
    parameters = list(radparameters)
    if len(parameters) != 1 or not _is_finite(parameters[0]):
        raise ValueError(
            f"{name}: {radbase} takes one finite number in radparameters, got {parameters}"
        )
    if not (_is_finite(rcut) and rcut > 0):
        raise ValueError(f"{name}: a cutoff is a positive length in Å, got {rcut}")


def check_inner_cutoff(name: str, r_in: float, delta_in: float, rcut: float) -> None:
    """Raise ValueError unless 0 < delta_in <= r_in < rcut."""
    if not 0 < delta_in <= r_in:
        raise ValueError(
            f"{name}: an inner cutoff needs 0 < delta_in <= r_in, got r_in={r_in}, "
            f"delta_in={delta_in}"
        )
    if not r_in < rcut:
        raise ValueError(f"{name}: an inner cutoff of {r_in} Å leaves nothing below {rcut} Å")


def check_functions_built(
    asked: Mapping[Sequence[str], Mapping[str, Any]], built: Mapping[Sequence[str], Sequence[Any]]
) -> None:
    """Raise ValueError where functions that were asked for have been left out.

    Parameters
    ----------
    asked : mapping of tuples of elements to mappings
        ``nradmax_by_orders`` and ``lmax_by_orders`` for each central element and its neighbours'.
    built : mapping of tuples of elements to sequences
        Function specifications of python-ace (``.ns``, ``.ls``) under the same keys.
    """
    for elements, block in asked.items():
        if "nradmax_by_orders" not in block:
            continue
        nradmax, lmax = block["nradmax_by_orders"], block["lmax_by_orders"]
        name = "-".join(elements)
        try:
            check_orders(nradmax, lmax)
        except ValueError as error:
            raise ValueError(f"functions of {name}: {error}") from None
        largest: dict[int, tuple[int, int]] = {}
        for function in built.get(tuple(elements), ()):
            ns, ls = function.ns, function.ls
            n, l = largest.get(len(ns), (0, 0))  # noqa: E741
            largest[len(ns)] = max(n, *ns), max(l, *ls)
        # With fewer neighbours than other elements, there is no function of all of them.
        for rank in range(max(len(elements) - 1, 1), len(lmax) + 1):
            wanted = nradmax[rank - 1], lmax[rank - 1]
            got = largest.get(rank, (0, 0))
            if got != wanted:
                raise ValueError(
                    f"functions of {name}, correlation order {rank}: pacemaker builds them up to "
                    f"n = {got[0]} and l = {got[1]}, where n = {wanted[0]} and l = {wanted[1]} "
                    "were asked for"
                )


def _is_whole(value: Any) -> bool:
    return _is_finite(value) and float(value).is_integer()


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)
