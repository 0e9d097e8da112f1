"""run_until: any ASE dynamics or optimizer, with a condition of yours that ends it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

from ase.optimize.optimize import BaseDynamics, Dynamics


def run_until(
    dyn: BaseDynamics, condition: Callable[[], bool], steps: int, **keywords: Any
) -> bool:
    """Run until a condition holds.

    The condition is looked at after every step, and not on the starting structure, so that a
    run that it stopped can go on. The structure in ``dyn.atoms`` is then the one for which it
    held.

    Parameters
    ----------
    dyn : ase dynamics or optimizer
        Anything that advances step by step: molecular dynamics, contour exploration,
        relaxation, dimer searches, NEB.
    condition : callable
        Called without arguments.
    steps : int
        Most steps of this run. Whatever else ends `dyn` (converged forces, a trigger) does so
        here too.
    **keywords
        For ``dyn.irun``; for instance the ``fmax`` of an optimizer.

    Returns
    -------
    bool
        True if the condition held, False if the run ended without it.

    Examples
    --------
    >>> run_until(BFGS(atoms), lambda: committee.predict(atoms).model_std > 0.1, 200, fmax=0.01)
    """
    if not hasattr(dyn, "irun") or getattr(type(dyn), "step", None) in (None, Dynamics.step):
        raise TypeError(f"run_until needs a dynamics with single steps, got {type(dyn).__name__}")
    if steps < 0:
        raise ValueError(f"steps must not be negative, got {steps}")
    start = dyn.nsteps
    with closing(dyn.irun(steps=steps, **keywords)) as progress:
        for _ in progress:
            if dyn.nsteps > start and condition():
                return True
    return False
