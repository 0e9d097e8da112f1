"""Free energy surfaces on grids and as TorchScript."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
from free_energy_cases import l1_2
from free_energy_surfaces import PolynomialG

from ase_hal.free_energy import (
    IDNN,
    LBFGS,
    Architecture,
    SurfaceCommittee,
    Training,
    on_grid,
    write_grid,
)


def polynomial():
    invariants = l1_2().invariants(4)
    return PolynomialG(invariants, np.linspace(-0.2, 0.3, len(invariants)))


def network(temperature_K=300.0, seed=0):
    idnn = IDNN.of(l1_2(), 4, architecture=Architecture((6, 5), (4,)), training=Training(LBFGS(10)))
    rng = np.random.default_rng(seed)
    eta = l1_2().domain.centre + rng.uniform(-0.1, 0.1, size=(20, 4))
    mu = polynomial().chemical_potentials(eta)
    return idnn.fit(eta, mu, temperature_K=temperature_K, rng=rng)


AXES = {0: np.linspace(0, 1, 11), 2: np.linspace(-0.5, 0.5, 9)}
THROUGH = [0, 0.05, 0, -0.02]


def test_grid_holds_the_values_of_the_surface(tmp_path):
    xarray = pytest.importorskip("xarray")
    surface, domain = polynomial(), l1_2().domain
    grid = on_grid(surface, AXES, through=THROUGH, domain=domain, temperature_K=300)
    write_grid(grid, tmp_path / "surface.nc")
    with xarray.open_dataset(tmp_path / "surface.nc", engine="h5netcdf") as back:
        back.load()
    assert back.identical(grid)
    assert back.g.sizes == {"eta_0": 11, "eta_2": 9}
    assert back.mu.attrs["units"] == "eV"
    assert back.attrs["temperature_K"] == 300
    inside = 0
    for x in AXES[0]:
        for y in AXES[2]:
            here = back.sel(eta_0=x, eta_2=y)
            point = np.array([[x, 0.05, y, -0.02]])
            if not domain.contains(point[0]):
                assert np.isnan(here.g)
                assert np.isnan(here.hessian).all()
                continue
            inside += 1
            assert here.g == pytest.approx(surface.free_energy(point)[0])
            assert np.allclose(here.mu, surface.chemical_potentials(point)[0])
            assert np.allclose(here.hessian, surface.hessian(point)[0])
    assert 10 < inside < 80
    assert "hessian" not in on_grid(surface, AXES, hessian=False)


def test_axes_that_are_none():
    pytest.importorskip("xarray")
    surface = polynomial()
    for axes, message in (
        ({}, "some of the order parameters 0 to 3"),
        ({4: [0, 1]}, "some of the order parameters 0 to 3"),
        ({0: [1, 0]}, "does not ascend"),
        ({0: [0, np.nan]}, "no row of finite numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            on_grid(surface, axes)
    with pytest.raises(ValueError, match="through has 4"):
        on_grid(surface, AXES, through=[0, 0])
    with pytest.raises(ValueError, match="a .nc or .h5 file"):
        write_grid(on_grid(surface, AXES), "surface.txt")


def test_grids_name_their_extra(monkeypatch):
    real = builtins.__import__

    def without_xarray(name, *args, **kwargs):
        if name == "xarray":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_xarray)
    with pytest.raises(ImportError, match=r"ase-hal\[grid\]"):
        on_grid(polynomial(), AXES)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("temperatures", [300.0, np.linspace(250, 400, 20)])
def test_torchscript_gives_the_values_of_the_surface(temperatures, members, tmp_path):
    torch = pytest.importorskip("torch")
    from ase_hal.free_energy import export_torchscript

    surface = network(temperatures)
    if members > 1:
        surface = SurfaceCommittee(tuple(network(temperatures, seed=i) for i in range(members)))
    export_torchscript(surface, tmp_path / "surface.pt")
    loaded = torch.jit.load(str(tmp_path / "surface.pt"))
    # other numbers of points than the file was traced with
    for n in (1, 17):
        eta = l1_2().domain.centre + np.random.default_rng(n).uniform(-0.1, 0.1, size=(n, 4))
        arguments = [eta]
        if np.ndim(temperatures):
            arguments.append(np.linspace(260, 390, n))
        tensors = [torch.as_tensor(a) for a in arguments]
        with torch.no_grad():
            (g, mu), hessian = loaded(*tensors), loaded.hessian(*tensors)
        assert np.allclose(g.numpy(), surface.free_energy(*arguments), rtol=1e-10)
        assert np.allclose(mu.numpy(), surface.chemical_potentials(*arguments), rtol=1e-10)
        assert np.allclose(hessian.numpy(), surface.hessian(*arguments), rtol=1e-9, atol=1e-12)


def test_networks_of_one_temperature_are_exported_together(tmp_path):
    pytest.importorskip("torch")
    from ase_hal.free_energy import export_torchscript

    # means of 20 and of 24 temperatures differ in their last digits
    one = network(298.15)
    constants = replace(one.constants, centre_K=298.1499999999999)
    export_torchscript(
        SurfaceCommittee((one, replace(one, constants=constants))), tmp_path / "two.pt"
    )
    other = SurfaceCommittee((one, network(310.0)))
    with pytest.raises(ValueError, match="of different temperatures"):
        export_torchscript(other, tmp_path / "other.pt")


def test_a_wrong_export_is_not_kept(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    from ase_hal.free_energy import IDNNSurface, export_torchscript

    surface = network()
    right = IDNNSurface.free_energy
    monkeypatch.setattr(IDNNSurface, "free_energy", lambda *args: right(*args) + 1e-3)
    with pytest.raises(RuntimeError, match="does not give the values"):
        export_torchscript(surface, tmp_path / "surface.pt")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TypeError, match="got a PolynomialG; write_grid takes any surface"):
        export_torchscript(polynomial(), tmp_path / "surface.pt")
    with pytest.raises(ValueError, match="ends in .pt"):
        export_torchscript(surface, tmp_path / "surface.onnx")
