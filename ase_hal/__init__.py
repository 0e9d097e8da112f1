"""Hyperactive learning for ASE: training sets for interatomic potentials that build themselves."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "CalculatorCommittee": "calculator_committee",
    "ExplorationEnded": "exploration",
    "GraceFit": "grace_fit",
    "LinearCommittee": "linear_committee",
    "LinearFit": "linear_fit",
    "NetworkCommittee": "network_committee",
    "NetworkFit": "network_fit",
    "PacemakerFit": "pacemaker_fit",
    "Prediction": "prediction",
    "Smoothness": "smoothness",
    "Step": "loop",
    "Weights": "weights",
    "WeightsByType": "weights",
    "label": "reference",
    "learn": "loop",
    "read_committee": "committees.files",
    "read_dataset": "data.reading",
    "select": "selection",
    "tune": "tuning",
}
__all__ = [
    "CalculatorCommittee",
    "ExplorationEnded",
    "GraceFit",
    "LinearCommittee",
    "LinearFit",
    "NetworkCommittee",
    "NetworkFit",
    "PacemakerFit",
    "Prediction",
    "Smoothness",
    "Step",
    "Weights",
    "WeightsByType",
    "label",
    "learn",
    "read_committee",
    "read_dataset",
    "select",
    "tune",
]

if TYPE_CHECKING:
    from ase_hal.calculator_committee import CalculatorCommittee
    from ase_hal.committees.files import read_committee
    from ase_hal.data.reading import read_dataset
    from ase_hal.exploration import ExplorationEnded
    from ase_hal.grace_fit import GraceFit
    from ase_hal.linear_committee import LinearCommittee
    from ase_hal.linear_fit import LinearFit
    from ase_hal.loop import Step, learn
    from ase_hal.network_committee import NetworkCommittee
    from ase_hal.network_fit import NetworkFit
    from ase_hal.pacemaker_fit import PacemakerFit
    from ase_hal.prediction import Prediction
    from ase_hal.reference import label
    from ase_hal.selection import select
    from ase_hal.smoothness import Smoothness
    from ase_hal.tuning import tune
    from ase_hal.weights import Weights, WeightsByType


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that ``import ase_hal`` is quick."""
    if name not in _HOME:
        raise AttributeError(f"module 'ase_hal' has no attribute {name!r}")
    return getattr(importlib.import_module(f"ase_hal.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
