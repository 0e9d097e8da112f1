"""Samplers and surfaces that threads share: with generators of their own, each is as if alone."""

import copy
import pickle
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from importlib.util import find_spec

import numpy as np
import pytest
from free_energy_cases import alloy, l1_2, zigzag
from free_energy_oracles import Landau, exact_points

from ase_hal.free_energy import (
    IDNN,
    LBFGS,
    Architecture,
    Candidates,
    OrderParameters,
    PolynomialFit,
    RunLength,
    SurfaceCommittee,
    SurrogateMC,
    Training,
    UmbrellaMC,
    billiard_walk,
)
from ase_hal.parallel import import_torch, one_torch_thread

needs_torch = pytest.mark.skipif(find_spec("torch") is None, reason="needs ase-hal[torch]")
RUN = RunLength(precision=5e-3, min_sweeps=200, max_sweeps=1000)


@pytest.fixture(autouse=True)
def frequent_switches():
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


def generator(i):
    return np.random.default_rng(100 + i)


def points(n, found=None):
    found = found or l1_2()
    inside = billiard_walk(found.domain, n, rng=np.random.default_rng(0))
    return found.domain.centre + 0.8 * (inside - found.domain.centre)


def monte_carlo(seed=3):
    return UmbrellaMC(
        alloy(), l1_2(), temperature_K=600, phi=(0.5, 0.3), repeat=(2, 2, 1), run_length=RUN,
        rng=np.random.default_rng(seed),
    )  # fmt: skip


def polynomial_surface():
    eta = billiard_walk(l1_2().domain, 60, rng=np.random.default_rng(1))
    fit = PolynomialFit(l1_2(), degree=4, composition_degree=3, members=3)
    return fit(exact_points(Landau(4, x0=0.25), eta), rng=np.random.default_rng(2))


def surrogate(seed=0):
    return SurrogateMC(
        polynomial_surface(), l1_2(), temperature_K=300, phi=(5.0, 0.5), precision=1e-3,
        rng=np.random.default_rng(seed),
    )  # fmt: skip


def bits(sample):
    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
    del values["ensemble"]
    return {name: np.asarray(value, dtype=float).tobytes() for name, value in values.items()}


def from_threads(function, items):
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(function, items))


@pytest.mark.parametrize("make", [monte_carlo, surrogate])
def test_windows(make):
    eta = points(24)
    ask = lambda calculator: lambda i: bits(calculator.sample(eta[i], rng=generator(i)))  # noqa: E731
    expected = list(map(ask(make()), range(len(eta))))
    assert len({e["eta"] for e in expected}) == len(eta)
    assert from_threads(ask(make()), range(len(eta))) == expected

    def own(i):
        return bits(calculator.with_generator(generator(i)).sample(eta[i]))

    calculator = make()
    assert from_threads(own, range(len(eta))) == expected


def test_runs_without_a_bias():
    def run(calculator, i):
        mu = np.linspace(-0.2, 0.2, 12)[i % 12]
        if i % 2:
            return [bits(s) for s in calculator.sweep([700.0, 500.0], mu, rng=generator(i))]
        return [bits(calculator.semigrand(mu, rng=generator(i)))]

    alone, shared = monte_carlo(), monte_carlo()
    expected = [run(alone, i) for i in range(16)]
    assert from_threads(lambda i: run(shared, i), range(16)) == expected
    # the generator of the calculator was not touched
    assert bits(shared.semigrand(0.1)) == bits(monte_carlo().semigrand(0.1))


def test_many_windows_whatever_the_executor():
    eta = points(12)
    expected = [bits(s) for s in monte_carlo().sample_many(eta)]
    with ThreadPoolExecutor(4) as pool:
        found = monte_carlo().sample_many(eta, executor=pool)
    assert [bits(sample) for sample in found] == expected


@pytest.mark.parametrize("make", [monte_carlo, surrogate])
def test_properties_of_one_point_are_of_one_run(make):
    calculator, eta = make(), points(4)
    names = calculator.implemented_properties

    def asked(i):
        return [np.asarray(calculator.get_property(name, eta[0])).tobytes() for name in names]

    found = from_threads(asked, range(12))
    assert all(said == found[0] for said in found)
    # and of the point that was asked about, where each thread has another
    alone = {name: np.asarray(calculator.get_property(name, eta[1])) for name in names}
    assert not np.array_equal(alone["eta"], np.frombuffer(found[0][0]))

    def near(i):
        return calculator.get_property("eta", eta[i % 4])

    for i, said in enumerate(from_threads(near, range(16))):
        assert np.argmin(np.linalg.norm(eta - said, axis=1)) == i % 4


