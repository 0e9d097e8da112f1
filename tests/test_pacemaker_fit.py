"""Committees fitted by commands: pacemaker for real, and every way in which a command can fail."""

import contextlib
import copy
import logging
import os
import pickle
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pandas as pd
import pytest
import yaml
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from ase.constraints import FixAtoms
from datasets_emt import al_cu_basis, al_cu_dataset, labelled, rattled

from ase_hal import CalculatorCommittee, LinearFit, PacemakerFit, Weights, learn, read_committee
from ase_hal.ace import ACEBasis
from ase_hal.baseline import Baseline
from ase_hal.calculators import HALCalculator
from ase_hal.external_command import Execution, run_command
from ase_hal.external_fit import Draw, Targets, member_records
from ase_hal.fitted_potential import FittedPotential
from ase_hal.metrics import compare
from ase_hal.pacemaker_fit import _text
from ase_hal.repulsion import ZBL

# Hands back the start as if it were the result; numbers after the name fail in a way each.
FAKE = """
import re, shutil, sys, time
from pathlib import Path

here = Path.cwd()
number = here.name.removeprefix("member-")
ways = dict(word.split("=") for word in sys.argv[1:] if "=" in word)
way = ways.get(number, ways.get("all", "good"))
print("fitting member", number)
Path("began").write_text(str(time.time()))
if way == "fail":
    print("no such luck")
    sys.exit(3)
if way == "hang":
    time.sleep(600)
if way == "wait":
    deadline = time.time() + 60
    while len(list(here.parent.glob("member-*/began"))) < 2 and time.time() < deadline:
        time.sleep(0.05)
if way == "nan":
    text = Path("start.yaml").read_text()
    Path("output_potential.yaml").write_text(re.sub(r"c: \\[[^,]+,", "c: [.nan,", text))
elif way != "nothing":
    shutil.copy("start.yaml", "output_potential.yaml")
Path("ended").write_text(str(time.time()))
"""


@cache
def basis():
    return ACEBasis(("Al",), rcut=4.2, nradmax_by_orders=[4, 2], lmax_by_orders=[0, 1])


@cache
def dataset():
    return tuple(rattled("Al", 10, rng=np.random.default_rng(5), repeat=1))


@pytest.fixture
def fake(tmp_path):
    """An Execution of the stand-in for pacemaker, with words for what goes wrong."""
    program = tmp_path / "fake.py"
    program.write_text(FAKE)

    def execution(*ways, **keywords):
        command = " ".join([sys.executable, str(program), *ways])
        return Execution(command, directory=tmp_path / "fits", **keywords)

    return execution


def fitted(execution, seed=0, members=3, **keywords):
    fit = PacemakerFit(basis(), members=members, execution=execution, **keywords)
    return fit(dataset(), rng=np.random.default_rng(seed))


def losses(folder):
    """What pacemaker should minimise in a folder, at the start and at the end."""
    document = yaml.safe_load((folder / "input.yaml").read_text())
    table = pd.read_pickle(folder / "data.pckl.gzip", compression="gzip")
    total = table.w_energy.sum() + sum(w.sum() for w in table.w_forces)
    found = []
    for name in ("start.yaml", "output_potential.yaml"):
        text = (folder / name).read_text()
        potential = FittedPotential(text, "PyACECalculator", ("Al",), Baseline({"Al": 0.0}))
        loss = 0.0
        for row in table.itertuples():
            energy = potential.get_property("energy", row.ase_atoms) - row.energy
            forces = potential.get_property("forces", row.ase_atoms) - row.forces
            loss += row.w_energy * (energy / len(row.ase_atoms)) ** 2
            loss += (row.w_forces[:, None] * forces**2).sum()
        blocks = yaml.safe_load(text)["species"]
        squares = sum(c**2 for block in blocks for f in block["nbody"] for c in f["c"])
        found.append(loss / total + document["fit"]["loss"]["L2_coeffs"] * squares)
    return found


