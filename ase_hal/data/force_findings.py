"""What is wrong with forces of single structures, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ase_hal.data.findings import Finding
from ase_hal.data.force_labels import ForceCheck, ForceFit, find_contradictions
from ase_hal.data.label_mistakes import Mistake, mistakes

_CLOSE = 0.05  # mistakes that cannot be told apart: meV/Å and kJ/mol/nm
_SURE = 2.0  # times the least for forces that are zeroed


def force_findings(checks: Mapping[int, ForceCheck], fit: ForceFit) -> list[Finding]:
    """Forces that contradict those of the other structures, and those that were set to zero."""
    found = find_contradictions(checks, fit)
    findings = [_named(m, frames, checks) for m, frames in found.named.items()]
    if found.multiples:
        findings.append(_multiples({i: checks[i] for i in found.multiples}))
    if found.wild:
        findings.append(_wild({i: checks[i] for i in found.wild}))
    zeroed = {i: check for i, check in checks.items() if fit.is_zeroed(check)}
    if zeroed:
        findings.append(_zeros(zeroed, fit))
    return findings


def _named(mistake: Mistake, frames: Sequence[int], checks: Mapping[int, ForceCheck]) -> Finding:
    slope = float(np.median([checks[i].slope for i in frames]))
    alike = [m for m in mistakes("forces") if abs(m.factor / mistake.factor - 1) < _CLOSE]
    message = (
        f"forces are {' or '.join(m.words for m in alike)}: they are {slope:.4g} times those that "
        "a fit to the forces of the other structures predicts. In these structures, "
        f"{' or '.join(m.correction for m in alike)}"
    )
    return Finding("wrong" if len(frames) > 1 else "likely", mistake.kind, message, tuple(frames))


def _multiples(checks: Mapping[int, ForceCheck]) -> Finding:
    slopes = sorted(check.slope for check in checks.values())
    times = f"{slopes[0]:.3g}" + (f" to {slopes[-1]:.3g}" if len(slopes) > 1 else "")
    message = (
        f"forces are {times} times what a fit to the forces of the other structures predicts, "
        "which no usual unit explains: calculate them again, or remove these structures"
    )
    return Finding("likely", "force_scale", message, tuple(checks))


def _wild(checks: Mapping[int, ForceCheck]) -> Finding:
    worst = max(checks.values(), key=lambda check: check.difference)
    message = (
        f"forces differ by up to {worst.difference:.3g} eV/Å (root mean square of a structure; its "
        f"forces are {worst.label:.3g}) from what a fit to the forces of the other structures "
        "predicts: calculate them again, or remove these structures. Forces of another structure, "
        "in another order of atoms or of a rotated cell look like this"
    )
    return Finding("likely", "forces_disagree", message, tuple(checks))


def _zeros(checks: Mapping[int, ForceCheck], fit: ForceFit) -> Finding:
    worst = max(checks.values(), key=lambda check: check.at_zeros)
    n = sum(check.zeros for check in checks.values())
    sure = fit.is_zeroed(worst._replace(at_zeros=worst.at_zeros / _SURE))
    message = (
        f"{n} force components are exactly zero where a fit to the other forces predicts up to "
        f"{worst.at_zeros:.2g} eV/Å (root mean square of a structure): forces of fixed atoms that "
        "a program has set to zero, or forces that were never calculated. Calculate them, mark "
        "the atoms by a FixAtoms constraint, or read these structures without forces"
    )
    return Finding("wrong" if sure else "likely", "forces_zeroed", message, tuple(checks))
