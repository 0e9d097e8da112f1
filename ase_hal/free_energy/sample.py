"""What Monte Carlo says about one point, and who can be asked for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.ensemble import Ensemble
from ase_hal.free_energy.symmetry import Array


@dataclass(frozen=True, eq=False)
class Sample:
    """Averages of one Monte Carlo run; extensive quantities are per site.

    Attributes
    ----------
    eta, eta_error : (d,) arrays
        Mean order parameters and their standard errors; infinite where an order parameter under
        a bias did not move, so that `mu` means nothing.
    mu, mu_error : (d,) arrays
        Chemical potentials at `eta`, eV per site: ``-2 phi (eta - kappa)`` (Eqs. 3 and 4), or
        what was imposed.
    energy, energy_error : float
        Mean of the Hamiltonian, eV per site.
    order : float
        Mean length of the non-trivial order parameters, which stays finite where a run wanders
        from one variant to another.
    ensemble : Ensemble
        What was sampled.
    acceptance : float
        Accepted flips, of those tried.
    sweeps, discarded : int
        Length of the run in sweeps (a trial for each site), and how many of them at its
        beginning were left out as not yet in equilibrium.
    converged : bool
        Whether all of `eta_error` reached the precision asked for.
    """

    eta: Array
    eta_error: Array
    mu: Array
    mu_error: Array
    energy: float
    energy_error: float
    order: float
    ensemble: Ensemble
    acceptance: float
    sweeps: int
    discarded: int
    converged: bool


class Sampler(Protocol):
    """Whatever finds chemical potentials at order parameters: Monte Carlo or a surrogate."""

    def sample(
        self,
        eta: npt.ArrayLike,
        *,
        mu: npt.ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        """Find mu near one point (d,), of which a first guess may be given.

        Random numbers come from `rng`, or from the sampler's own generator.
        """

    def sample_many(
        self,
        eta: npt.ArrayLike,
        *,
        mu: npt.ArrayLike | None = None,
        executor: Executor | None = None,
        on_sample: Callable[[int, Sample], None] | None = None,
        rngs: Sequence[np.random.Generator] | None = None,
    ) -> Sequence[Sample]:
        """Find mu near many points (n, d), in their order.

        Each point has a generator of its own: one of `rngs`, or a child of the sampler's. With
        the former a sample does not depend on which others are asked for beside it.
        """
