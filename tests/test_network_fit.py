"""Networks: derivatives, training, reproducibility, files, and use as any other committee."""

import pickle
import subprocess
import sys
from functools import cache
from importlib.util import find_spec
from itertools import pairwise

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.singlepoint import SinglePointCalculator
from datasets_emt import al_cu_basis, al_cu_dataset

from ase_hal import NetworkCommittee, NetworkFit, Weights
from ase_hal.calculators import HALCalculator
from ase_hal.committee import Committee
from ase_hal.dynamics import EvolutionExplorer, Relaxation
from ase_hal.metrics import compare
from ase_hal.network_fit import Training
from ase_hal.network_samples import inputs_and_jacobian
from ase_hal.network_training import _Adam
from ase_hal.networks import Components, columns_of, energies_and_slopes
from ase_hal.repulsion import ZBL
from ase_hal.uncertainty import relative_force_error

pytestmark = pytest.mark.skipif(find_spec("torch") is None, reason="needs ase-hal[torch]")

FEW = Training(epochs=15)


def fitted(seed=0, n=20, **keywords):
    keywords = {"members": 4, "training": FEW, **keywords}
    fit = NetworkFit(al_cu_basis(), **keywords)
    return fit(al_cu_dataset()[:n], rng=np.random.default_rng(seed))


@cache
def committee():
    return fitted(repulsion=ZBL(0.9, 2.6))


@pytest.fixture
def atoms():
    atoms = al_cu_dataset()[30].copy()
    atoms.set_cell(atoms.cell.array @ [[1, 0.02, 0], [0, 1.01, 0], [0.01, 0, 1]], scale_atoms=True)
    return atoms


def test_slopes_of_networks():
    rng = np.random.default_rng(0)
    sizes = [5, 4, 3, 1]
    layers = [(rng.normal(size=(2, i, o)), rng.normal(size=(2, 1, o))) for i, o in
              pairwise(sizes)]  # fmt: skip
    x = rng.normal(size=(6, 5))
    _, slopes = energies_and_slopes(x, layers, np.tanh)
    for column in range(5):
        step = np.zeros(5)
        step[column] = 1e-5
        ends = [energies_and_slopes(x + s * step, layers, np.tanh)[0] for s in (1, -1)]
        assert slopes[..., column] == pytest.approx((ends[0] - ends[1]) / 2e-5, abs=1e-8)


def test_components_are_uncorrelated_and_ordered():
    rng = np.random.default_rng(1)
    raw = rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)) + 3
    raw[:, 2] = 7.0  # never varies
    x = Components.of(np.arange(6), raw)(raw)
    covariance = np.cov(x.T, bias=True)
    variances = np.diag(covariance)
    assert covariance == pytest.approx(np.diag(variances), abs=1e-12)
    assert variances[0] == pytest.approx(1)
    assert (np.diff(variances) <= 1e-12).all()
    assert variances[-1] == pytest.approx(0, abs=1e-20)


def test_jacobians_against_the_adjoint_of_the_kernel(atoms):
    basis, m = al_cu_basis(), 5
    evaluator = basis.evaluator()
    descriptors = evaluator.atomic_descriptors(atoms)
    components = {
        element: Components.of(columns, descriptors[atoms.symbols == element][:, columns])
        for element, columns in columns_of(basis).items()
    }
    inputs, jacobian = inputs_and_jacobian(evaluator, components, m, atoms)
    mixture = np.random.default_rng(0).normal(size=inputs.shape)
    weights = np.zeros_like(descriptors)
    for element, c in components.items():
        some = np.flatnonzero(atoms.symbols == element)
        weights[np.ix_(some, c.columns)] = mixture[some] @ c.vectors[:, :m].T
    evaluator.atomic_descriptors(atoms)
    forces, virial = evaluator.atomic_forces(weights)
    expected = np.concatenate([forces.ravel(), virial])
    found = -np.einsum("nm,nmc->c", mixture, jacobian)
    assert found == pytest.approx(expected, abs=1e-6 * np.abs(expected).max())


@pytest.mark.parametrize("tau", [0.0, 0.7])
def test_biased_forces_and_stress_are_derivatives(atoms, tau):
    atoms.calc = HALCalculator(committee(), tau=tau)
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 3])
    assert atoms.get_forces()[[0, 3]] == pytest.approx(numerical, abs=2e-6)
    assert atoms.get_stress() == pytest.approx(
        calculate_numerical_stress(atoms, eps=1e-5, voigt=True), abs=1e-8
    )
    assert np.abs(committee().predict(atoms).energy_std_gradient).max() > 1e-3


def test_members_agree_with_mean_and_sigma(atoms):
    prediction = committee().predict(atoms, members=True)
    energies, forces = prediction.member_energies, prediction.member_forces
    assert prediction.energy == pytest.approx(energies.mean())
    assert prediction.forces == pytest.approx(forces.mean(axis=0))
    assert prediction.model_std == pytest.approx(energies.std())
    noise = committee().noise_std * np.sqrt(len(atoms))
    assert prediction.energy_std == pytest.approx(np.hypot(energies.std(), noise))
    slope = -np.tensordot(energies - energies.mean(), forces, axes=1)
    gradient = slope / (len(energies) * prediction.energy_std)
    assert prediction.energy_std_gradient == pytest.approx(gradient)
    assert isinstance(committee(), Committee)


