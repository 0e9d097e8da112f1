"""label(): the right numbers in the right order, without touching what it was given."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from label_calculators import (
    Harmonic,
    failure_of,
    rattled,
)

from ase_hal.reference import label


@pytest.mark.parametrize("calculator", [EMT(), EMT, lambda: EMT()], ids=["it", "class", "lambda"])
def test_labels_are_those_of_the_calculator(calculator: Any) -> None:
    structures = rattled(3)
    structures[1].set_constraint(FixAtoms([0, 1]))
    structures[2].pbc = (True, True, False)
    structures[0].calc = SinglePointCalculator(structures[0], energy=7.0)
    before = [atoms.copy() for atoms in structures]
    out = label(structures, calculator)
    for atoms, original, labelled in zip(structures, before, out, strict=True):
        assert atoms == original == labelled
        assert labelled is not atoms
        assert labelled.info["number"] == atoms.info["number"]
        assert "hal_label_seconds" not in atoms.info
        assert 0 < labelled.info["hal_label_seconds"] < 60
        assert isinstance(labelled.calc, SinglePointCalculator)
        direct = original.copy()
        direct.set_constraint()
        direct.calc = EMT()
        assert labelled.get_potential_energy() == direct.get_potential_energy()
        raw = labelled.get_forces(apply_constraint=False)
        np.testing.assert_array_equal(raw, direct.get_forces())
        if direct.pbc.all():
            np.testing.assert_array_equal(labelled.get_stress(), direct.get_stress())
        else:
            assert "stress" not in labelled.calc.results
    assert structures[0].calc.results == {"energy": 7.0}
    assert (out[1].get_forces()[:2] == 0).all()
    assert np.abs(out[1].get_forces(apply_constraint=False)[:2]).max() > 0.1


def test_energy_belongs_to_the_forces() -> None:
    """The free energy where the calculator has it, the energy where not."""
    atoms = rattled(1)[0]
    (out,) = label([atoms], Harmonic())
    assert out.get_potential_energy() == pytest.approx(0.5 * np.sum(atoms.positions**2))
    (out,) = label([atoms], LennardJones())
    atoms.calc = LennardJones()
    assert out.get_potential_energy() == atoms.get_potential_energy()


class OneByOne(Calculator):
    """Counts its calculations, and computes only what it is asked for."""

    implemented_properties = ("energy", "forces", "stress")
    count = 0

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.count += 1
        everything = {
            "energy": 100.0 * self.count,
            "forces": np.ones((len(atoms), 3)),
            "stress": np.zeros(6),
        }
        self.results.update({name: everything[name] for name in properties})


def test_one_calculation_gives_all_properties() -> None:
    """Codes that are told what to compute must not run once for each property."""
    (out,) = label(rattled(1), OneByOne())
    assert out.get_potential_energy() == 100.0
    assert set(out.calc.results) == {"energy", "forces", "stress"}


def test_properties() -> None:
    (out,) = label(rattled(1), Harmonic(), properties=["forces"])
    assert set(out.calc.results) == {"forces"}
    (out,) = label([molecule("CH4")], Harmonic())
    assert set(out.calc.results) == {"energy", "forces"}
    (out,) = label(rattled(1), Harmonic(stress=np.diag([1.0, 2.0, 3.0])))
    np.testing.assert_array_equal(out.get_stress(), [1, 2, 3, 0, 0, 0])


class NoStress(Harmonic):
    implemented_properties = ("energy", "forces")


def test_what_is_not_implemented() -> None:
    (out,) = label(rattled(1), NoStress())
    assert set(out.calc.results) == {"energy", "forces"}

    class EnergyOnly(Harmonic):
        implemented_properties = ("energy",)

    assert "forces property not implemented" in failure_of(EnergyOnly()).reason
    assert PropertyNotImplementedError.__name__ in failure_of(EnergyOnly()).reason


def test_old_labels_of_the_input_give_way() -> None:
    atoms = rattled(1)[0]
    atoms.info["energy"] = 3.0
    atoms.new_array("forces", np.ones((4, 3)))
    (out,) = label([atoms], Harmonic())
    assert "energy" not in out.info
    assert "forces" not in out.arrays
    assert atoms.info["energy"] == 3.0


def test_callbacks_come_in_order_and_as_soon_as_possible() -> None:
    events: list[tuple[str, int]] = []

    def third_fails(atoms: Atoms) -> None:
        if atoms.info["number"] % 3 == 2:
            raise ArithmeticError("every third")

    def progress() -> Any:
        for atoms in rattled(6):
            events.append(("given", atoms.info["number"]))
            yield atoms

    out = label(
        progress(),
        Harmonic(third_fails),
        on_label=lambda atoms: events.append(("label", atoms.info["number"])),
        on_failure=lambda failure: events.append(("failure", failure.atoms.info["number"])),
    )
    assert [atoms.info["number"] for atoms in out] == [0, 1, 3, 4]
    kinds = ["label", "label", "failure"] * 2
    assert events[6:] == list(zip(kinds, range(6), strict=True))


# --- arguments ---------------------------------------------------------------------------


_LOCK = threading.Lock()


class Unpicklable(Harmonic):
    def __reduce__(self) -> Any:
        raise TypeError("ctypes objects containing pointers cannot be pickled")


@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "message"),
    [
        ((bulk("Cu"), EMT()), {}, TypeError, "got a single Atoms"),
        (([bulk("Cu"), "Cu"], EMT()), {}, TypeError, "structure 1 must be Atoms, got str"),
        (([Atoms()], EMT()), {}, ValueError, "structure 0 has no atoms"),
        (([], EMT()), {"properties": ()}, ValueError, "must be some of"),
        (([], EMT()), {"properties": ["energy", "dipole"]}, ValueError, "dipole"),
        (([], EMT()), {"properties": "energy"}, TypeError, "the string 'energy'"),
        (
            ([], EMT()),
            {"check_forces": True, "properties": ["forces"]},
            ValueError,
            "check_forces needs energy and forces",
        ),
        (([], EMT()), {"timeout": 0}, ValueError, "timeout must be a positive"),
        (([], EMT()), {"timeout": "1 h"}, ValueError, "timeout must be a positive"),
        (([], EMT()), {"executor": 4}, TypeError, "submit method, got int"),
        (([], None), {}, TypeError, "got NoneType"),
        (([], "emt"), {}, TypeError, "got str"),
        (([], lambda atoms: EMT()), {}, TypeError, "called without arguments: .*'atoms'"),
        (([], Unpicklable()), {}, TypeError, "Unpicklable cannot be sent .* pass a function"),
        (([], lambda lock=_LOCK: EMT()), {}, TypeError, "function cannot be sent"),
    ],
)
def test_unsuitable_arguments(
    arguments: Any, keywords: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        label(*arguments, **keywords)


def test_nothing_to_do() -> None:
    assert label([], EMT()) == []


def test_labels_cost_little() -> None:
    """A process per label, but no start of Python and no imports for each."""
    seconds: list[float] = []

    def measure() -> None:
        for structures in (rattled(1), rattled(10)):
            start = time.perf_counter()
            assert len(label(structures, EMT())) == len(structures)
            seconds.append((time.perf_counter() - start) / len(structures))

    # A thread that is new has no server yet.
    thread = threading.Thread(target=measure)
    thread.start()
    thread.join()
    with_start, each = seconds
    assert each < with_start / 3
