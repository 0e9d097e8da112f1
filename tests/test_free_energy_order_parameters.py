"""Order parameters from a crystal and one ordering; their symmetry and its invariants."""

import itertools
import json
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from free_energy_cases import b2, l1_2, root_three, two_sublattices, zigzag
from scipy.spatial.transform import Rotation

from ase_hal.free_energy import Lattice, OrderParameters, Supercell, lco

PUBLISHED = Path(__file__).resolve().parents[2] / "shared" / "data" / "lco_zigzag"
CASES = [zigzag, l1_2, b2, root_three]


def points(order_parameters, n, rng):
    return rng.uniform(-0.5, 0.5, size=(n, order_parameters.dimension))


def rank(values):
    return np.linalg.matrix_rank(values / np.linalg.norm(values, axis=0), tol=1e-9)


def test_zigzag_from_the_crystal_alone():
    found = zigzag()
    assert (found.n_sites, len(found.variants), len(found.group)) == (32, 12, 384)
    # every variant is one order parameter at +1/2 or -1/2
    assert np.allclose(found.wells[:, 0], 0.5, atol=1e-14)
    ordered = found.wells[:, 1:]
    assert np.allclose(np.sort(np.abs(ordered), axis=1)[:, :5], 0, atol=1e-14)
    signed = {(int(np.abs(row).argmax()), bool(row.sum() > 0)) for row in ordered}
    assert len(signed) == 12
    assert np.allclose(np.abs(found.matrix), 1 / 32, atol=1e-15)
    # paper, Eq. 8: what is left with one order parameter
    eta = np.zeros((5, 7))
    eta[:, 0], eta[:, 1] = [0.5, 0.5, 0.2, 0.2, 0.8], [0.5, 0.51, 0.2, 0.21, -0.2]
    assert found.domain.contains(eta).tolist() == [True, False, True, False, True]


def test_molien_series_of_zigzag():
    expected = [1, 0, 1, 0, 3, 0, 7, 0, 14, 0, 26, 0, 49]
    assert zigzag().molien(12).tolist() == expected


def test_number_of_invariants_of_zigzag():
    degrees = zigzag().invariants(6).degrees.tolist()
    assert degrees == [1, 2, *[4] * 3, *[6] * 7]
    generators = zigzag().invariants(6, minimal=True)
    assert generators.degrees.tolist() == [1, 2, 4, 4, 6, 6, 6, 6]


def test_minimal_generators_make_all_invariants(rng):
    eta = points(zigzag(), 200, rng)
    everything = zigzag().invariants(6)(eta)[:, 1:]
    generators = zigzag().invariants(6, minimal=True)
    values, degrees = generators(eta)[:, 1:], generators.degrees[1:]
    products = [
        values[:, list(chosen)].prod(axis=1)
        for count in (1, 2, 3)
        for chosen in itertools.combinations_with_replacement(range(len(degrees)), count)
        if degrees[list(chosen)].sum() <= 6
    ]
    products = np.column_stack(products)
    assert rank(products) == rank(everything) == 11
    assert rank(np.hstack([products, everything])) == 11


@pytest.mark.skipif(not PUBLISHED.is_dir(), reason="needs the published invariants")
def test_span_of_the_published_invariants(rng):
    published = [text for _, text in json.loads((PUBLISHED / "transforms.json").read_text())]
    theirs = lambda x: np.column_stack([eval(t, {"np": np, "x": x}) for t in published])  # noqa: E731
    eta = points(zigzag(), 100, rng)
    group = zigzag().group
    few = np.tile(eta[0], (20, 1))
    moved = group[rng.integers(len(group), size=20)] @ eta[0]
    for labels in relabellings():
        if np.allclose(theirs(moved @ labels.T), theirs(few @ labels.T)):
            break
    else:
        pytest.fail("no way to number the order parameters makes the published ones invariant")
    values = theirs(eta @ labels.T)
    for m in group:
        assert np.abs(theirs(eta @ m.T @ labels.T) - values).max() < 1e-12
    ours = zigzag().invariants(6)(eta)
    assert rank(ours) == rank(values) == rank(np.hstack([ours, values])) == 12


def relabellings():
    """Signed permutations from our order parameters to the published ones, wave by wave."""
    pairs = [(1, 2), (3, 6), (4, 5)]
    for order in itertools.permutations([(1, 2), (3, 4), (5, 6)]):
        for swaps in itertools.product([False, True], repeat=3):
            for signs in itertools.product([1, -1], repeat=6):
                labels = np.zeros((7, 7))
                labels[0, 0] = 1
                for (a, b), (c, d), swap in zip(pairs, order, swaps, strict=True):
                    labels[a, d if swap else c] = signs[a - 1]
                    labels[b, c if swap else d] = signs[b - 1]
                yield labels


