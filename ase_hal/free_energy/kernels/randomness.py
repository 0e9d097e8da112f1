"""Random numbers inside kernels: xoshiro256++ (Blackman and Vigna), seeded from outside."""

# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import math

import numpy as np

from ase_hal.compiled import inlined

_EXACT = 1.0 / (1 << 53)


@inlined
def random_bits(state):
    """Draw 64 random bits and move the state (4,) on."""
    s0, s1, s2, s3 = state[0], state[1], state[2], state[3]
    total = s0 + s3
    result = ((total << np.uint64(23)) | (total >> np.uint64(41))) + s0
    shifted = s1 << np.uint64(17)
    s2 ^= s0
    s3 ^= s1
    s1 ^= s2
    s0 ^= s3
    s2 ^= shifted
    state[0], state[1], state[2] = s0, s1, s2
    state[3] = (s3 << np.uint64(45)) | (s3 >> np.uint64(19))
    return result


@inlined
def random_uniform(state):
    """Draw a number in (0, 1)."""
    return (np.int64(random_bits(state) >> np.uint64(11)) + 0.5) * _EXACT


@inlined
def random_normal(state):
    """Draw a number of the normal distribution."""
    radius = math.sqrt(-2.0 * math.log(random_uniform(state)))
    return radius * math.cos(2.0 * math.pi * random_uniform(state))
