"""Dynamics that looks for structures worth labelling."""

from ase_hal.dynamics.barostat import Barostat
from ase_hal.dynamics.explorer import HALExplorer, Stage, Trajectory
from ase_hal.dynamics.langevin import HALLangevin
from ase_hal.dynamics.moves import CellMC, Move, MoveCount, SwapMC
from ase_hal.dynamics.ramp import Ramp
from ase_hal.dynamics.tau import AdaptiveTau
from ase_hal.dynamics.trace import Trace
from ase_hal.dynamics.trigger import Trigger
from ase_hal.dynamics.until import run_until

__all__ = [
    "AdaptiveTau",
    "Barostat",
    "CellMC",
    "HALExplorer",
    "HALLangevin",
    "Move",
    "MoveCount",
    "Ramp",
    "Stage",
    "SwapMC",
    "Trace",
    "Trajectory",
    "Trigger",
    "run_until",
]
