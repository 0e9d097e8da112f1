"""A DataReport in lines for a person."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from ase import units

from ase_hal.data.consistency import Consistency, LabelSlope
from ase_hal.data.report import DataReport

_MARKS = {"wrong": "WRONG", "likely": "likely wrong", "note": "note"}
_WIDTH = 100


def report_lines(report: DataReport) -> list[str]:
    """What is there, a line each, and then what was found."""
    rows = list(_rows(report))
    width = max(len(name) for name, _ in rows)
    lines = [f"{name:<{width}}  {text}" for name, text in rows]
    return [*lines, *finding_lines(report)]


def short_lines(report: DataReport) -> list[str]:
    """What is there in one line, and then what was found."""
    elements = ", ".join(f"{symbol} {count:,}" for symbol, count in sorted(report.atoms.items()))
    labels = ", ".join(f"{label} {count:,}" for label, count in report.labels.items())
    return [f"{len(report.names):,} structures ({elements}); {labels}", *finding_lines(report)]


def finding_lines(report: DataReport, severities: tuple[str, ...] = tuple(_MARKS)) -> list[str]:
    """What was found, the most severe first, wrapped."""
    lines = []
    for severity in severities:
        for message in report.messages(severity):
            mark = f"{_MARKS[severity]}: "
            lines += textwrap.wrap(mark + message, _WIDTH, subsequent_indent="    ")
    return lines


def _rows(report: DataReport) -> Iterator[tuple[str, str]]:
    n = len(report.names)
    low, high = report.sizes
    sizes = f"{low} atoms" if low == high else f"{low} to {high} atoms"
    elements = ", ".join(f"{symbol} {count:,}" for symbol, count in sorted(report.atoms.items()))
    yield "structures", f"{n:,} of {sizes}"
    yield "atoms", elements
    counts = (f"{label} {count:,}" for label, count in report.labels.items())
    yield "labels", ", ".join(counts)
    if report.lone_atoms:
        energies = (
            f"{symbol} {atom.energy:.4f} eV ({report.names[atom.structure]})"
            for symbol, atom in sorted(report.lone_atoms.items())
        )
        yield "lone atoms", ", ".join(energies)
    if report.types:
        yield "types", ", ".join(f"{name} {count:,}" for name, count in report.types.items())
    if report.weights:
        yield (
            "weights",
            ", ".join(
                f"{key} {low:g} to {high:g} in {count:,}"
                for key, (count, low, high) in report.weights.items()
            ),
        )
    if report.closest:
        distances = (
            f"{'-'.join(pair)} {distance:.2f} Å" for pair, (distance, _) in report.closest.items()
        )
        yield "shortest", ", ".join(distances)
    if report.largest_force is not None:
        force, place = report.largest_force
        yield "forces", f"up to {force:.3g} eV/Å ({report.names[place]})"
    if report.largest_stress is not None:
        stress, place = report.largest_stress
        pressure = stress / units.GPa
        yield "stresses", f"up to {stress:.3g} eV/Å^3, {pressure:.3g} GPa ({report.names[place]})"
    if report.consistency is not None:
        there = ("forces", "energies", "stresses")[: 3 if report.labels["stress"] else 2]
        yield from _consistency_rows(report.consistency, there)


def _consistency_rows(
    consistency: Consistency, labels: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    """Labels over what forces say: three rows of numbers, 1 where all is right."""
    reasons = {consistency.unjudged.get(label) for label in labels}
    if len(reasons) == 1 and (reason := reasons.pop()):
        yield "check of labels", f"cannot be judged: {reason}"
        return
    for label in labels:
        slope: LabelSlope | None = getattr(consistency, label)
        name = f"check of {label}"
        if slope is None:
            yield name, f"cannot be judged: {consistency.unjudged.get(label, 'there are none')}"
            continue
        left, unit = slope.left, slope.unit
        if unit == "eV/atom":
            left, unit = 1000 * left, "meV/atom"
        yield (
            name,
            f"slope {slope.slope:.3f} ± {slope.error:.1g} (1 is right), residual {left:.2g} "
            f"{unit}, {slope.structures:,} structures",
        )
