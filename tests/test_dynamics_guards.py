"""Trigger: scores and guards; closest contacts against ASE's neighbour list."""

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase import Atoms
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.neighborlist import neighbor_list

from ase_hal.dynamics import Trigger
from ase_hal.dynamics.sanity import closest_contact, volume_of
from ase_hal.structures import contacts
from ase_hal.uncertainty import energy_std, relative_force_error, softmax_score

PERIODICITY = [(True, True, True), (True, True, False), (False, False, True), (False,) * 3]


@pytest.mark.parametrize("pbc", PERIODICITY)
@pytest.mark.parametrize("all_pairs", [True, False])
def test_closest_contacts_match_a_neighbour_list(pbc, all_pairs, monkeypatch):
    monkeypatch.setattr(contacts, "_ALL_PAIRS", 1000 if all_pairs else 0)
    rng = np.random.default_rng(5)
    found = 0
    for _ in range(25):
        n = int(rng.integers(1, 9))
        cell = np.diag(rng.uniform(1.5, 7.0, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
        if abs(np.linalg.det(cell)) < 6:
            continue
        scaled = rng.uniform(0, 0.7, (n, 3)) + np.array(pbc) * rng.integers(-3, 4, (n, 3))
        atoms = Atoms(rng.choice([1, 6, 13], n), scaled @ cell, cell=cell, pbc=pbc)
        i, j, d = neighbor_list("ijd", atoms, 2.0)
        ratio = d / (covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]])
        contact = closest_contact(atoms, 0.7)
        if not len(ratio) or ratio.min() >= 0.7:
            assert contact is None
            continue
        found += 1
        best = int(np.argmin(ratio))
        distance, first, second = contact
        assert distance == pytest.approx(d[best])
        assert {first, second} == {i[best], j[best]} or ratio[best] == pytest.approx(
            distance / covalent_radii[atoms.numbers[[first, second]]].sum()
        )
    assert found > 3


def test_contacts_are_limited_by_the_radii_of_the_pair():
    assert closest_contact(molecule("H2O"), 0.6) is None
    assert closest_contact(Atoms("Al2", [[0, 0, 0], [0, 0, 0.97]]), 0.6) is not None
    assert closest_contact(Atoms("HO", [[0, 0, 0], [0, 0, 0.97]]), 0.6) is None
    assert closest_contact(bulk("Al"), 0.6) is None
    distance, i, j = closest_contact(Atoms("Al", cell=[1.0, 9, 9], pbc=True), 0.6)
    assert (distance, i, j) == (pytest.approx(1.0), 0, 0)
    assert closest_contact(Atoms("Al", cell=[1.0, 9, 9]), 0.6) is None
    assert closest_contact(Atoms(), 0.6) is None
    assert closest_contact(Atoms("Al2"), 0.0) is None


@pytest.mark.parametrize("cell", [[3, 4, 5], [[0, 2, 2], [2, 0, 2], [2, 2, 0]], [3, 4, 0], None])
def test_volume(cell):
    atoms = Atoms("H", cell=cell)
    assert volume_of(atoms) == pytest.approx(atoms.cell.volume if atoms.cell.rank == 3 else 0.0)


def test_guards_say_what_is_wrong():
    atoms, trigger = bulk("Al", cubic=True) * 2, Trigger()
    sane = {"temperature_K": 900.0, "target_K": 300.0, "volume": 66.0, "initial_volume": 66.0}
    assert trigger.distrust(atoms, **sane) is None
    reason = trigger.distrust(atoms, **{**sane, "temperature_K": 1501.0})
    assert reason == "temperature 1501 K, more than 5 times the 300 K asked for"
    assert "2.02 times" in trigger.distrust(atoms, **{**sane, "volume": 133.0})
    assert "0.48 times" in trigger.distrust(atoms, **{**sane, "volume": 32.0})
    assert trigger.distrust(atoms, **{**sane, "volume": 131.0}) is None
    # cooling to 0 K and molecules: nothing to compare with
    assert trigger.distrust(atoms, temperature_K=900.0, target_K=0.0) is None
    atoms.positions[1] = atoms.positions[0] + [1.0, 0, 0]
    assert "distance 1.00 Å between Al 0 and Al 1, less than 0.6" in trigger.distrust(atoms, **sane)
    assert Trigger(min_distance=0.4).distrust(atoms, **sane) is None
    assert Trigger(min_distance=0).distrust(atoms, **sane) is None


def test_scores():
    atoms = bulk("Al", cubic=True)
    spread = np.outer([0.3, -0.3], [1.0, 0.2, 0.1, 0.1])
    committee = HarmonicCrystal.around(atoms, spread=spread)
    atoms.positions += np.random.default_rng(0).normal(scale=0.2, size=(4, 3))
    p = committee.predict(atoms, members=True)
    assert Trigger("softmax").score(p) == softmax_score(p).max()
    assert Trigger("relative", 0.2).score(p) == relative_force_error(p).max()
    assert Trigger("relative", 0.2, eps=3.0).score(p) == relative_force_error(p, 3.0).max()
    assert Trigger(energy_std, 0.1).score(p) == p.energy_std


def test_a_softmax_of_few_atoms_is_refused():
    with pytest.raises(ValueError, match=r"score of 2 atoms is never below 0\.5"):
        Trigger("softmax", 0.5).check(Atoms("H2"))
    Trigger("softmax", 0.5).check(Atoms("H3"))
    Trigger("relative", 0.5).check(Atoms("H2"))


@pytest.mark.parametrize(
    "keywords",
    [
        {"criterion": "entropy"},
        {"tolerance": np.nan},
        {"tolerance": 1.5},
        {"interval": 0},
        {"min_distance": -1},
        {"max_temperature": 0.5},
        {"max_volume_change": 1.0},
        {"eps": 0.0},
    ],
)
def test_bad_arguments(keywords):
    with pytest.raises(ValueError, match="got"):
        Trigger(**keywords)


@pytest.mark.parametrize(("n_atoms", "passes", "fails"), [(1, 14.0, 16.5), (32, 4.9, 5.1)])
def test_the_temperature_guard_knows_that_few_atoms_fluctuate(n_atoms, passes, fails):
    atoms = Atoms(f"Al{n_atoms}", positions=10.0 * np.arange(3 * n_atoms).reshape(-1, 3))
    trigger = Trigger("relative", 0.1)
    assert trigger.distrust(atoms, temperature_K=passes * 300, target_K=300) is None
    assert "temperature" in trigger.distrust(atoms, temperature_K=fails * 300, target_K=300)


def test_few_mobile_atoms_may_be_hot():
    """The temperature of one mobile atom has three degrees of freedom, not 3 N."""
    atoms = bulk("Al", cubic=True) * (3, 3, 1)
    trigger = Trigger("relative", 0.1)
    for fixed, trusted in ((0, False), (35, True)):
        atoms.set_constraint(FixAtoms(range(fixed)))
        reason = trigger.distrust(atoms, temperature_K=6000.0, target_K=1000.0)
        assert (reason is None) == trusted
