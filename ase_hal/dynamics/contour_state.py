"""ContourState: a contour exploration between two steps, to go on from."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from ase_hal.journal import read_json, write_json
from ase_hal.prediction import Array

if TYPE_CHECKING:
    from ase_hal.dynamics.contour import BiasedContourExploration

_FORMAT = "ase_hal contour state 2"


@dataclass(frozen=True)
class ContourState:
    """Everything that the next steps of a `BiasedContourExploration` depend on.

    Beside the committee, that is, of which both the walker and the resumed one go on with a
    copy that remembers nothing (``copy.copy``). With the same coefficients the steps are then
    the same to the last bit; a class of your own whose copy keeps a neighbour list resumes to
    within the last digits only.

    Attributes
    ----------
    nsteps : int
        Steps so far.
    positions, momenta : (N, 3) arrays
        Of the atoms, Å and ASE's unit of momentum.
    old_positions, old_normal, old_tangent : (N, 3) arrays or None
        One step before; None before the first step.
    energies : (n,) array
        The history of the potentiostat, eV.
    approach : (m,) array
        What is remembered of the way to the target, see `Approach.memory`.
    energy_target, step_size, curvature : float
        eV, Å, 1/Å.
    saturated : bool
        Whether the last step was the potentiostat's alone.
    generator : dict
        State of the random generator.
    """

    nsteps: int
    positions: Array
    momenta: Array
    old_positions: Array | None
    old_normal: Array | None
    old_tangent: Array | None
    energies: Array
    approach: Array
    energy_target: float
    step_size: float
    curvature: float
    saturated: bool
    generator: dict[str, Any]

    @classmethod
    def of(cls, dyn: BiasedContourExploration) -> ContourState:
        """The state of a contour exploration now."""
        started = dyn.Nold is not None
        return cls(
            nsteps=dyn.nsteps,
            positions=dyn.atoms.get_positions(),
            momenta=dyn.atoms.get_momenta(),
            old_positions=np.array(dyn.rold) if started else None,
            old_normal=np.array(dyn.Nold) if started else None,
            old_tangent=np.array(dyn.Told) if started else None,
            energies=dyn.previous_energies.copy(),
            approach=dyn._approach.memory,
            energy_target=float(dyn.energy_target),
            step_size=float(dyn.step_size),
            curvature=float(dyn.curvature),
            saturated=bool(dyn.saturated),
            generator=dyn.rng.bit_generator.state,
        )

    def restore(self, atoms: Atoms, rng: np.random.Generator) -> None:
        """Set atoms and generator to what they were; the structure must be the same one."""
        if self.positions.shape != atoms.positions.shape:
            raise ValueError(
                f"the state is of {len(self.positions)} atoms, got a structure of {len(atoms)}"
            )
        if rng.bit_generator.state["bit_generator"] != self.generator["bit_generator"]:
            raise ValueError(
                f"the state has a generator of kind {self.generator['bit_generator']}, "
                f"got {rng.bit_generator.state['bit_generator']}"
            )
        atoms.set_positions(self.positions, apply_constraint=False)
        atoms.set_momenta(self.momenta, apply_constraint=False)
        rng.bit_generator.state = self.generator

    def memory(self) -> dict[str, Any]:
        """Attributes of a contour exploration, by the names that ASE gives them."""
        memory = {
            "nsteps": self.nsteps,
            "Nold": self.old_normal,
            "Told": self.old_tangent,
            "previous_energies": self.energies,
            "energy_target": self.energy_target,
            "step_size": self.step_size,
            "curvature": self.curvature,
            "saturated": self.saturated,
        }
        if self.old_positions is not None:
            memory["rold"] = self.old_positions
        return {
            name: value.copy() if isinstance(value, np.ndarray) else value
            for name, value in memory.items()
        }

    def write(self, path: str | Path) -> None:
        """Write a JSON file, which loses no digit."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        write_json(path, {"format": _FORMAT, **values})

    @classmethod
    def read(cls, path: str | Path) -> ContourState:
        """Read what `write` wrote."""
        values: Any = read_json(path)
        if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
            raise ValueError(f"{path} is not a contour state of ase_hal")
        if missing := {field.name for field in fields(cls)} - values.keys():
            raise ValueError(f"{path} lacks {', '.join(sorted(missing))}")
        for name, value in values.items():
            if isinstance(value, list):
                values[name] = np.array(value, dtype=float)
        return cls(**values)
