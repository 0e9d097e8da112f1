"""Cell moves: the ideal gas law for every kind, bounds, and cells that cannot change."""

from dataclasses import replace

import numpy as np
import pytest
from analytic import IdealGas, z_score
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms, FixCom

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import CellMC, Ramp
from ase_hal.dynamics.moves.cell import aspect_ratio

CELL_MOVES = [CellMC(1, kind) for kind in ("cell", "strain", "volume", "log_volume")]
name = lambda move: move.kind  # noqa: E731


def volumes(move, n_atoms, committee, tau=0.0, samples=4000, temperature=1000.0, seed=3):
    """Volumes in units of kT/P of atoms without interaction."""
    kT = units.kB * temperature
    unit = 40.0  # Å^3
    rng = np.random.default_rng(seed)
    length = (unit * n_atoms) ** (1 / 3)
    atoms = Atoms(f"Al{n_atoms}", cell=[length] * 3, pbc=True)
    atoms.positions = rng.uniform(0, length, (n_atoms, 3))
    atoms.calc = HALCalculator(committee, tau=tau)
    move = replace(move, pressure=kT / unit)
    cells = np.empty((samples, 3, 3))
    for cell in cells:
        move.attempt(atoms, temperature_K=temperature, rng=rng)
        cell[:] = atoms.cell.array
    assert min(map(aspect_ratio, cells[::10])) >= move.min_aspect_ratio
    return np.linalg.det(cells) / unit


# Steps that decorrelate the volume of a handful of atoms in a few trials.
WIDE = {"cell": 0.6, "strain": 0.12, "volume": 30.0, "log_volume": 0.9}


@pytest.mark.parametrize("n_atoms", [5, 12])
@pytest.mark.parametrize("move", CELL_MOVES, ids=name)
def test_cell_moves_reproduce_the_ideal_gas_law(move, n_atoms):
    step = WIDE[move.kind]
    v = volumes(replace(move, step=step), n_atoms, IdealGas())[200:]
    # V follows a gamma distribution of shape N + 1.
    assert abs(z_score(v, n_atoms + 1)) < 4
    assert abs(z_score(v**2, (n_atoms + 1) * (n_atoms + 2))) < 4
    assert v.mean() == pytest.approx(n_atoms + 1, rel=0.08)  # the wrong power is off by 1/(N+1)


@pytest.mark.parametrize("move", CELL_MOVES, ids=name)
def test_cell_moves_feel_the_bias(move):
    tau, slope = 2.0, 2.5 * units.kB * 1000
    v = volumes(replace(move, step=WIDE[move.kind]), 5, IdealGas(slope), tau=tau)[200:]
    assert abs(z_score(v, 5 + 1 + tau * 2.5)) < 4
    assert v.mean() == pytest.approx(11, rel=0.08)


def test_the_aspect_ratio_is_that_of_known_cells():
    assert aspect_ratio(np.eye(3) * 4.0) == pytest.approx(1)
    assert aspect_ratio(np.diag([1.0, 1.0, 2.0])) == pytest.approx(2 ** (-1 / 3))
    assert aspect_ratio(np.diag([1.0, 1.0, 0.5])) == pytest.approx(0.5 ** (2 / 3))
    # fcc primitive: height sqrt(2/3) a', volume a'^3 / sqrt(2)
    assert aspect_ratio(bulk("Al").cell.array) == pytest.approx(np.sqrt(2 / 3) * 2 ** (1 / 6))


def test_pressure_ramps_reach_the_move():
    atoms = bulk("Al", cubic=True)
    committee = IdealGas()
    ends = []
    for pressure, step in [(Ramp(0.0, 0.5, 100), 50), (0.25, 0)]:
        copy = atoms.copy()
        copy.calc = HALCalculator(committee)
        generator = np.random.default_rng(5)
        for _ in range(30):
            CellMC(1, "volume", pressure=pressure, step=5.0).attempt(
                copy, temperature_K=300, rng=generator, step=step
            )
        ends.append(copy.cell.volume)
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("pbc", "cell"),
    [((True, True, False), np.eye(3) * 9), (False, np.eye(3) * 9), (True, np.diag([9, 9, 0]))],
)
def test_cells_that_cannot_change_are_refused(pbc, cell):
    atoms = Atoms("Al4", positions=np.eye(4, 3), cell=cell, pbc=pbc)
    with pytest.raises(ValueError, match="three periodic directions"):
        CellMC(10).check(atoms)


def test_constraints_that_forbid_a_cell_move_are_named():
    atoms = bulk("Al", cubic=True)
    atoms.set_constraint([FixCom(), FixAtoms([0])])
    with pytest.raises(ValueError, match="FixAtoms forbids"):
        CellMC(10).check(atoms)


def test_flat_cells_are_refused_where_the_shape_changes():
    atoms = bulk("Al", cubic=True) * (1, 1, 4)
    with pytest.raises(ValueError, match=r"aspect ratio of 0\.630, below min_aspect_ratio=0\.7"):
        CellMC(10).check(atoms)
    CellMC(10, min_aspect_ratio=0.5).check(atoms)
    CellMC(10, "volume").check(atoms)


@pytest.mark.parametrize(
    "keywords",
    [
        {"kind": "shear"},
        {"step": 0.0},
        {"pressure": np.nan},
        {"min_aspect_ratio": 1.5},
        {"attempts": 0},
    ],
)
def test_bad_arguments_of_a_cell_move(keywords):
    with pytest.raises(ValueError, match=r"must be|lies between"):
        CellMC(10, **keywords)
