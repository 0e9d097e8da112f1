"""Whatever a calculator does to its process, label() says what it was and goes on."""

from __future__ import annotations

import logging
import os
import re
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import BaseCalculator, Calculator
from ase.calculators.emt import EMT
from ase.calculators.mixing import MixedCalculator, SumCalculator
from ase.calculators.socketio import SocketIOCalculator
from label_calculators import (
    Harmonic,
    failure_of,
    rattled,
)

from ase_hal.labelling.checks import NotConverged, check_converged
from ase_hal.reference import Failure, label


def raises(atoms: Atoms) -> None:
    raise RuntimeError("SCF not\n   converged")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


def raises_something_unprintable(atoms: Atoms) -> None:
    raise Unprintable


def prints_and_raises(atoms: Atoms) -> None:
    os.write(1, b"\x80\x04\x95 binary \x00\xff\n" * 20_000)
    print("the last words", flush=True)
    raise RuntimeError


def writes_a_file_and_raises(atoms: Atoms) -> None:
    Path("code.out").write_text("line\n" * 100 + "convergence NOT achieved\n")
    raises(atoms)


def interrupt(atoms: Atoms) -> None:
    """What Ctrl-C does, also where the tests run in the background and it is ignored."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("prank", "reason"),
    [
        (raises, "^RuntimeError: SCF not converged$"),
        (lambda atoms: sys.exit(3), "^SystemExit: 3$"),
        (raises_something_unprintable, r"^Unprintable: \(its message raises ZeroDivisionError\)$"),
        (
            lambda atoms: (_ for _ in ()).throw(ValueError("a\u2028b\udcff\x1b[1mc\x85d")),
            r"^ValueError: a b\?\?\[1mc d$",
        ),
        (lambda atoms: os._exit(3), "^the process ended with exit status 3 and no result$"),
        (lambda atoms: os._exit(0), "^the process ended with exit status 0 and no result$"),
        (interrupt, "^KeyboardInterrupt:$"),
        (lambda atoms: os.kill(os.getpid(), signal.SIGSEGV), "^killed by SIGSEGV$"),
        (lambda atoms: os.kill(os.getpid(), signal.SIGKILL), "^killed by SIGKILL$"),
        (lambda atoms: os.abort(), "^killed by SIGABRT$"),
        (lambda atoms: atoms.positions.__iadd__(1), "^ValueError: .* changed the positions"),
        (lambda atoms: atoms.set_cell([9, 9, 9]), "^ValueError: .* changed the cell"),
        (
            lambda atoms: (_ for _ in ()).throw(ValueError("x" * 9999)),
            r"^ValueError: x{480,}\.\.\.$",
        ),
    ],
)
def test_pranks_become_reasons(prank: Any, reason: str) -> None:

    failure = failure_of(Harmonic(prank))
    assert re.search(reason, failure.reason), failure.reason
    # And the next label is none the worse for it.
    assert len(label(rattled(1), Harmonic())) == 1


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({"free_energy": np.nan}, "energy not finite"),
        ({"forces": np.full((4, 3), np.inf)}, r"forces not finite \(12 of 12 numbers\)"),
        ({"forces": np.zeros((3, 3))}, r"forces of shape \(3, 3\) where \(4, 3\)"),
        ({"forces": None}, "forces of shape"),
        ({"stress": np.array([0, 1, np.nan, 0, 0, 0])}, r"stress not finite \(1 of 6 numbers\)"),
        ({"stress": np.zeros(9)}, r"stress of shape \(9,\)"),
        ({"free_energy": np.zeros(4)}, r"energy of shape \(4,\)"),
    ],
)
def test_nonsense_is_a_failure(results: dict[str, Any], reason: str) -> None:
    assert pytest.importorskip("re").search(reason, failure_of(Harmonic(**results)).reason)


def test_structures_that_are_not_finite_fail() -> None:
    atoms = rattled(1)[0]
    atoms.positions[0, 0] = np.nan
    failures: list[Failure] = []
    assert label([atoms], Harmonic(), on_failure=failures.append) == []
    assert "not finite" in failures[0].reason


def test_details_tell_what_happened() -> None:
    failure = failure_of(Harmonic(prints_and_raises))
    assert "the last words" in failure.details
    assert "prints_and_raises" in failure.details
    failure = failure_of(Harmonic(writes_a_file_and_raises))
    assert "--- end of code.out:" in failure.details
    assert "convergence NOT achieved" in failure.details
    failure = failure_of(Harmonic(lambda atoms: os.kill(os.getpid(), signal.SIGSEGV)))
    assert "Segmentation fault" in failure.details


def test_printing_does_not_disturb() -> None:
    def prints(atoms: Atoms) -> None:
        os.write(1, os.urandom(300_000))
        os.write(2, os.urandom(300_000))
        print("more")

    assert len(label(rattled(2), Harmonic(prints))) == 2


def test_failures_are_logged_without_a_callback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="ase_hal.reference"):
        assert label(rattled(1), Harmonic(raises)) == []
    assert "no label for Cu4" in caplog.text
    assert "SCF not converged" in caplog.text


def test_factories_that_fail() -> None:
    def missing() -> Calculator:
        import no_such_backend  # type: ignore[import-not-found]

        return no_such_backend

    assert "No module named 'no_such_backend'" in failure_of(missing).reason
    assert "AttributeError" in failure_of(lambda: None).reason


# --- convergence -------------------------------------------------------------------------


class Telling(Harmonic):
    """Says after its calculation, and not before it, whether that has converged."""

    converged: Any = False

    def __init__(self, value: Any, *, name: str = "converged", results: bool = False):
        super().__init__()
        self.told = (name, value, results)

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        name, value, results = self.told
        if results:
            self.converged = None
            self.results[name] = value
        else:
            self.converged = None
            setattr(self, name, value)


class Method(Harmonic):
    def converged(self) -> bool:
        return not self.results


class Property(Harmonic):
    @property
    def converged(self) -> bool:
        return not self.results


class Solver:
    converged = False


class Solving(Harmonic):
    """Keeps what it knows in an object of its own, as GPAW does."""

    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.scf = Solver()


class Wrapping(BaseCalculator):
    """Passes everything on to a calculator in an attribute of its own choice."""

    implemented_properties = ("energy", "forces")

    def __init__(self, inner: Any):
        super().__init__()
        self.hidden_inside = inner

    def calculate(self, atoms: Atoms, properties: Any, system_changes: Any) -> None:
        self.atoms = atoms.copy()
        self.results = {name: self.hidden_inside.get_property(name, atoms) for name in properties}


class Delegating(Wrapping):
    def __getattr__(self, name: str) -> Any:
        if name == "hidden_inside":
            raise AttributeError(name)
        return getattr(self.hidden_inside, name)


UNCONVERGED = [
    (Telling(False), "Telling.converged"),
    (Telling(np.False_), "Telling.converged"),
    (Telling(np.array(False)), "Telling.converged"),
    (Telling(np.array([True, False])), "Telling.converged"),
    (Telling([False, True]), "Telling.converged"),
    (Telling(0), "Telling.converged"),
    (Telling(lambda: False), "Telling.converged"),
    (Telling(False, name="scf_converged"), "Telling.scf_converged"),
    (Telling(False, name="is_converged"), "Telling.is_converged"),
    (Telling(False, name="SCFConverged"), "Telling.SCFConverged"),
    (Telling(True, name="unconverged"), "Telling.unconverged"),
    (Telling(True, name="scf_not_converged"), "Telling.scf_not_converged"),
    (Telling(False, results=True), r"Telling.results\['converged'\]"),
    (Telling(False, name="scf_converged", results=True), r"Telling.results\['scf_converged'\]"),
    (Method(), "Method.converged"),
    (Property(), "Property.converged"),
    (Solving(), "Solving.scf.converged"),
    (Wrapping(Telling(False)), "Wrapping.hidden_inside.converged"),
    (Delegating(Telling(False)), "Delegating.converged"),
    (Wrapping(Wrapping(Telling(False))), "Wrapping.hidden_inside.hidden_inside.converged"),
    (SumCalculator([Harmonic(), Telling(False)]), r"SumCalculator.mixer.calcs\[1\].converged"),
    (
        MixedCalculator(Telling(False), Harmonic(), 0.5, 0.5),
        r"MixedCalculator.mixer.calcs\[0\].converged",
    ),
]


@pytest.mark.parametrize(("calculator", "place"), UNCONVERGED)
def test_what_has_not_converged_fails(calculator: Any, place: str) -> None:
    reason = failure_of(calculator).reason
    assert re.fullmatch(rf"did not converge \({place} says so\)", reason), reason
    assert len(label(rattled(1), calculator, allow_unconverged=True)) == 1


class Raising(Harmonic):
    @property
    def converged(self) -> bool:
        raise RuntimeError("ask me later")


class Asking(Harmonic):
    def converged(self, forces: Any) -> bool:
        return False


@pytest.mark.parametrize(
    "calculator",
    [
        Harmonic(),
        Telling(True),
        Telling(np.True_),
        Telling(np.array([True, True])),
        Telling(None),
        Telling("no"),
        Telling(1e-9),
        Telling(lambda: True),
        Telling(False, name="geometry_converged"),
        Telling(False, name="ionic_converged", results=True),
        Telling(False, name="unconverged"),
        Telling(True, name="scf_run_converged"),
        Raising(),
        Asking(),
        # The whole knows better than its parts.
        Delegating(Telling(True)),
        Wrapping(Telling(True)),
        SumCalculator([Telling(True), EMT()]),
    ],
)
def test_what_has_converged_or_does_not_say_is_taken(calculator: Any) -> None:
    assert len(label(rattled(1), calculator)) == 1


def test_calculators_that_were_not_asked_say_nothing() -> None:
    """A socket's server only writes the input of the calculator that it holds."""
    calculator = SocketIOCalculator(Telling(True))
    calculator.launch_client.calc.converged = False
    check_converged(calculator)
    calculator.launch_client.calc.results = {"energy": 1.0}
    with pytest.raises(NotConverged, match="SocketIOCalculator.launch_client.calc.converged"):
        check_converged(calculator)