@pytest.mark.slow
def test_pacemaker_for_real(tmp_path):
    weights = Weights(energy=5.0, forces=1.0)
    execution = Execution(directory=tmp_path, timeout=300)
    committee = fitted(execution, members=2, weights=weights, iterations=2)
    assert isinstance(committee, CalculatorCommittee)
    assert len(committee) == 2
    for number in range(2):
        folder = tmp_path / "fit-1" / f"member-{number}"
        start, end = losses(folder)
        assert end < start
        header, first = (folder / "metrics.txt").read_text().splitlines()[:2]
        reported = dict(zip(header.split(), first.split(), strict=True))["loss"]
        assert float(reported) == pytest.approx(start, rel=1e-6)
    errors = compare(committee, dataset()).errors()
    forces = np.concatenate([a.calc.results["forces"].ravel() for a in dataset()])
    assert errors.forces_rmse < 0.2 * forces.std()
    atoms = dataset()[0].copy()
    prediction = committee.predict(atoms, members=True)
    assert prediction.model_std > 0
    atoms.calc = HALCalculator(committee, tau=0.5)
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[1])
    assert atoms.get_forces()[[1]] == pytest.approx(numerical, abs=1e-5)
    assert atoms.get_stress() == pytest.approx(
        calculate_numerical_stress(atoms, eps=1e-5, voigt=True), abs=1e-7
    )


class TestStart:
    def test_it_is_nonlinear_and_as_good_as_a_linear_fit(self, fake):
        committee = fitted(fake())
        linear = LinearFit(basis())(dataset(), rng=np.random.default_rng(0))
        nonlinear, reference = (compare(c, dataset()).errors() for c in (committee, linear))
        assert nonlinear.forces_rmse < 1.5 * reference.forces_rmse
        potentials = [yaml.safe_load(m.text) for m in committee.calculators]
        second = [[f["c"][1] for block in p["species"] for f in block["nbody"]] for p in potentials]
        assert np.abs(second).min() > 0
        assert np.abs(np.subtract(second[0], second[1])).max() > 1e-3

    def test_it_is_the_ridge_where_one_density_is_all(self, fake):
        """Coefficients reach their functions: the same potential by two evaluators."""
        embedding = {"npot": "FinnisSinclair", "fs_parameters": [1, 1], "ndensity": 1}
        basis = ACEBasis(("Al", "Cu"), rcut=4.5, nradmax_by_orders=[3, 2], lmax_by_orders=[0, 1])
        data = al_cu_dataset()[:8]
        fit = PacemakerFit(basis, members=2, embedding=embedding, execution=fake())
        items, baseline = fit.targets.observe(data, basis.cutoff)
        start, _ = fit._start(items, baseline, Draw(1, np.ones(8, dtype=int)))
        linear = LinearFit(basis)(data, rng=np.random.default_rng(0))
        calculator = FittedPotential(_text(start), "PyACECalculator", ("Al", "Cu"), baseline)
        for atoms in data[:2]:
            expected = linear.predict(atoms)
            assert calculator.get_property("energy", atoms) == pytest.approx(expected.energy)
            forces = calculator.get_property("forces", atoms)
            assert forces == pytest.approx(expected.forces, abs=1e-5)

    def test_fixed_atoms_stay_out_where_a_part_is_taken_off_the_labels(self, fake):
        """Zeroed forces made the regularisation ten thousand times too strong."""
        slabs = [a.copy() for a in dataset()]
        for atoms, labels in zip(slabs, dataset(), strict=True):
            results = {**labels.calc.results, "forces": labels.calc.results["forces"].copy()}
            results["forces"][:2] = 0.0
            atoms.set_constraint(FixAtoms([0, 1]))
            atoms.calc = SinglePointCalculator(atoms, **results)
        strengths = []
        for data in (slabs, dataset()):
            fit = PacemakerFit(basis(), members=2, execution=fake())
            items, baseline = fit.targets.observe(data, 4.2)
            counts = np.ones(len(items), dtype=int)
            strengths.append(fit._start(items, baseline, Draw(1, counts))[1])
        assert strengths[0] < 30 * strengths[1]

    def test_the_same_generator_gives_the_same_committee(self, fake):
        one, same, other = (fitted(fake(), seed, members=2) for seed in (1, 1, 2))
        texts = [[m.text for m in c.calculators] for c in (one, same, other)]
        assert texts[0] == texts[1]
        assert texts[0][0] != texts[0][1]
        assert texts[0] != texts[2]

    def test_repulsion_and_one_body_energies_come_back(self, fake):
        """What is subtracted from the labels is added to the predictions."""
        keywords = {"repulsion": ZBL(1.0, 3.4), "one_body": {"Al": -50.0}}
        shifted = []
        for atoms in dataset():
            copied = atoms.copy()
            energy = atoms.calc.results["energy"] - 50 * len(atoms)
            results = {**atoms.calc.results, "energy": energy}
            copied.calc = SinglePointCalculator(copied, **results)
            shifted.append(copied)
        fit = PacemakerFit(basis(), members=2, execution=fake(), **keywords)
        committee = fit(shifted, rng=np.random.default_rng(0))
        errors = compare(committee, shifted).errors()
        assert errors.energy_rmse < 0.02
        atoms = shifted[0].copy()
        atoms.calc = committee.calculators[0]
        assert atoms.get_stress() == pytest.approx(
            calculate_numerical_stress(atoms, eps=1e-5, voigt=True), abs=1e-7
        )


