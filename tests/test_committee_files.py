"""Committees of every kind on disk: what is read predicts what was written, bit for bit."""

import copy
import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from small_committees import BASELINE, bits, linear_committee, network_committee, structures

import ase_hal
from ase_hal import CalculatorCommittee, LinearCommittee, NetworkCommittee, read_committee
from ase_hal.ace import ACEBasis
from ase_hal.baseline import Baseline
from ase_hal.calculators import CommitteeCalculator
from ase_hal.export import write_potential
from ase_hal.fitted_potential import FittedPotential


@cache
def basis() -> ACEBasis:
    return ACEBasis(("Al", "Cu"), rcut=4.5, nradmax_by_orders=[4, 2], lmax_by_orders=[0, 1])


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    """Potential files of two linear models."""
    folder = tmp_path_factory.mktemp("potentials")
    found = []
    for seed in (0, 1):
        write_potential(linear_committee(basis(), seed=seed), folder / f"model{seed}")
        found.append((folder / f"model{seed}.yaml").read_text())
    return found


@pytest.fixture
def potentials(texts):
    def make(baseline=BASELINE, **keywords):
        members = [FittedPotential(t, "PyACECalculator", ("Al", "Cu"), baseline) for t in texts]
        return CalculatorCommittee(members, **keywords)

    return make


def said(committee):
    some = structures()
    return [
        bits(committee.predict(some[i], members=True, stress=bool(some[i].pbc.all())))
        for i in (1, 3, 5, 9, 16, 22)
    ]


def test_potentials_with_their_baselines(potentials, tmp_path):
    written = potentials(floor=0.02, ddof=1, force_scale=0.7)
    expected = said(written)
    written.write(tmp_path / "model.json")
    read = CalculatorCommittee.read(tmp_path / "model.json")
    assert said(read) == expected
    assert (read.floor, read.ddof, read.force_scale) == (0.02, 1, 0.7)
    assert read.elements == written.elements
    assert [m.baseline for m in read.calculators] == [m.baseline for m in written.calculators]
    assert [m.text for m in read.calculators] == [m.text for m in written.calculators]
    # the potentials are those of the linear models, so the baseline is really in
    linear = [linear_committee(basis(), seed=seed).predict(structures()[3]) for seed in (0, 1)]
    energies = read.predict(structures()[3]).member_energies
    assert energies == pytest.approx([p.energy for p in linear], abs=1e-7)


def test_each_member_has_its_own_baseline(texts, tmp_path):
    baselines = [BASELINE, Baseline({"Al": -1.0, "Cu": 0.25})]
    members = [
        FittedPotential(text, "PyACECalculator", ("Al", "Cu"), baseline)
        for text, baseline in zip(texts, baselines, strict=True)
    ]
    CalculatorCommittee(members).write(tmp_path / "model.json")
    read = CalculatorCommittee.read(tmp_path / "model.json")
    assert [member.baseline for member in read.calculators] == baselines
    assert said(read) == said(CalculatorCommittee(members))


def test_files_hold_data_only(potentials, tmp_path):
    potentials().write(tmp_path / "model.json")
    header = json.loads((tmp_path / "model.json").read_text())
    assert header["format"] == "ase_hal calculator committee"
    with np.load(tmp_path / "model.npz", allow_pickle=False) as arrays:
        assert all(array.dtype == np.uint8 for array in arrays.values())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.npz"]


class Special(FittedPotential):
    """Knows more than what a file would hold."""


def test_other_members_are_refused_before_anything_is_written(potentials, texts, tmp_path):
    special = Special(texts[0], "PyACECalculator", ("Al", "Cu"), BASELINE)
    linear = CommitteeCalculator(linear_committee())
    for members, names in (
        ([EMT(), LennardJones()], "EMT, LennardJones"),
        ([*potentials().calculators, linear], "CommitteeCalculator"),
        ([*potentials().calculators, special], "Special"),
    ):
        elements = ("Al", "Cu")
        with pytest.raises(TypeError, match=f"members of type {names} cannot be written.*Fitted"):
            CalculatorCommittee(members, elements=elements).write(tmp_path / "model.json")
    assert not list(tmp_path.iterdir())


