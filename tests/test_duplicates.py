"""The same structure twice is found however it is written, and tells the noise of labels."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, make_supercell, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from datasets_emt import labelled, rattled

from ase_hal.data.duplicates import find_duplicates


def alloy(count, seed=1):
    return list(rattled("Al", count, rng=np.random.default_rng(seed), second="Cu"))


def turned(atoms):
    """Turned, moved, wrapped and with its atoms in another order."""
    copy = atoms.copy()
    copy.rotate(37, (1, 2, 3), rotate_cell=True)
    copy.positions += [0.3, -1.2, 7.0]
    copy.wrap()
    return copy[np.random.default_rng(0).permutation(len(copy))]


def with_energy(atoms, per_atom):
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, energy=per_atom * len(copy))
    return copy


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.copy(),
        turned,
        lambda atoms: atoms * (1, 2, 1),
        lambda atoms: make_supercell(atoms, [[1, 1, 0], [0, 1, 0], [0, 0, 2]]),
        lambda atoms: Atoms(atoms.symbols, np.round(atoms.positions, 8), cell=atoms.cell, pbc=True),
    ],
)
def test_the_same_structure_is_found(change):
    structures = alloy(6)
    twin = labelled(change(structures[2]))
    found = find_duplicates([*structures, twin])
    assert found.groups == ((2, 6),)
    assert found.energy_noise == pytest.approx(0.0, abs=1e-8)
    (note,) = found.findings
    assert (note.severity, note.kind, note.frames) == ("note", "duplicates", (2, 6))
    assert "1 of 2 add nothing" in note.message


def test_neighbours_of_a_trajectory_are_different():
    (start,) = alloy(1)
    trajectory = []
    for step in range(6):
        atoms = start.copy()
        atoms.positions[3, 0] += 1e-3 * step
        trajectory.append(labelled(atoms))
    volumes = [labelled(bulk("Cu", cubic=True, a=3.6 + 1e-3 * i)) for i in range(4)]
    assert find_duplicates([*trajectory, *volumes]).groups == ()
    assert find_duplicates(trajectory).energy_noise is None


def test_labels_that_contradict_each_other():
    structures = alloy(5)
    per_atom = [a.calc.results["energy"] / len(a) for a in structures]
    double = with_energy(structures[1] * (2, 1, 1), per_atom[1] + 0.004)
    found = find_duplicates([*structures, double])
    assert found.groups == ((1, 5),)
    assert found.energy_noise == pytest.approx(0.004 / np.sqrt(2), rel=1e-6)
    (note,) = found.findings
    assert (note.severity, note.kind) == ("note", "label_noise")
    assert "4 meV/atom" in note.message
    other = with_energy(structures[3], per_atom[3] - 0.05)
    found = find_duplicates([*structures, double, other])
    assert found.groups == ((1, 5), (3, 6))
    assert found.energy_noise == pytest.approx(np.sqrt((0.004**2 + 0.05**2) / 4), rel=1e-6)
    assert found.largest == pytest.approx(0.05)
    (likely,) = found.findings
    assert likely.severity == "likely"
    assert {3, 6} <= set(likely.frames)
    assert "50 meV/atom" in likely.message


def test_forces_that_contradict_each_other():
    structures = alloy(4)
    twin = structures[2].copy()
    labels = dict(structures[2].calc.results)
    twin.calc = SinglePointCalculator(twin, **{**labels, "forces": 1.5 * labels["forces"]})
    kinds = {f.kind: f.severity for f in find_duplicates([*structures, twin]).findings}
    assert kinds == {"force_noise": "likely"}


def test_many_copies_molecules_and_strange_structures():
    water = labelled(molecule("H2O"))
    collapsed = with_energy(Atoms("H2", np.zeros((2, 3))), 0.0)
    found = find_duplicates([water, *(labelled(turned(water)) for _ in range(20)), collapsed])
    assert found.groups == (tuple(range(21)),)
    assert find_duplicates([water]).groups == ()
