"""ASE calculators on a committee: its mean, and the surface biased by its uncertainty."""

from ase_hal.calculators.committee import CommitteeCalculator
from ase_hal.calculators.hal import HALCalculator

__all__ = ["CommitteeCalculator", "HALCalculator"]