class TestCommands:
    def test_a_failed_member_is_left_out(self, fake, caplog):
        with caplog.at_level(logging.WARNING):
            committee = fitted(fake("1=fail"))
        assert len(committee) == 2
        assert "member 1: it ended with exit status 3" in caplog.text
        assert "no such luck" in caplog.text

    @pytest.mark.parametrize(
        ("way", "reason"),
        [
            ("fail", r"exit status 3; the end of its log:\nfitting member 1\nno such luck"),
            ("hang", "member 1: it was killed after 4 s"),
            ("nothing", "member 1: its command ended without writing output_potential.yaml"),
            ("nan", "member 1: its"),
        ],
    )
    def test_one_member_is_no_committee(self, fake, way, reason):
        start = time.monotonic()
        with pytest.raises(RuntimeError, match=f"(?s)1 of 2 members could not be fitted.*{reason}"):
            fitted(fake(f"1={way}", timeout=4 if way == "hang" else None), members=2)
        assert time.monotonic() - start < 200

    def test_members_run_side_by_side(self, fake):
        """Each waits for the other to begin."""
        with ThreadPoolExecutor(2) as executor:
            fitted(fake("all=wait", executor=executor), members=2)
        folders = sorted(fake().directory.glob("fit-1/member-*"))
        begun, ended = (
            [float((f / name).read_text()) for f in folders] for name in ("began", "ended")
        )
        assert max(begun) < min(ended)
        assert max(ended) - min(begun) < 55

    def test_the_end_of_a_fit_ends_its_commands(self, fake):
        execution = fake("all=hang")
        words = execution.words("pacemaker", "")
        with ThreadPoolExecutor(1) as pool:
            future = None
            with contextlib.suppress(KeyboardInterrupt), execution.folder() as folder:
                (folder / "member-0").mkdir()
                future = pool.submit(run_command, words, str(folder / "member-0"), None)
                while not (folder / "member-0" / "began").exists():
                    time.sleep(0.05)
                raise KeyboardInterrupt
            assert future.result(timeout=30) == "it was stopped"

    def test_files_are_kept_where_asked(self, fake):
        for _ in range(2):
            fitted(fake(), members=2)
        assert sorted(p.name for p in fake().directory.iterdir()) == ["fit-1", "fit-2"]
        names = {p.name for p in (fake().directory / "fit-2" / "member-1").iterdir()}
        assert {"input.yaml", "data.pckl.gzip", "command.log", "output_potential.yaml"} <= names

    def test_no_files_are_left_otherwise(self, fake, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "scratch"))
        (tmp_path / "scratch").mkdir()
        fitted(Execution(fake().command), members=2)
        assert not list((tmp_path / "scratch").iterdir())

    def test_a_command_that_is_not_there(self):
        with pytest.raises(FileNotFoundError, match="no command 'pacemakr': .*python-ace"):
            PacemakerFit(basis(), execution=Execution("pacemakr --fast"))

    def test_a_command_beside_python_needs_no_path(self, monkeypatch):
        monkeypatch.setenv("PATH", os.devnull)
        words = PacemakerFit(basis()).execution.words("pacemaker", "")
        assert os.access(words[0], os.X_OK)


