"""Monte Carlo as a calculator: order parameters in, chemical potentials out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, as_completed
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ase_hal.free_energy.ensemble import Ensemble
from ase_hal.free_energy.hamiltonian import Hamiltonian
from ase_hal.free_energy.lattice import Supercell
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.free_energy.progress_bar import progress_bar
from ase_hal.free_energy.properties import PropertyCalculator
from ase_hal.free_energy.run_length import RunLength
from ase_hal.free_energy.sample import Sample
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy.walker import Arena, Walker
from ase_hal.free_energy.window import Windows
from ase_hal.randomness import check_generator


class UmbrellaMC(PropertyCalculator):
    r"""Find chemical potentials at given order parameters by biased Monte Carlo.

    ================  =================  =============================================
    paper             here               meaning
    ================  =================  =============================================
    kappa, phi        `kappa`, `phi`     centre and stiffness of the bias (Eq. 2)
    <eta>             ``Sample.eta``     mean order parameters
    mu (Eqs. 3, 4)    ``Sample.mu``      dg/deta at <eta>, eV per site
    M                 ``n_sites``        sites of the supercell
    ================  =================  =============================================

    The bias is :math:`U = M \sum_j \phi_j (\eta_j - \kappa_j)^2`, phi in eV per site, and
    :math:`\mu_j = -2 \phi_j (\langle\eta_j\rangle - \kappa_j)`. This takes the mean force for
    the force at the mean, which is right for large M. A window holds where
    :math:`2 \phi_j > -g''`; stiffer ones only add noise, as the error of mu is 2 phi times that
    of eta.

    Parameters
    ----------
    hamiltonian : Hamiltonian
        It must have the symmetry of the lattice of the order parameters.
    order_parameters : OrderParameters
    temperature_K : float
    rng : np.random.Generator
    repeat : three int
        The supercell, in units of that of the order parameters.
    phi : (2,) or (d,) array
        Stiffness: for the trivial order parameters (the composition) and for all others, or for
        each; eV per site.
    run_length : RunLength
        Precision asked for, and limits.

    Notes
    -----
    Threads may share a calculator, and run in parallel. With generators of their own (``rng`` of
    `sample`, `semigrand` and `sweep`, ``rngs`` of `sample_many`, or `with_generator`) each finds
    what it would find alone; the generator of the calculator gives its numbers to whoever comes.
    """

    implemented_properties = (
        *PropertyCalculator.implemented_properties,
        "energy",
        "energy_error",
    )

    def __init__(
        self,
        hamiltonian: Hamiltonian,
        order_parameters: OrderParameters,
        *,
        temperature_K: float,
        rng: np.random.Generator,
        repeat: Sequence[int] = (3, 3, 3),
        phi: npt.ArrayLike = (5.0, 0.05),
        run_length: RunLength | None = None,
    ) -> None:
        check_generator(rng)
        hamiltonian.check_symmetry(order_parameters.supercell.lattice)
        self.order_parameters = order_parameters
        self.supercell: Supercell = order_parameters.supercell.repeated(repeat)
        self.temperature_K = float(temperature_K)
        self.phi = Windows.each(order_parameters, phi)
        self.run_length = run_length or RunLength()
        self.rng = rng
        self._arena = Arena.of(hamiltonian, order_parameters, self.supercell)
        Ensemble.umbrella(self.temperature_K, np.zeros_like(self.phi), self.phi)  # checks them

    @property
    def n_sites(self) -> int:
        """Sites of the supercell (M)."""
        return self.supercell.n_sites

    @property
    def parameters(self) -> dict[str, Any]:
        """What the results depend on."""
        return {
            "temperature_K": self.temperature_K,
            "phi": self.phi.tolist(),
            "supercell": self.supercell.matrix.tolist(),
            "precision": self.run_length.precision,
            "min_sweeps": self.run_length.min_sweeps,
            "max_sweeps": self.run_length.max_sweeps,
        }

    def sample(
        self,
        eta: npt.ArrayLike | None = None,
        *,
        kappa: npt.ArrayLike | None = None,
        mu: npt.ArrayLike | None = None,
        phi: npt.ArrayLike | None = None,
        temperature_K: float | None = None,
        start: npt.ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        """Run one window.

        Parameters
        ----------
        eta : (d,) array
            The point to be near. The bias is centred at eta + mu / (2 phi), so that with the
            right `mu` the mean order parameters are those asked for.
        kappa : (d,) array
            Instead of `eta`: the centre of the bias itself.
        mu : (d,) array, optional
            A guess of the chemical potentials at `eta`, eV per site; by default zero.
        phi, temperature_K : optional
            Instead of those of the calculator.
        start : array, optional
            Occupations to begin with, of the supercell of the order parameters or of the whole.
            By default sites are filled at random with the mean occupations that belong to the
            point.
        rng : np.random.Generator, optional
            Instead of that of the calculator.

        Returns
        -------
        Sample
            Its `eta` is what belongs to its `mu`.
        """
        ensemble = self._windows(eta, kappa=kappa, mu=mu, phi=phi, temperature_K=temperature_K)
        point = ensemble.kappa if eta is None else np.asarray(eta, dtype=float)
        return self._run_window(point, ensemble, rng or self.rng, start)

    def sample_many(
        self,
        eta: npt.ArrayLike,
        *,
        mu: npt.ArrayLike | None = None,
        executor: Executor | None = None,
        on_sample: Callable[[int, Sample], None] | None = None,
        rngs: Sequence[np.random.Generator] | None = None,
        progress: bool = False,
    ) -> list[Sample]:
        """Run a window near each of many points.

        Parameters
        ----------
        eta : (n, d) array
        mu : (n, d) array, optional
            Guesses of the chemical potentials, eV per site.
        executor : Executor, optional
            Where to run them; threads will do, as the work is done outside of Python. By default
            here, one after another.
        on_sample : callable, optional
            Called here with the number of a point and its sample as soon as there is one.
        rngs : sequence of np.random.Generator, optional
            One for each point; by default children of that of the calculator.
        progress : bool
            Show a bar.

        Returns
        -------
        list of Sample
            In the order of the points, and the same whatever the executor.

        Raises
        ------
        Exception
            What the first window that failed has raised, after all others have been run.
        """
        points = self.order_parameters.checked(eta)
        guesses = np.zeros_like(points) if mu is None else np.asarray(mu, dtype=float)
        if points.ndim != 2 or guesses.shape != points.shape:
            raise ValueError(f"points (n, d) are needed, got {points.shape}, mu {guesses.shape}")
        windows = [self._windows(p, mu=m) for p, m in zip(points, guesses, strict=True)]
        streams = self.rng.spawn(len(points)) if rngs is None else rngs
        tasks = list(zip(points, windows, streams, strict=True))
        samples: list[Sample | None] = [None] * len(tasks)
        trouble: Exception | None = None
        with progress_bar(len(tasks), shown=progress) as advance:
            for i, result in self._results(tasks, executor):
                try:
                    sample = samples[i] = result()
                except Exception as error:
                    trouble = trouble or error
                    continue
                if on_sample is not None:
                    on_sample(i, sample)
                advance()
        if trouble is not None:
            raise trouble
        return [sample for sample in samples if sample is not None]

    def semigrand(
        self,
        mu: npt.ArrayLike,
        *,
        temperature_K: float | None = None,
        start: npt.ArrayLike | None = None,
        rng: np.random.Generator | None = None,
    ) -> Sample:
        """Run without a bias at imposed chemical potentials.

        Parameters
        ----------
        mu : float or (d,) array
            Chemical potentials, eV per site; a number is that of the composition.
        temperature_K : float, optional
        start : array, optional
            Occupations to begin with, as for `sample`; by default half the sites at random.
        rng : np.random.Generator, optional
            Instead of that of the calculator.
        """
        temperature = self.temperature_K if temperature_K is None else temperature_K
        return self.sweep([temperature], mu, start=start, rng=rng)[0]

    def sweep(
        self,
        temperatures_K: Sequence[float],
        mu: npt.ArrayLike,
        *,
        start: npt.ArrayLike | None = None,
        on_sample: Callable[[int, Sample], None] | None = None,
        rng: np.random.Generator | None = None,
    ) -> list[Sample]:
        """Run without a bias at one temperature after another.

        Each run goes on from the last occupation of the one before: temperatures that go up and
        down again show the hysteresis of a transition of first order.

        Parameters
        ----------
        temperatures_K : sequence of float
        mu, start, rng
            As for `semigrand`.
        on_sample : callable, optional
            Called with the number of a temperature and its sample.
        """
        potentials = np.zeros(self.order_parameters.dimension)
        if np.ndim(mu):
            potentials = self.order_parameters.checked(mu)
        else:
            potentials[0] = float(np.asarray(mu))
        disordered = np.zeros_like(potentials)
        disordered[0] = 0.5
        generator = rng or self.rng
        filled = self._occupations(disordered, start, generator)
        walker = Walker(self._arena, filled, rng=generator)
        samples = []
        for i, temperature in enumerate(temperatures_K):
            ensemble = Ensemble.semigrand(float(temperature), potentials)
            sample = self.run_length.measure(walker, ensemble, self.order_parameters.n_trivial)
            samples.append(sample)
            if on_sample is not None:
                on_sample(i, sample)
        return samples

    @property
    def _windows(self) -> Windows:
        return Windows(self.order_parameters, self.temperature_K, self.phi)

    def _results(
        self, tasks: Sequence[tuple[Any, ...]], executor: Executor | None
    ) -> Iterator[tuple[int, Callable[[], Sample]]]:
        """Numbers of windows, and what returns the sample, as they are ready."""
        if executor is None:
            yield from ((i, partial(self._run_window, *task)) for i, task in enumerate(tasks))
            return
        futures = {executor.submit(self._run_window, *task): i for i, task in enumerate(tasks)}
        yield from ((futures[future], future.result) for future in as_completed(futures))

    def _run_window(
        self,
        point: Array,
        ensemble: Ensemble,
        rng: np.random.Generator,
        start: npt.ArrayLike | None = None,
    ) -> Sample:
        walker = Walker(self._arena, self._occupations(point, start, rng), rng=rng)
        return self.run_length.measure(walker, ensemble, self.order_parameters.n_trivial)

    def _occupations(
        self, point: Array, start: npt.ArrayLike | None, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Those to begin with: as given, or drawn with the mean occupations of a point."""
        if start is None:
            filled = self.order_parameters.inverse @ point
            return (rng.random(self.n_sites) < filled[self._arena.kind]).astype(np.int64)
        given = np.asarray(start)
        if given.shape == (self.order_parameters.n_sites,):
            given = given[self._arena.kind]
        return self.supercell.checked(given)
