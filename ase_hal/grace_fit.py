"""GraceFit: a dataset in, a committee of GRACE-FS potentials out, by ``gracemaker``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms

from ase_hal.baseline import Baseline
from ase_hal.external_command import Execution
from ase_hal.external_fit import (
    Draw,
    ExternalFit,
    Record,
    Targets,
    checked_elements,
    member_records,
    write_table,
)
from ase_hal.fits.observations import Observation
from ase_hal.prediction import Array
from ase_hal.repulsion import ZBL
from ase_hal.weights import Weights

__all__ = ["Execution", "GraceFit"]

# A tenth of the functions of gracemaker's own small FS model: enough for a few elements, and
# fitted in minutes without a GPU.
MODEL: Mapping[str, Any] = {
    "n_rad_base": 8,
    "n_rad_max": [8, 4, 2],
    "lmax": [3, 3, 2],
    "max_order": 3,
    "embedding_size": 8,
    "fs_parameters": [[1.0, 1.0], [1.0, 0.5]],
}
INSTALL = (
    "pip install 'ase-hal[grace]' && "
    "pip install --no-deps 'tensorpotential==0.6.*' 'tf_keras==2.20.*' "
    "(with its dependencies, tensorpotential brings gigabytes of CUDA)"
)
_DATA = "data.pckl.gzip"
_BATCH = 32  # structures whose tensors are in memory together


class GraceFit(ExternalFit):
    """Committee of K GRACE-FS potentials, fitted by the ``gracemaker`` command.

    GRACE-FS is the model of ``gracemaker`` that is closest to PACE: an atomic cluster expansion
    with learned radial functions and a chemical embedding that its elements share, and a
    Finnis-Sinclair embedding of its densities (Bochkarev et al. 2024). It is trained with exact
    gradients on energies, forces and stresses, in TensorFlow; the potentials that come out are
    evaluated by python-ace, without TensorFlow. Each member has its own random start and its own
    bootstrap of the structures.

    Parameters
    ----------
    elements : sequence of str
        Chemical symbols.
    cutoff : float
        Å.
    members : int
        K.
    model : mapping, optional
        Options of the preset ``FS`` of gracemaker; by default a small one.
    iterations : int
        Largest number of steps of the optimizer, L-BFGS-B.
    weights : Weights or callable
        Of energies, forces and virials; a callable is asked for those of each structure.
    one_body : mapping of str to float, optional
        Energies of isolated atoms, eV. By default they are fitted by least squares.
    repulsion : ZBL, optional
        Short-range baseline, subtracted from the labels and added back in predictions.
    force_bound : float
        Atoms with a larger force component do not count with their forces, eV/Å.
    execution : Execution, optional
        Time-out, kept files, parallel members.

    Notes
    -----
    To install ``gracemaker`` without gigabytes of CUDA::

        pip install 'ase-hal[grace]'
        pip install --no-deps 'tensorpotential==0.6.*' 'tf_keras==2.20.*'

    The second line leaves out dependencies that ask for TensorFlow with CUDA; the first has
    brought the CPU build and the others. With a GPU, ``pip install tensorpotential`` is all.
    ``gracemaker`` may live in an environment of its own: name it in ``Execution(command=...)``.

    Most of the time of a small fit is the start of TensorFlow and the tracing of the model, about
    a minute on one core; a step with a dozen structures of 8 atoms then takes 0.2 s. Sums in
    TensorFlow may differ in the last digits from run to run, and so may the potentials.

    TensorFlow takes all cores for one member. Where an executor runs several side by side, set
    ``TF_NUM_INTRAOP_THREADS`` and ``TF_NUM_INTEROP_THREADS`` in the environment.

    A member whose command fails or is killed, or whose potential is not finite on its training
    set, is left out, with a warning in the log, as long as two remain; so a loop goes on.

    Examples
    --------
    >>> fit = GraceFit(["Al", "Cu"], cutoff=5.0, members=4)
    >>> committee = fit(dataset, rng=np.random.default_rng(0))
    >>> committee.calculators[0].write("FS_model.yaml")  # for LAMMPS, pair_style grace/fs
    """

    _command = "gracemaker"
    _arguments = ("input.yaml", "-sf")
    _hint = INSTALL
    _result = "FS_model.yaml"
    _kind = "PyGRACEFSCalculator"

    def __init__(
        self,
        elements: Sequence[str],
        *,
        cutoff: float,
        members: int = 8,
        model: Mapping[str, Any] | None = None,
        iterations: int = 200,
        weights: Weights | Callable[[Atoms], Weights] | None = None,
        one_body: Mapping[str, float] | None = None,
        repulsion: ZBL | None = None,
        force_bound: float = 20.0,
        execution: Execution | None = None,
    ) -> None:
        if not 0 < cutoff < np.inf:
            raise ValueError(f"cutoff is a positive length in Å, got {cutoff}")
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        self.model = dict(MODEL if model is None else model)
        self.iterations = iterations
        weights = weights or Weights()
        targets = Targets(checked_elements(elements), weights, one_body, repulsion, force_bound)
        super().__init__(targets, cutoff=cutoff, members=members, execution=execution)

    def _write_input(
        self, folder: Path, items: Sequence[Observation], baseline: Baseline, draw: Draw
    ) -> None:
        records = member_records(items, self.targets.elements, baseline, draw, self.cutoff)
        total = sum(r.energy_weight + r.force_weights.sum() + r.virial_weight for r in records)
        write_table(folder / _DATA, _columns(records, float(total)))
        forces = np.concatenate([r.forces[r.force_weights > 0].ravel() for r in records])
        # The sum of all squares, not means by batch: the weights are in the table.
        part = {"type": "square", "weight": 1.0, "normalize_by_samples": False}
        names = ["energy", "forces"]
        if any(r.virial_weight > 0 for r in records):
            names.append("virial")
        document = {
            "seed": draw.seed,
            "cutoff": float(self.cutoff),
            "data": {"filename": _DATA, "save_dataset": False},
            "potential": {
                "preset": "FS",
                "kwargs": self.model,
                "elements": list(self.targets.elements),
                "param_dtype": "float64",
                "scale": max(float(np.sqrt(np.mean(forces**2))), 0.1) if len(forces) else 1.0,
            },
            "fit": {
                "loss": {name: dict(part) for name in names},
                "optimizer": "L-BFGS-B",
                "maxiter": self.iterations,
                "opt_params": {"maxcor": 100, "gtol": 1e-8},
                "batch_size": min(len(records), _BATCH),
                "jit_compile": False,
                "checkpoint_freq": self.iterations + 1,
            },
        }
        (folder / "input.yaml").write_text(
            yaml.safe_dump(document, sort_keys=False), encoding="utf-8"
        )


def _columns(records: Sequence[Record], total: float) -> dict[str, list[Any]]:
    return {
        "ase_atoms": [record.atoms for record in records],
        "energy_corrected": [record.energy for record in records],
        "forces": [record.forces for record in records],
        "stress": [_stress(record) for record in records],
        "energy_weight": [record.energy_weight / total for record in records],
        "force_weight": [record.force_weights / total for record in records],
        "virial_weight": [record.virial_weight / total for record in records],
    }


def _stress(record: Record) -> Array:
    return -record.virial / record.atoms.cell.volume if record.virial.any() else np.zeros(6)
