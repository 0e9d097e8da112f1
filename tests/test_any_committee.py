"""Everything that takes a committee takes each kind of it: linear, calculators, networks."""

from functools import cache
from importlib.util import find_spec

import numpy as np
import pytest
from ase import units
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.md.velocitydistribution import thermalize_momenta
from datasets_emt import al_cu_basis, al_cu_dataset

from ase_hal import LinearFit, NetworkFit, select
from ase_hal.calculator_committee import CalculatorCommittee
from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import (
    Barostat,
    CellMC,
    EvolutionExplorer,
    HALLangevin,
    MolecularDynamics,
    SwapMC,
    Trigger,
)
from ase_hal.network_fit import Training
from ase_hal.selection import filter_greedily
from ase_hal.uncertainty import relative_force_error, softmax_score


def calculators(dataset, *, rng):
    """A fit that ignores the data but for its generator."""
    lj = LennardJones(sigma=2.3, epsilon=rng.uniform(0.1, 0.2), rc=5.0, smooth=True)
    return CalculatorCommittee([EMT(), lj])


FITS = {
    "linear": lambda: LinearFit(al_cu_basis(), members=4),
    "calculators": lambda: calculators,
    "networks": lambda: NetworkFit(al_cu_basis(), members=3, training=Training(epochs=3)),
}
KINDS = [
    "linear",
    "calculators",
    pytest.param("networks", marks=pytest.mark.skipif(
        find_spec("torch") is None, reason="needs ase-hal[torch]"
    )),
]  # fmt: skip


@cache
def fitted(kind):
    return FITS[kind]()(al_cu_dataset()[:12], rng=np.random.default_rng(0))


def structure(kind):
    atoms = al_cu_dataset()[20].copy()
    assert len(set(atoms.symbols)) == 2
    atoms.calc = HALCalculator(fitted(kind), tau=0.1)
    return atoms


@pytest.mark.parametrize("kind", KINDS)
class TestAnyCommittee:
    def test_dynamics_with_barostat_moves_and_trigger(self, kind):
        rng = np.random.default_rng(1)
        atoms = structure(kind)
        thermalize_momenta(atoms, temperature_K=600, rng=rng)
        volume, symbols = atoms.get_volume(), atoms.numbers.copy()
        dyn = HALLangevin(
            atoms, units.fs, temperature_K=600, friction=0.01, tau=0.1, rng=rng,
            trigger=Trigger("relative", 1e9, interval=5),
            barostat=Barostat(pressure=1.0 * units.GPa),
            moves=[SwapMC(2, attempts=5), CellMC(2, attempts=3)],
        )  # fmt: skip
        dyn.run(20)
        swaps, cells = dyn.move_counts
        assert dyn.nsteps == 20
        assert swaps.attempted >= 45
        assert cells.attempted >= 27
        assert swaps.accepted + cells.accepted > 0
        assert atoms.get_volume() != volume
        assert sorted(atoms.numbers) == sorted(symbols)
        assert np.nanmax(dyn.trace.score) > 0

    def test_criteria(self, kind):
        atoms = structure(kind)
        prediction = fitted(kind).predict(atoms, members=True)
        score = softmax_score(prediction)
        assert score.shape == (len(atoms),)
        assert score.sum() == pytest.approx(1)
        assert np.argmax(score) == np.argmax(relative_force_error(prediction))

    def test_selection(self, kind):
        candidates = [a.copy() for a in al_cu_dataset()[20:28]]
        picked = select(candidates, fitted(kind), n=4)
        assert 3 <= len(picked) == len({id(a) for a in picked}) <= 4  # of two members, too
        std = [fitted(kind).predict(a).model_std / len(a) for a in candidates]
        assert picked[0] is candidates[int(np.argmax(std))]

    def test_the_greedy_filter(self, kind):
        dataset = al_cu_dataset()[:5]
        filtered = filter_greedily(
            dataset, FITS[kind](), n=3, rng=np.random.default_rng(1), first=0
        )
        assert len({id(a) for a in filtered.selected}) == 3
        assert (np.array(filtered.scores[1:]) > 0).all()

    def test_an_explorer(self, kind):
        explore = EvolutionExplorer(MolecularDynamics(600, alpha=0.2, steps=6), walkers=2)
        found = explore(fitted(kind), dataset=al_cu_dataset()[:3], rng=np.random.default_rng(2))
        assert [a.info["hal_walker"] for a in found] == [0, 1]
        again = explore(fitted(kind), dataset=al_cu_dataset()[:3], rng=np.random.default_rng(2))
        assert found == again
