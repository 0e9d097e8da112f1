"""Criteria propose the points they are for, inside the domain."""

import numpy as np
import pytest
from free_energy_cases import b2, l1_2, root_three, zigzag
from free_energy_oracles import Landau, exact_points

from ase_hal.free_energy import (
    Candidates,
    EndPoints,
    FindWells,
    GivenPoints,
    GlobalSampling,
    HighError,
    Knowledge,
    LowestPath,
    NonConvexity,
    Novelty,
    PathGrid,
    Points,
    QueryByCommittee,
    Reweighting,
    SectionSampling,
    Sensitivity,
    Stopping,
    SurfaceCommittee,
    Vertices,
    Wells,
    billiard_walk,
    lowest_path,
)
from ase_hal.free_energy.ideal_mixing import IdealMixing
from ase_hal.free_energy.stopping import rises

EVERYTHING = [
    GlobalSampling(count=12),
    GlobalSampling(count=5, method="sobol", perturbation=0.1),
    SectionSampling(count=12),
    Wells(count=30, perturbation=0.05),
    Vertices(count=24, perturbation=0.05),
    EndPoints(count=4, repeats=3, perturbation=0.05),
    HighError(count=5, repeats=3, perturbation=0.075),
    Sensitivity(count=5, repeats=2, perturbation=0.05),
    QueryByCommittee(count=5, repeats=2, perturbation=0.05),
    FindWells(count=5, perturbation=0.05),
    NonConvexity(count=5, perturbation=0.05),
    LowestPath(count=60, perturbation=0.02, grid=PathGrid(order_step=0.05)),
]


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def knowledge(found, rng, *, surface=None, number=3, others=(), n=2000):
    """What is known about an ordering whose free energy is a Landau polynomial."""
    surface = surface or Landau(found.dimension, x0=found.wells[0, 0])
    return Knowledge(
        found,
        300.0,
        number,
        exact_points(surface, billiard_walk(found.domain, 50, rng=rng)),
        surface,
        SurfaceCommittee((surface, *others)) if others else None,
        Candidates.draw(found, surface, n, rng=rng),
    )


@pytest.mark.parametrize("case", [zigzag, l1_2, b2, root_three])
@pytest.mark.parametrize("criterion", EVERYTHING, ids=lambda c: f"{c.name}-{c.count}")
def test_every_point_is_inside_the_domain(case, criterion, rng):
    found = case()
    if case is zigzag and getattr(criterion, "method", "") == "sobol":
        pytest.skip("one point in four thousand is inside")
    known = knowledge(found, rng, others=(Landau(found.dimension, a0=0.1),), n=500)
    for weight in (1.0, 0.3, 1.9):
        eta = criterion.propose(known, rng=rng, weight=weight)
        least = len(found.wells) + 1 if criterion.name == "wells" else 1
        asked = max(round(weight * criterion.count), least) * criterion.repeats
        assert 0 < len(eta) <= asked
        assert len(eta) == asked or criterion.needs_candidates  # few may be as wanted
        assert found.domain.contains(eta).all()
    again = [criterion.propose(known, rng=np.random.default_rng(1)) for _ in range(2)]
    assert np.array_equal(*again)


def test_what_each_criterion_needs(rng):
    nothing = Knowledge(zigzag(), 300.0, 0, Points.of([], 7))
    with_surface = knowledge(zigzag(), rng, n=10)
    with_committee = knowledge(zigzag(), rng, n=10, others=(Landau(7),))
    ready = {
        c.name: [c.is_ready(k) for k in (nothing, with_surface, with_committee)] for c in EVERYTHING
    }
    first = {name for name, (at_once, _, _) in ready.items() if at_once}
    assert first == {"global", "section", "wells", "vertices", "end_points"}
    assert {name for name, (_, then, _) in ready.items() if not then} == {"committee"}
    assert all(late for _, _, late in ready.values())
    with pytest.raises(ValueError, match="needs a surface"):
        HighError(count=1).propose(nothing, rng=rng)


def test_wells_are_all_there(rng):
    known = knowledge(zigzag(), rng, n=10)
    eta = Wells(count=39, perturbation=0.05).find(known, 39, rng=rng)
    distinct, counts = np.unique(np.round(eta, 9), axis=0, return_counts=True)
    assert np.array_equal(counts, [3] * 13)
    assert np.allclose(distinct[:, 0], 0.5)
    assert np.allclose(np.sort(np.abs(distinct[:, 1:]).max(axis=1)), [0] + [0.5] * 12)
    assert np.count_nonzero(np.round(distinct[:, 1:], 9)) == 12
    # none is left out where fewer are asked for
    few = Wells(count=5).propose(known, rng=rng)
    assert len(np.unique(np.round(few, 9), axis=0)) == len(few) == 13


