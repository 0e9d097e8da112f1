"""Figures of the study of criteria on LCO, like the paper's Figures 4 to 11.

    python benchmarks/lco_figures.py STUDY FOLDER

STUDY is that of ``lco_study.py``; what is not there yet is left out. Into FOLDER go
``lco_errors.png`` (Figs. 4, 5, 10, 11), ``lco_near_order.png`` (Fig. 6), ``lco_orders.png``
(Fig. 7), ``lco_composition.png`` (Fig. 8) and ``lco_wells.png`` (the paths of Fig. 9, and the well
against disorder by temperature). What Monte Carlo itself says of the wells is calculated once and
kept in ``STUDY/monte_carlo.jsonl``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from lco_study import NOVELTY, SETS, Case, lowest_minimum
from sampling_studies import COLOURS
from scipy.integrate import cumulative_trapezoid
from scipy.stats import gmean

from ase_hal.free_energy import OrderParameters, RunLength, UmbrellaMC, lco
from ase_hal.free_energy.criteria.known_regions import disordered
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.free_energy_run.report.landscapes import plane
from ase_hal.journal import Log

T = 300.0
UNIT = "(10 meV)²"
SINGLE = [name for name in SETS if name not in NOVELTY and not name.startswith("all")]
PANELS = {
    "global points and high error (Fig. 4)": SINGLE[:3],
    "single criteria (Fig. 5)": SINGLE[2:],
    "all criteria (Fig. 10)": ["high_error", "all", "all_reweighted"],
    "novelty (Fig. 11)": ["billiard_2d", *NOVELTY],
}
ZIGZAG = OrderParameters.from_ordering(lco.lattice(), lco.zigzag())
CENTRE = disordered(ZIGZAG)
ORDERED = 0.5 * np.eye(len(CENTRE))[ZIGZAG.n_trivial :]  # order parameters of perfect order
LEVELS = np.arange(-1.0, 3.01, 0.2)  # meV per site
STYLES = [(colour, dash) for dash in ("-", "--") for colour in COLOURS]


def errors(results: Sequence[dict[str, Any]], path: Path) -> None:
    """Mean squared errors by round, on the final training set and on the test set.

    Thin lines are single seeds, the thick one their geometric mean.
    """
    figure, rows = plt.subplots(
        2, 4, figsize=(14, 6.6), sharex=True, sharey="row", layout="constrained"
    )
    for column, (title, names) in zip(rows.T, PANELS.items(), strict=True):
        for name, (colour, dash) in zip(names, STYLES, strict=False):
            mine = [r for r in results if r["set"] == name and r["temperature_K"] == T]
            for axes, key in zip(column, ("train_by_round", "test_by_round"), strict=True):
                found = [np.array(run[key]) for run in mine]
                if len(found) > 1:
                    axes.semilogy(np.transpose(found), color=colour, linestyle=dash, lw=0.4)
                if found:
                    axes.semilogy(gmean(found), color=colour, linestyle=dash, marker=".",
                                  label=name.replace("_", " "))  # fmt: skip
        column[0].set_title(title, fontsize="medium")
        if column[0].lines:
            column[0].legend(fontsize="x-small")
        column[1].set_xlabel("round")
    rows[0, 0].set_ylabel(f"MSE of μ on the last training set, {UNIT}")
    rows[1, 0].set_ylabel(f"MSE of μ on the test set, {UNIT}")
    figure.savefig(path, dpi=130)


def surfaces(
    runs: dict[str, LearningRun],
    axes: tuple[int, int],
    path: Path,
    window: tuple[float, float] | None = None,
) -> None:
    """The plane of two order parameters from every set of criteria, or a window of the first."""
    columns = min(4, len(runs))
    lines = -(-len(runs) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(3.4 * columns, 3.0 * lines), squeeze=False, sharex=True,
        sharey=True, layout="constrained",
    )  # fmt: skip
    for panel in grid.flat[len(runs) :]:
        panel.set_visible(False)
    for panel, (name, run) in zip(grid.flat, runs.items(), strict=False):
        assert run.surface is not None
        x, y, energies = plane(run.surface, run.order_parameters, axes, T)
        meV = 1000 * energies
        filled = panel.contourf(x, y, meV, LEVELS, cmap="viridis", extend="both")
        panel.contour(x, y, meV, [0.0], colors="white", linewidths=0.8)
        panel.set_xlim(window)
        if axes[0] != 0 and name == "wells_vertices":
            panel.plot([0, 0.5], [0, 0], ":", color="red")
            panel.plot([0.5, 0], [0, 0.5], ":", color="black")
        panel.set_title(name.replace("_", " "), fontsize="medium")
    figure.supxlabel("composition η₀" if axes[0] == 0 else "η₁")
    figure.supylabel("η₁" if axes[0] == 0 else "η₂")
    bar = figure.colorbar(filled, ax=grid, shrink=0.7)
    bar.set_label("g − g(disordered), meV per site")
    figure.savefig(path, dpi=130)


def paths(runs: dict[str, LearningRun], axes: Sequence[Any]) -> None:
    """Free energy from disorder to order, and from one ordering to another (Fig. 9)."""
    share = np.linspace(0, 1, 101)[:, None]
    centre, first, second = CENTRE, *(CENTRE + ORDERED[:2])
    lines = (centre + share * (first - centre), first + share * (second - first))
    for name, (colour, dash) in zip(runs, STYLES, strict=False):
        surface = runs[name].surface
        assert surface is not None
        zero = surface.free_energy(centre[None], T)
        for panel, line in zip(axes, lines, strict=True):
            energies = 1000 * (surface.free_energy(line, T) - zero)
            label = name.replace("_", " ")
            panel.plot(share[:, 0] / 2, energies, color=colour, linestyle=dash, label=label)
    axes[0].set(xlabel="η₁", title="from disorder to order (η₀ = 0.5)")
    axes[1].set(xlabel="η₂ = 0.5 − η₁", title="from one variant to another")
    for panel, highest in zip(axes, (0.9, 3.0), strict=False):
        panel.set_ylim(-0.9, highest)
        panel.set_ylabel("g − g(disordered), meV per site")


def monte_carlo_well(temperature_K: float) -> dict[str, float]:
    """F(well) - F(disordered), meV per site, by integrating mu_1 along the study's windows.

    Nan where order is no minimum.
    """
    calculator = UmbrellaMC(
        lco.hamiltonian(),
        ZIGZAG,
        temperature_K=temperature_K,
        repeat=(3, 3, 3),
        run_length=RunLength(precision=5e-4, max_sweeps=50_000),
        rng=np.random.default_rng(round(temperature_K)),
    )
    asked = CENTRE + np.linspace(0, 1, 26)[1:-1, None] * ORDERED[0]
    samples = calculator.sample_many(asked)
    eta, mu = np.array([(0, 0), *((s.eta[1], s.mu[1]) for s in samples)]).T
    g = cumulative_trapezoid(mu, eta, initial=0)
    return {"temperature_K": temperature_K, "well_meV": 1000 * lowest_minimum(g[eta > 0.25])}


def wells(results: Sequence[dict[str, Any]], reference: Log, axes: Any) -> None:
    """Depth of the well by temperature, learned and by Monte Carlo."""
    mine = [r for r in results if r["set"] == "wells_vertices"]
    temperatures = sorted({r["temperature_K"] for r in mine})
    for temperature in temperatures:
        if temperature not in [r["temperature_K"] for r in reference]:
            reference.append(monte_carlo_well(temperature))
    series = {"learned (wells and vertices)": mine, "Monte Carlo, 864 sites": list(reference)}
    for (name, found), style in zip(series.items(), ("o-", "s--"), strict=True):
        found = [r for r in found if np.isfinite(r["well_meV"])]
        t = np.array(sorted({r["temperature_K"] for r in found}))
        every = [[r["well_meV"] for r in found if r["temperature_K"] == one] for one in t]
        w = np.array([np.mean(depths) for depths in every])
        for one, depths in zip(t, every, strict=True):  # seeds
            axes.plot(np.full(len(depths), one), depths, style[0], ms=3, color="grey", zorder=3)
        level = np.interp(0.0, w, t, left=np.nan, right=np.nan)  # wells rise with temperature
        axes.plot(t, w, style, label=f"{name}: level at {level:.0f} K")
        depths = ", ".join(f"{b:.3f} meV at {a:g} K" for a, b in zip(t, w, strict=True))
        print(f"{name}: {depths}; level at {level:.1f} K")
    axes.axhline(0, color="black", linewidth=0.7)
    axes.set(xlabel="temperature (K)", ylabel="F(well) − F(disordered), meV per site")
    axes.legend(fontsize="small")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study", type=Path, help="folder of the study")
    parser.add_argument("folder", type=Path, help="for the figures")
    parser.add_argument("--seed", type=int, default=1, help="whose surfaces are drawn")
    options = parser.parse_args()
    results = list(Log.read(options.study / "results.jsonl"))
    known = {(r["set"], r["seed"], r["temperature_K"]) for r in results}
    chosen = [name for name in SETS if name not in NOVELTY and (name, options.seed, T) in known]
    runs = {
        name: LearningRun.read(options.study / Case(name, options.seed, T).name) for name in chosen
    }
    errors(results, options.folder / "lco_errors.png")
    surfaces(runs, (0, 1), options.folder / "lco_near_order.png", window=(0.45, 0.55))
    surfaces(runs, (0, 1), options.folder / "lco_composition.png")
    surfaces(runs, (1, 2), options.folder / "lco_orders.png")
    figure, panels = plt.subplots(1, 3, figsize=(14, 4.2), layout="constrained")
    paths({name: run for name, run in runs.items() if name != "billiard"}, panels[:2])
    with Log(options.study / "monte_carlo.jsonl") as reference:
        wells(results, reference, panels[2])
    figure.legend(*panels[0].get_legend_handles_labels(), fontsize="small", ncols=6,
                  loc="outside lower center")  # fmt: skip
    figure.savefig(options.folder / "lco_wells.png", dpi=130)


if __name__ == "__main__":
    main()
