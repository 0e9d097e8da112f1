"""Monte Carlo moves between the steps of a dynamics, on the same biased surface."""

from ase_hal.dynamics.moves.cell import CellMC
from ase_hal.dynamics.moves.metropolis import Move, MoveCount
from ase_hal.dynamics.moves.swap import SwapMC

__all__ = ["CellMC", "Move", "MoveCount", "SwapMC"]
