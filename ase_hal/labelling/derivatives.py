"""Forces and stress against finite differences of the energy, for one structure.

Nothing but their own consistency tells that gradients were taken for forces, that units were mixed
up, or that forces belong to another structure or another energy: such labels are of a usual size,
and a model learns them without complaint.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.stress import voigt_6_to_full_3x3_stress
from numpy.typing import NDArray

from ase_hal.labelling.checks import LabelRejected

Array = NDArray[np.float64]
# What a calculator gives for a structure: some of energy, forces, stress.
Ask = Callable[[Atoms, Sequence[str]], Mapping[str, Any]]

STEP = 0.01  # Å, root mean square displacement of the atoms
STRAIN = 0.01  # Frobenius norm
RELATIVE_TOLERANCE = 0.05
# Noise of an energy from iterations that are stopped (1 meV in DFT); three standard deviations of
# it are tolerated, and of a stress what plane waves in a fixed number are wrong by (Pulay stress).
ENERGY_NOISE = 1e-3  # eV
STRESS_FLOOR = 0.01  # eV/Å^3
# A derivative smaller than so many times what is tolerated says little: another structure is
# taken, in which the atoms are moved and the cell is compressed by so much.
_TELLING = 2.0
_RATTLE, _COMPRESSION = 0.1, 0.02  # Å (root mean square), relative length
# That other structure; and energies at both ends of two steps, in two directions and one strain.
MOST_CALCULATIONS = 1 + 3 * 4

# How near to that of a unit (natural logarithm) a ratio is when the unit is named.
_NEAR_UNIT = 0.04
_UNITS = {
    "forces": {
        "hartree/bohr": units.Bohr / units.Hartree,
        "rydberg/bohr": units.Bohr / units.Rydberg,
        "hartree/Å": 1 / units.Hartree,
        "eV/bohr": units.Bohr,
        "kcal/mol/Å": units.mol / units.kcal,
        "kJ/mol/Å": units.mol / units.kJ,
    },
    "stress": {
        "GPa": 1 / units.GPa,
        "kbar": 10 / units.GPa,
        "hartree/bohr^3": units.Bohr**3 / units.Hartree,
        "rydberg/bohr^3": units.Bohr**3 / units.Rydberg,
    },
}


class InconsistentLabel(LabelRejected):
    """Forces or a stress that are not the derivative of the energy."""


def check_derivatives(atoms: Atoms, results: Mapping[str, Any], ask: Ask) -> bool:
    """Compare forces and stress of a label with finite differences of the energy.

    The energy is calculated on both sides along a random direction that leans towards the forces,
    along one that does not, and under a random strain that leans towards the stress. They are
    drawn from the structure's content. Where a derivative differs from what forces or stress say,
    the step is halved, which tells curvature and noise from a real difference. Where forces or
    stress are too small to tell, the atoms are moved and the cell is compressed first.

    Parameters
    ----------
    atoms : ase.Atoms
        Structure of N atoms.
    results : mapping
        Its ``energy`` (eV), ``forces`` (N, 3) (eV/Å), and ``stress`` (6,) (eV/Å^3) where it has
        one.
    ask : callable
        ``ask(atoms, properties)``: results of the same calculator for another structure. It is
        called 4 to 7 times, and `MOST_CALCULATIONS` times where something seems to be wrong.

    Returns
    -------
    bool
        Whether there were forces large enough to tell. There are none on a lone atom, nor on
        atoms that do not see each other.

    Raises
    ------
    InconsistentLabel
        If forces or stress are not the derivative of the energy.
    """
    if len(atoms) == 1:
        return False
    rng = np.random.default_rng(_entropy(atoms))
    moved: tuple[Atoms, Mapping[str, Any]] | None = None
    told = {}
    for name, paths_of in (("forces", _force_paths), ("stress", _strain_paths)):
        if name not in results:
            continue
        paths = paths_of(atoms, results, rng)
        if not paths[0].is_telling(paths[0].expected):
            if moved is None:
                other = _moved(atoms, compress="stress" in results, rng=rng)
                moved = other, ask(other, list(results))
            paths = paths_of(*moved, rng)
        answers = [_agrees(path, ask) for path in paths]
        told[name] = answers[0]
    return told["forces"]


def _entropy(atoms: Atoms) -> int:
    parts = (atoms.numbers.astype(np.int64), atoms.positions, atoms.cell.array, atoms.pbc)
    content = b"".join(np.ascontiguousarray(part).tobytes() for part in parts)
    return int.from_bytes(hashlib.sha256(content).digest(), "big")


@dataclass(frozen=True)
class _Path:
    """A way through structures, and the derivative along it that a label implies.

    Attributes
    ----------
    name : str
        ``"forces"`` or ``"stress"``.
    at : callable
        The structure at a distance along the path.
    expected : float
        Derivative according to the label, eV/Å or eV/Å^3.
    divisor : float
        Of the derivative of the energy: 1 or the volume.
    step : float
        Distance on either side at which the energy is calculated.
    floor : float
        Difference of the derivative that is tolerated in any case.
    """

    name: str
    at: Callable[[float], Atoms]
    expected: float
    divisor: float
    step: float
    floor: float

    def is_telling(self, derivative: float) -> bool:
        return abs(derivative) > _TELLING * self.floor

    def derivative(self, step: float, ask: Ask) -> float:
        ends = [float(ask(self.at(sign * step), ["energy"])["energy"]) for sign in (1, -1)]
        return (ends[0] - ends[1]) / (2 * step * self.divisor)


def _force_paths(atoms: Atoms, results: Mapping[str, Any], rng: np.random.Generator) -> list[_Path]:
    forces = np.asarray(results["forces"], dtype=float)
    random = rng.normal(size=(2, *forces.shape))
    leaning = _unit(_unit(forces) + _unit(random[0]))
    return [_displacement(atoms, forces, leaning), _displacement(atoms, forces, _unit(random[1]))]


def _displacement(atoms: Atoms, forces: Array, direction: Array) -> _Path:
    direction = direction * math.sqrt(len(atoms))  # a distance is a displacement of each atom

    def at(distance: float) -> Atoms:
        copy: Atoms = atoms.copy()
        copy.positions += distance * direction
        return copy

    expected = -float(np.sum(forces * direction))
    return _Path("forces", at, expected, 1.0, STEP, _noise(STEP))


def _strain_paths(
    atoms: Atoms, results: Mapping[str, Any], rng: np.random.Generator
) -> list[_Path]:
    stress = np.asarray(voigt_6_to_full_3x3_stress(results["stress"]), dtype=float)
    random = rng.normal(size=(3, 3))
    strain = _unit(_unit(stress) + _unit(random + random.T))

    def at(distance: float) -> Atoms:
        copy: Atoms = atoms.copy()
        copy.set_cell(copy.cell.array @ (np.eye(3) + distance * strain), scale_atoms=True)
        return copy

    volume = atoms.get_volume()
    floor = STRESS_FLOOR + _noise(STRAIN) / volume
    return [_Path("stress", at, float(np.sum(stress * strain)), volume, STRAIN, floor)]


def _noise(step: float) -> float:
    """Three standard deviations of a central difference, from noise of the energy."""
    return 3 * ENERGY_NOISE / (math.sqrt(2) * step)


def _unit(array: Array) -> Array:
    norm = float(np.linalg.norm(array))
    return array / norm if norm > 0 else array


def _moved(atoms: Atoms, *, compress: bool, rng: np.random.Generator) -> Atoms:
    copy: Atoms = atoms.copy()
    if compress:
        copy.set_cell(copy.cell.array * (1 - _COMPRESSION), scale_atoms=True)
    random = _unit(rng.normal(size=(len(atoms), 3)))
    copy.positions += _RATTLE * math.sqrt(len(atoms)) * random
    return copy


def _agrees(path: _Path, ask: Ask) -> bool:
    """Whether a path told something; `InconsistentLabel` if that is not what the label says."""
    found = path.derivative(path.step, ask)
    if abs(found - path.expected) > _tolerance(path, found):
        half = path.derivative(path.step / 2, ask)
        best = (4 * half - found) / 3  # Richardson
        # Half the step makes the noise of the energy twice as large.
        tolerance = _tolerance(path, best) + path.floor + 2 * abs(half - found)
        if abs(best - path.expected) > tolerance:
            raise InconsistentLabel(_reason(path, best))
    return path.is_telling(path.expected) or path.is_telling(found)


def _tolerance(path: _Path, found: float) -> float:
    return path.floor + RELATIVE_TOLERANCE * max(abs(found), abs(path.expected))


def _reason(path: _Path, found: float) -> str:
    ratio = path.expected / found if found else math.inf
    if path.name == "forces":
        what, unit, how = "forces are", "eV/Å", "along a random direction dE/dx is"
    else:
        what, unit, how = "the stress is", "eV/Å^3", "under a random strain (dE/de)/V is"
    return (
        f"{what} not the derivative of the energy: {how} {found:.4g} {unit} and the {path.name} "
        f"{'give' if path.name == 'forces' else 'gives'} {path.expected:.4g} (ratio {ratio:.3g})"
        f"{_likely(path, ratio)}"
    )


def _likely(path: _Path, ratio: float) -> str:
    """The usual mistake that a ratio of reported to true derivatives reminds of."""
    sizes = {"": 1.0, **_UNITS[path.name]}
    if path.name == "stress":
        sizes["eV (a virial)"] = path.divisor
    near = {unit: abs(math.log(abs(ratio) / size)) for unit, size in sizes.items() if ratio}
    unit = min(near, key=lambda unit: near[unit], default="")
    if near.get(unit, math.inf) > _NEAR_UNIT or (ratio > 0 and not unit):
        return ""
    sign = " with the opposite sign" if ratio < 0 else ""
    return f", as if in {unit}{sign}" if unit else f", as if{sign}"
