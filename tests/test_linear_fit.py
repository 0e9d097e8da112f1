"""LinearFit and LinearCommittee against closed forms, finite differences and symmetry."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc100
from ase.calculators.calculator import PropertyNotImplementedError
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from datasets_emt import al_cu_basis, al_cu_dataset, labelled, rattled
from sklearn.linear_model import BayesianRidge

from ase_hal import LinearCommittee, LinearFit, Weights
from ase_hal.ace import ACEBasis
from ase_hal.baseline import least_squares_one_body
from ase_hal.calculators import CommitteeCalculator, HALCalculator
from ase_hal.metrics import compare
from ase_hal.repulsion import ZBL


@pytest.fixture(scope="module")
def fit():
    return LinearFit(al_cu_basis(), repulsion=ZBL(1.0, 2.0))


@pytest.fixture(scope="module")
def committee(fit):
    return fit(al_cu_dataset(), rng=np.random.default_rng(1))


def structures():
    rng = np.random.default_rng(5)
    cell = next(rattled("Al", 1, rng=rng, second="Cu"))
    cell.calc = None
    slab = fcc100("Al", (2, 2, 3), vacuum=6.0)
    slab.symbols[:3] = "Cu"
    slab.rattle(0.08, seed=2)
    cluster = Atoms("Al3Cu2", rng.uniform(0, 4.5, (5, 3)))
    while np.min(cluster.get_all_distances()[np.triu_indices(5, 1)]) < 1.6:
        cluster.positions = rng.uniform(0, 4.5, (5, 3))
    return {"bulk": cell, "slab": slab, "molecule": cluster}


def by_hand(fit, dataset, weights_of, one_body):
    """The weighted design matrix, written down once more from its definition."""
    rows, targets = [], []
    for atoms in dataset:
        weights = weights_of(atoms)
        r, results, n = fit.basis.rows(atoms), atoms.calc.results, len(atoms)
        zbl = fit.repulsion.evaluate(atoms)
        w = weights.energy / np.sqrt(n)
        rows.append(w * r.energy[None])
        e0 = sum(one_body[s] for s in atoms.symbols)
        targets.append([w * (results["energy"] - e0 - zbl[0])])
        for i, force in enumerate(results["forces"]):
            w = weights.forces
            if weights.force_floor is not None:
                w /= np.sqrt(force @ force + weights.force_floor**2)
            rows.append(w * r.forces[i])
            targets.append(w * (force - zbl[1][i]))
        if weights.virial > 0:  # what has no weight is no observation
            w = weights.virial / np.sqrt(n)
            rows.append(w * r.virial)
            targets.append(w * (-atoms.cell.volume * results["stress"] - zbl[2]))
    return np.concatenate(rows), np.concatenate(targets)


def of_composition(atoms):
    """What has copper counts more, and its virials do not count."""
    return Weights(energy=30.0, forces=2.0, virial=0.0) if "Cu" in atoms.symbols else Weights()


@pytest.mark.parametrize(
    ("weights", "size"),
    [(Weights(), 40), (of_composition, 12), (Weights(40.0, 0.5, force_floor=0.2), 12)],
    ids=["one for all", "of composition", "relative forces"],
)
def test_posterior_is_scikit_learns(weights, size):
    dataset = al_cu_dataset()[:size]
    fit = LinearFit(al_cu_basis(), repulsion=ZBL(1.0, 2.0), weights=weights)
    committee = fit(dataset, rng=np.random.default_rng(1))
    weights_of = weights if callable(weights) else lambda atoms: weights
    rows, targets = by_hand(fit, dataset, weights_of, committee.baseline.one_body)
    oracle = BayesianRidge(fit_intercept=False, max_iter=20000, tol=1e-12).fit(rows, targets)
    assert committee.posterior.noise_precision == pytest.approx(oracle.alpha_, rel=1e-5)
    rng = np.random.default_rng(0)
    probe = rows[rng.choice(len(rows), 50)]
    np.testing.assert_allclose(
        probe @ committee.posterior.mean, probe @ oracle.coef_, rtol=1e-5, atol=1e-6
    )
    std = np.sqrt(np.einsum("ij,jk,ik->i", probe, committee.posterior.covariance, probe))
    expected = np.sqrt(np.einsum("ij,jk,ik->i", probe, oracle.sigma_, probe))
    np.testing.assert_allclose(std, expected, rtol=1e-4)
    noise = 1 / np.mean([weights_of(atoms).energy ** 2 for atoms in dataset])
    assert committee.noise_std == pytest.approx(np.sqrt(noise / oracle.alpha_), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
def test_relative_forces_teach_directions_where_forces_are_small(seed):
    """Near a minimum, from a dataset most of which is far away (Waters & Rondinelli 2024)."""
    rng = np.random.default_rng(seed)
    basis = ACEBasis(("Al",), rcut=4.5, nradmax_by_orders=[6, 3], lmax_by_orders=[0, 2])
    dataset = [
        *rattled("Al", 15, rng=rng, amplitude=0.25), *rattled("Al", 10, rng=rng, amplitude=0.01)
    ]  # fmt: skip
    near = list(rattled("Al", 10, rng=rng, amplitude=0.01))
    angles = [
        compare(LinearFit(basis, weights=weights)(dataset, rng=rng), near).errors().force_angle
        for weights in (Weights(), Weights(force_floor=0.05))
    ]
    assert angles[1] < 0.95 * angles[0]


def test_fit_learns(committee):
    held_out = list(rattled("Al", 10, rng=np.random.default_rng(99), second="Cu"))
    errors = compare(committee, held_out).errors()
    assert errors.energy_rmse < 0.01
    assert errors.forces_rmse < 0.15


def test_growing_dataset_gives_the_same_bits_as_a_fresh_fit():
    dataset = list(al_cu_dataset())
    grown = LinearFit(al_cu_basis())
    for n in (10, 11, 14):
        committee = grown(dataset[:n], rng=np.random.default_rng(1))
    fresh = LinearFit(al_cu_basis())(dataset[:14], rng=np.random.default_rng(1))
    assert np.array_equal(committee.posterior.mean, fresh.posterior.mean)
    assert np.array_equal(committee.members, fresh.members)


def test_rows_are_computed_once(monkeypatch):
    basis = copy.copy(al_cu_basis())
    calls = []
    original = type(basis).rows
    monkeypatch.setattr(
        type(basis), "rows", lambda self, atoms: calls.append(1) or original(self, atoms)
    )
    fit = LinearFit(basis)
    dataset = list(al_cu_dataset()[:8])
    fit(dataset, rng=np.random.default_rng(1))
    fit(dataset[2:], rng=np.random.default_rng(1))
    assert len(calls) == 8


@pytest.mark.parametrize("sigma", ["exact", "members"])
@pytest.mark.parametrize("kind", ["bulk", "slab", "molecule"])
@pytest.mark.parametrize("tau", [0.0, 0.7, 20.0])
def test_biased_forces_and_stress_are_derivatives(committee, sigma, kind, tau):
    model = copy.copy(committee)
    model.sigma = sigma
    atoms = structures()[kind]
    atoms.calc = HALCalculator(model, tau=tau)
    forces = atoms.get_forces()
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-9)
    h = 1e-4
    for index, axis in [(0, 0), (2, 1), (len(atoms) - 1, 2)]:
        energies = []
        for factor in (-2, -1, 1, 2):
            moved = atoms.copy()
            moved.positions[index, axis] += factor * h
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
        assert -slope == pytest.approx(forces[index, axis], abs=1e-6)
    if kind == "molecule":
        return
    stress = atoms.get_stress()
    for voigt, (i, j) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        energies = []
        for factor in (-2, -1, 1, 2):
            strain = np.eye(3)
            strain[i, j] += factor * h / 2
            strain[j, i] += factor * h / 2
            moved = atoms.copy()
            moved.set_cell(atoms.cell @ strain, scale_atoms=True)
            moved.calc = atoms.calc
            energies.append(moved.get_potential_energy())
        slope = (energies[0] - 8 * energies[1] + 8 * energies[2] - energies[3]) / (12 * h)
        assert slope / atoms.cell.volume == pytest.approx(stress[voigt], abs=1e-7)


@pytest.mark.parametrize("kind", ["bulk", "slab", "molecule"])
def test_predictions_are_invariant(committee, kind):
    atoms = structures()[kind]
    before = committee.predict(atoms, members=True)
    rng = np.random.default_rng(8)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    order = rng.permutation(len(atoms))
    moved = atoms.copy()[order]
    moved.positions += rng.uniform(-9, 9, 3)
    moved.set_cell(moved.cell @ rotation)
    moved.positions = moved.positions @ rotation
    after = committee.predict(moved, members=True)
    assert after.energy == pytest.approx(before.energy, abs=1e-9)
    assert after.energy_std == pytest.approx(before.energy_std, rel=1e-8)
    np.testing.assert_allclose(after.forces, before.forces[order] @ rotation, atol=1e-8)
    np.testing.assert_allclose(
        after.energy_std_gradient, before.energy_std_gradient[order] @ rotation, atol=1e-8
    )
    np.testing.assert_allclose(after.member_energies, before.member_energies, atol=1e-8)
    np.testing.assert_allclose(
        after.member_forces, before.member_forces[:, order] @ rotation, atol=1e-8
    )


def test_committee_sigma_is_the_spread_of_its_members(committee):
    model = copy.copy(committee)
    model.sigma = "members"
    atoms = structures()["bulk"]
    p = model.predict(atoms, members=True)
    spread = np.sqrt(np.mean((p.member_energies - p.energy) ** 2))
    assert p.model_std == pytest.approx(spread, rel=1e-10)
    assert p.energy_std**2 == pytest.approx(spread**2 + len(atoms) * model.noise_std**2)
    gradient = np.einsum("k,kij->ij", p.member_energies - p.energy, p.forces - p.member_forces) / (
        len(model.members) * p.energy_std
    )
    np.testing.assert_allclose(p.energy_std_gradient, gradient, atol=1e-9)


def test_many_members_approach_the_exact_sigma(committee):
    model = copy.copy(committee)
    model.members = committee.posterior.sample(4000, rng=np.random.default_rng(2))
    atoms = structures()["bulk"]
    exact = model.predict(atoms).model_std
    model.sigma = "members"
    assert model.predict(atoms).model_std == pytest.approx(exact, rel=5 / np.sqrt(2 * 4000))


def test_an_element_never_seen_together_is_uncertain():
    """One Ni in fcc Al, for a model of pure Al and pure Ni: sigma grows by more than 50."""
    rng = np.random.default_rng(4)
    basis = ACEBasis(("Al", "Ni"), rcut=5.0, nradmax_by_orders=[8, 4], lmax_by_orders=[0, 3])
    dataset = [*rattled("Al", 25, rng=rng), *rattled("Ni", 25, rng=rng)]
    model = LinearFit(basis)(dataset, rng=rng)
    atoms = bulk("Al", a=4.0, cubic=True) * 2
    pure = model.predict(atoms).model_std
    atoms.symbols[0] = "Ni"
    assert model.predict(atoms).model_std > 50 * pure


def test_file_round_trip_is_exact(committee, tmp_path):
    committee.write(tmp_path / "model.json")
    again = LinearCommittee.read(tmp_path / "model.json")
    for atoms in structures().values():
        a, b = committee.predict(atoms, members=True), again.predict(atoms, members=True)
        assert a.energy == b.energy
        assert a.energy_std == b.energy_std
        assert np.array_equal(a.member_forces, b.member_forces)


# Arguments: a committee, structures, and where its answers go.
_WITHOUT_PYACE = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "pyace":
            raise ModuleNotFoundError("blocked")

sys.meta_path.insert(0, Blocked())
import numpy as np
from ase.io import read
from ase_hal import LinearCommittee

committee = LinearCommittee.read(sys.argv[1])
answers = {}
for i, atoms in enumerate(read(sys.argv[2], ":")):
    said = committee.predict(atoms, members=True)
    answers[f"energy{i}"] = [said.energy, said.energy_std, *said.member_energies]
    answers[f"forces{i}"] = [said.forces, said.energy_std_gradient, *said.member_forces]
np.savez(sys.argv[3], **answers)
try:
    committee.basis.functions
except ImportError as error:
    print(error)
"""


