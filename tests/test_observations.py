"""What fits take from labels: lone atoms, fixed atoms, wrecks and weights, for every fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import (
    FixAtoms,
    FixBondLengths,
    FixCartesian,
    FixCom,
    FixedLine,
    FixedPlane,
    FixScaled,
)
from datasets_emt import labelled, rattled

from ase_hal import LinearFit, NetworkFit, Weights, learn
from ase_hal.ace import ACEBasis
from ase_hal.data.force_rows import zeroed_components
from ase_hal.data.left_out import left_out_of
from ase_hal.data.lone_atoms import has_neighbours, with_neighbours
from ase_hal.dynamics import (
    EvolutionExplorer,
    EvolutionStage,
    HALExplorer,
    Relaxation,
    Stage,
    Trigger,
)
from ase_hal.dynamics.explorer import run_trajectory
from ase_hal.external_fit import Draw, Targets, member_records
from ase_hal.metrics import compare
from ase_hal.networks import AtomicNetworks
from ase_hal.repulsion import ZBL
from ase_hal.structures.derived import METALS, derive
from ase_hal.weights import WeightsByType

RNG = np.random.default_rng


def copper(count: int, seed: int, amplitude: float = 0.1) -> list[Atoms]:
    return list(rattled("Cu", count, rng=RNG(seed), repeat=2, amplitude=amplitude))


def basis(**shape: Any) -> ACEBasis:
    shape = {"nradmax_by_orders": [6, 3], "lmax_by_orders": [0, 2], **shape}
    return ACEBasis(("Cu",), rcut=5.0, **shape)


def lone(cell: float = 12.0, symbol: str = "Cu") -> Atoms:
    return labelled(Atoms(symbol, cell=[cell] * 3, pbc=True))


def relabelled(atoms: Atoms, **changes: Any) -> Atoms:
    copy = atoms.copy()
    copy.calc = SinglePointCalculator(copy, **{**atoms.calc.results, **changes})
    return copy


# --- lone atoms --------------------------------------------------------------------------


def test_a_primitive_cell_has_neighbours_and_an_atom_in_a_box_has_none() -> None:
    assert has_neighbours(bulk("Cu"), 5.0)
    assert not has_neighbours(lone(), 5.0)
    assert not has_neighbours(Atoms("Cu"), 5.0)
    assert not has_neighbours(Atoms("Cu2", [[0, 0, 0], [7, 0, 0]]), 5.0)
    assert has_neighbours(Atoms("Cu2", [[0, 0, 0], [4.9, 0, 0]]), 5.0)
    # across the boundary of a cell, along a diagonal, and in one periodic direction
    pair = Atoms("Cu2", [[0.1, 0.1, 0], [11.9, 11.9, 0]], cell=[12] * 3, pbc=True)
    assert has_neighbours(pair, 1.0)
    skewed = Atoms("Cu", cell=[[6, 0, 0], [5.9, 1, 0], [0, 0, 9]], pbc=True)
    assert has_neighbours(skewed, 1.5)
    wire = Atoms("Cu", cell=[4, 0, 0], pbc=[True, False, False])
    assert has_neighbours(wire, 5.0)


def test_a_lone_atom_is_reproduced_and_harms_nothing() -> None:
    """One frame of an isolated atom made errors twelve times, and sigma 142 times as large."""
    train, fresh = copper(16, 1), copper(8, 2)
    clean = LinearFit(basis())(train, rng=RNG(0))
    fit = LinearFit(basis())
    committee = fit([train[0], lone(), *train[1:], lone(20.0)], rng=RNG(0))
    for cell in (12.0, 30.0):
        prediction = committee.predict(lone(cell))
        assert prediction.energy == pytest.approx(lone().calc.results["energy"], abs=1e-9)
    assert committee.baseline.one_body["Cu"] == lone().calc.results["energy"]
    errors, reference = (compare(c, fresh).errors() for c in (committee, clean))
    assert errors.energy_rmse < 2 * reference.energy_rmse + 1e-4
    assert errors.forces_rmse < 1.6 * reference.forces_rmse
    sigma, expected = (c.predict(fresh[0]).model_std for c in (committee, clean))
    assert expected / 3 < sigma < 3 * expected
    precision = committee.posterior.noise_precision
    assert precision > 0.2 * clean.posterior.noise_precision


def test_elements_without_a_lone_atom_take_means() -> None:
    alloy = [*rattled("Al", 12, rng=RNG(3), second="Cu"), lone(symbol="Al")]
    both = ACEBasis(("Al", "Cu"), rcut=4.5, nradmax_by_orders=[4], lmax_by_orders=[0])
    committee = LinearFit(both)(alloy, rng=RNG(0))
    one_body = committee.baseline.one_body
    assert one_body["Al"] == lone(symbol="Al").calc.results["energy"]
    rest = np.array(
        [a.calc.results["energy"] - one_body["Al"] * sum(a.symbols == "Al") for a in alloy[:-1]]
    )
    counts = np.array([sum(a.symbols == "Cu") for a in alloy[:-1]])
    assert one_body["Cu"] == pytest.approx(np.sum(rest * counts) / np.sum(counts**2))


def test_atoms_that_contradict_each_other_are_refused() -> None:
    other = relabelled(lone(), energy=lone().calc.results["energy"] + 0.2)
    message = r"lone Cu atoms contradict each other: structure 4 has 3\.51.*structure 5 has 3\.71"
    with pytest.raises(ValueError, match=message):
        LinearFit(basis())([*copper(4, 1), lone(), other], rng=RNG(0))


@pytest.mark.parametrize(
    ("value", "data", "message"),
    [
        (-2041.0, [], r"one_body gives -2041.00 eV per atom .* that have .* eV per atom"),
        (-2041.0, [lone()], r"one_body says -2041.0000 eV for Cu, and a lone Cu atom .* 3.5"),
        (3.48, [lone()], r"one_body says 3.4800 eV for Cu, and a lone Cu atom of .* 3.5100 eV"),
        (16.0, [], "one_body gives 16.00 eV per atom"),
    ],
)
def test_one_body_energies_are_compared_with_the_data(
    value: float, data: list[Atoms], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        LinearFit(basis(), one_body={"Cu": value})([*copper(6, 1), *data], rng=RNG(0))


def test_each_element_of_one_body_is_compared() -> None:
    """Most structures without the element whose energy is wrong."""
    both = ACEBasis(("Al", "Cu"), rcut=4.5, nradmax_by_orders=[4], lmax_by_orders=[0])
    data = [*rattled("Al", 10, rng=RNG(3)), *rattled("Al", 6, rng=RNG(4), second="Cu")]
    with pytest.raises(ValueError, match=r"structures with Cu .* Cu: -2041.0000 eV"):
        LinearFit(both, one_body={"Al": 3.28, "Cu": -2041.0})(data, rng=RNG(0))
    LinearFit(both, one_body={"Al": 3.28, "Cu": 3.51})(data, rng=RNG(0))


@pytest.mark.parametrize("repulsion", [None, ZBL(0.9, 1.6)])
def test_compressed_matter_is_no_contradiction(repulsion: ZBL | None) -> None:
    """Energies far above those of isolated atoms, but not of all structures."""
    dimers = [labelled(Atoms("Cu2", [[0, 0, 0], [d, 0, 0]])) for d in (0.5, 0.6, 0.8, 1.0, 2.2)]
    fit = LinearFit(basis(), one_body={"Cu": 3.51}, repulsion=repulsion, force_bound=1e4)
    assert fit(dimers, rng=RNG(0)).baseline.one_body == {"Cu": 3.51}


def test_a_scan_of_volumes_is_no_contradiction() -> None:
    """One-atom cells wider than the cutoff: the widest tells, if there is none in a box."""
    scan = [labelled(bulk("Cu", "sc", a=a)) for a in (2.4, 2.8, 3.4, 4.0, 4.6, 5.1, 5.4, 5.8)]
    one_body = LinearFit(basis())([*copper(6, 1), *scan], rng=RNG(0)).baseline.one_body
    assert one_body["Cu"] == scan[-1].calc.results["energy"]
    with_box = LinearFit(basis())([*copper(6, 1), *scan, lone()], rng=RNG(0))
    assert with_box.baseline.one_body["Cu"] == lone().calc.results["energy"]


def test_structures_of_several_lone_atoms_tell_energies_too() -> None:
    apart = labelled(Atoms("AlCu", [[0, 0, 0], [30, 0, 0]]))
    both = ACEBasis(("Al", "Cu"), rcut=4.5, nradmax_by_orders=[4], lmax_by_orders=[0])
    energies = {symbol: lone(symbol=symbol).calc.results["energy"] for symbol in ("Al", "Cu")}
    alloy = list(rattled("Al", 8, rng=RNG(3), second="Cu"))
    committee = LinearFit(both)([*alloy, apart, lone()], rng=RNG(0))
    assert committee.baseline.one_body == pytest.approx(energies)
    assert committee.predict(apart).energy == pytest.approx(sum(energies.values()))
    # one equation does not tell two energies
    only = LinearFit(both)([*alloy, apart], rng=RNG(0)).baseline.one_body
    assert only["Al"] != pytest.approx(energies["Al"], abs=1e-3)


def test_a_lone_atom_of_no_weight_tells_nothing() -> None:
    wrong = weighed(relabelled(lone(), energy=9.0), config_weight=0.0)
    for data in ([wrong, lone()], [lone(), wrong]):
        committee = LinearFit(basis())([*copper(6, 1), *data], rng=RNG(0))
        assert committee.baseline.one_body["Cu"] == lone().calc.results["energy"]


def test_one_body_energies_that_agree_are_taken() -> None:
    for data in ([], [lone()]):
        fit = LinearFit(basis(), one_body={"Cu": 3.515})
        committee = fit([*copper(6, 1), *data], rng=RNG(0))
        assert committee.baseline.one_body == {"Cu": 3.515}


def test_a_dataset_of_lone_atoms_is_refused() -> None:
    with pytest.raises(ValueError, match="no structure of the dataset has neighbours"):
        LinearFit(basis())([lone(), lone()], rng=RNG(0))


def test_networks_reproduce_lone_atoms() -> None:
    pytest.importorskip("torch")
    train = copper(8, 1)
    fit = NetworkFit(basis(), members=2, hidden=(4,), n_components=6)
    committee = fit([*train, lone()], rng=RNG(0))
    energy = lone().calc.results["energy"]
    assert committee.predict(lone()).energy == pytest.approx(energy, abs=1e-9)
    assert committee.predict(lone()).member_energies == pytest.approx(energy, abs=1e-9)
    errors = compare(committee, copper(4, 2)).errors()
    reference = compare(fit(train, rng=RNG(0)), copper(4, 2)).errors()
    assert errors.forces_rmse < 2 * reference.forces_rmse
    arrays = {e: n.to_arrays() for e, n in committee.networks.items()}
    again = AtomicNetworks.from_arrays(arrays["Cu"])
    assert again.components.anchored
    # the gradient is that of the energy
    atoms, step = train[0].copy(), 1e-4
    moved = [atoms.copy(), atoms.copy()]
    moved[0].positions[1, 2] += step
    moved[1].positions[1, 2] -= step
    slope = (committee.predict(moved[0]).energy - committee.predict(moved[1]).energy) / (2 * step)
    assert committee.predict(atoms).forces[1, 2] == pytest.approx(-slope, abs=1e-5)


def test_external_fits_take_lone_atoms_for_the_baseline() -> None:
    targets = Targets(("Cu",), Weights(), None, None, 20.0)
    items, baseline = targets.observe([*copper(3, 1), lone()], 5.0)
    assert len(items) == 3
    assert baseline.one_body == {"Cu": lone().calc.results["energy"]}
    records = member_records(items, ("Cu",), baseline, Draw(1, np.ones(3, dtype=int)), 5.0)
    assert all(len(record.atoms) == 8 for record in records)


def test_nothing_starts_from_lone_atoms() -> None:
    crystals = copper(3, 1)

    class Model:
        cutoff = 5.0

    assert with_neighbours([lone(), *crystals, lone()], Model()) == crystals
    with pytest.raises(ValueError, match="no atom of the 2 structures .* within 5 Å"):
        with_neighbours([lone(), lone()], Model())


# --- forces that constraints have taken out ------------------------------------------------


def slab() -> Atoms:
    atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
    atoms.rattle(0.1, rng=RNG(5))
    return atoms


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (FixAtoms([0, 3]), [(0, "xyz"), (3, "xyz")]),
        (FixCartesian([1], mask=[True, False, True]), [(1, "xz")]),
        (FixScaled([2], mask=[True, True, True]), [(2, "xyz")]),
        (FixedPlane([4, 5], (0, 0, 1)), [(4, "z"), (5, "z")]),
        (FixedPlane(4, (1, 1, 0)), [(4, "xyz")]),
        (FixedLine(6, (0, 1, 0)), [(6, "xz")]),
        (FixedLine(6, (1, 1, 1)), [(6, "xyz")]),
        (FixBondLengths([[0, 1]]), [(0, "xyz"), (1, "xyz")]),
        (FixCom(), []),
    ],
)
def test_what_a_constraint_has_taken_out(constraint: Any, expected: list[tuple[int, str]]) -> None:
    atoms = slab()
    raw = labelled(atoms).calc.results["forces"]
    atoms.set_constraint(constraint)
    projected = raw.copy()
    constraint.adjust_forces(atoms, projected)
    mask = np.zeros(raw.shape, dtype=bool)
    for index, axes in expected:
        mask[index, ["xyz".index(axis) for axis in axes]] = True
    assert np.array_equal(zeroed_components(atoms, np.round(projected, 8)), mask)
    # forces of a calculation that knew of no constraint are whole
    assert not zeroed_components(atoms, raw).any()
    assert np.array_equal(atoms.calc is None, True)


@pytest.mark.parametrize("decimals", [4, 5, 6, 8])
@pytest.mark.parametrize("scale", [1.0, 1e-2])
@pytest.mark.parametrize(
    "constraint", [FixedPlane([4, 5], (1, 2, 3)), FixBondLengths([[4, 5]]), FixAtoms([4, 5])]
)
def test_rounding_of_a_file_hides_no_constraint(
    constraint: Any, scale: float, decimals: int
) -> None:
    atoms = slab()
    raw = scale * labelled(atoms).calc.results["forces"]
    atoms.set_constraint(constraint)
    projected = raw.copy()
    constraint.adjust_forces(atoms, projected)
    mask = np.zeros(raw.shape, dtype=bool)
    mask[[4, 5]] = True
    assert np.array_equal(zeroed_components(atoms, np.round(projected, decimals)), mask)
    assert not zeroed_components(atoms, np.round(raw, decimals)).any()


def test_zeroed_forces_do_not_spoil_a_fit() -> None:
    """Forces of fixed atoms in a file are zero: a slab went from 0.09 to 28 meV/atom."""
    raw, zeroed = [], []
    for seed in range(10):
        atoms = fcc111("Cu", (2, 2, 3), vacuum=6.0)
        atoms.rattle(0.1, rng=RNG(seed))
        raw.append(labelled(atoms))
        atoms.set_constraint(FixAtoms(range(8)))
        atoms.calc = EMT()
        results = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces()}
        atoms.calc = SinglePointCalculator(atoms, **results)
        zeroed.append(atoms)
    assert (zeroed[0].calc.results["forces"] == 0).sum() == 24
    fresh = raw[7:]
    whole = compare(LinearFit(basis())(raw[:7], rng=RNG(0)), fresh).errors()
    fit = LinearFit(basis())
    errors = compare(fit(zeroed[:7], rng=RNG(0)), fresh).errors()
    assert errors.energy_rmse < 3 * whole.energy_rmse
    assert errors.forces_rmse < 3 * whole.forces_rmse
    total = left_out_of(zeroed[:7])
    assert (total.constrained, total.components) == (7 * 24, 7 * 36)
    assert "168 of 252 force components are zeroed by constraints" in total.sentence(20.0)
    # and where the constraints are lost between two calls of a fit
    free = [atoms.copy() for atoms in zeroed[:7]]
    for atoms, labels in zip(free, zeroed, strict=False):
        atoms.set_constraint()
        atoms.calc = SinglePointCalculator(atoms, **labels.calc.results)
    spoiled = compare(fit(free, rng=RNG(0)), fresh).errors()
    assert spoiled.forces_rmse > 10 * whole.forces_rmse


# --- structures beyond the bound ------------------------------------------------------------


def wreck(atoms: Atoms, distance: float) -> Atoms:
    """Two atoms on top of each other."""
    broken = atoms.copy()
    vector = broken.get_distance(0, 1, mic=True, vector=True)
    broken.positions[1] = broken.positions[0] + distance * vector / np.linalg.norm(vector)
    return labelled(broken)


@pytest.mark.parametrize("distance", [0.35, 0.6, 0.9, 1.2])
@pytest.mark.parametrize("place", [0, 17])
def test_a_wreck_does_not_spoil_a_fit(distance: float, place: int) -> None:
    train, fresh = copper(36, 1, 0.12), copper(8, 2, 0.12)
    clean = compare(LinearFit(basis())(train, rng=RNG(0)), fresh).errors()
    broken = wreck(train[4], distance)
    assert np.abs(broken.calc.results["forces"]).max() > 80
    committee = LinearFit(basis())([*train[:place], broken, *train[place:]], rng=RNG(0))
    errors = compare(committee, fresh).errors()
    assert errors.energy_rmse < 1.6 * clean.energy_rmse
    assert errors.forces_rmse < 1.6 * clean.forces_rmse


def test_labels_beyond_the_bound_count_less_and_less() -> None:
    """With (1 - s) (b / F)^2, continuously from 1, until they are left out."""
    (atoms,) = copper(1, 1)
    largest = np.abs(atoms.calc.results["forces"]).max()
    shares = []
    for bound in largest / np.array([0.99, 1.001, 1.5, 2.5, 4.0]):
        settings = LinearFit(basis(), force_bound=bound)._settings
        item, whole = settings.observe(atoms), LinearFit(basis())._settings.observe(atoms)
        forces = np.abs(atoms.calc.results["forces"])
        s, excess = np.mean(forces > bound), max(largest / bound, 1.0)
        share = (1 - s) / excess**2
        expected = share if share >= 0.1 else 0.0
        assert item.energy_weight == pytest.approx(whole.energy_weight * expected)
        assert item.virial_factors == pytest.approx(whole.virial_factors * expected)
        assert item.force_factors == pytest.approx(np.where(forces > bound, 0, 1 / excess**2))
        shares.append(item.energy_weight / whole.energy_weight)
    assert shares[0] == 1.0
    assert 0.9 < shares[1] < 1.0
    assert shares[-1] == 0.0
    assert sorted(shares, reverse=True) == shares


def test_what_is_left_out_is_told() -> None:
    structures = copper(3, 1)
    bound = 0.9 * np.abs(structures[1].calc.results["forces"]).max()
    small = [relabelled(a, forces=0.1 * a.calc.results["forces"]) for a in structures]
    dataset = [small[0], structures[1], wreck(small[2], 0.5)]
    total = left_out_of(dataset, bound)
    assert total.components == 72
    assert total.damped == (1, 2)
    assert total.dropped == (2,)
    large = sum(int((np.abs(a.calc.results["forces"]) > bound).sum()) for a in dataset)
    sentence = total.sentence(bound)
    assert sentence.startswith(f"{large} of 72 force components, in 2 structures, are above")
    assert sentence.endswith("other labels there count less, energy and stress of 1 not at all")
    assert left_out_of(small, bound).sentence(bound) == ""
    # energies that play no part are no errors of the fit
    committee = LinearFit(basis(), force_bound=bound)(copper(12, 4), rng=RNG(0))
    assert compare(committee, dataset, force_bound=bound).structures.tolist() == [0, 1]
    assert compare(committee, dataset).structures.tolist() == [0, 1, 2]


# --- weights --------------------------------------------------------------------------------


def mean_of(fit: LinearFit, dataset: list[Atoms]) -> np.ndarray:
    return fit(dataset, rng=RNG(0)).posterior.mean


def weighed(atoms: Atoms, **info: Any) -> Atoms:
    copy = relabelled(atoms)
    copy.info |= info
    return copy


def test_a_weight_counts_like_copies() -> None:
    """Weights are those of squares, as in other programs."""
    train = copper(8, 1)
    repeated = [*train, train[2], train[2], train[2]]
    fit = LinearFit(basis(), label_noise=0.01)
    one = fit([*train[:2], weighed(train[2], config_weight=4), *train[3:]], rng=RNG(0))
    four = fit(repeated, rng=RNG(0))
    # the precision counts rows: compare what the squares alone decide
    settings = fit._settings
    item = settings.observe(weighed(train[2], config_weight=4.0))
    plain = settings.observe(train[2])
    assert item.energy_weight == pytest.approx(2 * plain.energy_weight)
    assert item.force_factors == pytest.approx(2 * plain.force_factors)
    assert item.virial_factors == pytest.approx(2 * plain.virial_factors)
    fresh = copper(4, 3)
    energies = [[c.predict(a).energy for a in fresh] for c in (one, four)]
    assert energies[0] == pytest.approx(energies[1], abs=5e-4)


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("energy_weight", "energy"),
        ("config_energy_weight", "energy"),
        ("forces_weight", "forces"),
        ("force_weight", "forces"),
        ("stress_weight", "virial"),
        ("config_virials_weight", "virial"),
    ],
)
def test_weights_of_single_labels(key: str, label: str) -> None:
    (atoms,) = copper(1, 1)
    settings = LinearFit(basis())._settings
    plain, item = settings.observe(atoms), settings.observe(weighed(atoms, **{key: 0.25}))
    for name, before, after in (
        ("energy", plain.energy_weight, item.energy_weight),
        ("forces", plain.force_factors, item.force_factors),
        ("virial", plain.virial_factors, item.virial_factors),
    ):
        assert after == pytest.approx(before * (0.5 if name == label else 1.0))


def test_a_weight_of_zero_leaves_a_structure_out() -> None:
    train = copper(8, 1)
    spoiled = relabelled(train[3], energy=1000.0)
    fit = LinearFit(basis())
    without = mean_of(fit, [*train[:3], *train[4:]])
    zero = mean_of(fit, [*train[:3], weighed(spoiled, config_weight=0.0), *train[4:]])
    assert zero == pytest.approx(without, rel=1e-9)


def test_labels_that_hardly_count_say_nothing_about_noise() -> None:
    """Neither small weights nor wrecks make the model surer of itself."""
    train = copper(12, 1)
    fit, (fresh,) = LinearFit(basis()), copper(1, 9)
    clean = fit(train, rng=RNG(0))
    light = [weighed(atoms, config_weight=1e-12) for atoms in copper(36, 5)]
    wrecks = [wreck(atoms, 0.5) for atoms in copper(8, 6)]
    for others in (light, wrecks):
        committee = fit([*train, *others], rng=RNG(0))
        precision = committee.posterior.noise_precision
        assert precision == pytest.approx(clean.posterior.noise_precision, rel=0.3)
        expected = clean.predict(fresh).model_std
        assert committee.predict(fresh).model_std == pytest.approx(expected, rel=0.3)


def test_two_names_of_one_weight_have_to_agree() -> None:
    (atoms,) = copper(1, 1)
    settings = LinearFit(basis())._settings
    plain = settings.observe(atoms)
    same = weighed(atoms, stress_weight=4.0, virial_weight=4.0, config_weight=0.25)
    assert settings.observe(same).virial_factors == pytest.approx(plain.virial_factors)
    with pytest.raises(ValueError, match="several weights of its virial: .* 1, .* 0"):
        settings.observe(weighed(atoms, config_stress_weight=1.0, config_virials_weight=0.0))


@pytest.mark.parametrize("value", [-1.0, "much", float("nan"), [1.0, 2.0]])
def test_weights_that_are_none_are_refused(value: Any) -> None:
    train = copper(4, 1)
    train[2] = weighed(train[2], config_weight=value)
    with pytest.raises(ValueError, match="structure 2 of the dataset: its config_weight is"):
        LinearFit(basis())(train, rng=RNG(0))


def test_weights_by_type() -> None:
    train = [weighed(a, config_type=t) for a, t in zip(copper(3, 1), "aba", strict=True)]
    found = weighed(copper(1, 2)[0], hal_stage="liquid")
    table = {"b": Weights(3.0, 0.5, 0.1), "liquid": Weights(6.0, 0.7, 0.2)}
    settings = LinearFit(basis(), weights=WeightsByType(Weights(), table))._settings
    weights = [settings.observe(a).energy_weight for a in [*train, found]]
    assert weights == [15.0, 3.0, 15.0, 6.0]
    other_key = WeightsByType(Weights(), table, key="group")
    assert other_key(train[1]) == Weights()
    # what a run has found is of the kind of its stage, whatever its start was
    assert other_key(weighed(train[1], group="b", hal_stage="liquid")) == table["liquid"]


# --- the settings of a fit -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["basis", "weights", "force_bound", "repulsion"])
def test_what_rows_depend_on_cannot_change_behind_them(name: str) -> None:
    fit = LinearFit(basis())
    with pytest.raises(AttributeError):
        setattr(fit, name, None)


def test_a_fit_with_another_basis_is_another_fit() -> None:
    train = copper(8, 1)
    fit = LinearFit(basis(), members=3, weights=Weights(7.0, 1.0, 0.5), force_bound=5.0)
    fit(train, rng=RNG(0))
    larger = basis(nradmax_by_orders=[8, 4])
    other = fit.with_basis(larger)
    direct = LinearFit(larger, members=3, weights=Weights(7.0, 1.0, 0.5), force_bound=5.0)
    assert np.array_equal(mean_of(other, train), mean_of(direct, train))
    assert fit.basis.size < other.basis.size


Change = Callable[[Atoms], None]


@pytest.mark.parametrize(
    "change",
    [
        lambda atoms: atoms.info.update(config_weight=9.0),
        lambda atoms: atoms.calc.results.pop("forces"),
        lambda atoms: atoms.calc.results.update(energy=atoms.calc.results["energy"] + 0.1),
        lambda atoms: atoms.set_pbc([True, True, False]),
    ],
)
def test_rows_follow_whatever_they_depend_on(change: Change) -> None:
    train = [relabelled(atoms) for atoms in copper(6, 1)]
    fit = LinearFit(basis())
    fit(train, rng=RNG(0))
    change(train[2])
    assert np.array_equal(mean_of(fit, train), mean_of(LinearFit(basis()), train))


def test_explorers_and_loops_pass_over_lone_atoms() -> None:
    """Trajectories of lone atoms made 75 of 100 iterations end as converged."""
    crystals = copper(4, 1)
    dataset = [lone(), *crystals, lone()]
    committee = LinearFit(basis())(dataset, rng=RNG(0))
    stages = [
        Stage("warm", temperature_K=300.0, steps=20, trigger=Trigger("relative", 1e-4)),
        EvolutionStage("relaxed", Relaxation(steps=2), start="any"),
    ]
    explorer = HALExplorer(stages)
    for index in (0, 1):
        assert explorer.starts(index, dataset, committee) == crystals
    with pytest.raises(ValueError, match="no atom of the 1 structures to start from"):
        explorer(committee, dataset=[lone()], rng=RNG(0))
    evolve = EvolutionExplorer(Relaxation(steps=2), walkers=6)
    for found in (
        evolve(committee, dataset=dataset, rng=RNG(1)),
        EvolutionExplorer(Relaxation(steps=2), walkers=6, starts=dataset)(
            committee, dataset=dataset, rng=RNG(2)
        ),
    ):
        assert all(len(atoms) == 8 for atoms in found)
    fit = LinearFit(basis())
    for step in learn(dataset, fit, explorer, EMT, rng=RNG(3), max_labels=2):
        assert all(len(atoms) == 8 for atoms in step.labelled)
    assert step.committee.predict(lone()).energy == pytest.approx(3.51, abs=1e-9)


def test_what_comes_of_a_structure_has_a_weight_of_its_own() -> None:
    start = weighed(copper(1, 1)[0], config_weight=100.0, config_type="crystal", note="kept")
    committee = LinearFit(basis())(copper(6, 1), rng=RNG(0))
    stage = Stage("warm", temperature_K=300.0, steps=20, trigger=Trigger("relative", 1e-6))
    found = run_trajectory(committee, stage, start, 0, RNG(0)).found
    assert found is not None
    assert found.info["note"] == "kept"
    assert not {"config_weight", "config_type"} & set(found.info)
    derived = derive(start, METALS, rng=RNG(0))
    assert not {"config_weight", "config_type"} & set(derived.info)
    assert start.info["config_weight"] == 100.0
