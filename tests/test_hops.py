"""Hops of vacancies and interstitials as end points of saddle searches."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import find_mic

from ase_hal.structures import (
    deformed,
    interstitial_hop,
    random_alloy,
    random_deformation,
    vacancy_hop,
)


def alloy(rng, share=(0.0, 0.0)):
    return random_alloy(["Nb", "Ti", "Zr"], a=3.3, rng=rng, interstitial_share=share)


def moved(initial, final):
    """Index, distance and number of the atoms that moved."""
    assert np.array_equal(initial.numbers, final.numbers)
    assert np.allclose(initial.cell, final.cell)
    _, lengths = find_mic(final.positions - initial.positions, initial.cell, initial.pbc)
    assert np.sum(lengths > 1e-9) == 1
    return int(np.argmax(lengths)), lengths.max()


def test_vacancies():
    rng = np.random.default_rng(0)
    for _ in range(20):
        atoms = alloy(rng)
        initial, final = vacancy_hop(atoms, rng=rng)
        assert len(initial) == len(atoms) - 1
        index, distance = moved(initial, final)
        assert distance == pytest.approx(3.3 * np.sqrt(3) / 2)
        assert (
            initial.info["hal_origin"]
            .split(" | ")[1]
            .startswith(f"vacancy_hop(hop={initial.symbols[index]} to ")
        )
        both = initial + final[[index]]
        assert np.allclose(
            np.sort(both.get_scaled_positions(), axis=0) % 1,
            np.sort(atoms.get_scaled_positions(), axis=0) % 1,
        )


@pytest.mark.parametrize(("lattice", "a", "step"), [("bcc", 3.3, 0.5), ("fcc", 4.0, 0.5**0.5)])
def test_interstitials(lattice, a, step):
    rng = np.random.default_rng(1)
    atoms = bulk("Nb", lattice, a=a, cubic=True) * (2, 3, 2)
    chosen = set()
    for _ in range(15):
        initial, final = interstitial_hop(atoms, "O", size=(2, 3, 2), rng=rng, lattice=lattice)
        index, distance = moved(initial, final)
        assert index == len(atoms)
        assert distance == pytest.approx(step * a)
        for structure in (initial, final):
            d = structure.get_distances(index, range(len(atoms)), mic=True)
            assert d.min() == pytest.approx(a / 2)
        chosen.add(tuple(initial.positions[-1].round(3)))
    assert len(chosen) > 8


def test_free_sites_in_a_strained_alloy_with_oxygen():
    rng = np.random.default_rng(2)
    for _ in range(10):
        atoms = alloy(rng, share=(0.2, 0.3))
        atoms = deformed(atoms, random_deformation((-0.05, 0.1), (0.0, 0.05), rng=rng))
        for structure in interstitial_hop(atoms, "O", size=(2, 2, 2), rng=rng):
            last = len(structure) - 1
            assert structure.get_distances(last, range(last), mic=True).min() > 1.4


def test_bad_input():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="takes two atoms"):
        vacancy_hop(Atoms("Nb", cell=[3] * 3, pbc=True), rng=rng)
    for wrong in ({"lattice": "hcp"}, {"element": "Qq"}):
        keywords = {"element": "O", "size": (1, 1, 1), "rng": rng, **wrong}
        with pytest.raises(ValueError, match=next(iter(wrong))):
            interstitial_hop(bulk("Nb", cubic=True), **keywords)
    full = bulk("Nb", cubic=True)
    for site in [[0.5, 0, 0], [0, 0.5, 0], [0, 0, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5]]:
        full.append("O")
        full.positions[-1] = np.array(site) @ full.cell.array
    with pytest.raises(ValueError, match="no two octahedral sites"):
        interstitial_hop(full, "O", size=(1, 1, 1), rng=rng)
