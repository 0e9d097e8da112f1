"""Forces against a fit to them: which structures contradict the others, and in which way."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ase_hal.data.findings import Finding
from ase_hal.data.force_surface import VANISHING, ForceRows, ForceSurface
from ase_hal.data.label_mistakes import Mistake, mistakes
from ase_hal.prediction import Array

_ROUNDS = 3
# Forces are a multiple of the fit if they point the same way, by the square of a cosine; they are
# wrong by a factor beyond this, if it is known well enough.
_ALIKE, _FACTOR, _SURE = 0.5, 1.4, 6.0
# A known mistake has the factor within this, or within so many errors.
_SAME, _WITHIN = 0.1, 3.0
# Forces that disagree in no known way: the part of the larger of label and fit, multiples of the
# expected error, and of the typical force; the part of other forces that the fit has to predict.
_PART, _FAR, _LARGE, _WELL = 0.5, 8.0, 0.5, 0.9
# What has to be left of a difference if the fit was made with the structure, too: less says that
# it is only of a kind of its own.
_KEPT = 0.3
_LEAST_SCATTER = 0.2
_TINY = 1e-30
_LEAST_ZEROS = 3


class ForceCheck(NamedTuple):
    """Forces of one structure, labels y against what a fit without them predicts, p.

    Attributes
    ----------
    slope : float
        Of y on p.
    alike : float
        Square of the cosine between y and p.
    label, predicted, difference : float
        Root mean squares of y, p and y - p, eV/Å.
    numbers : float
        How many components matter: 1 where one is far larger than all others.
    doubt : float
        Standard deviation of p as the posterior sees it, eV/Å.
    kept : float
        Root mean square of what would be left of y - p if the fit was made with the structure.
    zeros : int
        Components with a label of exactly zero without a reason.
    at_zeros : float
        Root mean square of p there, eV/Å.
    """

    slope: float
    alike: float
    label: float
    predicted: float
    difference: float
    numbers: float
    doubt: float
    kept: float
    zeros: int
    at_zeros: float


def check_forces(part: ForceRows, surface: ForceSurface, fitted: bool) -> ForceCheck:
    """Compare forces of a structure with a surface, of which they are part or not."""
    y = part.labels
    p = surface.held_out(part) if fitted else surface.predicted(part)
    yy, yp, pp = y @ y, y @ p, max(p @ p, _TINY)
    zeros = part.zeros @ surface.coefficients
    return ForceCheck(
        slope=float(yp / pp),
        alike=float(yp**2 / max(yy * pp, _TINY)),
        label=_rms(y),
        predicted=_rms(p),
        difference=_rms(y - p),
        numbers=float(pp**2 / max(np.sum(p**4), _TINY)),
        doubt=surface.doubt(part),
        kept=_rms(y - surface.predicted(part) if fitted else surface.residuals_if_fitted(part)),
        zeros=len(zeros),
        at_zeros=_rms(zeros),
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else 0.0


@dataclass(frozen=True, eq=False)
class ForceFit:
    """A fit to forces without those that contradict the others.

    Attributes
    ----------
    surface : ForceSurface
    fitted : frozenset of int
        Structures that it was fitted to.
    explained : float
        Part of the square of forces that fits without a structure predict for it, 0 to 1.
    slope, error : float
        Of labels on those predictions, and its standard error.
    noise, trust : float
        Errors of predictions: noise times the size of forces, plus, in squares, trust times the
        variance of the posterior.
    scatter : float
        Errors of slopes of single structures, over what would follow if all errors that the
        posterior sees had one sign in a structure.
    """

    surface: ForceSurface
    fitted: frozenset[int]
    explained: float
    slope: float
    error: float
    noise: float
    trust: float
    scatter: float = 1.0

    def _errors(self, check: ForceCheck) -> tuple[float, float]:
        """Errors that are expected of a prediction, apart by component and as a whole, eV/Å."""
        scale = max(self.surface.typical, check.predicted)
        return self.noise * scale, float(np.sqrt(self.trust)) * check.doubt

    def expected(self, check: ForceCheck) -> float:
        """Error that is expected of predicted forces, root mean square, eV/Å."""
        return float(np.hypot(*self._errors(check)))

    def slope_error(self, check: ForceCheck) -> float:
        """Standard error of the slope of a structure."""
        apart, whole = self._errors(check)
        error = np.hypot(apart / np.sqrt(max(check.numbers, 1.0)), whole)
        return float(self.scatter * error / max(check.predicted, VANISHING))

    def is_multiple(self, check: ForceCheck) -> bool:
        """Whether forces are those of the fit times a factor that is not 1."""
        near = 1 / _FACTOR < check.slope < _FACTOR
        sure = abs(check.slope - 1) > _SURE * self.slope_error(check)
        return not near and sure and check.alike > _ALIKE

    def has_factor(self, check: ForceCheck, mistake: Mistake) -> bool:
        """Whether a structure has the factor of a mistake, as far as is known, and not 1."""
        factor, error = mistake.factor * check.slope, self.slope_error(check)
        if factor <= 0 or check.alike < _ALIKE or abs(check.slope - 1) < _WITHIN * error:
            return False
        allowed = max(_SAME, _WITHIN * error / abs(check.slope))
        return bool(abs(np.log(factor)) < min(allowed, np.log(_FACTOR)))

    def is_wild(self, check: ForceCheck) -> bool:
        """Whether nothing but a mistake explains forces that disagree."""
        larger = max(check.label, check.predicted, VANISHING)
        large = max(_PART * larger, _FAR * self.expected(check), _LARGE * self.surface.typical)
        return self.explained > _WELL and check.difference > large and self._lasts(check)

    def contradicts(self, check: ForceCheck) -> bool:
        """Whether forces are not those of the other structures."""
        return self.is_multiple(check) or self.is_wild(check)

    @staticmethod
    def _lasts(check: ForceCheck) -> bool:
        return check.kept > _KEPT * check.difference


def fit_to_forces(parts: Mapping[int, ForceRows], start: Collection[int]) -> ForceFit | None:
    """Fit to forces without those that contradict the others; None where there are none.

    Parameters
    ----------
    parts : mapping of int to ForceRows
    start : collection of int
        Structures to begin with, as `agreeing_structures` finds them.
    """
    known = {i: part for i, part in parts.items() if part.size > VANISHING}
    fitted = frozenset(start) & frozenset(known)
    if not fitted:
        return None
    for _ in range(_ROUNDS):
        surface = ForceSurface.fit([known[i] for i in sorted(fitted)])
        checks = {i: check_forces(part, surface, i in fitted) for i, part in known.items()}
        fit = _summary(surface, known, checks, fitted)
        again = frozenset(i for i, check in checks.items() if not fit.contradicts(check))
        if again == fitted or not again:
            break
        fitted = again
    return fit


def _summary(
    surface: ForceSurface,
    parts: Mapping[int, ForceRows],
    checks: Mapping[int, ForceCheck],
    fitted: frozenset[int],
) -> ForceFit:
    chosen = [(checks[i], len(parts[i].labels)) for i in sorted(fitted)]
    scales = np.array([max(surface.typical, c.predicted) ** 2 for c, _ in chosen])
    squares = np.array([c.difference**2 for c, _ in chosen])
    n = np.array([number for _, number in chosen])
    yy = n * np.array([c.label**2 for c, _ in chosen]) / scales
    pp = n * np.array([c.predicted**2 for c, _ in chosen]) / scales
    yp = pp * np.array([c.slope for c, _ in chosen])
    slope = float(yp.sum() / max(pp.sum(), _TINY))
    # residuals of one structure are not independent of each other
    error = float(np.sqrt(np.sum((yp - slope * pp) ** 2)) / max(pp.sum(), _TINY))
    explained = float(1 - np.sum(n * squares / scales) / max(yy.sum(), _TINY))
    doubts = np.array([c.doubt**2 for c, _ in chosen])
    noise, trust = _calibrated(scales, squares, doubts)
    fit = ForceFit(surface, fitted, explained, slope, error, noise, trust)
    apart = [abs(c.slope - slope) / max(fit.slope_error(c), _TINY) for c, _ in chosen]
    # the median of the absolute value of a normal variable is 0.67
    scatter = float(np.clip(np.median(apart) / 0.67, _LEAST_SCATTER, 1.0))
    return replace(fit, scatter=scatter)


def _calibrated(scales: Array, squares: Array, doubts: Array) -> tuple[float, float]:
    """Noise and trust such that squares of residuals are noise^2 scales + trust doubts."""
    squares = np.maximum(squares, 1e-20)
    typical = np.median(squares / scales)
    noises = np.append(0.0, typical * np.logspace(-4, 1, 21))
    trusts = np.append(0.0, np.logspace(-2, 5, 29))
    model = (
        noises[:, None, None] * scales + trusts[None, :, None] * doubts + 1e-20
    )  # (noises, trusts, structures)
    misfit = np.abs(np.log(squares / model)).mean(axis=2)
    best = np.unravel_index(int(np.argmin(misfit)), misfit.shape)
    return float(np.sqrt(noises[best[0]])), float(trusts[best[1]])


def force_findings(checks: Mapping[int, ForceCheck], fit: ForceFit) -> list[Finding]:
    """What is wrong with forces of single structures."""
    with_forces = {i: check for i, check in checks.items() if check.label > VANISHING}
    multiples = {i: check for i, check in with_forces.items() if fit.is_multiple(check)}
    rest = {i: check for i, check in with_forces.items() if i not in multiples}
    wild = {i: check for i, check in rest.items() if fit.is_wild(check)}
    findings = []
    while multiples:
        having = {
            m: [i for i, check in multiples.items() if fit.has_factor(check, m)]
            for m in mistakes("forces")
        }
        best = max(having, key=lambda m: (len(having[m]), -_off(having[m], checks, m)))
        if not having[best]:
            findings.append(_multiples(multiples))
            break
        unsure = [
            i for i, c in rest.items() if i not in fit.fitted and fit.has_factor(c, best)
        ]  # alone they would not say so
        findings.append(_named(best, sorted({*having[best], *unsure}), checks))
        multiples = {i: c for i, c in multiples.items() if i not in having[best]}
        rest = {i: c for i, c in rest.items() if i not in unsure}
        wild = {i: c for i, c in wild.items() if i not in unsure}
    if wild:
        findings.append(_wild(wild))
    zero = {
        i: check
        for i, check in checks.items()
        if check.zeros >= _LEAST_ZEROS and check.at_zeros > _FAR * fit.expected(check)
    }
    return [*findings, _zeros(zero, fit)] if zero else findings


def _off(frames: Sequence[int], checks: Mapping[int, ForceCheck], mistake: Mistake) -> float:
    """How far structures are from the factor of a mistake."""
    return abs(float(np.sum([np.log(mistake.factor * checks[i].slope) for i in frames])))


def _multiples(checks: Mapping[int, ForceCheck]) -> Finding:
    slopes = sorted(check.slope for check in checks.values())
    message = (
        f"forces are {slopes[0]:.3g} to {slopes[-1]:.3g} times what a fit to the forces of the "
        "other structures predicts: they come from another program or have another unit, or these "
        "structures are unlike all others"
    )
    return Finding("likely", "force_scale", message, tuple(checks))


def _named(mistake: Mistake, frames: Sequence[int], checks: Mapping[int, ForceCheck]) -> Finding:
    slope = float(np.median([checks[i].slope for i in frames]))
    message = (
        f"forces are {mistake.words}: they are {slope:.4g} times those that a fit to the forces "
        f"of the other structures predicts. In these structures, {mistake.remedy}"
    )
    return Finding("wrong", mistake.kind, message, tuple(frames))


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
    sure = worst.at_zeros > 2 * _FAR * fit.expected(worst)
    message = (
        f"{n} force components are exactly zero where a fit to the other forces predicts up to "
        f"{worst.at_zeros:.2g} eV/Å (root mean square of a structure): forces of fixed atoms that "
        "a program has set to zero, or forces that were never calculated. Calculate them, mark "
        "the atoms by a FixAtoms constraint, or read these structures without forces"
    )
    return Finding("wrong" if sure else "likely", "forces_zeroed", message, tuple(checks))
