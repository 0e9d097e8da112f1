"""Structures: separations, distributions, strains and where they came from."""

import io
import itertools
import re

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.constraints import FixAtoms
from ase.data import covalent_radii
from ase.io import read, write
from ase.neighborlist import neighbor_list

from ase_hal.structures import (
    METALS,
    OXIDES,
    Derivation,
    derive,
    interstitial_hop,
    random_alloy,
    random_composition,
    random_deformation,
    random_strain,
    random_structure,
    random_supercell,
    sphere_of_influence,
    vacancy_hop,
)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


MAKERS = {
    "random": lambda rng: random_structure({"Zr": 3, "O": 6}, density=4.5, rng=rng),
    "derived": lambda rng: derive(bulk("Al", cubic=True), rng=rng, elements=["Al", "Ni"]),
    "alloy": lambda rng: random_alloy(["Nb", "Ti", "Zr"], a=3.3, rng=rng),
    "strain": lambda rng: random_strain(bulk("Nb"), rng=rng),
    "supercell": lambda rng: random_supercell(bulk("Nb"), rng=rng),
    "interstitial_hop": lambda rng: interstitial_hop(
        bulk("Nb", cubic=True) * 2, "O", size=(2, 2, 2), rng=rng
    )[1],
    "vacancy_hop": lambda rng: vacancy_hop(bulk("Nb", cubic=True) * 2, rng=rng)[1],
}


@pytest.mark.parametrize("kind", MAKERS)
def test_reproducible_and_recorded(kind):
    first, again = (MAKERS[kind](np.random.default_rng(3)) for _ in range(2))
    other = MAKERS[kind](np.random.default_rng(4))
    assert first == again
    assert first != other or kind == "supercell"
    assert first.info["hal_origin"] == again.info["hal_origin"]
    assert first.info["hal_origin"].startswith(f"{kind}(")
    with io.StringIO() as file:
        write(file, first, format="extxyz")
        file.seek(0)
        assert read(file, format="extxyz").info["hal_origin"] == first.info["hal_origin"]
    with pytest.raises(TypeError, match="numpy Generator, got RandomState"):
        MAKERS[kind](np.random.RandomState(1))


def test_origins_chain(rng):
    atoms = random_strain(random_supercell(bulk("Nb"), rng=rng), rng=rng)
    supercell, strain = atoms.info["hal_origin"].split(" | ")
    assert supercell.startswith("supercell(size=")
    assert strain.startswith("strain(linear=")


def recorded(atoms, *names):
    return [float(re.search(rf"\b{n}=([-\d.e]+)", atoms.info["hal_origin"])[1]) for n in names]


def test_strains_are_recorded(rng):
    """What is written is what was done to the cell."""
    for _ in range(5):
        before = bulk("Nb", cubic=True)
        after = random_strain(before, rng=rng)
        deformation = np.linalg.solve(before.cell.array, after.cell.array)
        stretch = np.cbrt(np.linalg.det(deformation))
        e = (deformation + deformation.T) / 2 / stretch - np.eye(3)  # to first order
        linear, von_mises = recorded(after, "linear", "von_mises")
        assert linear == pytest.approx(stretch - 1, abs=1e-4)
        assert von_mises == pytest.approx(np.sqrt(2 / 3 * np.vdot(e, e)), rel=0.1)
        assert 0 < von_mises <= 0.05
    shape = Derivation(displacement=0.0, volume_strain=(0.05, 0.05), von_mises=0.2)
    values = np.array([recorded(derive(before, shape, rng=rng), "volume", "von_mises")
                       for _ in range(40)])  # fmt: skip
    assert values[:, 0] == pytest.approx(np.full(40, 1.05), rel=1e-3)
    assert 0.15 < values[:, 1].max() <= 0.2
    assert values[:, 1].min() < 0.05


