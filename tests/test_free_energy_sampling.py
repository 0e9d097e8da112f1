"""The domain of order parameters, and points that fill it."""

import time

import numpy as np
import pytest
from free_energy_cases import l1_2, root_three, zigzag

from ase_hal.free_energy import (
    Domain,
    billiard_section,
    billiard_walk,
    perturbed,
    quasi_random,
)
from ase_hal.free_energy.statistics import block_average


def by_rejection(domain, n, rng, *, double_cone=False):
    """Uniform points, the slow way: from the bounding box, or from a double cone around it.

    In the cone |eta_i| <= min(eta_0, 1 - eta_0), as for all patterns of +1 and -1.
    """
    d = domain.dimension
    low, high = domain.bounds.T
    found = []
    while sum(map(len, found)) < n:
        points = rng.uniform(low, high, size=(20_000, d))
        if double_cone:
            least = 0.5 * rng.random(20_000) ** (1 / d)
            points = least[:, None] * rng.uniform(-1, 1, size=(20_000, d))
            points[:, 0] = np.where(rng.random(20_000) < 0.5, least, 1 - least)
        found.append(points[domain.contains(points)])
    return np.concatenate(found)[:n]


def moments(domain, points):
    """First and second moments, and distances to the walls."""
    return np.column_stack([points, points**2, domain.wall_distance(points)])


def z_scores(domain, walked, independent):
    one = block_average(moments(domain, walked))
    other = moments(domain, independent)
    assert one.reliable
    error = np.hypot(one.error, other.std(axis=0) / np.sqrt(len(other)))
    return (one.mean - other.mean(axis=0)) / error


def test_billiard_walk_agrees_with_rejection_in_seven_dimensions(rng):
    domain = zigzag().domain
    independent = by_rejection(domain, 1500, rng, double_cone=True)
    walked = billiard_walk(domain, 200_000, rng=rng)
    assert domain.contains(walked).all()
    assert np.abs(z_scores(domain, walked, independent)).max() < 3


def test_billiard_walk_knows_the_symmetry_of_the_domain(rng):
    # exact values, with small errors: <eta_0> = 1/2, <eta_i> = 0
    domain = zigzag().domain
    found = block_average(billiard_walk(domain, 200_000, rng=rng))
    exact = np.array([0.5, *[0.0] * 6])
    assert np.abs((found.mean - exact) / found.error).max() < 3
    assert found.error.max() < 1e-3


@pytest.mark.parametrize("case", [l1_2, root_three])
def test_billiard_walk_in_other_domains(case, rng):
    domain = case().domain
    walked = billiard_walk(domain, 50_000, rng=rng)
    assert np.abs(z_scores(domain, walked, by_rejection(domain, 50_000, rng))).max() < 3


def test_billiard_walk_is_fast(rng):
    domain = zigzag().domain
    billiard_walk(domain, 1000, rng=rng)
    best = 0.0
    for _ in range(5):
        start = time.process_time()
        billiard_walk(domain, 20_000, rng=rng)
        best = max(best, 20_000 / (time.process_time() - start))
    assert best > 30_000  # 200,000 where nothing else runs: benchmarks/monte_carlo.py


def test_points_on_the_boundary_are_an_option(rng):
    domain = zigzag().domain
    at_wall = lambda points: (np.abs(domain.wall_distance(points)) < 1e-9).mean()  # noqa: E731
    assert at_wall(billiard_walk(domain, 5000, rng=rng)) == 0
    mixed = billiard_walk(domain, 5000, boundary=0.25, rng=rng)
    assert at_wall(mixed) == pytest.approx(0.25, abs=0.03)
    assert domain.contains(mixed).all()
    # flights that meet no wall as well
    all_at_wall = billiard_walk(domain, 5000, boundary=1.0, rng=rng)
    assert at_wall(all_at_wall) == 1
    assert domain.contains(all_at_wall).all()


