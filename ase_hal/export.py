"""Export a fitted model to pacemaker ``.yaml`` and LAMMPS ``.yace`` potentials."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase_hal.ace import pacemaker
from ase_hal.journal import replacing
from ase_hal.prediction import Array

if TYPE_CHECKING:
    from ase_hal.linear_committee import LinearCommittee


def write_potential(committee: LinearCommittee, stem: str | Path) -> list[Path]:
    """Write the mean of a linear committee for pacemaker and LAMMPS.

    Parameters
    ----------
    committee : LinearCommittee
        Its posterior mean is exported; functions with a coefficient of zero (pruned by
        automatic relevance determination) are left out.
    stem : path
        ``stem.yaml`` (pacemaker B-basis), ``stem.yace`` (LAMMPS ``pair_style pace``) and
        ``stem.in`` (the LAMMPS commands that use it) are written. A basis with a pair part
        gives ``stem-pair.yaml`` and ``stem-pair.yace`` as well, to be overlaid.

    Returns
    -------
    list of Path
        The files, ``stem.in`` last.

    Notes
    -----
    One-body energies are part of ``.yace`` but have no place in pacemaker's ``.yaml``. A ZBL
    baseline has no place in either: ``stem.in`` adds it with LAMMPS' own ``pair_style zbl``,
    whose switching is identical.
    """
    stem = Path(stem)
    one_body = [committee.baseline.one_body[symbol] for symbol in committee.elements]
    files: list[Path] = []
    yace: list[str] = []
    start = 0
    for (part, config), table in zip(
        committee.basis.configurations(), committee.basis.tables, strict=True
    ):
        coefficients = committee.posterior.mean[start : start + table.size]
        start += table.size
        name = stem.name if part == "many-body" else f"{stem.name}-pair"
        energies = one_body if part == "many-body" else [0.0] * len(one_body)
        files += _write_part(config, coefficients, energies, stem.with_name(name))
        yace.append(f"{name}.yace")
    script = stem.with_name(f"{stem.name}.in")
    with replacing(script) as temporary:
        temporary.write_bytes(os.fsencode(_lammps_script(committee, yace)))
    return [*files, script]


def _write_part(config: Any, coefficients: Array, one_body: list[float], stem: Path) -> list[Path]:
    basis = pacemaker.basis_set(config)
    basis.basis_coeffs = [float(c) for c in coefficients]
    fitted = basis.to_BBasisConfiguration()
    for block in fitted.funcspecs_blocks:
        block.funcspecs = [f for f in block.funcspecs if any(f.coeffs)] or block.funcspecs[:1]
    yaml_path, yace_path = stem.with_name(f"{stem.name}.yaml"), stem.with_name(f"{stem.name}.yace")
    fitted.save(os.fsencode(yaml_path))
    pacemaker.basis_set(fitted).to_ACECTildeBasisSet().save_yaml(os.fsencode(yace_path))
    _set_one_body(yace_path, one_body)
    return [yaml_path, yace_path]


def _set_one_body(path: Path, one_body: list[float]) -> None:
    """Write the one-body energies into the ``E0`` line, which python-ace leaves at zero."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    index = next(i for i, line in enumerate(lines) if line.startswith("E0:"))
    lines[index] = f"E0: [{', '.join(repr(float(e)) for e in one_body)}]\n"
    with replacing(path) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")


def _lammps_script(committee: LinearCommittee, yace: list[str]) -> str:
    elements = " ".join(committee.elements)
    repulsion = committee.baseline.repulsion
    styles = ["pace"] * len(yace)
    if repulsion is None and len(yace) == 1:
        lines = ["pair_style pace", f"pair_coeff * * {yace[0]} {elements}"]
    else:
        numbers = [f" {i}" for i in range(1, len(yace) + 1)] if len(yace) > 1 else [""]
        zbl = repulsion.lammps_lines(committee.elements) if repulsion else []
        if repulsion:
            styles.append(f"zbl {repulsion.inner:.12g} {repulsion.outer:.12g}")
        lines = [f"pair_style hybrid/overlay {' '.join(styles)}"]
        lines += [
            f"pair_coeff * * pace{number} {name} {elements}"
            for number, name in zip(numbers, yace, strict=True)
        ]
        lines += [line for line in zbl if line.startswith("pair_coeff")]
    masses = "# atom types 1, 2, ... are " + ", ".join(committee.elements)
    return "\n".join(["units metal", "atom_style atomic", masses, *lines]) + "\n"
