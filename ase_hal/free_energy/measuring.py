"""Asking a sampler about proposed points, whatever happens to some of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor

import numpy as np

from ase_hal.free_energy.points import FailedPoint, Point, Proposal
from ase_hal.free_energy.sample import Sample, Sampler
from ase_hal.free_energy.symmetry import Array
from ase_hal.randomness import stream

logger = logging.getLogger(__name__)


def measure(
    proposals: Sequence[Proposal],
    samplers: Mapping[float, Sampler],
    *,
    rng: np.random.Generator,
    executor: Executor | None = None,
    on_point: Callable[[Point], None] | None = None,
    on_failure: Callable[[FailedPoint], None] | None = None,
) -> list[Point]:
    """Find the chemical potentials at proposed points.

    A point about which the sampler raises, or of which it says something that is not finite, is
    failed; the others do not notice. Each point has a stream of random numbers of its own, told
    by its index: it comes out the same whichever others are asked for.

    Parameters
    ----------
    proposals : sequence of Proposal
        Of one round.
    samplers : mapping of float to Sampler
        By temperature, K.
    rng : np.random.Generator
    executor : Executor, optional
        Where the sampler runs its windows.
    on_point, on_failure : callable, optional
        Called with each point as soon as it is known. Failures are logged without a callback.

    Returns
    -------
    list of Point
        Those that succeeded, in the order of the proposals.

    Raises
    ------
    ValueError
        If a sampler says that it is one at another temperature.
    """
    check_samplers(samplers)
    found: dict[int, Point] = {}

    def keep(proposal: Proposal, sample: Sample) -> None:
        reason = problem(sample, len(proposal.eta))
        if reason is not None:
            fail(proposal, reason)
            return
        point = found[proposal.index] = Point.of(proposal, sample)
        if on_point is not None:
            on_point(point)

    def fail(proposal: Proposal, reason: str) -> None:
        if on_failure is None:
            logger.warning("no chemical potentials at %s: %s", proposal.eta, reason)
        else:
            on_failure(FailedPoint(proposal, reason))

    for temperature in dict.fromkeys(proposal.temperature_K for proposal in proposals):
        group = [p for p in proposals if p.temperature_K == temperature]
        _measure_group(group, samplers[temperature], rng, executor, keep, fail)
    return [found[p.index] for p in proposals if p.index in found]


def check_samplers(samplers: Mapping[float, Sampler]) -> None:
    """Raise ValueError if a sampler is listed under a temperature that is not its own."""
    for temperature, sampler in samplers.items():
        own = getattr(sampler, "temperature_K", temperature)
        if abs(own - temperature) > 1e-6:
            raise ValueError(f"the sampler for {temperature:g} K is one at {own:g} K")


def check_temperatures(points: Sequence[Point], failed: Sequence[FailedPoint]) -> None:
    """Raise ValueError if all points at a temperature failed: no surface can be asked there."""
    known = {point.temperature_K for point in points}
    for failure in failed:
        temperature = failure.proposal.temperature_K
        if temperature not in known:
            raise ValueError(f"no point at {temperature:g} K succeeded: {failure.reason[:300]}")


def _measure_group(
    group: Sequence[Proposal],
    sampler: Sampler,
    rng: np.random.Generator,
    executor: Executor | None,
    keep: Callable[[Proposal, Sample], None],
    fail: Callable[[Proposal, str], None],
) -> None:
    """Ask about all points at once; where that raises, one by one about those that are left."""
    left = dict(enumerate(group))
    trouble: list[Exception] = []  # of what is done with samples, not of the sampler

    def on_sample(i: int, sample: Sample) -> None:
        try:
            keep(left.pop(i), sample)
        except Exception as error:
            trouble.append(error)
            raise

    eta = np.array([p.eta for p in group])
    # without a guess the window is centred at the point
    mu = np.array([np.zeros_like(p.eta) if p.mu is None else p.mu for p in group])
    streams = [stream(rng, p.index) for p in group]
    try:
        samples = sampler.sample_many(
            eta, mu=mu, executor=executor, on_sample=on_sample, rngs=streams
        )
        for i in list(left):  # a sampler may not care to call back
            on_sample(i, samples[i])
        return
    except Exception as error:  # a sampler may be anybody's program
        if trouble:
            raise
        logger.info("asking about %d points one by one after: %s", len(left), error)
    for i, proposal in list(left.items()):
        sample = _sample_or_reason(sampler, eta[i], mu[i], stream(rng, proposal.index))
        if isinstance(sample, str):
            fail(proposal, sample)
        else:
            on_sample(i, sample)


def _sample_or_reason(
    sampler: Sampler, eta: Array, mu: Array, rng: np.random.Generator
) -> Sample | str:
    """Sample of a point, or why there is none."""
    try:
        return sampler.sample(eta, mu=mu, rng=rng)
    except Exception as error:
        return " ".join(str(error).split()) or type(error).__name__


def problem(sample: Sample, dimension: int) -> str | None:
    """What is wrong with a sample, if anything."""
    for name in ("eta", "eta_error", "mu", "mu_error"):
        value = np.asarray(getattr(sample, name))
        if value.shape != (dimension,):
            return f"{name} has the shape {value.shape}, not ({dimension},)"
        if name == "eta_error" and np.isinf(value).any():
            still = np.flatnonzero(np.isinf(value)).tolist()
            return (
                f"order parameters {still} did not move in {sample.sweeps} sweeps: a larger cell "
                f"or a higher temperature may help"
            )
        if not np.isfinite(value).all():
            return f"{name} is not finite: {value.tolist()}"
    return None
