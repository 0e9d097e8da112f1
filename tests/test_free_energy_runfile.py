"""What is wrong with the run file of a free energy is said in one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest
from free_energy_cases import l1_2
from free_energy_runs import changed, written

from ase_hal.free_energy_run.runfile import FreeEnergyRunFile
from ase_hal.runfile.errors import RunFileError

_POINTS = [[0.25, 0, 0, 0], [0.1, 0.4, 0, 0]]
WRONG = [
    (("seed",), None, "seed: is missing"),
    (("sead",), 3, "sead: unknown key, did you mean 'seed'?"),
    (
        ("system", "sublattice"),
        "Ag",
        "system.sublattice: there is no Ag in the crystal, which is Cu",
    ),
    (("system", "crystal"), "gone.xyz", "system.crystal: there is no file"),
    (("system", "ordering"), "crystal.xyz", "system.ordering: an ordering has occupied and empty"),
    (("system", "occupied"), None, "system.ordering: an ordering has occupied and empty sites"),
    (("system", "ordering"), None, "system.ordering: is missing"),
    (("system", "name"), "lco", "system: give either name, or crystal"),
    (("hamiltonian",), {"name": "model"}, "hamiltonian.name: 'model' is one of the system 'lco'"),
    (("hamiltonian",), None, "hamiltonian.name: 'model' is one of the system 'lco'"),
    (("hamiltonian", "import"), "alloy", "hamiltonian.import: 'alloy' is not written as module:f"),
    (("monte_carlo", "repeat"), [1, 1, 1], "monte_carlo.repeat: makes 4 sites, at least 16"),
    (
        ("hamiltonian", "import"),
        "free_energy_runs:lopsided",
        "hamiltonian.import: the Hamiltonian does not have the symmetry of the lattice",
    ),
    (("hamiltonian", "import"), "free_energy_runs:infinite", "the interaction of cluster"),
    (("hamiltonian", "import"), "free_energy_runs:text", "made a str, not a Hamiltonian"),
    (("hamiltonian", "import"), "free_energy_runs:gone", "hamiltonian.import: module"),
    (
        ("hamiltonian", "import"),
        "free_energy_runs:unfinished",
        "hamiltonian.import: free_energy_runs:unfinished raises KeyError: 'second_neighbours'",
    ),
    (("hamiltonian", "parameters"), {"force": 1}, "got an unexpected keyword argument 'force'"),
    (("hamiltonian",), {}, "hamiltonian: give one of name, import and cluster_expansion"),
    (("monte_carlo", "temperature"), "600 eV", "'600 eV' is not a temperature (allowed: K)"),
    (("monte_carlo", "temperature"), 600, "600 has no unit, write for example '600 K'"),
    (("monte_carlo", "temperature"), ["0 K"], "it has to be above 0"),
    (("monte_carlo", "temperature"), ["5 K", "5 K"], "a temperature is given twice"),
    (("monte_carlo", "stiffness", "order"), "-1 eV", "it has to be above 0"),
    (("monte_carlo", "min_sweeps"), 400, "min_sweeps <= max_sweeps"),
    (("fit", "hidden"), [4], "fit.hidden: does not go with 'polynomial'"),
    (("fit", "degree"), 1, "fit.degree: should be greater than or equal to 2"),
    (("criteria",), [], "criteria: is empty"),
    (("criteria", 1, "name"), "valleys", "criteria[1].name: should be 'global'"),
    (("criteria", 0, "width"), 0.1, "criteria[0].width: does not go with 'global'"),
    (("criteria", 0, "count"), None, "criteria[0].count: is missing"),
    (("criteria", 1, "name"), "global", "criteria[1]: 'global' is there already"),
    (("criteria", 1, "perturbation"), -0.1, "criteria[1].perturbation: should be greater"),
    (
        ("criteria", 1),
        {"name": "given", "points": _POINTS},
        "criteria[1].points[1]: [0.1, 0.4, 0.0, 0.0] is outside the domain",
    ),
    (
        ("criteria", 1),
        {"name": "given", "points": [[0.5, 0]]},
        "criteria[1].points[0]: 4 order parameters are needed, got 2",
    ),
    (("criteria",), [{"name": "high_error", "count": 2}], "all need a surface"),
    (("test", "criteria", 0, "free"), [0, 4], "test.criteria[0].free: there are 4 order"),
    (("test", "criteria", 0, "free"), [0, 0], "test.criteria[0].free: an order parameter is given"),
    (("test", "criteria", 0, "free"), [1, 2], "test.criteria[0].free: there are no states in whi"),
    (("fit", "members"), 1, "criteria[3]: would never be asked: it needs fit.members"),
    (
        ("test", "criteria", 0),
        {"name": "committee", "count": 2},
        "test.criteria: all need a surface",
    ),
    (("novelty",), {"threshold": "r_1"}, "novelty.threshold: should be 'mean' or 'max'"),
    (("stopping", "rounds"), 0, "stopping.rounds: should be greater than or equal to 1"),
    (("composition_curve", "points"), 2, "composition_curve.points: should be greater"),
]


@pytest.mark.parametrize(("path", "value", "says"), WRONG, ids=[says[:40] for _, _, says in WRONG])
def test_wrong_files_end_in_one_clear_line(path, value, says, tmp_path: Path) -> None:
    with pytest.raises(RunFileError) as caught:
        FreeEnergyRunFile.read(written(tmp_path, changed(*path, to=value)))
    assert len(caught.value.problems) == 1, caught.value
    assert says in str(caught.value)


def test_a_file_for_the_other_command_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("elements: [Al]\nseeds: {}\n")
    with pytest.raises(RunFileError, match="is a file for 'ase-hal run'") as caught:
        FreeEnergyRunFile.read(file)
    assert len(caught.value.problems) == 1


def test_a_committee_of_the_test_set_needs_members(tmp_path: Path) -> None:
    """A search for hyperparameters comes later than the test set."""
    document = changed("fit", to={"name": "idnn", "degree": 4})
    document["search"] = {"trials": 2, "members": 2}
    assert FreeEnergyRunFile.read(written(tmp_path, document)).search() is not None
    document["test"]["criteria"].append({"name": "committee", "count": 2})
    with pytest.raises(RunFileError, match=r"test.criteria\[2\]: would never be asked"):
        FreeEnergyRunFile.read(written(tmp_path, document))


def test_defaults_of_the_file_are_what_is_built(tmp_path: Path) -> None:
    document = changed("fit", to={"name": "idnn", "degree": 4, "members": 2})
    fit = FreeEnergyRunFile.read(written(tmp_path, document)).settings.fit
    built = fit.idnn(l1_2())
    assert built.architecture.hidden == fit.hidden == (20, 20)
    assert built.architecture.trivial_hidden == fit.trivial_hidden
    assert built.training.optimizer.iterations == fit.iterations
    assert (built.training.validation, built.training.patience) == (fit.validation, fit.patience)


def test_a_search_without_optuna_is_a_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ase_hal.free_energy_run.fit_sections as sections

    installed = sections.find_spec
    monkeypatch.setattr(
        sections, "find_spec", lambda name: None if name == "optuna" else installed(name)
    )
    document = changed("fit", to={"name": "idnn", "degree": 4})
    document["search"] = {}
    with pytest.raises(RunFileError, match=r"search: a search needs optuna: pip install"):
        FreeEnergyRunFile.read(written(tmp_path, document))


def test_an_idnn_without_torch_is_a_wrong_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ase_hal.free_energy_run.fit_sections as sections

    monkeypatch.setattr(sections, "find_spec", lambda name: None)
    with pytest.raises(RunFileError, match=r"fit.name: an IDNN needs torch: pip install"):
        FreeEnergyRunFile.read(written(tmp_path, changed("fit", to={"name": "idnn", "members": 2})))
