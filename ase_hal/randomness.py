"""Random numbers come from a generator that the caller hands in."""

from __future__ import annotations

import numpy as np


def check_generator(rng: np.random.Generator) -> None:
    """Raise TypeError for anything but a numpy Generator."""
    if not isinstance(rng, np.random.Generator):
        raise TypeError(f"rng must be a numpy Generator, got {type(rng).__name__}")


def stream(rng: np.random.Generator, *numbers: int) -> np.random.Generator:
    """Generator with a stream of its own, told by numbers.

    It is a child of the seed sequence of `rng` and does not depend on what was drawn from `rng`
    before, nor on other streams: work that is done again gets the same numbers.
    """
    check_generator(rng)
    root = rng.bit_generator.seed_seq
    if not isinstance(root, np.random.SeedSequence):
        raise ValueError("rng must come from numpy.random.default_rng(seed)")
    child = np.random.SeedSequence(root.entropy, spawn_key=(*root.spawn_key, *numbers))
    return np.random.default_rng(child)
