"""CalculatorCommittee: any list of ASE calculators as one model with an uncertainty."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

import cloudpickle
import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, PropertyNotImplementedError
from ase.data import atomic_numbers, chemical_symbols

from ase_hal.committee import REFUSALS
from ase_hal.parallel import in_order
from ase_hal.prediction import Array, Prediction, demand_stress


class _Answer(NamedTuple):
    energy: float  # eV, the one whose derivative the forces are
    forces: Array  # (N, 3), eV/Å
    stress: Array | None  # (6,), eV/Å^3


class CalculatorCommittee:
    r"""The mean and the spread of K calculators (Waters & Rondinelli 2024; Eq. 5 of paper HAL).

    .. math:: \sigma^2 = \frac{1}{K - d} \sum_k (E_k - \bar E)^2 + N s^2

    ==================  ==========================================  =========
    symbol              here                                        units
    ==================  ==========================================  =========
    E_k, mean of E      ``member_energies``, ``energy``             eV
    sigma               ``energy_std``; without N s^2 `model_std`   eV
    grad sigma          ``energy_std_gradient``,                    eV/Å
                        :math:`-\sum_k (E_k - \bar E) F_k
                        / ((K - d) \sigma)`
    d                   `ddof`
    s                   `floor`                                     eV
    ==================  ==========================================  =========

    E_k is the free energy of a member that has one, and its energy otherwise: the energy that
    belongs to its forces. Members with different zeros of energy (a density functional beside
    an empirical potential) have a sigma that mostly says so: shift them before.

    Parameters
    ----------
    calculators : sequence of ASE calculators
        The members, at least two, each an object of its own. They must give forces; a stress
        is needed of them only where it is asked for.
    floor : float
        Uncertainty of the energy of one atom that no agreement of the members takes away, eV;
        N atoms have sqrt(N) times as much. It is part of sigma and of its gradient, and keeps
        the direction of the gradient steady where the members agree.
    ddof : int
        Subtracted from K in the variance: 0 is Eq. 5, 1 the unbiased estimate.
    elements : sequence of str, optional
        Chemical symbols the committee knows. By default those of the members that have
        ``elements``; where none has, every element, and the members speak up themselves.
    force_scale : float
        Typical force, eV/Å: the default epsilon of the relative force error. A fit passes the
        mean force of its training set.
    executor : concurrent.futures.Executor, optional
        Evaluates the members in parallel. One with processes gets every member pickled with
        every prediction, which takes seconds for a large network: it is for members that take
        longer to evaluate than to send. It does not travel with a pickled committee.

    Examples
    --------
    >>> committee = CalculatorCommittee([load(path) for path in models], floor=1e-3)
    >>> atoms.calc = HALCalculator(committee, tau=0.5)
    """

    def __init__(
        self,
        calculators: Sequence[Any],
        *,
        floor: float = 1e-3,
        ddof: int = 0,
        elements: Sequence[str] | None = None,
        force_scale: float = 1.0,
        executor: Executor | None = None,
    ) -> None:
        _check_members(calculators)
        if not 0 <= floor < math.inf:
            raise ValueError(f"floor is an energy in eV, 0 or more, got {floor}")
        if ddof not in (0, 1):
            raise ValueError(f"ddof is 0 or 1, got {ddof}")
        if not 0 < force_scale < math.inf:
            raise ValueError(f"force_scale is a positive force in eV/Å, got {force_scale}")
        self.calculators = tuple(calculators)
        self.floor = float(floor)
        self.ddof = int(ddof)
        self.force_scale = float(force_scale)
        self.executor = executor
        self._elements = _common_elements(self.calculators, elements)

    @property
    def elements(self) -> tuple[str, ...]:
        return self._elements

    def __len__(self) -> int:
        return len(self.calculators)

    def __copy__(self) -> CalculatorCommittee:
        """With calculators of its own, which remember nothing: two copies never disturb."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other.calculators = copy.deepcopy(self.calculators)
        _forget(other.calculators)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # Calculators hold lambdas once they were used, which pickle does not take.
        members = cloudpickle.dumps(self.calculators)
        return {**self.__dict__, "calculators": members, "executor": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.calculators = cloudpickle.loads(state["calculators"])
        _forget(self.calculators)

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        """See `Committee.predict`; the stress is given only where it is asked for.

        Raises
        ------
        ValueError
            For elements the committee does not know, or a stress without a meaning.
        PropertyNotImplementedError
            Where the stress is asked for and a member has none; the member is named.
        CalculationFailed
            Where a member refuses the structure or answers with numbers that are not finite.
        """
        if unknown := set(atoms.symbols) - set(self._elements):
            raise ValueError(
                f"the committee knows {', '.join(self._elements)}, "
                f"the structure has {', '.join(sorted(unknown))}"
            )
        if stress:
            demand_stress(atoms)
        answers = self._ask(_bare(atoms), stress)
        energies = np.array([answer.energy for answer in answers])
        forces = np.array([answer.forces for answer in answers])
        deviations = energies - energies.mean()
        degrees = len(energies) - self.ddof
        model_std = math.sqrt(float(deviations @ deviations) / degrees)
        sigma = math.hypot(model_std, self.floor * math.sqrt(len(atoms)))
        # At sigma = 0 there is no direction of growing uncertainty.
        weights = deviations / (degrees * sigma) if sigma > 0 else np.zeros_like(deviations)
        mean_stress = std_stress = None
        if stress:
            stresses = np.array([answer.stress for answer in answers])
            mean_stress, std_stress = stresses.mean(axis=0), weights @ stresses
        return Prediction(
            energy=float(energies.mean()),
            forces=forces.mean(axis=0),
            energy_std=sigma,
            energy_std_gradient=-np.tensordot(weights, forces, axes=1),
            model_std=model_std,
            force_scale=self.force_scale,
            member_energies=energies,
            member_forces=forces if members else None,
            stress=mean_stress,
            energy_std_stress=std_stress,
        )

    def _ask(self, atoms: Atoms, stress: bool) -> list[_Answer]:
        jobs = [(calc, number, atoms, stress) for number, calc in enumerate(self.calculators)]
        return list(in_order(_answer, jobs, self.executor))


def _answer(calculator: Any, number: int, atoms: Atoms, stress: bool) -> _Answer:
    """One member's answer, checked. At module level so that it can be pickled."""
    who = f"member {number} ({type(calculator).__name__})"
    atoms = atoms.copy()
    try:
        # Forces first: asked for an energy alone, many calculators compute nothing else.
        forces = np.array(calculator.get_property("forces", atoms), dtype=float)
        free = "free_energy" in calculator.implemented_properties
        energy = float(calculator.get_property("free_energy" if free else "energy", atoms))
        stresses = None
        if stress:
            stresses = np.array(calculator.get_property("stress", atoms), dtype=float)
    except PropertyNotImplementedError as error:
        raise PropertyNotImplementedError(f"{who} does not give all of this: {error}") from error
    except REFUSALS as error:
        raise CalculationFailed(f"{who} refused the structure: {error}") from error
    except Exception as error:
        raise RuntimeError(f"{who} failed: {type(error).__name__}: {error}") from error
    if forces.shape != (len(atoms), 3) or (stresses is not None and stresses.shape != (6,)):
        shapes = (forces.shape, None if stresses is None else stresses.shape)
        raise RuntimeError(f"{who} gave forces and stress of shapes {shapes}")
    for name, value in (("energy", energy), ("forces", forces), ("stress", stresses)):
        if value is not None and not np.isfinite(value).all():
            raise CalculationFailed(f"{who} gave {name} with NaN or infinity")
    return _Answer(energy, forces, stresses)


def _bare(atoms: Atoms) -> Atoms:
    """The structure alone: members see no constraints, tags, momenta or info."""
    bare = Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    for name in ("initial_magmoms", "initial_charges"):
        if atoms.has(name):
            bare.set_array(name, atoms.get_array(name))
    return bare


def _forget(calculators: Sequence[Any]) -> None:
    """Make members start afresh: neighbour lists with a memory change the last digits."""
    for calculator in calculators:
        reset = getattr(calculator, "reset", None)
        if callable(reset):
            reset()


def _check_members(calculators: Sequence[Any]) -> None:
    if len(calculators) < 2:
        raise ValueError(f"a committee has at least two members, got {len(calculators)}")
    for number, calculator in enumerate(calculators):
        if not callable(getattr(calculator, "get_property", None)):
            raise TypeError(
                f"member {number} is not an ASE calculator but a {type(calculator).__name__}"
            )
        if "forces" not in calculator.implemented_properties:
            raise ValueError(f"member {number} ({type(calculator).__name__}) gives no forces")
    if len({id(calculator) for calculator in calculators}) < len(calculators):
        raise ValueError("the members are different objects, got the same calculator twice")


def _common_elements(calculators: Sequence[Any], elements: Sequence[str] | None) -> tuple[str, ...]:
    """Elements as given, or as all members that know their own agree on."""
    if elements is not None:
        if wrong := [symbol for symbol in elements if symbol not in atomic_numbers]:
            raise ValueError(f"elements are chemical symbols, got {wrong}")
        if not elements:
            raise ValueError("elements is empty: a committee knows at least one")
        elements = tuple(elements)
    source = "the committee"
    for number, calculator in enumerate(calculators):
        declared = getattr(calculator, "elements", None)
        if declared is None:
            continue
        declared = tuple(declared)
        here = f"member {number} ({type(calculator).__name__})"
        if elements is None:
            elements, source = declared, here
        elif set(declared) != set(elements):
            raise ValueError(
                f"members with different elements: {source} has {', '.join(elements)}, "
                f"{here} has {', '.join(declared)}"
            )
    return tuple(chemical_symbols[1:]) if elements is None else tuple(elements)
