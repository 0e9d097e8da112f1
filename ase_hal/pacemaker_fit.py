"""PacemakerFit: a dataset in, a committee of nonlinear PACE potentials out, by ``pacemaker``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from ase import Atoms

from ase_hal.ace import pacemaker
from ase_hal.ace.basis import ACEBasis
from ase_hal.baseline import Baseline
from ase_hal.external_command import Execution
from ase_hal.external_fit import Draw, ExternalFit, Record, Targets, member_records, write_table
from ase_hal.fits.observations import Observation
from ase_hal.fits.rows import weighted_rows
from ase_hal.fitted_potential import FittedPotential
from ase_hal.prediction import Array
from ase_hal.regression import Factor, Posterior, bayesian_ridge
from ase_hal.repulsion import ZBL
from ase_hal.weights import Weights

if TYPE_CHECKING:
    from pyace.basis import BBasisConfiguration

__all__ = ["Execution", "PacemakerFit"]

EMBEDDING: Mapping[str, Any] = {
    "npot": "FinnisSinclairShiftedScaled",
    "fs_parameters": [1, 1, 1, 0.5],
    "ndensity": 2,
}
_DATA, _START = "data.pckl.gzip", "start.yaml"
# python-ace tabulates the radial functions anew in every evaluation of the loss. With this
# spacing (Å) that is ten times as fast as with its default and exact to 1e-6 or so.
_SPACING = 0.01
_AMPLITUDE = 0.5  # root mean square of the densities beyond the first, over training atoms, eV
_SPREAD = 0.3  # of their coefficients, relative to those of the linear model


class PacemakerFit(ExternalFit):
    r"""Committee of K nonlinear PACE potentials, fitted by the ``pacemaker`` command.

    .. math:: E = \sum_i F(\varrho_i^{(1)}, \varrho_i^{(2)}, ...), \qquad
              \varrho_i^{(p)} = \sum_v c_v^{(p)} B_{iv}

    with the Finnis-Sinclair embedding F, by default :math:`\varrho^{(1)}` plus a smoothed square
    root of :math:`\varrho^{(2)}` (Lysogorskiy et al. 2021). Each member has its own bootstrap of
    the structures and its own start: the second density is drawn at random around a linear
    model, then the first is the Bayesian ridge of what the second leaves over. From there
    ``pacemaker`` minimises the loss, with the weights and the regularisation of that ridge.

    Parameters
    ----------
    basis : ACEBasis
        The functions, without a pair part. `ACEBasis.from_specification` reads those of a
        pacemaker input.
    members : int
        K.
    embedding : mapping, optional
        ``npot``, ``fs_parameters`` and ``ndensity`` in pacemaker's words, for all elements.
    iterations : int
        Largest number of steps of the optimizer.
    weights : Weights or callable
        Of energies and forces; a callable is asked for those of each structure. ``pacemaker``
        does not learn from stresses: the weight of virials counts in the start alone.
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
    ``pacemaker`` comes with python-ace. Its own evaluator has no gradients by parameters: they
    are finite differences, one evaluation of all structures for every coefficient, of which
    there are ``ndensity`` for each function. That is what a fit costs, times the iterations and
    the members, so keep to some dozens of functions and tens of structures here; radial
    functions stay as they are. Few steps do not get far, either: with 10 functions and ten
    structures of 4 atoms an evaluation took 0.05 s and a step 1 s, and six steps took 2 % off
    the loss (rattled Al, EMT). What the members know is mostly in their starts.

    Each call starts anew, not from the potentials of the last one: a loop that is killed and
    started again gives the same committees.

    A member whose command fails or is killed, or whose potential is not finite on its training
    set, is left out, with a warning in the log, as long as two remain; so a loop goes on.

    Examples
    --------
    >>> fit = PacemakerFit(ACEBasis.preset("small", ["Al"], rcut=5.0), members=4)
    >>> committee = fit(dataset, rng=np.random.default_rng(0))
    >>> committee.calculators[0].write("member.yaml")  # for pacemaker; pace_yaml2yace for LAMMPS
    """

    _command = "pacemaker"
    _arguments = ("input.yaml", "--no-predict")
    _hint = "it comes with python-ace: pip install 'python-ace>=0.4.0rc1'"
    _result = "output_potential.yaml"
    _kind = "PyACECalculator"

    def __init__(
        self,
        basis: ACEBasis,
        *,
        members: int = 8,
        embedding: Mapping[str, Any] | None = None,
        iterations: int = 10,
        weights: Weights | Callable[[Atoms], Weights] | None = None,
        one_body: Mapping[str, float] | None = None,
        repulsion: ZBL | None = None,
        force_bound: float = 20.0,
        execution: Execution | None = None,
    ) -> None:
        if iterations < 1:
            raise ValueError(f"iterations must be at least 1, got {iterations}")
        if basis.pair is not None:
            raise ValueError(
                "one pacemaker potential has one cutoff for each pair of elements: a basis "
                "with a pair part of its own cutoff cannot be fitted"
            )
        self.basis = basis
        self.embedding = _checked(EMBEDDING if embedding is None else embedding)
        self.iterations = iterations
        weights = weights or Weights()
        targets = Targets(basis.elements, weights, one_body, repulsion, force_bound)
        super().__init__(targets, cutoff=basis.cutoff, members=members, execution=execution)

    def _write_input(
        self, folder: Path, items: Sequence[Observation], baseline: Baseline, draw: Draw
    ) -> None:
        start, regularisation = self._start(items, baseline, draw)
        start.save(str(folder / _START))
        records = member_records(items, self.targets.elements, baseline, draw, self.cutoff)
        energy = sum(record.energy_weight for record in records)
        forces = sum(float(record.force_weights.sum()) for record in records)
        write_table(folder / _DATA, _columns(records))
        document = {
            "seed": draw.seed,
            "data": {
                "filename": _DATA,
                # Nothing is left to subtract, and nothing must be: by itself pacemaker shifts
                # energies that look strange to it.
                "reference_energy": dict.fromkeys(self.basis.elements, 0.0),
            },
            "potential": _START,
            "fit": {
                # Weights are normalised there, those of energies and of forces apart.
                "loss": {
                    "kappa": forces / (energy + forces),
                    "L1_coeffs": 0.0,
                    "L2_coeffs": regularisation / (energy + forces),
                },
                "optimizer": "BFGS",
                "maxiter": self.iterations,
                "trainable_parameters": {"ALL": "func"},
            },
            "backend": {"evaluator": "pyace", "parallel_mode": "serial", "display_step": 1},
        }
        (folder / "input.yaml").write_text(
            yaml.safe_dump(document, sort_keys=False), encoding="utf-8"
        )

    def _start(
        self, items: Sequence[Observation], baseline: Baseline, draw: Draw
    ) -> tuple[BBasisConfiguration, float]:
        """A nonlinear potential near the linear one; the factor of its squared coefficients."""
        rng = np.random.default_rng(draw.seed)
        chosen = [items[i] for i, count in enumerate(draw.counts) for _ in range(count)]
        ridge = self._ridge(chosen, baseline).mean
        others = np.zeros((len(ridge), self.embedding["ndensity"] - 1))
        if others.size:
            others = ridge[:, None] * (1 + _SPREAD * rng.normal(size=others.shape))
            evaluator = self.basis.evaluator()
            atomic = np.concatenate([evaluator.atomic_descriptors(i.atoms) for i in chosen])
            densities = atomic @ others
            others *= _AMPLITUDE / max(float(np.sqrt(np.mean(densities**2))), 1e-6)
        second = self._configuration(np.column_stack([np.zeros_like(ridge), others]))
        nothing = Baseline(dict.fromkeys(self.basis.elements, 0.0))
        potential = FittedPotential(_text(second), self._kind, self.basis.elements, nothing)
        posterior = self._ridge([_without(item, potential) for item in chosen], baseline)
        start = self._configuration(np.column_stack([posterior.mean, others]))
        return start, float(posterior.prior_precision[0] / posterior.noise_precision)

    def _ridge(self, items: Sequence[Observation], baseline: Baseline) -> Posterior:
        """Posterior of the coefficients of the linear model."""
        shares = [baseline.one_body[element] for element in self.basis.elements]
        factor = Factor.empty(self.basis.size, 1 + len(shares))
        for item in items:
            rows = weighted_rows(item, self.basis)
            factor = factor.update(rows.design, rows.targets, observations=rows.observations)
        return bayesian_ridge(factor, combination=np.array([1.0, *(-e for e in shares)]))

    def _configuration(self, coefficients: Array) -> BBasisConfiguration:
        """Pacemaker's potential with coefficients (size of the basis, ndensity)."""
        _, linear = next(iter(self.basis.configurations()))
        built = pacemaker.basis_set(linear)
        built.basis_coeffs = [float(number) for number in range(1, len(coefficients) + 1)]
        config = built.to_BBasisConfiguration()
        for block in config.funcspecs_blocks:
            functions = block.funcspecs
            for function in functions:
                # Blocks hold functions in an order of their own: their numbers tell which.
                function.coeffs = coefficients[round(function.coeffs[0]) - 1].tolist()
            block.funcspecs = functions
            if block.number_of_species == 1:
                block.npoti = self.embedding["npot"]
                block.fs_parameters = self.embedding["fs_parameters"]
                block.ndensityi = self.embedding["ndensity"]
        config.deltaSplineBins = _SPACING
        return config


