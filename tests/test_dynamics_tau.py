"""Adaptive tau is Eq. 12, counted once per dynamics step."""

import numpy as np
import pytest
from analytic import HarmonicCrystal
from ase import Atoms, units
from ase.build import bulk
from ase.constraints import FixAtoms
from ase.md.langevin import Langevin

from ase_hal.calculators import HALCalculator
from ase_hal.dynamics import AdaptiveTau, HALLangevin, Ramp, SwapMC
from ase_hal.prediction import Prediction


def seen(force, gradient):
    """A prediction with these norms of F and grad sigma, spread over two atoms."""
    direction = np.array([[0.6, 0, 0], [0, 0, 0.8]])
    return Prediction(
        energy=0.0,
        forces=force * direction,
        energy_std=1.0,
        energy_std_gradient=gradient * direction[::-1],
        model_std=1.0,
        force_scale=1.0,
        member_energies=np.zeros(1),
    )


def follow(rule, norms):
    window = rule.start()
    return [window.update(seen(*pair)) for pair in norms]


def test_equation_12_by_hand():
    rule = AdaptiveTau(0.2, window=3, burn_in=2, cap=1e6)
    norms = [(3.0, 0.5), (1.0, 1.0), (2.0, 0.25), (4.0, 0.5), (0.5, 2.0)]
    expected = [
        0.0,  # burn-in
        0.2 * (3 + 1) / (0.5 + 1),
        0.2 * (3 + 1 + 2) / (0.5 + 1 + 0.25),
        0.2 * (1 + 2 + 4) / (1 + 0.25 + 0.5),
        0.2 * (2 + 4 + 0.5) / (0.25 + 0.5 + 2.0),
    ]
    assert follow(rule, norms) == pytest.approx(expected)


def test_doubling_forces_doubles_tau_and_doubling_gradients_halves_it():
    rule = AdaptiveTau(0.1, burn_in=1)
    (one,) = follow(rule, [(2.0, 0.1)])
    assert follow(rule, [(4.0, 0.1)]) == pytest.approx([2 * one])
    assert follow(rule, [(2.0, 0.2)]) == pytest.approx([one / 2])


def test_the_cap_holds_where_the_uncertainty_vanishes():
    rule = AdaptiveTau(0.1, burn_in=1, cap=12.0)
    assert follow(rule, [(1.0, 1e-9)] * 3) == [12.0] * 3
    assert follow(rule, [(1.0, 0.0)] * 3) == [12.0] * 3
    assert follow(rule, [(0.0, 0.0)] * 3) == [0.0] * 3
    assert follow(AdaptiveTau(0.0, burn_in=1), [(1.0, 0.0)]) == [0.0]


def test_the_bias_never_exceeds_the_forces_when_the_gradient_jumps():
    rule = AdaptiveTau(0.1, burn_in=1, max_bias=0.5)
    *_, before, at_jump = follow(rule, [(2.0, 0.02)] * 100 + [(2.0, 1.0)])
    assert before == pytest.approx(10.0)
    assert at_jump * 1.0 == pytest.approx(0.5 * 2.0)
    loose = follow(AdaptiveTau(0.1, burn_in=1, max_bias=np.inf), [(2.0, 0.02)] * 100 + [(2.0, 1.0)])
    assert loose[-1] == pytest.approx(0.1 * 200 / (99 * 0.02 + 1.0))
    assert loose[-1] * 1.0 > 3 * 2.0  # what the bound prevents


def test_numbers_that_are_not_finite_leave_the_window_alone():
    window = AdaptiveTau(0.1, burn_in=1).start()
    tau = window.update(seen(1.0, 0.1))
    assert window.update(seen(np.nan, 0.1)) == tau
    assert window.update(seen(1.0, np.nan)) == tau
    assert window.update(seen(1.0, 0.1)) == pytest.approx(tau)


def test_one_rule_serves_several_trajectories():
    rule = AdaptiveTau(0.1, burn_in=2)
    first, second = rule.start(), rule.start()
    for _ in range(5):
        first.update(seen(1.0, 0.1))
    assert first.tau > 0
    assert second.update(seen(1.0, 0.1)) == 0.0


def test_tau_rel_can_be_ramped():
    taus = follow(AdaptiveTau(Ramp(0.1, 0.3, 4), burn_in=1), [(1.0, 1.0)] * 6)
    assert taus == pytest.approx([0.15, 0.2, 0.25, 0.3, 0.3, 0.3])


