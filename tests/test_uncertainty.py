"""Criteria against sums written out by hand."""

import math

import numpy as np
import pytest

from ase_hal.prediction import Prediction
from ase_hal.uncertainty import energy_std, relative_force_error, softmax_score


def prediction(forces, members=None, **keywords):
    forces = np.asarray(forces, float)
    values = {
        "energy": -1.0,
        "forces": forces,
        "energy_std": 0.4,
        "energy_std_gradient": np.zeros_like(forces),
        "model_std": 0.3,
        "force_scale": 0.5,
        "member_energies": np.zeros(2),
        "member_forces": None if members is None else np.asarray(members, float),
    }
    return Prediction(**{**values, **keywords})


def with_errors(errors):
    """Two members that make f_i the given numbers (eps = 0.5, mean forces zero)."""
    shift = np.zeros((len(errors), 3))
    shift[:, 0] = 0.5 * np.asarray(errors)
    return prediction(np.zeros((len(errors), 3)), [shift, -shift])


def test_relative_force_error_is_equation_6():
    forces = [[3.0, 0, 4.0], [0, 0, 0]]
    members = [[[3.0, 0, 4.0], [1.0, 0, 0]], [[3.0, 2.0, 4.0], [0, -1.0, 0]]]
    f = relative_force_error(prediction(forces, members))
    assert f == pytest.approx([(0 + 2) / 2 / 5.5, (1 + 1) / 2 / 0.5])
    f = relative_force_error(prediction(forces, members), eps=5.0)
    assert f == pytest.approx([0.1, 0.2])


def test_softmax_is_equation_8():
    errors = np.array([0.1, 0.7, 1.5])
    s = softmax_score(with_errors(errors))
    assert s == pytest.approx(np.exp(errors) / np.exp(errors).sum())
    assert s.sum() == pytest.approx(1)


def test_softmax_does_not_overflow():
    s = softmax_score(with_errors([5000.0, 4999.0, 0.0]))
    assert s == pytest.approx([1 / (1 + math.exp(-1)), 1 / (1 + math.exp(1)), 0])


@pytest.mark.parametrize("n", [32, 1400])
def test_softmax_reaches_half_where_the_documentation_says(n):
    errors = np.zeros(n)
    errors[3] = math.log(n - 1)
    assert softmax_score(with_errors(errors)).max() == pytest.approx(0.5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("score", [relative_force_error, softmax_score])
def test_forces_that_are_not_finite_give_scores_that_are_not_finite(bad, score):
    members = np.zeros((2, 3, 3))
    members[1, 1, 0] = bad
    forces = members.mean(axis=0)
    assert not np.isfinite(score(prediction(forces, members))[1])


def test_energy_std():
    p = prediction(np.zeros((4, 3)))
    assert energy_std(p) == 0.4
    assert energy_std(p, noise=False) == 0.3
    assert energy_std(p, per_atom=True) == 0.1
    assert energy_std(p, noise=False, per_atom=True) == pytest.approx(0.075)


def test_needs_members_and_a_positive_epsilon():
    with pytest.raises(ValueError, match="members=True"):
        relative_force_error(prediction(np.zeros((2, 3))))
    with pytest.raises(ValueError, match="eps must be a positive force"):
        softmax_score(with_errors([1.0]), eps=0.0)
    flat = prediction(np.zeros((1, 3)), np.zeros((2, 1, 3)), force_scale=0.0)
    with pytest.raises(ValueError, match="force_scale must be a positive force"):
        relative_force_error(flat)
