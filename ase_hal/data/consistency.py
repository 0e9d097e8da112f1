"""Whether energies, forces and stresses of a dataset belong together.

Forces alone determine the potential energy surface up to constants. A small linear model is fitted
to nothing but forces, and what it says about energies and stresses is compared with their labels:
slopes of 1 are right, and a wrong sign, unit or meaning shows as another slope, in all structures
or in some.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from ase import Atoms
from threadpoolctl import threadpool_limits

from ase_hal.ace import ACEBasis
from ase_hal.committee import REFUSALS
from ase_hal.data.explanations import RIGHT, Explanation, MeasuredSlope, Slopes, explain
from ase_hal.data.findings import Finding, Severity
from ase_hal.data.force_findings import force_findings
from ase_hal.data.force_labels import (
    ForceCheck,
    ForceFit,
    check_forces,
    find_contradictions,
    fit_to_forces,
)
from ase_hal.data.force_screen import agreeing_structures
from ase_hal.data.force_surface import (
    ForceRows,
    choose_basis,
    density,
    rows_of,
    spread_out,
    usual_cutoff,
)
from ase_hal.data.label_lines import (
    LabelLines,
    Sizes,
    label_lines,
    labelled_energies,
    labelled_stresses,
)
from ase_hal.data.label_mistakes import Label, Mistake
from ase_hal.data.label_outliers import Outliers, outlier_findings
from ase_hal.labels import labels_of
from ase_hal.prediction import Array

_FEWEST = 6  # structures
_MOST_FITTED = 128  # structures whose forces are fitted to
_MOST_ATOMS = 2000  # of them
_FEWEST_ATOMS = 12  # of a structure, if it has them
# Force components by function of the fit, and of one that tells which structures contradict others.
_ROWS_PER_FUNCTION, _ROWS_TO_SCREEN, _MOST_TO_SCREEN = 3, 12, 150
_EFFORT, _OVERHEAD = 80_000, 30  # atoms looked at, and those that a structure counts beside its own
_EXPLAINED = 0.5  # part of the forces that a fit has to predict for anything to be judged
_UNLIKE = 4.0  # standard errors at which a slope is not 1
_SYSTEMATIC = 0.1  # relative error of slopes beside the statistical one
_SURE = 0.2  # relative error of a slope that is surely wrong
_STRANGE = 6.0
_UNKNOWN = 0.35  # relative error of a slope that is not known
_KINDS = ("forces", "energies", "stresses")


@dataclass(frozen=True)
class LabelSlope:
    """Labels over what a fit to forces says.

    Attributes
    ----------
    slope, error : float
        1 is right; the standard error.
    left : float
        Root mean square of what the fit does not predict, in `unit`.
    unit : str
    structures : int
        Number of structures with such labels that were compared.
    """

    slope: float
    error: float
    left: float
    unit: str
    structures: int


@dataclass(frozen=True)
class Consistency:
    """Whether labels belong together.

    Attributes
    ----------
    forces, energies, stresses : LabelSlope or None
        Forces on what a fit to forces of other structures predicts, and energies and stresses on
        what a fit to forces alone predicts; None where that could not be judged.
    unjudged : mapping of str to str
        Why not.
    looked_at, structures : int
        Structures that were looked at, of how many.
    functions : int
        Number of functions of the fit.
    cutoff : float
        Å.
    findings : tuple of Finding
        Their frames are indices into the structures.
    """

    forces: LabelSlope | None
    energies: LabelSlope | None
    stresses: LabelSlope | None
    unjudged: Mapping[str, str]
    looked_at: int
    structures: int
    functions: int
    cutoff: float
    findings: tuple[Finding, ...]


def check_consistency(
    structures: Sequence[Atoms],
    *,
    cutoff: float | None = None,
    rng: np.random.Generator | None = None,
) -> Consistency:
    """Compare energies and stresses with what forces say about them.

    Of large sets a part is looked at, spread over all of it.

    Parameters
    ----------
    structures : sequence of Atoms
        With labels, as `read_dataset` and `label` give them.
    cutoff : float, optional
        How far the model that is fitted sees, Å. By default it reaches second neighbours.
    rng : numpy.random.Generator, optional
        Source of the random sets from which a majority of the structures is sought. By default
        they are the same every time.

    Raises
    ------
    ValueError
        For structures without labels.
    """
    labels = [labels_of(atoms) for atoms in structures]
    nothing = Consistency(None, None, None, {}, 0, len(structures), 0, 0.0, ())
    rng = np.random.default_rng(0) if rng is None else rng
    try:
        with threadpool_limits(1, user_api="blas"):  # many small matrices
            return _judged(structures, labels, cutoff, rng, nothing)
    except REFUSALS as error:
        reason = str(error) or type(error).__name__
        return replace(nothing, unjudged=dict.fromkeys(_KINDS, reason))


def _judged(
    structures: Sequence[Atoms],
    labels: Sequence[Mapping[str, Array]],
    cutoff: float | None,
    rng: np.random.Generator,
    result: Consistency,
) -> Consistency:
    view = _View.of(structures, labels, cutoff, rng)
    result = replace(
        result, looked_at=len(view.parts), functions=view.basis.size, cutoff=view.basis.cutoff
    )
    fit = view.fit
    if fit.explained < _EXPLAINED:
        reason = (
            f"a fit to forces predicts {max(fit.explained, 0.0):.0%} of the forces of structures "
            "that it has not seen"
        )
        return replace(result, unjudged=dict.fromkeys(_KINDS, reason))
    findings = force_findings(view.checks, fit)
    forces = LabelSlope(fit.slope, fit.error, view.force_error(), "eV/Å", len(view.checks))
    unjudged: dict[str, str] = {}
    known: dict[Label, LabelLines] = {}
    surface = fit.surface
    for data in (
        labelled_energies(view.sizes, view.parts, surface),
        labelled_stresses(view.sizes, view.parts, surface),
    ):
        reason = _too_few(data.label, len(data.labels))
        lines = None if reason else label_lines(data, fit.explained, rng=rng)
        reason = reason or _uncertain(lines, data.label)
        if lines is None or reason:
            unjudged[data.label] = reason
        else:
            known[data.label] = lines
    common = _whole(known, findings)
    for label, lines in known.items():
        mistake = common.get(label, Mistake(label))
        outliers = Outliers.of(lines.data, lines.line_of(mistake), mistake, view.agreeing)
        findings += outlier_findings(outliers, mistake)
    slopes = {label: _slope(lines) for label, lines in known.items()}
    return replace(
        result,
        forces=forces,
        energies=slopes.get("energies"),
        stresses=slopes.get("stresses"),
        unjudged=unjudged,
        findings=tuple(findings),
    )


def _too_few(label: Label, n: int) -> str:
    if n >= _FEWEST:
        return ""
    what = {"energies": "an energy", "stresses": "a stress"}.get(label, "forces")
    return f"{n} structures with {what} that can be compared; {_FEWEST} are needed"


def _uncertain(lines: LabelLines | None, label: Label) -> str:
    if lines is None:
        return f"too few {label}"
    measured = [slope.error for slope in lines.slopes.values()]
    if not measured:
        return f"the forces say that {label} hardly differ"
    if min(measured) > _UNKNOWN:
        line = lines.usual
        slope = f"{line.slope:.2g} +- {line.error:.2g}"
        return f"the slope is {slope}: what the forces say is too vague"
    return ""


def _slope(lines: LabelLines) -> LabelSlope:
    line, data = lines.usual, lines.data
    left = (data.labels - line.judgement.expected)[line.described]
    unit = "eV/atom" if data.label == "energies" else "eV/Å^3"
    error = float(np.sqrt(np.nanmean(left**2)))
    return LabelSlope(line.slope, line.error, error, unit, len(data.labels))


# --- all labels of a kind ----------------------------------------------------------------


def _whole(known: Mapping[Label, LabelLines], findings: list[Finding]) -> dict[str, Mistake]:
    """Add what is wrong with most labels to findings; mistakes by kind of labels."""
    common: dict[str, Mistake] = {}
    findings += [_order(lines, lines.order) for lines in known.values() if lines.order is not None]
    slopes: dict[Label, Slopes] = {label: lines.slopes for label, lines in known.items()}
    unlike = [label for label, found in slopes.items() if _is_unlike(found)]
    if not unlike:
        return common
    for label in slopes:
        if label not in unlike:  # right, if not exactly
            slopes[label] = {RIGHT: MeasuredSlope(1.0, slopes[label][RIGHT].error)}
    found = explain(slopes.get("energies", {}), slopes.get("stresses", {}))
    if not found:
        findings += [_unexplained(known[label]) for label in unlike]
        return common
    findings.append(_explained(found, known, unlike))
    return {mistake.label: mistake for mistake in found[0].wrong}


def _is_unlike(slopes: Slopes) -> bool:
    """Whether a slope is not 1."""
    return RIGHT not in slopes or slopes[RIGHT].distance(1.0, _SYSTEMATIC) > _UNLIKE


def _evidence(lines: LabelLines) -> str:
    line, label = lines.usual, lines.data.label
    verb = "energies change" if label == "energies" else "stresses are"
    return f"{verb} {line.slope:.4g} +- {line.error:.1g} times what the forces say"


def _explained(
    found: Sequence[Explanation], known: Mapping[Label, LabelLines], unlike: Sequence[Label]
) -> Finding:
    words = ", or ".join(explanation.words for explanation in found)
    evidence = "; ".join(_evidence(known[label]) for label in known)
    message = f"{words}: {evidence} (1 is right). {_capital(found[0].remedy)}"
    if len(found) > 1:
        message += " in the first case"
    errors = [min(s.error for s in known[label].slopes.values()) for label in unlike]
    severity: Severity = "wrong" if max(errors) < _SURE else "likely"
    return Finding(severity, found[0].kind, message, _concerned(known, unlike))


def _concerned(known: Mapping[Label, LabelLines], unlike: Sequence[Label]) -> tuple[int, ...]:
    """Structures on the lines, unless those are all."""
    described = [lines.data.frames[lines.best.described] for lines in (known[x] for x in unlike)]
    if all(len(d) == len(known[x].data.frames) for d, x in zip(described, unlike, strict=True)):
        return ()
    return tuple(sorted({int(i) for frames in described for i in frames}))


def _unexplained(lines: LabelLines) -> Finding:
    message = (
        f"{_evidence(lines)}, where 1 is right; no usual unit or sign explains that. Do forces, "
        f"{lines.data.label} and positions come from the same calculations?"
    )
    slopes = lines.slopes
    sure = RIGHT in slopes and slopes[RIGHT].distance(1.0, _SYSTEMATIC) > _STRANGE
    return Finding("likely" if sure else "note", f"{lines.data.label}_slope", message)


def _order(lines: LabelLines, order: Mistake) -> Finding:
    message = (
        f"the stresses are {order.words}: in this order, and not in the usual one, they agree with "
        f"what the forces say. {_capital(order.remedy)}"
    )
    return Finding("wrong", order.kind, message)


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]


# --- what is looked at -------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _View:
    """Rows of the structures that are looked at, a fit to forces of some, and checks of all."""

    basis: ACEBasis
    parts: Mapping[int, ForceRows]  # without forces
    sizes: Mapping[int, Sizes]
    fit: ForceFit
    checks: Mapping[int, ForceCheck]

    @classmethod
    def of(
        cls,
        structures: Sequence[Atoms],
        labels: Sequence[Mapping[str, Array]],
        cutoff: float | None,
        rng: np.random.Generator,
    ) -> _View:
        if len(structures) < _FEWEST:
            raise ValueError(f"{len(structures)} structures; {_FEWEST} are needed")
        looked_at = _looked_at(structures)
        with_forces = [i for i in looked_at if "forces" in labels[i]][:_MOST_FITTED]
        if reason := _too_few("forces", len(with_forces)):
            raise ValueError(reason)
        most = max(_FEWEST_ATOMS, -(-_MOST_ATOMS // len(with_forces)))
        elements = sorted({symbol for i in looked_at for symbol in structures[i].symbols})
        cutoff = cutoff or usual_cutoff([structures[i] for i in looked_at])
        n_rows = sum(
            np.count_nonzero(labels[i]["forces"]) * min(most / len(structures[i]), 1.0)
            for i in with_forces
        )
        basis = choose_basis(elements, cutoff, n_rows, _ROWS_PER_FUNCTION)
        if basis is None:
            raise ValueError(
                f"{n_rows:.0f} force components are too few for {len(elements)} elements"
            )
        # with few functions, structures that contradict the others cannot hide
        small = choose_basis(elements, cutoff, n_rows, _ROWS_TO_SCREEN, _MOST_TO_SCREEN) or basis
        screened = agreeing_structures(_all_rows(small, with_forces, structures, most), rng=rng)
        parts = _all_rows(basis, with_forces, structures, most)
        fit = fit_to_forces(parts, screened)
        if fit is None:
            raise ValueError("all forces vanish")
        checks = {}
        for i in looked_at:
            if i not in parts:
                parts.update(_all_rows(basis, [i], structures, most))
            if i in parts:
                if "forces" in labels[i]:
                    checks[i] = check_forces(parts[i], fit.surface, i in fit.fitted)
                parts[i] = parts[i].without_forces()
        return cls(basis, parts, _sizes(parts, structures, labels, basis), fit, checks)

    @property
    def agreeing(self) -> frozenset[int]:
        """Structures whose forces the fit predicts: it knows their kind."""
        return frozenset(i for i, check in self.checks.items() if self.fit.agrees(check))

    def force_error(self) -> float:
        """Root mean square of what the fit does not predict of forces that agree, eV/Å."""
        wrong = find_contradictions(self.checks, self.fit).frames
        squares = [c.difference**2 for i, c in self.checks.items() if i not in wrong]
        return float(np.sqrt(np.mean(squares))) if squares else np.nan


def _looked_at(structures: Sequence[Atoms]) -> list[int]:
    """Structures that are looked at: all, or as many as a bounded effort allows."""
    order = [int(i) for i in spread_out(len(structures))]
    efforts = np.cumsum([len(structures[i]) + _OVERHEAD for i in order])
    number = max(int(np.sum(efforts <= _EFFORT)), _FEWEST)
    seen: set[str] = set()
    first = []
    for i in order:  # one of each element, whatever it takes
        if not seen.issuperset(structures[i].symbols):
            seen.update(structures[i].symbols)
            first.append(i)
    chosen = order[:number]
    rare = [i for i in first if i not in set(chosen)]
    return first + [i for i in chosen if i not in set(first)] if rare else chosen


def _all_rows(
    basis: ACEBasis, which: Sequence[int], structures: Sequence[Atoms], most: int
) -> dict[int, ForceRows]:
    """Rows of structures, but of those that cannot be evaluated: collapsed cells, say."""
    parts = {}
    for i in which:
        try:
            parts[i] = rows_of(basis, structures[i], most)
        except REFUSALS:  # noqa: PERF203
            continue
    return parts


def _sizes(
    parts: Mapping[int, ForceRows],
    structures: Sequence[Atoms],
    labels: Sequence[Mapping[str, Array]],
    basis: ACEBasis,
) -> dict[int, Sizes]:
    return {
        i: Sizes(
            float(labels[i]["energy"]),
            labels[i].get("stress"),
            np.array([np.count_nonzero(structures[i].symbols == e) for e in basis.elements]),
            structures[i].get_volume() if structures[i].pbc.all() else None,
            density(structures[i], basis.cutoff),
        )
        for i in parts
    }
