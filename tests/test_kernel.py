"""Compiled evaluation against python-ace, finite differences and symmetries."""

from __future__ import annotations

import io
import pickle
from functools import lru_cache

import numpy as np
import pytest
from ace_models import basis, configuration
from ase import Atoms
from ase.build import bulk, fcc111
from ase.neighborlist import primitive_neighbor_list
from pyace.basis import ACEBBasisSet
from pyace_evaluator import PyaceEvaluator

from ase_hal.ace.basis import ACEBasis
from ase_hal.ace.evaluator import Evaluator
from ase_hal.ace.neighbors import NeighborList
from ase_hal.ace.tables import FunctionTables


def crystal(symbols: tuple[str, ...], seed: int = 0) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = bulk("Al", cubic=True, a=4.1) * (2, 2, 1)
    atoms.symbols = rng.choice(symbols, len(atoms))
    atoms.positions += rng.normal(scale=0.15, size=(len(atoms), 3))
    return atoms


def few_images(symbols: tuple[str, ...]) -> Atoms:
    """Four atoms in a skewed cell smaller than the cutoff."""
    rng = np.random.default_rng(1)
    cell = [[3.7, 0.2, 0.0], [-1.4, 3.5, 0.3], [0.9, 1.2, 4.2]]
    scaled = [[0.1, 0.0, 0.0], [0.5, 0.6, 0.1], [0.1, 0.5, 0.6], [0.6, 0.1, 0.5]]
    return Atoms(rng.choice(symbols, 4), cell=cell, scaled_positions=scaled, pbc=True)


def slab(symbols: tuple[str, ...]) -> Atoms:
    rng = np.random.default_rng(2)
    atoms = fcc111("Al", (2, 2, 3), vacuum=1.0)  # periodic along two axes only
    atoms.symbols = rng.choice(symbols, len(atoms))
    atoms.rattle(0.1, seed=2)
    return atoms


def molecule(symbols: tuple[str, ...]) -> Atoms:
    rng = np.random.default_rng(3)
    positions = 2.4 * np.indices((3, 2, 2)).reshape(3, -1).T + rng.normal(scale=0.2, size=(12, 3))
    return Atoms(rng.choice(symbols, 12), positions)


def outside(symbols: tuple[str, ...]) -> Atoms:
    """Atoms many cells away from the origin."""
    atoms = crystal(symbols)
    atoms.positions += np.random.default_rng(4).integers(-3, 4, size=(len(atoms), 3)) @ atoms.cell
    return atoms


@lru_cache
def oracle(*names: str) -> PyaceEvaluator:
    return PyaceEvaluator([basis(name) for name in names])


@lru_cache
def tables(name: str) -> FunctionTables:
    return FunctionTables.from_pyace(basis(name))


@lru_cache
def evaluator(*names: str) -> Evaluator:
    return Evaluator([tables(name) for name in names])


