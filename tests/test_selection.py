"""select(): batches without duplicates, by conditioning a Gaussian."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from ase.build import bulk
from datasets_emt import al_cu_basis, al_cu_dataset, labelled, rattled
from scipy.linalg import qr

from ase_hal import LinearFit, select
from ase_hal.selection import rank
from ase_hal.selection.pivoting import conditional_order


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


def test_near_duplicates_are_as_far_as_min_gain_says(committee, candidates):
    few, near = FewMembers(committee), [atoms.copy() for atoms in candidates]
    for atoms in near:
        atoms.positions[0, 0] += 1e-4
    assert len(select([*candidates, *near], few, n=100)) <= len(candidates)
    assert len(select([*candidates, *near], few, n=100, min_gain=1e-7)) > len(candidates)


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


# --- as many candidates as there are -----------------------------------------------------


def by_covariance(covariance, n, min_gain):
    """Greedy conditioning of the whole N x N matrix: what `select` has to reproduce."""
    initial, remaining, order = np.diag(covariance).copy(), covariance.copy(), []
    available = np.ones(len(initial), dtype=bool)
    while len(order) < n:
        variance = np.clip(np.diag(remaining), 0.0, None)
        available &= variance > min_gain**2 * initial
        available[order] = False
        if not available.any():
            break
        pick = int(np.argmax(np.where(available, variance, -1.0)))
        order.append(pick)
        column = remaining[:, pick]
        remaining = remaining - np.outer(column, column) / variance[pick]
    return order


@pytest.fixture(scope="module")
def thousand():
    """Small cells of many kinds and sizes, every tenth of them again."""
    rng = np.random.default_rng(4)
    structures = []
    for number in range(910):
        atoms = bulk("Al", a=rng.uniform(3.7, 4.3), cubic=bool(number % 2)) * (1 + number % 2, 1, 1)
        atoms.symbols[rng.random(len(atoms)) < rng.random()] = "Cu"
        atoms.positions += rng.normal(scale=0.12, size=atoms.positions.shape)
        structures.append(atoms)
    return [*structures, *(atoms.copy() for atoms in structures[::10][:90])]


def covariance_of(committee, candidates, kind):
    sizes = np.array([len(atoms) for atoms in candidates], dtype=float)
    if kind == "exact":
        return committee.energy_covariance(candidates) / np.outer(sizes, sizes)
    energies = np.array([committee.predict(atoms).member_energies for atoms in candidates])
    deviations = (energies - energies.mean(axis=1, keepdims=True)) / sizes[:, None]
    return deviations @ deviations.T / (energies.shape[1] - 1)


@pytest.mark.parametrize(
    ("kind", "n", "min_gain"),
    [("exact", 40, 0.05), ("exact", 200, 0.3), ("members", 25, 0.05), ("members", 20, 0.4)],
)
def test_the_factor_gives_the_choice_of_the_covariance(committee, thousand, kind, n, min_gain):
    model = committee if kind == "exact" else MembersOnly(committee)
    expected = by_covariance(covariance_of(committee, thousand, kind), n, min_gain)
    ranking = rank(thousand, model, n=n, min_gain=min_gain)
    order = list(ranking.indices[: len(expected)])
    # Of a structure and its copy either may be the first.
    assert [thousand[i] for i in order] == [thousand[i] for i in expected]
    if kind == "exact":
        assert len(ranking.indices) == len(expected)
        assert (len(expected) == n) == (min_gain < 0.3), "min_gain ends one of the cases"
    assert select(thousand, model, n=n, min_gain=min_gain) == [thousand[i] for i in ranking.indices]


@pytest.mark.parametrize("min_gain", [0.05, 0.0])
def test_nothing_is_taken_twice_until_nothing_is_left(committee, thousand, min_gain):
    """Rounding of a few hundred steps must not make duplicates look new."""
    ranking = rank(thousand, committee, n=1000, min_gain=min_gain)
    rows = committee.energy_factor([thousand[i] for i in ranking.indices])
    assert len(ranking.indices) == len(np.unique(rows.round(9), axis=0))
    assert len(ranking.indices) <= committee.posterior.covariance_factor.shape[1]
    left = np.array(ranking.remaining_std)
    assert (left[1:] <= left[:-1] * (1 + 1e-9)).all(), "what is left never grows"


def test_a_ranking_tells_how_uncertain_the_model_is(committee, candidates):
    ranking = rank(candidates, committee, n=4)
    stds = [committee.predict(atoms).model_std / len(atoms) for atoms in candidates]
    assert ranking.model_std == pytest.approx(stds, rel=1e-6)
    # What is left of the last one is its distance from the span of those before it.
    B = np.array([committee.basis.rows(candidates[i]).energy for i in ranking.indices])
    rows = B @ committee.posterior.covariance_factor
    *known, last = rows / np.array([[len(candidates[i])] for i in ranking.indices])
    coefficients = np.linalg.lstsq(np.array(known).T, last, rcond=None)[0]
    residual = np.linalg.norm(last - coefficients @ np.array(known))
    assert ranking.remaining_std[-1] == pytest.approx(residual, rel=1e-6)
    assert ranking.remaining_std[0] == pytest.approx(max(stds), rel=1e-6)
    few = rank(candidates, FewMembers(committee), n=4)
    three = [FewMembers(committee).predict(atoms).model_std / len(atoms) for atoms in candidates]
    assert few.model_std == pytest.approx(three)


def test_the_factor_is_that_of_the_covariance(committee, candidates):
    factor = committee.energy_factor(candidates)
    covariance = committee.energy_covariance(candidates)
    assert factor @ factor.T == pytest.approx(covariance, rel=1e-6, abs=1e-6 * covariance.max())
    assert committee.energy_factor([]).shape == (0, factor.shape[1])


def test_the_order_is_that_of_a_pivoted_qr():
    """Rows that are almost dependent, down to 1e-4 of what they were."""
    rng = np.random.default_rng(3)
    factor = (
        rng.normal(size=(300, 40)) @ np.diag(np.geomspace(1, 1e-4, 40)) @ rng.normal(size=(40, 40))
    )
    triangle, pivots = qr(factor.T, mode="r", pivoting=True)
    order, left = conditional_order(factor, 40)
    assert order == pivots[:40].tolist()
    assert left == pytest.approx(np.abs(np.diag(triangle)), rel=1e-8)


class Lazy(Sequence):
    """Candidates that are read when they are asked for."""

    def __init__(self, structures):
        self.structures = structures

    def __len__(self):
        return len(self.structures)

    def __getitem__(self, index):
        return self.structures[range(len(self))[index]].copy()


def test_candidates_are_any_sequence(committee, candidates):
    assert select(Lazy(candidates), committee, n=3) == select(candidates, committee, n=3)
