"""Candidates from files, and those that were chosen from them to a file."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ase import Atoms
from ase.io.formats import parse_filename

from ase_hal.data.reading import write_dataset
from ase_hal.data.structure_files import open_structures
from ase_hal.frames import extxyz_frame
from ase_hal.selection.guards import Refusal, refusals_in_words
from ase_hal.selection.ranking import Ranking

_NOTES = ("hal_candidate", "hal_candidate_file", "hal_model_std_per_atom")
_SHOWN = 5  # of the frames that are no structures
_COMPRESSED = (".gz", ".bz2", ".xz")


@dataclass(frozen=True)
class CandidateFiles:
    """Candidates of one or several files, in a row.

    Attributes
    ----------
    structures : tuple of Atoms
        Those of the first file, of the second, and so on.
    files : tuple of str
        Path of the file of each one.
    numbers : tuple of int
        Position of each one in its file, from 0.
    broken : tuple of (str, int, str)
        File, position and fault of frames that are no structures.
    """

    structures: tuple[Atoms, ...] = field(repr=False)
    files: tuple[str, ...] = field(repr=False)
    numbers: tuple[int, ...] = field(repr=False)
    broken: tuple[tuple[str, int, str], ...] = ()

    @classmethod
    def read(cls, paths: Sequence[str | os.PathLike[str]]) -> CandidateFiles:
        """Read files of any format that ASE knows, ``NAME@INDEX`` for parts of them.

        Frames that are no structures are passed over; other errors are those of
        `read_structures`.
        """
        broken: list[tuple[str, int, str]] = []
        structures: list[Atoms] = []
        files: list[str] = []
        numbers: list[int] = []
        for path in paths:
            read = open_structures(path, pass_over_broken=True)
            name = parse_filename(os.fspath(path))[0]
            structures += read.structures
            files += [name] * len(read.structures)
            numbers += read.numbers
            broken += [(name, number, problem) for number, problem in read.broken]
        return cls(tuple(structures), tuple(files), tuple(numbers), tuple(broken))

    def chosen(self, ranking: Ranking) -> list[Atoms]:
        """Copies of the candidates that a ranking takes, with notes in ``info``.

        ``hal_candidate`` and ``hal_candidate_file`` tell the position and the file,
        ``hal_model_std_per_atom`` the model uncertainty in eV per atom. Results stay.
        """
        chosen = []
        for index in ranking.indices:
            atoms = self.structures[index].copy()
            atoms.calc = self.structures[index].calc
            atoms.info["hal_candidate"] = self.numbers[index]
            atoms.info["hal_candidate_file"] = self.files[index]
            atoms.info["hal_model_std_per_atom"] = float(ranking.model_std[index])
            chosen.append(atoms)
        return chosen

    def chosen_lines(self, ranking: Ranking, n: int) -> list[str]:
        """What was chosen, structure by structure, and what to know about it.

        Parameters
        ----------
        ranking : Ranking
            Of these candidates.
        n : int
            How many were asked for.
        """
        several = len(set(self.files)) > 1
        lines = []
        for i in ranking.indices:
            where = f"{self.files[i]}, " if several else ""
            formula = self.structures[i].get_chemical_formula()
            std = 1000 * ranking.model_std[i]
            name = f"{where}frame {self.numbers[i]}"
            lines.append(f"{name:<13} {formula:<20} {std:8.2f} meV/atom uncertain")
        if labelled := sum(_has_energy(self.structures[i]) for i in ranking.indices):
            lines.append(
                f"{labelled} of them carry an energy from their file: whoever trains on it takes "
                "it for the reference's"
            )
        if len(ranking.indices) < min(n, len(self.structures) - len(ranking.refused)):
            lines.append(
                "the others are hardly uncertain any more, less than a twentieth of what they "
                "were, once the energies of these are known"
            )
        return lines

    def refusal_lines(self, ranking: Ranking) -> list[str]:
        """What was refused: a line for each file, and the first reason of each kind."""
        several = len({*self.files, *(file for file, _, _ in self.broken)}) > 1
        lines = [
            f"{f'{file}, ' if several else ''}frame {number} is no structure: {problem}"
            for file, number, problem in self.broken[:_SHOWN]
        ]
        if len(self.broken) > _SHOWN:
            lines.append(f"and {len(self.broken) - _SHOWN} more frames that are no structures")
        for file in dict.fromkeys(self.files):
            here = [
                replace(refusal, index=self.numbers[refusal.index])
                for refusal in ranking.refused
                if self.files[refusal.index] == file
            ]
            if here:
                words = refusals_in_words(here, self.files.count(file))
                lines.append(f"{file}: {words}" if several else words)
                lines += [f"  frame {first.index}: {first.reason}" for first in _one_each(here)]
        return lines


def _has_energy(atoms: Atoms) -> bool:
    return atoms.calc is not None and atoms.calc.results.get("energy") is not None


def _one_each(refused: Sequence[Refusal], most: int = 3) -> list[Refusal]:
    """The first refusal of every kind."""
    first: dict[str, Refusal] = {}
    for refusal in refused:
        first.setdefault(refusal.kind, refusal)
    return list(first.values())[:most]


def check_output(output: Path, inputs: Sequence[str | os.PathLike[str]]) -> str | None:
    """Check that extended XYZ can be written to a file, before any work is done.

    Parameters
    ----------
    output : Path
        The file.
    inputs : sequence of path-like
        Files that must not be replaced.

    Returns
    -------
    str or None
        What a user should know about the name.

    Raises
    ------
    ValueError
        Where the file cannot be written or is one of the inputs.
    """
    if output.is_dir():
        raise ValueError(f"{output} is a folder; the output is a file, NAME.xyz")
    if not output.parent.is_dir():
        raise ValueError(f"there is no folder {output.parent} for the output")
    if not os.access(output.parent, os.W_OK):
        raise ValueError(f"nothing can be written to the folder {output.parent}")
    if output.resolve() in [Path(parse_filename(os.fspath(path))[0]).resolve() for path in inputs]:
        raise ValueError(f"the output {output} would replace what is read; give another name")
    if output.suffix.lower() in _COMPRESSED:
        raise ValueError(f"the output is not compressed: give NAME.xyz instead of {output.name}")
    if output.suffix.lower() not in (".xyz", ".extxyz"):
        return (
            f"{output.name} is going to be extended XYZ, which its ending does not tell: it is "
            "read with format='extxyz'"
        )
    return None


def write_chosen(path: Path, chosen: Sequence[Atoms]) -> list[str]:
    """Write structures as extended XYZ with all digits, whatever they carry.

    What cannot be kept of a structure is left out: results that belong to other positions or have
    a namesake in ``info``, and arrays and entries of ``info`` without a place in the format.

    Returns
    -------
    list of str
        What was left out, structure by structure.
    """
    kept: list[Atoms] = []
    notes: list[str] = []
    for number, atoms in enumerate(chosen):
        writable, lost = _writable(atoms)
        kept.append(writable)
        if lost:
            notes.append(f"structure {number} is written without {lost}")
    write_dataset(path, kept)
    return notes


def _writable(atoms: Atoms) -> tuple[Atoms, str]:
    """As much of a structure as extended XYZ holds, and what that is without."""
    bare = atoms.copy()
    plain = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    plain.info = {key: atoms.info[key] for key in _NOTES if key in atoms.info}
    for candidate, lost in ((atoms, ""), (bare, "its results"), (plain, "its results and notes")):
        try:
            extxyz_frame(candidate)
        except ValueError:
            continue
        return candidate, lost
    raise ValueError(f"{atoms.get_chemical_formula()} cannot be written as extended XYZ")
