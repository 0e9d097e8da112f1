"""Committee: what every explorer, calculator and criterion of the package asks questions of."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from ase import Atoms
from ase.calculators.calculator import CalculationFailed

from ase_hal.prediction import Prediction

# What a committee raises on a structure it cannot evaluate: atoms on top of each other, overflow,
# an SCF cycle that does not converge. Anything else is a fault of the setup, which must not pass
# for a strange structure.
REFUSALS = (ValueError, ArithmeticError, CalculationFailed)


@runtime_checkable
class Committee(Protocol):
    """Anything that predicts energies and forces together with their uncertainty.

    The linear ACE posterior, a list of ASE calculators and analytic models for tests all
    satisfy it, and so may a class of yours: there is nothing to inherit from.
    """

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols the committee knows."""
        ...

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        """Predict for one structure.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure; it is not changed, and its own calculator plays no part.
        members : bool
            Also give the forces of every member.
        stress : bool
            Ask for the stress, which then must exist. Committees for which it costs nothing
            give it wherever it has a meaning: in a cell with a volume that is periodic.
        """
        ...
