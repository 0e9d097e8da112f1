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
from ase.calculators.calculator import Calculator
from label_calculators import (
    Harmonic,
    failure_of,
    rattled,
)

from ase_hal.reference import Failure, label


def raises(atoms: Atoms) -> None:
    raise RuntimeError("SCF not\n   converged")


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
