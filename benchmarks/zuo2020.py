"""Held-out errors on the data of Zuo et al. (2020) beside published ones.

    python benchmarks/zuo2020.py OUTPUT [--data ../shared/data/zuo2020] [--elements Ni Cu Mo Si]
                                 [--priors]

For each element (J. Phys. Chem. A 124, 731): `ase_hal.tune` chooses cutoff, shape of the basis,
energy weight and prior by cross-validation on the training set, the same candidates for all
elements; one Bayesian ridge with that choice is then fitted to the training set and judged once on
the test set.
Published mean absolute errors: ACEpotentials.jl "large", GAP and MTP.

--priors then compares smoothness priors for what was chosen, by cross-validation on the training
set.

Results are written to OUTPUT one element at a time; those that are there are not computed again.
Times are those of one thread.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"

import numpy as np  # noqa: E402

from ase_hal import Smoothness, read_dataset  # noqa: E402
from ase_hal.ace import ACEBasis  # noqa: E402
from ase_hal.journal import write_json  # noqa: E402
from ase_hal.tuning import Trial, tune  # noqa: E402

CUTOFFS = (5.0, 5.5)  # Å
SHAPES = (
    ([20, 10, 4, 2], [0, 6, 4, 1]),
    ([15, 7, 4, 2], [0, 5, 4, 2]),
    ([12, 6, 4, 3], [0, 6, 4, 1]),
)
ENERGY_WEIGHTS = (15.0, 45.0)
PRIORS = (Smoothness(4, 4), Smoothness(4, 8))
COMPARED = (None, Smoothness(2, 2), Smoothness(4, 2), Smoothness(4, 4), Smoothness(4, 8))
# meV/atom and eV/Å: ACEpotentials.jl large, GAP, MTP; as printed
PUBLISHED = {
    "Ni": (("0.334", "0.42", "0.48"), ("0.015", "0.02", "0.01")),
    "Cu": (("0.22", "0.46", "0.41"), ("0.005", "0.01", "0.01")),
    "Mo": (("2.88", "2.24", "2.83"), ("0.096", "0.09", "0.09")),
    "Si": (("2.305", "2.91", "2.21"), ("0.066", "0.07", "0.06")),
}


def bases(element: str) -> dict[tuple[float, int], ACEBasis]:
    """Bases of fewer than 1,000 functions, by cutoff and number of the shape."""
    return {
        (cutoff, number): ACEBasis(
            (element,), rcut=cutoff, nradmax_by_orders=n_max, lmax_by_orders=l_max
        )
        for cutoff in CUTOFFS
        for number, (n_max, l_max) in enumerate(SHAPES)
    }


def study(element: str, data: Path) -> dict[str, object]:
    """Choose, fit and judge; what is written to the disk."""
    train, test = (
        read_dataset(data / f"{element}_{kind}.xyz", forces_key="force")
        for kind in ("train", "test")
    )
    candidates = bases(element)
    began, wall = time.thread_time(), time.perf_counter()

    def tell(trial: Trial) -> None:
        cutoff, _ = next(key for key, b in candidates.items() if b is trial.basis)
        print(
            f"  {element} {trial.basis.size} functions, {cutoff} Å, w_E {trial.energy_weight:g}, "
            f"{prior(trial.smoothness)}: {1e3 * trial.energy_mae:.3f} meV/atom, "
            f"{trial.forces_mae:.4f} eV/Å "
            f"(root mean square {1e3 * trial.energy_rmse:.3f}, {trial.forces_rmse:.4f})",
            flush=True,
        )

    best, *_ = tune(
        train,
        list(candidates.values()),
        energy_weights=ENERGY_WEIGHTS,
        priors=PRIORS,
        rng=np.random.default_rng(0),
        on_trial=tell,
    )
    chosen = time.thread_time()
    committee = best.fit()(train, rng=np.random.default_rng(1))
    fitted, all_wall = time.thread_time(), time.perf_counter() - wall
    predictions = [committee.predict(atoms) for atoms in test]
    truth = [atoms.calc.results for atoms in test]
    energy = [
        abs(p.energy - t["energy"]) / len(atoms)
        for p, t, atoms in zip(predictions, truth, test, strict=True)
    ]
    forces = [abs(p.forces - t["forces"]).ravel() for p, t in zip(predictions, truth, strict=True)]
    return {
        "functions": best.basis.size,
        "cutoff": next(c for (c, _), b in candidates.items() if b is best.basis),
        "energy_weight": best.energy_weight,
        "prior": prior(best.smoothness),
        "validation_energy": 1e3 * best.energy_mae,
        "validation_forces": best.forces_mae,
        "test_energy": 1e3 * float(np.mean(energy)),
        "test_forces": float(np.mean(np.concatenate(forces))),
        "tuning_seconds": chosen - began,
        "fit_seconds": fitted - chosen,
        "wall_seconds": all_wall,
        "atoms": sum(map(len, train)),
    }


def compare_priors(element: str, data: Path, found: dict) -> list[dict[str, object]]:
    """Errors of cross-validation on the training set with different priors, all else alike."""
    train = read_dataset(data / f"{element}_train.xyz", forces_key="force")
    basis = next(
        basis
        for (cutoff, _), basis in bases(element).items()
        if cutoff == found["cutoff"] and basis.size == found["functions"]
    )
    trials = tune(
        train,
        [basis],
        energy_weights=[found["energy_weight"]],
        priors=COMPARED,
        rng=np.random.default_rng(0),
    )
    return [
        {
            "prior": prior(trial.smoothness),
            "energy": [1e3 * trial.energy_mae, 1e3 * trial.energy_rmse],
            "forces": [trial.forces_mae, trial.forces_rmse],
            "log_evidence": trial.log_evidence,
        }
        for trial in sorted(trials, key=lambda trial: COMPARED.index(trial.smoothness))
    ]


def prior(smoothness: Smoothness | None) -> str:
    """Its degree and order, shortly."""
    if smoothness is None:
        return "isotropic prior"
    return f"smoothness {smoothness.degree:g}, {smoothness.order:g}"


def verdict(value: float, published: str) -> str:
    """Whether the value, rounded as the published one is, is at or below it."""
    digits = len(published.split(".")[1])
    return "at or below" if round(value, digits) <= float(published) else "ABOVE"


def table(results: dict[str, dict]) -> str:
    lines = [
        f"{'ours':>24}  ACE large     GAP     MTP    {'against ACE large':17}  best of the three",
    ]
    for element, found in results.items():
        for quantity, unit, published in zip(
            ("energy", "forces"), ("meV/atom", "eV/Å"), PUBLISHED[element], strict=True
        ):
            value, best = found[f"test_{quantity}"], min(published, key=float)
            shown = f"{value:.3f}" if quantity == "energy" else f"{value:.4f}"
            lines.append(
                f"{element}  {quantity:6} {unit:8} {shown:>6}"
                + "".join(f"{p:>{width}}" for p, width in zip(published, (11, 8, 8), strict=True))
                + f"    {verdict(value, published[0]):17}  {verdict(value, best)}"
            )
        lines.append(
            f"    {found['functions']} functions, cutoff {found['cutoff']} Å, w_E "
            f"{found['energy_weight']:g}, {found['prior']}; {found['atoms']} atoms: choice "
            f"{found['tuning_seconds']:.0f} s, fit {found['fit_seconds']:.0f} s of CPU time, "
            f"{found['wall_seconds']:.0f} s in all by the clock"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/zuo2020"))
    parser.add_argument("--elements", nargs="+", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--priors", action="store_true", help="compare smoothness priors")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    results = {}
    for element in given.elements:
        file = given.output / f"{element}.json"
        if not file.exists():
            write_json(file, study(element, given.data))
        results[element] = json.loads(file.read_text())
    print(table(results))
    for element, found in results.items() if given.priors else ():
        file = given.output / f"{element}_priors.json"
        if not file.exists():
            write_json(file, {"priors": compare_priors(element, given.data, found)})
        print(f"\n{element}, cross-validation: mean absolute error (root mean square)")
        for row in json.loads(file.read_text())["priors"]:
            (energy, energy_rms), (forces, forces_rms) = row["energy"], row["forces"]
            print(
                f"  {row['prior']:16} {energy:.3f} ({energy_rms:.3f}) meV/atom, "
                f"{forces:.4f} ({forces_rms:.4f}) eV/Å, log evidence {row['log_evidence']:.0f}"
            )


if __name__ == "__main__":
    main()