class TestTraining:
    def test_adam_is_that_of_torch(self):
        import torch

        ours = torch.linspace(-1, 1, 6).reshape(3, 2).requires_grad_()
        theirs = ours.detach().clone().requires_grad_()
        adam, reference = _Adam(torch, [ours]), torch.optim.Adam([theirs], lr=1e-2)
        for _ in range(50):
            (ours**4).sum().backward()
            adam.step(1e-2)
            reference.zero_grad()
            (theirs**4).sum().backward()
            reference.step()
        assert ours.detach().numpy() == pytest.approx(theirs.detach().numpy(), abs=1e-6)

    def test_it_beats_a_constant(self):
        held_out = al_cu_dataset()[30:]
        comparison = compare(committee(), held_out)
        errors = comparison.errors()
        assert errors.forces_rmse < 0.15 * comparison.forces_label.std()
        assert errors.energy_rmse < 0.15 * comparison.energy_label.std()

    @pytest.mark.slow
    def test_the_defaults_are_better_than_where_they_start_and_say_how_wrong_they_are(self):
        """Eight networks of 10-10 on thirty structures, judged on ten others."""
        held_out = al_cu_dataset()[30:]
        found = []
        for training in (Training(epochs=0), None):
            fit = NetworkFit(al_cu_basis(), training=training)
            model = fit(al_cu_dataset()[:30], rng=np.random.default_rng(0))
            found.append(compare(model, held_out).errors())
        assert len(model) == 8
        layers = model.networks["Al"].layers
        assert [weights.shape[1:] for weights, _ in layers] == [(24, 10), (10, 10), (10, 1)]
        assert found[1].energy_rmse < 0.7 * found[0].energy_rmse
        assert found[1].forces_rmse < 0.95 * found[0].forces_rmse
        z = []
        for atoms in held_out:
            prediction = model.predict(atoms)
            z.append((prediction.energy - atoms.calc.results["energy"]) / prediction.energy_std)
        assert 0.3 < np.sqrt(np.mean(np.square(z))) < 2

    def test_networks_alone_learn_from_forces(self):
        """Without the linear term; more training, less error, on what was not seen."""
        found = []
        for epochs in (0, 15):
            model = fitted(
                linear_term=False, n_components=40, members=2, n=30,
                training=Training(epochs=epochs, learning_rate=0.01),
            )  # fmt: skip
            found.append(compare(model, al_cu_dataset()[30:]))
        constant = found[0].forces_label.std()
        assert found[0].errors().forces_rmse > 0.9 * constant
        assert found[1].errors().forces_rmse < 0.5 * constant

    def test_the_same_generator_gives_the_same_committee(self, atoms):
        one, same, other = (fitted(seed, n=6).predict(atoms, members=True) for seed in (3, 3, 4))
        assert np.array_equal(one.member_forces, same.member_forces)
        assert not np.array_equal(one.member_energies, other.member_energies)

    def test_members_differ_and_more_where_nothing_is_known(self, atoms):
        compressed = atoms.copy()
        compressed.set_cell(atoms.cell * 0.85, scale_atoms=True)
        near, far = (committee().predict(a).model_std for a in (atoms, compressed))
        assert 0 < near < far / 3

    def test_structures_of_different_kinds(self):
        """A molecule without a cell, an element alone, energies only."""
        dataset = [*al_cu_dataset()[:4]]
        pair = Atoms("Al2", [[0, 0, 0], [2.6, 0, 0]])
        results = {"energy": 1.0, "forces": np.array([[0.5, 0, 0], [-0.5, 0, 0]])}
        pair.calc = SinglePointCalculator(pair, **results)
        dataset.append(pair)
        single = al_cu_dataset()[5].copy()
        single.calc = SinglePointCalculator(single, energy=2.0)
        dataset.append(single)
        model = NetworkFit(al_cu_basis(), members=2, training=Training(epochs=2))(
            dataset, rng=np.random.default_rng(0)
        )
        assert np.isfinite(model.predict(pair).forces).all()
        assert model.predict(pair).stress is None

    def test_an_element_that_no_structure_has(self):
        pure = [a for a in al_cu_dataset() if set(a.symbols) == {"Al"}][:3]
        model = NetworkFit(al_cu_basis(), members=2, training=Training(epochs=1))(
            pure, rng=np.random.default_rng(0)
        )
        assert np.isfinite(model.predict(al_cu_dataset()[0]).energy)

    def test_relative_force_weights(self):
        """Small forces count more, large ones less."""
        relative = Weights(energy=1.0, virial=0.0, force_floor=0.05)
        plain, weighted = (
            fitted(weights=w, members=2, training=Training(epochs=0), n=30)
            for w in (Weights(energy=1.0, virial=0.0), relative)
        )
        ratios = []
        for model in (plain, weighted):
            c = compare(model, al_cu_dataset()[:30])
            error, size = np.abs(c.forces - c.forces_label), np.abs(c.forces_label)
            small = size < np.quantile(size, 0.3)
            ratios.append(error[small].mean() / error[~small].mean())
        assert ratios[1] < ratios[0]

    def test_a_label_that_hardly_counts_spoils_nothing(self):
        """Neither networks nor one-body energies nor the noise of sigma."""
        absurd = al_cu_dataset()[0].copy()
        forces = np.full((len(absurd), 3), 19.0)  # below the bound
        absurd.calc = SinglePointCalculator(absurd, energy=1e7, forces=forces)

        def weights(atoms):
            return Weights(1e-9, 1e-9, 1e-9) if atoms is absurd else Weights()

        fit = NetworkFit(al_cu_basis(), members=2, weights=weights, training=FEW)
        noises, errors = [], []
        for dataset in (al_cu_dataset()[:20], [*al_cu_dataset()[:20], absurd]):
            model = fit(dataset, rng=np.random.default_rng(0))
            noises.append(model.noise_std)
            errors.append(compare(model, al_cu_dataset()[30:]).errors().forces_rmse)
        # another bootstrap, too
        assert noises[1] < 2 * noises[0]
        assert errors[1] < 1.5 * errors[0]


