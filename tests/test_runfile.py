"""The run file: what it builds, and one clear line for everything that can be wrong in it."""

import copy
import pickle
import typing
from pathlib import Path

import ase.io
import numpy as np
import pytest
import yaml
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.neighborlist import neighbor_list

from ase_hal.ace.basis import ACEBasis, InnerCutoff, PairPart
from ase_hal.dynamics import ContourWalk, EvolutionStage, Pick, Relaxation
from ase_hal.dynamics.barostat import Barostat
from ase_hal.dynamics.explorer import Stage
from ase_hal.dynamics.moves import CellMC, SwapMC
from ase_hal.dynamics.ramp import Ramp
from ase_hal.dynamics.tau import AdaptiveTau
from ase_hal.dynamics.trigger import Trigger
from ase_hal.linear_fit import Weights
from ase_hal.quantities import FORCE, LENGTH, PRESSURE, RATE, TEMPERATURE, TIME
from ase_hal.repulsion import ZBL
from ase_hal.runfile import RunFile, RunFileError
from ase_hal.runfile.fields import Section, Span
from ase_hal.runfile.settings import Settings

QUICKSTART = Path(__file__).parent.parent / "examples" / "quickstart" / "run.yaml"

BASE = {
    "elements": ["Al", "Cu"],
    "seed": 7,
    "seeds": {
        "alloy": {
            "lattice": "fcc",
            "repeat": [2, 2, 2],
            "composition": {"Al": 24, "Cu": 8},
            "lattice_constant": {"from": "3.8 Å", "to": "4.0 Å"},
            "count": 3,
        }
    },
    "reference": {"name": "emt"},
    "basis": {"preset": "small", "rcut": "5.5 Å"},
    "explore": {
        "stages": [
            {"name": "solid", "temperature": "800 K", "tau_rel": 0.05},
            {"name": "liquid", "temperature": "3000 K", "tau_rel": 0.1},
        ]
    },
}


def edited(**changes):
    """The base document with values set, or removed with None, at dotted places."""
    document = copy.deepcopy(BASE)
    for place, value in changes.items():
        *parents, last = place.split("__")
        here = document
        for part in parents:
            here = here[int(part)] if isinstance(here, list) else here.setdefault(part, {})
        if value is None:
            del here[last]
        else:
            here[last] = value
    return document


def read(directory, document):
    path = directory / "run.yaml"
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return RunFile.read(path)


def problems(directory, document):
    with pytest.raises(RunFileError) as caught:
        read(directory, document)
    assert str(caught.value).splitlines() == list(caught.value.problems)
    return caught.value.problems