def test_points_come_near_the_tips_of_the_domain(rng):
    known = knowledge(zigzag(), rng, n=10)
    for criterion in (
        Wells(count=13, repeats=20, perturbation=0.05),
        EndPoints(count=2, repeats=100, perturbation=0.05),
    ):
        tips = np.repeat(criterion.find(known, criterion.count, rng=rng), criterion.repeats, axis=0)
        moved = np.abs(criterion.propose(known, rng=rng) - tips).max(axis=1)
        assert 0.03 < moved.max() <= 0.05
        assert np.quantile(moved, 0.1) < 0.01


def test_wells_of_another_ordering(rng):
    eta = Wells(count=5).find(knowledge(l1_2(), rng, n=10), 5, rng=rng)
    expected = np.concatenate([l1_2().wells, [[0.25, 0, 0, 0]]])
    assert np.allclose(np.unique(eta, axis=0), np.unique(expected, axis=0))


def test_vertices_widen_with_the_rounds(rng):
    for number, width in ((0, 0.0), (1, 0.05), (4, 0.2)):
        known = knowledge(zigzag(), rng, number=number, n=10)
        eta = Vertices(count=600, perturbation=0.05).propose(known, rng=rng)
        assert np.allclose(eta[:, 0], 0.5)
        second = np.sort(np.abs(eta[:, 1:]), axis=1)[:, -2]
        assert second.max() <= width + 1e-12
        assert second.max() >= 0.8 * width
        largest = np.abs(eta[:, 1:]).max(axis=1)
        if number == 0:
            assert largest.min() < 0.02 < 0.48 < largest.max()


def test_vertices_of_an_ordering_with_several_order_parameters(rng):
    """Those of L1_2 have three: deviations are across the line, not of the others only."""
    found = l1_2()
    eta = Vertices(count=600, perturbation=0.05).propose(
        knowledge(found, rng, number=2, n=10), rng=rng
    )
    assert found.domain.contains(eta).all()
    lines = found.wells[:, 1:] / np.linalg.norm(found.wells[:, 1:], axis=1, keepdims=True)
    along = eta[:, 1:] @ lines.T
    aside = np.linalg.norm(eta[:, None, 1:] - along[..., None] * lines, axis=2).min(axis=1)
    assert 0.05 < aside.max() <= 0.1 * np.sqrt(3) + 1e-12


def test_end_points_are_perturbed_inwards(rng):
    known = knowledge(zigzag(), rng, n=10)
    eta = EndPoints(count=100, perturbation=0.05).propose(known, rng=rng)
    low = eta[:, 0] < 0.5
    assert low.sum() == 50
    assert eta[low, 0].max() < 0.05
    assert eta[~low, 0].min() > 0.95
    assert EndPoints(count=2).propose(known, rng=rng)[:, 0].tolist() == [0.0, 1.0]


def test_high_error_goes_where_the_surface_is_wrong(rng):
    known = knowledge(zigzag(), rng)
    points = known.points
    points.mu[[4, 17], 2] += [0.3, -0.2]
    found = HighError(count=2).propose(known, rng=rng)
    assert np.allclose(found, points.eta[[4, 17]])


class Mixed(Landau):
    """A Landau polynomial and ideal mixing on the sublattices of the zigzag ordering."""

    def hessian(self, eta, temperature_K=None):
        mixing = IdealMixing(zigzag().inverse).hessian(eta, np.full(len(eta), 300.0))
        return super().hessian(eta) + mixing


def test_sensitivity_takes_the_largest_eigenvalues_beside_those_of_mixing(rng):
    shape = {"k": 0.05, "a0": 0.5, "c": -0.3}  # bends most where there is no order
    plain = Landau(7, **shape)
    known = knowledge(zigzag(), rng, surface=Mixed(7, **shape))
    candidates = known.candidates.eta
    found = Sensitivity(count=20).propose(known, rng=rng)
    largest = np.linalg.eigvalsh(plain.hessian(candidates))[:, -1]
    mine = np.linalg.eigvalsh(plain.hessian(found))[:, -1]
    assert np.allclose(np.sort(mine), np.sort(largest)[-20:])
    # the mixing term alone would go to the walls
    steep = np.linalg.eigvalsh(known.surface.hessian(candidates))[:, -1]
    distances = zigzag().domain.wall_distance
    assert distances(candidates[np.argsort(steep)[-20:]]).max() < np.median(distances(found))


