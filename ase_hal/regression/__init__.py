"""Bayesian linear regression: from weighted rows to a posterior over coefficients."""

from ase_hal.regression.evidence import log_evidence
from ase_hal.regression.factor import Factor, Reduced
from ase_hal.regression.posterior import Posterior
from ase_hal.regression.relevance import automatic_relevance, relevance_path
from ase_hal.regression.ridge import bayesian_ridge

__all__ = [
    "Factor",
    "Posterior",
    "Reduced",
    "automatic_relevance",
    "bayesian_ridge",
    "log_evidence",
    "relevance_path",
]
