"""tune(): its errors are those of fits to parts of the dataset, made without shortcuts."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from datasets_emt import al_cu_basis, al_cu_dataset, labelled

from ase_hal import LinearFit, Smoothness, Weights
from ase_hal.baseline import least_squares_one_body
from ase_hal.tuning import Trial, tune


def cross_validated(dataset, parts, basis, weight, smoothness):
    """Mean absolute errors of energies per atom and of forces, fit by fit."""
    counts = np.array([[sum(a.symbols == e) for e in basis.elements] for a in dataset], float)
    energies = np.array([a.calc.results["energy"] for a in dataset])
    one_body = least_squares_one_body(basis.elements, counts, energies)
    energy, forces = [], []
    for part in parts:
        fit = LinearFit(
            basis, weights=Weights(weight, 1.0, 0.0), smoothness=smoothness, one_body=one_body
        )
        rest = [a for i, a in enumerate(dataset) if i not in part]
        committee = fit(rest, rng=np.random.default_rng(0))
        for i in part:
            prediction, truth = committee.predict(dataset[i]), dataset[i].calc.results
            energy.append(abs(prediction.energy - truth["energy"]) / len(dataset[i]))
            forces.append(np.abs(prediction.forces - truth["forces"]).ravel())
    energies, components = np.array(energy), np.concatenate(forces)
    return [np.mean(energies), np.mean(energies**2) ** 0.5], [
        np.mean(components), np.mean(components**2) ** 0.5,
    ]  # fmt: skip


def test_errors_are_those_of_separate_fits():
    dataset, basis = al_cu_dataset(), al_cu_basis()
    prior = Smoothness(2.0, 2.0)
    trials = tune(
        dataset, [basis], energy_weights=[5, 30], priors=[None, prior], folds=3,
        rng=np.random.default_rng(4),
    )  # fmt: skip
    assert len(trials) == 4
    assert [trial.score for trial in trials] == sorted(trial.score for trial in trials)
    permutation = np.random.default_rng(4).permutation(len(dataset))
    parts = [set(part.tolist()) for part in np.array_split(permutation, 3)]
    for trial in trials[::3]:
        energy, forces = cross_validated(
            dataset, parts, basis, trial.energy_weight, trial.smoothness
        )
        assert [trial.energy_mae, trial.energy_rmse] == pytest.approx(energy, rel=1e-4)
        assert [trial.forces_mae, trial.forces_rmse] == pytest.approx(forces, rel=1e-4)


def test_the_best_trial_is_ready_to_fit():
    dataset, basis = al_cu_dataset(), al_cu_basis()
    done: list[Trial] = []
    best, *_ = tune(
        dataset, [basis], energy_weights=[15], priors=[Smoothness()], folds=2,
        rng=np.random.default_rng(0), on_trial=done.append,
    )  # fmt: skip
    assert done == [best]
    fit = best.fit(members=3)
    assert (fit.weights.energy, fit.smoothness, fit.members) == (15, Smoothness(), 3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"bases": []}, "nothing to choose from"),
        ({"energy_weights": []}, "nothing to choose from"),
        ({"folds": 1}, "cannot be divided into 1 parts"),
        ({"folds": 10_000}, "cannot be divided into 10000 parts"),
    ],
)
def test_wrong_input(change, says):
    arguments = {"bases": [al_cu_basis()], "rng": np.random.default_rng(0)} | change
    with pytest.raises(ValueError, match=says):
        tune(al_cu_dataset(), **arguments)


def test_forces_are_optional_for_single_structures():
    dataset = [atoms.copy() for atoms in al_cu_dataset()]
    for atoms, original in zip(dataset, al_cu_dataset(), strict=True):
        energy = original.calc.results["energy"]
        atoms.calc = SinglePointCalculator(atoms, energy=energy)
    options = {"energy_weights": [15], "priors": [None], "folds": 2}
    with pytest.raises(ValueError, match="needs forces in every part, and 2 of 2 have none"):
        tune(dataset, [al_cu_basis()], **options, rng=np.random.default_rng(0))
    for atoms, original in list(zip(dataset, al_cu_dataset(), strict=True))[3:]:
        atoms.calc.results["forces"] = original.calc.results["forces"]
    (trial,) = tune(dataset, [al_cu_basis()], **options, rng=np.random.default_rng(0))
    (whole,) = tune(al_cu_dataset(), [al_cu_basis()], **options, rng=np.random.default_rng(0))
    assert trial.forces_rmse == pytest.approx(whole.forces_rmse, rel=0.3)


def test_lone_atoms_set_one_body_energies():
    """A choice is not made by structures that no choice of functions describes."""
    lone = [labelled(Atoms(symbol)) for symbol in ("Al", "Cu")]
    options = {"energy_weights": [15], "priors": [None], "folds": 2}
    (trial,) = tune(
        [*al_cu_dataset(), *lone], [al_cu_basis()], **options, rng=np.random.default_rng(0)
    )
    (without,) = tune(al_cu_dataset(), [al_cu_basis()], **options, rng=np.random.default_rng(0))
    assert trial.energy_rmse < 3 * without.energy_rmse
    assert trial.forces_rmse < 1.5 * without.forces_rmse
