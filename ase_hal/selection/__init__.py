"""Which structures are worth a reference calculation."""

from ase_hal.extrapolation import ExtrapolationGrade, Tail, select_tail
from ase_hal.selection.greedy_filter import Filtered, filter_greedily
from ase_hal.selection.guards import Refusal
from ase_hal.selection.ranking import Ranking, rank, select

__all__ = [
    "ExtrapolationGrade",
    "Filtered",
    "Ranking",
    "Refusal",
    "Tail",
    "filter_greedily",
    "rank",
    "select",
    "select_tail",
]