def test_walk_in_two_of_seven_variables(rng):
    domain = zigzag().domain
    # uniform in the triangles of Eq. 8, |eta_1| <= min(eta_0, 1 - eta_0), up to perfect order,
    # although there is no room for the others at their tips
    exact = np.array([0.5, 0.0, 1 / 24, 0.25 + 1 / 24, (1 - 0.4 / 0.5) ** 2])
    for width in (0.0, 0.05):
        points = billiard_section(domain, 20_000, free=(0, 1), width=width, rng=rng)
        assert points.shape == (20_000, 7)
        assert domain.contains(points).all()
        assert np.abs(points[:, 2:]).max() <= width
        composition, order = points[:, :2].T
        parts = [composition, order, order**2, composition**2, np.abs(order) > 0.4]
        found = block_average(np.column_stack(parts).astype(float))
        assert np.abs((found.mean - exact) / found.error).max() < 3
    assert (domain.wall_distance(points) < 1e-9).mean() < 1e-3
    middle = points[np.abs(points[:, 1]) < 0.2]
    room = np.abs(middle[:, 2:][(middle[:, 0] > 0.45) & (middle[:, 0] < 0.55)])
    assert room.mean() == pytest.approx(0.025, rel=0.05)  # uniform where there is room


@pytest.mark.parametrize("method", ["sobol", "halton", "latin_hypercube"])
def test_quasi_random_points(method, rng):
    domain = l1_2().domain
    points = quasi_random(domain, 3000, method=method, rng=rng)
    assert domain.contains(points).all()
    reference = by_rejection(domain, 20_000, rng)
    error = moments(domain, reference).std(axis=0) * np.sqrt(1 / 3000 + 1 / 20_000)
    difference = moments(domain, points).mean(axis=0) - moments(domain, reference).mean(axis=0)
    assert (np.abs(difference) < 4 * error).all()


def test_perturbed_points_stay_inside(rng):
    domain = zigzag().domain
    wells = zigzag().wells
    ends = np.eye(7)[:1] * [[0.0], [1.0]]
    for corner in (*wells[:3], *ends):
        points = perturbed(domain, np.tile(corner, (20, 1)), 0.05, rng=rng)
        assert domain.contains(points).all()
        assert np.abs(points - corner).max() <= 0.05 + 1e-12
        assert len(np.unique(points, axis=0)) == 20
    middle = np.tile(domain.centre, (4000, 1))
    spread = perturbed(domain, middle, 0.02, rng=rng) - middle
    assert np.allclose(spread.std(axis=0), 0.02 / np.sqrt(3), rtol=0.05)


def test_same_seed_same_points():
    domain = zigzag().domain
    walks = [billiard_walk(domain, 100, rng=np.random.default_rng(s)) for s in (1, 1, 2)]
    assert np.array_equal(walks[0], walks[1])
    assert not np.array_equal(walks[0], walks[2])


def test_wrong_input_is_named(rng):
    domain = zigzag().domain
    with pytest.raises(ValueError, match="starts inside"):
        billiard_walk(domain, 10, start=np.full(7, 0.5), rng=rng)
    with pytest.raises(ValueError, match="at least 1"):
        billiard_walk(domain, 0, rng=rng)
    with pytest.raises(ValueError, match="fraction"):
        billiard_walk(domain, 10, boundary=2, rng=rng)
    with pytest.raises(ValueError, match="outside the domain"):
        perturbed(domain, np.full((1, 7), 0.5), 0.1, rng=rng)
    with pytest.raises(ValueError, match="'grid'"):
        quasi_random(domain, 10, method="grid", rng=rng)
    with pytest.raises(ValueError, match="not bounded"):
        _ = Domain.of_slabs([[1.0, 0.0]]).bounds
    with pytest.raises(ValueError, match="empty"):
        _ = domain.section([0], [0.5, 0.9, 0.9, 0, 0, 0, 0]).bounds


@pytest.fixture
def rng():
    return np.random.default_rng(7)
