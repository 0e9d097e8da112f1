"""Where the labels of a file are: under the names that were asked for, and of one model only."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from ase import Atoms

AUTO: Literal["auto"] = "auto"

# What a reader of a dataset takes for labels if nobody says otherwise.
STANDARD = ("energy", "free_energy", "forces", "force", "stress", "virial", "virials")

_WORDS = {"forces": ("forces", "force"), "stress": ("stress",), "virial": ("virial", "virials")}
_RESERVED = ("positions", "numbers", "symbols", "cell", "pbc", "masses", "momenta", "tags")
_ENERGY = re.compile(r"(free[_-]?)?energ(y|ies)", re.IGNORECASE)
_LABEL = re.compile(r"energ(y|ies)|force|stress|virial", re.IGNORECASE)
_WEIGHT = re.compile(r"weight", re.IGNORECASE)


@dataclass(frozen=True)
class LabelKeys:
    """Names of the labels in a file.

    Attributes
    ----------
    energy : str
    forces, stress, virial : str or None
        None takes none. ``"auto"`` takes the usual ones beside energies of the usual name:
        ``forces`` or ``force``, ``stress``, ``virial`` or ``virials`` beside ``energy`` or
        ``free_energy``. Beside energies of another name they may be another model's, and
        none is taken.
    """

    energy: str = "energy"
    forces: str | None = AUTO
    stress: str | None = AUTO
    virial: str | None = AUTO

    def __post_init__(self) -> None:
        if self.stress not in (None, AUTO) and self.virial not in (None, AUTO):
            raise ValueError("give stress_key or virial_key, not both")
        for name in ("energy", "forces", "stress", "virial"):
            if (key := getattr(self, name)) in _RESERVED:
                raise ValueError(f"{name}_key={key!r} is no label: it belongs to the structure")
        for name, other in (("stress", "virial"), ("virial", "stress")):
            key = getattr(self, name)
            if key and other in key.lower() and name not in key.lower():
                raise ValueError(
                    f"{name}_key={key!r} is the name of a {other}: give {other}_key={key!r} "
                    "(stress = -virial / volume)"
                )

    def resolve(self, frames: Sequence[Atoms]) -> ResolvedKeys:
        """The names that the frames of a file have.

        Raises
        ------
        ValueError
            For a name that was given and that no frame has, and where no frame has forces
            although forces were not declined.
        """
        present = {key for atoms in frames for key in label_like(atoms)}
        found: dict[str, tuple[str, ...]] = {}
        for what, words in _WORDS.items():
            key = getattr(self, what)
            if key == AUTO:
                names = words if self.energy in ("energy", "free_energy") else ()
                found[what] = tuple(name for name in names if name in present)
                continue
            if key is not None and not any(holds(atoms, key) for atoms in frames):
                missing = (
                    "no forces under" if what == "forces" else "no structure with a volume has"
                )
                raise ValueError(f"{missing} {key!r}; {describe(frames[0])}")
            found[what] = () if key is None else (key,)
        if self.stress not in (None, AUTO):
            found["virial"] = ()
        if self.virial not in (None, AUTO):
            found["stress"] = ()
        if not found["forces"] and self.forces is not None:
            raise ValueError(self._no_forces(frames, present))
        used = {self.energy, *itertools.chain(*found.values())}
        return ResolvedKeys(self.energy, **found, unused=tuple(sorted(present - used)))

    def _no_forces(self, frames: Sequence[Atoms], present: Collection[str]) -> str:
        """Why there are none, and how to get at those there are."""
        message = f"no forces under 'forces'; {describe(frames[0])}."
        if not {"forces", "force"}.isdisjoint(present):
            message = (
                f"'forces' may belong to other energies than {self.energy!r}; "
                f"{describe(frames[0])}."
            )
        named = [name for name in _relatives(self.energy, _WORDS["forces"]) if name in present]
        suggested = named[0] if named else "..."
        return f"{message} Give forces_key={suggested!r}, or None to read energies only"


@dataclass(frozen=True)
class ResolvedKeys:
    """Names of the labels that are taken, and of others in the file that are not.

    Of several names the first that a structure has counts.
    """

    energy: str
    forces: tuple[str, ...]
    stress: tuple[str, ...]
    virial: tuple[str, ...]
    unused: tuple[str, ...] = ()


def _relatives(energy_key: str, words: Sequence[str]) -> list[str]:
    """Names of other labels that go with those of energies."""
    match = _ENERGY.search(energy_key)
    if match is None:
        return []
    before, word, after = energy_key[: match.start()], match.group(), energy_key[match.end() :]
    if word.isupper():
        words = [other.upper() for other in words]
    elif word[0].isupper():
        words = [other.capitalize() for other in words]
    return [before + other + after for other in words]


def places(atoms: Atoms) -> tuple[Mapping[str, Any], ...]:
    """Where labels of a structure can be: results of its calculator, ``info`` and ``arrays``."""
    results = atoms.calc.results if atoms.calc is not None else {}
    return results, atoms.info, atoms.arrays


def holds(atoms: Atoms, key: str) -> bool:
    """Whether a structure has something under a name."""
    return any(place.get(key) is not None for place in places(atoms))


def label_like(atoms: Atoms) -> set[str]:
    """Names under which a structure has what looks like a label."""
    return {
        key
        for place in places(atoms)
        for key, value in place.items()
        if _LABEL.search(key)
        and not _WEIGHT.search(key)
        and not key.startswith("hal_")
        and isinstance(value, float | int | np.ndarray | np.generic | list | tuple)
        and not isinstance(value, bool)
    }


def drop_standard_labels(atoms: Atoms) -> None:
    """Remove what a later reader would take for labels of the structure from info and arrays."""
    for key in STANDARD:
        atoms.info.pop(key, None)
        atoms.arrays.pop(key, None)


def suggested_keys(atoms: Atoms) -> str:
    """What to give where energies have another name: all labels of that name."""
    present = label_like(atoms)
    energies = sorted(key for key in present if _ENERGY.search(key))
    if not energies:
        return ""
    named = [f"energy_key={energies[0]!r}"]
    for what, words in _WORDS.items():
        found = [name for name in _relatives(energies[0], words) if name in present]
        named += [f"{what}_key={found[0]!r}"] if found else []
    return f". Give {' '.join(named)}"


def describe(atoms: Atoms) -> str:
    """What there is, for a message that something is missing."""
    results, info, arrays = places(atoms)
    columns = [name for name in arrays if name not in ("numbers", "positions")]
    named = {"results": results, "info": info, "arrays": columns}
    return "there are " + ", ".join(
        f"{place}: {' '.join(map(str, keys)) or 'nothing'}" for place, keys in named.items()
    )
