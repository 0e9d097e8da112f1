"""Dynamics that looks for structures worth labelling."""

from ase_hal.dynamics.barostat import Barostat
from ase_hal.dynamics.contour import BiasedContourExploration
from ase_hal.dynamics.contour_approach import UnreachableTarget
from ase_hal.dynamics.contour_state import ContourState
from ase_hal.dynamics.evolution import ContourWalk, Evolution, MolecularDynamics, Relaxation
from ase_hal.dynamics.evolution_explorer import EvolutionExplorer, Evolved, Pick
from ase_hal.dynamics.evolution_stage import EvolutionStage
from ase_hal.dynamics.explorer import HALExplorer, Stage, Trajectory
from ase_hal.dynamics.langevin import HALLangevin
from ase_hal.dynamics.moves import CellMC, Move, MoveCount, SwapMC
from ase_hal.dynamics.ramp import Ramp
from ase_hal.dynamics.saddle import SaddlePath, SaddleSearch
from ase_hal.dynamics.saddle_kinds import count_saddles, saddle_kind
from ase_hal.dynamics.tau import AdaptiveTau
from ase_hal.dynamics.trace import Trace
from ase_hal.dynamics.trigger import Trigger
from ase_hal.dynamics.until import run_until

__all__ = [
    "AdaptiveTau",
    "Barostat",
    "BiasedContourExploration",
    "CellMC",
    "ContourState",
    "ContourWalk",
    "Evolution",
    "EvolutionExplorer",
    "EvolutionStage",
    "Evolved",
    "HALExplorer",
    "HALLangevin",
    "MolecularDynamics",
    "Move",
    "MoveCount",
    "Pick",
    "Ramp",
    "Relaxation",
    "SaddlePath",
    "SaddleSearch",
    "Stage",
    "SwapMC",
    "Trace",
    "Trajectory",
    "Trigger",
    "UnreachableTarget",
    "count_saddles",
    "run_until",
    "saddle_kind",
]
