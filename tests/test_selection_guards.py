"""Candidates that are broken, that no model can judge, or that no reference should."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed
from ase.data import covalent_radii
from datasets_emt import al_cu_basis, al_cu_dataset, rattled

from ase_hal import LinearFit, select
from ase_hal.loop import learn
from ase_hal.selection import rank
from ase_hal.selection.guards import Refusal, refusals_in_words


@pytest.fixture(scope="module")
def committee():
    return LinearFit(al_cu_basis(), members=16)(al_cu_dataset(), rng=np.random.default_rng(1))


@pytest.fixture(scope="module")
def sane():
    rng = np.random.default_rng(2)
    return [*rattled("Al", 4, rng=rng, second="Cu"), *rattled("Cu", 4, rng=rng)]


class MembersOnly:
    """A committee without an exact covariance, whose predictions can be changed."""

    def __init__(self, committee, change=lambda prediction: prediction):
        self.elements, self.committee, self.change = committee.elements, committee, change

    def predict(self, atoms, members=False, stress=False):
        return self.change(self.committee.predict(atoms))


def aluminium(change):
    atoms = bulk("Al", cubic=True) * (2, 1, 1)
    changed = change(atoms)
    return atoms if changed is None else changed


def setting(name, index, value):
    def change(atoms):
        getattr(atoms, name)[index] = value

    return change


def shrunk(factor):
    return lambda atoms: atoms.set_cell(atoms.cell * factor, scale_atoms=True)


ALUMINIUM = 2 * covalent_radii[13]
BROKEN = {
    "nan position": (setting("positions", 3, np.nan), "invalid structure", "atom 3"),
    "infinite position": (setting("positions", (0, 1), np.inf), "invalid structure", "atom 0"),
    "nan cell": (setting("cell", 2, np.nan), "invalid structure", "cell is not finite"),
    "no cell vector": (setting("cell", 2, 0.0), "invalid structure", "periodic"),
    "flat cell": (setting("cell", 2, [0, 4.05, 0]), "invalid structure", "no volume"),
    "no atoms": (lambda atoms: Atoms(), "invalid structure", "no atoms"),
    "no atoms in a cell": (
        lambda atoms: Atoms(cell=[4, 4, 4], pbc=True), "invalid structure", "no atoms"
    ),
    "placeholder": (setting("numbers", 0, 0), "invalid structure", "placeholder"),
    "unknown element": (setting("symbols", 0, "Zr"), "unknown element Zr", "Al, Cu"),
    "unknown elements": (
        setting("symbols", [0, 1, 2], ["Zr", "H", "Zr"]), "unknown elements H, Zr", "Al, Cu"
    ),
    "same place": (lambda atoms: atoms.positions.__setitem__(1, atoms.positions[0]), "contact",
                   "0.00 Å between atoms 0 (Al) and 1 (Al)"),
    "close pair": (lambda atoms: atoms.positions.__setitem__(1, atoms.positions[0] + [0, 0, 0.5]),
                   "contact", "0.50 Å"),
    "close to an image": (lambda atoms: atoms.positions.__setitem__(1, [8.1, 0, 0.5]), "contact",
                          "0.50 Å"),
    "collapsed cell": (shrunk(1e-4), "contact", "between atoms"),
    "squeezed cell": (shrunk(0.4), "contact", "1.15 Å"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.parametrize("path", ["exact", "members"])
def test_a_broken_candidate_is_skipped_and_named(committee, sane, kind, path, caplog):
    change, expected, reason = BROKEN[kind]
    model = committee if path == "exact" else MembersOnly(committee)
    candidates = [*sane[:3], aluminium(change), *sane[3:]]
    ranking = rank(candidates, model, n=3)
    (refused,) = ranking.refused
    assert (refused.index, refused.kind) == (3, expected)
    assert reason in refused.reason
    assert np.flatnonzero(np.isnan(ranking.model_std)).tolist() == [3]
    with caplog.at_level(logging.WARNING):
        chosen = select(candidates, model, n=3)
    (message,) = caplog.messages
    assert message.startswith("1 of 9 candidates refused: 1 ")
    assert message.endswith(f"{expected}; frame 3")
    assert chosen == select(sane, model, n=3) == [candidates[i] for i in ranking.indices]


def test_nothing_is_said_where_nothing_is_refused(committee, sane, caplog):
    select(sane, committee, n=2)
    assert not caplog.messages
    assert rank(sane, committee, n=2).refusals_in_words() == ""


def test_exploded_frames_are_not_taken_first(committee, sane):
    """Without the guard they are: the model knows nothing about them."""
    rng = np.random.default_rng(0)
    exploded = []
    for distance in rng.uniform(0.3, 0.7, 6):
        atoms = aluminium(lambda atoms: None)
        direction = rng.normal(size=3)
        atoms.positions[5] = atoms.positions[2] + distance * direction / np.linalg.norm(direction)
        exploded.append(atoms)
    candidates = [*sane[:4], *exploded]
    unguarded = rank(candidates, committee, n=1, min_distance=0)
    assert unguarded.indices[0] >= 4
    assert not unguarded.refused
    assert rank(candidates, committee, n=1, min_distance=None).indices == unguarded.indices
    guarded = rank(candidates, committee, n=4)
    assert set(guarded.indices) == {0, 1, 2, 3}
    assert [refusal.index for refusal in guarded.refused] == [4, 5, 6, 7, 8, 9]


def test_the_guard_is_a_fraction_of_the_radii(committee):
    atoms = aluminium(lambda atoms: None)
    atoms.positions[1] = atoms.positions[0] + [0, 0, 0.55 * ALUMINIUM]
    assert rank([atoms], committee, n=1).refused[0].kind == "contact"
    assert not rank([atoms], committee, n=1, min_distance=0.54).refused


@pytest.mark.parametrize("path", ["exact", "members"])
def test_large_forces_are_refused_where_that_is_asked_for(committee, sane, path):
    model = committee if path == "exact" else MembersOnly(committee)
    largest = [
        np.linalg.norm(committee.predict(atoms).forces, axis=1).max() for atoms in sane
    ]  # fmt: skip
    bound = float(np.median(largest))
    ranking = rank(sane, model, n=8, max_force=bound)
    expected = [i for i, force in enumerate(largest) if force > bound]
    assert [refusal.index for refusal in ranking.refused] == expected
    assert {refusal.kind for refusal in ranking.refused} == {"large force"}
    assert f"{largest[expected[0]]:.3g} eV/Å" in ranking.refused[0].reason
    for off in (None, 0):
        assert not rank(sane, model, n=8, max_force=off).refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("energy", np.nan),
        ("forces", np.full((8, 3), np.inf)),
        ("model_std", np.nan),
        ("member_energies", np.array([1.0, np.nan])),
    ],
)
def test_results_that_are_not_finite(committee, sane, name, value):
    strange = committee.predict(sane[2]).energy

    def change(prediction):
        wrong = prediction.energy == strange
        return replace(prediction, **{name: value}) if wrong else prediction

    (refused,) = rank(sane, MembersOnly(committee, change), n=2).refused
    assert (refused.index, refused.kind) == (2, "result not finite")


@pytest.mark.parametrize("error", [ValueError, ZeroDivisionError, CalculationFailed])
def test_what_a_committee_refuses(committee, sane, error):
    strange = committee.predict(sane[2]).energy

    def change(prediction):
        if prediction.energy == strange:
            raise error("no convergence")
        return prediction

    (refused,) = rank(sane, MembersOnly(committee, change), n=2).refused
    assert refused == Refusal(2, "failed evaluation", "no convergence")


def test_faults_of_the_setup_are_no_strange_structures(committee, sane):
    def change(prediction):
        raise RuntimeError("no licence")

    with pytest.raises(RuntimeError, match="no licence"):
        select(sane, MembersOnly(committee, change), n=2)


def test_all_refused(committee):
    candidates = [aluminium(BROKEN["nan cell"][0]), aluminium(BROKEN["close pair"][0])]
    with pytest.raises(ValueError, match=r"^2 of 2 candidates refused: .*not finite"):
        select(candidates, committee, n=1)
    ranking = rank(candidates, committee, n=1)
    assert (ranking.indices, len(ranking.refused)) == ((), 2)


def test_bad_guards(committee, sane):
    for name in ("min_distance", "max_force"):
        for value in (-1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=f"{name} is a positive number"):
                select(sane, committee, n=1, **{name: value})


def test_refusals_in_words():
    refused = [
        *(Refusal(i, "contact", "") for i in (3, 18)),
        Refusal(17, "unknown element Zr", ""),
    ]
    assert refusals_in_words(refused, 500) == (
        "3 of 500 candidates refused: 2 contacts, 1 unknown element Zr; frames 3, 18 and 17"
    )
    many = [Refusal(i, f"unknown element {i}", "") for i in range(9)] + [
        Refusal(i, "unknown element Zr", "") for i in range(9, 40)
    ]
    words = refusals_in_words(many, 50)
    assert "31 with unknown element Zr" in words
    assert "5 for other reasons" in words
    assert words.endswith("frames 0, 1, 2, 3, 4, 5 and 34 more")


def test_the_loop_does_not_overrule_its_explorer(committee):
    """Explorers have guards of their own, which may be off."""
    close = aluminium(BROKEN["close pair"][0])
    asked = []

    def label(structures, calculator, *, on_failure):
        asked.extend(structures)
        return []

    steps = learn(
        list(al_cu_dataset()[:2]),
        lambda dataset, *, rng: committee,
        lambda committee, *, dataset, rng: [close],
        None,
        rng=np.random.default_rng(0),
        max_iterations=1,
        label=label,
    )
    next(steps)
    assert [np.array_equal(atoms.positions, close.positions) for atoms in asked] == [True]