def test_places_are_replicated_by_symmetry(rng):
    found = Sensitivity(count=3, repeats=40).propose(knowledge(zigzag(), rng), rng=rng)
    for same in np.split(found, 3):
        assert len(np.unique(np.round(same, 9), axis=0)) > 20
        assert np.allclose(np.ptp(zigzag().reduce(same), axis=0), 0)


def test_committee_is_asked_where_it_disagrees(rng):
    # members differ by the composition at which they have their minimum, and in order by eta^3
    other = Landau(7, b=0.5)
    known = knowledge(zigzag(), rng, others=(other,))
    found = QueryByCommittee(count=30).propose(known, rng=rng)
    score = (np.abs(known.candidates.eta[:, 1:]) ** 6).sum(axis=1)
    mine = (np.abs(found[:, 1:]) ** 6).sum(axis=1)
    assert np.allclose(np.sort(mine), np.sort(score)[-30:])


def test_found_wells_are_minima(rng):
    surface = Landau(7, a0=0.05)
    known = knowledge(zigzag(), rng, surface=surface, n=20_000)
    found = FindWells(count=10).propose(known, rng=rng)
    slope = np.linalg.norm(surface.chemical_potentials(found), axis=1)
    everywhere = np.linalg.norm(surface.chemical_potentials(known.candidates.eta), axis=1)
    assert slope.max() < np.quantile(everywhere, 0.002)
    # where nothing is convex there is no well
    saddle = knowledge(zigzag(), rng, surface=Landau(7, a0=-5.0))
    assert FindWells(count=10).propose(saddle, rng=rng).shape == (0, 7)


def test_non_convexity(rng):
    known = knowledge(zigzag(), rng)
    found = NonConvexity(count=50).propose(known, rng=rng)
    assert np.linalg.eigvalsh(known.surface.hessian(found)).min(axis=1).max() < 0
    convex = knowledge(zigzag(), rng, surface=Landau(7, a0=0.1))
    assert NonConvexity(count=50).propose(convex, rng=rng).shape == (0, 7)


def test_lowest_path_follows_the_well(rng):
    # with a and c > 0 alone all directions are alike; b < 0 prefers one order parameter
    surface = Landau(7, a0=-0.06, b=-0.1, c=0.35)
    path = lowest_path(surface, zigzag())
    assert np.allclose(path.eta[:, 0], 0.45 + 0.002 * np.arange(51))
    best = np.sqrt(0.06 / (2 * 0.25))
    assert np.allclose(path.eta[:, 1], best, atol=0.006)
    assert np.allclose(path.eta[:, 2:], 0)
    assert np.allclose(path.free_energy, surface.free_energy(path.eta))
    # b > 0 prefers two at a time where only two are looked at
    both = lowest_path(Landau(7, a0=-0.06, b=0.3, c=0.05), zigzag())
    assert np.allclose(both.eta[:, 1], both.eta[:, 2], atol=0.011)  # one step of the grid
    assert LowestPath(count=51).find(knowledge(zigzag(), rng), 51, rng=rng).shape == (51, 7)


def test_grid_of_the_lowest_path():
    grid = PathGrid().orders(zigzag())
    assert np.allclose(grid[:, 0], 0.5)
    assert len(grid) == 51 * 52 // 2  # eta_1 >= eta_2 >= 0
    assert (grid[:, 1] >= grid[:, 2] - 1e-12).all()
    assert (grid[:, 2] >= 0).all()
    assert len(PathGrid(order_step=0.05, pairs="all").orders(zigzag())) > 11 * 12 // 2


def test_given_points_are_asked_once(rng):
    wanted = np.array([[0.5, 0.2, 0, 0, 0, 0, 0], [0.3, 0, 0, 0, 0, 0, 0]])
    first = knowledge(zigzag(), rng, number=0, n=10)
    assert np.array_equal(GivenPoints(points=wanted).propose(first, rng=rng), wanted)
    later = knowledge(zigzag(), rng, number=1, n=10)
    assert len(GivenPoints(points=wanted).propose(later, rng=rng)) == 0
    with pytest.raises(ValueError, match="given point 1 is outside the domain"):
        GivenPoints(points=[[0.5, *[0] * 6], [0.1, 0.4, *[0] * 5]]).propose(first, rng=rng)


