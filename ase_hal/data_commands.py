"""The commands about labelled files: ``ase-hal check`` and ``ase-hal fit``."""

# Imports happen inside the commands, so that `ase-hal --help` answers at once.

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ase_hal.command_line import Debug, errors_in_a_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ase import Atoms

    from ase_hal.ace.basis import ACEBasis
    from ase_hal.data.reading import LabelledFile
    from ase_hal.data.report import DataReport
    from ase_hal.linear_committee import LinearCommittee
    from ase_hal.metrics import Errors
    from ase_hal.weights import Weights, WeightsByType

EnergyKey = Annotated[str, typer.Option(help="Name of the energies in the file.")]
ForcesKey = Annotated[
    str,
    typer.Option(
        help="Name of the forces; 'auto' is the one that goes with that of the energies, "
        "'none' reads none."
    ),
]
StressKey = Annotated[str, typer.Option(help="Name of the stresses, likewise.")]
VirialKey = Annotated[str, typer.Option(help="Name of the virials (-volume * stress), likewise.")]
StressFactor = Annotated[
    float, typer.Option(help="Stresses are multiplied by this (files of other units and signs).")
]
Files = Annotated[list[Path], typer.Argument(help="Labelled structures, in any format ASE reads.")]


def _read(
    files: list[Path],
    energy_key: str,
    forces_key: str,
    stress_key: str,
    virial_key: str,
    stress_factor: float,
    index: str = ":",
) -> list[LabelledFile]:
    from ase_hal.data.label_keys import LabelKeys
    from ase_hal.data.reading import read_labelled

    names = (None if key == "none" else key for key in (forces_key, stress_key, virial_key))
    keys = LabelKeys(energy_key, *names)
    return [read_labelled(path, keys, stress_factor=stress_factor, index=index) for path in files]


