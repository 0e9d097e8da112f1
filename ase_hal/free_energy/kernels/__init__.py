"""Compiled inner loops: the billiard walk and the Monte Carlo flips."""

from ase_hal.free_energy.kernels.flips import flip
from ase_hal.free_energy.kernels.walk import walk

__all__ = ["flip", "walk"]