def test_candidates_are_mixed_as_in_the_paper(rng):
    drawn = Candidates.draw(zigzag(), Landau(7), 4000, rng=rng)
    flat = np.abs(drawn.eta[:, 2:]).max(axis=1) <= 0.05
    assert 0.045 < flat.mean() < 0.09
    assert zigzag().domain.contains(drawn.eta).all()
    assert np.array_equal(drawn.eigenvalues, np.sort(drawn.eigenvalues, axis=1))


def test_novelty_scores(rng):
    found = zigzag()
    known = billiard_walk(found.domain, 30, rng=rng)
    surface = Landau(7)
    new = billiard_walk(found.domain, 20, rng=rng)
    scores = Novelty().scores(new, known, surface, found)
    everywhere = known @ found.group.swapaxes(1, 2)  # all images
    apart = np.array([np.linalg.norm(everywhere - one, axis=2).min(axis=0) for one in new])
    distance = np.sort(apart, axis=1)[:, :5].mean(axis=1)
    curvature = np.abs(np.linalg.eigvalsh(surface.hessian(new))).max(axis=1)
    assert np.allclose(Novelty(cap=1.0).scores(new, known, surface, found), distance * curvature)
    curvature = np.minimum(curvature, np.quantile(curvature, 0.9))
    assert np.allclose(scores, distance * curvature)
    # a known point, and any that symmetry makes of it, is nothing new
    images = found.images(known, rng=rng)
    images += rng.uniform(-2e-4, 2e-4, images.shape)  # on whichever side of any boundary
    assert np.all(Novelty().scores(images, known, surface, found) == 0)
    assert not Novelty().keep(np.zeros(5), rng=rng).any()


def test_novelty_keeps_what_scores_high(rng):
    scores = rng.uniform(0, 1, 3000) ** 3
    scores[::10] = 0
    mild, strict = (Novelty(threshold=t).keep(scores, rng=rng) for t in ("mean", "max"))
    assert not mild[::10].any()
    assert not strict[::10].any()
    assert strict.sum() < mild.sum() < 2700
    assert scores[strict].mean() > scores[mild].mean() > scores.mean()
    # above the largest threshold of r_1 nothing is left out
    assert mild[scores > scores.mean()].all()


def test_weights_follow_what_improves():
    before = {"wells": 3.0, "global": 1.0, "section": 0.5}
    after = {"wells": 1.0, "global": 1.0, "section": 5.0, "new": 1.0}
    weights = Reweighting(alpha=1.0).weights(before, after)
    assert weights.keys() == before.keys()
    assert np.mean(list(weights.values())) == pytest.approx(1)
    assert weights["wells"] == pytest.approx(3 * weights["global"])
    assert weights["section"] == pytest.approx(0.05 * weights["global"])
    assert set(Reweighting(alpha=0).weights(before, after).values()) == {1.0}


def test_stopping():
    assert Stopping(rounds=3).reason([3, 2]) is None
    assert Stopping(rounds=3).reason([3, 2, 1]) == "rounds"
    assert Stopping(target=1.5).reason([3, 1.4]) == "target"
    patient = Stopping(rounds=99, patience=2, improvement=0.1)
    assert patient.reason([3, 2, 1.9]) is None
    assert patient.reason([3, 2, 1.9, 1.85]) == "converged"
    assert patient.reason([3, 2, 1.9, 1.7, 1.6]) is None
    assert [rises(e) for e in ([], [1], [1, 2], [1, 2, 3], [2, 1, 2], [1, 2, 1])] == [
        0,
        0,
        1,
        2,
        1,
        0,
    ]


@pytest.mark.parametrize(
    ("build", "says"),
    [
        (lambda: GlobalSampling(count=0), "global: count and repeats are at least 1"),
        (lambda: Wells(count=1, perturbation=-1), "wells: a perturbation is 0 or more"),
        (lambda: Novelty(threshold="r3"), "threshold is 'mean' or 'max'"),
        (lambda: Novelty(neighbours=0), "neighbours is at least 1"),
        (lambda: Reweighting(alpha=-1), "alpha is 0 or more"),
        (lambda: Stopping(rounds=0), "rounds and patience are at least 1"),
        (lambda: PathGrid(order_step=0), "above 0"),
        (lambda: PathGrid(pairs="three"), "'first' or 'all'"),
    ],
)
def test_wrong_settings_are_named(build, says):
    with pytest.raises(ValueError, match=says):
        build()
