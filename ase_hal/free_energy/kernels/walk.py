"""The billiard walk between slabs."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

from ase_hal.compiled import inlined, kernel
from ase_hal.free_energy.kernels.randomness import random_normal, random_uniform


@kernel
def walk(
    points, x, normals, middle, half, products, mean_path, max_reflections, boundary, work, state
):  # fmt: skip
    """Fill points (n, d) by a walk from x (d,), which is moved.

    Inside is where abs(normals (m, d) @ x - middle (m,)) <= half (m,); products (m, m) are those
    of the normals. A fraction `boundary` of the points is the last place at a wall instead of
    the end of the flight, or the first one beyond that where no wall was met. The space to work
    in is work (3 m + 3 d,).

    Returns how many flights were discarded.
    """
    n, d = points.shape
    m = len(normals)
    heights, rates, times = work[:m], work[m : 2 * m], work[2 * m : 3 * m]
    direction, place = work[3 * m : 3 * m + d], work[3 * m + d : 3 * m + 2 * d]
    wall = work[3 * m + 2 * d :]
    discarded = 0
    for point in range(n):
        _aim(direction, state)
        for k in range(d):
            place[k] = x[k]
            wall[k] = x[k]
        for i in range(m):
            height, rate = -middle[i], 0.0
            for k in range(d):
                height += normals[i, k] * x[k]
                rate += normals[i, k] * direction[k]
            heights[i], rates[i] = height, rate
        left = -mean_path * math.log(random_uniform(state))
        reflections = 0
        while reflections <= max_reflections:
            for i in range(m):
                towards = heights[i] if rates[i] > 0.0 else -heights[i]
                times[i] = (half[i] - towards) / abs(rates[i])
            time, hit = left, -1
            for i in range(m):
                if times[i] < time:
                    time, hit = times[i], i
            time = max(time, 0.0)  # rounding may have taken it past a wall
            for k in range(d):
                place[k] += time * direction[k]
            if hit < 0:
                break
            left -= time
            reflections += 1
            factor = 2.0 * rates[hit] / products[hit, hit]
            for k in range(d):
                direction[k] -= factor * normals[hit, k]
                wall[k] = place[k]
            for i in range(m):
                heights[i] += time * rates[i]
                rates[i] -= factor * products[hit, i]
        if reflections == 0:
            nearest = times[0]
            for i in range(1, m):
                nearest = min(nearest, times[i])
            beyond = nearest - left
            for k in range(d):
                wall[k] = place[k] + beyond * direction[k]
        if reflections <= max_reflections:
            for k in range(d):
                x[k] = place[k]
        else:
            discarded += 1
        at_wall = boundary > 0.0 and random_uniform(state) < boundary
        for k in range(d):
            points[point, k] = wall[k] if at_wall else x[k]
    return discarded


@inlined
def _aim(direction, state):
    """Draw a direction, all alike."""
    square = 0.0
    for k in range(len(direction)):
        direction[k] = random_normal(state)
        square += direction[k] * direction[k]
    for k in range(len(direction)):
        direction[k] /= math.sqrt(square)
