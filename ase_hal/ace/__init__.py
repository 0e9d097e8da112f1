"""Linear atomic cluster expansion: basis, compiled evaluation, export."""

from ase_hal.ace.basis import ACEBasis, BasisFunction, InnerCutoff, PairPart
from ase_hal.ace.export import write_potential

__all__ = ["ACEBasis", "BasisFunction", "InnerCutoff", "PairPart", "write_potential"]
