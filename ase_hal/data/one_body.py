"""One-body energies: given ones, those of lone atoms, or means by least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ase_hal.baseline import least_squares_one_body
from ase_hal.data.lone_atoms import SAME_ENERGY, Single, lone_atoms
from ase_hal.prediction import Array

# eV per atom; no crystal is bound as strongly (tungsten: 8.9).
_STRONGEST_BINDING = 10.0


class Total(NamedTuple):
    """Energy of one structure, as far as one-body energies follow from it.

    Attributes
    ----------
    counts : (n_elements,) array
        Numbers of atoms.
    energy : float
        eV, without the repulsion.
    label : float
        eV, with it.
    weight : float
        Factor of the residual of the energy per atom; 0 where it does not count.
    alone : bool
        Whether no atom has a neighbour.
    separation : float
        From an atom without neighbours to its nearest periodic image, Å.
    """

    counts: Array
    energy: float
    label: float
    weight: float
    alone: bool
    separation: float


class Totals(NamedTuple):
    """Those of n structures, as arrays with n rows; see `Total`."""

    counts: Array
    energies: Array
    labels: Array
    weights: Array
    alone: NDArray[np.bool_]
    separations: Array

    @classmethod
    def of(cls, items: Sequence[Total]) -> Totals:
        """Gather them."""
        columns = [np.array(column) for column in zip(*items, strict=True)]
        counts, energies, labels, weights, alone, separations = columns
        return cls(counts, energies, labels, weights, alone.astype(bool), separations)


def one_body_energies(
    elements: Sequence[str], totals: Totals, given: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Energies of isolated atoms, eV.

    Parameters
    ----------
    elements : sequence of str
    totals : Totals
    given : mapping of str to float, optional
        Energies that a user knows. They are compared with the data.

    Returns
    -------
    dict of str to float
        Given ones; else exactly those of lone atoms; else, for elements of which there is none,
        those that bring the other energies closest to zero.

    Raises
    ------
    ValueError
        Where lone atoms contradict each other or a given energy by more than 10 meV, or the
        energies of the dataset are more than 10 eV per atom away from given ones.
    """
    if given is not None:
        check_given(given, elements, totals)
        return {symbol: float(given[symbol]) for symbol in elements}
    measured = isolated_energies(elements, totals)
    if set(measured) == set(elements):
        _check_binding(measured, elements, totals, "lone atoms have")
    known = np.array([measured.get(symbol, 0.0) for symbol in elements])
    sought = np.array([symbol not in measured for symbol in elements])
    counts = totals.counts[:, sought]
    rows = ~totals.alone & counts.any(axis=1) & (totals.weights > 0)
    # residuals per atom of a structure, whatever its atoms are
    shares = counts.sum(axis=1) / totals.counts.sum(axis=1)
    found: dict[str, float] = {}
    if sought.any():
        found = least_squares_one_body(
            [symbol for symbol in elements if symbol not in measured],
            counts[rows],
            (totals.energies - totals.counts @ known)[rows],
            (totals.weights * shares)[rows],
        )
    return {symbol: {**found, **measured}[symbol] for symbol in elements}


def isolated_energies(elements: Sequence[str], totals: Totals) -> dict[str, float]:
    """Energies (eV) of elements from structures without neighbours.

    Those of single atoms; for other elements those that structures of several atoms without
    neighbours determine, all together.
    """
    counting = totals.alone & (totals.weights > 0)
    sizes = totals.counts.sum(axis=1)
    singles = [
        Single(
            int(i),
            elements[int(np.argmax(totals.counts[i]))],
            float(totals.energies[i]),
            float(totals.separations[i]),
        )
        for i in np.flatnonzero(counting & (sizes == 1))
    ]
    found = {symbol: atom.energy for symbol, atom in lone_atoms(singles).items()}
    sought = [i for i, symbol in enumerate(elements) if symbol not in found]
    several = counting & (sizes > 1) & totals.counts[:, sought].any(axis=1)
    if several.any():
        known = np.array([found.get(symbol, 0.0) for symbol in elements])
        counts = totals.counts[several][:, sought]
        rest = (totals.energies - totals.counts @ known)[several]
        inverse = np.linalg.pinv(counts)
        determined = np.abs(np.diag(inverse @ counts) - 1) < 1e-9
        energies = inverse @ rest
        for place in np.flatnonzero(determined):
            found[elements[sought[place]]] = float(energies[place])
    return found


def check_given(given: Mapping[str, float], elements: Sequence[str], totals: Totals) -> None:
    """Raise ValueError where one-body energies cannot be right; see `one_body_energies`."""
    for symbol, energy in isolated_energies(elements, totals).items():
        if abs(energy - given[symbol]) > SAME_ENERGY:
            raise ValueError(
                f"one_body says {given[symbol]:.4f} eV for {symbol}, and a lone {symbol} atom of "
                f"the dataset has {energy:.4f} eV: correct one_body, or leave it out"
            )
    _check_binding(given, elements, totals, "one_body gives")


def _check_binding(
    energies_of: Mapping[str, float], elements: Sequence[str], totals: Totals, who: str
) -> None:
    """Raise ValueError where structures would be bound as nothing is, element by element."""
    bound = ~totals.alone & (totals.weights > 0)
    energies = np.array([energies_of[symbol] for symbol in elements])
    sizes = totals.counts.sum(axis=1)
    expected, actual = totals.counts @ energies / sizes, totals.labels / sizes
    for number, symbol in enumerate(elements):
        rows = bound & (totals.counts[:, number] > 0)
        if rows.any() and _impossible((actual - expected)[rows]):
            raise ValueError(
                f"{who} {np.median(expected[rows]):.2f} eV per atom for structures with "
                f"{symbol} that have {np.median(actual[rows]):.2f} eV per atom (medians; "
                f"{symbol}: {energies_of[symbol]:.4f} eV), and atoms are bound by less than "
                f"{_STRONGEST_BINDING:g} eV: give energies of isolated atoms, eV, from "
                "calculations of the same kind, or none, which fits means"
            )


def _impossible(binding: Array) -> bool:
    """Whether energies per atom, less those of isolated atoms, cannot be those of matter.

    Compressed structures may have any energy above, but not all structures are compressed.
    """
    usual, lowest = float(np.median(binding)), float(np.min(binding))
    return usual < -_STRONGEST_BINDING or lowest > _STRONGEST_BINDING
