"""GRACE-FS committees: what gracemaker is told, and gracemaker for real where it is installed."""

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from datasets_emt import al_cu_dataset

from ase_hal import GraceFit, Weights
from ase_hal.calculators import HALCalculator
from ase_hal.external_command import Execution
from ase_hal.external_fit import Draw
from ase_hal.metrics import compare

TINY = {
    "n_rad_base": 6,
    "n_rad_max": [6, 3],
    "lmax": [2, 2],
    "max_order": 2,
    "embedding_size": 4,
    "fs_parameters": [[1.0, 1.0], [1.0, 0.5]],
}
HERE = str(Path(sys.executable).parent)
GRACEMAKER = shutil.which("gracemaker", path=HERE) or shutil.which("gracemaker")


@cache
def dataset():
    return al_cu_dataset()[:12]


def silent(tmp_path):
    """An Execution of a command that does nothing."""
    return Execution(f"{sys.executable} -c pass", directory=tmp_path)


def fit(**keywords):
    return GraceFit(["Cu", "Al"], cutoff=4.5, **{"members": 2, "model": TINY, **keywords})


@pytest.mark.slow
@pytest.mark.skipif(GRACEMAKER is None, reason="needs gracemaker, see the docstring of GraceFit")
def test_gracemaker_for_real(tmp_path):
    weights = Weights(energy=5.0, forces=1.0, virial=0.5)
    with ThreadPoolExecutor(2) as executor:
        execution = Execution(GRACEMAKER, directory=tmp_path, timeout=900, executor=executor)
        grace = fit(iterations=60, weights=weights, execution=execution)
        committee = grace(dataset(), rng=np.random.default_rng(0))
    assert len(committee) == 2
    forces = np.concatenate([a.calc.results["forces"].ravel() for a in dataset()])
    assert compare(committee, dataset()).errors().forces_rmse < 0.3 * forces.std()
    atoms = dataset()[0].copy()
    assert committee.predict(atoms).model_std > 0
    atoms.calc = HALCalculator(committee, tau=0.5)
    numerical = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[1])
    assert atoms.get_forces()[[1]] == pytest.approx(numerical, abs=1e-5)
    assert atoms.get_stress() == pytest.approx(
        calculate_numerical_stress(atoms, eps=1e-5, voigt=True), abs=1e-7
    )


class TestInput:
    def test_the_table_is_the_weighted_dataset(self, tmp_path):
        weights = Weights(energy=3.0, forces=0.5, virial=0.2)
        grace = fit(weights=weights, execution=silent(tmp_path), one_body={"Al": 1.0, "Cu": 2.0})
        items, baseline = grace.targets.observe(dataset(), 5.0)
        counts = np.array([2, *[0] * 10, 1])
        grace._write_input(tmp_path, items, baseline, Draw(7, counts))
        table = pd.read_pickle(tmp_path / "data.pckl.gzip", compression="gzip")
        assert len(table) == 2
        total = (
            table.energy_weight.sum()
            + sum(w.sum() for w in table.force_weight)
            + table.virial_weight.sum()
        )
        assert total == pytest.approx(1)
        first, last = table.iloc[0], table.iloc[1]
        n = len(dataset()[0])
        assert first.energy_weight / last.energy_weight == pytest.approx(2)
        assert first.energy_weight / first.force_weight[0] == pytest.approx(9 * n / 0.25)
        assert first.energy_weight / first.virial_weight == pytest.approx(9 * n**2 / 0.04)
        one_body = sum({"Al": 1.0, "Cu": 2.0}[symbol] for symbol in dataset()[0].symbols)
        results = dataset()[0].calc.results
        assert first.energy_corrected == pytest.approx(results["energy"] - one_body)
        assert first.forces == pytest.approx(results["forces"])
        assert first.stress == pytest.approx(results["stress"])
        document = yaml.safe_load((tmp_path / "input.yaml").read_text())
        assert document["seed"] == 7
        assert document["potential"]["elements"] == ["Al", "Cu"]
        assert set(document["fit"]["loss"]) == {"energy", "forces", "virial"}

    def test_members_have_seeds_of_their_own(self, tmp_path):
        with pytest.raises(RuntimeError, match="ended without writing FS_model.yaml; it said"):
            fit(execution=silent(tmp_path))(dataset(), rng=np.random.default_rng(0))
        documents = [
            yaml.safe_load(path.read_text()) for path in tmp_path.glob("fit-1/member-*/input.yaml")
        ]
        assert len({document["seed"] for document in documents}) == 2

    @pytest.mark.parametrize(
        ("elements", "keywords", "message"),
        [
            ("Al", {}, "sequence of chemical symbols"),
            (["Al", "Xy"], {}, "no such chemical elements: Xy"),
            (["Al", "Al"], {}, "named twice"),
            (["Al"], {"cutoff": -1.0}, "cutoff is a positive length"),
            (["Al"], {"iterations": 0}, "iterations must be at least 1"),
            (["Al"], {"members": 1}, "at least two members"),
            (["Al"], {"one_body": {"Cu": 0.0}}, "one_body lacks Al"),
        ],
    )
    def test_arguments(self, tmp_path, elements, keywords, message):
        with pytest.raises(ValueError, match=message):
            GraceFit(elements, **{"cutoff": 4.5, "execution": silent(tmp_path), **keywords})

    def test_what_to_install_is_said(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
        with pytest.raises(FileNotFoundError, match="no command 'gracemaker': pip install 'ase-h"):
            fit()
