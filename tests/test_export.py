"""Exported potentials, read back by python-ace, agree with our own evaluation."""

import numpy as np
import pytest
from ase.build import fcc111
from datasets_emt import al_cu_basis, al_cu_dataset
from pyace import PyACECalculator

from ase_hal import LinearFit
from ase_hal.ace import ACEBasis, InnerCutoff
from ase_hal.export import write_potential
from ase_hal.repulsion import ZBL


def pyace_results(path, atoms):
    atoms = atoms.copy()
    atoms.calc = PyACECalculator(str(path))
    return atoms.get_potential_energy(), atoms.get_forces()


def probes():
    yield al_cu_dataset()[-1]
    slab = fcc111("Al", (2, 2, 3), vacuum=5.0)
    slab.pbc = True  # python-ace knows no slabs
    slab.symbols[2] = "Cu"
    slab.rattle(0.1, seed=1)
    yield slab


BASES = {
    "with a pair part": al_cu_basis(),
    "one part": ACEBasis(
        ("Al", "Cu"),
        rcut=4.5,
        nradmax_by_orders=[5, 2, 1],
        lmax_by_orders=[0, 2, 1],
        inner_cutoff=InnerCutoff(1.5, 0.2),
    ),
}


@pytest.mark.parametrize("suffix", ["yaml", "yace"])
@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("threshold", [None, 1e3])
def test_round_trip(name, suffix, threshold, tmp_path):
    fit = LinearFit(BASES[name], repulsion=ZBL(0.8, 1.5), relevance_threshold=threshold)
    committee = fit(al_cu_dataset(), rng=np.random.default_rng(0))
    if threshold is not None:
        assert 0 < committee.posterior.active.sum() < BASES[name].size
    files = write_potential(committee, tmp_path / "alcu")
    potentials = [f for f in files if f.suffix == f".{suffix}"]
    assert len(potentials) == len(BASES[name].tables)
    for atoms in probes():
        ours = committee.predict(atoms)
        parts = [pyace_results(path, atoms) for path in potentials]
        energy, forces = sum(p[0] for p in parts), sum(p[1] for p in parts)
        one_body = sum(committee.baseline.one_body[s] for s in atoms.symbols)
        shift, pair_forces, _ = committee.baseline.evaluate(atoms)
        expected = ours.energy - shift + (one_body if suffix == "yace" else 0.0)
        assert energy == pytest.approx(expected, abs=1e-9)
        np.testing.assert_allclose(forces, ours.forces - pair_forces, atol=1e-9)


def test_lammps_script_names_every_part(tmp_path):
    fit = LinearFit(al_cu_basis(), repulsion=ZBL(0.8, 1.5))
    committee = fit(al_cu_dataset()[:10], rng=np.random.default_rng(0))
    script = write_potential(committee, tmp_path / "alcu")[-1].read_text()
    assert "pair_style hybrid/overlay pace pace zbl 0.8 1.5" in script
    assert "pair_coeff * * pace 1 alcu.yace Al Cu" in script
    assert "pair_coeff * * pace 2 alcu-pair.yace Al Cu" in script
    assert "pair_coeff 1 2 zbl 13 29" in script