class TestRandomStructures:
    def test_composition_density_and_separations(self, rng):
        for _ in range(10):
            atoms = random_structure({"Zr": 3, "O": 6}, density=4.5, rng=rng, separation=0.8)
            assert atoms.get_chemical_formula() == "O6Zr3"
            density = atoms.get_masses().sum() / units.kg * 1e3
            density /= atoms.get_volume() / (units.m / 100) ** 3
            assert density == pytest.approx(4.5)
            i, j, d = neighbor_list("ijd", atoms, 3.0)
            limits = 0.8 * (covalent_radii[atoms.numbers[i]] + covalent_radii[atoms.numbers[j]])
            assert (d >= limits - 1e-9).all()

    def test_separations_of_pairs(self, rng):
        separations = {("O", "O"): 2.4, ("O", "H"): 1.8}
        atoms = random_structure(
            {"O": 4, "H": 4}, density=0.5, rng=rng, separations=separations, aspect=1.0, skew=0.0
        )
        assert atoms.cell.cellpar() == pytest.approx([atoms.cell[0, 0]] * 3 + [90] * 3)
        i, j, d = neighbor_list("ijd", atoms, 2.4)
        pairs = {"".join(sorted(atoms.symbols[[a, b]])) for a, b in zip(i, j, strict=True)}
        assert "OO" not in pairs
        mixed = [x for a, b, x in zip(i, j, d, strict=True) if atoms.numbers[a] != atoms.numbers[b]]
        assert min(mixed, default=9) >= 1.8

    def test_molecules_stay_whole(self, rng):
        water = molecule("H2O")
        atoms = random_structure([(water, 6), ("Na", 1)], density=0.9, rng=rng)
        assert atoms.get_chemical_formula() == "H12NaO6"
        expected = np.sort(water.get_all_distances()[np.triu_indices(3, 1)])
        for start in range(0, 18, 3):
            distances = atoms[start : start + 3].get_all_distances(mic=True)
            assert np.sort(distances[np.triu_indices(3, 1)]) == pytest.approx(expected)

    def test_cells_vary(self, rng):
        shapes = [
            random_structure({"Al": 2}, density=2.0, rng=rng, aspect=1.4, skew=15).cell.cellpar()
            for _ in range(40)
        ]
        edges, angles = np.array(shapes)[:, :3], np.array(shapes)[:, 3:]
        assert (edges.max(axis=1) / edges.min(axis=1)).max() <= 1.4 + 1e-9
        assert (edges.max(axis=1) / edges.min(axis=1)).max() > 1.2
        assert np.abs(angles - 90).max() <= 15 + 1e-9
        assert np.abs(angles - 90).max() > 10

    def test_images_of_an_atom_keep_their_distance(self, rng):
        """One atom in a cell too small for it."""
        with pytest.raises(ValueError, match=r"Zr does not fit into 3.8 Å\^3 \(40 g/cm\^3\)"):
            random_structure({"Zr": 1}, density=40.0, rng=rng)

    def test_too_dense(self, rng):
        with pytest.raises(ValueError, match="lower the density"):
            random_structure({"Al": 8}, density=9.0, rng=rng)

    @pytest.mark.parametrize(
        ("wrong", "match"),
        [
            ({"components": {}}, "at least one component"),
            ({"components": {"Qq": 1}}, "chemical symbols or Atoms, got 'Qq'"),
            ({"components": {"Al": 1.5}}, "number of a component"),
            ({"density": 0.0}, "density is above 0"),
            ({"aspect": 0.5}, "aspect"),
            ({"skew": 30}, "skew"),
            ({"separations": {("Al", "Al"): -1}}, "separations"),
        ],
    )
    def test_bad_input(self, rng, wrong, match):
        keywords = {"components": {"Al": 1}, "density": 1.0, **wrong}
        with pytest.raises(ValueError, match=match):
            random_structure(keywords.pop("components"), **keywords, rng=rng)