# --- quantities --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dimension", "text", "value"),
    [
        (TEMPERATURE, "800 K", 800),
        (TEMPERATURE, "8e2K", 800),
        (TIME, "2 fs", 2 * units.fs),
        (TIME, "0.5 ps", 500 * units.fs),
        (RATE, "0.01 1/fs", 0.01 / units.fs),
        (RATE, "10 ps^-1", 0.01 / units.fs),
        (LENGTH, "5.5 Å", 5.5),
        (LENGTH, "5.5 \u212b", 5.5),  # the sign for the unit, not the letter
        (LENGTH, "5.5 A\u030a", 5.5),  # the letter in two parts
        (LENGTH, "5.5 A", 5.5),
        (LENGTH, "5.5Ang", 5.5),
        (LENGTH, "0.55 nm", 5.5),
        (PRESSURE, "0.1 GPa", 0.1 * units.GPa),
        (PRESSURE, "-1 bar", -1e5 * units.Pascal),
        (FORCE, "20 eV/Å", 20),
        (FORCE, "20 eV / A", 20),
    ],
)
def test_quantities_become_ase_units(dimension, text, value):
    assert dimension.parse(text) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("800 eV", "'800 eV' is not a temperature (allowed: K)"),
        ("K", "'K' is not a temperature (allowed: K)"),
        ("800", "'800' is not a temperature (allowed: K)"),
        ("1 2 K", "'1 2 K' is not a temperature (allowed: K)"),
        ("1e999 K", "'1e999 K' is not finite"),
        (800, "800 has no unit, write for example '800 K' (allowed: K)"),
        (True, "True is not a temperature (allowed: K)"),
        ([300], "[300] is not a temperature (allowed: K)"),
    ],
)
def test_what_is_no_temperature(value, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  the whole text is compared
        TEMPERATURE.parse(value)
    assert str(caught.value) == message


# --- what is built -----------------------------------------------------------------------


def test_defaults_are_those_of_the_classes(tmp_path):
    runfile = read(tmp_path, BASE)
    assert (runfile.seed, runfile.workers, runfile.test_per_stage) == (7, 1, 0)
    assert runfile.test_structures() == []
    assert runfile.final is None
    assert runfile.explorer().stages == (
        Stage("solid", 800.0, tau=AdaptiveTau(0.05), trigger=Trigger()),
        Stage("liquid", 3000.0, tau=AdaptiveTau(0.1), trigger=Trigger()),
    )
    assert runfile.explorer().walkers == 1


def test_stage_in_full(tmp_path):
    stage = {
        "name": "solid",
        "temperature": {"from": "300 K", "to": "1200 K"},
        "steps": 400,
        "timestep": "2 fs",
        "friction": "0.02 1/fs",
        "tau_rel": {"from": 0, "to": 0.2},
        "tau": {"cap": 30, "max_bias": 0.5, "window": 50, "burn_in": 20},
        "trigger": {"criterion": "relative", "tolerance": 0.3, "interval": 5, "eps": "0.1 eV/Å"},
        "swap": {"interval": 20, "attempts": 2},
        "cell": {"interval": 30, "pressure": "1 GPa", "step": "0.02 Å"},
        "barostat": {"pressure": {"from": "0 GPa", "to": "2 GPa"}, "relaxation_time": "1 ps"},
        "start": "any",
        "patience": 5,
        "max_labels": 42,
    }
    runfile = read(tmp_path, edited(explore__stages=[stage], explore__walkers=3))
    explorer = runfile.explorer()
    assert explorer.walkers == 3
    assert explorer.stages == (
        Stage(
            "solid",
            Ramp(300, 1200, 400),
            steps=400,
            timestep=2 * units.fs,
            friction=0.02 / units.fs,
            tau=AdaptiveTau(Ramp(0, 0.2, 400), cap=30, max_bias=0.5, window=50, burn_in=20),
            trigger=Trigger("relative", 0.3, interval=5, eps=0.1),
            barostat=Barostat(Ramp(0, 2 * units.GPa, 400), relaxation_time=1000 * units.fs),
            moves=(
                SwapMC(20, attempts=2),
                CellMC(30, pressure=1 * units.GPa, step=0.02),
            ),
            start="any",
            patience=5,
            max_labels=42,
        ),
    )


def test_stages_that_are_no_dynamics(tmp_path):
    stages = [
        {
            "name": "relax",
            "relaxation": {"alpha": 2, "steps": 30, "fmax": "0.1 eV/Å", "cell": True},
            "pick": {"max_force": "10 eV/Å", "min_distance": 0.7, "min_std": "2 meV"},
            "rattle": "0.05 Å",
            "max_labels": 4,
        },
        {
            "name": "walk",
            "contour": {"excess": "50 meV", "gamma": 0.5, "steps": 20, "maxstep": "0.3 Å"},
            "start": "previous",
            "patience": 2,
        },
        {"name": "plain", "relaxation": {}},
    ]
    explorer = read(tmp_path, edited(explore__stages=stages)).explorer()
    assert explorer.stages == (
        EvolutionStage(
            "relax",
            Relaxation(alpha=2, steps=30, fmax=0.1, cell=True),
            pick=Pick(10, 0.7, 0.002),
            rattle=0.05,
            max_labels=4,
        ),
        EvolutionStage(
            "walk", ContourWalk(0.05, gamma=0.5, steps=20, maxstep=0.3), start="previous",
            patience=2,
        ),
        EvolutionStage("plain", Relaxation()),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("stage", "lines"),
    [
        ({"relaxation": {}, "contour": {"excess": "1 eV"}}, [": give one of relaxation, contour"]),
        ({"contour": {}}, [".contour.excess: is missing"]),
        (
            {"relaxation": {}, "temperature": "300 K", "swap": {"interval": 5}},
            [".temperature: does not go with relaxation", ".swap: does not go with relaxation"],
        ),
        (
            {"temperature": "300 K", "tau_rel": 0.1, "rattle": "0.1 Å"},
            [".rattle: goes with relaxation or contour only"],
        ),
        ({}, [".temperature: is missing", ".tau_rel: is missing"]),
    ],
)
def test_stages_that_mix_dynamics_and_others(tmp_path, stage, lines):
    found = problems(tmp_path, edited(explore__stages=[{"name": "a", **stage}]))
    assert found == tuple(f"explore.stages[0]{line}" for line in lines)


@pytest.mark.parametrize(
    ("kind", "step", "value"), [("volume", "0.2 Å^3", 0.2), ("strain", 0.01, 0.01)]
)
def test_step_of_a_cell_move_has_the_unit_of_its_kind(tmp_path, kind, step, value):
    cell = {"interval": 10, "kind": kind, "step": step}
    (move,) = read(tmp_path, edited(explore__stages__0__cell=cell)).explorer().stages[0].moves
    assert move == CellMC(10, kind, step=value)


def same_functions(first, second):
    return first.specification == second.specification


def test_the_ways_to_choose_a_basis(tmp_path):
    elements = ("Al", "Cu")
    options = {"rcut": 5.5, "inner_cutoff": InnerCutoff(1.5), "pair": PairPart(6.0, 8)}
    common = {"rcut": "5.5 Å", "inner_cutoff": "1.5 Å", "pair": {"rcut": "6 Å", "nradmax": 8}}

    def built(**choice):
        return read(tmp_path, edited(basis=common | choice)).basis()

    assert same_functions(built(preset="medium"), ACEBasis.preset("medium", elements, **options))
    assert same_functions(
        built(order=2, degree=7, angular_weight=2),
        ACEBasis.total_degree(elements, order=2, degree=7, angular_weight=2, **options),
    )
    assert same_functions(
        built(nradmax_by_orders=[6, 3], lmax_by_orders=[0, 2]),
        ACEBasis(elements, nradmax_by_orders=[6, 3], lmax_by_orders=[0, 2], **options),
    )


def test_basis_from_a_pacemaker_file(tmp_path):
    written = ACEBasis(("Al", "Cu"), rcut=5.0, nradmax_by_orders=[4, 2], lmax_by_orders=[0, 1])
    potential = {"potential": written.specification["many_body"]}
    (tmp_path / "input.yaml").write_text(yaml.safe_dump(potential))
    runfile = read(tmp_path, edited(basis={"pacemaker": "input.yaml"}))
    assert runfile.basis().size == written.size
    (line,) = problems(
        tmp_path, edited(basis={"pacemaker": "input.yaml"}, elements=["Al", "Cu", "Ni"])
    )
    assert line == "basis: input.yaml is for Al, Cu, the run for Al, Cu, Ni"


def test_fit(tmp_path):
    section = {
        "weights": {"energy": 10, "virial": 0},
        "members": 5,
        "force_bound": "12 eV/Å",
        "repulsion": {"inner": "0.8 Å", "outer": "1.6 Å"},
        "one_body": {"Al": "-3 eV", "Cu": "-3500 meV"},
    }
    basis = {"nradmax_by_orders": [3], "lmax_by_orders": [0], "rcut": "5 Å"}
    fit = read(tmp_path, edited(fit=section, basis=basis)).fit()
    assert fit.weights == Weights(energy=10, forces=1, virial=0)
    assert (fit.members, fit.force_bound) == (5, 12)
    assert fit.repulsion == ZBL(0.8, 1.6)
    assert fit.one_body == {"Al": -3.0, "Cu": -3.5}


def test_random_alloys(tmp_path):
    runfile = read(tmp_path, BASE)
    seeds = runfile.seeds()
    assert [atoms.get_chemical_formula() for atoms in seeds] == ["Al24Cu8"] * 3
    assert np.allclose([atoms.cell[2, 2] for atoms in seeds], [7.6, 7.8, 8.0])
    assert len({tuple(atoms.symbols) for atoms in seeds}) == 3
    again = runfile.seeds()
    assert seeds == again
    other = read(tmp_path, edited(seed=8)).seeds()
    assert all(tuple(a.symbols) != tuple(b.symbols) for a, b in zip(seeds, other, strict=True))
    one = read(tmp_path, edited(seeds__alloy__count=1)).seeds()
    assert one == seeds[:1]


def test_displaced_atoms(tmp_path):
    still = read(tmp_path, BASE).seeds()
    moved = read(tmp_path, edited(seeds__alloy__displacement="0.1 Å")).seeds()
    shifts = np.concatenate([b.positions - a.positions for a, b in zip(still, moved, strict=True)])
    # 288 components give their spread to 4 %.
    assert shifts.std() == pytest.approx(0.1, rel=0.2)


@pytest.mark.parametrize("lattice", ["sc", "bcc", "fcc", "hcp", "diamond"])
def test_lattices(tmp_path, lattice):
    neighbours = {"sc": 6, "bcc": 8, "fcc": 12, "hcp": 12, "diamond": 4}[lattice]
    distance = {"sc": 4, "bcc": 12**0.5, "fcc": 8**0.5, "hcp": 4, "diamond": 3**0.5}[lattice]
    sites = {"sc": 8, "bcc": 16, "fcc": 32, "hcp": 32, "diamond": 64}[lattice]
    changes = {"lattice": lattice, "repeat": [2, 2, 2], "composition": {"Al": sites}}
    alloy = BASE["seeds"]["alloy"] | changes | {"lattice_constant": "4 Å", "count": 1}
    (atoms,) = read(tmp_path, edited(seeds={"alloy": alloy})).seeds()
    first, distances = neighbor_list("id", atoms, cutoff=distance + 1e-6)
    assert np.allclose(distances, distance)
    assert (np.bincount(first) == neighbours).all()


def test_seeds_from_a_file(tmp_path):
    structures = [bulk("Al", cubic=True), bulk("Cu", cubic=True), bulk("Al", a=4.1, cubic=True)]
    for atoms in structures:
        atoms.calc = EMT()
        atoms.calc = SinglePointCalculator(
            atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces()
        )
    ase.io.write(tmp_path / "seeds.xyz", structures)
    seeds = read(tmp_path, edited(seeds={"file": "seeds.xyz"})).seeds()
    assert seeds == structures
    assert all(atoms.calc is None for atoms in seeds), "labels are used where keys are given"
    first = read(tmp_path, edited(seeds={"file": "seeds.xyz", "index": 1})).seeds()
    assert first == structures[1:2]
    section = {"file": "seeds.xyz", "index": "1:", "energy_key": "energy", "forces_key": "forces"}
    labelled = read(tmp_path, edited(seeds=section)).seeds()
    assert [atoms.get_potential_energy() for atoms in labelled] == pytest.approx(
        [atoms.get_potential_energy() for atoms in structures[1:]], abs=1e-7
    )


def test_test_set_from_a_file(tmp_path):
    atoms = bulk("Al", cubic=True)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.5, forces=np.zeros((4, 3)))
    ase.io.write(tmp_path / "test.xyz", atoms)
    section = {"file": "test.xyz", "energy_key": "energy", "forces_key": "forces", "per_stage": 3}
    runfile = read(tmp_path, edited(test=section))
    assert runfile.test_per_stage == 3
    (structure,) = runfile.test_structures()
    assert structure.get_potential_energy() == -1.5
    del section["energy_key"]
    (line,) = problems(tmp_path, edited(test=section))
    assert line == "test.energy_key: is missing: a test set needs its labels"