class TestTargets:
    def test_weights_are_those_of_a_linear_fit(self):
        """The loss of the table is the sum of squared weighted residuals."""
        weights = Weights(energy=3.0, forces=0.7, virial=0.2, force_floor=0.1)
        bound = 0.8 * max(np.abs(a.calc.results["forces"]).max() for a in dataset()[:2])
        targets = Targets(("Al",), weights, {"Al": 0.3}, None, bound)
        items, baseline = targets.observe(dataset(), 4.2)
        draw = Draw(1, np.array([2, 1, *[0] * 8]))
        records = member_records(items, ("Al",), baseline, draw, 4.2)
        assert len(records) == 2
        for atoms, record, count in zip(dataset()[:2], records, (2, 1), strict=True):
            n, forces = len(atoms), atoms.calc.results["forces"]
            assert record.energy == pytest.approx(atoms.calc.results["energy"] - 0.3 * n)
            excess = max(np.abs(forces).max() / bound, 1.0)
            share = np.mean(np.abs(forces) <= bound) / excess**2
            assert record.energy_weight / n**2 == pytest.approx(count * 3.0**2 / n * share**2)
            size = (np.sum(forces**2, axis=1) + 0.1**2) * excess**4
            small = (np.abs(forces) <= bound).all(axis=1)
            assert record.force_weights == pytest.approx(np.where(small, count * 0.49 / size, 0))
            assert small.any()
            assert record.virial_weight == pytest.approx(count * 0.2**2 / n * share**2)
            assert record.virial == pytest.approx(-atoms.cell.volume * atoms.calc.results["stress"])

    def test_a_rare_element_is_in_every_bootstrap(self, fake):
        data = [*dataset(), *al_cu_dataset()[:1]]
        assert "Cu" in data[-1].symbols
        basis = ACEBasis(("Al", "Cu"), rcut=4.2, nradmax_by_orders=[2], lmax_by_orders=[0])
        PacemakerFit(basis, members=6, execution=fake())(data, rng=np.random.default_rng(0))
        for path in fake().directory.glob("fit-1/member-*/data.pckl.gzip"):
            table = pd.read_pickle(path, compression="gzip")
            assert any("Cu" in atoms.symbols for atoms in table.ase_atoms)

    def test_energies_alone_and_structures_of_other_kinds(self, fake):
        """A slab, a molecule, and no forces anywhere."""
        slab = dataset()[0].copy()
        slab.pbc = [True, True, False]
        pair = Atoms("Al2", [[0, 0, 0], [2.7, 0, 0]])
        data = []
        for atoms in [*dataset()[:4], labelled(slab), labelled(pair)]:
            data.append(atoms.copy())
            data[-1].calc = SinglePointCalculator(data[-1], energy=atoms.calc.results["energy"])
        fit = PacemakerFit(basis(), members=2, execution=fake())
        committee = fit(data, rng=np.random.default_rng(0))
        assert np.isfinite(committee.predict(pair).forces).all()
        document = yaml.safe_load((fake().directory / "fit-1/member-0/input.yaml").read_text())
        assert document["fit"]["loss"]["kappa"] == 0

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"members": 1}, "at least two members, got 1"),
            ({"iterations": 0}, "iterations must be at least 1"),
            ({"one_body": {"Cu": 0.0}}, "one_body lacks Al"),
            ({"force_bound": 0.0}, "force_bound is a positive force"),
            ({"embedding": {"ndensity": 2}}, "an embedding has npot, fs_parameters, ndensity"),
            (
                {"embedding": {"npot": "FS", "fs_parameters": [1, 1], "ndensity": 1}},
                "npot is one of FinnisSinclair",
            ),
            (
                {"embedding": {"npot": "FinnisSinclair", "fs_parameters": [1, 1], "ndensity": 2}},
                "a factor and an exponent for each density",
            ),
        ],
    )
    def test_arguments(self, keywords, message):
        with pytest.raises(ValueError, match=message):
            PacemakerFit(basis(), **keywords)

    def test_execution(self):
        with pytest.raises(ValueError, match="timeout is a positive number"):
            Execution(timeout=0)
        with pytest.raises(ValueError, match="command is empty"):
            Execution(" ")
        with pytest.raises(TypeError, match="submit method, got int"):
            Execution(executor=4)

    def test_a_pair_part_is_refused(self):
        with pytest.raises(ValueError, match="one cutoff for each pair of elements"):
            PacemakerFit(al_cu_basis())

    def test_datasets(self, fake):
        fit, rng = PacemakerFit(basis(), members=2, execution=fake()), np.random.default_rng(0)
        two = ACEBasis(("Al", "Cu"), rcut=4.2, nradmax_by_orders=[2], lmax_by_orders=[0])
        with pytest.raises(TypeError, match="rng must be"):
            fit(dataset(), rng=0)
        with pytest.raises(ValueError, match="two structures at least, got 1"):
            fit(dataset()[:1], rng=rng)
        with pytest.raises(ValueError, match="structure 1 of the dataset: it has no labels"):
            fit([dataset()[0], dataset()[1].copy()], rng=rng)
        with pytest.raises(ValueError, match="structure 0 of the dataset: it has Cu"):
            fit(al_cu_dataset()[:2], rng=rng)
        with pytest.raises(ValueError, match="no structure of the dataset has Cu"):
            PacemakerFit(two, members=2, execution=fake())(dataset(), rng=rng)
        assert not fake().directory.exists()


