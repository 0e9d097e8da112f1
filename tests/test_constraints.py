"""Constraints survive files and runs, and no move touches what they hold."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
import yaml
from analytic import HarmonicCrystal
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    ExternalForce,
    FixAtoms,
    FixBondLength,
    FixBondLengths,
    FixCartesian,
    FixCartesianParametricRelations,
    FixCom,
    FixedLine,
    FixedMode,
    FixedPlane,
    FixInternals,
    FixLinearTriatomic,
    FixScaled,
    FixScaledParametricRelations,
    FixSubsetCom,
    FixSymmetry,
    Hookean,
    MirrorForce,
    MirrorTorque,
)
from small_runs import SMALL_RUN

import ase_hal.run
from ase_hal.calculators import HALCalculator
from ase_hal.data.constraints import check_constraints, held_atoms
from ase_hal.dynamics import HALLangevin, SwapMC
from ase_hal.frames import Frames, extxyz_frame, parse_extxyz
from ase_hal.run import run
from ase_hal.run_labels import tagged
from ase_hal.runfile import RunFile, RunFileError
from ase_hal.runfile.data_sections import SeedsSection
from ase_hal.structures.origin import without_notes

_JACOBIAN = np.eye(6)[:, :2] + 0.1


def crystal() -> Atoms:
    """Eight atoms of two elements, none where symmetry would have it."""
    atoms = bulk("Al", cubic=True) * (2, 1, 1)
    atoms.symbols[[1, 4, 6]] = "Si"
    atoms.positions += np.random.default_rng(3).normal(0, 0.1, (8, 3))
    return atoms


def mode() -> np.ndarray:
    """A direction that two atoms take part in."""
    direction = np.zeros((8, 3))
    direction[[2, 5]] = [[0.3, 0.1, -0.7], [0.2, 0.9, 0.4]]
    return direction


# A constraint, and the atoms that it holds.
CONSTRAINTS: dict[str, tuple[Any, list[int]]] = {
    "unsorted": (FixAtoms([3, 0]), [0, 3]),
    "mask": (FixAtoms(mask=[True, False] * 4), [0, 2, 4, 6]),
    "none": (FixAtoms([]), []),
    "last": (FixAtoms([-1]), [7]),
    "cartesian": (FixCartesian(0), [0]),
    "cartesian mask": (FixCartesian([1, 2], (True, False, False)), [1, 2]),
    "cartesian idle": (FixCartesian([1, 2], (False, False, False)), []),
    "scaled": (FixScaled([1], (False, True, True)), [1]),
    "plane": (FixedPlane([0, 2], (1, 2, 3)), [0, 2]),
    "line": (FixedLine(1, (0.1, 0.7, 0.3)), [1]),
    "bond": (FixBondLength(0, 1), [0, 1]),
    "bonds": (FixBondLengths([[0, 1], [2, 3]], bondlengths=[2.5, 1 / 3]), [0, 1, 2, 3]),
    "centre": (FixCom(), []),
    "centre of some": (FixSubsetCom([0, 1]), [0, 1]),
    "spring": (Hookean(0, 1, k=3.0, rt=2.0), [0, 1]),
    "tether": (Hookean(4, (1.0, 2.0, 3.0), k=3.0, rt=2.0), [4]),
    "wall": (Hookean(4, (0, 0, 1, -7), k=3.0), [4]),
    "internals": (
        FixInternals(
            bonds=[[2.5, [0, 1]], [None, [2, 3]]],
            angles_deg=[[90.0, [0, 1, 2]]],
            bondcombos=[[1.0, [[0, 1, 1.0], [1, 5, -1.0]]]],
        ),
        [0, 1, 2, 3, 5],
    ),
    "triatomic": (FixLinearTriatomic([[0, 1, 2]]), [0, 1, 2]),
    "mode": (FixedMode(mode()), [2, 5]),
    "pull": (ExternalForce(0, 1, 0.3), [0, 1]),
    "mirror": (MirrorForce(0, 1, fmax=0.2), [0, 1]),
    "torque": (MirrorTorque(0, 1, 2, 3), [0, 1, 2, 3]),
    "relations": (FixCartesianParametricRelations([0, 1], _JACOBIAN, np.zeros(6)), [0, 1]),
    "relations of the cell": (
        FixCartesianParametricRelations([0, 1], _JACOBIAN, np.zeros(6), use_cell=True),
        [],
    ),
    "scaled relations": (
        FixScaledParametricRelations([0, 1], _JACOBIAN, np.zeros(6), params=["a", "b"]),
        [0, 1],
    ),
}
ALL = pytest.mark.parametrize("name", CONSTRAINTS)


def attributes(constraint: Any) -> dict[str, Any]:
    return {key: _plain(value) for key, value in vars(constraint).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return value.tolist() if isinstance(value, np.ndarray) else value


def assert_same_constraints(atoms: Atoms, other: Atoms) -> None:
    assert [type(c) for c in atoms.constraints] == [type(c) for c in other.constraints]
    for constraint, copy_ in zip(atoms.constraints, other.constraints, strict=True):
        expected, got = attributes(constraint), attributes(copy_)
        assert expected.keys() == got.keys()
        for key, value in expected.items():
            if key in ("dir", "mode"):
                np.testing.assert_allclose(got[key], value, rtol=0, atol=1e-15)
            else:
                assert got[key] == value, key


@ALL
def test_every_kind_is_read_back(name: str, tmp_path: Path) -> None:
    atoms = crystal()
    atoms.set_constraint(copy.deepcopy(CONSTRAINTS[name][0]))
    with Frames(tmp_path / "data.extxyz") as frames:
        kept = frames.append(atoms)
        (read,) = frames
    assert_same_constraints(atoms, kept)
    assert_same_constraints(kept, read)
    assert kept.info == read.info == {}
    # Written again, the text is the same: nothing drifts from cycle to cycle.
    assert extxyz_frame(kept) == (tmp_path / "data.extxyz").read_text()


def test_mixtures_keep_their_order() -> None:
    atoms = crystal()
    chosen = ["plane", "mask", "cartesian mask", "bonds", "centre", "wall", "unsorted"]
    atoms.set_constraint([copy.deepcopy(CONSTRAINTS[name][0]) for name in chosen])
    (read,) = parse_extxyz(extxyz_frame(atoms))
    assert_same_constraints(atoms, read)


def test_other_readers_read_the_file() -> None:
    atoms = crystal()
    atoms.info["text"] = 'a "quoted" word'
    atoms.set_constraint([FixAtoms([2, 1]), FixedPlane([0], (1, 1, 0))])
    other = ase.io.read(io.StringIO(extxyz_frame(atoms)), format="extxyz")
    assert isinstance(other, Atoms)
    np.testing.assert_array_equal(other.positions, atoms.positions)
    assert other.info["text"] == atoms.info["text"]
    # What the format has a column for is there.
    (fixed,) = other.constraints
    assert fixed.index.tolist() == [1, 2]
    # What another reader leaves of the entry is no second truth.
    (again,) = parse_extxyz(extxyz_frame(other))
    assert again.info == {"text": atoms.info["text"]}
    assert_same_constraints(other, again)


def test_plain_fixed_atoms_need_no_entry() -> None:
    atoms = crystal()
    atoms.set_constraint(FixAtoms([1, 4]))
    frame = extxyz_frame(atoms)
    assert "hal_constraints" not in frame
    assert "move_mask" in frame


def test_files_without_the_entry() -> None:
    """As older versions, and ASE itself, write them."""
    atoms = crystal()
    atoms.set_constraint([FixCartesian(0), FixAtoms([3])])
    buffer = io.StringIO()
    ase.io.write(buffer, atoms, format="extxyz")
    (read,) = parse_extxyz(buffer.getvalue())
    assert [(c.index.tolist(), c.mask.tolist()) for c in read.constraints] == [
        ([0], [True] * 3),
        ([3], [True] * 3),
    ]
    assert np.flatnonzero(held_atoms(read)).tolist() == [0, 3]
    SwapMC(1).check(read)


def test_a_damaged_entry_is_an_error() -> None:
    atoms = crystal()
    atoms.set_constraint(FixedPlane([0], (1, 1, 0)))
    with pytest.raises(ValueError, match="hal_constraints does not describe constraints"):
        parse_extxyz(extxyz_frame(atoms).replace("FixedPlane", "FixedPlate"))


class Sheet(FixedPlane):
    """Inherits a todict that does not name it."""


class Described:
    """Describes itself in vain: ASE does not know it."""

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None: ...

    def todict(self) -> dict[str, Any]:
        return {"name": "Described", "kwargs": {}}


class Silent:
    """A constraint without todict."""

    def adjust_positions(self, atoms: Atoms, new: np.ndarray) -> None: ...


class Pinned(FixAtoms):
    """Fixed atoms of a class that may mean more."""


def moved(constraint: FixedPlane) -> dict[str, Any]:
    return {"name": "FixedPlane", "kwargs": {"indices": [1], "direction": (constraint.dir + 1)}}


UNKNOWN = [Sheet([0], (0, 0, 1)), Described(), Silent(), Pinned([0])]


@pytest.mark.parametrize("constraint", UNKNOWN, ids=lambda c: type(c).__name__)
def test_what_cannot_be_kept_is_refused(constraint: Any, tmp_path: Path) -> None:
    atoms = crystal()
    atoms.set_constraint([FixAtoms([0]), constraint])
    name = type(constraint).__name__
    with Frames(tmp_path / "data.extxyz") as frames:
        with pytest.raises(ValueError, match=f"constraint of class {name} cannot be kept"):
            frames.append(atoms)
        assert len(frames) == 0
    with pytest.raises(ValueError, match=f"class {name} "):
        check_constraints(atoms)


def test_a_todict_that_says_something_else_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FixedPlane, "todict", moved)
    atoms = crystal()
    atoms.set_constraint(FixedPlane([0], (0, 0, 1)))
    with pytest.raises(ValueError, match="a different FixedPlane"):
        extxyz_frame(atoms)


def test_targets_that_were_current_values_stay() -> None:
    """A bond that is kept at its length, and one at a length that todict leaves out."""
    atoms = crystal()
    atoms.set_constraint(
        [
            FixBondLengths([[0, 1]]),
            FixInternals(bonds=[[None, [2, 3]]], angles_deg=[[None, [4, 5, 6]]]),
        ]
    )
    length, other = atoms.get_distance(0, 1, mic=True), atoms.get_distance(2, 3)
    angle = atoms.get_angle(4, 5, 6)
    atoms.set_positions(atoms.positions)
    (read,) = parse_extxyz(extxyz_frame(atoms))
    bonds, internals = read.constraints
    assert bonds.bondlengths.tolist() == [length]
    assert internals.bonds == [[other, [2, 3]]]
    assert internals.angles == [[angle, [4, 5, 6]]]


def test_forces_in_the_file_are_those_of_the_calculator() -> None:
    atoms = crystal()
    atoms.set_constraint([FixAtoms([0, 1]), FixedPlane([2], (0, 0, 1))])
    forces = np.random.default_rng(1).normal(size=(8, 3))
    atoms.calc = SinglePointCalculator(atoms, energy=1.0, forces=forces)
    frame = extxyz_frame(atoms)
    for read in (parse_extxyz(frame)[0], ase.io.read(io.StringIO(frame), format="extxyz")):
        assert isinstance(read, Atoms)
        np.testing.assert_array_equal(read.get_forces(apply_constraint=False), forces)


@pytest.mark.parametrize("copied", [without_notes, lambda atoms: tagged(atoms, 0, 1)])
def test_copies_of_a_run_keep_constraints(copied: Any) -> None:
    atoms = crystal()
    atoms.set_constraint([CONSTRAINTS["plane"][0], CONSTRAINTS["bonds"][0]])
    assert_same_constraints(atoms, copied(atoms))


# --- moves and dynamics ------------------------------------------------------------------


@ALL
def test_swaps_leave_held_atoms_alone(name: str) -> None:
    constraint, held = CONSTRAINTS[name]
    atoms = crystal()
    atoms.set_constraint(copy.deepcopy(constraint))
    assert np.flatnonzero(held_atoms(atoms)).tolist() == held
    rng = np.random.default_rng(1)
    free = {i for _ in range(300) for i in SwapMC(1)._pair(atoms, rng)}
    assert free == set(range(8)) - set(held)


def test_swaps_need_to_know_who_is_held() -> None:
    atoms = crystal()
    atoms.set_constraint(FixSymmetry.__new__(FixSymmetry))
    with pytest.raises(ValueError, match="which atoms a FixSymmetry holds"):
        SwapMC(1).check(atoms)


def test_swaps_go_on_after_labelling() -> None:
    """A single fixed atom must not read back as a constraint on all of them."""
    atoms = crystal()
    atoms.set_constraint(FixCartesian(0))
    atoms.calc = SinglePointCalculator(atoms, energy=0.0, forces=np.zeros((8, 3)))
    (labelled,) = parse_extxyz(extxyz_frame(atoms))
    SwapMC(1).check(labelled)


def height(atoms: Atoms) -> np.ndarray:
    """What the constraints below keep."""
    return np.concatenate(
        [
            atoms.positions[[0, 2]] @ [1, 2, 3] / np.sqrt(14),
            np.cross(atoms.positions[1], [0.1, 0.7, 0.3]),
            [atoms.get_distance(3, 4, mic=True)],
            atoms.positions[5, :2],
        ]
    )


def test_dynamics_between_files_stays_where_constraints_want_it() -> None:
    atoms = crystal()
    atoms.set_constraint(
        [
            FixedPlane([0, 2], (1, 2, 3)),
            FixedLine(1, (0.1, 0.7, 0.3)),
            FixBondLength(3, 4),
            FixCartesian(5, (True, True, False)),
        ]
    )
    before = height(atoms)
    start = atoms.positions.copy()
    rng = np.random.default_rng(2)
    model = HarmonicCrystal.around(crystal(), stiffness=2.0)
    for _ in range(5):
        atoms.calc = HALCalculator(model)
        HALLangevin(
            atoms, 2 * units.fs, temperature_K=600, friction=0.02 / units.fs, tau=0.0,
            trigger=None, rng=rng, moves=[SwapMC(20)],
        ).run(100)  # fmt: skip
        atoms.calc = SinglePointCalculator(atoms, energy=0.0)
        (atoms,) = parse_extxyz(extxyz_frame(atoms))
    np.testing.assert_allclose(height(atoms), before, rtol=0, atol=1e-10)
    assert np.abs(atoms.positions - start).max(axis=1).min() > 1e-3


# --- runs --------------------------------------------------------------------------------


def document(**changes: Any) -> dict[str, Any]:
    keep = {key: SMALL_RUN[key] for key in SMALL_RUN if key not in ("test", "final")}
    return keep | {"reference": {"name": "emt"}, "seeds": {"file": "seeds.traj"}} | changes


def seeds() -> list[Atoms]:
    """Copper and aluminium whose first atoms stay in a plane."""
    rng = np.random.default_rng(4)
    structures = []
    for a in (3.9, 4.0, 4.1):
        atoms = bulk("Al", cubic=True, a=a) * (2, 1, 1)
        atoms.symbols[:2] = "Cu"
        atoms.positions += rng.normal(0, 0.1, (8, 3))
        atoms.set_constraint([FixedPlane([0, 3], (1, 1, 0)), FixAtoms([7])])
        structures.append(atoms)
    return structures


@pytest.mark.parametrize("name", ["seeds.traj", "seeds.json", "seeds.extxyz"])
def test_seeds_bring_their_constraints(name: str, tmp_path: Path) -> None:
    if name.endswith("extxyz"):
        (tmp_path / name).write_text("".join(map(extxyz_frame, seeds())))
    else:
        ase.io.write(tmp_path / name, seeds())
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document(seeds={"file": name})))
    found = RunFile.read(tmp_path / "run.yaml").seeds()
    for atoms, original in zip(found, seeds(), strict=True):
        assert_same_constraints(original, atoms)
        assert "hal_constraints" not in atoms.info


def test_seeds_with_constraints_that_no_file_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structures = seeds()
    structures[1].set_constraint(Sheet([0], (0, 0, 1)))
    monkeypatch.setattr(SeedsSection, "build", lambda self, seed: structures)
    ase.io.write(tmp_path / "seeds.traj", seeds())
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document()))
    with pytest.raises(RunFileError) as raised:
        RunFile.read(tmp_path / "run.yaml")
    (line,) = raised.value.problems
    assert line.startswith("seeds.file: structure 1: a constraint of class Sheet cannot be kept")


@pytest.mark.slow
def test_a_run_keeps_atoms_in_their_plane(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ase_hal.run, "write_report", lambda directory: directory)
    ase.io.write(tmp_path / "seeds.traj", seeds())
    loop = {"select": 1, "max_labels": 3}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(document(loop=loop)))
    run(tmp_path / "run.yaml", tmp_path / "run")
    dataset = Frames.read(tmp_path / "run" / "dataset.extxyz")
    found = [atoms for atoms in dataset if atoms.info["hal_iteration"] > 0]
    assert len(found) >= 2
    normal = np.array([1, 1, 0]) / np.sqrt(2)
    heights = np.array([atoms.positions[[0, 3]] @ normal for atoms in seeds()])
    for atoms in found:
        assert_same_constraints(seeds()[0], atoms)
        distance = np.abs(atoms.positions[[0, 3]] @ normal - heights).max(axis=1).min()
        assert distance < 1e-10
        assert np.abs(atoms.get_forces(apply_constraint=False)[7]).max() > 1e-3