def test_a_saved_model_is_evaluated_without_python_ace(committee, tmp_path):
    committee.write(tmp_path / "model.json")
    write(tmp_path / "structures.traj", list(structures().values()))
    files = [tmp_path / name for name in ("model.json", "structures.traj", "answers.npz")]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_PYACE, *files], check=True, capture_output=True, text=True
    )
    assert "needs python-ace" in done.stdout, "nothing was blocked"
    with np.load(files[-1]) as answers:
        for i, atoms in enumerate(structures().values()):
            said = committee.predict(atoms, members=True)
            energies = [said.energy, said.energy_std, *said.member_energies]
            forces = [said.forces, said.energy_std_gradient, *said.member_forces]
            np.testing.assert_allclose(answers[f"energy{i}"], energies, rtol=1e-12)
            np.testing.assert_allclose(answers[f"forces{i}"], forces, atol=1e-11)


def test_a_stress_is_given_where_it_has_a_meaning(committee):
    slab = structures()["slab"]
    assert committee.predict(slab).stress is not None
    boxed = structures()["molecule"]
    boxed.center(vacuum=5.0)
    said = committee.predict(boxed)
    assert said.stress is None
    assert said.energy_std_stress is None
    with pytest.raises(ValueError, match=r"periodic cell.*pbc=\[False, False, False\]"):
        committee.predict(boxed, stress=True)
    boxed.calc = CommitteeCalculator(committee)
    with pytest.raises(PropertyNotImplementedError, match="stress"):
        boxed.get_stress()
    boxed.pbc = True
    assert boxed.get_stress().shape == (6,)


