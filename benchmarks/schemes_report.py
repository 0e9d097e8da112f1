"""Tables and the figure of the study of schemes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from sampling_studies import COLOURS, markdown, mean_and_error, ratio_and_error, with_error

SCHEMES = (
    "relaxation", "biased relaxation", "dynamics", "biased dynamics", "contour", "biased contour"
)  # fmt: skip
TESTS = ("gentle", "difficult")
UNITS = {"energy": "meV/atom", "forces": "eV/Å", "angle": "degrees"}
COLUMNS = tuple((test, quantity) for test in TESTS for quantity in UNITS)

Results = dict[str, list[dict[str, Any]]]  # what a scheme came to, of every seed


def course(runs: list[dict[str, Any]], test: str, quantity: str) -> np.ndarray:
    """Errors of every seed before and after every iteration, (seeds, iterations + 1)."""
    return np.array([[r[test][quantity] for r in run["iterations"]] for run in runs])


def report(results: Results) -> str:
    """All tables."""
    first = [run["iterations"][0] for run in results[SCHEMES[0]]]
    sizes = [np.mean([record[test]["structures"] for record in first]) for test in TESTS]
    parts = [
        "Errors before and after the loop:",
        errors(results),
        "Structures: gentle {:.0f}, difficult {:.0f}.".format(*sizes),
        "Errors over those of plain dynamics with the same seed, after the last iteration:",
        ratios(results, dict.fromkeys(SCHEMES, "dynamics"), slice(-1, None)),
        "The same on average over the iterations:",
        ratios(results, dict.fromkeys(SCHEMES, "dynamics"), slice(1, None)),
        "Errors with bias over those without, on average over the iterations:",
        ratios(results, {f"biased {name}": name for name in SCHEMES[::2]}, slice(1, None)),
        "Errors of forces (eV/Å) on the difficult set after the loop, by kind of start:",
        groups(results, "kinds"),
        "The same, by the scheme that held the structures out:",
        groups(results, "held out by"),
        "What the schemes did:",
        counts(results),
    ]
    return "\n\n".join(parts)


def errors(results: Results) -> str:
    """With their standard errors over seeds."""
    lines = [["scheme", *(f"{test}, {q} ({UNITS[q]})" for test, q in COLUMNS)]]
    for scheme, runs in results.items():
        for when in (0, -1) if scheme == SCHEMES[0] else (-1,):
            cells = [mean_and_error(course(runs, *column)[:, when]) for column in COLUMNS]
            lines.append([scheme if when else "before", *(with_error(*cell) for cell in cells)])
    return markdown(lines)


def ratios(results: Results, to: dict[str, str], when: slice) -> str:
    """Of each scheme to another with the same seed, averaged (geometrically) over iterations."""
    lines = [["scheme", *(f"{test}, {quantity}" for test, quantity in COLUMNS)]]

    def averaged(scheme: str, column: tuple[str, str]) -> np.ndarray:
        return np.exp(np.log(course(results[scheme], *column)[:, when]).mean(axis=1))

    for scheme, other in to.items():
        if scheme == other:
            continue
        cells = [ratio_and_error(averaged(scheme, c), averaged(other, c)) for c in COLUMNS]
        lines.append([scheme, *(with_error(*cell) for cell in cells)])
    return markdown(lines)


def groups(results: Results, grouping: str) -> str:
    names = list(
        dict.fromkeys(n for runs in results.values() for run in runs for n in run[grouping])
    )
    lines = [["scheme", *names]]
    for scheme, runs in results.items():
        cells = [
            mean_and_error(run[grouping].get(name, {}).get("forces", np.nan) for run in runs)
            for name in names
        ]
        lines.append([scheme, *(with_error(*cell) for cell in cells)])
    return markdown(lines)


def counts(results: Results) -> str:
    """Evolutions that found something, their lengths, labels, and those with huge true forces."""
    lines = [
        ["scheme", "evolutions that found something", "steps", "labels paid", "beyond 25 eV/Å"]
    ]
    for scheme, runs in results.items():
        found, steps, paid, beyond = (
            mean_and_error(run[key] for run in runs)[0]
            for key in ("found", "steps", "paid", "beyond")
        )
        cells = [f"{100 * found:.0f} %", f"{steps:.0f}", f"{paid:.0f}", f"{100 * beyond:.0f} %"]
        lines.append([scheme, *cells])
    return markdown(lines)


def plot(results: Results, title: str, path: Path) -> None:
    """Errors by iteration; biased schemes are dashed."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import MaxNLocator

    figure, rows = plt.subplots(
        2, 3, figsize=(11, 6.4), sharex=True, squeeze=False, layout="constrained"
    )
    for axes, (test, quantity) in zip(rows.flat, COLUMNS, strict=True):
        for number, (scheme, runs) in enumerate(results.items()):
            by_iteration = course(runs, test, quantity).T
            mean, error = np.array([mean_and_error(values) for values in by_iteration]).T
            axes.errorbar(
                np.arange(len(mean)) + 0.05 * (number - 2.5), mean, error, capsize=2,
                color=COLOURS[number // 2], linestyle="-" if number % 2 == 0 else "--",
                marker="os^"[number // 2], markersize=4, label=scheme,
            )  # fmt: skip
        axes.set(title=f"{test} set", ylabel=f"error of {quantity} ({UNITS[quantity]})")
        if quantity != "angle":
            axes.set_yscale("log")
    for axes in rows[-1]:
        axes.set_xlabel("iterations")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    handles = rows[0, 0].get_legend_handles_labels()
    figure.legend(*handles, fontsize="small", ncols=6, loc="outside lower center")
    figure.suptitle(title)
    figure.savefig(path, dpi=150)
