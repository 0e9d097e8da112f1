"""Checks of the sizes of labels and distances, one structure after the other."""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
from ase import Atoms, units

from ase_hal.baseline import least_squares_one_body
from ase_hal.data.distances import Pair, bond_length
from ase_hal.data.findings import Finding
from ase_hal.prediction import Array

# eV/Å^3 (320 GPa); a DFT calculation of a solid or a liquid seldom gives more.
_LARGE_STRESS = 2.0
# eV per atom, of an energy from what the composition says: no chemistry goes so far.
_LARGE_ENERGY = 50.0
# Distances over the sum of covalent radii: atoms on top of each other, and worth a look.
_OVERLAP, _SHORT = 0.4, 0.6
# Net force over the root mean square force: what a calculation without external field has not.
_NET_FORCE = 0.2


def stress_sizes(structures: Sequence[Atoms]) -> list[Finding]:
    """Stresses that are larger than those of matter in DFT calculations."""
    largest = {
        i: float(np.abs(stress).max())
        for i, atoms in enumerate(structures)
        if (stress := atoms.calc.results.get("stress")) is not None and atoms.pbc.all()
    }
    large = {i: size for i, size in largest.items() if size > _LARGE_STRESS}
    if not large:
        return []
    size = max(large.values())
    message = (
        f"stresses up to {size:.3g} eV/Å^3, which is {size / units.GPa:,.0f} GPa: are they virials "
        "(virial_key), or in kbar or GPa (stress_factor)?"
    )
    return [Finding("likely", "stress_size", message, tuple(large))]


def energy_sizes(structures: Sequence[Atoms], alone: Sequence[int]) -> list[Finding]:
    """Energies that are far from what the composition of their structures says."""
    bound = [i for i in range(len(structures)) if i not in set(alone)]
    if len(bound) < 3:
        return []
    residuals = _residuals([structures[i] for i in bound])
    far = np.flatnonzero(np.abs(residuals) > _LARGE_ENERGY)
    if not far.size:
        return []
    worst = far[int(np.argmax(np.abs(residuals[far])))]
    message = (
        f"energies up to {residuals[worst]:+,.1f} eV per atom away from those of other structures "
        "of such a composition"
    )
    return [Finding("wrong", "energy_size", message, tuple(bound[i] for i in far))]


def _residuals(structures: Sequence[Atoms]) -> Array:
    """Energies per atom less those of the composition, which a minority does not move."""
    elements = sorted({symbol for atoms in structures for symbol in atoms.symbols})
    counts = np.array([[np.count_nonzero(a.symbols == e) for e in elements] for a in structures])
    energies = np.array([float(atoms.calc.results["energy"]) for atoms in structures])
    sizes = counts.sum(axis=1)
    kept = np.ones(len(structures), dtype=bool)
    residuals = np.zeros(len(structures))
    for _ in range(10):
        found = least_squares_one_body(elements, counts[kept].astype(float), energies[kept])
        expected = counts @ np.array([found[symbol] for symbol in elements])
        residuals = (energies - expected) / sizes
        residuals -= np.median(residuals[kept])
        spread = np.abs(residuals)
        # the nearer three quarters decide where the others are
        again = spread <= max(np.quantile(spread, 0.75), 1e-9)
        if (again == kept).all():
            break
        kept = again
    return residuals


def short_distances(
    closest: Sequence[dict[Pair, tuple[float, int, int]]],
) -> list[Finding]:
    """Atoms that are closer than those of a molecule or a crystal."""
    found: dict[str, dict[int, tuple[float, str]]] = {"likely": {}, "note": {}}
    for i, pairs in enumerate(closest):
        worst = min(
            ((d / bond_length(pair), d, "-".join(pair)) for pair, (d, _, _) in pairs.items()),
            default=None,
        )
        if worst is not None and worst[0] < _SHORT:
            severity = "likely" if worst[0] < _OVERLAP else "note"
            found[severity][i] = worst[1:]
    findings = []
    for severity, fraction in (("likely", _OVERLAP), ("note", _SHORT)):
        if frames := found[severity]:
            distance, pair = min(frames.values())
            message = (
                f"distances below {fraction:g} times the sum of covalent radii, down to "
                f"{distance:.2f} Å ({pair})"
            )
            findings.append(Finding(severity, "short_distance", message, tuple(frames)))  # type: ignore[arg-type]
    return findings


def net_forces(structures: Sequence[Atoms], explained: Container[int] = ()) -> list[Finding]:
    """Forces that do not add up to zero, in structures of which nothing explains that."""
    uneven: dict[int, float] = {}
    for i, atoms in enumerate(structures):
        forces = atoms.calc.results.get("forces")
        if i in explained or forces is None or len(atoms) < 2 or not np.any(forces):
            continue
        net = float(np.linalg.norm(np.sum(forces, axis=0))) / np.sqrt(len(atoms))
        typical = float(np.sqrt(np.mean(np.sum(np.square(forces), axis=1))))
        if net > _NET_FORCE * typical and net > 0.01:
            uneven[i] = net * np.sqrt(len(atoms))
    if not uneven:
        return []
    message = (
        f"forces that do not add up to zero (up to {max(uneven.values()):.3g} eV/Å in all): an "
        "external field, forces of fixed atoms set to zero, or forces of other atoms"
    )
    return [Finding("note", "net_force", message, tuple(uneven))]
