"""Hops of vacancies and interstitials as end points of saddle searches."""

import re

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.geometry import find_mic

from ase_hal.structures import (
    bcc_interstitial_path,
    bcc_vacancy_path,
    chain_shape,
    coupled_vacancy_hop,
    decorated_hop,
    deformed,
    hop_along,
    hop_between,
    interstitial_hop,
    interstitial_paths,
    random_alloy,
    random_deformation,
    random_hop,
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


@pytest.mark.parametrize(("lattice", "per_cell"), [("bcc", 12), ("fcc", 24)])
@pytest.mark.parametrize("size", [(1, 1, 1), (2, 3, 2)])
def test_interstitial_paths_are_enumerated(lattice, per_cell, size):
    """Every one once, in one direction, between places of their own, and as long as it should."""
    atoms = bulk("Nb", lattice, a=3.3, cubic=True) * size
    step = {"bcc": 0.5, "fcc": 0.5**0.5}[lattice]
    paths = list(interstitial_paths(atoms, size=size, lattice=lattice))
    assert len(paths) == per_cell * np.prod(size)
    middles = set()
    for start, end in paths:
        vector = (end - start) * size
        assert np.linalg.norm(vector) == pytest.approx(step)
        middle = np.rint(8 * (start * size + vector / 2)).astype(int) % (8 * np.array(size))
        middles.add((*middle.tolist(), *np.rint(4 * np.abs(vector)).astype(int).tolist()))
    assert len(middles) >= len(paths) / (2 if lattice == "fcc" else 1)  # fcc paths may cross
    directed = {(tuple(s.round(6)), tuple(e.round(6))) for s, e in paths}
    assert len(directed) == len(paths)
    assert not directed & {(e, s) for s, e in directed}
    for structure in hop_between(atoms, "O", *paths[-1]):
        d = structure.get_distances(len(atoms), range(len(atoms)), mic=True)
        assert d.min() == pytest.approx(3.3 / 2)


def test_paths_keep_away_from_other_interstitials():
    atoms = bulk("Nb", a=3.3, cubic=True) * 2
    start, end = next(interstitial_paths(atoms, size=(2, 2, 2)))
    taken, _ = hop_between(atoms, "O", start, end)
    left = list(interstitial_paths(taken, size=(2, 2, 2)))
    assert len(left) == 12 * 8 - 4  # a site has four neighbours
    assert all(np.linalg.norm((s - start + 0.5) % 1 - 0.5) > 0.1 for s, _ in left)


class TestRandomHops:
    def test_the_shapes_strains_and_hops_vary(self):
        rng = np.random.default_rng(6)
        shapes, linear = set(), []
        for number in range(40):
            kind = ("interstitial", "vacancy")[number % 2]
            initial, final = random_hop(["Nb", "Ti", "Zr"], kind=kind, a=3.3, rng=rng)
            alloy, strain, hop = initial.info["hal_origin"].split(" | ")
            assert final.info["hal_origin"] == initial.info["hal_origin"]
            assert hop.startswith(f"{kind}_hop(")
            shapes.add(size := tuple(map(int, re.search(r"size=(\d)x(\d)x(\d)", alloy).groups())))
            assert len(initial) == 2 * np.prod(size) + (1 if kind == "interstitial" else -1)
            stretch = (initial.get_volume() / np.prod(size)) ** (1 / 3) / 3.3 - 1
            recorded = float(re.search(r"linear=([-\d.e]+)", strain)[1])
            assert recorded == pytest.approx(stretch, abs=1e-4)
            linear.append(stretch)
            assert 0 <= float(re.search(r"von_mises=([\d.e-]+)", strain)[1]) <= 0.05
            _, distance = moved(initial, final)
            expected = 3.3 * (1 + stretch) * (0.5 if kind == "interstitial" else 0.75**0.5)
            assert distance == pytest.approx(expected, rel=0.08)
        assert len(shapes) == 8
        assert -0.05 <= min(linear) < -0.02
        assert 0.07 < max(linear) <= 0.10

    def test_what_is_asked_for(self):
        rng = np.random.default_rng
        keywords = {"a": 4.0, "lattice": "fcc", "sizes": [3], "linear": (0.02, 0.02),
                    "von_mises": (0.0, 0.0)}  # fmt: skip
        initial, final = random_hop(["Al", "Cu"], kind="vacancy", hops=3, rng=rng(1), **keywords)
        assert len(initial) == 4 * 27 - 1
        assert initial.cell.array == pytest.approx(np.eye(3) * 3 * 4.08)
        _, lengths = find_mic(final.positions - initial.positions, initial.cell, True)
        assert lengths[lengths > 1e-9] == pytest.approx([4.08 / 2**0.5] * 3)
        again = random_hop(["Al", "Cu"], kind="vacancy", hops=3, rng=rng(1), **keywords)
        assert again == (initial, final)
        hydrogen, _ = random_hop(
            ["Al"], kind="interstitial", interstitial="H", rng=rng(1), **keywords
        )
        assert hydrogen.symbols[-1] == "H"

    def test_bad_input(self):
        rng = np.random.default_rng(0)
        for wrong, message in [
            ({"kind": "swap"}, "kind is"),
            ({"kind": "interstitial", "hops": 2}, "hops is 1"),
            ({"sizes": []}, "sizes are positive"),
            ({"lattice": "hcp"}, "lattice is one of"),
        ]:
            with pytest.raises(ValueError, match=message):
                random_hop(["Nb"], **{"kind": "vacancy", "a": 3.3, "rng": rng, **wrong})


class TestDecorations:
    @pytest.mark.parametrize("kind", ["interstitial", "vacancy"])
    def test_they_become_atoms(self, kind):
        rng = np.random.default_rng(3)
        path = {"interstitial": bcc_interstitial_path, "vacancy": bcc_vacancy_path}[kind]()
        moving = {"interstitial": "O", "vacancy": "Nb"}[kind]
        elements = ["Nb", "Ti", "Zr"]
        crystal = bulk("V", a=3.3, cubic=True) * 3
        crystal = deformed(crystal, random_deformation((0.02, 0.02), (0.05, 0.05), rng=rng))
        for _ in range(5):
            colours = rng.integers(3, size=len(path.neighbours))
            initial, final = decorated_hop(
                crystal, path, colours, elements, moving=moving, size=(3, 3, 3)
            )
            index, _ = moved(initial, final)
            assert initial.symbols[index] == moving
            assert len(initial) == 54 + (1 if kind == "interstitial" else -1)
            counts = [np.sum(initial.symbols == e) - (e == moving) for e in elements]
            assert counts == [np.sum(colours == c) for c in range(3)]
            for structure, end in ((initial, path.start), (final, path.end)):
                scaled = structure.get_scaled_positions() * 3
                for place, wanted in [(end, moving), *zip(
                    path.neighbours, np.array(elements)[colours], strict=True
                )]:  # fmt: skip
                    away = scaled - place
                    away -= 3 * np.rint(away / 3)
                    assert structure.symbols[int(np.argmin((away**2).sum(axis=1)))] == wanted
            assert f"moving={moving}, neighbours=" in initial.info["hal_origin"]

    def test_bad_input(self):
        path = bcc_interstitial_path()
        crystal = bulk("Nb", a=3.3, cubic=True)
        keywords = {"moving": "O", "size": (3, 3, 3)}
        with pytest.raises(ValueError, match="8 neighbours, got 2"):
            decorated_hop(crystal * 3, path, [0, 0], ["Nb"], **keywords)
        with pytest.raises(ValueError, match="indices into 1 elements"):
            decorated_hop(crystal * 3, path, [1] * 8, ["Nb"], **keywords)
        with pytest.raises(ValueError, match=r"chemical symbols, got \['Qq'\]"):
            decorated_hop(crystal * 3, path, [0] * 8, ["Qq"], **keywords)
        with pytest.raises(ValueError, match="1x1x1 cells do not hold the path"):
            decorated_hop(crystal, path, [0] * 8, ["Nb"], moving="O", size=(1, 1, 1))


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
