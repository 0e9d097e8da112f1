"""The command line: ``ase-hal run``, ``report``, ``fit``, ``select`` and ``export``."""

# Imports happen inside the commands, so that `ase-hal --help` answers at once.

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ase_hal.command_line import Debug, errors_in_a_line, log_to
from ase_hal.free_energy_run.commands import app as free_energy

if TYPE_CHECKING:
    from ase_hal.ace.basis import ACEBasis
    from ase_hal.runfile import RunFile

app = typer.Typer(
    name="ase-hal",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help=(
        "Training sets for interatomic potentials that build themselves, and free energies of "
        "ordering (ase-hal free-energy)."
    ),
)
app.add_typer(free_energy, name="free-energy")

Model = Annotated[Path, typer.Argument(help="A committee file, such as committee.json of a run.")]


def _version(wanted: bool) -> None:
    if wanted:
        from ase_hal import __version__

        typer.echo(f"ase-hal {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Print the version."),
    ] = False,
) -> None:
    pass


@app.command()
def run(
    file: Annotated[Path, typer.Argument(help="The run file (YAML).")],
    directory: Annotated[
        Path | None,
        typer.Option(help="Where everything goes; ./NAME for NAME.yaml by default."),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Only check the run file; not even a calculator starts."),
    ] = False,
    debug: Debug = False,
) -> None:
    """Start the run that a file describes, or go on with it where it stopped."""
    directory = directory or Path(file.stem)
    with errors_in_a_line(debug, directory):
        from rich.console import Console

        from ase_hal.display import RunDisplay
        from ase_hal.run import run as run_it
        from ase_hal.runfile import RunFile, RunFileError

        try:
            runfile = RunFile.read(file)
        except RunFileError as error:
            typer.echo(error, err=True)
            raise typer.Exit(2) from None
        if check:
            typer.echo(_summary(runfile))
            return
        console = Console()
        log_to(console)
        with RunDisplay(console, directory, _most_labels(runfile)) as display:
            run_it(file, directory, on_event=display)
        display.close()


def _summary(runfile: RunFile) -> str:
    stages = ", ".join(stage.name for stage in runfile.explorer().stages)
    return (
        f"{runfile.path} is all right: {len(runfile.seeds())} structures to start from, "
        f"{runfile.basis().size} basis functions, stages {stages}"
    )


def _most_labels(runfile: RunFile) -> int | None:
    """Labels that the run may make at most, if its file says so."""
    if runfile.loop.max_labels is not None:
        return runfile.loop.max_labels
    stages = [stage.max_labels for stage in runfile.explorer().stages]
    return sum(n for n in stages if n) if all(stages) else None


@app.command()
def report(
    directory: Annotated[Path, typer.Argument(help="The directory of a run.")],
    debug: Debug = False,
) -> None:
    """Write figures and tables about a run, finished or not, as a web page."""
    with errors_in_a_line(debug):
        from ase_hal.report import write_report

        typer.echo(f"written: {write_report(directory)}")


@app.command()
def fit(
    dataset: Annotated[Path, typer.Argument(help="Labelled structures (extended XYZ).")],
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
    relevance_threshold: Annotated[
        float | None,
        typer.Option(help="Fit by automatic relevance determination with this threshold."),
    ] = None,
    energy_key: Annotated[str, typer.Option(help="Key of the energies in the file.")] = "energy",
    forces_key: Annotated[str, typer.Option(help="Key of the forces.")] = "forces",
    stress_key: Annotated[str | None, typer.Option(help="Key of the stresses.")] = None,
    seed: Annotated[int, typer.Option(help="For drawing the members of the committee.")] = 1,
    debug: Debug = False,
) -> None:
    """Fit a potential to labelled structures, without a loop."""
    with errors_in_a_line(debug):
        import time

        import numpy as np

        from ase_hal import LinearFit, Weights, read_dataset
        from ase_hal.metrics import compare

        structures = read_dataset(
            dataset, energy_key=energy_key, forces_key=forces_key, stress_key=stress_key
        )
        symbols = sorted({symbol for atoms in structures for symbol in atoms.symbols})
        if elements is not None:
            symbols = elements.replace(",", " ").split()
        fitting = LinearFit(
            _basis(basis, symbols, rcut),
            weights=Weights(*weights),
            relevance_threshold=relevance_threshold,
        )
        began = time.monotonic()
        committee = fitting(structures, rng=np.random.default_rng(seed))
        seconds = time.monotonic() - began
        committee.write(output)
        errors = compare(committee, structures, force_bound=fitting.force_bound).errors()
        typer.echo(
            f"{len(structures)} structures, {int(committee.posterior.active.sum())} of "
            f"{committee.basis.size} functions, {seconds:.1f} s\n"
            f"error on these structures (root mean square): "
            f"{1000 * errors.energy_rmse:.2f} meV/atom, {errors.forces_rmse:.3f} eV/Å\n"
            f"written: {output} and {output.with_suffix('.npz').name}"
        )


def _basis(choice: str, elements: list[str], rcut: float) -> ACEBasis:
    from ase_hal.ace.basis import ACEBasis

    if choice in ("small", "medium", "large"):
        return ACEBasis.preset(choice, elements, rcut=rcut)
    if not Path(choice).is_file():
        raise ValueError(f"--basis is small, medium, large or a file, got {choice!r}")
    return ACEBasis.from_specification(Path(choice))


@app.command()
def select(
    candidates: Annotated[Path, typer.Argument(help="Structures in any format ASE reads.")],
    model: Model,
    output: Annotated[Path, typer.Option("--output", "-o", help="The chosen ones, NAME.xyz.")],
    n: Annotated[int, typer.Option("-n", help="How many to choose at most.")] = 10,
    debug: Debug = False,
) -> None:
    """Choose the structures that are most worth a reference calculation."""
    with errors_in_a_line(debug):
        import ase.io

        from ase_hal import LinearCommittee
        from ase_hal import select as choose

        structures = list(ase.io.iread(str(candidates), index=":"))
        committee = LinearCommittee.read(model)
        chosen = choose(structures, committee, n=n)
        ase.io.write(output, chosen, format="extxyz")
        for atoms in chosen:
            std = committee.predict(atoms).model_std / len(atoms)
            typer.echo(f"{atoms.get_chemical_formula():<20} {1000 * std:8.2f} meV/atom uncertain")
        typer.echo(f"written: {len(chosen)} of {len(structures)} structures to {output}")


@app.command()
def export(
    model: Model,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Name without ending; by default that of the model."),
    ] = None,
    debug: Debug = False,
) -> None:
    """Write a potential for pacemaker (.yaml) and LAMMPS (.yace and its commands, .in)."""
    with errors_in_a_line(debug):
        from ase_hal import LinearCommittee
        from ase_hal.export import write_potential

        files = write_potential(LinearCommittee.read(model), output or model.with_suffix(""))
        for path in files:
            typer.echo(f"written: {path}")
        typer.echo(f"\nFor LAMMPS:\n{files[-1].read_text()}")
