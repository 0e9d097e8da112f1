"""Decorations of paths: the numbers of the slides, counting against enumeration."""

import itertools

import numpy as np
import pytest

from ase_hal.structures import (
    bcc_interstitial_path,
    bcc_vacancy_path,
    count_decorations,
    decorations,
)
from ase_hal.structures.decorations import isometries


def enumerated(permutations, n_colours, **keywords):
    return np.concatenate(list(decorations(permutations, n_colours, **keywords)))


def test_interstitial_path():
    """D2d, of order 8: 1,035 neighbour permutations in three-component bcc."""
    path = bcc_interstitial_path()
    group = path.permutations(reversible=True)
    assert group.shape == (8, 8)
    assert count_decorations(group, 3) == 1035
    assert len(enumerated(group, 3)) == 1035


def test_vacancy_path():
    """C3v, of order 6: 826,929 neighbour permutations in three-component bcc."""
    path = bcc_vacancy_path()
    group = path.permutations()
    assert path.neighbours.shape == (14, 3)
    assert group.shape == (6, 14)
    assert count_decorations(group, 3) == 826_929
    assert len(path.permutations(reversible=True)) == 12  # D3d


@pytest.mark.slow
def test_vacancy_path_enumerated():
    total = sum(len(part) for part in decorations(bcc_vacancy_path().permutations(), 3))
    assert total == 826_929


@pytest.mark.parametrize("path", [bcc_interstitial_path(), bcc_vacancy_path()])
def test_symmetries_are_a_group_of_isometries(path):
    group = path.permutations(reversible=True)
    rows = {tuple(row) for row in group.tolist()}
    assert len(rows) == len(group)
    assert tuple(range(len(path.neighbours))) == tuple(group[0])
    assert all(tuple(a[b]) in rows for a, b in itertools.product(group, repeat=2))
    d = np.linalg.norm(path.neighbours[:, None] - path.neighbours, axis=2)
    assert all(np.allclose(d[np.ix_(row, row)], d) for row in group)


def test_every_decoration_has_exactly_one_representative():
    """Against orbits made one by one, two colours on the interstitial path."""
    group = bcc_interstitial_path().permutations()
    found = {tuple(x) for x in enumerated(group, 2, chunk=37).tolist()}
    orbits = {
        min(tuple(x[i] for i in row) for row in group.tolist())
        for x in itertools.product(range(2), repeat=8)
    }
    assert found == orbits
    assert len(found) == count_decorations(group, 2)


def test_necklaces():
    """Rotations of a ring: the numbers of necklaces, known by heart by combinatorialists."""
    for n, expected in [(3, 4), (4, 6), (5, 8), (6, 14)]:
        rotations = [np.roll(np.arange(n), k) for k in range(n)]
        assert count_decorations(rotations, 2) == expected
        assert len(enumerated(rotations, 2)) == expected


def test_the_cube_has_48_symmetries():
    corners = np.array(list(itertools.product((0, 1), repeat=3)))
    assert len(isometries(corners, np.zeros(8, dtype=int))) == 48
    marked = np.array([1, *[0] * 7])
    assert len(isometries(corners, marked)) == 6


def test_bad_input():
    with pytest.raises(ValueError, match="each of 0"):
        count_decorations([[0, 0, 1]], 2)
    with pytest.raises(ValueError, match="n_colours"):
        count_decorations([[0, 1]], 0)
    with pytest.raises(ValueError, match="not a group"):
        count_decorations([[0, 1, 2], [1, 2, 0]], 2)
    with pytest.raises(ValueError, match="too many"):
        next(decorations([range(60)], 3))
    with pytest.raises(ValueError, match="same place"):
        isometries(np.zeros((2, 3)), np.zeros(2, dtype=int))