def check(
    data: Files,
    energy_key: EnergyKey = "energy",
    forces_key: ForcesKey = "auto",
    stress_key: StressKey = "auto",
    virial_key: VirialKey = "auto",
    stress_factor: StressFactor = 1.0,
    index: Annotated[str, typer.Option(help="Which structures, as ASE writes it.")] = ":",
    force_bound: Annotated[
        float, typer.Option(help="Larger force components would be left out of a fit, eV/Å.")
    ] = 20.0,
    cutoff: Annotated[
        float, typer.Option(help="Within which atoms are neighbours, Å (to find lone atoms).")
    ] = 6.0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 also where something is likely wrong.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write everything as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Look at labelled files before they are used: what there is, and what is wrong.

    Exits with 1 where something is surely wrong.
    """
    with errors_in_a_line(debug), _in_options():
        from ase_hal.data.report import check_files
        from ase_hal.data.report_text import report_lines
        from ase_hal.journal import to_json

        read = _read(
            data, energy_key, forces_key, stress_key, virial_key, stress_factor, index=index
        )
        report = check_files(read, force_bound=force_bound, cutoff=cutoff)
        if as_json:
            typer.echo(to_json({"worst": report.worst, **report.todict()}, indent=1))
        else:
            for line in [*report_lines(report), "", verdict(report)]:
                typer.echo(spelled(line))
        failing = ("wrong", "likely") if strict else ("wrong",)
        if report.worst in failing:
            raise typer.Exit(1)


@contextmanager
def _in_options() -> Iterator[None]:
    """Name options in errors as the command line has them."""
    try:
        yield
    except ValueError as error:
        raise ValueError(spelled(str(error))) from error


def spelled(text: str) -> str:
    """A message for Python with its arguments spelled as options."""
    text = re.sub(r"\b(energy|forces|stress|virial)_key=(\S)", r"--\1-key \2", text)
    text = re.sub(r"\b(energy|forces|stress|virial)_key\b", r"--\1-key", text)
    text = re.sub(r"\bstress_factor=(\S)", r"--stress-factor \1", text)
    return text.replace("stress_factor", "--stress-factor").replace("or None to", "or none to")


def verdict(report: DataReport) -> str:
    """The last line of the command."""
    if report.worst == "wrong":
        return "These data are wrong: correct them before anything is fitted to them."
    if report.worst == "likely":
        return "These data are probably wrong: look at them before anything is fitted to them."
    judged = report.consistency is not None and report.consistency.energies is not None
    return "Nothing is wrong as far as can be seen" + (
        "." if judged else "; whether the labels agree cannot be judged."
    )


def fit(
    dataset: Files,
    basis: Annotated[
        str, typer.Option(help="small, medium or large, or the path of a pacemaker YAML file.")
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The model, NAME.json.")],
    elements: Annotated[
        str | None,
        typer.Option(help="Such as Al,Si; by default those of the structures."),
    ] = None,
    rcut: Annotated[float, typer.Option(help="Cutoff of small, medium and large, Å.")] = 5.5,
    weights: Annotated[
        tuple[float, float, float],
        typer.Option(help="Row factors of energies, forces and virials."),
    ] = (15.0, 1.0, 1.0),
    weights_of: Annotated[
        list[str] | None,
        typer.Option(help="TYPE=E,F,V: row factors of structures of one config_type; repeatable."),
    ] = None,
    force_bound: Annotated[
        float, typer.Option(help="Larger force components are left out of the fit, eV/Å.")
    ] = 20.0,
    relevance_threshold: Annotated[
        float | None,
        typer.Option(help="Fit by automatic relevance determination with this threshold."),
    ] = None,
    energy_key: EnergyKey = "energy",
    forces_key: ForcesKey = "auto",
    stress_key: StressKey = "auto",
    virial_key: VirialKey = "auto",
    stress_factor: StressFactor = 1.0,
    seed: Annotated[int, typer.Option(help="For drawing the members of the committee.")] = 1,
    no_check: Annotated[
        bool, typer.Option("--no-check", help="Fit to the labels even if they are wrong.")
    ] = False,
    debug: Debug = False,
) -> None:
    """Fit a potential to labelled structures, without a loop."""
    with errors_in_a_line(debug), _in_options():
        import time

        import numpy as np

        from ase_hal import LinearFit
        from ase_hal.committee_file import json_path
        from ase_hal.data.report import check_files

        json_path(output)
        if not output.parent.is_dir():
            raise ValueError(f"there is no folder {output.parent} for the model")
        read = _read(dataset, energy_key, forces_key, stress_key, virial_key, stress_factor)
        structures = [atoms for file in read for atoms in file.structures]
        symbols = sorted({symbol for atoms in structures for symbol in atoms.symbols})
        if elements is not None:
            symbols = elements.replace(",", " ").split()
        fitting = LinearFit(
            _basis(basis, symbols, rcut),
            weights=_weights(weights, weights_of or [], structures),
            relevance_threshold=relevance_threshold,
            force_bound=force_bound,
        )
        report = check_files(
            read,
            force_bound=force_bound,
            cutoff=fitting.basis.cutoff,
            consistency=not no_check,
        )
        _show(report, no_check)
        began = time.monotonic()
        committee = fitting(structures, rng=np.random.default_rng(seed))
        seconds = time.monotonic() - began
        committee.write(output)
        typer.echo(
            f"{len(structures)} structures, {int(committee.posterior.active.sum())} of "
            f"{committee.basis.size} functions, {seconds:.1f} s"
        )
        typer.echo(_errors(committee, structures, force_bound))
        if report.worst == "likely":
            typer.echo("Some labels are probably wrong, see above.")
        typer.echo(f"written: {output} and {output.with_suffix('.npz').name}")


def _show(report: DataReport, no_check: bool) -> None:
    """Print what the checks have found; end where the labels are wrong."""
    from ase_hal.data.report_text import short_lines

    for line in short_lines(report):
        typer.echo(spelled(line))
    if report.worst == "wrong" and not no_check:
        raise ValueError(
            "the labels are wrong, see above; nothing was fitted (--no-check fits all the same)"
        )


def _basis(choice: str, elements: list[str], rcut: float) -> ACEBasis:
    from ase_hal.ace.basis import ACEBasis

    if choice in ("small", "medium", "large"):
        return ACEBasis.preset(choice, elements, rcut=rcut)
    if not Path(choice).is_file():
        raise ValueError(f"--basis is small, medium, large or a file, got {choice!r}")
    return ACEBasis.from_specification(Path(choice))


def _weights(
    factors: tuple[float, float, float], of_types: list[str], structures: Sequence[Atoms]
) -> Weights | WeightsByType:
    from ase_hal.weights import TYPE_KEY, Weights, WeightsByType

    default = Weights(*factors)
    if not of_types:
        return default
    known = sorted({str(a.info[TYPE_KEY]) for a in structures if TYPE_KEY in a.info})
    table: dict[str, Weights] = {}
    for text in of_types:
        name, _, numbers = text.rpartition("=")
        try:
            energy, forces, virial = map(float, numbers.split(","))
        except ValueError:
            raise ValueError(
                f"--weights-of is TYPE=E,F,V with three numbers, got {text!r}"
            ) from None
        if name not in known:
            raise ValueError(
                f"--weights-of {text}: no structure has {TYPE_KEY} {name!r}; there are "
                f"{', '.join(known) or 'none'}"
            )
        table[name] = Weights(energy, forces, virial)
    return WeightsByType(default, table)


def _errors(committee: LinearCommittee, structures: Sequence[Atoms], bound: float) -> str:
    """Errors of a fit on what it was fitted to, and on structures that it leaves out."""
    from ase_hal.data.left_out import left_out_of
    from ase_hal.metrics import compare

    def in_words(errors: Errors) -> str:
        words = f"{1000 * errors.energy_rmse:.2f} meV/atom"
        if not math.isnan(errors.forces_rmse):
            words += f", {errors.forces_rmse:.3f} eV/Å"
        return words

    fitted = compare(committee, structures, force_bound=bound).errors()
    lines = f"error on what was fitted (root mean square): {in_words(fitted)}"
    if damped := left_out_of(structures, bound).damped:
        beyond = compare(committee, [structures[i] for i in damped]).errors()
        lines += (
            f"\nerror on the {len(damped)} with forces above {bound:g} eV/Å, all their labels: "
            f"{in_words(beyond)}"
        )
    return lines
