"""What a refit costs: thread CPU time with one BLAS thread.

    python benchmarks/regression.py [--sizes 500 1000] [--scikit-learn]

The design matrix is synthetic: correlated columns whose singular values fall over eight
decades, as those of ACE functions do. Times on a shared machine vary by tens of per cent, so
each line also gives the ratio to the product of two n x n matrices.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

from ase_hal.regression import (  # noqa: E402
    Factor,
    automatic_relevance,
    bayesian_ridge,
    relevance_path,
)

N_OBSERVATIONS = 10_000
STRUCTURE = 103  # rows of 32 atoms: an energy, 96 forces, six virials


def observations(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows (10,000, n) and targets of a sparse model with noise."""
    mixing = np.linalg.qr(rng.normal(size=(n, n)))[0]
    spectrum = np.logspace(2, -6, n)
    rows = rng.normal(size=(N_OBSERVATIONS, n)) * spectrum @ mixing
    # Nearby functions are alike, and a fifth of them matter.
    coefficients = rng.normal(size=n) * (rng.random(n) < 0.2)
    return rows, rows @ coefficients + 0.1 * rng.normal(size=N_OBSERVATIONS)


def timed(function: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Best thread CPU time in seconds, and the result."""
    best = np.inf
    for _ in range(repeats):
        start = time.thread_time()
        result = function()
        best = min(best, time.thread_time() - start)
    return best, result


def report(n: int, scikit_learn: bool, rng: np.random.Generator) -> None:
    """Print the table of one basis size."""
    rows, targets = observations(n, rng)
    square = rng.normal(size=(n, n))
    unit, _ = timed(lambda: square @ square, 5)
    print(f"\nn = {n}: one matrix product takes {unit:.3f} s")

    def line(name: str, seconds: float, remark: str = "") -> None:
        print(f"  {name:42s} {seconds:9.3f} s {seconds / unit:8.1f}   {remark}", flush=True)

    seconds, factor = timed(lambda: Factor.empty(n).update(rows, targets))
    line(f"factor of {N_OBSERVATIONS} rows", seconds)
    add = rows[:STRUCTURE], targets[:STRUCTURE]
    seconds, _ = timed(lambda: factor.update(*add).reduced(), 3)
    line(f"add a structure of {STRUCTURE} rows", seconds)
    seconds, ridge = timed(lambda: bayesian_ridge(factor), 2)
    line("Bayesian ridge", seconds, f"ln p = {ridge.log_evidence:.1f}")
    fixed = {"noise_precision": ridge.noise_precision, "prior_precision": ridge.prior_precision[0]}
    seconds, _ = timed(lambda: bayesian_ridge(factor, **fixed), 3)
    line("ridge with given precisions", seconds)
    seconds, _ = timed(lambda: bayesian_ridge(factor, **fixed).covariance, 3)
    line("ridge with given precisions, covariance", seconds)
    for threshold in (1e3, 1e4):
        seconds, fit = timed(
            lambda threshold=threshold: automatic_relevance(factor, threshold=threshold)
        )
        remark = f"{fit.active.sum()} functions, {fit.iterations} iterations"
        remark += f", ln p = {fit.log_evidence:.1f}"
        line(f"relevance determination, alpha' = {threshold:g}", seconds, remark)
    thresholds = [1e3, 1e4, 8e4, 3e5]
    seconds, fits = timed(lambda: relevance_path(factor, thresholds))
    line("path of four thresholds", seconds, f"{[int(fit.active.sum()) for fit in fits]} functions")
    if scikit_learn:
        against_scikit_learn(rows, targets, line)


def against_scikit_learn(rows: np.ndarray, targets: np.ndarray, line: Callable[..., None]) -> None:
    """The same fits by scikit-learn, from all rows as it has no other way."""
    from sklearn.linear_model import ARDRegression, BayesianRidge

    seconds, ridge = timed(lambda: BayesianRidge(fit_intercept=False).fit(rows, targets))
    line("scikit-learn BayesianRidge", seconds, f"{ridge.n_iter_} iterations")
    model = ARDRegression(fit_intercept=False, threshold_lambda=1e4)
    seconds, ard = timed(lambda: model.fit(rows, targets))
    remark = f"{(ard.lambda_ < 1e4).sum()} functions, {ard.n_iter_} iterations"
    line("scikit-learn ARDRegression, alpha' = 10000", seconds, remark)


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000])
    parser.add_argument("--scikit-learn", action="store_true", help="compare (minutes)")
    arguments = parser.parse_args()
    for n in arguments.sizes:
        report(n, arguments.scikit_learn, np.random.default_rng(n))


if __name__ == "__main__":
    main()
