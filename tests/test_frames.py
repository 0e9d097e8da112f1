"""Structures on disk: every digit is kept, and every frame is whole."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms

from ase_hal.frames import Frames
from ase_hal.journal import Log


def labelled(seed: int, size: int = 2) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk("Al", cubic=True) * (size, 1, 1)
    atoms.positions += rng.normal(0, 0.1, atoms.positions.shape)
    atoms.cell[:] = atoms.cell @ (np.eye(3) + rng.normal(0, 0.02, (3, 3)))
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=float(rng.normal()),
        forces=rng.normal(size=(len(atoms), 3)),
        stress=rng.normal(size=6) * 1e-9,
    )
    atoms.info["hal_seed"] = seed
    atoms.new_array("momenta", rng.normal(size=(len(atoms), 3)) * 1e-7)
    return atoms


def assert_same(a: Atoms, b: Atoms) -> None:
    assert (a.numbers == b.numbers).all()
    assert (a.pbc == b.pbc).all()
    np.testing.assert_array_equal(a.positions, b.positions)
    np.testing.assert_array_equal(a.cell.array, b.cell.array)
    for name in a.arrays:
        np.testing.assert_array_equal(a.arrays[name], b.arrays[name])
    assert a.calc.results.keys() == b.calc.results.keys()
    for name, value in a.calc.results.items():
        np.testing.assert_array_equal(value, b.calc.results[name])
    assert a.info == b.info


def test_frames_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "data.extxyz"
    structures = [labelled(seed) for seed in range(4)]
    with Frames(path) as frames:
        copies = [frames.append(atoms) for atoms in structures]
    for original, copy, read in zip(structures, copies, Frames.read(path), strict=True):
        assert_same(original, copy)
        assert_same(copy, read)
        assert isinstance(copy.calc, SinglePointCalculator)
    # What is read back and written again is the same file: memory and disk agree.
    with Frames(tmp_path / "again.extxyz") as again:
        for atoms in Frames.read(path):
            again.append(atoms)
    assert (tmp_path / "again.extxyz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    "value",
    [
        "two\nlines\r\n",
        "back\\slash \\n",
        "quotes \"a\" 'b' {c} [d]",
        "12",
        "T",
        "",
        " padded ",
        "_JSON {",
        "a=b, c",
        "\u2028",
        None,
        True,
        7,
        0.1 + 0.2,
        {"a": [1, 2], "b": "x\\y\n", "c": {"d": None}},
        ["a", "b c"],
    ],
    ids=repr,
)
def test_info_survives(tmp_path: Path, value: object) -> None:
    atoms = labelled(0)
    atoms.info = {"first": 1, "value": value, "last": "end"}
    with Frames(tmp_path / "data.extxyz") as frames:
        copy = frames.append(atoms)
        (read,) = frames
    assert copy.info == atoms.info == read.info
    assert type(read.info["value"]) is type(value) or isinstance(value, bool | int | float)


def test_molecules_constraints_arrays(tmp_path: Path) -> None:
    atoms = molecule("CH3CH2OH")
    atoms.set_constraint(FixAtoms([0, 3]))
    atoms.new_array("site", np.array(["a"] * len(atoms)))
    atoms.new_array("flag", np.arange(len(atoms)) % 2 == 0)
    atoms.new_array("tensor", np.random.default_rng(0).normal(size=(len(atoms), 5)))
    with Frames(tmp_path / "data.extxyz") as frames:
        copy = frames.append(atoms)
    assert copy.calc is None
    assert not copy.pbc.any()
    assert list(copy.constraints[0].index) == [0, 3]
    for name in atoms.arrays:
        np.testing.assert_array_equal(copy.arrays[name], atoms.arrays[name])


def test_frames_refuse_stale_and_unreadable(tmp_path: Path) -> None:
    with Frames(tmp_path / "data.extxyz") as frames:
        live = bulk("Cu", cubic=True)
        live.calc = LennardJones()
        live.get_forces()
        frames.append(live)
        live.rattle(0.1, rng=np.random.default_rng(0))
        with pytest.raises(ValueError, match="another structure"):
            frames.append(live)
        virial = labelled(1)
        virial.info["virial"] = np.zeros(6)
        with pytest.raises(ValueError, match="cannot be kept"):
            frames.append(virial)
        twice = labelled(1)
        twice.info["energy"] = 1.0
        with pytest.raises(ValueError, match="already exists"):
            frames.append(twice)
        newline = labelled(1)
        newline.info["bad\nkey"] = 1.0
        with pytest.raises(ValueError, match="cannot be kept"):
            frames.append(newline)
        assert len(frames) == 1
        assert len(list(frames)) == 1


def test_frames_torn_at_every_byte(tmp_path: Path) -> None:
    dimer = Atoms("H2", [[0, 0, 0], [0.1 + 0.2, 0, 0]], info={"note": "two\nlines"})
    dimer.calc = SinglePointCalculator(dimer, energy=-1 / 3)
    path = tmp_path / "data.extxyz"
    with Frames(path) as frames:
        frames.append(labelled(0, size=1))
        start = path.stat().st_size
        frames.append(dimer)
    whole = path.read_bytes()
    for cut in range(start, len(whole) + 1):
        path.write_bytes(whole[:cut])
        expected = 2 if cut == len(whole) else 1
        with Frames(path) as frames:
            assert len(frames) == expected
            assert path.stat().st_size == (len(whole) if expected == 2 else start)
    path.write_bytes(whole[: len(whole) - 30])
    assert len(Frames.read(path)) == 1
    with Frames(path) as frames:
        frames.append(dimer)
    assert path.read_bytes() == whole


def test_frames_refuse_what_is_not_extxyz(tmp_path: Path) -> None:
    path = tmp_path / "data.extxyz"
    with Frames(path) as frames:
        frames.append(labelled(0))
    path.write_bytes(path.read_bytes() + b"hello\nworld\n")
    before = path.read_bytes()
    with pytest.raises(ValueError, match="frame 1: expected a number of atoms, got 'hello'"):
        Frames(path)
    assert path.read_bytes() == before


WRITER = """
from ase import Atoms
from ase_hal.frames import Frames
from ase_hal.journal import Log
with Frames("data.extxyz") as frames, Log("log.jsonl") as log:
    while True:
        n = len(frames)
        frames.append(Atoms("H2", [[0, 0, 0], [0, 0, n / 7]], info={"n": n}))
        log.append({"n": n, "padding": "x" * 3000})
        print(n, flush=True)
"""


def test_killed_writers_lose_nothing_they_confirmed(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    dice = random.Random(3)
    confirmed = 0
    for round in (1, 2):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(4):
            confirmed = int(writer.stdout.readline())
        time.sleep(dice.uniform(0.0, 0.05))
        writer.send_signal(signal.SIGKILL)
        confirmed = int(([confirmed, *writer.stdout.read().split()])[-1])
        writer.wait()
        writer.stdout.close()
        frames = Frames.read(tmp_path / "data.extxyz")
        records = Log.read(tmp_path / "log.jsonl")
        assert len(frames) - len(records) in (0, 1)
        assert 4 * round <= confirmed + 1 <= len(records)
        with Log(tmp_path / "log.jsonl") as log, Frames(tmp_path / "data.extxyz") as data:
            data.truncate(len(log))
    for n, atoms in enumerate(Frames.read(tmp_path / "data.extxyz")):
        assert atoms.info["n"] == n
        assert atoms.positions[1, 2] == n / 7