class TestDerivedStructures:
    def test_displacements_and_volume(self, rng):
        atoms = bulk("Al", cubic=True) * 4
        only = Derivation(deletion=0, substitution=0, von_mises=0, volume_strain=(0.0, 0.0))
        moved = derive(atoms, only, rng=rng)
        steps = moved.positions - atoms.positions
        assert steps.std() == pytest.approx(0.4, rel=5 / np.sqrt(2 * steps.size))
        assert moved.cell == pytest.approx(atoms.cell.array)
        volumes = [
            derive(bulk("Al"), METALS, rng=rng).get_volume() / bulk("Al").get_volume()
            for _ in range(300)
        ]
        assert 0.975 <= min(volumes) < 0.98
        assert 1.07 < max(volumes) <= 1.075
        assert np.mean(volumes) == pytest.approx(1.025, abs=5 * 0.1 / np.sqrt(12 * 300))

    def test_chances(self, rng):
        atoms = bulk("Al", cubic=True) * 5
        for chances in (METALS, OXIDES):
            derived = [derive(atoms, chances, rng=rng, elements=["Al", "Ni"]) for _ in range(4)]
            lost = 1 - np.mean([len(a) for a in derived]) / 500
            replaced = np.mean([np.mean(a.numbers == 28) for a in derived])
            for share, chance in [(lost, 0.05), (replaced, chances.substitution)]:
                assert abs(share - chance) < 5 * np.sqrt(chance * (1 - chance) / 2000)

    def test_defaults_are_those_of_the_slides(self):
        assert Derivation() == METALS
        assert (METALS.displacement, OXIDES.displacement) == (0.4, 0.3)
        assert (METALS.substitution, OXIDES.substitution) == (0.5, 0.1)
        assert METALS.volume_strain == (-0.025, 0.075)
        assert (METALS.von_mises, METALS.deletion) == (0.2, 0.05)

    def test_an_atom_always_stays_and_an_element_alone_is_kept(self, rng):
        derived = derive(bulk("Al"), Derivation(deletion=1.0, substitution=1.0), rng=rng)
        assert len(derived) == 1
        assert derived.symbols[0] == "Al"

    def test_the_input_is_untouched(self, rng):
        atoms = bulk("Al", cubic=True)
        atoms.set_constraint(FixAtoms([0]))
        before = atoms.copy()
        derived = derive(atoms, rng=rng, elements=["Al", "Ni"])
        assert atoms == before
        assert "hal_origin" not in atoms.info
        assert not derived.constraints
        assert derived.calc is None

    def test_bad_input(self, rng):
        with pytest.raises(ValueError, match="chances between 0 and 1, got 2"):
            Derivation(deletion=2)
        with pytest.raises(ValueError, match="volume_strain is a range"):
            Derivation(volume_strain=(0.1, -0.1))
        with pytest.raises(ValueError, match="rank 0"):
            derive(molecule("H2O"), rng=rng)
        with pytest.raises(ValueError, match="chemical symbols"):
            derive(bulk("Al"), rng=rng, elements=["Qq"])
        with pytest.raises(ValueError, match="empty structure"):
            derive(Atoms(), rng=rng)


