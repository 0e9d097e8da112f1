"""run_until with everything that takes steps."""

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase import Atoms, units
from ase.build import bulk
from ase.md.contour_exploration import ContourExploration
from ase.md.langevin import Langevin
from ase.md.verlet import VelocityVerlet
from ase.mep import DimerControl, MinModeAtoms, MinModeTranslate
from ase.optimize import BFGS, FIRE
from ase.optimize.sciopt import SciPyFminBFGS

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import HALLangevin, Trigger, run_until


@pytest.fixture
def atoms():
    rng = np.random.default_rng(0)
    atoms = bulk("Al", cubic=True)
    committee = HarmonicCrystal.around(atoms, spread=np.outer([0.2, -0.2], np.ones(4)), noise=0.1)
    atoms.positions += rng.normal(scale=0.2, size=(4, 3))
    atoms.calc = HALCalculator(committee)
    return atoms


def verlet(atoms):
    return VelocityVerlet(atoms, units.fs)


def langevin(atoms):
    rng = np.random.default_rng(0)
    return Langevin(atoms, units.fs, temperature_K=300, friction=0.1, fixcm=False, rng=rng)


def hal(atoms, trigger=None):
    rng = np.random.default_rng(0)
    return HALLangevin(
        atoms, units.fs, temperature_K=300, friction=0.1, tau=0.5, trigger=trigger, rng=rng
    )


def contour(atoms):
    return ContourExploration(atoms, maxstep=0.1, rng=np.random.RandomState(0), logfile=None)


def bfgs(atoms):
    return BFGS(atoms, logfile=None, maxstep=0.01)


def fire(atoms):
    return FIRE(atoms, logfile=None)


def dimer(atoms):
    control = DimerControl(logfile=None, eigenmode_logfile=None, initial_eigenmode_method="gauss")
    return MinModeTranslate(MinModeAtoms(atoms, control, random_seed=0), logfile=None)


@pytest.mark.parametrize("make", [verlet, langevin, hal, contour, bfgs, fire])
def test_true_at_the_step_where_the_condition_held(make, atoms):
    dyn = make(atoms)
    looked = []

    def third():
        looked.append(dyn.nsteps)
        return dyn.nsteps % 3 == 0

    assert run_until(dyn, third, 20) is True
    assert looked == [1, 2, 3]
    stopped = atoms.positions.copy()
    # it holds where the dynamics stands, and does not fire there
    assert run_until(dyn, third, 20) is True
    assert looked == [1, 2, 3, 4, 5, 6]
    assert not np.array_equal(atoms.positions, stopped)
    assert run_until(dyn, lambda: False, 2) is False
    assert dyn.nsteps == 8


@pytest.mark.filterwarnings("ignore:It was not possible to figure out which atoms")
def test_a_dimer_search(atoms):
    dyn = dimer(atoms)
    assert run_until(dyn, lambda: dyn.nsteps >= 2, 5, fmax=1e-9)
    assert dyn.nsteps == 2


def test_convergence_of_an_optimizer_is_not_the_condition(atoms):
    assert run_until(bfgs(atoms), lambda: False, 200, fmax=0.01) is False
    assert np.abs(atoms.get_forces()).max() < 0.01


def test_a_trigger_is_not_the_condition(atoms):
    dyn = hal(atoms, trigger=Trigger(lambda prediction: 1.0, 0.5, interval=4))
    assert run_until(dyn, lambda: False, 20) is False
    assert (dyn.nsteps, dyn.outcome) == (4, "uncertain")


def test_only_what_takes_single_steps_is_accepted(atoms):
    with pytest.raises(TypeError, match="single steps, got SciPyFminBFGS"):
        run_until(SciPyFminBFGS(atoms, logfile=None), lambda: True, 5)
    with pytest.raises(TypeError, match="single steps, got Atoms"):
        run_until(Atoms(), lambda: True, 5)
    with pytest.raises(ValueError, match="steps must not be negative, got -1"):
        run_until(verlet(atoms), lambda: True, -1)
