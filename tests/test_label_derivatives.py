"""Forces and stress that are not the derivative of the energy are found, and no others."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from label_calculators import rattled

from ase_hal.label_child import evaluate
from ase_hal.labelling.derivatives import MOST_CALCULATIONS, InconsistentLabel, check_derivatives
from ase_hal.reference import Failure, label

Change = Callable[[Atoms, dict[str, Any]], None]
ALL = ("energy", "forces", "stress")


def unchanged(atoms: Atoms, results: dict[str, Any]) -> None: ...


def times(name: str, factor: float) -> Change:
    def change(atoms: Atoms, results: dict[str, Any]) -> None:
        if name in results:
            results[name] = results[name] * factor

    return change


def crystal(size: int, *, rattle: float, stretch: float = 1.0) -> Atoms:
    atoms = bulk("Cu", cubic=True) * (size, size, 1)
    atoms.set_cell(atoms.cell * stretch, scale_atoms=True)
    atoms.positions += np.random.default_rng(1).normal(0, rattle, atoms.positions.shape)
    return atoms


def checked(
    atoms: Atoms, change: Change, calculator: Any = None, properties: Sequence[str] = ALL
) -> tuple[bool, int]:
    """Whether forces told something, and how many calculations that took."""
    asked = 0

    def ask(atoms: Atoms, properties: Sequence[str]) -> dict[str, Any]:
        nonlocal asked
        asked += 1
        results = evaluate(calculator or EMT(), atoms, properties)
        change(atoms, results)
        return results

    results = ask(atoms, properties)
    asked = 0
    before = atoms.copy()
    told = check_derivatives(atoms, results, ask)
    assert atoms == before
    return told, asked


STRUCTURES = {
    "perfect": crystal(2, rattle=0.0),
    "rattled": crystal(2, rattle=0.1),
    "compressed": crystal(1, rattle=0.1, stretch=0.95),
    "expanded": crystal(2, rattle=0.05, stretch=1.04),
}
EVERYWHERE = pytest.mark.parametrize("atoms", STRUCTURES.values(), ids=STRUCTURES)


@EVERYWHERE
def test_right_labels_pass(atoms: Atoms) -> None:
    told, asked = checked(atoms, unchanged)
    assert told
    assert asked in (6, 7)


def noisy(atoms: Atoms, results: dict[str, Any]) -> None:
    """An energy whose last millielectronvolt depends on where the iterations ended."""
    seed = hashlib.sha256(atoms.positions.tobytes() + atoms.cell.array.tobytes()).digest()
    results["energy"] += 1e-3 * np.random.default_rng(list(seed)).normal()


@pytest.mark.parametrize("size", [1, 2])
def test_noise_of_density_functional_theory_passes(size: int) -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        atoms = crystal(size, rattle=0.0)
        atoms.positions += rng.normal(0, rng.choice([0.0, 0.02, 0.1]), atoms.positions.shape)
        assert checked(atoms, noisy)[0]


def test_other_calculators_pass() -> None:
    smooth = LennardJones(sigma=2.3, epsilon=0.4, rc=6.0, smooth=True)
    assert checked(STRUCTURES["rattled"], unchanged, smooth) == (True, 6)
    # A force that jumps where neighbours are cut off.
    assert checked(STRUCTURES["rattled"], unchanged, LennardJones(sigma=2.3, epsilon=0.4))[0]
    alcohol = molecule("CH3CH2OH")
    assert checked(alcohol, unchanged, EMT(), ("energy", "forces"))[0]
    tblite = pytest.importorskip("tblite.ase")
    gfn2 = tblite.TBLite(method="GFN2-xTB", verbosity=0)
    assert checked(alcohol, unchanged, gfn2, ("energy", "forces"))[0]


def without_half(atoms: Atoms, results: dict[str, Any]) -> None:
    if "forces" in results:
        results["forces"][: len(atoms) // 2] = 0


def reordered(atoms: Atoms, results: dict[str, Any]) -> None:
    if "forces" in results:
        results["forces"] = results["forces"][::-1]


def of_another_structure(atoms: Atoms, results: dict[str, Any]) -> None:
    if "forces" in results:
        other = crystal(2, rattle=0.1)
        other.positions = other.positions[::-1]
        results["forces"] = evaluate(EMT(), other, ["forces"])["forces"]


def of_another_energy(atoms: Atoms, results: dict[str, Any]) -> None:
    """As of an electronic entropy that the energy lacks and that depends on the positions."""
    results["energy"] += 0.6 * float(np.sin(3 * atoms.positions).sum())


def constant_energy(atoms: Atoms, results: dict[str, Any]) -> None:
    results["energy"] = -3.0


HARTREE_BOHR = units.Bohr / units.Hartree
WRONG_FORCES = [
    (times("forces", -1), r"ratio -1\), as if with the opposite sign$"),
    (times("forces", HARTREE_BOHR), r"ratio 0\.0194\), as if in hartree/bohr$"),
    (times("forces", -HARTREE_BOHR), "as if in hartree/bohr with the opposite sign$"),
    (times("forces", 2 * HARTREE_BOHR), "as if in rydberg/bohr$"),
    (times("forces", units.mol / units.kcal), "as if in kcal/mol/Å$"),
    (times("forces", 0.5), r"ratio 0\.5\)$"),
    (times("forces", 1.15), r"ratio 1\.15\)$"),
    (times("energy", 1 / units.Hartree), r"ratio 27\.2\)$"),
    (constant_energy, r"ratio inf\)$"),
    (reordered, ""),
]


@pytest.mark.parametrize(("change", "ending"), WRONG_FORCES)
@pytest.mark.parametrize("name", ["perfect", "rattled"])
def test_wrong_forces_are_found(change: Change, ending: str, name: str) -> None:
    start = "^forces are not the derivative of the energy: along a random direction dE/dx is .*"
    with pytest.raises(InconsistentLabel, match=start + ending):
        checked(STRUCTURES[name], change)


def test_the_reason_has_the_numbers() -> None:
    with pytest.raises(InconsistentLabel) as raised:
        checked(STRUCTURES["rattled"], times("forces", 0.5))
    words = str(raised.value).split()
    found, given = float(words[words.index("is") + 1]), float(words[words.index("give") + 1])
    assert given / found == pytest.approx(0.5, abs=1e-3)
    assert abs(found) > 5


def constant_forces(atoms: Atoms, results: dict[str, Any]) -> None:
    if "forces" in results:
        results["forces"] = np.full((len(atoms), 3), 1e-12)


@pytest.mark.parametrize(
    "change", [without_half, of_another_structure, of_another_energy, constant_forces]
)
def test_forces_that_are_missing_or_stale_are_found(change: Change) -> None:
    with pytest.raises(InconsistentLabel, match="forces are not the derivative"):
        checked(STRUCTURES["rattled"], change)


@pytest.mark.parametrize(
    ("factor", "ending"),
    [
        (-1.0, "as if with the opposite sign$"),
        (1 / units.GPa, "as if in GPa$"),
        (-10 / units.GPa, "as if in kbar with the opposite sign$"),
        (-1000.0, r"ratio -1e\+03\)$"),
        (0.2, r"ratio 0\.2\)$"),
    ],
)
@EVERYWHERE
def test_a_wrong_stress_is_found(factor: float, ending: str, atoms: Atoms) -> None:
    start = r"^the stress is not the derivative of the energy: under a random strain \(dE/de\)/V"
    with pytest.raises(InconsistentLabel, match=f"{start} is .* and the stress gives .*{ending}"):
        checked(atoms, times("stress", factor))


def test_a_virial_is_no_stress() -> None:
    atoms = STRUCTURES["compressed"]
    with pytest.raises(
        InconsistentLabel, match=r"as if in eV \(a virial\) with the opposite sign$"
    ):
        checked(atoms, times("stress", -atoms.get_volume()))


def test_what_cannot_tell() -> None:
    assert checked(bulk("Cu"), times("forces", -1)) == (False, 0)
    apart = Atoms("Cu2", [[0, 0, 0], [15, 0, 0]])
    told, asked = checked(apart, unchanged, properties=("energy", "forces"))
    assert (told, asked) == (False, 5)


def test_directions_follow_from_the_structure() -> None:
    def reasons(atoms: Atoms) -> str:
        with pytest.raises(InconsistentLabel) as raised:
            checked(atoms, times("forces", 0.5))
        return str(raised.value)

    atoms = STRUCTURES["rattled"]
    assert reasons(atoms) == reasons(atoms.copy())
    other = atoms.copy()
    other.positions[0, 0] += 1e-9
    assert reasons(atoms) != reasons(other)


def test_the_number_of_calculations_is_bounded() -> None:
    """The largest number there can be: energies so noisy that they contradict nothing."""

    def wild(atoms: Atoms, results: dict[str, Any]) -> None:
        seed = hashlib.sha256(atoms.positions.tobytes()).digest()
        results["energy"] += 1e3 * np.random.default_rng(list(seed)).normal()

    def count(rattle: float) -> int:
        with suppress(InconsistentLabel):
            return checked(crystal(1, rattle=rattle), wild)[1]
        return 0

    assert max(map(count, np.linspace(0, 0.02, 10))) == MOST_CALCULATIONS


# --- through label() ---------------------------------------------------------------------


class Counting(EMT):
    """Leaves a line for every calculation, and scales forces."""

    def __init__(self, file: Path, *, factor: float = 1.0, fails: Sequence[int] = ()):
        super().__init__()
        self.file = file
        self.factor = factor
        self.fails = fails

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        with self.file.open("a") as file:
            file.write(f"{atoms.info['number']}\n")
        if atoms.info["number"] in self.fails:
            raise RuntimeError("no SCF")
        super().calculate(atoms, properties, system_changes)
        self.results["forces"] = self.results["forces"] * self.factor

    def count(self) -> dict[int, int]:
        numbers = self.file.read_text().split() if self.file.exists() else []
        return {int(n): numbers.count(n) for n in dict.fromkeys(numbers)}


@pytest.fixture(params=["one by one", "threads"])
def executor(request: pytest.FixtureRequest) -> Any:
    if request.param == "one by one":
        yield None
    else:
        with ThreadPoolExecutor(2) as made:
            yield made


def test_the_first_label_is_compared(tmp_path: Path, executor: Any) -> None:
    calculator = Counting(tmp_path / "asked")
    out = label(rattled(4), calculator, executor=executor, check_forces=True)
    assert [atoms.info["number"] for atoms in out] == [0, 1, 2, 3]
    assert [atoms.info.get("hal_forces_checked") for atoms in out] == [True, None, None, None]
    counts = calculator.count()
    assert counts.pop(0) in (7, 8)
    assert counts == {1: 1, 2: 1, 3: 1}
    plain = label(rattled(4), Counting(tmp_path / "other"))
    for atoms, other in zip(out, plain, strict=True):
        np.testing.assert_array_equal(atoms.get_forces(), other.get_forces())
    # Labels of labels say nothing about having been compared.
    again = label(out[:1], EMT())
    assert "hal_forces_checked" not in again[0].info


def test_nothing_else_is_calculated_after_a_wrong_label(tmp_path: Path, executor: Any) -> None:
    calculator = Counting(tmp_path / "asked", factor=-1.0)
    failures: list[Failure] = []
    assert (
        label(
            rattled(3), calculator, executor=executor, check_forces=True,
            on_failure=failures.append,
        )
        == []
    )  # fmt: skip
    assert set(calculator.count()) == {0}
    assert [failure.inconsistent for failure in failures] == [True, False, False]
    assert failures[0].reason.startswith("forces are not the derivative of the energy: ")
    for failure in failures[1:]:
        assert failure.reason == f"not calculated, since of another structure {failures[0].reason}"
    assert all("\n" not in failure.reason for failure in failures)


def test_the_first_label_that_succeeds_is_compared(tmp_path: Path, executor: Any) -> None:
    calculator = Counting(tmp_path / "asked", fails=[0, 2])
    reasons: list[str] = []
    out = label(
        rattled(4), calculator, executor=executor, check_forces=True,
        on_failure=lambda failure: reasons.append(failure.reason),
    )  # fmt: skip
    assert [atoms.info.get("hal_forces_checked") for atoms in out] == [True, None]
    assert reasons == ["RuntimeError: no SCF"] * 2
    counts = calculator.count()
    assert (counts[0], counts[2], counts[3]) == (1, 1, 1)
    assert counts[1] in (7, 8)


def test_structures_that_cannot_tell_leave_it_to_the_next(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    primitive = bulk("Cu")
    primitive.info["number"] = 9
    structures = [primitive, primitive, *rattled(2)]
    out = label(structures, Counting(tmp_path / "asked"), check_forces=True)
    assert [a.info.get("hal_forces_checked") for a in out] == [None, None, True, None]
    assert not caplog.records
    with caplog.at_level(logging.WARNING, logger="ase_hal.reference"):
        label(structures[:2], Counting(tmp_path / "asked"), check_forces=True)
    assert "no structure has forces that could be compared" in caplog.text


def test_comparisons_that_fail_fail_the_label(tmp_path: Path) -> None:
    class Once(Counting):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            if self.count()[0] > 3:
                raise RuntimeError("licence\nexpired")

    failures: list[Failure] = []
    label(
        rattled(1), Once(tmp_path / "asked"), check_forces=True, on_failure=failures.append
    )  # fmt: skip
    (failure,) = failures
    assert failure.reason == "the forces could not be checked: RuntimeError: licence expired"
    assert not failure.inconsistent


def test_time_out_of_all_calculations_together() -> None:
    class Slow(EMT):
        def calculate(self, *args: Any, **kwargs: Any) -> None:
            super().calculate(*args, **kwargs)
            time.sleep(0.3)

    # Each takes less than the time-out, all of them take more.
    assert len(label(rattled(1), Slow(), timeout=1.0, check_forces=True)) == 1
    failures: list[Failure] = []
    label(rattled(1), Slow(), timeout=0.05, check_forces=True, on_failure=failures.append)
    assert failures[0].reason == "timed out after 0.7 s"


def test_the_files_of_the_label_stay(tmp_path: Path) -> None:
    class Writes(EMT):
        def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
            super().calculate(atoms, properties, system_changes)
            Path(self.directory, "out").write_text(repr(atoms.positions.tolist()))

    calculator = Writes()
    calculator.directory = str(tmp_path / "kept")
    (out,) = label(rattled(1), calculator, check_forces=True)
    (folder,) = (tmp_path / "kept").glob("label-*")
    assert (folder / "out").read_text() == repr(out.positions.tolist())
    assert len(list(folder.glob("check-*/out"))) == 1
