"""Radial functions as their splines show them: do they end smoothly, and are they ever broken?

Whether the energy and forces of a model are continuous is a property of the functions g_k, not of
their names, so it is measured on the tables that evaluation uses.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ase_hal.ace.tables import FunctionTables

# What a radial function may be at the cutoff, relative to its largest value, and its slope there,
# relative to the largest beyond half the cutoff.
LARGEST_VALUE, LARGEST_SLOPE = 0.01, 0.1
# How far, relative to its largest value, a function may be from its spline's next knot, and how
# much its slope, relative to the largest, may change its change from one knot to the next.
_LARGEST_JUMP, _LARGEST_KINK = 0.05, 0.3

_REMEDIES = {
    "ChebPow": "the parameter of ChebPow has to be well above 1 (2 is usual)",
    "ChebLinear": "ChebLinear does not vanish there whatever its parameter: take SBessel, "
    "ChebExpCos, or ChebPow with a parameter of 2",
}


def check_radial_functions(tables: FunctionTables, bbasis: Any, *, part: str) -> None:
    """Raise ValueError where energies or forces would jump at some distance.

    Parameters
    ----------
    tables : FunctionTables
        One part of a basis.
    bbasis : pyace.basis.ACEBBasisSet
        What it was made from; tells the names of the radial bases.
    part : str
        Name of the part, for the message.
    """
    names = bbasis.radial_functions.radbasenameij
    parameters = bbasis.radial_functions.lamb
    starts = _starts(tables)
    for i, j in zip(*np.unique(tables.spline, return_index=True), strict=True):
        a, b = np.unravel_index(j, tables.spline.shape)
        bins, cutoff = int(tables.bins[a, b]), float(tables.cutoffs[a, b])
        knots = tables.knots[starts[i] + 1 : starts[i] + bins + 1]  # knot 0 is unused
        if problem := _problem(knots, cutoff, cutoff / bins):
            radbase, parameter = names[a][b], parameters[a][b]
            raise ValueError(
                f"{part} part, {tables.elements[a]}-{tables.elements[b]}: {problem} (radbase "
                f"{radbase}, radparameters [{parameter:g}]); {_remedy(radbase, problem)}"
            )


def _starts(tables: FunctionTables) -> NDArray[np.int64]:
    """Where the knots of each spline begin."""
    _, first = np.unique(tables.spline, return_index=True)
    return np.cumsum([0, *(tables.bins.ravel()[first] + 1)])


def _problem(knots: NDArray[np.float64], cutoff: float, width: float) -> str | None:
    """What is wrong with radial functions (n_knots, 2, K); knots hold slopes times their width."""
    values, steps = knots[:, 0], knots[:, 1]
    largest, steepest = np.abs(values).max(axis=0), np.abs(steps).max(axis=0)
    if not (largest > 0).all():
        return "a radial function is zero at all distances"
    # At the cutoff itself python-ace writes zero, whatever the functions are just before it.
    last_slope = 2 * steps[-2] - steps[-3]
    last_value = values[-2] + (steps[-2] + last_slope) / 2
    outer = np.abs(steps[len(steps) // 2 :]).max(axis=0)
    value = float(np.abs(last_value / largest).max())
    slope = float(np.abs(last_slope / np.where(outer > 0, outer, 1)).max())
    if value > LARGEST_VALUE or slope > LARGEST_SLOPE:
        what = "energies" if value > LARGEST_VALUE else "forces"
        return (
            f"{what} jump at the cutoff of {cutoff:g} Å, where radial functions still have "
            f"{100 * value:.2g} % of their largest value and {100 * slope:.2g} % of their "
            "largest slope at such distances"
        )
    inner, slopes = values[:-1], steps[:-1]
    jump = np.abs(np.diff(inner, axis=0) - (slopes[1:] + slopes[:-1]) / 2) / largest
    kink = np.abs(np.diff(slopes, n=2, axis=0)) / steepest
    for name, changes, offset, bound in (
        ("energies", jump.max(axis=1), 1.5, _LARGEST_JUMP),
        ("forces", kink.max(axis=1), 2.0, _LARGEST_KINK),
    ):
        where = int(changes.argmax())
        if changes[where] > bound:
            return f"{name} jump at a distance of {(where + offset) * width:.4g} Å"
    return None


def _remedy(radbase: str, problem: str) -> str:
    if "cutoff" in problem and radbase in _REMEDIES:
        return _REMEDIES[radbase]
    return "an inner cutoff needs r_in below the cutoff and a delta_in of some hundredths of an Å"