class TestStrains:
    def test_determinant_and_von_mises_strain(self, rng):
        for _ in range(20):
            F = random_deformation((-0.1, 0.3), (0.1, 0.1), rng=rng)
            assert np.allclose(F, F.T)
            assert 0.9 <= np.linalg.det(F) <= 1.3
            log = np.linalg.eigvalsh(F)
            log = np.log(log) - np.log(log).mean()
            assert np.sqrt(2 / 3 * (log**2).sum()) == pytest.approx(0.1)

    def test_directions_are_isotropic(self):
        """The five components of a traceless symmetric tensor have one variance."""
        rng = np.random.default_rng(0)
        tensors = np.array([random_deformation((0, 0), (1e-6, 1e-6), rng=rng) for _ in range(4000)])
        e = (tensors - np.eye(3)) / 1e-6
        orthonormal = [
            (e[:, 0, 0] - e[:, 1, 1]) / np.sqrt(2),
            (2 * e[:, 2, 2] - e[:, 0, 0] - e[:, 1, 1]) / np.sqrt(6),
            *(np.sqrt(2) * e[:, i, j] for i, j in [(0, 1), (0, 2), (1, 2)]),
        ]
        for component in orthonormal:  # e : e = 3/2, shared by five
            assert np.mean(component**2) == pytest.approx(0.3, abs=5 * 0.35 / np.sqrt(4000))

    def test_lengths(self, rng):
        atoms = bulk("Nb", cubic=True)
        lengths = [
            random_strain(atoms, rng=rng, von_mises=(0, 0)).cell.cellpar()[0] / 3.3
            for _ in range(200)
        ]
        assert 0.95 <= min(lengths) < 0.96
        assert 1.09 < max(lengths) <= 1.1
        scaled = random_strain(atoms, rng=rng).get_scaled_positions()
        assert scaled == pytest.approx(atoms.get_scaled_positions())

    def test_supercells_of_every_shape(self, rng):
        sizes = [len(random_supercell(bulk("Nb"), rng=rng)) for _ in range(100)]
        assert set(sizes) == {8, 12, 18, 27}
        with pytest.raises(ValueError, match="positive whole numbers"):
            random_supercell(bulk("Nb"), rng=rng, sizes=(0, 2))


class TestAlloys:
    @pytest.mark.parametrize("n", [2, 3])
    def test_compositions_are_biased_towards_equal_shares(self, n):
        """The mean of x_i^2 under p(x) ~ 1 + (b - 1) n^n prod x, from Dirichlet integrals."""
        rng = np.random.default_rng(1)
        samples = np.array([random_composition(n, rng=rng, bias=4.0) for _ in range(4000)])
        assert samples.sum(axis=1) == pytest.approx(1)
        flat, peaked = np.ones(n), np.full(n, 2.0)  # prod x is a Dirichlet with alpha = 2

        def square(alpha):
            total = alpha.sum()
            return alpha[0] * (alpha[0] + 1) / (total * (total + 1))

        # integral of prod x over the simplex, relative to that of 1: Gamma(n) / Gamma(2 n)
        weight = 3 * n**n * np.prod([1 / k for k in range(n, 2 * n)])
        expected = (square(flat) + weight * square(peaked)) / (1 + weight)
        squares = samples[:, 0] ** 2
        error = squares.std() / np.sqrt(len(squares))
        assert abs(squares.mean() - expected) < 4 * error
        assert abs(squares.mean() - square(flat)) > 6 * error  # and the bias shows

    def test_interstitials(self, rng):
        for _ in range(10):
            atoms = random_alloy(["Nb", "Ti", "Zr"], a=3.3, rng=rng)
            oxygen = atoms.numbers == 8
            assert (~oxygen).sum() == 16
            assert oxygen.mean() <= 0.31
            assert set(atoms.symbols) <= {"Nb", "Ti", "Zr", "O"}
            d = atoms.get_all_distances(mic=True)
            assert d[oxygen][:, ~oxygen].min(initial=9) == pytest.approx(1.65, abs=0.01) or (
                not oxygen.any()
            )
            between = d[np.ix_(oxygen, oxygen)]
            assert between[~np.eye(len(between), dtype=bool)].min(initial=9) > 1.7

    def test_the_whole_range_of_shares_is_reached(self, rng):
        shares = [np.mean(random_alloy(["Nb"], a=3.3, rng=rng).numbers == 8) for _ in range(60)]
        assert min(shares) < 0.05
        assert max(shares) > 0.27

    def test_fcc_and_bad_input(self, rng):
        atoms = random_alloy(
            ["Al", "Ni"], a=4.0, rng=rng, lattice="fcc", size=(1, 2, 1), interstitial="H",
            interstitial_share=(0.2, 0.2),
        )  # fmt: skip
        assert sum(atoms.numbers == 1) == 2
        assert "interstitials=2" in atoms.info["hal_origin"]
        for wrong, match in [
            ({"lattice": "hcp"}, "lattice is one of"),
            ({"a": -1.0}, "a is a positive"),
            ({"interstitial_share": (0.0, 1.0)}, "below 1"),
            ({"bias": 0.5}, "bias"),
            ({"interstitial": "Qq"}, "chemical symbols"),
        ]:
            with pytest.raises(ValueError, match=match):
                random_alloy(["Nb"], **{"a": 3.3, "rng": rng, **wrong})


