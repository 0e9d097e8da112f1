"""Levenberg-Marquardt training of networks: its derivatives, and what it reaches."""

from dataclasses import replace

import numpy as np
import pytest
from free_energy_cases import l1_2, zigzag
from free_energy_surfaces import CASM, PolynomialG, casm_points

from ase_hal.free_energy import (
    IDNN,
    LBFGS,
    Adam,
    Architecture,
    LevenbergMarquardt,
    Training,
    billiard_walk,
)

torch = pytest.importorskip("torch")

from ase_hal.free_energy.idnn_layers import Layers  # noqa: E402
from ase_hal.free_energy.idnn_levenberg import normal_equations  # noqa: E402
from ase_hal.free_energy.idnn_network import build  # noqa: E402
from ase_hal.free_energy.idnn_training import Batch, Objective, finish, train  # noqa: E402


def problem(n=30, **changes):
    """Points of a polynomial free energy of L1_2, their potentials, and networks to be trained."""
    found, rng = l1_2(), np.random.default_rng(0)
    invariants = found.invariants(4)
    eta = billiard_walk(found.domain, n, rng=rng)
    eta = found.domain.centre + 0.9 * (eta - found.domain.centre)
    truth = PolynomialG(invariants, rng.normal(size=len(invariants)) / 10)
    idnn = IDNN(invariants, **{"architecture": Architecture((6, 5), (9,))} | changes)
    return idnn, eta, truth.chemical_potentials(eta)


@pytest.mark.parametrize("activation", ["softplus", "gelu", "silu", "tanh"])
@pytest.mark.parametrize("hidden", [(4,), (4, 3), (3, 4, 2)])
def test_slopes_by_parameters_are_those_of_automatic_differentiation(hidden, activation):
    rng = np.random.default_rng(1)
    layers = Layers(2, hidden, activation)
    layers.draw(rng=rng)
    x = torch.as_tensor(rng.normal(size=(5, 2)))
    along = torch.as_tensor(rng.normal(size=(5, 3, 2)))
    found = layers.parameter_slopes(x, along)
    _, slopes = layers(x)
    sums = torch.einsum("ndk,nk->nd", along, slopes)
    for n in range(5):
        for d in range(3):
            exact = torch.autograd.grad(
                sums[n, d], list(layers.parameters()), retain_graph=True, allow_unused=True
            )
            for (name, p), expected in zip(layers.named_parameters(), exact, strict=True):
                known = torch.zeros_like(p) if expected is None else expected
                assert torch.allclose(found[name][n, d], known.reshape(-1), atol=1e-12), name


