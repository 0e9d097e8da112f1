"""Samples as properties of points, as ASE's calculators have them of atoms."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from threading import RLock
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.sample import Sample
from ase_hal.randomness import check_generator
from ase_hal.threads import threadsafe_cached_property

Self = TypeVar("Self", bound="PropertyCalculator")


class PropertyCalculator(ABC):
    """What has properties near a point: `UmbrellaMC` and whatever takes its place."""

    implemented_properties: ClassVar[tuple[str, ...]] = ("eta", "eta_error", "mu", "mu_error")
    rng: np.random.Generator
    _cache: tuple[bytes, Sample] | None = None

    @property
    @abstractmethod
    def parameters(self) -> dict[str, Any]:
        """What the results depend on."""

    @abstractmethod
    def sample(self, eta: npt.ArrayLike) -> Sample:
        """Find everything near one point (d,)."""

    def with_generator(self: Self, rng: np.random.Generator) -> Self:
        """The same calculator with other random numbers; all else is shared."""
        check_generator(rng)
        other = copy.copy(self)
        other.rng, other._cache = rng, None
        return other

    def get_property(self, name: str, eta: npt.ArrayLike) -> Any:
        """Return one of `implemented_properties` near a point (d,), as `sample` found it.

        The last sample is kept: another property of the same point, with the same parameters, is
        of the same run. Threads that share a calculator, and its generator, take turns.
        """
        if name not in self.implemented_properties:
            raise ValueError(f"{name!r} is none of {self.implemented_properties}")
        key = np.asarray(eta, dtype=float).tobytes() + repr(self.parameters).encode()
        with self._lock:
            if self._cache is None or self._cache[0] != key:
                self._cache = (key, self.sample(eta))
            sample = self._cache[1]
        return copy.copy(getattr(sample, name))

    @threadsafe_cached_property
    def _lock(self) -> RLock:
        return RLock()

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        state.pop("_lock", None)
        return state