def test_named_reference(tmp_path):
    atoms = bulk("Al", cubic=True)
    atoms.calc = read(tmp_path, BASE).calculator()()
    expected = EMT().get_potential_energy(atoms.copy())
    assert atoms.get_potential_energy() == pytest.approx(expected)


def test_imported_reference(tmp_path):
    (tmp_path / "my_reference_of_this_test.py").write_text(
        "from ase.calculators.lj import LennardJones\n"
        "def make(epsilon):\n    return LennardJones(epsilon=epsilon)\n"
    )
    section = {"import": "my_reference_of_this_test:make", "parameters": {"epsilon": 0.5}}
    factory = read(tmp_path, edited(reference=section)).calculator()
    assert factory().parameters.epsilon == 0.5
    assert pickle.loads(pickle.dumps(factory))().parameters.epsilon == 0.5
    section["parameters"] = {"sigma": 1}
    (line,) = problems(tmp_path, edited(reference=section))
    assert line.startswith("reference.import: ")
    assert "epsilon" in line


def test_paths_among_the_parameters_are_relative_to_the_run_file(tmp_path):
    section = {"import": "ase.calculators.lj:LennardJones", "parameters": {"file": "./a/b"}}
    factory = read(tmp_path, edited(reference=section)).calculator()
    assert factory.keywords == {"file": str(tmp_path / "a" / "b")}


