"""Figure: sizes of the coefficients (as Fig. 4 of van der Oord et al. 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ase_hal.ace.basis import BasisFunction
from ase_hal.report.models import Coefficients
from ase_hal.report.style import INK, SEEDS, TRAIN, Section, legend, logarithmic, new_figure, tidy

_MOST_GROUPS = 30
# A block is the pair part, or one correlation order; a group is one interaction within it.
_Block = tuple[bool, int]
_LOOKS = {"current": (SEEDS, -0.11), "final": (TRAIN, 0.11)}


def coefficients_section(models: Mapping[str, Coefficients], *, problem: str) -> Section:
    """The section of a run about the coefficients of its models."""
    title = "Coefficients"
    if not models:
        return Section(title, f"There is nothing to show yet: {problem or 'no model was written'}.")
    text = (
        "Each tick is the size of one coefficient; each line holds the functions that couple "
        "these elements, with the number of functions kept and their total on the right. Pair "
        "terms are usually largest, because most of the binding energy is theirs. A block of "
        "many small coefficients is a part of the basis that these data hardly determine."
    )
    if len(models) == 2:
        text += (
            " Grey is the model of the last iteration, blue the final sparse one; the numbers "
            "are those of the latter."
        )
    return Section(title, text, "coefficients", lambda: draw_coefficients(models))


def draw_coefficients(models: Mapping[str, Coefficients]) -> Figure:
    """Draw |c| by correlation order and interaction, a block of panels from top to bottom."""
    naming = _naming(next(iter(models.values())).functions)
    layout: dict[_Block, list[str]] = {}
    for model in models.values():
        for function in sorted(model.functions, key=lambda f: (_block(f), naming(f))):
            groups = layout.setdefault(_block(function), [])
            if (name := naming(function)) not in groups:
                groups.append(name)
    n_groups = sum(map(len, layout.values()))
    figure = new_figure(1.0 + 0.3 * n_groups + 0.35 * len(layout))
    blocks = list(layout)
    axes = figure.subplots(
        len(blocks), 1, sharex=True, squeeze=False,
        height_ratios=[len(layout[block]) + 0.4 for block in blocks],
    )[:, 0]  # fmt: skip
    for ax, block in zip(axes, blocks, strict=True):
        _block_panel(ax, block, layout[block], models, naming)
    logarithmic(axes[0].xaxis, np.abs(np.concatenate([m.values for m in models.values()])))
    axes[-1].set_xlabel("|coefficient| (eV)", fontsize=9.5, color=INK)
    if len(models) > 1:
        legend(figure, axes[0], columns=2)
    return figure


def _block_panel(
    ax: Axes,
    block: _Block,
    groups: Sequence[str],
    models: Mapping[str, Coefficients],
    naming: Callable[[BasisFunction], str],
) -> None:
    for name, model in models.items():
        colour, shift = _LOOKS[name] if len(models) > 1 else (TRAIN, 0.0)
        for place, group in enumerate(groups):
            values = np.abs(
                [
                    value
                    for f, value in zip(model.functions, model.values, strict=True)
                    if _block(f) == block and naming(f) == group
                ]
            )
            kept = values[values > 0]
            ax.plot(
                kept, np.full(len(kept), place + shift), "|", color=colour, markersize=6, alpha=0.6,
                label=f"{name} model" if place == 0 else None,
            )  # fmt: skip
            if name == list(models)[-1]:
                ax.annotate(
                    f"{len(kept)}/{len(values)}", (1.0, place), xytext=(4, 0),
                    xycoords=("axes fraction", "data"), textcoords="offset points",
                    va="center", fontsize=8, color=INK,
                )  # fmt: skip
    tidy(ax, title=_block_title(block))
    ax.set_yticks(range(len(groups)), groups)
    ax.set_ylim(len(groups) - 0.5, -0.5)
    ax.grid(False, axis="y")


def _block(function: BasisFunction) -> _Block:
    return (function.part != "pair", function.rank)


def _block_title(block: _Block) -> str:
    many_body, rank = block
    return f"order {rank} ({rank + 1} atoms)" if many_body else "pair part (2 atoms)"


def _naming(functions: Sequence[BasisFunction]) -> Callable[[BasisFunction], str]:
    """Name interactions in as much detail as leaves few enough lines to read."""
    options: list[Callable[[BasisFunction], str]] = [
        lambda f: "–".join(sorted(f.elements)),
        lambda f: " + ".join(sorted(set(f.elements))),
        lambda f: f"{len(set(f.elements))} element{'s' * (len(set(f.elements)) > 1)}",
    ]
    for option in options:
        if len({(_block(f), option(f)) for f in functions}) <= _MOST_GROUPS:
            return option
    return options[-1]