def test_convergence_is_read_after_the_calculation() -> None:
    """A flag of an earlier calculation means nothing."""
    calculator = Telling(True)
    calculator.converged = False
    calculator.results = {"energy": 1.0}
    assert len(label(rattled(1), calculator)) == 1


def test_convergence_comes_before_results_that_are_no_numbers() -> None:
    class Lost(Telling):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            self.results["forces"] = None

    assert failure_of(Lost(False)).reason.startswith("did not converge")


# --- absurd results ----------------------------------------------------------------------


def one_force(size: float) -> np.ndarray:
    forces = np.ones((4, 3))
    forces[2, 1] = -size
    return forces


@pytest.mark.parametrize(
    ("results", "reason"),
    [
        ({"forces": one_force(1.1e5)}, r"a force of 1.1e\+05 eV/Å on atom 2 is not believed"),
        ({"forces": one_force(1e300)}, r"a force of 1e\+300 eV/Å on atom 2"),
        ({"free_energy": -4.1e7}, r"an energy of -4.1e\+07 eV for 4 atoms is not believed"),
        ({"free_energy": 1e20}, r"an energy of 1e\+20 eV for 4 atoms"),
        ({"stress": np.full(6, 1001.0)}, r"a stress of 1001 eV/Å\^3 is not believed"),
        ({"forces": np.zeros((4, 3))}, "all forces are exactly zero"),
    ],
)
def test_absurd_results_fail(results: dict[str, Any], reason: str) -> None:
    assert re.match(reason, failure_of(Harmonic(**results)).reason)


