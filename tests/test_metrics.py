"""Errors: angles of forces, kinds of structures, gentle and difficult test sets."""

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator

from ase_hal import learn
from ase_hal.held_out import HoldOut, split
from ase_hal.metrics import compare, errors_by_kind, force_angles, structure_kind


def labelled(shift, turn=0.0, **info):
    """A crystal of springs with forces that are turned about z, and an energy that is shifted."""
    crystal = bulk("Al", cubic=True)
    committee = HarmonicCrystal.around(crystal)
    atoms = crystal.copy()
    atoms.positions[:, 0] += 0.1
    prediction = committee.predict(atoms)
    angle = np.radians(turn)
    rotation = np.array(
        [[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
    )
    atoms.calc = SinglePointCalculator(
        atoms, energy=prediction.energy + shift, forces=prediction.forces @ rotation
    )
    atoms.info |= info
    return committee, atoms


@pytest.mark.parametrize("angle", [0.0, 1e-6, 30.0, 90.0, 150.0, 180.0])
def test_angles(angle):
    label = np.array([[2.0, 0.0, 0.0]])
    force = 0.3 * np.array([[np.cos(np.radians(angle)), np.sin(np.radians(angle)), 0.0]])
    assert force_angles(force, label) == pytest.approx([angle], rel=1e-6, abs=1e-12)


def test_angles_of_nothing():
    labels = np.array([[1.0, 0, 0], [1e-4, 0, 0]])
    angles = force_angles(np.array([[0.0, 0, 0], [1.0, 0, 0]]), labels)
    assert angles[0] == 90.0
    assert np.isnan(angles[1])
    with pytest.raises(ValueError, match="forces of shape"):
        force_angles(np.zeros((2, 3)), np.zeros((3, 3)))


def test_angles_are_part_of_a_comparison():
    committee, atoms = labelled(0.0, turn=40.0)
    assert compare(committee, [atoms]).errors().force_angle == pytest.approx(40.0)
    assert np.isnan(compare(committee, []).errors().force_angle)
    bounded = compare(committee, [atoms], force_bound=0.01)
    assert np.isnan(bounded.errors().force_angle)


def test_kinds():
    crystal = bulk("Al")
    assert structure_kind(crystal) == "seed"
    crystal.info["hal_origin"] = "alloy(lattice=bcc, a=3.3) | strain(linear=0.1)"
    assert structure_kind(crystal) == "alloy"
    crystal.info["hal_scheme"] = "contour"
    assert structure_kind(crystal) == "contour"
    crystal.info["hal_role"] = "saddle"
    assert structure_kind(crystal) == "saddle"


def test_errors_by_kind():
    dataset = []
    for shift, kind in [(0.4, "metal"), (-0.4, "metal"), (0.8, "oxide")]:
        committee, atoms = labelled(shift, hal_stage=kind)
        dataset.append(atoms)
    errors = errors_by_kind(committee, dataset)
    assert list(errors) == ["metal", "oxide"]
    assert errors["metal"].energy_rmse == pytest.approx(0.1)
    assert errors["oxide"].energy_rmse == pytest.approx(0.2)
    assert (errors["metal"].n_structures, errors["oxide"].n_structures) == (2, 1)
    by_size = errors_by_kind(committee, dataset, kind=len)
    assert by_size[4].n_structures == 3


def test_a_gentle_test_set():
    structures = [bulk("Al", a=a) for a in np.linspace(3.9, 4.1, 10)]
    train, held = split(structures, 0.3, rng=np.random.default_rng(0))
    assert (len(train), len(held)) == (7, 3)
    assert {id(a) for a in train} | {id(a) for a in held} == {id(a) for a in structures}
    with pytest.raises(ValueError, match="share is between 0 and 1, got 2"):
        split(structures, 2, rng=np.random.default_rng(0))


def difficult_set(first_iteration=1, dataset=()):
    """A loop that finds two rattled structures each time, with some held out."""
    crystal = bulk("Al", cubic=True)
    committee = HarmonicCrystal.around(
        crystal, noise=0.01, spread=np.outer([0.1, -0.1], np.ones(4))
    )

    def explore(committee, *, dataset, rng):
        for _ in range(2):
            atoms = crystal.copy()
            atoms.positions += rng.normal(scale=0.1, size=atoms.positions.shape)
            yield atoms

    def label(structures, calculator, *, on_failure):
        labelled = [atoms.copy() for atoms in structures]
        for atoms in labelled:
            atoms.calc = SinglePointCalculator(atoms, energy=0.0)
        return labelled

    rng = np.random.default_rng(5)
    hold_out = HoldOut(0.5, rng=np.random.default_rng(6), label=label)
    steps = learn(
        list(dataset) or [crystal], lambda dataset, *, rng: committee, explore, None, rng=rng,
        max_iterations=20, first_iteration=first_iteration, label=hold_out,
    )  # fmt: skip
    return list(steps), hold_out.difficult


def test_a_difficult_test_set_grows_with_the_loop():
    steps, difficult = difficult_set()
    found = sum(len(step.candidates) for step in steps)
    trained = len(steps[-1].dataset) - 1
    assert trained + len(difficult) <= found
    assert 0.25 * (trained + len(difficult)) < len(difficult) < 0.75 * (trained + len(difficult))
    known = {a.positions.tobytes() for a in steps[-1].dataset}
    assert not known & {a.positions.tobytes() for a in difficult}
    assert all(a.info["hal_iteration"] > 0 for a in difficult)


def test_a_loop_that_goes_on_holds_out_the_same():
    steps, difficult = difficult_set()
    middle = steps[9]
    _, rest = difficult_set(first_iteration=11, dataset=middle.dataset)
    late = [a for a in difficult if a.info["hal_iteration"] > 10]
    assert [a.positions.tobytes() for a in rest] == [a.positions.tobytes() for a in late]
