"""Integrable networks: exact derivatives, symmetry, what they learn, and their files."""

import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from ase.units import kB
from free_energy_cases import b2, l1_2, root_three, zigzag
from free_energy_oracles import exact_points
from free_energy_surfaces import PolynomialG

from ase_hal.free_energy import (
    IDNN,
    LBFGS,
    Adam,
    Architecture,
    IDNNFit,
    IDNNSearch,
    IDNNSurface,
    LevenbergMarquardt,
    Surface,
    SurfaceCommittee,
    Training,
    billiard_walk,
    hessian_eigenvalues,
    idnn_surface,
)

pytest.importorskip("torch")

SHORT = Training(LBFGS(20))
SMALL = Architecture((8, 7), (5,))


def inside(order_parameters, n, seed=0):
    """Points of the domain, away from its walls."""
    points = billiard_walk(order_parameters.domain, n, rng=np.random.default_rng(seed))
    return order_parameters.domain.centre + 0.9 * (points - order_parameters.domain.centre)


def truth(order_parameters, seed=1):
    """A free energy with the symmetry of order parameters."""
    invariants = order_parameters.invariants(4)
    coefficients = np.random.default_rng(seed).normal(size=len(invariants)) / 10
    return PolynomialG(invariants, coefficients)


def trained(case=zigzag, *, seed=2, n=40, temperature_K=300.0, idnn=None, **changes):
    """A surface that was trained a little: enough for all that holds for any parameters."""
    found = case()
    settings = {"architecture": SMALL, "training": SHORT} | changes
    idnn = idnn or IDNN(found.invariants(6 if case is zigzag else 4), **settings)
    eta = inside(found, n)
    mu = truth(found).chemical_potentials(eta)
    return idnn.fit(eta, mu, temperature_K=temperature_K, rng=np.random.default_rng(seed))


def several_temperatures(n=40):
    return np.linspace(250, 400, n)


