"""Points of a free-energy surface: where one is wanted, and what Monte Carlo found there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.sample import Sample
from ase_hal.free_energy.symmetry import Array, IntArray


@dataclass(frozen=True, eq=False)
class Proposal:
    """A point that a criterion wants to know about.

    Attributes
    ----------
    round, index : int
        Its place in the learning: no other point of the round has the same index.
    criterion : str
    eta : (d,) array
        Where.
    temperature_K : float
    mu : (d,) array or None
        A guess of the chemical potentials there, eV per site.
    """

    round: int
    index: int
    criterion: str
    eta: Array
    temperature_K: float
    mu: Array | None = None


@dataclass(frozen=True, eq=False)
class Point:
    """What was found near a proposed point. See `Sample` for all that is not explained here.

    Attributes
    ----------
    round, index, criterion, temperature_K
        Of the proposal.
    target : (d,) array
        Where the point was wanted; it lies at `eta`.
    kappa, phi : (d,) arrays
        Centre and stiffness (eV per site) of the bias.
    """

    round: int
    index: int
    criterion: str
    temperature_K: float
    target: Array
    eta: Array
    eta_error: Array
    mu: Array
    mu_error: Array
    energy: float
    energy_error: float
    order: float
    kappa: Array
    phi: Array
    acceptance: float
    sweeps: int
    discarded: int
    converged: bool

    @classmethod
    def of(cls, proposal: Proposal, sample: Sample) -> Point:
        """Join what was wanted and what was found."""
        own = {f.name: getattr(sample, f.name) for f in fields(Sample) if f.name != "ensemble"}
        return cls(
            round=proposal.round,
            index=proposal.index,
            criterion=proposal.criterion,
            temperature_K=proposal.temperature_K,
            target=proposal.eta,
            kappa=sample.ensemble.kappa,
            phi=sample.ensemble.phi,
            **own,
        )

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Point:
        """Rebuild a point from what `to_record` gave."""
        arrays = {k: np.array(v, float) for k, v in record.items() if isinstance(v, list)}
        return cls(**{**record, **arrays})

    def to_record(self) -> dict[str, Any]:
        """All of it as a mapping of plain values, which JSON keeps to the last digit."""
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in asdict(self).items()
        }


@dataclass(frozen=True, eq=False)
class FailedPoint:
    """A proposed point about which nothing was found, and why."""

    proposal: Proposal
    reason: str


@dataclass(frozen=True, eq=False)
class Points:
    """Data that a surface is fitted to or tested with: n points of d order parameters.

    Attributes
    ----------
    eta, eta_error, mu, mu_error, target : (n, d) arrays
        As of `Point`; chemical potentials in eV per site.
    temperature_K : (n,) array
    round : (n,) integers
    criterion : (n,) array of str
        What proposed each.
    converged : (n,) array of bool
    """

    eta: Array
    eta_error: Array
    mu: Array
    mu_error: Array
    target: Array
    temperature_K: Array
    round: IntArray
    criterion: npt.NDArray[np.str_]
    converged: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, points: Iterable[Point], dimension: int) -> Points:
        """Collect points, in the order in which they were proposed."""
        ordered = sorted(points, key=lambda point: (point.round, point.index))

        def column(name: str, kind: type, *shape: int) -> Any:
            values = [getattr(point, name) for point in ordered]
            return np.array(values, dtype=kind).reshape(len(ordered), *shape)

        vectors = ("eta", "eta_error", "mu", "mu_error", "target")
        return cls(
            **{name: column(name, float, dimension) for name in vectors},
            temperature_K=column("temperature_K", float),
            round=column("round", np.int64),
            criterion=column("criterion", str),
            converged=column("converged", bool),
        )

    def __repr__(self) -> str:
        at = ", ".join(f"{temperature:g} K" for temperature in self.temperatures_K)
        return f"<Points: {len(self)} of {self.dimension} order parameters ({at or 'none'})>"

    def __len__(self) -> int:
        return len(self.eta)

    def __getitem__(self, chosen: npt.ArrayLike) -> Points:
        """Some of the points, by a mask (n,) or by their numbers."""
        which = np.asarray(chosen)
        return Points(**{f.name: getattr(self, f.name)[which] for f in fields(self)})

    @property
    def dimension(self) -> int:
        """Number of order parameters d."""
        return self.eta.shape[1]

    @property
    def missed_by(self) -> float:
        """The largest difference of an order parameter from its target, median over the points.

        It is 0 where there are none.
        """
        away = np.abs(self.eta - self.target)
        return float(np.median(away.max(axis=1))) if len(away) else 0.0

    def weights_by_error(self) -> Array:
        """Weights (n,) for a fit: the mean over components of ``s^2 / (s^2 + mu_error^2)``.

        s is the median error of the component. A typical point has the weight 1/2, one that Monte
        Carlo could not settle less.
        """
        typical = np.median(self.mu_error, axis=0)
        with np.errstate(invalid="ignore"):
            shares = typical**2 / (typical**2 + self.mu_error**2)
        return np.asarray(np.where(self.mu_error > 0, shares, 1.0).mean(axis=1))

    @property
    def temperatures_K(self) -> tuple[float, ...]:
        """The temperatures that occur, from low to high."""
        return tuple(np.unique(self.temperature_K).tolist())

    @property
    def criteria(self) -> tuple[str, ...]:
        """The criteria that occur, in the order in which they first do."""
        return tuple(dict.fromkeys(self.criterion.tolist()))