def test_damaged_and_foreign_files_are_refused(committee, tmp_path):
    path = tmp_path / "model.json"
    committee.write(path)
    blob = path.with_suffix(".npz").read_bytes()
    path.with_suffix(".npz").write_bytes(blob[:1000] + b"x" + blob[1001:])
    with pytest.raises(ValueError, match="damaged"):
        LinearCommittee.read(path)
    path.write_text('{"format": "something else"}')
    with pytest.raises(ValueError, match="not a committee"):
        LinearCommittee.read(path)
    path.write_text("not JSON")
    with pytest.raises(ValueError, match="not a committee"):
        LinearCommittee.read(path)


def test_a_pickled_committee_predicts_the_same(committee):
    atoms = structures()["slab"]
    again = pickle.loads(pickle.dumps(committee))
    assert again.predict(atoms).energy == committee.predict(atoms).energy


def test_one_body_energies(fit):
    dataset = al_cu_dataset()
    given = {"Al": -3.0, "Cu": -4.0}
    fixed = LinearFit(al_cu_basis(), one_body=given)(dataset, rng=np.random.default_rng(1))
    assert fixed.baseline.one_body == given
    alone = Atoms("Al", cell=[20, 20, 20], pbc=True)
    assert fixed.predict(alone).energy == pytest.approx(-3.0, abs=1e-12)


