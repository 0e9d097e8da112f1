"""CommitteeCalculator: the mean of a committee as an ASE calculator."""

from __future__ import annotations

from collections.abc import Sequence
from threading import RLock
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.calculators.calculator import BaseCalculator, PropertyNotImplementedError

from ase_hal.committee import Committee
from ase_hal.prediction import Array, Prediction, has_stress

_COMPARED = ("numbers", "positions", "initial_magmoms", "initial_charges")
_REMEMBERED = 2  # the present structure and, during a Monte Carlo trial, the one before
_REMEMBERED_IN_ALL = 8  # where several Atoms objects, such as those of threads, take turns

_Fingerprint = dict[str, bytes]


class _Known(NamedTuple):
    """What the committee said, and about which structure of which Atoms object (by its id)."""

    owner: int
    fingerprint: _Fingerprint
    prediction: Prediction


def _fingerprint(atoms: Atoms) -> _Fingerprint:
    """Everything a model may depend on. Comparing bytes takes 1/100 of ASE's compare_atoms."""
    arrays = atoms.arrays
    fingerprint = {name: arrays[name].tobytes() for name in _COMPARED if name in arrays}
    fingerprint["cell"] = atoms.cell.array.tobytes()
    fingerprint["pbc"] = atoms.pbc.tobytes()
    return fingerprint