@pytest.mark.parametrize("case", CASES)
def test_group_permutes_the_variants(case):
    found = case()
    for m in found.group:
        apart = np.linalg.norm((found.wells @ m.T)[:, None] - found.wells, axis=2)
        assert (apart < 1e-12).sum(axis=0).tolist() == [1] * len(found.wells)
    # orthogonal matrices that keep the composition, closed under products
    assert np.allclose(found.group @ found.group.transpose(0, 2, 1), np.eye(found.dimension))
    products = found.group @ found.group[-1]
    apart = np.abs(products[:, None] - found.group).max(axis=(2, 3))
    assert (apart < 1e-12).sum(axis=1).tolist() == [1] * len(found.group)


@pytest.mark.parametrize("case", CASES)
def test_invariance(case, rng):
    found = case()
    eta = points(found, 20, rng)
    invariants = found.invariants(6)
    values = invariants(eta)
    assert rank(invariants(points(found, 300, rng))) == len(invariants)
    assert len(invariants) == found.n_trivial + found.molien(6)[1:].sum()
    for m in found.group:
        assert np.abs(invariants(eta @ m.T) - values).max() < 1e-12


@pytest.mark.parametrize("case", CASES)
def test_gradient_of_invariants(case, rng):
    invariants = case().invariants(6)
    eta = points(case(), 5, rng)
    step = 1e-6 * np.eye(case().dimension)
    numerical = np.stack(
        [(invariants(eta + h) - invariants(eta - h)) / 2e-6 for h in step], axis=-1
    )
    assert np.allclose(invariants.gradient(eta), numerical, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_reduction_joins_what_is_equivalent_and_nothing_else(case, rng):
    found = case()
    eta = points(found, 50, rng)
    reduced = found.reduce(eta)
    assert np.allclose(found.reduce(found.images(eta, rng=rng)), reduced, atol=1e-12)
    invariants = found.invariants(6)
    assert np.allclose(invariants(reduced), invariants(eta), atol=1e-12)
    assert np.allclose(found.reduce(reduced), reduced)


def test_other_orderings():
    assert (l1_2().n_sites, len(l1_2().variants), l1_2().dimension) == (4, 4, 4)
    assert (b2().n_sites, len(b2().variants), b2().dimension) == (2, 2, 2)
    assert (root_three().n_sites, len(root_three().variants), root_three().dimension) == (3, 3, 3)
    # L1_2: x^2 + y^2 + z^2 and x y z, as in any textbook; the point group of the tetrahedron
    assert len(l1_2().group) == 24
    assert l1_2().molien(4).tolist() == [1, 0, 1, 1, 2]
    assert len(b2().group) == 2
    # sqrt 3: the three-fold Potts model, x^2 + y^2 and one of degree three
    assert len(root_three().group) == 6
    assert root_three().molien(6).tolist() == [1, 0, 1, 1, 1, 1, 2]
    assert root_three().invariants(6, minimal=True).degrees.tolist() == [1, 2, 3]


def test_order_parameters_of_larger_cells(rng):
    found = zigzag()
    larger = found.supercell.repeated((2, 1, 3))
    tiled = found.variants[:, found.supercell.kinds(larger)]
    assert np.allclose(found(tiled, larger), found.wells)
    disorder = rng.integers(2, size=larger.n_sites)
    assert found(disorder, larger)[0] == pytest.approx(disorder.mean())
    assert np.allclose(found.matrix @ found.inverse, np.eye(7))


def test_occupations_survive_ase(rng):
    cell = l1_2().supercell.repeated((2, 1, 1))
    occupations = rng.integers(2, size=cell.n_sites)
    atoms = cell.atoms(occupations, "Au", "Cu")
    assert len(atoms) == cell.n_sites
    assert np.array_equal(cell.occupations(atoms, "Au"), occupations)


def test_framework_limits_the_symmetry():
    blende = bulk("ZnS", "zincblende", a=5.4)
    assert len(Lattice.from_atoms(blende, "Zn").operations) == 24
    assert len(Lattice.from_atoms(blende[:1], "Zn").operations) == 48
    diamond = bulk("Si")
    assert len(Lattice.from_atoms(diamond, "Si").operations) == 48
    assert len(Lattice.from_atoms(bulk("Si", cubic=True), "Si").operations) == 192
    # the oxygen of LiCoO2 takes no operation from the layers of lithium
    assert len(lco.lattice().operations) == 12


def test_wrong_input_is_named():
    lattice = l1_2().supercell.lattice
    with pytest.raises(ValueError, match="occupied and empty"):
        OrderParameters.from_ordering(lattice, bulk("Cu", a=3.7))
    with pytest.raises(ValueError, match="no supercell of the lattice"):
        OrderParameters.from_ordering(lattice, bulk("Cu", a=3.9, cubic=True))
    shifted = bulk("Cu", a=3.7, cubic=True)[:1]
    shifted.positions += 0.3
    with pytest.raises(ValueError, match="Å from the nearest site"):
        OrderParameters.from_ordering(lattice, shifted)
    with pytest.raises(ValueError, match="there is no Li in the crystal"):
        Lattice.from_atoms(bulk("Cu"), "Li")
    with pytest.raises(ValueError, match="periodic"):
        Lattice.from_atoms(Atoms("Cu", cell=[3] * 3), "Cu")
    with pytest.raises(ValueError, match="0 or 1"):
        l1_2()([0, 1, 2, 0])
    with pytest.raises(ValueError, match="4 finite"):
        l1_2().reduce([0.1, np.nan, 0, 0])
    with pytest.raises(ValueError, match="not independent"):
        Supercell(lattice, [[1, 0, 0], [2, 0, 0], [0, 0, 1]])


@pytest.fixture
def rng():
    return np.random.default_rng(20)


@pytest.mark.parametrize("case", ["b2", "zigzag"])
def test_an_ordering_may_be_turned(case, tmp_path, rng):
    """As by a CIF file, which keeps lengths and angles alone, or in any way."""
    if case == "b2":
        plain, lattice = b2(), b2().supercell.lattice
        ordering, occupied = bulk("CsCl", "cesiumchloride", a=3.0), "Cs"
        for name, atoms in (("site", bulk("Fe", "bcc", a=3.0)), ("ordering", ordering)):
            ase.io.write(tmp_path / f"{name}.cif", atoms)
        read = [ase.io.read(tmp_path / f"{name}.cif") for name in ("site", "ordering")]
        from_cif = OrderParameters.from_ordering(Lattice.from_atoms(read[0], "Fe"), read[1], "Cs")
        assert np.allclose(from_cif.wells, plain.wells)
        assert np.allclose(from_cif.matrix, plain.matrix)
    else:
        plain, lattice, ordering, occupied = zigzag(), lco.lattice(), lco.zigzag(), None
    turn = Rotation.random(rng=rng).as_matrix()
    turned = ordering.copy()
    turned.set_cell(np.array(ordering.cell) @ turn, scale_atoms=True)
    found = OrderParameters.from_ordering(lattice, turned, occupied)
    assert found.n_sites == plain.n_sites
    assert sorted(map(tuple, found.variants)) == sorted(map(tuple, plain.variants))


def test_orientations_are_compared_by_what_they_order():
    """A checkerboard in a crystal without a fourfold axis is the same turned or not."""
    crystal = Atoms("LiO", cell=[3.0, 3.0, 5.0], pbc=True)
    crystal.set_scaled_positions([[0, 0, 0], [0.3, 0.5, 0.5]])
    lattice = Lattice.from_atoms(crystal, "Li")
    board = Atoms("Li", cell=[[3.0, 3.0, 0], [-3.0, 3.0, 0], [0, 0, 5.0]], pbc=True)
    turned = board.copy()
    turned.set_cell(np.array(board.cell) @ Rotation.from_euler("z", 45, degrees=True).as_matrix())
    plain, found = (OrderParameters.from_ordering(lattice, atoms) for atoms in (board, turned))
    assert np.allclose(plain.wells, found.wells)


def test_a_screw_axis_makes_other_orderings():
    """Turning about the origin is no symmetry of two sites that a screw axis relates."""
    crystal = Atoms("Li2O4", cell=[4.0, 4.0, 6.0], pbc=True)
    crystal.set_scaled_positions(
        [[0, 0, 0], [0, 0, 0.5], [0.3, 0, 0], [0.7, 0, 0], [0, 0.3, 0.5], [0, 0.7, 0.5]]
    )
    lattice = Lattice.from_atoms(crystal, "Li")
    rows = Atoms("Li", cell=[8.0, 4.0, 6.0], pbc=True)  # x doubled, only sites at z = 0
    turned = rows.copy()
    turned.set_cell(np.array(rows.cell) @ Rotation.from_euler("z", 20, degrees=True).as_matrix())
    with pytest.raises(ValueError, match="several orientations that are different orderings"):
        OrderParameters.from_ordering(lattice, turned)


def test_an_ordering_that_fits_in_different_ways_is_refused():
    """A square lattice in a crystal that is longer along x: rows along x or along y."""
    crystal = Atoms("LiO", cell=[3.0, 3.0, 3.0], pbc=True)
    crystal.set_scaled_positions([[0, 0, 0], [0.3, 0.5, 0.5]])
    lattice = Lattice.from_atoms(crystal, "Li")
    rows = Atoms("Li", cell=[6.0, 3.0, 3.0], pbc=True)
    assert OrderParameters.from_ordering(lattice, rows).dimension == 2
    turned = rows.copy()
    turned.set_cell(np.array(rows.cell) @ Rotation.from_euler("x", 0.3).as_matrix())
    with pytest.raises(ValueError, match="several orientations that are different orderings"):
        OrderParameters.from_ordering(lattice, turned)


def test_an_ordering_without_broken_symmetry_is_refused():
    lattice = two_sublattices().supercell.lattice
    filled = Atoms("Li", cell=[3.0, 3.0, 5.0], pbc=True)
    with pytest.raises(ValueError, match="has the symmetry of the lattice"):
        OrderParameters.from_ordering(lattice, filled)