class TestFiles:
    def test_what_is_read_predicts_the_same(self, tmp_path, atoms):
        committee().write(tmp_path / "model.json")
        again = NetworkCommittee.read(tmp_path / "model.json")
        for one, other in (
            (again, committee()),
            (pickle.loads(pickle.dumps(committee())), committee()),
        ):
            a, b = one.predict(atoms, members=True), other.predict(atoms, members=True)
            assert a.energy_std == b.energy_std
            assert np.array_equal(a.member_forces, b.member_forces)

    def test_evaluation_needs_neither_torch_nor_python_ace(self, tmp_path):
        committee().write(tmp_path / "model.json")
        code = (
            "import sys; from ase.build import bulk; from ase_hal import NetworkCommittee\n"
            "committee = NetworkCommittee.read('model.json')\n"
            "committee.predict(bulk('Al', cubic=True), members=True)\n"
            "assert not {'torch', 'pyace'} & set(sys.modules), 'imported'"
        )
        subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)

    def test_other_files_are_refused(self, tmp_path):
        path = tmp_path / "model.json"
        committee().write(path)
        text = path.read_text()
        path.write_text(text.replace("network committee", "linear committee"))
        with pytest.raises(ValueError, match="linear committee, not an ase_hal network committee"):
            NetworkCommittee.read(path)
        path.write_text(text)
        with (tmp_path / "model.npz").open("ab") as file:
            file.write(b"x")
        with pytest.raises(ValueError, match="damaged"):
            NetworkCommittee.read(path)


def test_explorers_and_criteria_take_it():
    explore = EvolutionExplorer(Relaxation(alpha=1.0, steps=3), walkers=1)
    found = explore(committee(), dataset=al_cu_dataset()[:3], rng=np.random.default_rng(0))
    assert len(found) == 1
    assert relative_force_error(committee().predict(found[0], members=True)).max() > 0


class TestErrors:
    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"members": 1}, "at least two members, got 1"),
            ({"hidden": ()}, "at least one unit"),
            ({"n_components": 0}, "at least one unit"),
            ({"one_body": {"Al": 0.0}}, "one_body lacks Cu"),
            ({"force_bound": 0.0}, "force_bound is a positive force"),
        ],
    )
    def test_arguments(self, keywords, message):
        with pytest.raises(ValueError, match=message):
            NetworkFit(al_cu_basis(), **keywords)

    def test_training(self):
        with pytest.raises(ValueError, match="epochs >= 0"):
            Training(epochs=-1)

    def test_datasets(self):
        fit, rng = NetworkFit(al_cu_basis(), members=2), np.random.default_rng(0)
        with pytest.raises(ValueError, match="dataset is empty"):
            fit([], rng=rng)
        with pytest.raises(TypeError, match="rng must be"):
            fit(al_cu_dataset()[:1], rng=0)
        with pytest.raises(ValueError, match="structure 1 of the dataset: it has no labels"):
            fit([al_cu_dataset()[0], al_cu_dataset()[1].copy()], rng=rng)
        nickel = al_cu_dataset()[1].copy()
        nickel.symbols[0] = "Ni"
        nickel.calc = SinglePointCalculator(nickel, energy=0.0)
        with pytest.raises(ValueError, match="structure 0 of the dataset: it has Ni"):
            fit([nickel], rng=rng)

    def test_a_committee_of_parts_that_do_not_fit(self):
        good = committee()
        with pytest.raises(ValueError, match="networks of Al for a basis of Al, Cu"):
            NetworkCommittee(
                good.basis, {"Al": good.networks["Al"]}, baseline=good.baseline, noise_std=0.0,
                force_scale=1.0,
            )  # fmt: skip
        with pytest.raises(ValueError, match="cell with a volume"):
            good.predict(Atoms("Al"), stress=True)
