"""CalculatorCommittee: any list of ASE calculators as one model with an uncertainty."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, ClassVar

import cloudpickle
import numpy as np
from ase import Atoms

from ase_hal.baseline import Baseline
from ase_hal.committee_file import incomplete, read_contents, write_contents
from ase_hal.committees.members import (
    Answer,
    answer,
    check_members,
    common_elements,
    forget,
    usage_of,
)
from ase_hal.fitted_potential import FittedPotential
from ase_hal.prediction import Prediction, demand_stress
from ase_hal.threads import all_held, with_help

_VERSION = 1
# Calculators of python-ace that a file may name: it must not choose what is called.
_KINDS = ("PyACECalculator", "PyGRACEFSCalculator")


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

    Notes
    -----
    Threads may share a committee, and committees may share members: a calculator answers all that
    is asked about one structure before it turns to another. What it remembers serves the Atoms
    object that it was asked about last, and is discarded (``calculator.reset()``, where there is
    such a method) before another one comes. Results therefore do not depend on the order in which
    structures are asked about, as long as each Atoms object comes once or unchanged, or has the
    members to itself; objects that move by turns, such as the images of a band, all start afresh.
    Only trajectories that run in several threads at once and share members with a memory, such as
    neighbour lists with a skin, may differ from run to run in the last digits: give each
    a ``copy.copy`` of the committee, as the explorers do.

    Examples
    --------
    >>> committee = CalculatorCommittee([load(path) for path in models], floor=1e-3)
    >>> atoms.calc = HALCalculator(committee, tau=0.5)
    """

    file_format: ClassVar[str] = "ase_hal calculator committee"

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
        check_members(calculators)
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
        self._elements = common_elements(self.calculators, elements)

    @property
    def elements(self) -> tuple[str, ...]:
        return self._elements

    def __len__(self) -> int:
        return len(self.calculators)

    def __copy__(self) -> CalculatorCommittee:
        """With calculators of its own, which remember nothing: two copies never disturb."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        with self._members_held():
            other.calculators = copy.deepcopy(self.calculators)
        forget(other.calculators)
        return other

    def __getstate__(self) -> dict[str, Any]:
        # Calculators hold lambdas once they were used, which pickle does not take.
        with self._members_held():
            members = cloudpickle.dumps(self.calculators)
        return {**self.__dict__, "calculators": members, "executor": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.calculators = cloudpickle.loads(state["calculators"])
        forget(self.calculators)

    def _members_held(self) -> AbstractContextManager[None]:
        """No member is in use meanwhile."""
        return all_held([usage_of(calculator).lock for calculator in self.calculators])

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
        answers = self._ask(atoms, stress)
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

    def write(self, path: str | Path) -> None:
        """Write ``path`` (JSON) and, beside it, its arrays as ``.npz``; no pickle in either.

        That is possible for committees of potentials that python-ace evaluates, as `PacemakerFit`
        and `GraceFit` make them. The executor is not written.

        Raises
        ------
        TypeError
            For members of other kinds; nothing is written then.
        """
        described = [
            {"kind": c.kind, "elements": list(c.elements), "baseline": c.baseline.todict()}
            for c in self._potentials()
        ]
        header = {
            "format": self.file_format,
            "version": _VERSION,
            "floor": self.floor,
            "ddof": self.ddof,
            "elements": list(self._elements),
            "force_scale": self.force_scale,
            "members": described,
        }
        texts = {
            f"member{i}/text": np.frombuffer(c.text.encode(), dtype=np.uint8)
            for i, c in enumerate(self._potentials())
        }
        write_contents(path, header, texts)

    @classmethod
    def read(cls, path: str | Path, *, executor: Executor | None = None) -> CalculatorCommittee:
        """Read what `write` wrote; evaluation needs python-ace.

        Raises
        ------
        ValueError
            If the file is of another kind or version, or is damaged.
        """
        header, arrays = read_contents(path, cls.file_format, _VERSION)
        try:
            members = [
                _potential(described, arrays[f"member{i}/text"])
                for i, described in enumerate(header["members"])
            ]
            return cls(
                members,
                floor=header["floor"],
                ddof=header["ddof"],
                elements=header["elements"],
                force_scale=header["force_scale"],
                executor=executor,
            )
        except (KeyError, TypeError, UnicodeDecodeError) as error:
            raise incomplete(path, error) from error

    def _potentials(self) -> list[FittedPotential]:
        """The members, where all can be written."""
        potentials = [c for c in self.calculators if type(c) is FittedPotential]
        if len(potentials) < len(self.calculators):
            others = {type(c).__name__: None for c in self.calculators}
            others.pop(FittedPotential.__name__, None)
            raise TypeError(
                f"members of type {', '.join(others)} cannot be written: a committee file holds "
                "potentials that python-ace evaluates (FittedPotential, the members of the "
                "committees of PacemakerFit and GraceFit). Keep what other calculators are made "
                "from and make them again, or pickle the committee for your own use"
            )
        return potentials

    def _ask(self, atoms: Atoms, stress: bool) -> list[Answer]:
        bare = _bare(atoms)
        # elsewhere calculators are copies that are used once, and atoms may be long to send
        here = self.executor is None or isinstance(self.executor, ThreadPoolExecutor)
        owner = atoms if here else None
        jobs = [(c, number, bare, stress, owner) for number, c in enumerate(self.calculators)]
        return with_help(answer, jobs, self.executor)


def _bare(atoms: Atoms) -> Atoms:
    """The structure alone: members see no constraints, tags, momenta or info."""
    bare = Atoms(
        numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell.array, pbc=atoms.pbc
    )
    for name in ("initial_magmoms", "initial_charges"):
        if atoms.has(name):
            bare.set_array(name, atoms.get_array(name))
    return bare


def _potential(described: Mapping[str, Any], text: Any) -> FittedPotential:
    """A member from a file."""
    if described["kind"] not in _KINDS:
        raise ValueError(f"a potential is of kind {' or '.join(_KINDS)}, got {described['kind']!r}")
    return FittedPotential(
        text.tobytes().decode(),
        described["kind"],
        described["elements"],
        Baseline.fromdict(described["baseline"]),
    )
