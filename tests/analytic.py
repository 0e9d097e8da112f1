"""Committees whose answers and statistics are known exactly."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from ase import Atoms, units

from ase_hal.prediction import Prediction

_VOIGT = ([0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1])


def voigt(tensor):
    """(3, 3) -> (xx, yy, zz, yz, xz, xy) of the symmetric part."""
    return ((tensor + tensor.T) / 2)[_VOIGT]


def demand_volume(atoms):
    if atoms.cell.rank < 3:
        raise ValueError("no stress without a volume")
    return abs(np.linalg.det(atoms.cell.array))


@dataclass(frozen=True)
class HarmonicCrystal:
    """Atoms tied to sites by springs, in a cell that resists a change of its volume.

    Member k has the energy ``sum_i k (1 + d_ki) |u_i|^2 / 2 + B V0 (V/V0 - 1)^2 / 2
    + v_k (V - V0)``, where u is the displacement from a site that moves with the cell; d and v
    have zero mean over the members, so that the mean is the model without them.
    sigma^2 = noise^2 + the variance of the members.
    """

    sites: np.ndarray  # (N, 3), scaled
    stiffness: float = 5.0  # eV/Å^2
    spread: np.ndarray | None = None  # d, (K, N)
    noise: float = 0.0  # eV
    bulk_modulus: float = 0.0  # eV/Å^3
    volume: float = 1.0  # V0, Å^3
    volume_spread: np.ndarray | None = None  # v, (K,), eV/Å^3
    free_stress: bool = False  # give the stress unasked

    elements = ("Al", "Si")
    force_scale = 0.5

    @classmethod
    def around(cls, atoms: Atoms, **keywords):
        """With the sites where the atoms are, and no stress in this cell."""
        volume = atoms.get_volume() if atoms.cell.rank == 3 else 1.0
        sites = atoms.positions @ np.linalg.inv(atoms.cell.complete().array)
        return cls(sites, volume=volume, **keywords)

    def predict(self, atoms, members=False, stress=False):
        u = atoms.positions - self.sites @ atoms.cell.complete().array
        stress = stress or (self.free_stress and atoms.cell.rank == 3)
        needs_volume = stress or self.bulk_modulus or self.volume_spread is not None
        volume = demand_volume(atoms) if needs_volume else self.volume
        expansion = volume / self.volume - 1
        d = np.zeros((1, len(atoms))) if self.spread is None else self.spread
        v = np.zeros(len(d)) if self.volume_spread is None else self.volume_spread
        half = 0.5 * self.stiffness * (u**2).sum(axis=1)
        energy = half.sum() + 0.5 * self.bulk_modulus * self.volume * expansion**2
        deviation = d @ half + v * (volume - self.volume)  # (K,)
        model_std = np.sqrt(np.mean(deviation**2))
        sigma = np.hypot(model_std, self.noise)
        # sigma dsigma = mean_k(deviation_k d deviation_k)
        weight = deviation / (len(d) * sigma) if sigma > 0 else np.zeros(len(d))
        gradient = self.stiffness * (weight @ d)[:, None] * u
        forces = -self.stiffness * u
        out = {"stress": None, "energy_std_stress": None}
        if stress:
            pressure = self.bulk_modulus * expansion * np.eye(3)
            out["stress"] = voigt(-forces.T @ u / volume + pressure)
            out["energy_std_stress"] = voigt(gradient.T @ u / volume + weight @ v * np.eye(3))
        return Prediction(
            energy=energy,
            forces=forces,
            energy_std=sigma,
            energy_std_gradient=gradient,
            model_std=model_std,
            force_scale=self.force_scale,
            member_energies=energy + deviation,
            member_forces=(1 + d)[:, :, None] * forces if members else None,
            **out,
        )


@dataclass(frozen=True)
class IdealGas:
    """E = 0 and sigma = sigma_1 + slope ln V: with a bias, the weight of V gains tau slope/kT."""

    slope: float = 0.0  # eV
    sigma_1: float = 1.0  # eV
    elements = ("Al", "Si")

    def predict(self, atoms, members=False, stress=False):
        n = len(atoms)
        volume = demand_volume(atoms)
        sigma = self.sigma_1 + self.slope * np.log(volume)
        return Prediction(
            energy=0.0,
            forces=np.zeros((n, 3)),
            energy_std=sigma,
            energy_std_gradient=np.zeros((n, 3)),
            model_std=sigma,
            force_scale=1.0,
            member_energies=np.zeros(1),
            member_forces=np.zeros((1, n, 3)) if members else None,
            stress=np.zeros(6) if stress else None,
            energy_std_stress=voigt(self.slope / volume * np.eye(3)) if stress else None,
        )


@dataclass(frozen=True)
class LatticeOccupation:
    """Atoms bound to the nearest of N sites, with energies that depend on who sits where.

    E = sum_i k_i |u_i|^2 / 2 + sum_s field[s] n_s + sum_<st> coupling n_s n_t with n = 1 on
    sites of the second element, 0 elsewhere; sigma = noise + sum_s spread[s] n_s. The stiffness
    k depends on the element: the springs average out of the occupation exactly.
    """

    sites: np.ndarray  # (N, 3), Å, in a fixed cell
    fields: np.ndarray  # (N,), eV
    spread: np.ndarray  # (N,), eV
    coupling: float = 0.0  # eV
    stiffness: dict[int, float] = field(default_factory=lambda: {13: 20.0, 14: 35.0})
    noise: float = 0.1
    elements = ("Al", "Si")

    def surface(self, occupied, tau=0.0):
        """E - tau sigma of occupation numbers (N,), eV."""
        pairs = occupied * np.roll(occupied, 1)
        energy = self.fields @ occupied + self.coupling * pairs.sum()
        return energy - tau * (self.noise + self.spread @ occupied)

    def occupation(self, atoms):
        """(site of every atom, displacement of every atom, occupation numbers)."""
        vectors = atoms.positions[:, None] - self.sites
        site = np.argmin((vectors**2).sum(axis=2), axis=1)
        occupied = np.zeros(len(self.sites))
        occupied[site[atoms.numbers == 14]] = 1
        return site, vectors[np.arange(len(atoms)), site], occupied

    def probabilities(self, n_occupied, temperature_K, tau=0.0):
        """Exact distribution {occupied sites: probability} for a fixed number of them."""
        states = list(itertools.combinations(range(len(self.sites)), n_occupied))
        energies = []
        for state in states:
            occupied = np.zeros(len(self.sites))
            occupied[list(state)] = 1
            energies.append(self.surface(occupied, tau))
        weights = np.exp(-(np.array(energies) - min(energies)) / (units.kB * temperature_K))
        return dict(zip(states, weights / weights.sum(), strict=True))

    def predict(self, atoms, members=False, stress=False):
        if stress:
            raise ValueError("no stress: the sites do not move with the cell")
        _, u, occupied = self.occupation(atoms)
        k = np.array([self.stiffness[z] for z in atoms.numbers])[:, None]
        sigma = self.noise + self.spread @ occupied
        return Prediction(
            energy=self.surface(occupied) + 0.5 * (k * u**2).sum(),
            forces=-k * u,
            energy_std=sigma,
            energy_std_gradient=np.zeros_like(u),
            model_std=sigma,
            force_scale=1.0,
            member_energies=np.zeros(1),
            member_forces=-(k * u)[None] if members else None,
        )


class Counting:
    """Any committee, counting what it is asked."""

    def __init__(self, committee):
        self.committee = committee
        self.asked = []

    @property
    def elements(self):
        return self.committee.elements

    def predict(self, atoms, members=False, stress=False):
        self.asked.append((members, stress))
        return self.committee.predict(atoms, members=members, stress=stress)


def z_score(samples, expected):
    """Standard errors between the mean of a correlated series and what is expected.

    The error comes from the autocorrelation time tau_int = 1/2 + sum rho(t), summed up to the
    first window that is five times as long (Sokal).
    """
    samples = np.asarray(samples, float)
    n = len(samples)
    centred = samples - samples.mean()
    spectrum = np.abs(np.fft.rfft(centred, 2 * n)) ** 2
    covariance = np.fft.irfft(spectrum)[:n] / n
    time = 0.5 + np.cumsum(covariance[1:] / covariance[0])
    windows = np.arange(1, n)
    window = int(np.argmax(windows >= 5 * time))
    correlation = max(time[window], 0.5)
    return (samples.mean() - expected) / np.sqrt(2 * correlation * covariance[0] / n)