def test_large_forces_are_left_out():
    basis = al_cu_basis()
    dataset = [labelled(a) for a in al_cu_dataset()[:10]]
    spoiled = [a.copy() for a in dataset]
    for old, new in zip(dataset, spoiled, strict=True):
        new.calc = SinglePointCalculator(new, **old.calc.results)
    forces = spoiled[3].calc.results["forces"].copy()
    forces[2, 1] = 1e4
    spoiled[3].calc.results["forces"] = forces
    clean = LinearFit(basis)(dataset, rng=np.random.default_rng(1))
    robust = LinearFit(basis)(spoiled, rng=np.random.default_rng(1))
    atoms = structures()["bulk"]
    assert robust.predict(atoms).energy == pytest.approx(clean.predict(atoms).energy, abs=0.1)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a: setattr(a, "calc", None), "structure 1 .* no labels"),
        (lambda a: a.calc.results.update(energy=np.nan), "structure 1 .* not finite"),
        (lambda a: a.calc.results.pop("energy"), "structure 1 .* no energy"),
    ],
)
def test_bad_labels_are_named(spoil, message):
    dataset = [labelled(a) for a in al_cu_dataset()[:3]]
    spoil(dataset[1])
    with pytest.raises(ValueError, match=message):
        LinearFit(al_cu_basis())(dataset, rng=np.random.default_rng(1))


def test_bad_arguments(committee):
    with pytest.raises(ValueError, match="empty"):
        LinearFit(al_cu_basis())([], rng=np.random.default_rng(1))
    with pytest.raises(ValueError, match="at least two"):
        LinearFit(al_cu_basis(), members=1)
    with pytest.raises(ValueError, match="one_body lacks Cu"):
        LinearFit(al_cu_basis(), one_body={"Al": 0.0})
    with pytest.raises(ValueError, match="Si|element"):
        committee.predict(bulk("Si"))
    with pytest.raises(ValueError, match="volume"):
        committee.predict(Atoms("Al"), stress=True)


def test_undetermined_one_body_energies_are_equal_shares():
    counts = np.array([[29.0, 3.0], [29.0, 3.0]])
    shares = least_squares_one_body(("Al", "Si"), counts, np.array([-107.0, -106.8]))
    assert shares["Al"] == pytest.approx(-106.9 / 32)
    assert shares["Si"] == pytest.approx(-106.9 / 32)