@pytest.mark.parametrize(
    "results",
    [
        {"forces": one_force(9e4)},
        {"free_energy": -4 * 7.6e5},
        {"stress": np.full(6, -187.0)},  # aluminium at 30 TPa
        {"forces": np.full((4, 3), 1e-300)},
    ],
)
def test_large_results_are_taken(results: dict[str, Any]) -> None:
    assert len(label(rattled(1), Harmonic(**results))) == 1


class Zero(Harmonic):
    def calculate(self, *args: Any, **kwargs: Any) -> None:
        super().calculate(*args, **kwargs)
        self.results["forces"] = np.zeros((len(self.atoms), 3))


def perfect_crystals() -> list[Atoms]:
    rock_salt = bulk("NaCl", "rocksalt", a=5.64, cubic=True)
    perovskite = Atoms(
        "SrTiO3", cell=[3.9] * 3, pbc=True,
        scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]],
    )  # fmt: skip
    graphene = Atoms("C2", [[0, 0, 5], [0, 1.42, 5]], cell=[2.46, 2.46, 10, 90, 90, 120], pbc=True)
    graphene.positions[1] = (graphene.cell[0] + 2 * graphene.cell[1]) / 3 + [0, 0, 5]
    rounded = bulk("Si", cubic=True) * 2
    rounded.positions = rounded.positions.round(3)
    strained = bulk("Cu", cubic=True)
    strained.set_cell(strained.cell.array @ (np.eye(3) + 0.05 * np.eye(3)[::-1]), scale_atoms=True)
    primitive = [bulk("Cu"), bulk("Fe"), bulk("Ti"), bulk("Si"), bulk("Ti") * (2, 3, 1)]
    far = Atoms("Ar3", [[0, 0, 0], [9, 0, 0], [0, 10, 0]], cell=[30] * 3, pbc=True)
    return [rock_salt, perovskite, graphene, rounded, strained, *primitive, far]


def lone_atoms_and_pairs() -> list[Atoms]:
    return [Atoms("U", cell=[9] * 3, pbc=True), Atoms("H2", [[0, 0, 0], [0, 0, 0.74]])]


@pytest.mark.parametrize(
    "atoms", [*perfect_crystals(), *lone_atoms_and_pairs()], ids=lambda a: str(a.symbols)
)
def test_forces_may_vanish_by_symmetry(atoms: Atoms) -> None:
    assert len(label([atoms], Zero())) == 1


@pytest.mark.parametrize("shift", [0.03, 0.2])
def test_forces_do_not_vanish_without_symmetry(shift: float) -> None:
    structures = [atoms for atoms in perfect_crystals()[:-1] if len(atoms) > 1]
    rng = np.random.default_rng(3)
    for atoms in structures:
        if len(atoms) == 2:
            atoms *= (2, 1, 1)
        atoms.positions += rng.normal(0, shift, atoms.positions.shape)
    structures.append(molecule("CH3CH2OH"))
    assert label(structures, Zero()) == []
