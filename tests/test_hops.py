"""Hops of vacancies and interstitials as end points of saddle searches."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import find_mic

from ase_hal.structures import (
    chain_shape,
    coupled_vacancy_hop,
    deformed,
    hop_along,
    interstitial_hop,
    random_alloy,
    random_deformation,
    vacancy_chains,
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


# Chains of two hops by the angle at the middle atom, counted on paper: distances of the second
# atom from the vacancy, in nearest-neighbour distances, and how many there are.
CHAINS = {
    "bcc": {2 / 3**0.5: 24, (8 / 3) ** 0.5: 24, 2.0: 8},
    "fcc": {1.0: 48, 2**0.5: 24, 3**0.5: 48, 2.0: 12},
}


@pytest.mark.parametrize("lattice", CHAINS)
def test_coupled_hops_are_enumerated(lattice):
    atoms = bulk("Nb", lattice, a=3.3, cubic=True) * 4
    chains = list(vacancy_chains(atoms, 5, hops=2))
    assert len(set(chains)) == len(chains) == sum(CHAINS[lattice].values())
    shapes = [chain_shape(atoms, 5, chain) for chain in chains]
    for distance, count in CHAINS[lattice].items():
        assert sum(abs(shape[1] - distance) < 1e-3 for shape in shapes) == count
    assert len(set(shapes)) == len(CHAINS[lattice])
    assert {chain[0] for chain in chains} == {c for (c,) in vacancy_chains(atoms, 5, hops=1)}


def test_three_hops_close_rings():
    """Of the 8 * 7 * 7 chains of bcc, those that come back to the vacancy are none."""
    atoms = bulk("Nb", a=3.3, cubic=True) * 5
    chains = list(vacancy_chains(atoms, 0, hops=3))
    back = 0
    for first, second in vacancy_chains(atoms, 0, hops=2):
        neighbours = {c for (c,) in vacancy_chains(atoms, second, hops=1)}
        assert first in neighbours
        back += 0 in neighbours
    assert back == 0  # bcc is bipartite: two hops never end next to the vacancy
    assert len(chains) == 8 * 7 * 7


def test_coupled_hops_move_a_chain():
    rng = np.random.default_rng(4)
    for _ in range(10):
        atoms = alloy(rng)
        atoms = deformed(atoms, random_deformation((-0.05, 0.1), (0.0, 0.05), rng=rng))
        initial, final = coupled_vacancy_hop(atoms, hops=2, rng=rng)
        _, lengths = find_mic(final.positions - initial.positions, initial.cell, initial.pbc)
        assert np.sum(lengths > 1e-9) == 2
        # the two structures are one crystal but for the place of the vacancy
        filled = [len({tuple(np.rint(s.get_scaled_positions() * 4 % 4).astype(int)[i] % 4)
                       for i in range(len(s))}) for s in (initial, final)]  # fmt: skip
        assert filled == [len(atoms) - 1] * 2
        assert initial.info["hal_origin"].split(" | ")[-1].startswith("vacancy_hop(hop=")


def test_a_given_chain_across_the_boundary():
    atoms = bulk("Nb", a=3.3, cubic=True) * 3
    for chain in vacancy_chains(atoms, 0, hops=2):
        initial, final = hop_along(atoms, 0, chain)
        moves = np.linalg.norm(final.positions - initial.positions, axis=1)
        assert np.sort(moves)[-2:] == pytest.approx([3.3 * np.sqrt(3) / 2] * 2)


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
    with pytest.raises(ValueError, match="1 atoms have no chain of 1 hops"):
        vacancy_hop(Atoms("Nb", cell=[3] * 3, pbc=True), rng=rng)
    with pytest.raises(ValueError, match="hops is at least 1, got 0"):
        coupled_vacancy_hop(bulk("Nb", cubic=True), hops=0, rng=rng)
    with pytest.raises(ValueError, match="vacancy is an index into 2 atoms, got 2"):
        list(vacancy_chains(bulk("Nb", cubic=True), 2))
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
