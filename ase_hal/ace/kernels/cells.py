"""Neighbour list by linked cells, for any cell, periodicity and number of images."""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from ase_hal.compiled import making_kernel


@making_kernel
def find_pairs(
    fractional, positions, cell, species, n_species, bins, reach, images, periodic, radius,
    first, neighbour, shift,
):  # fmt: skip
    """All pairs closer than ``radius``; returns their number, which may exceed the room.

    Fractional coordinates (N, 3) lie in [0, 1); ``bins`` are counted along each axis, of which
    ``reach`` are searched to either side. Pairs of atom i and neighbours of species s are
    ``first[i * S + s]`` and following. ``shift`` numbers the translations (a, b, c) of the
    cell with -images <= a, b, c <= images, c fastest.
    """
    n_atoms = fractional.shape[0]
    n_cells = bins[0] * bins[1] * bins[2]
    cell_of = np.empty(n_atoms, dtype=np.int64)
    start = np.zeros(n_cells + 1, dtype=np.int64)
    index = np.empty((n_atoms, 3), dtype=np.int64)
    for i in range(n_atoms):
        for axis in range(3):
            index[i, axis] = min(int(fractional[i, axis] * bins[axis]), bins[axis] - 1)
        c = (index[i, 0] * bins[1] + index[i, 1]) * bins[2] + index[i, 2]
        cell_of[i] = c
        start[c + 1] += 1
    for c in range(n_cells):
        start[c + 1] += start[c]
    members = np.empty(n_atoms, dtype=np.int64)
    filled = start[:-1].copy()
    for i in range(n_atoms):
        members[filled[cell_of[i]]] = i
        filled[cell_of[i]] += 1
    room = neighbour.size
    found = 0
    radius2 = radius * radius
    scratch_j = np.empty(64, dtype=np.int64)
    scratch_shift = np.empty(64, dtype=np.int64)
    for i in range(n_atoms):
        n_found = 0
        for a in range(index[i, 0] - reach[0], index[i, 0] + reach[0] + 1):
            image_a = a // bins[0]
            if image_a != 0 and not periodic[0]:
                continue
            for b in range(index[i, 1] - reach[1], index[i, 1] + reach[1] + 1):
                image_b = b // bins[1]
                if image_b != 0 and not periodic[1]:
                    continue
                for c in range(index[i, 2] - reach[2], index[i, 2] + reach[2] + 1):
                    image_c = c // bins[2]
                    if image_c != 0 and not periodic[2]:
                        continue
                    x = image_a * cell[0, 0] + image_b * cell[1, 0] + image_c * cell[2, 0]
                    y = image_a * cell[0, 1] + image_b * cell[1, 1] + image_c * cell[2, 1]
                    z = image_a * cell[0, 2] + image_b * cell[1, 2] + image_c * cell[2, 2]
                    x -= positions[i, 0]
                    y -= positions[i, 1]
                    z -= positions[i, 2]
                    translation = (
                        (image_a + images[0]) * (2 * images[1] + 1) + image_b + images[1]
                    ) * (2 * images[2] + 1) + (image_c + images[2])
                    home = ((a - image_a * bins[0]) * bins[1] + b - image_b * bins[1]) * bins[2] + (
                        c - image_c * bins[2]
                    )
                    for entry in range(start[home], start[home + 1]):
                        j = members[entry]
                        dx = positions[j, 0] + x
                        dy = positions[j, 1] + y
                        dz = positions[j, 2] + z
                        if dx * dx + dy * dy + dz * dz >= radius2:
                            continue
                        if j == i and image_a == 0 and image_b == 0 and image_c == 0:
                            continue
                        if n_found == scratch_j.size:
                            more_j = np.empty(2 * n_found, dtype=np.int64)
                            more_j[:n_found] = scratch_j
                            more_shift = np.empty(2 * n_found, dtype=np.int64)
                            more_shift[:n_found] = scratch_shift
                            scratch_j, scratch_shift = more_j, more_shift
                        scratch_j[n_found] = j
                        scratch_shift[n_found] = translation
                        n_found += 1
        for s in range(n_species):
            first[i * n_species + s] = found
            for entry in range(n_found):
                j = scratch_j[entry]
                if species[j] == s:
                    if found < room:
                        neighbour[found] = j
                        shift[found] = scratch_shift[entry]
                    found += 1
    first[n_atoms * n_species] = found
    return found
