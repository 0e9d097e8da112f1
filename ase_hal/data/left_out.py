r"""Labels that a fit leaves out, or takes less of: those of structures no model describes.

Force components above a bound are left out (van der Oord et al. 2022), and so are those that
constraints have taken out. A structure with components above the bound is one in which atoms are
on top of each other, or nearly: where a model is wrong by far more than anywhere else, the energy
and the virial most of all, which sum over the whole structure. With s the share of components
above the bound b and F the largest of them, all its rows are multiplied by (b / F)^2 on top of
their weights, those of energy and virial also by 1 - s; where that makes less than 0.1 of them,
energy and virial are left out. So what a wreck says neither drowns what all other structures say
nor counts as noise of their labels, and still tells of distances that no other structure has.

For 36 structures of Cu at 800 K and one with two atoms 0.7 to 1.5 Å apart (33 to 420 eV/Å; EMT)
force errors at 800 K are 0.0019 to 0.0029 eV/Å, without it 0.0019, with its labels as they are
0.004 to 0.08.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from ase import Atoms

from ase_hal.data.force_rows import Mask, zeroed_components
from ase_hal.prediction import Array

FORCE_BOUND = 20.0  # eV/Å, the default of all fits
# Energy and virial of a structure beyond the bound count at least as much, or not at all.
_LEAST = 0.1


class LeftOut(NamedTuple):
    """What a fit does not take from a structure, or from several.

    Attributes
    ----------
    components : int
        Force components there are; 0 without forces.
    large : int
        Those left out because they are above the bound.
    constrained : int
        Those left out because constraints have taken them out of the label.
    excess : float
        The largest component over the bound; 0 where none is above it.
    """

    components: int = 0
    large: int = 0
    constrained: int = 0
    excess: float = 0.0

    @property
    def energy_share(self) -> float:
        """Factor of the rows of energy and virial, 0 to 1; see the module."""
        if not self.large:
            return 1.0
        share = (1 - self.large / self.components) / self.excess**2
        return share if share >= _LEAST else 0.0

    @property
    def force_share(self) -> float:
        """Factor of the rows of the other forces, 0 to 1."""
        return 1 / self.excess**2 if self.large else 1.0


def count_forces(atoms: Atoms, forces: Array, bound: float) -> tuple[Mask, LeftOut]:
    """Components (N, 3) of forces (eV/Å) that a fit takes, and how many it leaves out."""
    large = np.abs(forces) > bound
    gone = zeroed_components(atoms, forces)
    n_large = int(np.count_nonzero(large))
    left_out = LeftOut(
        components=forces.size,
        large=n_large,
        constrained=int(np.count_nonzero(gone)),
        excess=float(np.abs(forces).max() / bound) if n_large else 0.0,
    )
    return ~large & ~gone, left_out


class LeftOutTotal(NamedTuple):
    """What a fit does not take from a dataset.

    Attributes
    ----------
    components, large, constrained : int
        As of `LeftOut`, of all structures.
    damped : tuple of int
        Indices of structures with components above the bound, whose labels count less.
    dropped : tuple of int
        Indices of those of them whose energy and virial are left out.
    held : tuple of int
        Indices of structures with components that constraints have taken out.
    """

    components: int = 0
    large: int = 0
    constrained: int = 0
    damped: tuple[int, ...] = ()
    dropped: tuple[int, ...] = ()
    held: tuple[int, ...] = ()

    def sentence(self, bound: float) -> str:
        """What was left out, in words; empty where nothing was."""
        return "; ".join(filter(None, (self.large_in_words(bound), self.held_in_words())))

    def large_in_words(self, bound: float) -> str:
        """How much is above the bound, eV/Å; empty where nothing is."""
        if not self.large:
            return ""
        structures = "structure" if len(self.damped) == 1 else "structures"
        words = (
            f"{self.large:,} of {self.components:,} force components, in {len(self.damped):,} "
            f"{structures}, are above {bound:g} eV/Å and left out; other labels there count less"
        )
        if self.dropped:
            words += f", energy and stress of {len(self.dropped):,} not at all"
        return words

    def held_in_words(self) -> str:
        """How much constraints have taken out; empty where they have taken nothing."""
        if not self.constrained:
            return ""
        return (
            f"{self.constrained:,} of {self.components:,} force components are zeroed by "
            "constraints and left out"
        )


def total_left_out(items: Iterable[LeftOut]) -> LeftOutTotal:
    """Add up what is left out of several structures."""
    every = list(items)
    return LeftOutTotal(
        components=sum(item.components for item in every),
        large=sum(item.large for item in every),
        constrained=sum(item.constrained for item in every),
        damped=tuple(i for i, item in enumerate(every) if item.large),
        dropped=tuple(i for i, item in enumerate(every) if item.energy_share == 0.0),
        held=tuple(i for i, item in enumerate(every) if item.constrained),
    )


def left_out_of(dataset: Iterable[Atoms], bound: float = FORCE_BOUND) -> LeftOutTotal:
    """What a fit with a force bound (eV/Å) leaves out of labelled structures."""
    forces = ((atoms, atoms.calc.results.get("forces")) for atoms in dataset)
    return total_left_out(
        LeftOut() if f is None else count_forces(atoms, np.asarray(f, float), bound)[1]
        for atoms, f in forces
    )
