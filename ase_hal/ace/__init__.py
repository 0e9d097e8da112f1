"""Linear atomic cluster expansion: basis, compiled evaluation."""

from ase_hal.ace.basis import ACEBasis, BasisFunction, InnerCutoff, PairPart

__all__ = ["ACEBasis", "BasisFunction", "InnerCutoff", "PairPart"]
