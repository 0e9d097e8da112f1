"""Sites that may be occupied or empty: the sublattice of a crystal, and supercells of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt
from ase import Atoms

from ase_hal.free_energy.symmetry import Array, IntArray, Operation, crystal_operations


@dataclass(frozen=True, eq=False)
class Lattice:
    """A sublattice of a crystal.

    Each of its sites is occupied (1) or empty (0): Li or vacancy, Au or Cu. All sites are
    alike in kind; the other atoms of the crystal (`framework`) only limit its symmetry.

    Parameters
    ----------
    cell : (3, 3) array
        Lattice vectors of the repeated cell as rows, Å.
    sites : (B, 3) array
        Positions of the B sites in a cell, in fractions of it.
    framework : (F, 3) array, optional
        Positions of all other atoms in a cell, in fractions of it.
    species : (F,) integers, optional
        Their atomic numbers.
    tolerance : float
        Positions closer than this are the same, Å.
    """

    cell: Array
    sites: Array
    framework: Array = field(default_factory=lambda: np.empty((0, 3)))
    species: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    tolerance: float = 1e-3

    def __repr__(self) -> str:
        volume = abs(np.linalg.det(self.cell))
        return f"<Lattice: {len(self.sites)} sites in a cell of {volume:.4g} Å^3>"

    def __post_init__(self) -> None:
        if np.shape(self.cell) != (3, 3) or not abs(np.linalg.det(self.cell)) > 1e-6:
            raise ValueError(f"a lattice needs a cell of three independent vectors: {self.cell}")
        if np.ndim(self.sites) != 2 or np.shape(self.sites)[1] != 3 or not len(self.sites):
            raise ValueError(f"sites are an array (B, 3), got shape {np.shape(self.sites)}")

    @classmethod
    def from_atoms(
        cls, atoms: Atoms, sites: str | Sequence[int], *, tolerance: float = 1e-3
    ) -> Lattice:
        """Take a sublattice of a structure that is periodic in all directions.

        Parameters
        ----------
        atoms : Atoms
            The crystal with all its sites occupied; best its primitive cell.
        sites : str or sequence of int
            The element on the sublattice (``'Li'``), or indices of its atoms.
        tolerance : float
            Positions closer than this are the same, Å.
        """
        if not atoms.pbc.all():
            raise ValueError(f"a lattice is periodic in all directions, got pbc = {atoms.pbc}")
        chosen = np.zeros(len(atoms), dtype=bool)
        if isinstance(sites, str):
            chosen[np.array(atoms.symbols) == sites] = True
        else:
            chosen[np.asarray(sites, dtype=int)] = True
        if not chosen.any():
            raise ValueError(
                f"there is no {sites} in the crystal, which is {atoms.get_chemical_formula()}"
            )
        fractional = atoms.get_scaled_positions(wrap=False)
        others = atoms.numbers[~chosen].astype(np.int64)
        return cls(np.array(atoms.cell), fractional[chosen], fractional[~chosen], others, tolerance)

    @property
    def n_basis(self) -> int:
        """Sites per cell."""
        return len(self.sites)

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The space group of the crystal without its lattice translations."""
        return crystal_operations(
            self.cell, self.sites, self.framework, self.species, self.tolerance
        )

    def positions(self, offsets: IntArray, basis: IntArray) -> Array:
        """Where the sites `basis` (...,) of the cells at `offsets` (..., 3) are, Å."""
        return np.asarray((offsets + self.sites[basis]) @ self.cell)

    def same_as(self, other: Lattice) -> bool:
        """Whether both have the same cell and sites in the same order."""
        return self is other or (
            self.sites.shape == other.sites.shape
            and np.allclose(self.cell, other.cell, atol=self.tolerance)
            and np.allclose((self.sites - other.sites) @ self.cell, 0, atol=self.tolerance)
        )