VARIANTS = {
    "split": {},
    "plain": {"architecture": Architecture((8,), ())},
    "gelu": {"architecture": Architecture((8, 7), (5,), "gelu")},
    "silu": {"architecture": Architecture((8, 7), (5,), "silu")},
    "tanh": {"architecture": Architecture((8, 7), (5,), "tanh")},
    "no mixing": {"mixing": "none"},
    "sublattices": {"mixing": zigzag().inverse},
    "temperature": {"temperature_K": several_temperatures()},
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_derivatives_are_exact(variant):
    surface = trained(**VARIANTS[variant])
    kelvin = 320.0 if surface.temperature_is_input else None
    eta = inside(zigzag(), 6, seed=5)
    step = 3e-6 * np.eye(7)
    numerical = lambda f: np.stack(  # noqa: E731
        [(f(eta + h, kelvin) - f(eta - h, kelvin)) / 6e-6 for h in step], axis=-1
    )
    mu, hessian = surface.chemical_potentials(eta, kelvin), surface.hessian(eta, kelvin)
    assert np.abs(numerical(surface.free_energy) - mu).max() < 1e-7 * np.abs(mu).max()
    curvature = numerical(surface.chemical_potentials)
    assert np.abs(curvature - hessian).max() < 1e-7 * np.abs(hessian).max()
    assert np.array_equal(hessian, hessian.transpose(0, 2, 1))
    assert np.ptp(hessian) > 1e-3


def test_hessian_is_that_of_automatic_differentiation():
    import torch

    surface = trained(mixing=zigzag().inverse)
    point = inside(zigzag(), 1, seed=7)
    kelvin = torch.tensor([300.0], dtype=torch.float64)
    expected = torch.func.hessian(lambda e: surface.model(e[None], kelvin)[0][0])(
        torch.as_tensor(point[0])
    )
    assert np.allclose(surface.hessian(point)[0], expected.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", [zigzag, l1_2, root_three])
def test_symmetry(case):
    surface, eta = trained(case), inside(case(), 5, seed=3)
    g, mu = surface.free_energy(eta), surface.chemical_potentials(eta)
    for m in case().group:
        assert np.abs(surface.free_energy(eta @ m.T) - g).max() < 1e-10
        assert np.abs(surface.chemical_potentials(eta @ m.T) - mu @ m.T).max() < 1e-10


def test_a_surface_is_one_and_the_empty_lattice_is_its_zero():
    surface = trained()
    assert isinstance(surface, Surface)
    assert surface.free_energy(np.zeros((1, 7)))[0] == 0
    warm = trained(temperature_K=several_temperatures())
    assert np.abs(warm.free_energy(np.zeros((3, 7)), np.array([260, 300, 380.0]))).max() == 0
    with pytest.raises(ValueError, match="depends on temperature"):
        warm.free_energy(np.zeros((1, 7)))
    with pytest.raises(ValueError, match="one at 300 K only"):
        surface.free_energy(np.zeros((1, 7)), 310)
    with pytest.raises(ValueError, match="no entropy"):
        surface.entropy(np.zeros((1, 7)), 300)


def test_mixing_is_smooth_beyond_the_walls():
    """Means of Monte Carlo leave the domain by as much as 0.013 of an occupation."""
    import torch

    from ase_hal.free_energy.ideal_mixing import IdealMixing, mixing_function
    from ase_hal.free_energy.idnn_network import Mixing

    x = np.array([-0.02, 0.0, 0.01 - 1e-7, 0.01, 0.01 + 1e-7, 0.5, 0.995, 1.013])
    value, first, second = mixing_function(x)
    numerical = [
        (mixing_function(x + 1e-6)[i] - mixing_function(x - 1e-6)[i]) / 2e-6 for i in (0, 1)
    ]
    assert np.allclose(numerical, [first, second], rtol=1e-3)
    assert np.allclose(value[3:6], x[3:6] * np.log(x[3:6]) + (1 - x[3:6]) * np.log(1 - x[3:6]))
    assert np.abs(first).max() < 10
    found = zigzag()
    eta = np.concatenate([inside(found, 5), found.domain.centre + 1.03 * (found.wells - 0.5)])
    assert (eta @ found.inverse.T).min() < -0.01
    theirs = IdealMixing(found.inverse)
    mine = Mixing(torch.as_tensor(found.inverse), torch.full((32,), 1 / 32).double())
    kelvin, points = np.full(len(eta), 1 / kB), torch.as_tensor(eta)
    assert np.allclose(theirs.free_energy(eta, kelvin), mine(points)[0])
    assert np.allclose(theirs.chemical_potentials(eta, kelvin), mine(points)[1])
    assert np.allclose(theirs.hessian(eta, kelvin), mine.curvature(points))


def test_points_beyond_the_walls_spoil_nothing():
    from ase_hal.free_energy.ideal_mixing import IdealMixing

    found = l1_2()
    centre, out = found.domain.centre, found.wells - found.domain.centre
    new = inside(found, 60, seed=9)
    eta = np.concatenate([inside(found, 80), centre + 1.026 * out, new])
    assert (eta @ found.inverse.T).min() < -0.01
    # what Monte Carlo says of points beyond the walls is what holds a little inside
    held = np.concatenate([eta[:80], centre + 0.99 * out, new])
    mu = truth(found).chemical_potentials(eta)
    mu += IdealMixing(found.inverse).chemical_potentials(held, np.full(len(eta), 300.0))
    training = Training(LBFGS(200), validation=0)
    idnn = IDNN(found.invariants(4), training=training, mixing=found.inverse)
    surface = idnn.fit(eta[:84], mu[:84], temperature_K=300, rng=np.random.default_rng(1))
    difference = surface.chemical_potentials(new) - mu[84:]
    assert difference.std() < 0.1 * mu[84:].std()


class Heated:
    """A Hessian that is the temperature of each point."""

    dimension = 2

    def hessian(self, eta, temperature_K=None):
        return np.eye(2) * np.broadcast_to(temperature_K, len(eta))[:, None, None]


def test_eigenvalues_at_a_temperature_for_each_point():
    kelvin = np.arange(1.0, 24.0)
    eta = np.zeros((len(kelvin), 2))
    found = hessian_eigenvalues(Heated(), eta, kelvin, chunk=7)
    assert np.array_equal(found, np.column_stack([kelvin, kelvin]))
    assert np.array_equal(hessian_eigenvalues(Heated(), eta, 5.0, chunk=7), np.full((23, 2), 5.0))


def test_chunks_change_nothing(monkeypatch):
    surface, eta = trained(), inside(zigzag(), 50, seed=4)
    whole = surface.free_energy(eta), surface.chemical_potentials(eta), surface.hessian(eta)
    eigenvalues = hessian_eigenvalues(surface, eta)
    monkeypatch.setattr(idnn_surface, "CHUNK", 7)
    pieces = surface.free_energy(eta), surface.chemical_potentials(eta), surface.hessian(eta)
    for one, other in zip(whole, pieces, strict=True):
        assert np.allclose(one, other, rtol=1e-12, atol=1e-14)
    assert np.allclose(hessian_eigenvalues(surface, eta, chunk=11), eigenvalues, atol=1e-12)
    assert np.allclose(eigenvalues, np.linalg.eigvalsh(whole[2]), atol=1e-12)
    assert surface.hessian(np.empty((0, 7))).shape == (0, 7, 7)


def test_a_known_free_energy_is_found():
    found = root_three()
    polynomial = truth(found)
    eta = inside(found, 150)
    thermal = kB * 300 * np.log(eta[:, 0] / (1 - eta[:, 0]))
    mu = polynomial.chemical_potentials(eta)
    mu[:, 0] += thermal
    idnn = IDNN(found.invariants(4), training=Training(LevenbergMarquardt(40)))
    surface = idnn.fit(eta, mu, temperature_K=300, rng=np.random.default_rng(3))
    new = inside(found, 100, seed=9)
    expected = polynomial.free_energy(new) + kB * 300 * sum(
        x * np.log(x) for x in (new[:, 0], 1 - new[:, 0])
    )
    difference = surface.free_energy(new) - expected
    assert difference.std() < 0.01 * expected.std()
    hessian = polynomial.hessian(new)
    hessian[:, 0, 0] += kB * 300 / (new[:, 0] * (1 - new[:, 0]))
    assert np.sqrt(np.mean((surface.hessian(new) - hessian) ** 2)) < 0.1 * hessian.std()


def test_entropy_from_several_temperatures():
    """g = E - T S with the entropy of ideal mixing, which the networks have to find."""
    found = b2()
    eta = inside(found, 200)
    temperatures = np.tile([250.0, 300.0, 350.0, 400.0], 50)
    polynomial = truth(found)
    mu = polynomial.chemical_potentials(eta)
    mu[:, 0] += kB * temperatures * np.log(eta[:, 0] / (1 - eta[:, 0]))
    idnn = IDNN(found.invariants(4), training=Training(LBFGS(300)), mixing="none")
    surface = idnn.fit(eta, mu, temperature_K=temperatures, rng=np.random.default_rng(4))
    x = np.array([0.2, 0.35, 0.5, 0.65, 0.8])
    points = np.column_stack([x, np.zeros(5)])
    # from one composition to another; zero is far from all points without the mixing term
    entropy = surface.entropy(points, 320)
    expected = -kB * (x * np.log(x) + (1 - x) * np.log(1 - x))
    assert np.allclose(entropy - entropy[2], expected - expected[2], atol=0.05 * kB)
    warm, cold = (surface.free_energy(points, 320 + dT) for dT in (0.01, -0.01))
    assert np.allclose((cold - warm) / 0.02, entropy, rtol=1e-5)


def test_the_same_generator_gives_the_same_bits():
    one, same, other = trained(seed=2), trained(seed=2), trained(seed=3)
    eta = inside(zigzag(), 5)
    assert np.array_equal(one.hessian(eta), same.hessian(eta))
    assert not np.allclose(one.hessian(eta), other.hessian(eta))


def test_points_without_weight_do_not_count():
    found = b2()
    eta = inside(found, 60)
    mu = truth(found).chemical_potentials(eta)
    weights = np.ones(60)
    weights[::3] = 0
    spoiled = mu + np.where(weights[:, None] == 0, 1e-3, 0)
    idnn = IDNN(found.invariants(4), training=Training(LBFGS(300), validation=0))
    surface = idnn.fit(
        eta, spoiled, temperature_K=300, weights=weights, rng=np.random.default_rng(0)
    )
    error = np.abs(surface.chemical_potentials(eta) - mu)[weights > 0]
    assert np.sqrt(np.mean(error**2)) < 2e-4


def test_training_stops_when_validation_gets_no_better():
    found = l1_2()
    eta = inside(found, 30)
    noise = np.random.default_rng(0).normal(size=eta.shape)
    training = Training(LBFGS(2000), validation=0.3, patience=30)
    idnn = IDNN(found.invariants(4), training=training)
    history = idnn.fit(eta, noise, temperature_K=300, rng=np.random.default_rng(1)).history
    assert history.iterations < 2000
    assert history.iterations - history.best >= 30
    assert history.training_loss < history.validation_loss
    assert np.isnan(trained(training=Training(LBFGS(20), validation=0)).history.validation_loss)


def test_going_on_from_a_trained_surface():
    found = root_three()
    eta = inside(found, 80)
    mu = truth(found).chemical_potentials(eta)
    idnn = IDNN(found.invariants(4), training=Training(LBFGS(50), validation=0))
    kwargs = {"temperature_K": 300, "rng": np.random.default_rng(1)}
    first = idnn.fit(eta, mu, **kwargs)
    second = idnn.fit(eta, mu, **kwargs, start=first)
    assert second.history.training_loss < first.history.training_loss
    for other, changes, message in (
        (IDNN(found.invariants(4), Architecture((3,))), {}, "other networks"),
        (IDNN(found.invariants(6)), {}, "other invariants"),
        (IDNN(found.invariants(4), mixing="none"), {}, "another mixing term"),
        (idnn, {"temperature_K": 310}, "trained at 300 K only, not at 310 to 310 K"),
    ):
        with pytest.raises(ValueError, match=message):
            other.fit(eta, mu, **(kwargs | changes), start=first)


@pytest.mark.parametrize("changes", [{}, {"dropout": 0.1}])
@pytest.mark.parametrize("loss", ["squared", "huber"])
def test_adam(changes, loss):
    training = Training(Adam(60, 1e-2, 16, **changes), loss=loss, weight_decay=1e-8)
    history = trained(b2, n=64, training=training).history
    short = trained(b2, n=64, training=Training(Adam(1, 1e-2, 16, **changes), loss=loss)).history
    assert history.training_loss < 0.3 * short.training_loss


def test_files(tmp_path):
    for surface in (trained(), trained(temperature_K=several_temperatures())):
        kelvin = 300 if surface.temperature_is_input else None
        eta = inside(zigzag(), 5)
        surface.write(tmp_path / "surface.npz")
        for copy in (
            IDNNSurface.read(tmp_path / "surface.npz"),
            pickle.loads(pickle.dumps(surface)),
        ):
            assert np.array_equal(copy.hessian(eta, kelvin), surface.hessian(eta, kelvin))
            assert np.array_equal(copy.free_energy(eta, kelvin), surface.free_energy(eta, kelvin))
            assert copy.history == surface.history
        first = (tmp_path / "surface.npz").read_bytes()
        surface.write(tmp_path / "surface.npz")
        assert (tmp_path / "surface.npz").read_bytes() == first


def test_files_that_are_none(tmp_path):
    path = tmp_path / "surface.npz"
    surface = trained()
    surface.write(path)
    content = path.read_bytes()
    for damaged in (b"", b"PK", b"text", content[:1000], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="damaged"):
            IDNNSurface.read(path)
    np.savez(path, a=np.zeros(3))
    with pytest.raises(ValueError, match="no IDNN surface"):
        IDNNSurface.read(path)
    np.savez(path, header=np.array([{"format": "x"}], dtype=object))
    with pytest.raises(ValueError, match="damaged or no file of arrays"):
        IDNNSurface.read(path)
    path.write_bytes(content)
    arrays = dict(np.load(path))
    for name in ("coefficients", "constants/scale", "parameters/whole.output"):
        np.savez(path, **{k: v for k, v in arrays.items() if k != name})
        with pytest.raises(ValueError, match="not a complete IDNN surface"):
            IDNNSurface.read(path)
    np.savez(path, **(arrays | {"parameters/whole.output": np.full(7, np.nan)}))
    with pytest.raises(ValueError, match="not finite"):
        IDNNSurface.read(path)
    np.savez(path, **(arrays | {"parameters/whole.output": np.zeros(9)}))
    with pytest.raises(ValueError, match="parameters are not those"):
        IDNNSurface.read(path)
    with pytest.raises(ValueError, match="ends in .npz"):
        surface.write(tmp_path / "surface.pt")


def test_committee():
    found = l1_2()
    eta = inside(found, 40)
    mu = truth(found).chemical_potentials(eta)
    idnn = IDNN(found.invariants(4), SMALL, SHORT)
    committee = idnn.fit_committee(
        eta, mu, n_members=3, temperature_K=300, rng=np.random.default_rng(0)
    )
    assert isinstance(committee, Surface)
    members = [m.chemical_potentials(eta) for m in committee.members]
    mean = sum(members) / 3
    assert np.allclose(committee.chemical_potentials(eta), mean)
    expected = sum(((m - mean) ** 2).sum(axis=1) for m in members) / 3  # Eqs. 10 to 12
    assert np.allclose(committee.disagreement(eta), expected)
    assert expected.min() > 0
    alone = SurfaceCommittee(committee.members[:1])
    assert np.array_equal(alone.disagreement(eta), np.zeros(40))
    with pytest.raises(ValueError, match="at least one"):
        SurfaceCommittee(())


def test_search():
    pytest.importorskip("optuna")
    from ase_hal.free_energy.idnn_search import SearchSpace, search

    found = b2()
    eta = inside(found, 60)
    mu = truth(found).chemical_potentials(eta)
    idnn = IDNN(found.invariants(4), Architecture((2,), ()), SHORT)
    seen = []
    options = {"temperature_K": 300, "n_trials": 4, "space": SearchSpace(width=(5, 9))}
    result = search(
        idnn,
        eta,
        mu,
        **options,
        rng=np.random.default_rng(0),
        on_trial=lambda i, t: seen.append(t.error),
    )
    again = search(idnn, eta, mu, **options, rng=np.random.default_rng(0))
    assert [t.error for t in again.trials] == [t.error for t in result.trials] == sorted(seen)
    assert result.best.error == min(seen)
    assert all(5 <= w <= 9 for t in result.trials if t.idnn is not idnn for w in _widths(t))
    assert len(result.committee(3).members) == 3
    training = Training(Adam(3))
    adam = search(
        IDNN(found.invariants(4), SMALL, training),
        eta,
        mu,
        **(options | {"sampler": "tpe"}),
        rng=np.random.default_rng(0),
    )
    assert len({t.idnn.training.optimizer for t in adam.trials}) == 4
    with pytest.raises(ValueError, match="a search needs trials"):
        search(idnn, eta, mu, **(options | {"n_trials": 0}), rng=np.random.default_rng(0))


def test_a_search_outlives_bad_trials(monkeypatch):
    pytest.importorskip("optuna")
    from ase_hal.free_energy.idnn_search import search

    found = b2()
    eta = inside(found, 6)
    mu = truth(found).chemical_potentials(eta)
    idnn = IDNN(found.invariants(4), Architecture((2,), ()), SHORT)
    fit, calls = IDNN.fit, []

    def failing(self, *arguments, **options):
        calls.append(self)
        if len(calls) == 2:
            raise RuntimeError("the loss was never finite")
        surface = fit(self, *arguments, **options)
        if len(calls) == 3:
            bias = surface.parameters["whole.biases.0"]
            return replace(
                surface, parameters=surface.parameters | {"whole.biases.0": bias * np.nan}
            )
        return surface

    monkeypatch.setattr(IDNN, "fit", failing)
    options = {"temperature_K": 300, "rng": np.random.default_rng(0)}
    result = search(idnn, eta, mu, n_trials=4, **options)
    assert {id(t.idnn) for t in result.trials} == {id(calls[0]), id(calls[3])}
    monkeypatch.setattr(IDNN, "fit", lambda *a, **k: failing(*a[:1]))
    calls[:] = calls[:1]
    with pytest.raises(RuntimeError, match="all 1 trials of a search failed"):
        search(idnn, eta, mu, n_trials=1, **options)


def test_a_found_fit_keeps_its_members():
    pytest.importorskip("optuna")
    found = b2()
    points = exact_points(truth(found), inside(found, 30))
    fit = IDNNFit(IDNN(found.invariants(4), SMALL, SHORT), members=2, weigh_errors=True)
    result = IDNNSearch(3, 2)(points, fit, rng=np.random.default_rng(4))
    assert (result.fit.members, result.fit.weigh_errors) == (2, True)
    assert result.improved == (result.fit.idnn is not fit.idnn)
    assert len(result.committee.members) == 2
    with pytest.raises(TypeError, match="those of an IDNNFit, got function"):
        IDNNSearch()(points, lambda points, rng: None, rng=np.random.default_rng(4))


def test_members_are_the_same_side_by_side():
    found = b2()
    points = exact_points(truth(found), inside(found, 30))
    one, two = (
        IDNNFit(IDNN(found.invariants(4), SMALL, SHORT), members=2, workers=workers)(
            points, rng=np.random.default_rng(4)
        )
        for workers in (1, 2)
    )
    assert np.array_equal(one.free_energy(points.eta), two.free_energy(points.eta))
    with pytest.raises(ValueError, match="members and workers are 1 or more, got 0 and 1"):
        IDNNFit(IDNN(found.invariants(4)), members=0)


def test_torch_has_one_thread(monkeypatch):
    """Whatever was set before: more cost time, and sums depend on their number."""
    import torch

    from ase_hal.free_energy import idnn_training

    seen, train = [], idnn_training.train

    def watched(*arguments, **options):
        seen.append(torch.get_num_threads())
        return train(*arguments, **options)

    monkeypatch.setattr(idnn_training, "train", watched)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        trained()
        assert (seen, torch.get_num_threads()) == ([1], 2)
    finally:
        torch.set_num_threads(before)


def _widths(trial):
    return trial.idnn.architecture.hidden


def test_wrong_input_is_named():
    found = b2()
    idnn = IDNN(found.invariants(4), SMALL, SHORT)
    eta = inside(found, 10)
    mu = truth(found).chemical_potentials(eta)
    rng = np.random.default_rng(0)
    for bad, message in (
        ({"eta": eta[:, :1]}, r"points \(n, 2\)"),
        ({"mu": mu[:5]}, "as many mu"),
        ({"mu": np.where(np.arange(10)[:, None] == 4, np.nan, mu)}, "in row 4"),
        ({"eta": np.where(np.arange(10)[:, None] == 3, np.inf, eta)}, "in row 3"),
        ({"temperature_K": -1}, "positive temperature"),
        ({"temperature_K": [300, 310]}, "or 10 are needed"),
        ({"weights": np.zeros(10)}, "all weights are zero"),
        ({"weights": -np.ones(10)}, "not negative"),
        ({"eta": eta[:1], "mu": mu[:1]}, "at least two"),
        ({"mu": 0 * mu}, "nothing to learn"),
    ):
        arguments = {"eta": eta, "mu": mu, "temperature_K": 300, "rng": rng} | bad
        with pytest.raises(ValueError, match=message):
            idnn.fit(arguments.pop("eta"), arguments.pop("mu"), **arguments)
    with pytest.raises(TypeError, match="Generator"):
        idnn.fit(eta, mu, temperature_K=300, rng=1)
    with pytest.raises(ValueError, match="activation is one of"):
        Architecture(activation="relu")
    with pytest.raises(ValueError, match="at least one hidden layer"):
        Architecture(())
    with pytest.raises(ValueError, match="positive widths"):
        Architecture((0,))
    with pytest.raises(ValueError, match="fraction below 1"):
        Training(validation=1)
    with pytest.raises(ValueError, match="mixing is"):
        IDNN(found.invariants(4), mixing="ideal")


def test_importing_does_not_need_torch():
    script = (
        "import sys, ase_hal.free_energy as f; f.IDNN, f.IDNNSurface, f.SurrogateMC, f.on_grid; "
        "print(sorted({'torch', 'optuna', 'xarray'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_without_torch_the_extra_is_named(monkeypatch):
    for name in [n for n in sys.modules if n.startswith("ase_hal.free_energy.idnn_")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"ase-hal\[torch\]"):
        IDNN(b2().invariants(4)).fit(
            [[0.2, 0.0], [0.3, 0.0]], np.eye(2), temperature_K=300, rng=np.random.default_rng(0)
        )