def test_quickstart_is_all_right():
    runfile = RunFile.read(QUICKSTART)
    assert len(runfile.seeds()) >= 4
    assert [stage.name for stage in runfile.explorer().stages] == ["solid", "liquid"]
    solid, liquid = runfile.explorer().stages
    assert {type(move) for move in solid.moves} == {SwapMC, CellMC}
    assert liquid.barostat is not None


# --- what can be wrong -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"seed": None}, "seed: is missing"),
        ({"sead": 1}, "sead: unknown key, did you mean 'seed'?"),
        ({"seed": -1}, "seed: should be greater than or equal to 0, got -1"),
        ({"seed": True}, "seed: should be a valid integer, got True"),
        ({"workers": 1.5}, "workers: should be a valid integer, got 1.5"),
        ({"elements": []}, "elements: is empty"),
        ({"elements": ["Al", "Al", "Cu"]}, "elements: an element is named twice in Al, Al, Cu"),
        ({"elements": ["Al", "Cu", "Xx"]}, "elements[2]: 'Xx' is not a chemical symbol"),
        (
            {"seeds": {"file": "a.xyz", "alloy": BASE["seeds"]["alloy"]}},
            "seeds.file: there is no file ...",
        ),
        ({"seeds": {"index": 0}}, "seeds: give either file or alloy"),
        ({"seeds__index": 0}, "seeds.index: goes with file only"),
        (
            {"seeds__alloy__composition": {"Al": 23, "Cu": 8}},
            "seeds.alloy.composition: 31 atoms for the 32 sites of 2x2x2 fcc cells",
        ),
        (
            {"seeds__alloy__composition": {"Al": 24, "Si": 8}},
            "seeds.alloy.composition: Si (structure 0) is not one of the elements Al, Cu",
        ),
        (
            {"seeds__alloy__lattice_constant": 4.05},
            "seeds.alloy.lattice_constant: 4.05 has no unit, write for example '4.05 Å' "
            "(allowed: Å, nm)",
        ),
        (
            {"seeds__alloy__lattice_constant": {"from": "4 Å"}},
            "seeds.alloy.lattice_constant.to: is missing",
        ),
        (
            {"seeds__alloy__lattice_constant__until": "4 Å"},
            "seeds.alloy.lattice_constant.until: unknown key (allowed: from, to)",
        ),
        (
            {"reference__name": "emmt"},
            "reference.name: no reference calculator is named 'emmt': there are ...",
        ),
        (
            {"elements": ["Al", "Cu", "Si"]},
            "reference.name: emt does not know Si, only Ag, Al, Au, C, Cu, H, N, Ni, O, Pd, Pt",
        ),
        (
            {"reference__parameters": {"cutoff": 5}},
            "reference.name: reference calculator emt: got an unexpected keyword argument "
            "'cutoff' (parameters: asap_cutoff)",
        ),
        ({"reference": {"timeout": "60 s"}}, "reference: give either name or import"),
        (
            {"reference__timeout": "60 fs"},
            "reference.timeout: '60 fs' is not a duration (allowed: s, min, h)",
        ),
        (
            {"reference": {"import": "no_such_module_anywhere:make"}},
            "reference.import: No module named 'no_such_module_anywhere'",
        ),
        (
            {"reference": {"import": "ase.calculators.emt:ETM"}},
            "reference.import: module 'ase.calculators.emt' has no attribute 'ETM'",
        ),
        ({"basis__rcut": None}, "basis.rcut: is missing"),
        ({"basis__rcut": "-5 Å"}, "basis.rcut: '-5 Å' is not allowed here, it has to be above 0"),
        (
            {"basis__degree": 5},
            "basis: choose the functions in one way: preset; order and degree; ...",
        ),
        ({"basis": {"order": 2, "rcut": "5 Å"}}, "basis.degree: is missing"),
        (
            {"basis__preset": "tiny"},
            "basis.preset: should be 'small', 'medium' or 'large', got 'tiny'",
        ),
        ({"basis__inner_cutoff": "6 Å"}, "basis.inner_cutoff: has to be shorter than rcut"),
        ({"basis__angular_weight": 2}, "basis.angular_weight: goes with order and degree only"),
        (
            {"basis": {"order": 3, "degree": 2, "rcut": "5 Å"}},
            "basis: a total-degree basis needs order >= 1, degree >= order ...",
        ),
        ({"basis": "small"}, "basis: has to hold keys of its own, got 'small'"),
        ({"fit__members": 1}, "fit.members: should be greater than or equal to 2, got 1"),
        ({"fit__weights__energy": 0}, "fit.weights.energy: should be greater than 0, got 0"),
        ({"fit__weights__energi": 1}, "fit.weights.energi: unknown key, did you mean 'energy'?"),
        ({"fit__one_body": {"Al": "1 eV"}}, "fit.one_body: Cu is missing"),
        (
            {"fit__one_body": {"Al": "1 eV", "Cu": "1 eV", "Si": "1 eV"}},
            "fit.one_body.Si: is not one of the elements Al, Cu",
        ),
        ({"fit__repulsion": {"inner": "2 Å", "outer": "1 Å"}}, "fit.repulsion: ..."),
        ({"explore__stages": []}, "explore.stages: is empty"),
        (
            {"explore__stages__0__temperature": "800 eV"},
            "explore.stages[0].temperature: '800 eV' is not a temperature (allowed: K)",
        ),
        (
            {"explore__stages__1__temperature": {"from": "800 K", "to": 900}},
            "explore.stages[1].temperature.to: 900 has no unit, write for example '900 K' "
            "(allowed: K)",
        ),
        (
            {"explore__stages__1__temprature": "800 K"},
            "explore.stages[1].temprature: unknown key, did you mean 'temperature'?",
        ),
        ({"explore__stages__1__tau_rel": None}, "explore.stages[1].tau_rel: is missing"),
        (
            {"explore__stages__1__tau_rel": "0.1"},
            "explore.stages[1].tau_rel: should be a valid number, got '0.1'",
        ),
        (
            {"explore__stages__1__tau_rel": 2.0},
            "explore.stages[1]: max_bias must be at least tau_rel (2.0), got 1.0",
        ),
        (
            {"explore__stages__1__name": "solid"},
            "explore.stages[1].name: an earlier stage has the name 'solid' too",
        ),
        (
            {"explore__stages__0__start": "previous"},
            "explore.stages[0].start: there is no stage before the first one",
        ),
        (
            {"explore__stages__0__trigger": {"tolerance": 1.5}},
            "explore.stages[0].trigger: a softmax score lies between 0 and 1, got 1.5",
        ),
        (
            {"explore__stages__0__trigger": {"tolerance": 0.01}},
            "explore.stages[0].trigger: seed 0: the softmax score of 32 atoms is never below ...",
        ),
        (
            {"explore__stages__0__cell": {"interval": 5, "step": 0.1}},
            "explore.stages[0].cell.step: 0.1 has no unit, write for example '0.1 Å' ...",
        ),
        (
            {"explore__stages__0__cell": {"interval": 5, "kind": "strain", "step": "0.1 Å"}},
            "explore.stages[0].cell.step: a move of kind 'strain' takes a positive number, "
            "got '0.1 Å'",
        ),
        ({"loop__max_labels": -1}, "loop.max_labels: should be greater than or equal to 0, got -1"),
        ({"loop__select": 0}, "loop.select: should be greater than or equal to 1, got 0"),
        ({"test": {"index": 0}}, "test: give file, per_stage or both"),
        ({"final__relevance_thresholds": []}, "final.relevance_thresholds: is empty"),
        (
            {"final__relevance_thresholds": [1e3, 0]},
            "final.relevance_thresholds[1]: should be greater than 0, got 0",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_one_line_for_what_is_wrong(tmp_path, changes, line):
    (found,) = problems(tmp_path, edited(**changes))
    if line.endswith(" ..."):
        assert found.startswith(line.removesuffix(" ..."))
    else:
        assert found == line


def test_all_problems_at_once(tmp_path):
    document = edited(
        seeds__file="missing.xyz",
        seeds__alloy=None,
        basis__rcutt="5 Å",
        fit__one_body={"Al": "1 eV"},
        explore__stages__0__temperature=800,
        explore__stages__1__friction="0.01 fs",
        loop__select=0,
    )
    assert [line.split(": ")[0] for line in problems(tmp_path, document)] == [
        "seeds.file",
        "basis.rcutt",
        "fit.one_body",
        "explore.stages[0].temperature",
        "explore.stages[1].friction",
        "loop.select",
    ]


def test_moves_that_the_seeds_do_not_allow(tmp_path):
    ase.io.write(tmp_path / "co.xyz", Atoms("Al2", [[0, 0, 0], [0, 0, 2.5]]))
    document = edited(
        seeds={"file": "co.xyz"},
        explore__stages__0__swap={"interval": 5},
        explore__stages__0__trigger={"criterion": "relative"},
        explore__stages__1__barostat={"pressure": "0 GPa"},
        explore__stages__1__trigger={"criterion": "relative"},
    )
    swap, barostat = problems(tmp_path, document)
    assert swap.startswith("explore.stages[0].swap: seed 0: nothing to swap in Al2")
    assert barostat.startswith("explore.stages[1].barostat: seed 0: Barostat changes the cell")


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"", "there are no structures in"),
        (b"3\nhello\nAl 0 0\n", "cannot read"),
        (b"\xff\xfe\x00binary", "cannot read"),
    ],
)
def test_unreadable_structure_file(tmp_path, content, line):
    (tmp_path / "seeds.xyz").write_bytes(content)
    (found,) = problems(tmp_path, edited(seeds={"file": "seeds.xyz"}))
    assert found.startswith("seeds.file: ")
    assert str(tmp_path / "seeds.xyz") in found