class TestPotential:
    @pytest.fixture
    def potential(self, fake):
        return fitted(fake(), members=2).calculators[0]

    def test_copies_predict_the_same(self, potential, fake):
        atoms = dataset()[2]
        energy = potential.get_property("energy", atoms)
        for other in (copy.deepcopy(potential), pickle.loads(pickle.dumps(potential))):
            assert other.get_property("energy", atoms) == energy

    def test_the_committee_of_a_fit_is_written_and_read(self, fake, tmp_path):
        committee, atoms = fitted(fake(), members=2), dataset()[2]
        committee.write(tmp_path / "model.json")
        read = read_committee(tmp_path / "model.json")
        ours, theirs = read.predict(atoms, members=True), committee.predict(atoms, members=True)
        assert ours.energy_std == theirs.energy_std
        assert np.array_equal(ours.member_forces, theirs.member_forces)

    def test_a_slab_is_what_it_is_in_a_large_cell(self, potential):
        slab = dataset()[0].copy()
        slab.center(vacuum=1.0, axis=2)
        large = slab.copy()
        large.center(vacuum=8.0, axis=2)
        slab.pbc = [True, True, False]
        slab.calc, large.calc = potential, copy.deepcopy(potential)
        assert slab.get_potential_energy() == pytest.approx(large.get_potential_energy())
        assert slab.get_forces() == pytest.approx(large.get_forces(), abs=1e-10)
        assert slab.get_stress() == pytest.approx(
            calculate_numerical_stress(slab, eps=1e-5, voigt=True), abs=1e-7
        )
        flat = slab.copy()
        flat.cell[2] = 0
        assert potential.get_property("energy", flat) == pytest.approx(large.get_potential_energy())

    def test_one_atom_has_its_energy_alone(self, potential):
        expected = potential.baseline.one_body["Al"]
        assert potential.get_property("energy", Atoms("Al")) == pytest.approx(expected)

    def test_written_files_are_read_by_pacemaker(self, potential, tmp_path):
        potential.write(tmp_path / "member.yaml")
        assert (tmp_path / "member.yaml").read_text() == potential.text


def test_the_loop_takes_it(fake):
    fit = PacemakerFit(basis(), members=2, execution=fake())

    def explore(committee, *, dataset, rng):
        atoms = dataset[0].copy()
        atoms.rattle(0.05, rng=rng)
        return [atoms]

    seeds, rng = list(dataset()[:4]), np.random.default_rng(0)
    steps = list(learn(seeds, fit, explore, EMT, rng=rng, max_iterations=1))
    assert len(steps[-1].dataset) == 5
    assert steps[-1].committee.elements == ("Al",)