class CommitteeCalculator(BaseCalculator):
    """The unbiased mean of a committee; its uncertainty on request.

    Attach it where a structure should move on the mean surface: relaxation, contour
    exploration, dimer and NEB searches. Energy, forces and stress are those of
    ``committee.predict``; everything else it says comes from `predict`.

    Threads may share a calculator, and calculators a committee: what `predict` and ASE's getters
    return belongs to the atoms they were given. ``results`` belong to whoever asked last.

    Parameters
    ----------
    committee : Committee
        What predicts.

    Attributes
    ----------
    committee : Committee
        Another one may be put in its place, for example after a refit.
    eager_members : bool
        Ask for the forces of the members with every new structure. Saves an evaluation where
        `predict` is going to be asked for them anyway.

    Examples
    --------
    >>> atoms.calc = CommitteeCalculator(committee)
    >>> atoms.get_potential_energy()
    >>> atoms.calc.predict(atoms).energy_std
    """

    implemented_properties = ["energy", "free_energy", "forces", "stress"]  # noqa: RUF012 (as ASE)

    def __init__(self, committee: Committee) -> None:
        if not isinstance(committee, Committee):
            raise TypeError(
                "committee must have `elements` and `predict(atoms, members, stress)`, "
                f"got {type(committee).__name__}"
            )
        super().__init__(use_cache=False)  # ASE's cache copies Atoms in every calculation
        # held to look at or change what is kept, never while the committee works
        self._lock = RLock()
        self.eager_members = False
        self.committee = committee

    @property
    def committee(self) -> Committee:
        return self._committee

    @committee.setter
    def committee(self, committee: Committee) -> None:
        with self._lock:
            self._committee = committee
            self._memory: list[_Known] = []
            self._calculated: _Fingerprint | None = None
            self.results = {}

    @property
    def elements(self) -> tuple[str, ...]:
        """Chemical symbols that the committee knows."""
        return self._committee.elements

    def predict(self, atoms: Atoms, members: bool = False, stress: bool = False) -> Prediction:
        """What the committee says about a structure, unbiased.

        Asking again for an unchanged structure costs nothing: the answer is kept, with
        everything that was asked about this structure so far.

        Parameters
        ----------
        atoms : ase.Atoms
            The structure, this calculator's own or any other.
        members : bool
            Also give the forces of the members.
        stress : bool
            The stress must be there; without it, it is given where it costs nothing.
        """
        return self._predict(atoms, _fingerprint(atoms), members, stress)

    def _predict(
        self, atoms: Atoms, fingerprint: _Fingerprint, members: bool, stress: bool
    ) -> Prediction:
        with self._lock:
            committee = self._committee
            known = next((k for k in self._memory if k.fingerprint == fingerprint), None)
            if known is None:
                members = members or self.eager_members
            else:
                have_members = known.prediction.member_forces is not None
                have_stress = known.prediction.stress is not None
                if members <= have_members and stress <= have_stress:
                    self._remember(atoms, fingerprint, known.prediction)
                    return known.prediction
                members, stress = members or have_members, stress or have_stress
        prediction = committee.predict(atoms, members=members, stress=stress)
        with self._lock:
            if committee is self._committee:
                self._remember(atoms, fingerprint, prediction)
        return prediction

    def _remember(self, atoms: Atoms, fingerprint: _Fingerprint, prediction: Prediction) -> None:
        """Put a prediction first, and forget what is too much."""
        memory = [_Known(id(atoms), fingerprint, prediction)]
        of_owner = 1
        for known in self._memory:
            if known.fingerprint == fingerprint:
                continue
            of_owner += known.owner == id(atoms)
            if known.owner != id(atoms) or of_owner <= _REMEMBERED:
                memory.append(known)
        self._memory = memory[:_REMEMBERED_IN_ALL]

    def get_property(
        self, name: str, atoms: Atoms | None = None, allow_calculation: bool = True
    ) -> Any:
        """One of the `implemented_properties`; ASE's getters call this."""
        if name not in self.implemented_properties:
            raise PropertyNotImplementedError(f"{name} is not among {self.implemented_properties}")
        if atoms is None:
            results = self.results
            if not results:
                raise ValueError(f"{type(self).__name__} needs the atoms it should calculate")
        else:
            fingerprint = _fingerprint(atoms)
            with self._lock:
                if fingerprint != self._calculated:
                    self.results, self._calculated = {}, None
                results = self.results
            if name not in results and allow_calculation:
                results = self._fill(atoms, fingerprint, stress=name == "stress")
        value = results.get(name)
        if value is None and allow_calculation:
            raise PropertyNotImplementedError(f"the committee gave no {name}")
        return value.copy() if isinstance(value, np.ndarray) else value

    def calculate(
        self, atoms: Atoms, properties: Sequence[str], system_changes: Sequence[str]
    ) -> None:
        """Fill ``results`` afresh."""
        self._fill(atoms, _fingerprint(atoms), stress="stress" in properties)

    def _fill(self, atoms: Atoms, fingerprint: _Fingerprint, stress: bool) -> dict[str, Any]:
        """Results for these atoms, which become ``results``."""
        if stress and not has_stress(atoms):
            raise PropertyNotImplementedError("there is no stress without a periodic volume")
        committee = self._committee
        prediction = self._predict(atoms, fingerprint, False, stress)
        with self._lock:
            energy, forces, stresses = self._surface(prediction)
            results = {"energy": energy, "free_energy": energy, "forces": forces}
            if stresses is not None:
                results["stress"] = stresses
            if committee is self._committee:
                self.results, self._calculated = results, fingerprint
        return results

    def _surface(self, prediction: Prediction) -> tuple[float, Array, Array | None]:
        """Energy (eV), forces (N, 3) and stress (6,) of the surface the atoms move on."""
        return prediction.energy, prediction.forces, prediction.stress

    def check_state(self, atoms: Atoms, tol: float = 0.0) -> list[str]:
        """Names of what changed since the last calculation; compared exactly."""
        then = self._calculated
        if then is None:
            return [*_COMPARED, "cell", "pbc"]
        now = _fingerprint(atoms)
        if now == then:
            return []
        return sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            state = self.__dict__.copy()
        del state["_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = RLock()

    def todict(self) -> dict[str, Any]:
        """What is written into every frame of a trajectory."""
        return {"committee": type(self.committee).__name__}

    def _get_name(self) -> str:
        return "committee"