def test_element_of_a_structure_file_that_the_run_does_not_know(tmp_path):
    ase.io.write(tmp_path / "seeds.xyz", [bulk("Al"), molecule("H2O")])
    lines = problems(tmp_path, edited(seeds={"file": "seeds.xyz"}))
    assert lines == (
        "seeds.file: O (structure 1) is not one of the elements Al, Cu",
        "seeds.file: H (structure 1) is not one of the elements Al, Cu",
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb:\n  c: 2\n  c: 3\n", "run.yaml, line 4, column 3: the key 'c' is given twice"),
        ("a: [1\nb: 2\n", "run.yaml, line 2, column 2: expected ',' or ']', but got ':'"),
        ("\tseed: 1\n", "run.yaml, line 1, column 1: found character '\\t'"),
        ("hello\n", "run.yaml has to hold keys such as 'elements:', got 'hello'"),
        ("", "run.yaml has to hold keys such as 'elements:', got None"),
        ("monte_carlo: {}", "run.yaml is a file for 'ase-hal free-energy run': it has the key "),
    ],
)
def test_what_is_no_yaml(tmp_path, text, line):
    (found,) = problems(tmp_path, text)
    assert found.startswith(str(tmp_path / line))


def test_no_file(tmp_path):
    with pytest.raises(RunFileError) as caught:
        RunFile.read(tmp_path / "run.yaml")
    assert str(caught.value) == f"there is no file {tmp_path / 'run.yaml'}"


