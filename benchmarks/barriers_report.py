"""Tables and the figure of the study of barriers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sampling_studies import COLOURS, markdown, mean_and_error, with_error

KINDS = ("oxygen", "vacancy")
UNITS = {"barrier": "eV", "energy": "meV/atom", "forces": "eV/Å", "angle": "degrees"}
AHEAD = {"barrier ahead": "eV", "angle ahead": "degrees", "saddles": "found", "proximal": "share"}

Results = dict[int, list[dict[str, Any]]]  # what every seed came to, by the size learned from


def cube(size: int) -> str:
    return f"{size}x{size}x{size}"


def loops(runs: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Records of all seeds before every loop and after the last; a run may end early."""
    return [list(now) for now in zip(*(run["loops"] for run in runs), strict=False)]


def average(records: list[dict[str, Any]], value: Callable[[dict[str, Any]], float]) -> str:
    return with_error(*mean_and_error(map(value, records)))


def report(results: Results) -> str:
    """All tables."""
    return "\n\n".join(
        [
            "Errors on the test hops:",
            errors(results),
            "What was labelled in a loop, predicted before it was learned from:",
            ahead(results),
            "Barriers of the test hops after the last loop (eV):",
            barriers(results),
        ]
    )


def errors(results: Results) -> str:
    """Before the first loop, in the middle, at the end, and then with relative weights."""
    head = ["learned from", "tested on", "loop", "labels", "atoms", "found"]
    lines = [head + [f"{quantity} ({unit})" for quantity, unit in UNITS.items()]]
    for size, runs in results.items():
        course = loops(runs)
        last = len(course) - 1
        for test in map(str, results):
            shown = {str(loop): course[loop] for loop in sorted({0, last // 2, last})}
            relative = [
                record | {"tests": run["relative"]}
                for record, run in zip(course[last], runs, strict=True)
            ]
            for loop, records in (shown | {f"{last}, relative weights": relative}).items():
                counts = [
                    f"{np.mean([record[key] for record in records]):.0f}"
                    for key in ("labels", "atoms")
                ]
                found = np.mean([record["tests"][test]["found"] for record in records])
                cells = [
                    average(records, lambda record, q=quantity: record["tests"][test][q])  # noqa: B023
                    for quantity in UNITS
                ]
                name = cube(int(test))
                lines.append([cube(size), name, loop, *counts, f"{100 * found:.0f} %", *cells])
    return markdown(lines)


def ahead(results: Results) -> str:
    lines = [["cells", "loop", *(f"{name} ({unit})" for name, unit in AHEAD.items())]]
    for size, runs in results.items():
        for loop, records in enumerate(loops(runs)):
            cells = [average(records, lambda r, n=name: r.get(n, np.nan)) for name in AHEAD]
            if any(cell != "-" for cell in cells):  # nothing is labelled after the last loop
                lines.append([cube(size), f"{loop + 1}", *cells])
    return markdown(lines)


def barriers(results: Results) -> str:
    """One by one; a mean over those seeds whose search found a saddle."""
    lines = [["cell", "hop", "SevenNet-0", *(f"learned from {cube(size)}" for size in results)]]
    last = {size: loops(runs)[-1] for size, runs in results.items()}
    for test in map(str, results):
        records = [record["tests"][test]["barriers"] for record in next(iter(last.values()))]
        for hop, found in records[0].items():
            cells = [
                average(of, lambda r: r["tests"][test]["barriers"][hop]["model"])  # noqa: B023
                for of in last.values()
            ]
            lines.append([cube(int(test)), hop, f"{found['truth']:.3f}", *cells])
    return markdown(lines)


def plot(results: Results, path: Path) -> None:
    """Errors by labelled atoms: a colour for what was learned from, dashes for other cells."""
    import matplotlib.pyplot as plt

    figure, grid = plt.subplots(2, 2, figsize=(9, 6.4), sharex=True, layout="constrained")
    for axes, (quantity, unit) in zip(grid.flat, UNITS.items(), strict=True):
        for number, (size, runs) in enumerate(results.items()):
            course = loops(runs)
            atoms = [np.mean([record["atoms"] for record in records]) for records in course]
            for test in results:
                mean, error = np.array(
                    [
                        mean_and_error(record["tests"][str(test)][quantity] for record in records)
                        for records in course
                    ]
                ).T
                axes.errorbar(
                    atoms, mean, error, capsize=2, color=COLOURS[number],
                    linestyle="-" if test == size else "--", marker="o" if test == size else "s",
                    markersize=4, label=f"learned {cube(size)}, tested {cube(test)}",
                )  # fmt: skip
        axes.set(ylabel=f"error of {quantity} ({unit})")
    for axes in grid[-1]:
        axes.set_xlabel("labelled atoms")
    handles = grid[0, 0].get_legend_handles_labels()
    figure.legend(*handles, fontsize="small", ncols=2, loc="outside lower center")
    figure.suptitle("O and vacancy hops in NbTiZr, SevenNet-0")
    figure.savefig(path, dpi=150)