def _checked(embedding: Mapping[str, Any]) -> dict[str, Any]:
    kinds = ("FinnisSinclair", "FinnisSinclairShiftedScaled")
    if set(embedding) != set(EMBEDDING):
        raise ValueError(
            f"an embedding has {', '.join(EMBEDDING)}, got {', '.join(embedding) or 'nothing'}"
        )
    ndensity, parameters = embedding["ndensity"], list(embedding["fs_parameters"])
    if embedding["npot"] not in kinds:
        raise ValueError(f"npot is one of {', '.join(kinds)}, got {embedding['npot']!r}")
    if ndensity < 1 or len(parameters) != 2 * ndensity or parameters[:2] != [1, 1]:
        raise ValueError(
            "fs_parameters are a factor and an exponent for each density, 1 and 1 for the first, "
            f"got {parameters} for ndensity = {ndensity}"
        )
    return {"npot": embedding["npot"], "fs_parameters": parameters, "ndensity": ndensity}


def _text(config: BBasisConfiguration) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "potential.yaml")
        config.save(str(path))
        return path.read_text(encoding="utf-8")


def _without(item: Observation, potential: FittedPotential) -> Observation:
    """The observation with what the potential says taken off; it counts as it did."""
    atoms, virial = item.atoms, item.virial
    if item.virial_factors.any():
        virial = virial + atoms.cell.volume * potential.get_property("stress", atoms)
    return item._replace(
        energy=item.energy - potential.get_property("energy", atoms),
        forces=item.forces - potential.get_property("forces", atoms),
        virial=virial,
    )


def _columns(records: Sequence[Record]) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "ase_atoms": [record.atoms for record in records],
        "energy": [record.energy for record in records],
        "forces": [record.forces for record in records],
        "w_energy": [record.energy_weight for record in records],
        "w_forces": [record.force_weights for record in records],
    }
    if not any(record.force_weights.any() for record in records):
        # They are divided by their sum, then multiplied by kappa = 0.
        columns["w_forces"] = [np.ones(len(record.atoms)) for record in records]
    return columns