def test_numbers_and_words_of_yaml(tmp_path):
    text = yaml.safe_dump(BASE) + "final: {relevance_thresholds: [1e3, 2E+4, 5]}\n"
    text += "loop: {max_iterations: 1e2}\n"
    runfile = read(tmp_path, text)
    assert runfile.final.relevance_thresholds == (1e3, 2e4, 5)
    assert runfile.loop.max_iterations == 100
    # Nobelium is no truth value.
    (line,) = problems(tmp_path, text.replace("- Cu", "- Cu\n- No\n- Nx"))
    assert line == "elements[3]: 'Nx' is not a chemical symbol"


def test_the_error_survives_pickling():
    error = RunFileError(["a: b", "c: d"])
    copied = pickle.loads(pickle.dumps(error))
    assert copied.problems == error.problems
    assert str(copied) == "a: b\nc: d"


def dotted_keys(section, prefix=""):
    """Dotted names of all keys of a section and of the sections in it."""
    for name, field in section.model_fields.items():
        key = prefix + (field.alias or name)
        kinds = [field.annotation, *typing.get_args(field.annotation)]
        kinds += [inner for kind in kinds for inner in typing.get_args(kind)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, Section)]
        if inner and not issubclass(inner[0], Span):
            yield from dotted_keys(inner[0], key + ".")
        else:
            yield key


def test_every_key_is_documented():
    text = (Path(__file__).parent.parent / "docs" / "run_file.md").read_text()
    keys = list(dotted_keys(Settings))
    assert "explore.stages.trigger.tolerance" in keys
    missing = [
        key
        for key in keys
        if not any(f"`{key.split('.', n)[-1]}`" in text for n in range(key.count(".") + 1))
    ]
    assert missing == []
