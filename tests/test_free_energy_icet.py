"""Cluster expansions of icet as Hamiltonians."""

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from free_energy_cases import l1_2

from ase_hal.free_energy import Hamiltonian, OrderParameters, RunLength, UmbrellaMC, lco
from ase_hal.free_energy.icet_expansion import from_icet
from ase_hal.free_energy_run.system_sections import HamiltonianSection
from ase_hal.runfile.errors import Problems

icet = pytest.importorskip("icet")


def random_expansion(primitive, cutoffs, species, rng):
    space = icet.ClusterSpace(primitive, cutoffs, species)
    return icet.ClusterExpansion(space, rng.normal(size=len(space)))


@pytest.mark.parametrize("occupied", ["Au", "Cu"])
def test_energies_are_those_of_the_expansion(occupied, rng):
    expansion = random_expansion(bulk("Cu", a=4.0), [5.0, 4.5, 4.2], ["Au", "Cu"], rng)
    hamiltonian = from_icet(expansion, occupied=occupied)
    hamiltonian.check_symmetry(hamiltonian.lattice)
    supercell = l1_2().supercell
    supercell = type(supercell)(hamiltonian.lattice, 4 * supercell.matrix)
    occupations = rng.integers(2, size=supercell.n_sites)
    other = {"Au": "Cu", "Cu": "Au"}[occupied]
    atoms = supercell.atoms(occupations, occupied, other)
    predicted = len(atoms) * expansion.predict(atoms)
    assert float(hamiltonian.energy(occupations, supercell)) == pytest.approx(predicted, abs=1e-8)


def test_lithium_and_vacancies_of_lco(rng, tmp_path):
    expansion = random_expansion(
        lco.crystal(), [8.0, 5.0], [["Li", "X"], ["Co"], *[["O"]] * 2], rng
    )
    hamiltonian = from_icet(expansion, occupied="Li")
    assert hamiltonian.lattice.n_basis == 1
    assert len(hamiltonian.lattice.operations) == 12
    hamiltonian.check_symmetry(hamiltonian.lattice)
    with pytest.raises(ValueError, match=r"Co.*'Li', 'X'"):
        from_icet(expansion, occupied="Co")
    path = tmp_path / "lco.ce"
    expansion.write(str(path))
    section = HamiltonianSection(cluster_expansion=path, occupied="Li")
    zigzag = OrderParameters.from_ordering(lco.lattice(), lco.zigzag())
    with pytest.raises(Problems, match="make system.crystal the primitive_structure"):
        section.build(zigzag, tmp_path)
    with pytest.raises(TypeError, match="got str"):
        from_icet("expansion.ce", occupied="Li")


def test_expansion_fitted_to_a_calculator_drives_the_monte_carlo(rng):
    """EMT energies of Cu-Au on a rigid lattice, fitted with icet; then L1_2 comes out of it."""
    primitive = bulk("Cu", a=3.8)
    space = icet.ClusterSpace(primitive, [4.0, 3.0], ["Au", "Cu"])
    structures, energies = [], []
    for _ in range(40):
        atoms = primitive.repeat((2, 2, 2))
        atoms.symbols[rng.random(8) < rng.random()] = "Au"
        atoms.calc = EMT()
        structures.append(atoms)
        energies.append(atoms.get_potential_energy() / len(atoms))
    rows = np.array([space.get_cluster_vector(a) for a in structures])
    parameters = np.linalg.lstsq(rows, energies, rcond=None)[0]
    assert np.std(rows @ parameters - energies) < 5e-3
    hamiltonian = from_icet(icet.ClusterExpansion(space, parameters), occupied="Au")
    assert isinstance(hamiltonian, Hamiltonian)
    ordering = l1_2().supercell.atoms(l1_2().variants[0], "Au")
    ordering.set_cell(ordering.cell * 3.8 / 3.7, scale_atoms=True)
    order_parameters = OrderParameters.from_ordering(hamiltonian.lattice, ordering, "Au")
    calculator = UmbrellaMC(
        hamiltonian,
        order_parameters,
        temperature_K=800,
        phi=(2.0, 0.3),
        repeat=(4, 4, 4),
        run_length=RunLength(precision=2e-3, max_sweeps=20_000),
        rng=rng,
    )
    sample = calculator.sample([0.25, 0.1, 0.1, 0.1])
    assert sample.converged
    # three order parameters that symmetry makes equal
    assert np.ptp(sample.mu[1:]) < 5 * sample.mu_error[1:].max()


@pytest.fixture
def rng():
    return np.random.default_rng(8)