def test_a_file_does_not_choose_what_is_called(potentials, tmp_path):
    path = tmp_path / "model.json"
    potentials().write(path)
    header = json.loads(path.read_text())
    header["members"][1]["kind"] = "os"
    path.write_text(json.dumps(header))
    with pytest.raises(ValueError, match="of kind PyACECalculator or .*, got 'os'"):
        CalculatorCommittee.read(path)


def test_every_kind_is_read_by_one_function(potentials, tmp_path):
    kinds = {
        "linear": linear_committee(),
        "members": linear_committee(sigma="members"),
        "networks": network_committee(),
        "calculators": potentials(),
    }
    for name, written in kinds.items():
        written.write(tmp_path / f"{name}.json")
        read = read_committee(tmp_path / f"{name}.json")
        assert type(read) is type(written)
        assert said(read) == said(written)
    assert ase_hal.read_committee is read_committee
    assert "read_committee" in ase_hal.__all__


def test_other_files_are_refused(potentials, tmp_path):
    path = tmp_path / "model.json"
    with pytest.raises(FileNotFoundError):
        read_committee(path)
    for content, message in (
        ("pair_style pace", "not a committee file"),
        ("[1, 2]", "JSON, but not a committee of ase_hal"),
        ('{"format": "another"}', "JSON, but not a committee of ase_hal"),
        ('{"format": "ase_hal surface"}', "is an ase_hal surface, not an ase_hal linear comm"),
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=message):
            read_committee(path)
    with pytest.raises(ValueError, match=r"ends in \.json, got 'model.yace'"):
        read_committee(tmp_path / "model.yace")
    potentials().write(path)
    with pytest.raises(ValueError, match="is an ase_hal calculator committee, not an ase_hal lin"):
        LinearCommittee.read(path)
    linear_committee().write(path)
    with pytest.raises(ValueError, match="is an ase_hal linear committee, not an ase_hal calc"):
        CalculatorCommittee.read(path)


@pytest.mark.parametrize("kind", ["linear", "networks", "calculators"])
def test_damage_is_noticed(kind, potentials, tmp_path):
    path = tmp_path / "model.json"
    made = {"linear": linear_committee, "networks": network_committee, "calculators": potentials}
    made[kind]().write(path)
    header, arrays = json.loads(path.read_text()), (tmp_path / "model.npz").read_bytes()
    (tmp_path / "model.npz").write_bytes(arrays[:-1] + bytes([arrays[-1] ^ 1]))
    with pytest.raises(ValueError, match="damaged or belongs to another model"):
        read_committee(path)
    (tmp_path / "model.npz").write_bytes(arrays)
    path.write_text(json.dumps({**header, "version": 99}))
    with pytest.raises(ValueError, match="has format version 99; this ase_hal reads"):
        read_committee(path)
    del header["force_scale"]
    path.write_text(json.dumps(header))
    with pytest.raises(ValueError, match="not a complete committee file: 'force_scale'"):
        read_committee(path)


def test_the_cutoff_is_that_of_the_basis():
    for committee in (linear_committee(), network_committee()):
        assert committee.cutoff == 5.5  # of the pair part
    assert linear_committee(basis()).cutoff == 4.5
    assert isinstance(network_committee(), NetworkCommittee)


def test_potentials_in_threads(potentials, texts):
    """Both by way of a committee and one that threads share as it is."""
    some = [atoms for atoms in structures()[:60] if atoms.pbc.all() or not atoms.pbc.any()]
    alone = potentials()
    expected = [bits(alone.predict(atoms, members=True)) for atoms in some]
    order = np.random.default_rng(0).permutation(np.tile(np.arange(len(some)), 2))
    shared = potentials()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda i: bits(shared.predict(some[i], members=True)), order))
    assert found == [expected[i] for i in order]

    potential = FittedPotential(texts[0], "PyACECalculator", ("Al", "Cu"), BASELINE)

    def asked(i):
        energy = potential.get_property("energy", some[i])
        return energy, potential.get_property("forces", some[i]).tobytes()

    expected = [asked(i) for i in range(len(some))]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(asked, order)) == [expected[i] for i in order]
    for other in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
        assert other.get_property("energy", some[0]) == expected[0][0]