@pytest.mark.parametrize("points", [8, 400])
def test_fine_units_bend_at_equal_distances_as_steeply_as_points_allow(points):
    layers = Layers(3, (64,), "softplus")
    layers.draw(rng=np.random.default_rng(4), fine=2, bends=points // 5)
    steepness = np.linalg.norm(layers.weights[0].detach().numpy()[:, :2], axis=1)
    assert np.allclose(steepness, 8.0 if points == 400 else 1.0)
    one = Layers(1, (64,), "softplus")
    one.draw(rng=np.random.default_rng(4), fine=1, bends=64)
    places = np.sort(-one.biases[0].detach().numpy() / one.weights[0].detach().numpy()[:, 0])
    assert np.allclose(np.diff(places), 3.6 / 63)


@pytest.mark.parametrize("kelvin", [300.0, np.linspace(250, 400, 300)], ids=["one", "many"])
@pytest.mark.parametrize("trivial", [(), (9,)], ids=["plain", "split"])
def test_normal_equations_are_of_the_loss(kelvin, trivial):
    """The gradient of the loss is 2 J^T r; its second derivative where r = 0 is 2 J^T J."""
    rng = np.random.default_rng(2)
    idnn, eta, mu = problem(300, architecture=Architecture((6, 5), trivial))
    kelvin = np.full(300, kelvin)
    model = build(idnn.invariants, idnn.architecture, idnn._constants(eta, mu, kelvin))
    for network in (model.whole, model.trivial):
        if network is not None:
            network.draw(rng=rng)
    batch = Batch.of(model, eta, mu, kelvin, rng.uniform(0.1, 1, 300))
    objective = Objective(model, Training(), torch.as_tensor(mu.std(axis=0)))
    _, gradient = normal_equations(objective, batch)
    exact = torch.autograd.grad(objective(batch), list(model.parameters()))
    assert np.allclose(2 * gradient, torch.cat([g.reshape(-1) for g in exact]), rtol=1e-9)
    with torch.no_grad():  # a target that the model meets
        _, by_x, _ = model.network(batch.x, batch.t)
        met = replace(batch, target=torch.einsum("nk,nkd->nd", by_x, batch.slopes))
    normal, gradient = normal_equations(objective, met)
    assert np.abs(gradient).max() == 0
    start = torch.nn.utils.parameters_to_vector(model.parameters()).detach()
    along = torch.as_tensor(rng.normal(size=len(start)))
    losses = []
    for step in (-1e-4, 0.0, 1e-4):
        torch.nn.utils.vector_to_parameters(start + step * along, model.parameters())
        losses.append(objective(met).item())
    bend = (losses[0] - 2 * losses[1] + losses[2]) / 1e-8
    assert bend == pytest.approx(2 * along.numpy() @ normal @ along.numpy(), rel=1e-4)


def test_it_reaches_what_others_do_not():
    errors = {}
    for optimizer in (LevenbergMarquardt(30), LBFGS(300), Adam(30)):
        training = Training(optimizer, validation=0)
        idnn, eta, mu = problem(60, training=training)
        surface = idnn.fit(eta, mu, temperature_K=300, rng=np.random.default_rng(3))
        errors[type(optimizer)] = surface.history.training_loss
    assert errors[LevenbergMarquardt] < errors[LBFGS] < errors[Adam]


def test_weight_decay_holds_parameters_back():
    sizes = []
    for decay in (0.0, 1e-4):
        training = Training(LevenbergMarquardt(20), validation=0, weight_decay=decay)
        idnn, eta, mu = problem(training=training)
        surface = idnn.fit(eta, mu, temperature_K=300, rng=np.random.default_rng(3))
        sizes.append(sum((p**2).sum() for n, p in surface.parameters.items() if "bias" not in n))
    assert sizes[1] < sizes[0] / 2


def test_it_goes_on_from_a_start_and_ends_where_nothing_is_better():
    training = Training(LevenbergMarquardt(30), validation=0)
    idnn, eta, mu = problem(training=training)
    rng = np.random.default_rng(3)
    first = idnn.fit(eta, mu, temperature_K=300, rng=rng)
    second = idnn.fit(eta, mu, temperature_K=300, rng=rng, start=first)
    assert second.history.training_loss < first.history.training_loss
    small = replace(
        idnn,
        architecture=Architecture((2,), ()),
        training=Training(LevenbergMarquardt(400), validation=0, weight_decay=1e-3),
    )
    surface = None
    for _ in range(8):  # until there is nothing better
        surface = small.fit(eta[:12], mu[:12], temperature_K=300, rng=rng, start=surface)
    assert surface.history.iterations < 400
    patient = replace(idnn, training=Training(LevenbergMarquardt(400), validation=0.3, patience=5))
    stopped = patient.fit(eta, mu, temperature_K=300, rng=rng).history
    assert stopped.iterations == stopped.best + 5 < 400


def trained_without(held_out, training, odd=0.0):
    """Objective, all points and history of a training; one point that is held out may be odd."""
    idnn, eta, mu = problem(60)
    kelvin = np.full(60, 300.0)
    model = build(idnn.invariants, idnn.architecture, idnn._constants(eta, mu, kelvin))
    for network in (model.whole, model.trivial):
        network.draw(rng=np.random.default_rng(4))
    mu[held_out[0]] += odd * mu.std(axis=0)
    batch = Batch.of(model, eta, mu, kelvin, np.ones(60))
    objective = Objective(model, training, batch.target.std(dim=0))
    held_out = torch.as_tensor(held_out)
    known = torch.as_tensor(np.setdiff1d(np.arange(60), held_out))
    history = train(objective, batch[known], batch[held_out], rng=np.random.default_rng(5))
    finish(objective, batch)
    return objective, batch, history


def test_a_point_that_nobody_could_foresee_does_not_end_training():
    training = Training(LevenbergMarquardt(30, finishing=0))
    _, _, history = trained_without(np.array([3, 8]), training, odd=5.0)
    assert history.best > 5
    assert history.training_loss < 0.05 < 1 < history.validation_loss


def test_in_the_end_points_for_validation_are_learned_too():
    held_out = np.arange(0, 60, 5)
    objective, batch, history = trained_without(held_out, Training(LevenbergMarquardt(30)))
    assert objective(batch[torch.as_tensor(held_out)]).item() < history.validation_loss / 3


def test_wrong_settings_are_named():
    with pytest.raises(ValueError, match="take LBFGS"):
        Training(loss="huber")
    with pytest.raises(ValueError, match="damping is above 0"):
        LevenbergMarquardt(damping=0)
    with pytest.raises(ValueError, match="iterations is above 0"):
        LevenbergMarquardt(0)
    with pytest.raises(ValueError, match="finishing is a number of steps"):
        LevenbergMarquardt(finishing=-1)
    assert Training(loss="huber", optimizer=LBFGS()).allowance == 400
    assert Training().allowance == 30
    assert Training(patience=7).allowance == 7


@pytest.mark.slow
@pytest.mark.skipif(not CASM.is_file(), reason="needs the published Monte Carlo points")
def test_published_monte_carlo_is_learned():
    """129 points by 512 others, by half of the steps of the default training."""
    rng = np.random.default_rng(1)
    eta, mu = casm_points()
    order = rng.permutation(len(eta))
    train, test = order[:512], order[512:]
    idnn = IDNN.of(zigzag(), training=Training(LevenbergMarquardt(40)))
    surface = idnn.fit(eta[train], mu[train], temperature_K=300, rng=rng)
    squares = (100 * (surface.chemical_potentials(eta[test]) - mu[test])) ** 2
    assert squares.mean() < 0.002  # (10 meV)^2