def test_calculators_can_be_copied_and_pickled_after_use():
    calculator, eta = monte_carlo(), points(1)[0]
    mu = calculator.get_property("mu", eta)
    for other in (copy.copy(calculator), pickle.loads(pickle.dumps(calculator))):
        assert np.array_equal(other.get_property("mu", eta), mu)
        other.get_property("mu", eta / 2)
    assert np.array_equal(calculator.get_property("mu", eta), mu)


def test_walks_and_order_parameters():
    """What they work out when they are first asked is the same for all threads."""

    def made():
        found = zigzag()
        values = {field.name: getattr(found, field.name) for field in fields(found)}
        return OrderParameters(**values)

    def asked(found, i):
        walked = billiard_walk(found.domain, 50, rng=generator(i))
        occupations = generator(i).integers(0, 2, size=(5, found.n_sites))
        parts = (walked, found(occupations), found.wells, found.images(walked, rng=generator(i)))
        return [part.tobytes() for part in parts]

    alone = made()
    expected = [asked(alone, i) for i in range(20)]
    shared = made()
    assert from_threads(lambda i: asked(shared, i), range(20)) == expected


def surfaces():
    yield "polynomial", polynomial_surface
    yield "polynomial committee", lambda: SurfaceCommittee(polynomial_surface().members)
    if find_spec("torch") is not None:
        yield "network", network
        yield "network committee", network_committee


def idnn():
    training = Training(LBFGS(15))
    return IDNN(l1_2().invariants(4), architecture=Architecture((8, 7), (5,)), training=training)


def network(seed=2):
    eta = points(40)
    mu = polynomial_surface().chemical_potentials(eta)
    return idnn().fit(eta, mu, temperature_K=300.0, rng=np.random.default_rng(seed))


def network_committee(executor=None):
    eta = points(40)
    mu = polynomial_surface().chemical_potentials(eta)
    return idnn().fit_committee(
        eta, mu, n_members=3, temperature_K=300.0, rng=np.random.default_rng(4), executor=executor
    )


@pytest.mark.parametrize("make", [s[1] for s in surfaces()], ids=[s[0] for s in surfaces()])
def test_surfaces(make):
    alone = make()
    shared, many = pickle.loads(pickle.dumps(alone)), points(400)

    def asked(surface, i):
        eta = many[7 * i : 7 * i + 5]
        values = [f(eta) for f in (surface.free_energy, surface.chemical_potentials)]
        values.append(surface.hessian(eta))
        if isinstance(surface, SurfaceCommittee):
            values.append(surface.disagreement(eta))
        return [value.tobytes() for value in values]

    expected = [asked(alone, i) for i in range(50)]
    assert from_threads(lambda i: asked(shared, i), range(50)) == expected


def test_candidates_are_asked_about_once_for_all():
    candidates = Candidates(points(200), polynomial_surface())
    expected = replace(candidates).eigenvalues
    found = from_threads(lambda i: (candidates.eigenvalues, candidates.slope), range(8))
    assert all(np.array_equal(values, expected) for values, _ in found)


@needs_torch
def test_networks_trained_side_by_side():
    alone = [network(seed) for seed in range(4)]
    together = from_threads(network, range(4))
    for one, other in zip(alone, together, strict=True):
        assert {k: v.tobytes() for k, v in one.parameters.items()} == {
            k: v.tobytes() for k, v in other.parameters.items()
        }
    with ThreadPoolExecutor(3) as pool:
        committee = network_committee(pool)
    eta = points(20)
    assert committee.free_energy(eta).tobytes() == network_committee().free_energy(eta).tobytes()


@needs_torch
def test_torch_has_its_threads_back_whoever_leaves_first():
    torch = import_torch()
    torch.set_num_threads(2)
    entered, leave, seen = threading.Event(), threading.Event(), []

    def short():
        """Enters while another one is in, and leaves after it."""
        with one_torch_thread(), one_torch_thread():
            seen.append(torch.get_num_threads())
            entered.set()
            leave.wait(10)
        seen.append(torch.get_num_threads())

    with ThreadPoolExecutor(1) as pool:
        with one_torch_thread():
            with one_torch_thread():
                done = pool.submit(short)
                assert entered.wait(10)
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
        leave.set()
        done.result(timeout=10)
    assert seen == [1, 2]
    assert from_threads(lambda _: (time.sleep(0.01), torch.get_num_threads())[1], range(4)) == [
        2, 2, 2, 2,
    ]  # fmt: skip