def coefficients(size: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(5).normal(size=(*shape, size))


def assert_same(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-9) -> None:
    """Equal relative to the largest element."""
    assert np.shape(actual) == np.shape(expected)
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


CASES = [
    ("one element", crystal),
    ("one element", few_images),
    ("rank 6", few_images),
    ("three elements", crystal),
    ("three elements", molecule),
    ("pair dependent", crystal),
    ("pair dependent", slab),
    ("random radial", few_images),
    ("random radial", outside),
    ("many radial", slab),
    ("inner cutoff", molecule),
    ("inner cutoff", crystal),
]


@pytest.mark.parametrize(("name", "structure"), CASES)
def test_agrees_with_pyace(name, structure):
    ours, theirs = evaluator(name), oracle(name)
    atoms = structure(ours.elements)
    c = coefficients(ours.size)
    energy, forces, virial = theirs.energy_forces(atoms, c)
    of_atoms = theirs.atomic_descriptors(atoms)

    assert_same(ours.descriptors(atoms), of_atoms.sum(axis=0))
    for got, expected in zip(ours.forces(c), (forces, virial), strict=True):
        assert_same(got, expected)
    for got, expected in zip(ours.energy_forces(atoms, c), (energy, forces, virial), strict=True):
        assert_same(got, expected)
    assert_same(ours.atomic_descriptors(atoms), of_atoms)
    weights = np.tile(c, (len(atoms), 1))
    for got, expected in zip(ours.atomic_forces(weights), (forces, virial), strict=True):
        assert_same(got, expected)


def assert_same_columns(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal relative to the largest element of each function, if it is not all cancellation."""
    assert actual.shape == expected.shape
    axes = tuple(range(actual.ndim - 1))
    difference = np.abs(actual - expected).max(axis=axes)
    largest = np.abs(expected).max(axis=axes)
    assert (difference <= 1e-9 * largest + 1e-11 * largest.max()).all()


@pytest.mark.parametrize(("name", "structure"), CASES)
def test_rows_agree_with_pyace(name, structure):
    ours, theirs = evaluator(name), oracle(name)
    atoms = structure(ours.elements)
    columns = np.unique(np.linspace(0, ours.size - 1, 12).astype(int))
    got, expected = ours.rows(atoms), theirs.rows(atoms, columns)
    assert_same(got.energy, expected.energy)
    assert_same_columns(got.forces, expected.forces)
    assert_same_columns(got.virial[:, columns], expected.virial)


@pytest.mark.parametrize(("name", "structure"), CASES)
def test_rows_are_the_forces_of_every_function(name, structure):
    ours = evaluator(name)
    atoms = structure(ours.elements)
    c = coefficients(ours.size)
    rows = ours.rows(atoms)
    energy, forces, virial = ours.energy_forces(atoms, c)
    assert_same(rows.energy @ c, energy)
    assert_same(rows.forces @ c, forces)
    assert_same(rows.virial @ c, virial)


def test_parts_of_different_range_are_concatenated():
    names = ("random radial", "pair part")
    ours, theirs = evaluator(*names), oracle(*names)
    atoms = crystal(ours.elements)
    c = coefficients(ours.size)
    assert ours.cutoff == 6.5
    assert ours.size == sum(tables(name).size for name in names)
    assert_same(ours.atomic_descriptors(atoms), theirs.atomic_descriptors(atoms))
    expected = theirs.energy_forces(atoms, c)
    for got, reference in zip(ours.energy_forces(atoms, c), expected, strict=True):
        assert_same(got, reference)
    rows = ours.rows(atoms)
    assert_same(rows.energy, ours.descriptors(atoms))
    assert_same(rows.forces @ c, expected[1])
    assert_same(rows.virial @ c, expected[2])


def test_five_thousand_atoms():
    atoms = bulk("Si", cubic=True) * (9, 9, 8)
    atoms.rattle(0.1, seed=6)
    assert len(atoms) > 5000
    ours, theirs = evaluator("rank 6"), oracle("rank 6")
    c = coefficients(ours.size)
    expected = theirs.energy_forces(atoms, c)
    for got, reference in zip(ours.energy_forces(atoms, c), expected, strict=True):
        assert_same(got, reference)
    assert_same(ours.descriptors(atoms), theirs.descriptors(atoms))
    for got, reference in zip(ours.forces(c), expected[1:], strict=True):
        assert_same(got, reference)
    rows = ours.rows(atoms)
    for got, reference in zip((rows.energy, rows.forces, rows.virial), expected, strict=True):
        assert_same(got @ c, reference)


def test_structures_too_large_to_be_kept(monkeypatch):
    parts = [tables("random radial"), tables("pair part")]
    atoms = crystal(parts[0].elements)
    size = sum(part.size for part in parts)
    c, weights = coefficients(size, 2), coefficients(size, len(atoms))

    def everything() -> list[np.ndarray]:
        ours = Evaluator(parts)
        descriptors = ours.descriptors(atoms)
        forces, virial = ours.forces(c)
        one_by_one = ours.atomic_forces(weights)
        rows = ours.rows(atoms)
        of_rows = [rows.energy, rows.forces, rows.virial]
        of_atoms = [ours.atomic_descriptors(atoms), *ours.atomic_forces(weights)]
        return [descriptors, forces, virial, *one_by_one, *of_rows, *of_atoms]

    expected = everything()
    monkeypatch.setattr("ase_hal.ace.part._KEPT_BYTES", 1)
    for got, reference in zip(everything(), expected, strict=True):
        assert_same(got, reference, 1e-13)


def test_several_coefficient_vectors_at_once():
    ours = evaluator("three elements")
    atoms = crystal(ours.elements)
    c = coefficients(ours.size, 5)
    b = ours.descriptors(atoms)
    forces, virial = ours.forces(c)
    assert forces.shape == (5, len(atoms), 3)
    assert virial.shape == (5, 6)
    for k in range(5):
        energy, one_forces, one_virial = ours.energy_forces(atoms, c[k])
        assert b @ c[k] == pytest.approx(energy, rel=1e-12)
        assert_same(forces[k], one_forces, 1e-12)
        assert_same(virial[k], one_virial, 1e-12)


@pytest.mark.parametrize("structure", [few_images, slab, molecule])
def test_forces_and_virial_are_derivatives(structure):
    ours = evaluator("random radial")
    atoms = structure(ours.elements)
    c = coefficients(ours.size)
    _, forces, virial = ours.energy_forces(atoms, c)
    step = 1e-4

    def energy(displaced: Atoms) -> float:
        return ours.energy_forces(displaced, c)[0]

    for i, axis in [(0, 0), (1, 2), (3, 1)]:
        energies = []
        for sign in (1, -1):
            displaced = atoms.copy()
            displaced.positions[i, axis] += sign * step
            energies.append(energy(displaced))
        numerical = -(energies[0] - energies[1]) / (2 * step)
        assert forces[i, axis] == pytest.approx(numerical, abs=2e-6 * np.abs(forces).max())
    for voigt, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * step / 2
            strain[b, a] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell @ strain)
            strained.positions = atoms.positions @ strain
            energies.append(energy(strained))
        numerical = -(energies[0] - energies[1]) / (2 * step)
        assert virial[voigt] == pytest.approx(numerical, abs=2e-6 * np.abs(virial).max())


def test_atomic_forces_are_derivatives():
    ours = evaluator("random radial", "pair part")
    atoms = molecule(ours.elements)
    weights = coefficients(ours.size, len(atoms))
    ours.atomic_descriptors(atoms)
    forces, _ = ours.atomic_forces(weights)
    step = 1e-4
    for i, axis in [(0, 0), (5, 1), (11, 2)]:
        values = []
        for sign in (1, -1):
            displaced = atoms.copy()
            displaced.positions[i, axis] += sign * step
            values.append((weights * ours.atomic_descriptors(displaced)).sum())
        numerical = -(values[0] - values[1]) / (2 * step)
        assert forces[i, axis] == pytest.approx(numerical, abs=2e-6 * np.abs(forces).max())


def test_atomic_forces_follow_descriptors():
    ours = evaluator("three elements")
    atoms = crystal(ours.elements)
    weights = coefficients(ours.size, len(atoms))
    ours.atomic_descriptors(atoms)
    first = ours.atomic_forces(weights)
    ours.descriptors(atoms)
    second = ours.atomic_forces(weights)
    assert_same(first[0], second[0], 1e-12)
    assert_same(first[1], second[1], 1e-12)


@pytest.mark.parametrize("structure", [crystal, few_images, slab, molecule])
def test_symmetries(structure):
    ours = evaluator("pair dependent")
    atoms = structure(ours.elements)
    c = coefficients(ours.size)
    energy, forces, virial = ours.energy_forces(atoms, c)
    scale = np.abs(forces).max()
    assert np.abs(forces.sum(axis=0)).max() < 1e-11 * scale

    rotation = np.linalg.qr(np.random.default_rng(7).normal(size=(3, 3)))[0]  # may be improper
    rotated = atoms.copy()
    rotated.set_cell(atoms.cell @ rotation)
    rotated.positions = atoms.positions @ rotation
    got = ours.energy_forces(rotated, c)
    tensor = virial[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
    tensor = rotation.T @ tensor @ rotation
    assert got[0] == pytest.approx(energy, rel=1e-11)
    assert_same(got[1], forces @ rotation, 1e-10)
    assert_same(got[2], tensor.reshape(-1)[[0, 4, 8, 5, 2, 1]], 1e-10)

    translated = atoms.copy()
    translated.positions += [17.3, -4.1, 0.77]
    got = ours.energy_forces(translated, c)
    assert got[0] == pytest.approx(energy, rel=1e-11)
    assert_same(got[1], forces, 1e-10)

    order = np.random.default_rng(8).permutation(len(atoms))
    got = ours.energy_forces(atoms[order], c)
    assert got[0] == pytest.approx(energy, rel=1e-11)
    assert_same(got[1], forces[order], 1e-10)


def test_supercell():
    ours = evaluator("pair dependent")
    atoms = few_images(ours.elements)
    c = coefficients(ours.size)
    energy, forces, virial = ours.energy_forces(atoms, c)
    got = ours.energy_forces(atoms * (3, 1, 2), c)
    assert got[0] == pytest.approx(6 * energy, rel=1e-11)
    assert_same(got[1], np.tile(forces, (6, 1)), 1e-10)
    assert_same(got[2], 6 * virial, 1e-10)


# ------------------------------------------------------------------ neighbours


@pytest.mark.parametrize("pbc", [(i >> 2 & 1, i >> 1 & 1, i & 1) for i in range(8)])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_neighbors_are_those_of_ase(pbc, size):
    rng = np.random.default_rng(9)
    n_atoms = 3 * size**3
    cell = size * (2.7 * np.eye(3) + rng.normal(scale=0.6, size=(3, 3)))
    scaled = rng.uniform(-1.5, 1.5, size=(n_atoms, 3))
    atoms = Atoms(
        rng.choice(["Al", "Si"], n_atoms), cell=cell, scaled_positions=scaled, pbc=np.array(pbc)
    )
    neighbors = NeighborList(("Al", "Si"), cutoff=3.4, skin=0.3)
    pairs, positions, shifts = neighbors.update(atoms)
    i = np.repeat(np.arange(2 * n_atoms), np.diff(pairs.pair_first)) // 2
    j = pairs.neighbour[: pairs.pair_first[-1]]
    vectors = positions[j] + shifts[pairs.shift[: pairs.pair_first[-1]]] - positions[i]
    expected_i, expected_j, expected = primitive_neighbor_list(
        "ijD", atoms.pbc, atoms.cell, atoms.positions, 3.7
    )

    def in_order(i, j, vectors):
        table = np.column_stack([i, j, np.round(vectors, 6) + 0.0])
        return table[np.lexsort(table.T)]

    np.testing.assert_allclose(
        in_order(i, j, vectors), in_order(expected_i, expected_j, expected), atol=2e-6
    )
    species = np.array([("Al", "Si").index(s) for s in atoms.symbols])
    listed = np.repeat(np.arange(2 * n_atoms), np.diff(pairs.pair_first)) % 2
    assert (species[j] == listed).all()


def test_skin_list_gives_what_a_fresh_one_gives():
    rng = np.random.default_rng(10)
    ours = Evaluator([tables("random radial")], skin=0.8)
    fresh = Evaluator([tables("random radial")], skin=0.0)
    atoms = crystal(ours.elements)
    c = coefficients(ours.size)
    for step in range(60):
        atoms.positions += rng.normal(scale=0.02, size=(len(atoms), 3))
        if step % 7 == 3:
            strain = np.eye(3) + rng.normal(scale=0.004, size=(3, 3))
            atoms.set_cell(atoms.cell @ strain, scale_atoms=True)
        if step == 30:
            atoms.wrap()
        for got, expected in zip(
            ours.energy_forces(atoms, c), fresh.energy_forces(atoms, c), strict=True
        ):
            assert_same(got, expected, 1e-10)
    assert 2 <= ours._neighbors.builds < 20  # it served several steps, but not all
    assert fresh._neighbors.builds > 50


def test_list_notices_changes():
    neighbors = NeighborList(("Al", "Si"), cutoff=3.0, skin=0.5)
    atoms = crystal(("Al", "Si"))
    neighbors.update(atoms)

    def rebuilt() -> bool:
        before = neighbors.builds
        neighbors.update(atoms)
        return neighbors.builds > before

    assert not rebuilt()
    atoms.positions += [3.0, 0.0, -1.0]
    assert not rebuilt()  # all of them together
    atoms.positions[2, 0] += 0.2
    assert not rebuilt()
    atoms.positions[2, 0] += 0.1
    assert rebuilt()
    atoms.symbols[0] = "Si" if atoms.symbols[0] == "Al" else "Al"
    assert rebuilt()
    atoms.pbc = (1, 1, 0)
    assert rebuilt()
    atoms.set_cell(atoms.cell * 1.01, scale_atoms=True)
    assert not rebuilt()
    atoms.set_cell(atoms.cell * 0.8, scale_atoms=True)
    assert rebuilt()
    del atoms[0]
    assert rebuilt()


def test_a_compressed_cell_is_not_missed():
    """Pairs outside the list come in when only the cell shrinks."""
    ours = Evaluator([tables("rank 6")], skin=0.3)
    fresh = Evaluator([tables("rank 6")], skin=0.0)
    atoms = bulk("Si", cubic=True)
    c = coefficients(ours.size)
    squeezed = atoms.copy()  # a list serves the object it was made for
    for factor in (1.0, 0.995, 0.98, 0.93, 0.9):
        squeezed.set_cell(atoms.cell * [factor, 1.0, 1.0], scale_atoms=True)
        got, expected = ours.energy_forces(squeezed, c), fresh.energy_forces(squeezed, c)
        assert got[0] == pytest.approx(expected[0], rel=1e-12)
        assert_same(got[2], expected[2], 1e-11)


# ------------------------------------------------------------------ few atoms


@pytest.mark.parametrize("atoms", [Atoms(), Atoms("Si"), Atoms("SiAl", [[0, 0, 0], [9, 0, 0]])])
def test_no_neighbors(atoms):
    ours = evaluator("random radial", "pair part")
    c = coefficients(ours.size)
    assert not ours.descriptors(atoms).any()
    forces, virial = ours.forces(c)
    assert forces.shape == (len(atoms), 3)
    assert not forces.any()
    assert not virial.any()
    assert ours.energy_forces(atoms, c)[0] == 0.0
    assert ours.atomic_descriptors(atoms).shape == (len(atoms), ours.size)
    assert ours.rows(atoms).forces.shape == (len(atoms), 3, ours.size)
    assert not ours.rows(atoms).energy.any()


def test_one_atom_and_its_images():
    ours, theirs = evaluator("rank 6"), oracle("rank 6")
    atoms = Atoms("Si", cell=[[2.6, 0, 0], [0.3, 2.5, 0], [0.2, -0.5, 2.8]], pbc=True)
    c = coefficients(ours.size)
    energy, forces, virial = ours.energy_forces(atoms, c)
    expected = theirs.energy_forces(atoms, c)
    assert energy == pytest.approx(expected[0], rel=1e-10)
    assert np.abs(forces).max() < 1e-9 * np.abs(virial).max()
    assert_same(virial, expected[2])


# ------------------------------------------------------------------ tables and state


@pytest.mark.parametrize("name", ["three elements", "random radial", "pair part", "rank 6"])
def test_tables_survive_a_file(name):
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **tables(name).to_arrays())
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = FunctionTables.from_arrays(arrays)
    assert again.elements == tables(name).elements
    assert again.size == tables(name).size == len(basis(name).basis_coeffs)
    assert again.cutoff == tables(name).cutoff
    atoms = crystal(again.elements)
    c = coefficients(again.size)
    for got, expected in zip(
        Evaluator([again]).energy_forces(atoms, c),
        Evaluator([tables(name)]).energy_forces(atoms, c),
        strict=True,
    ):
        assert np.array_equal(got, expected)
    for key, value in tables(name).to_arrays().items():
        assert np.array_equal(again.to_arrays()[key], value)


def test_splines_of_equal_pairs_are_shared():
    assert len(set(tables("three elements").spline.ravel())) == 1
    assert len(set(tables("pair dependent").spline.ravel())) == 3


def _spoil(key, change):
    def spoiled(arrays):
        arrays[key] = change(arrays[key].copy())
        return arrays

    return spoiled


def _set(index, value):
    def change(array):
        array[index] = value
        return array

    return change


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda arrays: {k: v for k, v in arrays.items() if k != "knots"},
        _spoil("format", lambda a: a + 1),
        _spoil("elements", lambda a: a[[0, 0]]),
        _spoil("knots", lambda a: a[:-1]),
        _spoil("knots", _set((5, 0, 0), np.nan)),
        _spoil("crad", lambda a: a[:, :, :-1]),
        _spoil("crad", lambda a: a[..., :-1]),
        _spoil("bins", _set((0, 1), 7)),
        _spoil("spline", _set((0, 1), 9)),
        _spoil("cutoffs", lambda a: -a),
        _spoil("central", _set(0, 5)),
        _spoil("central", lambda a: a[::-1]),
        _spoil("rank", _set(-1, 9)),
        _spoil("n_terms", _set(-1, 0)),
        _spoil("n", _set(-1, 40)),
        _spoil("n", _set(0, -1)),
        _spoil("l", _set(-1, 9)),
        _spoil("l", lambda a: a.astype(float)),
        _spoil("m", _set(-1, 1)),
        _spoil("species", _set(-1, 2)),
        _spoil("couplings", lambda a: a[1:]),
    ],
)
def test_inconsistent_tables_are_refused(spoiled):
    with pytest.raises(ValueError, match=r"."):
        FunctionTables.from_arrays(spoiled(tables("random radial").to_arrays()))


def test_pickled_evaluator_gives_the_same():
    ours = evaluator("three elements")
    atoms = crystal(ours.elements)
    c = coefficients(ours.size)
    dumped = pickle.dumps(ours)
    got, expected = pickle.loads(dumped).energy_forces(atoms, c), ours.energy_forces(atoms, c)
    assert got[0] == expected[0]
    assert np.array_equal(got[1], expected[1])


# ------------------------------------------------------------------ errors


def _not_linear(**changes) -> ACEBBasisSet:
    return ACEBBasisSet(configuration(("Si",), [3, 2], [0, 1], **changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": {"fs_parameters": [1, 0.5]}}, "not linear"),
        ({"embedding": {"fs_parameters": [1, 1, 1, 0.5], "ndensity": 2}}, "not linear"),
        ({"core-repulsion": [100.0, 5.0]}, "core repulsion"),
        ({"r_in": 1.0, "delta_in": 0.3, "inner_cutoff_type": "density"}, "inner cutoff"),
    ],
)
def test_what_is_not_linear_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        FunctionTables.from_pyace(_not_linear(**changes))


def test_unknown_element():
    with pytest.raises(ValueError, match="Ge"):
        evaluator("rank 6").descriptors(Atoms("SiGe", [[0, 0, 0], [2, 0, 0]]))


def test_atoms_on_top_of_each_other():
    atoms = Atoms("SiSiSi", [[0, 0, 0], [2, 0, 0], [2, 0, 1e-3]])
    ours = evaluator("one element")
    c = coefficients(ours.size)
    for call in (ours.descriptors, ours.rows, ours.atomic_descriptors):
        with pytest.raises(ValueError, match=r"atoms 2 \(Si\) and 1 \(Si\) are 0\.001 Å"):
            call(atoms)
    with pytest.raises(ValueError, match=r"0\.002 Å"):
        ours.energy_forces(atoms, c)
    with pytest.raises(RuntimeError, match="descriptors"):
        ours.forces(c)
    atoms.positions[2, 2] = 2.0
    assert np.isfinite(ours.descriptors(atoms)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_positions_and_cell_must_be_finite(bad):
    ours = evaluator("rank 6")
    atoms = bulk("Si", cubic=True)
    atoms.positions[3, 1] = bad
    with pytest.raises(ValueError, match="atom 3"):
        ours.descriptors(atoms)
    atoms = bulk("Si", cubic=True)
    atoms.cell[1, 1] = bad
    with pytest.raises(ValueError, match="cell"):
        ours.descriptors(atoms)


def test_periodic_without_a_cell():
    with pytest.raises(ValueError, match="no volume"):
        evaluator("rank 6").descriptors(Atoms("Si", pbc=(1, 0, 0)))


def test_coefficients_and_weights_are_checked():
    ours = evaluator("rank 6")
    atoms = bulk("Si", cubic=True)
    c = coefficients(ours.size)
    ours.descriptors(atoms)
    for wrong in (c[:-1], c[None, None], 1.0, coefficients(ours.size + 1, 2)):
        with pytest.raises(ValueError, match="shape"):
            ours.forces(wrong)
    with pytest.raises(ValueError, match="finite"):
        ours.forces(np.where(np.arange(ours.size) == 2, np.nan, c))
    with pytest.raises(ValueError, match="shape"):
        ours.energy_forces(atoms, c[None])
    ours.atomic_descriptors(atoms)
    for wrong in (c, coefficients(ours.size, 7)):
        with pytest.raises(ValueError, match="shape"):
            ours.atomic_forces(wrong)
    with pytest.raises(ValueError, match="finite"):
        ours.atomic_forces(np.full((8, ours.size), np.inf))


def test_forces_need_descriptors():
    fresh = Evaluator([tables("rank 6")])
    c = coefficients(fresh.size)
    with pytest.raises(RuntimeError, match="descriptors"):
        fresh.forces(c)
    with pytest.raises(RuntimeError, match="descriptors"):
        fresh.atomic_forces(c[None])
    fresh.energy_forces(bulk("Si"), c)
    with pytest.raises(RuntimeError, match="descriptors"):
        fresh.forces(c)


def test_one_compilation_serves_all_bases():
    """The second is unlike the first: a second signature would be a second compilation."""
    for names in (("rank 6",), ("random radial", "pair part")):
        ours = evaluator(*names)
        atoms = few_images(ours.elements)
        ours.descriptors(atoms)
        ours.forces(coefficients(ours.size, 2))
        ours.atomic_descriptors(atoms)
        ours.atomic_forces(coefficients(ours.size, len(atoms)))
        ours.rows(atoms)
        ours.energy_forces(atoms, coefficients(ours.size))
    from ase_hal.ace.kernels import cells, passes, rows, single_atoms

    kernels = [
        cells.find_pairs,
        passes.evaluate,
        passes.sum_functions,
        passes.expand_coefficients,
        rows.add_rows,
        single_atoms.atomic_functions,
        single_atoms.differentiate_atoms,
    ]
    assert [len(kernel.signatures) for kernel in kernels] == [1] * len(kernels)


def test_parts_must_fit_together():
    with pytest.raises(ValueError, match="at least one"):
        Evaluator([])
    with pytest.raises(ValueError, match="elements"):
        Evaluator([tables("rank 6"), tables("pair part")])
    with pytest.raises(ValueError, match="skin"):
        Evaluator([tables("rank 6")], skin=-0.1)


def test_a_collapsed_cell_is_refused():
    atoms = bulk("Si", cubic=True)
    atoms.set_cell([5.43, 5.43, 0.02], scale_atoms=True)
    basis = ACEBasis(("Si",), rcut=4.0, nradmax_by_orders=[2], lmax_by_orders=[0])
    with pytest.raises(ValueError, match=r"0.02 Å high"):
        basis.evaluator().descriptors(atoms)
