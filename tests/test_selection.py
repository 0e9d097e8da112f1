"""select(): batches without duplicates, by conditioning a Gaussian."""

from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from datasets_emt import al_cu_basis, al_cu_dataset, labelled, rattled

from ase_hal import LinearFit, select


@pytest.fixture(scope="module")
def committee():
    return LinearFit(al_cu_basis(), members=32)(al_cu_dataset(), rng=np.random.default_rng(1))


@pytest.fixture(scope="module")
def candidates():
    rng = np.random.default_rng(2)
    return [
        *rattled("Al", 6, rng=rng, second="Cu"),
        *rattled("Cu", 6, rng=rng, amplitude=0.15),
    ]


class MembersOnly:
    """A committee without an exact covariance: the general path."""

    def __init__(self, committee):
        self.elements = committee.elements
        self.predict = committee.predict


def test_the_first_pick_is_the_most_uncertain(committee, candidates):
    best = max(candidates, key=lambda a: committee.predict(a).model_std / len(a))
    assert select(candidates, committee, n=1) == [best]


def test_each_pick_equals_a_fit_that_knows_the_energy(committee, candidates):
    """The second pick is the most uncertain one once the first energy row is in the posterior."""
    first, second = select(candidates, committee, n=2)
    B = np.array([committee.basis.rows(a).energy for a in candidates])
    b = committee.basis.rows(first).energy
    S = committee.posterior.covariance
    S = S - np.outer(S @ b, S @ b) / (b @ S @ b)
    variance = np.einsum("ij,jk,ik->i", B, S, B) / np.array([len(a) for a in candidates]) ** 2
    assert candidates[int(np.argmax(variance))] is second


@pytest.mark.parametrize("kind", ["exact", "members"])
def test_duplicates_are_never_taken(committee, candidates, kind):
    model = committee if kind == "exact" else MembersOnly(committee)
    doubled = candidates[:3] + [a.copy() for a in candidates[:3]]
    picked = select(doubled, model, n=6)
    assert len(picked) == 3
    energies = {round(committee.predict(a).energy, 6) for a in picked}
    assert len(energies) == 3


def test_a_shifted_and_rotated_copy_is_a_duplicate(committee, candidates):
    twin = candidates[0].copy()
    twin.rotate(90, "z", rotate_cell=True)
    twin.positions += 0.37
    twin.wrap()
    assert len(select([candidates[0], twin], committee, n=2)) == 1


class FewMembers(MembersOnly):
    """Three of the members."""

    def predict(self, atoms, members=False, stress=False):
        prediction = self.whole.predict(atoms)
        return replace(prediction, member_energies=prediction.member_energies[:3])

    def __init__(self, committee):
        self.elements, self.whole = committee.elements, committee


def test_few_members_give_as_many_picks_as_are_asked_for(committee, candidates):
    """More than the K - 1 that their covariance can tell apart, and no duplicates."""
    few = FewMembers(committee)
    doubled = [*candidates, *(a.copy() for a in candidates)]
    picked = select(doubled, few, n=6)
    assert len(picked) == 6
    energies = np.array([few.predict(a).member_energies / len(a) for a in picked])
    assert len(np.unique(energies.round(6), axis=0)) == 6
    # The first two are those of the covariance, the third is large and far from both.
    assert select(doubled, few, n=2) == picked[:2]
    d = energies - energies.mean(axis=1, keepdims=True)
    every = np.array([few.predict(a).member_energies / len(a) for a in candidates])
    every -= every.mean(axis=1, keepdims=True)
    score = np.minimum(
        np.linalg.norm(every, axis=1),
        np.linalg.norm(every[:, None] - d[:2], axis=2).min(axis=1),
    )
    found = min(np.linalg.norm(d[2]), np.linalg.norm(d[2] - d[:2], axis=1).min())
    assert found == pytest.approx(score.max(), rel=1e-6)
    assert 2 < len(select(doubled, few, n=100)) <= len(candidates)


def test_edge_cases(committee, candidates):
    assert select([], committee, n=3) == []
    with pytest.raises(ValueError, match="at least 1"):
        select(candidates, committee, n=0)
    with pytest.raises(ValueError, match="min_gain"):
        select(candidates, committee, n=1, min_gain=1.5)


def test_inputs_are_untouched(committee):
    atoms = labelled(bulk("Al", cubic=True))
    before = atoms.positions.copy()
    select([atoms], committee, n=1)
    assert "energy" in atoms.calc.results
    assert np.array_equal(atoms.positions, before)
