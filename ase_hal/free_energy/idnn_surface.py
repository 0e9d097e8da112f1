"""A trained IDNN: a free energy surface from chemical potentials."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.idnn_settings import Architecture, History
from ase_hal.free_energy.polynomials import Polynomials
from ase_hal.free_energy.surface import checked_points, checked_temperatures
from ase_hal.free_energy.symmetry import Array
from ase_hal.parallel import one_torch_thread
from ase_hal.threads import threadsafe_cached_property

if TYPE_CHECKING:
    from ase_hal.free_energy.idnn_network import FreeEnergy, Tensor

CHUNK = 4096  # points at a time: some tens of MB


@dataclass(frozen=True, eq=False)
class Constants:
    """What an IDNN takes from its data before it is trained.

    Attributes
    ----------
    shift, scale : (k,) arrays
        Means and standard deviations of the invariants.
    energy : float
        Unit of energy of the networks, eV.
    centre_K, width_K : float
        Mean and standard deviation of the temperatures; a width of 0 where there is only one,
        which then is no input.
    mixing_rows, mixing_weights : (S, d), (S,) arrays
        Sublattices of the ideal-mixing term: their mean occupations are rows @ eta, and their
        fractions of all sites. S = 0 for no such term.
    """

    shift: Array
    scale: Array
    energy: float
    centre_K: float
    width_K: float
    mixing_rows: Array
    mixing_weights: Array


@dataclass(frozen=True, eq=False)
class IDNNSurface:
    """Free energy of order parameters by an integrable deep neural network (section 1.1.4).

    Made by `IDNN.fit` or `IDNNSurface.read`; it is a `Surface`. The free energy is zero for the
    empty lattice. Its derivatives are exact, and it has the symmetry of its invariants. Points are
    worked on in chunks: their number is limited by the size of the results only.

    Attributes
    ----------
    invariants : Polynomials
    architecture : Architecture
    constants : Constants
    parameters : dict of arrays
        Weights and biases of the networks.
    history : History
        How training went.
    """

    invariants: Polynomials
    architecture: Architecture
    constants: Constants
    parameters: Mapping[str, Array]
    history: History

    def __repr__(self) -> str:
        at = "near" if self.temperature_is_input else "at"
        count = sum(np.size(values) for values in self.parameters.values())
        return (
            f"<IDNNSurface: {self.dimension} order parameters, {count} parameters, "
            f"{at} {self.constants.centre_K:g} K>"
        )

    @property
    def dimension(self) -> int:
        """Number of order parameters d."""
        return self.invariants.dimension

    @property
    def temperature_is_input(self) -> bool:
        """Whether it was trained at several temperatures, and needs to be told which."""
        return self.constants.width_K > 0

    def free_energy(self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike | None = None) -> Array:
        """Values g (n,) at points (n, d), eV per site.

        Parameters
        ----------
        eta : (n, d) array
        temperature_K : float or (n,) array, optional
            By default that of the training data, if it was one.
        """
        return self._chunked(lambda e, t: self.model(e, t)[0], eta, temperature_K, ())

    def chemical_potentials(
        self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike | None = None
    ) -> Array:
        """First derivatives mu (n, d) at points (n, d), eV per site; see `free_energy`."""
        d = self.dimension
        return self._chunked(lambda e, t: self.model.everything(e, t)[1], eta, temperature_K, (d,))

    def hessian(self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike | None = None) -> Array:
        """Second derivatives (n, d, d) at points (n, d), eV per site; see `free_energy`."""
        d = self.dimension
        return self._chunked(self.model.hessian, eta, temperature_K, (d, d))

    def entropy(self, eta: npt.ArrayLike, temperature_K: npt.ArrayLike) -> Array:
        """Configurational entropy -dg/dT (n,) at points (n, d), eV/K per site.

        Only a surface that was trained at several temperatures knows it.
        """
        if not self.temperature_is_input:
            raise ValueError(
                f"this surface knows one temperature, {self.constants.centre_K} K: no entropy"
            )

        def by_temperature(e: Tensor, t: Tensor) -> Tensor:
            slope: Tensor = self.model.everything(e, t)[2]
            return self.model.everything(0 * e, t)[2] - slope

        return self._chunked(by_temperature, eta, temperature_K, ())

    def write(self, path: str | Path) -> None:
        """Write one ``.npz`` file of arrays and JSON, without pickle."""
        from ase_hal.free_energy.idnn_file import write_surface

        write_surface(self, path)

    @classmethod
    def read(cls, path: str | Path) -> IDNNSurface:
        """Read what `write` wrote.

        Raises
        ------
        ValueError
            If the file is of another kind or version, or is damaged.
        """
        from ase_hal.free_energy.idnn_file import read_surface

        return read_surface(path)

    @threadsafe_cached_property
    def model(self) -> FreeEnergy:
        """The function itself, as a torch module."""
        from ase_hal.free_energy.idnn_network import build

        return build(self.invariants, self.architecture, self.constants, self.parameters)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _chunked(
        self,
        function: Callable[[Tensor, Tensor], Tensor],
        eta: npt.ArrayLike,
        temperature_K: npt.ArrayLike | None,
        shape: tuple[int, ...],
    ) -> Array:
        from ase_hal.free_energy.idnn_features import torch

        points = checked_points(eta, self.dimension)
        temperatures = checked_temperatures(
            temperature_K,
            len(points),
            own=self.constants.centre_K,
            others=self.temperature_is_input,
        )
        result = np.empty((len(points), *shape))
        with one_torch_thread(), torch.no_grad():
            for start in range(0, len(points), CHUNK):
                part = slice(start, start + CHUNK)
                tensors = (torch.as_tensor(x[part].copy()) for x in (points, temperatures))
                result[part] = function(*tensors).numpy()
        return result
