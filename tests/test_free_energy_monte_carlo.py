"""Monte Carlo as a calculator, against enumeration, thermodynamics, and published runs."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase.units import kB
from free_energy_cases import alloy, l1_2, zigzag
from scipy.integrate import cumulative_trapezoid

from ase_hal.free_energy import (
    Ensemble,
    Hamiltonian,
    Proposal,
    RunLength,
    Supercell,
    UmbrellaMC,
    find_orbits,
    lco,
    measure,
)
from ase_hal.free_energy.statistics import block_average, equilibration
from ase_hal.free_energy.walker import Arena, Walker

CASM = Path(__file__).resolve().parents[2] / "shared" / "data" / "lco_zigzag" / "casm_300K.txt"
QUICK = RunLength(precision=2e-3, max_sweeps=20_000)


def monte_carlo(seed=3, **changes):
    settings = {"temperature_K": 600, "phi": (0.5, 0.3), "repeat": (2, 2, 1), "run_length": QUICK}
    return UmbrellaMC(alloy(), l1_2(), rng=np.random.default_rng(seed), **(settings | changes))


def enumerated(hamiltonian, order_parameters, supercell, ensemble):
    """Mean order parameters and energy per site, from all occupations."""
    n = supercell.n_sites
    states = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
    eta = order_parameters(states, supercell)
    energy = hamiltonian.energy(states, supercell) / n
    bias = ((eta - ensemble.kappa) ** 2 @ ensemble.phi) - eta @ ensemble.mu
    weight = np.exp(-n * (energy + bias - (energy + bias).min()) / (kB * ensemble.temperature_K))
    weight /= weight.sum()
    return weight @ eta, weight @ energy


@pytest.mark.parametrize(
    "kappa", [(0.5, 0, 0, 0), (0.3, 0.2, 0.1, -0.1), (0.25, 0.25, 0.25, 0.25), (0.7, 0, 0, -0.4)]
)
def test_biased_cell_against_enumeration(kappa):
    calculator = monte_carlo(run_length=RunLength(precision=1.5e-3))
    sample = calculator.sample(kappa=kappa)
    eta, energy = enumerated(alloy(), l1_2(), calculator.supercell, sample.ensemble)
    assert calculator.n_sites == 16
    assert sample.converged
    assert np.abs((sample.eta - eta) / sample.eta_error).max() < 3
    mu = -2 * calculator.phi * (eta - np.array(kappa))
    assert np.abs((sample.mu - mu) / sample.mu_error).max() < 3
    assert abs(sample.energy - energy) < 3 * sample.energy_error


def test_semigrand_cell_against_enumeration():
    calculator = monte_carlo(run_length=RunLength(precision=1.5e-3))
    sample = calculator.semigrand([0.02, 0.05, 0.0, -0.03])
    eta, energy = enumerated(alloy(), l1_2(), calculator.supercell, sample.ensemble)
    assert np.abs((sample.eta - eta) / sample.eta_error).max() < 3
    assert abs(sample.energy - energy) < 3 * sample.energy_error
    assert np.array_equal(sample.mu, [0.02, 0.05, 0.0, -0.03])


def test_cluster_that_meets_itself(rng):
    # in a cell of one or two sites neighbours are images of a site
    lattice = l1_2().supercell.lattice
    for matrix in (np.eye(3), np.diag([2, 1, 1])):
        small = Supercell(lattice, matrix)
        large = Supercell(lattice, 4 * np.asarray(matrix))
        occupations = rng.integers(2, size=small.n_sites)
        tiled = occupations[small.kinds(large)]
        expected = alloy().energy(tiled, large) / 64
        assert alloy().energy(occupations, small) == pytest.approx(float(expected))


@pytest.mark.parametrize("model", ["pairs", "clusters"])
def test_kernel_keeps_its_books(model, rng):
    """Energies and fields that are updated flip by flip are those of the final occupation."""
    hamiltonian, found = (
        (lco.hamiltonian(lco.FITTED), zigzag())
        if model == "pairs"
        else (
            alloy(),
            l1_2(),
        )
    )
    supercell = found.supercell.repeated((3, 2, 2))
    arena = Arena.of(hamiltonian, found, supercell)
    walker = Walker(arena, rng.integers(2, size=supercell.n_sites), rng=rng)
    kappa = np.eye(found.dimension)[0] * 0.5
    phi = np.full(found.dimension, 0.05)
    eta, energy, acceptance = walker.run(Ensemble.umbrella(900, kappa, phi), 50)
    assert 0.01 < acceptance < 1
    total = float(hamiltonian.energy(walker.occupied, supercell))
    assert energy[-1] * supercell.n_sites == pytest.approx(total, abs=1e-9)
    assert arena.tables.energy(walker.occupied) == pytest.approx(total, abs=1e-9)
    assert np.allclose(eta[-1], found(walker.occupied, supercell), atol=1e-12)
    fields = arena.tables.fields(walker.occupied)
    for site in rng.integers(supercell.n_sites, size=10):
        other = walker.occupied.copy()
        other[site] = 1 - other[site]
        change = float(hamiltonian.energy(other, supercell)) - total
        filling = np.diff(arena.tables.filling)[min(walker.occupied.sum(), other.sum())]
        assert change == pytest.approx((fields[site] + filling) * (other[site] * 2 - 1), abs=1e-9)


def test_zigzag_is_the_ground_state():
    found, hamiltonian = zigzag(), lco.hamiltonian()
    energies = hamiltonian.energy(found.variants, found.supercell) / found.n_sites
    assert np.ptp(energies) < 1e-12
    # zigzag beats rows where J2 < 2 J3
    cold = UmbrellaMC(
        hamiltonian,
        found,
        temperature_K=300,
        repeat=(1, 1, 1),
        run_length=RunLength(precision=0.5, min_sweeps=200, max_sweeps=200),
        rng=np.random.default_rng(5),
    )
    best = min(
        sample.energy for _ in range(5) for sample in cold.sweep([500, 350, 250, 150, 50], 0.0)
    )
    assert best == pytest.approx(energies[0], abs=1e-3)


def test_umbrella_and_semigrand_agree_where_the_free_energy_is_convex():
    calculator = monte_carlo(
        repeat=(6, 6, 6), temperature_K=1200, run_length=RunLength(precision=1e-3)
    )
    biased = calculator.sample([0.4, 0.05, 0.05, 0.05])
    free = calculator.semigrand(biased.mu)
    # mu is the mean of the force instead of the force at the mean: an error of order 1 / M
    error = np.hypot(biased.eta_error, free.eta_error)
    assert (np.abs(biased.eta - free.eta) < 3 * error + 1e-3).all()
    assert abs(biased.mu[1]) > 5 * biased.mu_error[1]  # not just the disordered state


def test_guess_of_mu_aims():
    calculator = monte_carlo(repeat=(4, 4, 4))
    target = np.array([0.35, 0.15, 0.0, 0.0])
    first = calculator.sample(target)
    second = calculator.sample(target, mu=first.mu)
    assert np.abs(first.eta - target).max() > 0.02
    assert np.abs(second.eta - target).max() < np.abs(first.eta - target).max() / 2


@pytest.mark.skipif(not CASM.is_file(), reason="needs the published Monte Carlo points")
@pytest.mark.slow
def test_fitted_hamiltonian_against_published_runs():
    rows = np.loadtxt(CASM)
    rows = rows[(rows[:, 7] > 0.2) & (rows[:, 7] < 0.8)][::40]
    calculator = UmbrellaMC(
        lco.hamiltonian(lco.FITTED),
        zigzag(),
        temperature_K=300,
        phi=(50, 0.05),
        run_length=RunLength(precision=1e-3, max_sweeps=5000),
        rng=np.random.default_rng(2),
    )
    found = np.array([calculator.sample(kappa=row[:7]).mu[0] for row in rows])
    theirs = rows[:, 22]
    assert 1 - np.mean((found - theirs) ** 2) / theirs.var() > 0.99


def test_precision_and_limits():
    good = monte_carlo().sample([0.4, 0, 0, 0])
    assert good.converged
    assert good.eta_error.max() <= QUICK.precision
    assert np.allclose(good.mu_error, 2 * monte_carlo().phi * good.eta_error)
    short = RunLength(precision=1e-6, min_sweeps=200, max_sweeps=300)
    poor = monte_carlo(run_length=short).sample([0.4, 0, 0, 0])
    assert not poor.converged
    assert poor.sweeps == 300


def test_errors_are_those_of_repeated_runs():
    calculator = monte_carlo(run_length=RunLength(precision=5e-3, min_sweeps=500))
    samples = calculator.sample_many(np.tile([0.4, 0.1, 0, 0], (60, 1)))
    spread = np.std([s.eta for s in samples], axis=0, ddof=1)
    claimed = np.sqrt(np.mean([s.eta_error**2 for s in samples], axis=0))
    assert np.all(np.abs(spread / claimed - 1) < 0.35)


def test_many_windows_are_the_same_in_threads():
    points = l1_2().domain.centre + np.array([[0.0, 0, 0, 0], [0.1, 0, 0, 0], [0, 0.1, 0, 0]])
    alone = monte_carlo().sample_many(points)
    seen = []
    with ThreadPoolExecutor(2) as executor:
        together = monte_carlo().sample_many(
            points, executor=executor, on_sample=lambda i, s: seen.append((i, s.sweeps))
        )
    assert sorted(i for i, _ in seen) == [0, 1, 2]
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.eta, other.eta)


def test_a_bar_for_those_who_wait(capsys):
    points = np.full((2, 4), [0.4, 0.0, 0.0, 0.0])
    monte_carlo().sample_many(points)
    assert capsys.readouterr().out == ""
    monte_carlo().sample_many(points, progress=True)
    shown = capsys.readouterr().out
    assert "Monte Carlo" in shown
    assert "2/2" in shown


def test_properties_of_one_point_are_of_one_run():
    calculator = monte_carlo()
    point = [0.4, 0.1, 0, 0]
    mu, eta = calculator.get_property("mu", point), calculator.get_property("eta", point)
    kappa = np.array(point)
    assert np.allclose(mu, -2 * calculator.phi * (eta - kappa))
    kept = mu.copy()
    mu *= 0  # what was given away is a copy
    assert np.array_equal(calculator.get_property("mu", point), kept)
    calculator.temperature_K = 700
    assert not np.array_equal(calculator.get_property("mu", point), kept)
    with pytest.raises(ValueError, match="forces"):
        calculator.get_property("forces", point)


def test_wrong_input_is_named():
    lattice = l1_2().supercell.lattice
    orbit = find_orbits(lattice, [2.7])[1]
    lopsided = Hamiltonian(lattice, {orbit.clusters[0]: 0.1})
    with pytest.raises(ValueError, match="does not have the symmetry"):
        UmbrellaMC(lopsided, l1_2(), temperature_K=300, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="another lattice"):
        UmbrellaMC(lco.hamiltonian(), l1_2(), temperature_K=300, rng=np.random.default_rng(0))
    with pytest.raises(ValueError, match="finite number of eV, got nan"):
        Hamiltonian(lattice, {orbit.clusters[0]: np.nan})
    calculator = monte_carlo()
    with pytest.raises(ValueError, match="outside the domain"):
        calculator.sample([0.1, 0.4, 0, 0])
    with pytest.raises(ValueError, match="give one of them"):
        calculator.sample()
    with pytest.raises(ValueError, match="4 finite"):
        calculator.sample([0.5, 0, 0])
    with pytest.raises(ValueError, match="temperature"):
        monte_carlo(temperature_K=-1)
    with pytest.raises(ValueError, match="phi takes 2 or 4"):
        monte_carlo(phi=[1.0])
    with pytest.raises(ValueError, match="not negative"):
        monte_carlo(phi=[1.0, -1.0])
    with pytest.raises(ValueError, match="precision"):
        RunLength(precision=0)


def test_blocking_of_a_correlated_series(rng):
    # x_t = a x_(t-1) + noise: the error of the mean is known
    a, n = 0.9, 20_000
    noise = rng.normal(size=(n, 40))
    series = np.empty_like(noise)
    series[0] = noise[0] / np.sqrt(1 - a**2)
    for t in range(1, n):
        series[t] = a * series[t - 1] + noise[t]
    found = block_average(series)
    assert found.reliable
    assert np.sqrt(np.mean(found.error**2)) == pytest.approx(1 / ((1 - a) * np.sqrt(n)), rel=0.15)
    assert not block_average(series[:40]).reliable


def test_equilibration_finds_the_drift(rng):
    series = rng.normal(size=(2000, 2))
    assert equilibration(series) < 900
    series[:400, 1] += np.linspace(10, 0, 400)
    assert 300 <= equilibration(series) <= 1000


def hysteresis():
    """Temperatures at which order disappears on heating and comes back on cooling."""
    calculator = UmbrellaMC(
        lco.hamiltonian(),
        zigzag(),
        temperature_K=300,
        repeat=(4, 4, 4),
        run_length=RunLength(precision=5e-3, min_sweeps=1000, max_sweeps=3000),
        rng=np.random.default_rng(1),
    )
    up = np.arange(295, 336, 5.0)
    samples = calculator.sweep([*up, *up[::-1]], 0.0, start=zigzag().variants[0])
    order = np.array([s.order for s in samples])
    heating, cooling = order[: len(up)], order[len(up) :][::-1]
    assert heating[0] > 0.4 > 0.1 > heating[-1]
    return up[np.argmax(heating < 0.25)], up[np.argmax(cooling < 0.25)]


def depth(temperature, seed):
    """F(well) - F(disordered), eV per site, by integrating mu_1 at half filling.

    Taking the mean force for the force at the mean matters here: with 864 sites instead of 2048
    the transition comes out 8 K higher.
    """
    calculator = UmbrellaMC(
        lco.hamiltonian(),
        zigzag(),
        temperature_K=temperature,
        repeat=(4, 4, 4),
        run_length=RunLength(precision=2e-3, max_sweeps=8000),
        rng=np.random.default_rng(seed),
    )
    path = np.linspace(0, 0.5, 13)[1:-1]
    samples = calculator.sample_many(np.eye(7)[0] * 0.5 + path[:, None] * np.eye(7)[1])
    eta, mu = np.array([(0, 0), *((s.eta[1], s.mu[1]) for s in samples)]).T
    g = cumulative_trapezoid(mu, eta, initial=0)
    return g[eta > 0.3].min()


@pytest.mark.slow
def test_integrated_mu_gives_the_transition_of_the_hysteresis():
    low, high = depth(306.0, seed=4), depth(326.0, seed=5)
    assert low < 0 < high
    transition = 306 + 20 * low / (low - high)
    heating, cooling = hysteresis()
    assert abs(transition - (heating + cooling) / 2) <= 10


def test_a_frozen_window_is_no_label():
    """Perfect order far below its transition: no flip, no fluctuation, any guess would stay."""
    order = l1_2()
    calculator = monte_carlo(temperature_K=20)
    sample = calculator.sample(order.wells[0], start=order.variants[0])
    assert sample.sweeps < 10_000  # of 20,000 that it might take
    assert not sample.converged
    assert np.isinf(sample.eta_error).all()
    assert np.isinf(sample.mu_error).all()
    failed = []
    wanted = [Proposal(0, 0, "wells", order.wells[0], 20.0)]
    assert not measure(wanted, {20.0: calculator}, rng=calculator.rng, on_failure=failed.append)
    assert "order parameters [0, 1, 2, 3] did not move in" in failed[0].reason
    # without a bias it is an answer: the ground state
    ground = calculator.semigrand(np.zeros(4), start=order.variants[0])
    assert ground.acceptance == 0
    assert ground.converged
    # weights of LCO differ, and sums of equal ones do by rounding
    order = zigzag()
    cold = UmbrellaMC(lco.hamiltonian(), order, temperature_K=20, rng=np.random.default_rng(1))
    sample = cold.sample(order.wells[0], start=order.variants[0])
    assert np.isinf(sample.mu_error).all()


def test_zero_kelvin_is_no_default():
    calculator = monte_carlo()
    with pytest.raises(ValueError, match="a temperature is positive, got 0"):
        calculator.sample([0.4, 0, 0, 0], temperature_K=0)
    with pytest.raises(ValueError, match="a temperature is positive, got 0"):
        calculator.semigrand(0.0, temperature_K=0)


@pytest.fixture
def rng():
    return np.random.default_rng(11)