@dataclass(frozen=True, eq=False)
class Supercell:
    """A periodic piece of a lattice.

    Parameters
    ----------
    lattice : Lattice
    matrix : (3, 3) integers
        Its vectors in units of those of the lattice, as rows: as for
        ``ase.build.make_supercell``.
    """

    lattice: Lattice
    matrix: IntArray

    def __repr__(self) -> str:
        return f"<Supercell: {self.n_sites} sites, {self.matrix.tolist()}>"

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix)
        if matrix.shape != (3, 3) or not np.allclose(matrix, np.rint(matrix)):
            raise ValueError(f"a supercell needs a (3, 3) matrix of integers, got {self.matrix}")
        if not abs(np.linalg.det(matrix)) > 0.5:
            raise ValueError(f"the vectors of a supercell are not independent: {self.matrix}")
        object.__setattr__(self, "matrix", np.rint(matrix).astype(np.int64))

    @cached_property
    def _hermite(self) -> IntArray:
        return hermite_form(self.matrix)

    @property
    def n_cells(self) -> int:
        """Cells of the lattice in the supercell."""
        return int(np.prod(np.diag(self._hermite)))

    @property
    def n_sites(self) -> int:
        """Sites in the supercell."""
        return self.n_cells * self.lattice.n_basis

    @cached_property
    def cell_offsets(self) -> IntArray:
        """One lattice vector (n_cells, 3) for each cell; site i is in cell i // B."""
        edges = np.diag(self._hermite).tolist()
        return np.indices(edges).reshape(3, -1).T.astype(np.int64)

    @cached_property
    def offsets(self) -> IntArray:
        """Lattice vector (n_sites, 3) of each site."""
        return np.repeat(self.cell_offsets, self.lattice.n_basis, axis=0)

    @cached_property
    def basis(self) -> IntArray:
        """Which site of its cell each site (n_sites,) is."""
        return np.tile(np.arange(self.lattice.n_basis), self.n_cells)

    def index(self, offsets: npt.ArrayLike, basis: npt.ArrayLike) -> IntArray:
        """Numbers (...,) of the sites `basis` (...,) of cells at any `offsets` (..., 3)."""
        offsets = np.array(offsets, dtype=np.int64)
        for axis in range(3):
            turns = offsets[..., axis] // self._hermite[axis, axis]
            offsets -= turns[..., None] * self._hermite[axis]
        cell = np.zeros(offsets.shape[:-1], dtype=np.int64)
        for axis in range(3):
            cell = cell * self._hermite[axis, axis] + offsets[..., axis]
        return cell * self.lattice.n_basis + np.asarray(basis, dtype=np.int64)

    def repeated(self, repeat: Sequence[int]) -> Supercell:
        """Repeat along the three vectors of the supercell."""
        if np.shape(repeat) != (3,) or min(repeat) < 1:
            raise ValueError(f"repeat takes three positive integers, got {repeat!r}")
        return Supercell(self.lattice, np.diag(repeat) @ self.matrix)

    def kinds(self, larger: Supercell) -> IntArray:
        """Which site of this supercell each site of a larger one (n_sites,) repeats."""
        ratio = larger.matrix @ np.linalg.inv(self.matrix)
        if not larger.lattice.same_as(self.lattice) or not np.allclose(ratio, np.rint(ratio)):
            raise ValueError(
                f"supercell {larger.matrix.tolist()} is no multiple of {self.matrix.tolist()}"
            )
        return self.index(larger.offsets, larger.basis)

    def permutation(self, operation: Operation, shift: npt.ArrayLike = (0, 0, 0)) -> IntArray:
        """Where an operation, and then a lattice translation, takes each site (n_sites,)."""
        offsets, basis = operation(self.offsets, self.basis)
        image = self.index(offsets + np.asarray(shift), basis)
        if len(np.unique(image)) < len(image):
            raise ValueError(
                f"supercell {self.matrix.tolist()} does not have the symmetry of its lattice"
            )
        return image

    def atoms(self, occupations: npt.ArrayLike, occupied: str, empty: str | None = None) -> Atoms:
        """Draw the sublattice: occupied sites as one element, empty ones as another or not."""
        occupations = self.checked(occupations).astype(bool)
        positions = self.lattice.positions(self.offsets, self.basis)
        symbols = np.where(occupations, occupied, empty or "X")
        shown = np.ones(self.n_sites, dtype=bool) if empty else occupations
        cell = self.matrix @ self.lattice.cell
        atoms = Atoms(symbols[shown], positions=positions[shown], cell=cell, pbc=True)
        atoms.wrap()
        return atoms

    def occupations(self, atoms: Atoms, occupied: str | None = None) -> IntArray:
        """Read which sites (n_sites,) the atoms of a structure in this cell sit on.

        Parameters
        ----------
        atoms : Atoms
            Its atoms of the element `occupied`, or all, lie on sites of the lattice.
        occupied : str, optional
            The element that means 1.
        """
        chosen = atoms if occupied is None else atoms[np.array(atoms.symbols) == occupied]
        fractional = np.linalg.solve(self.lattice.cell.T, chosen.positions.T).T
        result = np.zeros(self.n_sites, dtype=np.int64)
        for atom, position in enumerate(fractional):
            shift = position - self.lattice.sites
            away = np.linalg.norm((shift - np.rint(shift)) @ self.lattice.cell, axis=1)
            nearest = int(away.argmin())
            if away[nearest] > max(self.lattice.tolerance, 1e-2):
                raise ValueError(
                    f"atom {atom} ({chosen.symbols[atom]} at {chosen.positions[atom]}) is "
                    f"{away[nearest]:.3f} Å from the nearest site of the lattice"
                )
            result[self.index(np.rint(shift[nearest]), nearest)] += 1
        if result.max(initial=0) > 1:
            raise ValueError("two atoms of the structure are on the same site")
        return result

    def checked(self, occupations: npt.ArrayLike) -> IntArray:
        """Return occupations (..., n_sites), which must be 0 or 1."""
        values = np.asarray(occupations)
        if values.shape[-1:] != (self.n_sites,):
            raise ValueError(f"{self.n_sites} sites need as many occupations, got {values.shape}")
        if not np.isin(values, (0, 1)).all():
            raise ValueError("occupations are 0 or 1")
        return values.astype(np.int64)


