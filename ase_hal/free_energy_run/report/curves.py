"""Figure: Monte Carlo along the composition, biased and unbiased (Fig. 2)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from ase_hal.free_energy.phase_diagram import isotherm
from ase_hal.free_energy.symmetry import Array
from ase_hal.free_energy_run.record import LearningRun
from ase_hal.report.style import INK, TEST, TRAIN, Section, counted, legend, new_figure, tidy


def curve_section(run: LearningRun) -> Section:
    """The section about composition curves."""
    title = "Composition curve"
    if not run.curve and not run.curve_failures:
        return Section(title, "This run has sampled no composition curve (composition_curve).")
    if not run.curve:
        return Section(title, f"All points failed: {run.curve_failures[0]['failed']}.")
    temperature = float(min(record["temperature_K"] for record in run.curve))
    learned = _learned(run, temperature)
    text = (
        "Chemical potential and order against composition by Monte Carlo with a bias on the "
        "composition alone, and without a bias at imposed chemical potentials. Where the "
        "unbiased runs leave a gap, the free energy is not convex, and only the biased ones see "
        "it. The line is the slope of the learned free energy along its states of lowest free "
        "energy. Order in Monte Carlo is the mean length of the vector of order parameters, which "
        "in a finite supercell fluctuations keep above zero. An unbiased run may also stay in "
        "domains of several variants, which have less of it."
        + _shown(run, temperature)
        + _difference(run, temperature, learned)
        + _failures(run)
    )
    return Section(title, text, "curve", lambda: _draw(run, temperature, learned))


def _learned(run: LearningRun, temperature: float) -> dict[str, Array] | None:
    """Columns of the learned surface as `curve_branch` has them of Monte Carlo."""
    if run.surface is None:
        return None
    found = run.order_parameters
    eta = isotherm(run.surface, found, temperature).path.eta
    return {
        "composition": eta[:, 0],
        "mu": run.surface.chemical_potentials(eta, temperature)[:, 0],
        "order": np.linalg.norm(eta[:, found.n_trivial :], axis=1),
    }


def _difference(run: LearningRun, temperature: float, learned: dict[str, Array] | None) -> str:
    """How far the surface is from Monte Carlo that it has not seen, in a sentence."""
    rows = run.curve_branch(temperature, "biased")
    if learned is None or not len(rows["mu"]):
        return ""
    mu = np.interp(rows["composition"], learned["composition"], learned["mu"])
    off = 1000 * np.abs(mu - rows["mu"])
    worst = int(off.argmax())
    return (
        f" At {temperature:g} K the slope is {np.median(off):.2g} meV from the biased runs in the "
        f"median, and {off[worst]:.2g} meV at most, at the composition "
        f"{rows['composition'][worst]:.2f}."
    )


def _shown(run: LearningRun, temperature: float) -> str:
    """Which temperature is shown, and how many points are less precise than asked."""
    temperatures = {r["temperature_K"] for r in run.curve}
    rows = [r["converged"] for r in run.curve if r["temperature_K"] == temperature]
    few = len(rows) - sum(rows)
    text = ""
    if len(temperatures) > 1:
        text += f" Shown is the lowest temperature of {len(temperatures)}."
    if few:
        text += f" {counted(few, 'point')} of {len(rows)} did not become as precise as asked: pale."
    return text


def _failures(run: LearningRun) -> str:
    if not run.curve_failures:
        return ""
    first = run.curve_failures[0]["failed"]
    return f" {counted(len(run.curve_failures), 'point')} failed; the first: {first}."


def _draw(run: LearningRun, temperature: float, learned: dict[str, Array] | None) -> Figure:
    """Both branches at the lowest temperature."""
    figure = new_figure(3.9)
    left, right = figure.subplots(1, 2)
    for branch, marker, colour in (("unbiased", "s", TRAIN), ("biased", "o", TEST)):
        rows = run.curve_branch(temperature, branch)
        face = "white" if branch == "unbiased" else colour
        label: str | None = f"Monte Carlo, {branch}"
        for mine, alpha in ((rows["converged"], 1.0), (~rows["converged"], 0.4)):
            if not mine.any():
                continue
            x = rows["composition"][mine]
            left.errorbar(
                x, rows["mu"][mine], rows["mu_error"][mine], fmt=marker, color=colour,
                markerfacecolor=face, markersize=4.5, linewidth=0.8, label=label, alpha=alpha,
            )  # fmt: skip
            right.plot(
                x, rows["order"][mine], marker, color=colour, markerfacecolor=face,
                markersize=4.5, label=label, alpha=alpha,
            )  # fmt: skip
            label = None
    if learned is not None:
        x, mu, order = (learned[name][1:-1] for name in ("composition", "mu", "order"))
        left.plot(x, mu, "-", color=INK, linewidth=1, label="learned surface")
        right.plot(x, order, "-", color=INK, linewidth=1, label="learned surface")
        known = [record["mu"] for record in run.curve]
        room = max(0.1 * np.ptp(known), 1e-3)
        left.set_ylim(min(known) - room, max(known) + room)
    title = f"{temperature:g} K"
    tidy(left, xlabel="composition η₀", ylabel="chemical potential μ₀ (eV per site)", title=title)
    tidy(right, xlabel="composition η₀", ylabel="order |η₁, η₂, …|", title=title)
    legend(figure, left, right, columns=3)
    return figure
