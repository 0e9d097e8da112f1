"""Closest contacts in cells that are thin, skewed, collapsed or none at all."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111

from ase_hal.structures.contacts import closest_contact


@pytest.mark.parametrize("n_atoms", [4, 500])
@pytest.mark.parametrize("scale", [0.3, 1e-2, 1e-4, 1e-9])
def test_a_collapsed_cell_is_a_contact(n_atoms, scale):
    """Without counting its images, of which there are more than fit into memory."""
    repeat = {4: 1, 500: 5}[n_atoms]
    atoms = bulk("Al", cubic=True) * repeat
    atoms.set_cell(atoms.cell * scale / repeat, scale_atoms=True)
    distance, i, j = closest_contact(atoms, 0.6)
    assert distance < 0.6 * 2.42
    assert i < n_atoms
    assert j < n_atoms


@pytest.mark.parametrize("pbc", [True, False])
def test_many_atoms_at_one_place(pbc):
    atoms = Atoms("Al50000", cell=[20, 20, 20], pbc=pbc)
    assert closest_contact(atoms, 0.6)[0] == 0
    atoms.positions[::2] = np.random.default_rng(0).uniform(0, 20, (25000, 3))
    assert closest_contact(atoms, 0.6)[0] == 0


def test_one_pair_among_many_atoms():
    atoms = bulk("Al", cubic=True) * 6
    assert closest_contact(atoms, 0.6) is None
    atoms.positions[17] = atoms.positions[16] + [0.3, 0, 0]
    assert closest_contact(atoms, 0.6) == (pytest.approx(0.3), 16, 17)


@pytest.mark.parametrize("n_atoms", [4, 500])
def test_a_cell_that_collapsed_in_one_direction(n_atoms):
    atoms = bulk("Al", cubic=True) * {4: 1, 500: 5}[n_atoms]
    atoms.set_cell(atoms.cell * np.array([[1.0], [1.0], [1e-6]]), scale_atoms=True)
    distance, i, j = closest_contact(atoms, 0.6)
    assert distance == pytest.approx(atoms.cell.lengths()[2])
    assert i == j
    atoms.pbc = (True, True, False)  # atoms of different layers meet, no images
    distance, i, j = closest_contact(atoms, 0.9)
    assert i != j
    assert distance == pytest.approx(atoms.get_distance(i, j, mic=True))


@pytest.mark.parametrize("pbc", [(True, True, True), (True, True, False), (False, True, True)])
def test_skewed_cells_are_the_same_lattice(pbc):
    """A cell of other vectors, with heights of thousandths of an Å, has the same contacts."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        atoms = Atoms("Al3", rng.uniform(0, 4, (3, 3)), cell=np.diag(rng.uniform(3, 5, 3)), pbc=pbc)
        skewed = atoms.copy()
        first, second = np.flatnonzero(pbc)[:2]
        skewed.cell[first] += 2000 * atoms.cell[second]
        skewed.cell[second] += 3 * skewed.cell[first]
        expected, found = closest_contact(atoms, 0.9), closest_contact(skewed, 0.9)
        assert (expected is None) == (found is None)
        if expected is not None:
            assert found[0] == pytest.approx(expected[0], rel=1e-6)


def test_what_is_not_periodic_plays_no_part():
    slab = fcc111("Al", (2, 2, 2), vacuum=8.0)
    slab.positions[1] = slab.positions[0] + [0.0, 0.0, 0.5]
    expected = closest_contact(slab, 0.6)
    assert expected == (pytest.approx(0.5), 0, 1)
    for vector in ([0.0, 0.0, 0.0], slab.cell[0], [0.0, 0.0, 1e-7]):
        slab.cell[2] = vector
        assert closest_contact(slab, 0.6) == expected


@pytest.mark.parametrize("vector", [[0, 0, 0], [0, 4.05, 0], [np.nan, 0, 0], [0, 0, np.inf]])
def test_a_periodic_cell_has_a_volume(vector):
    atoms = bulk("Al", cubic=True)
    atoms.cell[2] = vector
    with pytest.raises(ValueError, match="no volume there or is not finite"):
        closest_contact(atoms, 0.6)