def hermite_form(vectors: npt.ArrayLike) -> IntArray:
    """Upper triangular basis (3, 3) of the lattice that integer vectors (n, 3) generate."""
    rows = [list(map(int, row)) for row in np.asarray(vectors)]
    form = []
    for axis in range(3):
        while True:
            rows.sort(key=lambda row: (row[axis] == 0, abs(row[axis])))
            pivot, rest = rows[0], rows[1:]
            if pivot[axis] == 0:
                raise ValueError(f"these vectors span no three-dimensional lattice: {vectors!r}")
            rows = [
                pivot,
                *(
                    [b - row[axis] // pivot[axis] * a for a, b in zip(pivot, row, strict=True)]
                    for row in rest
                ),
            ]
            if not any(row[axis] for row in rows[1:]):
                break
        sign = 1 if pivot[axis] > 0 else -1
        form.append([sign * a for a in pivot])
        rows = rows[1:]
    return np.array(form, dtype=np.int64)


def fits(lattice: Lattice, atoms: Atoms) -> bool:
    """Whether the cell of a structure, as it is turned, is a supercell of a lattice."""
    matrix = np.array(atoms.cell) @ np.linalg.inv(lattice.cell)
    off = np.abs((matrix - np.rint(matrix)) @ lattice.cell).max()
    return bool(off <= 10 * lattice.tolerance)


def from_cell(lattice: Lattice, atoms: Atoms) -> Supercell:
    """Find the supercell of a lattice that is the cell of a structure."""
    matrix = np.array(atoms.cell) @ np.linalg.inv(lattice.cell)
    if not fits(lattice, atoms):
        raise ValueError(
            f"the cell of the structure is no supercell of the lattice: in its units it is "
            f"{np.round(matrix, 4).tolist()}, and turning it does not help"
        )
    return Supercell(lattice, np.rint(matrix).astype(np.int64))