def test_a_label_that_hardly_counts_spoils_nothing():
    """One-body energies and the noise of sigma are made of labels as they count."""
    dataset = [atoms.copy() for atoms in al_cu_dataset()[:8]]
    for atoms, source in zip(dataset, al_cu_dataset(), strict=False):
        atoms.calc = source.calc
    absurd = dataset[0].copy()
    absurd.positions += 0.3 * np.random.default_rng(0).normal(size=absurd.positions.shape)
    forces = 1e6 * np.ones((len(absurd), 3))
    absurd.calc = SinglePointCalculator(absurd, energy=1e7, forces=forces)

    def weights(atoms):
        return Weights() if np.abs(atoms.get_forces()).max() < 1e3 else Weights(1e-9, 1e-9, 1e-9)

    rng = np.random.default_rng
    committees = [
        LinearFit(al_cu_basis(), weights=weights)(structures, rng=rng(1))
        for structures in (dataset, [*dataset, absurd])
    ]
    clean, spoiled = (c.predict(al_cu_dataset()[9]) for c in committees)
    assert spoiled.energy == pytest.approx(clean.energy, abs=0.01)
    assert spoiled.energy_std == pytest.approx(clean.energy_std, rel=0.2)
    assert np.allclose(spoiled.forces, clean.forces, atol=0.01)


def test_typical_force_is_that_of_the_forces_that_are_fitted():
    dataset = [atoms.copy() for atoms in al_cu_dataset()[:2]]
    for atoms, source in zip(dataset, al_cu_dataset(), strict=False):
        atoms.calc = copy.deepcopy(source.calc)
    sane = LinearFit(al_cu_basis())(dataset, rng=np.random.default_rng(1)).force_scale
    dataset[1].calc.results["forces"][0] = 1e4
    assert LinearFit(al_cu_basis())(dataset, rng=np.random.default_rng(1)).force_scale < 2 * sane


def test_a_relevance_path_is_nested_and_starts_like_a_fit_of_its_own():
    dataset, basis = al_cu_dataset(), al_cu_basis()
    thresholds = [10.0, 1e4, 1e2]
    path = dict(LinearFit(basis).relevance_path(dataset, thresholds, rng=np.random.default_rng(0)))
    assert list(path) == [1e4, 1e2, 10.0]
    active = [committee.posterior.active for committee in path.values()]
    assert active[0].sum() > active[1].sum() > active[2].sum() > 0
    assert not (active[1] & ~active[0]).any()
    assert not (active[2] & ~active[1]).any()
    alone = LinearFit(basis, relevance_threshold=1e4)(dataset, rng=np.random.default_rng(0))
    assert np.array_equal(alone.posterior.mean, path[1e4].posterior.mean)
    for threshold, committee in path.items():
        kept = committee.posterior.active
        assert (committee.posterior.prior_precision[kept] < threshold).all()


def test_perfect_crystals_do_not_make_it_sure_of_itself():
    """Their forces vanish whatever the potential is, which says nothing about the noise."""
    rng = np.random.default_rng(0)
    basis = ACEBasis.preset("small", ["Cu"], rcut=5.0)
    known = list(rattled("Cu", 6, rng=rng))
    perfect = [labelled(bulk("Cu", a=a, cubic=True) * 2) for a in np.linspace(3.5, 3.8, 10)]
    alone = LinearFit(basis)(known, rng=rng)
    both = LinearFit(basis)(known + perfect, rng=rng)
    # one energy and three stresses of each say something, 32 x 3 forces do not
    assert both.posterior.n_observations - alone.posterior.n_observations <= 10 * 4
    assert both.posterior.noise_precision < 3 * alone.posterior.noise_precision
    assert both.force_scale == pytest.approx(alone.force_scale)


def test_rows_that_are_not_remembered_are_not_needed(monkeypatch):
    dataset = al_cu_dataset()[:6]
    expected = LinearFit(al_cu_basis())(dataset, rng=np.random.default_rng(1))
    monkeypatch.setattr("ase_hal.linear_fit._KEPT", 0)
    fit = LinearFit(al_cu_basis())
    fit(dataset[:4], rng=np.random.default_rng(1))
    grown = fit(dataset, rng=np.random.default_rng(1))
    assert np.array_equal(grown.posterior.mean, expected.posterior.mean)
    again = fit(dataset[::-1], rng=np.random.default_rng(1))
    assert np.allclose(again.posterior.mean, expected.posterior.mean, rtol=1e-4, atol=1e-6)


def test_a_stress_without_periodicity_is_no_label():
    atoms = al_cu_dataset()[0].copy()
    results = dict(al_cu_dataset()[0].calc.results)
    expected = {}
    for pbc in (True, False):
        atoms.pbc = pbc
        atoms.calc = SinglePointCalculator(atoms, **results)
        committee = LinearFit(al_cu_basis())([atoms], rng=np.random.default_rng(1))
        expected[pbc] = committee.posterior.n_observations
    assert expected == {True: 1 + 3 * len(atoms) + 6, False: 1 + 3 * len(atoms)}
