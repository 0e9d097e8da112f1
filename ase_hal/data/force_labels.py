"""Forces against a fit to them: which structures contradict the others, and in which way."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from ase_hal.data.force_surface import VANISHING, ForceRows, ForceSurface
from ase_hal.data.label_mistakes import Mistake, mistakes
from ase_hal.prediction import Array

_ROUNDS = 5
# Forces of a structure, as a part of those of the others, that tell something.
_SMALL = 0.2
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
# Part of all structures with wrong factors that needs no such proof if all have the same; and
# components that have to say so in each of up to so many structures.
_MOST_OF_THEM, _ALONE, _GROUP = 0.5, 10.0, 2
_LEAST_SCATTER, _LEAST_NOISE = 0.2, 0.3
_LEAST_ZEROS, _AT_ZEROS = 3, 0.02  # components, part of the typical force
_TINY = 1e-30


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
        How many components tell something: not those that are far smaller than others, nor
        those that a symmetry makes equal to others.
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

    @property
    def lasts(self) -> bool:
        """Whether the difference would remain in a fit with the structure."""
        return self.kept > _KEPT * self.difference


def check_forces(part: ForceRows, surface: ForceSurface, fitted: bool) -> ForceCheck:
    """Compare forces of a structure with a surface, of which they are part or not."""
    y = part.labels
    p = surface.held_out(part) if fitted else surface.predicted(part)
    yy, yp, pp = float(y @ y), float(y @ p), max(float(p @ p), _TINY)
    zeros = part.zeros @ surface.coefficients
    return ForceCheck(
        slope=float(yp / pp),
        alike=float(yp**2 / max(yy * pp, _TINY)),
        label=_rms(y),
        predicted=_rms(p),
        difference=_rms(y - p),
        numbers=_independent(p),
        doubt=surface.doubt(part),
        kept=_rms(y - surface.predicted(part) if fitted else surface.residuals_if_fitted(part)),
        zeros=len(zeros),
        at_zeros=_rms(zeros),
    )


def _rms(values: Array) -> float:
    return float(np.sqrt(np.mean(values**2))) if len(values) else 0.0


def _independent(forces: Array) -> float:
    """Number of components of another size than all others, as far as they are large."""
    sizes = np.abs(forces)
    sizes = np.unique(np.round(sizes / max(float(sizes.max(initial=0.0)), _TINY), 3))
    return float(np.sum(sizes**2) ** 2 / max(np.sum(sizes**4), _TINY))


@dataclass(frozen=True, eq=False)
class ForceFit:
    """A fit to forces without those that contradict the others, and what is expected of it.

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
    off : float
        Logarithm of slopes, which nine of ten structures are within.
    """

    surface: ForceSurface
    fitted: frozenset[int]
    explained: float
    slope: float
    error: float
    noise: float
    trust: float
    scatter: float = 1.0
    off: float = 0.0

    def _errors(self, check: ForceCheck) -> tuple[float, float]:
        """Errors that are expected of a prediction, apart by component and as a whole, eV/Å."""
        scale = max(self.surface.typical, check.predicted)
        return self.noise * scale, float(np.sqrt(self.trust)) * check.doubt

    def expected(self, check: ForceCheck) -> float:
        """Error that is expected of predicted forces, root mean square, eV/Å."""
        return float(np.hypot(*self._errors(check)))

    def slope_error(self, check: ForceCheck) -> float:
        """Standard error of the slope of a structure, relative to it."""
        apart, whole = self._errors(check)
        error = np.hypot(apart / np.sqrt(max(check.numbers, 1.0)), whole)
        return float(self.scatter * error / max(check.predicted, VANISHING))

    def says_something(self, check: ForceCheck) -> bool:
        """Whether there are forces that could be compared."""
        return check.label > VANISHING and check.predicted > _SMALL * self.surface.typical

    def agrees(self, check: ForceCheck) -> bool:
        """Whether forces are what the fit predicts, as far as that tells something."""
        return self.says_something(check) and check.difference < _PART * check.predicted

    def is_multiple(self, check: ForceCheck) -> bool:
        """Whether forces are those of the fit times a factor that is not 1."""
        allowed = max(np.log(_FACTOR), 2 * self.off)
        near = check.slope > 0 and abs(np.log(check.slope)) < allowed
        sure = abs(check.slope - 1) > _SURE * self.slope_error(check)
        return not near and sure and check.alike > _ALIKE and self.says_something(check)

    def has_factor(self, check: ForceCheck, mistake: Mistake) -> bool:
        """Whether a structure has the factor of a mistake, as far as is known, and not 1."""
        factor, error = mistake.factor * check.slope, self.slope_error(check)
        if factor <= 0 or check.alike < _ALIKE or abs(check.slope - 1) < _WITHIN * error:
            return False
        allowed = max(_SAME, _WITHIN * error, 1.5 * self.off)
        return bool(abs(np.log(factor)) < min(allowed, np.log(_FACTOR)))

    def is_wild(self, check: ForceCheck) -> bool:
        """Whether nothing but a mistake explains forces that disagree."""
        larger = max(check.label, check.predicted, VANISHING)
        large = max(_PART * larger, _FAR * self.expected(check), _LARGE * self.surface.typical)
        return self.explained > _WELL and check.difference > large and check.lasts

    def is_zeroed(self, check: ForceCheck) -> bool:
        """Whether labels are zero where the fit says that they cannot be."""
        least = max(_FAR * self.expected(check), _AT_ZEROS * self.surface.typical)
        return check.zeros >= _LEAST_ZEROS and check.at_zeros > least


class Contradictions(NamedTuple):
    """Structures whose forces contradict those of the others.

    Attributes
    ----------
    named : mapping of Mistake to tuple of int
        By known mistakes.
    multiples : tuple of int
        Forces that are wrong by another factor.
    wild : tuple of int
        Forces that have nothing to do with the others.
    """

    named: Mapping[Mistake, tuple[int, ...]]
    multiples: tuple[int, ...]
    wild: tuple[int, ...]

    @property
    def frames(self) -> frozenset[int]:
        """All of them."""
        return frozenset(i for group in self.named.values() for i in group).union(
            self.multiples, self.wild
        )


def find_contradictions(checks: Mapping[int, ForceCheck], fit: ForceFit) -> Contradictions:
    """Structures with forces of another unit or sign, or with wild ones."""
    multiples = {i: check for i, check in checks.items() if fit.is_multiple(check)}
    rest = {i: check for i, check in checks.items() if i not in multiples}
    named: dict[Mistake, tuple[int, ...]] = {}
    while multiples:
        having = {
            m: [i for i, check in multiples.items() if fit.has_factor(check, m)]
            for m in mistakes("forces")
        }
        best = max(having, key=lambda m: (len(having[m]), -_off(m, having[m], checks)))
        group = having[best]
        if not _is_proven([checks[i] for i in group], len(multiples)):
            break
        # alone they would not say so
        unsure = [
            i for i, c in rest.items() if i not in fit.fitted and fit.has_factor(c, best)
        ]  # fmt: skip
        named[best] = tuple(sorted(group + unsure))
        multiples = {i: c for i, c in multiples.items() if i not in group}
        rest = {i: c for i, c in rest.items() if i not in unsure}
    others = tuple(
        i for i, c in multiples.items() if c.lasts and c.numbers > _ALONE and fit.explained > _WELL
    )
    wild = tuple(i for i, check in rest.items() if fit.is_wild(check))
    return Contradictions(named, others, wild)


def _is_proven(group: list[ForceCheck], multiples: int) -> bool:
    """Whether it is a mistake that structures share, and no coincidence."""
    told = sum(check.numbers for check in group) > _ALONE * min(len(group), _GROUP)
    lasting = sum(check.lasts for check in group)
    together = len(group) > 1 and len(group) >= _MOST_OF_THEM * multiples
    return told and (together or 2 * lasting > len(group))


def _off(mistake: Mistake, frames: Iterable[int], checks: Mapping[int, ForceCheck]) -> float:
    """How far structures are from the factor of a mistake."""
    return abs(float(np.sum([np.log(mistake.factor * checks[i].slope) for i in frames])))


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
        fit = _summary(surface, checks, fitted, {i: len(known[i].labels) for i in fitted})
        # what is only of a kind of its own comes in
        again = frozenset(known) - find_contradictions(checks, fit).frames
        if again == fitted or not again:
            break
        fitted = again
    return fit


def _summary(
    surface: ForceSurface,
    checks: Mapping[int, ForceCheck],
    fitted: frozenset[int],
    numbers: Mapping[int, int],
) -> ForceFit:
    chosen = [checks[i] for i in sorted(fitted)]
    n = np.array([numbers[i] for i in sorted(fitted)])
    scales = np.array([max(surface.typical, c.predicted) ** 2 for c in chosen])
    squares = np.array([c.difference**2 for c in chosen])
    yy = n * np.array([c.label**2 for c in chosen]) / scales
    pp = n * np.array([c.predicted**2 for c in chosen]) / scales
    yp = pp * np.array([c.slope for c in chosen])
    slope = float(yp.sum() / max(pp.sum(), _TINY))
    # residuals of one structure are not independent of each other
    error = float(np.sqrt(np.sum((yp - slope * pp) ** 2)) / max(pp.sum(), _TINY))
    explained = float(1 - np.sum(n * squares / scales) / max(yy.sum(), _TINY))
    large = np.array([c.label > _SMALL * surface.typical for c in chosen])
    doubts = np.array([c.doubt**2 for c in chosen])
    noise, trust = _calibrated(scales[large], squares[large], doubts[large])
    fit = ForceFit(surface, fitted, explained, slope, error, noise, trust)
    telling = [c for c in chosen if fit.says_something(c)]
    if not telling:
        return fit
    apart = [abs(c.slope - slope) / max(fit.slope_error(c), _TINY) for c in telling]
    # the median of the absolute value of a normal variable is 0.67
    scatter = float(np.clip(np.median(apart) / 0.67, _LEAST_SCATTER, 1.0))
    slopes = np.array([c.slope for c in telling if c.slope > 0])
    off = float(np.quantile(np.abs(np.log(slopes)), 0.9)) if len(slopes) else 0.0
    return replace(fit, scatter=scatter, off=off)


def _calibrated(scales: Array, squares: Array, doubts: Array) -> tuple[float, float]:
    """Noise and trust such that squares of residuals are noise^2 scales + trust doubts."""
    squares = np.maximum(squares, _TINY)
    typical = np.median(squares / scales)
    noises = typical * np.logspace(2 * np.log10(_LEAST_NOISE), 1, 13)
    trusts = np.append(0.0, np.logspace(-2, 5, 29))
    model = noises[:, None, None] * scales + trusts[None, :, None] * doubts
    misfit = np.abs(np.log(squares / model)).mean(axis=2)
    best = np.unravel_index(int(np.argmin(misfit)), misfit.shape)
    return float(np.sqrt(noises[best[0]])), float(trusts[best[1]])
