"""Section of a run file about the surface: ``fit``."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ase_hal.free_energy import IDNN, IDNNFit, OrderParameters, PolynomialFit
from ase_hal.free_energy.idnn_settings import (
    Activation,
    Architecture,
    LevenbergMarquardt,
    Training,
)
from ase_hal.free_energy.learning import Fit
from ase_hal.runfile.errors import Problems
from ase_hal.runfile.fields import NOT_EMPTY, Count, Index, NotNegative, Section

_POLYNOMIAL = ("composition_degree",)
_NETWORK = ("hidden", "trivial_hidden", "activation", "iterations", "validation", "patience")


class FitSection(Section):
    """``fit``: what kind of surface, and how it is fitted."""

    name: Literal["idnn", "polynomial"] = "idnn"
    degree: Annotated[Count, Field(ge=2, le=20)] = 6
    mixing: bool = True
    members: Index = 0
    weigh_errors: bool = False
    composition_degree: Annotated[Count, Field(le=60)] = 12
    hidden: Annotated[tuple[Count, ...], NOT_EMPTY] = Architecture.hidden
    trivial_hidden: tuple[Count, ...] = Architecture.trivial_hidden
    activation: Activation = Architecture.activation
    iterations: Count = LevenbergMarquardt.iterations
    validation: Annotated[NotNegative, Field(lt=1)] = Training.validation
    patience: Count = LevenbergMarquardt.PATIENCE

    @model_validator(mode="after")
    def _keys_belong_together(self) -> FitSection:
        strange = _NETWORK if self.name == "polynomial" else _POLYNOMIAL
        Problems.raise_any(
            ((key,), f"does not go with {self.name!r}")
            for key in strange
            if key in self.model_fields_set
        )
        return self

    def build(self, order_parameters: OrderParameters, workers: int = 1) -> Fit:
        """The fit; `Problems` where what it needs is not installed."""
        if self.name == "polynomial":
            return PolynomialFit(
                order_parameters,
                degree=self.degree,
                composition_degree=self.composition_degree,
                mixing=self.mixing,
                members=self.members,
                weigh_errors=self.weigh_errors,
            )
        members = max(self.members, 1)
        return IDNNFit(self.idnn(order_parameters), members, self.weigh_errors, workers)

    def idnn(self, order_parameters: OrderParameters) -> IDNN:
        """The networks; `Problems` without torch."""
        if find_spec("torch") is None:
            reason = "an IDNN needs torch: pip install 'ase-hal[torch]'; or take 'polynomial'"
            raise Problems([(("name",), reason)])
        architecture = Architecture(self.hidden, self.trivial_hidden, self.activation)
        training = Training(
            LevenbergMarquardt(self.iterations),
            validation=self.validation,
            patience=self.patience,
        )
        mixing = order_parameters.inverse if self.mixing else "none"
        return IDNN(order_parameters.invariants(self.degree), architecture, training, mixing)


class SearchSection(Section):
    """``search``: other hyperparameters of an IDNN, after two rounds with a rising error."""

    trials: Annotated[Count, Field(ge=2)] = 20
    members: Annotated[Count, Field(ge=2)] = 5

    @model_validator(mode="after")
    def _optuna_is_there(self) -> SearchSection:
        if find_spec("optuna") is None:
            raise ValueError("a search needs optuna: pip install 'ase-hal[torch]'")
        return self