@pytest.mark.parametrize(
    "keywords",
    [
        {"tau_rel": -0.1},
        {"tau_rel": np.nan},
        {"tau_rel": 0.1, "cap": 0.0},
        {"tau_rel": 0.1, "cap": np.inf},
        {"tau_rel": 0.3, "max_bias": 0.2},
        {"tau_rel": Ramp(0.0, 2.0, 10)},
        {"tau_rel": 0.1, "window": 0},
        {"tau_rel": 0.1, "burn_in": -1},
    ],
)
def test_bad_arguments(keywords):
    with pytest.raises(ValueError, match="must be"):
        AdaptiveTau(**keywords)


# In a dynamics


def dynamics(tau, seed=3, **keywords):
    rng = np.random.default_rng(seed)
    atoms = bulk("Al", cubic=True)
    spread = rng.normal(scale=0.1, size=(5, 4))
    committee = HarmonicCrystal.around(atoms, spread=spread - spread.mean(axis=0), noise=0.05)
    atoms.positions += rng.normal(scale=0.1, size=(4, 3))
    if "moves" in keywords:
        atoms.symbols[0] = "Si"
    atoms.calc = HALCalculator(committee)
    return HALLangevin(
        atoms,
        2 * units.fs,
        temperature_K=600,
        friction=0.02 / units.fs,
        tau=tau,
        trigger=None,
        rng=rng,
        **keywords,
    )


@pytest.mark.parametrize("moves", [(), (SwapMC(3, attempts=4),)], ids=["plain", "with swaps"])
def test_tau_in_a_dynamics_is_equation_12_of_its_unbiased_forces(moves):
    rule = AdaptiveTau(0.15, window=20, burn_in=10)
    dyn = dynamics(rule, moves=moves)
    forces, gradients = [], []

    def observe():
        p = dyn.calc.committee.predict(dyn.atoms)
        forces.append(np.linalg.norm(p.forces))
        gradients.append(np.linalg.norm(p.energy_std_gradient))
        for _ in range(3):  # looking at energies and forces does not count as a step
            dyn.atoms.get_forces()
            dyn.atoms.get_potential_energy()

    dyn.attach(observe)
    dyn.run(25)
    dyn.run(25)  # the window lives as long as the dynamics
    tau = dyn.trace.tau
    assert not tau[:10].any()
    for n in range(10, 51):
        past = slice(max(1, n - 19), n + 1)
        ratio = 0.15 * sum(forces[past]) / sum(gradients[past])
        bound = sum(forces[past]) / len(forces[past]) / gradients[n]
        assert tau[n] == pytest.approx(min(ratio, bound, 50.0))
    assert dyn.calc.tau == tau[-1]


def test_the_bias_acts_on_the_atoms():
    dyn = dynamics(AdaptiveTau(0.15, window=20, burn_in=10))
    dyn.run(30)
    p = dyn.calc.committee.predict(dyn.atoms)
    assert dyn.tau > 0
    biased = p.forces + dyn.tau * p.energy_std_gradient
    assert dyn.atoms.get_forces() == pytest.approx(biased)
    assert dyn.atoms.get_potential_energy() == pytest.approx(p.energy - dyn.tau * p.energy_std)
    assert dyn.trace.energy[-1] == pytest.approx(p.energy)
    assert dyn.trace.energy_std[-1] == pytest.approx(p.energy_std)


def test_a_constant_and_a_ramped_tau():
    dyn = dynamics(0.7)
    dyn.run(3)
    assert dyn.trace.tau.tolist() == [0.7] * 4
    dyn = dynamics(Ramp(0.0, 1.0, 4))
    dyn.run(6)
    assert dyn.trace.tau.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0]


def test_a_window_can_drive_any_dynamics():
    atoms = dynamics(0.0).atoms
    window = AdaptiveTau(0.1, burn_in=5).start()

    def update():
        atoms.calc.tau = window.update(atoms.calc.predict(atoms))

    dyn = Langevin(
        atoms, units.fs, temperature_K=300, friction=0.1, fixcm=False, rng=np.random.default_rng(0)
    )
    dyn.attach(update)
    dyn.run(10)
    assert atoms.calc.tau == window.tau > 0


def test_atoms_that_cannot_move_do_not_count():
    atoms = Atoms("Al2", [[0, 0, 0], [3, 0, 0]], constraint=FixAtoms([0]))
    forces, gradient = np.array([[50.0, 0, 0], [1, 0, 0]]), np.array([[9.0, 0, 0], [2, 0, 0]])
    prediction = Prediction(
        energy=0.0,
        forces=forces,
        energy_std=1.0,
        energy_std_gradient=gradient,
        model_std=1.0,
        force_scale=1.0,
        member_energies=np.zeros(2),
    )
    window = AdaptiveTau(0.1, burn_in=0).start()
    assert window.update(prediction, atoms) == pytest.approx(0.1 * 1 / 2)
    assert AdaptiveTau(0.1, burn_in=0).start().update(prediction) == pytest.approx(
        0.1 * np.linalg.norm(forces) / np.linalg.norm(gradient)
    )