class TestSphereOfInfluence:
    @pytest.mark.parametrize(
        ("ratio", "volume", "unique_radius", "unique_volume", "cell"),
        [
            (1, np.pi / 6, 1, 6 / np.pi, 1),
            (2 / (np.cbrt(np.pi / 6) + 1), None, np.cbrt(np.pi / 6), 1, None),
            (np.cbrt(6 / np.pi), 1, np.cbrt(36 * np.pi) / 3 - 1, None, np.pi / 6),
            (4 / 3, (4 / 3) ** 3 * np.pi / 6, 0.5, 3 / (4 * np.pi), (3 / 4) ** 3),
            (2**0.5, np.pi * 2**0.5 / 3, 2**0.5 - 1, (30 * 2**0.5 - 42) / np.pi, 2**-1.5),
            (3**0.5, np.pi * 3**0.5 / 2, 2 / 3**0.5 - 1, (52 / 3**0.5 - 30) / np.pi, None),
        ],
    )
    def test_the_table_of_the_slides(self, ratio, volume, unique_radius, unique_volume, cell):
        found = sphere_of_influence(Atoms(cell=[6.0] * 3, pbc=True), 3.0 * ratio)
        assert found.diameter == pytest.approx(ratio)
        for value, expected in [
            (found.volume, volume),
            (found.unique_radius, unique_radius),
            (found.unique_volume, unique_volume),
            (found.cell, cell),
        ]:
            assert expected is None or value == pytest.approx(expected)

    def test_the_choice_of_cell_vectors_does_not_matter(self):
        straight = bulk("Al", cubic=True)
        skewed = straight.copy()
        skewed.set_cell([[1, 0, 0], [3, 1, 0], [-2, 5, 1]] @ straight.cell.array)
        found, expected = (sphere_of_influence(a, 3.0) for a in (skewed, straight))
        assert vars(found) == pytest.approx(vars(expected))

    def test_limits(self):
        atoms = Atoms(cell=[6.0] * 3, pbc=True)
        assert sphere_of_influence(atoms, 0.5).unique_radius == 1
        assert sphere_of_influence(atoms, 7.0).unique_radius == 0
        with pytest.raises(ValueError, match="cutoff"):
            sphere_of_influence(atoms, 0)
        with pytest.raises(ValueError, match="three periodic"):
            sphere_of_influence(molecule("H2O"), 3.0)

    def test_unique_radius_by_counting_images(self):
        """Points up to the unique radius have no image within the cutoff; just beyond, some."""
        cell, cutoff = bulk("Al", a=6.0).cell.array, 3.0
        radius = sphere_of_influence(Atoms(cell=cell, pbc=True), cutoff).unique_radius * cutoff
        grid = [g for g in itertools.product((-1, 0, 1), repeat=3) if any(g)]
        directions = np.array(grid) @ cell
        directions = directions / np.linalg.norm(directions, axis=1)[:, None]
        for r, alone in [(0.99 * radius, True), (1.01 * radius, False)]:
            images = (r * directions)[:, None] + np.array(grid) @ cell
            assert (np.linalg.norm(images, axis=2).min() > cutoff) == alone
