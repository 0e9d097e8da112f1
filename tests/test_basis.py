"""ACEBasis: counts, presets, specifications and what it refuses."""

import json
import logging
from copy import deepcopy

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.build import bulk
from pyace import create_multispecies_basis_config
from pyace.basis import ACEBBasisSet
from pyace_evaluator import PyaceEvaluator

from ase_hal.ace import ACEBasis, InnerCutoff, PairPart
from ase_hal.ace.specification_checks import LARGEST_L
from ase_hal.linear_fit import LinearFit


def test_total_degree_counts_the_papers_functions():
    """723 functions for AlSi10 (van der Oord et al. 2022, section II.B).

    684 many-body and 39 pair functions; pacemaker keeps Al-Si and Si-Al pairs apart where the
    paper counts them once.
    """
    basis = ACEBasis.total_degree(
        ("Al", "Si"), rcut=5.5, order=2, degree=13, pair=PairPart(rcut=6.0, nradmax=13)
    )
    pairs = [f for f in basis.functions if f.part == "pair"]
    assert basis.size - len(pairs) == 684
    assert len({(tuple(sorted(f.elements)), f.ns) for f in pairs}) == 39
    assert max(sum(f.ns) + 1.5 * sum(f.ls) for f in basis.functions) <= 13


def test_labels_follow_the_coefficients():
    basis = ACEBasis(("Si", "Al"), rcut=5.0, nradmax_by_orders=[3, 2], lmax_by_orders=[0, 1])
    assert basis.elements == ("Al", "Si")
    assert len(basis.functions) == basis.size == len(basis.rows(bulk("Al")).energy)
    alone = basis.rows(bulk("Si", cubic=True)).energy
    for function, value in zip(basis.functions, alone, strict=True):
        assert (set(function.elements) == {"Si"}) == (value != 0)


def test_specification_round_trip():
    basis = ACEBasis.total_degree(
        ("Al", "Si"),
        rcut=5.0,
        order=2,
        degree=6,
        inner_cutoff=InnerCutoff(1.5),
        pair=PairPart(rcut=6.0, nradmax=4),
    )
    again = ACEBasis.from_specification(json.loads(json.dumps(basis.specification)))
    atoms = bulk("Al", a=3.9, cubic=True)
    atoms.symbols[1] = "Si"
    atoms.rattle(0.1, seed=1)
    np.testing.assert_array_equal(again.rows(atoms).energy, basis.rows(atoms).energy)


def assert_pacemaker_has_the_same(basis, potential, atoms):
    """The same functions in the same order, and the same values, as python-ace alone has them."""
    theirs = ACEBBasisSet(create_multispecies_basis_config(deepcopy(potential)))
    symbols = theirs.elements_name
    labels = [
        (tuple(symbols[mu] for mu in (f.mu0, *f.mus)), tuple(f.ns), tuple(f.ls))
        for mu0 in range(theirs.nelements)
        for f in [*theirs.basis_rank1[mu0], *theirs.basis[mu0]]
    ]
    assert [(f.elements, f.ns, f.ls) for f in basis.functions] == labels
    expected = PyaceEvaluator([theirs]).descriptors(atoms)
    assert np.abs(expected).min() > 0, "no function is without neighbours"
    np.testing.assert_allclose(
        basis.rows(atoms).energy, expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max()
    )


def test_pacemaker_input_file(tmp_path):
    potential = {
        "deltaSplineBins": 0.001,
        "elements": ["Al", "Ni"],
        "embeddings": {
            "ALL": {
                "npot": "FinnisSinclair",
                "fs_parameters": [1, 1],
                "ndensity": 1,
                "rho_core_cut": 200000,
                "drho_core_cut": 250,
            }
        },
        "bonds": {
            "ALL": {
                "radbase": "ChebExpCos",
                "radparameters": [5.25],
                "rcut": 5.0,
                "dcut": 0.01,
                "NameOfCutoffFunction": "cos",
                "core-repulsion": [0.0, 1.0],
            },
            "AlNi": {"rcut": 4.5, "radbase": "ChebPow", "radparameters": [2.0]},
            "NiNi": {"rcut": 4.0, "r_in": 1.9, "delta_in": 0.4, "inner_cutoff_type": "distance"},
        },
        "functions": {
            "UNARY": {"nradmax_by_orders": [4, 2, 1], "lmax_by_orders": [0, 2, 1]},
            "BINARY": {"nradmax_by_orders": [3, 1], "lmax_by_orders": [0, 1]},
        },
    }
    path = tmp_path / "input.yaml"
    path.write_text(yaml.safe_dump({"cutoff": 7, "potential": potential}))
    basis = ACEBasis.from_specification(path)
    assert basis.elements == ("Al", "Ni")
    assert basis.cutoff == 5.0
    atoms = bulk("Al", a=3.4, cubic=True)
    atoms.symbols[1:3] = "Ni"
    atoms.rattle(0.2, seed=1)
    assert_pacemaker_has_the_same(basis, potential, atoms)
    # Al and Ni see each other to 4.5 Å only, Al and Al to 5.0 Å, Ni and Ni to 4.0 Å.
    for pair, distance, seen in [
        ("AlNi", 4.4, True), ("AlNi", 4.6, False), ("AlAl", 4.9, True), ("NiNi", 4.1, False),
    ]:  # fmt: skip
        values = basis.rows(Atoms(pair, [[0, 0, 0], [distance, 0, 0]])).energy
        assert values.any() == seen, (pair, distance)


def test_inner_cutoff_silences_short_distances():
    basis = ACEBasis(("Cu",), rcut=5.0, nradmax_by_orders=[4, 2], lmax_by_orders=[0, 1])
    cut = basis.with_inner_cutoff(InnerCutoff(3.0, 0.2))
    atoms = bulk("Cu", a=3.61)  # neighbours at 2.55 and 3.61 Å
    assert np.abs(cut.rows(atoms).energy - basis.rows(atoms).energy).max() > 1e-3
    far = bulk("Cu", a=4.4)  # nearest neighbours at 3.11 Å
    np.testing.assert_allclose(cut.rows(far).energy, basis.rows(far).energy, rtol=1e-12)


@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_presets(size):
    one = ACEBasis.preset(size, ["Cu"], rcut=5.0)
    two = ACEBasis.preset(size, ["Cu", "Ni"], rcut=5.0)
    assert 30 < one.size < 1000
    assert one.size < two.size < 1500


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"elements": "Al"}, "sequence of chemical symbols"),
        ({"elements": ["Al", "Xx"]}, "no such chemical elements: Xx"),
        ({"elements": ["Al", "Al"]}, "named twice"),
        ({"rcut": -1.0}, "positive length"),
        ({"nradmax_by_orders": [3]}, "one entry for each"),
        ({"lmax_by_orders": [1, 1]}, "starts with 0"),
        ({"nradmax_by_orders": [0, 1]}, "nradmax >= 1"),
        ({"inner_cutoff": InnerCutoff(1.0, 2.0)}, "inner cutoff"),
        ({"pair": PairPart(5.0, 0)}, "nradmax of at least 1"),
        ({"pair": PairPart(-6.0, 3)}, "pair part: a cutoff is a positive length in Å, got -6.0"),
        ({"pair": PairPart(6.0, 2.5)}, "whole numbers"),
        ({"pair": PairPart(6.0, 3, "Fourier")}, "pair part: unknown radbase 'Fourier'"),
        ({"pair": PairPart(6.0, 3, radparameters=())}, "one finite number in radparameters"),
        ({"radbase": "Fourier"}, "radbase"),
        ({"radparameters": ()}, "one finite number in radparameters, got \\[\\]"),
        ({"radparameters": (5.25, 1.0)}, "one finite number"),
        ({"radparameters": (np.nan,)}, "one finite number"),
        ({"radparameters": 5.25}, "list of one number"),
        ({"nradmax_by_orders": [3.7, 1]}, "whole numbers"),
        ({"rcut": np.inf}, "positive length"),
        ({"rcut": 1e5}, "more than 1000000 spline bins"),
        ({"inner_cutoff": InnerCutoff(5.0)}, "leaves nothing below 5.0 Å"),
    ],
)
def test_bad_arguments(change, message):
    arguments = {
        "elements": ["Al"],
        "rcut": 5.0,
        "nradmax_by_orders": [3, 1],
        "lmax_by_orders": [0, 1],
    } | change
    with pytest.raises(ValueError, match=message):
        ACEBasis(arguments.pop("elements"), **arguments).size  # noqa: B018


def test_nonlinear_specifications_are_refused():
    specification = ACEBasis(
        ("Al",), rcut=5.0, nradmax_by_orders=[3], lmax_by_orders=[0]
    ).specification["many_body"]
    specification["embeddings"]["ALL"] |= {
        "npot": "FinnisSinclairShiftedScaled",
        "fs_parameters": [1, 1, 1, 0.5],
        "ndensity": 2,
    }
    with pytest.raises(ValueError, match="linear|ndensity"):
        ACEBasis.from_specification(specification)


def test_pyace_leaves_the_root_logger_alone():
    handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
    ACEBasis(("Al",), rcut=5.0, nradmax_by_orders=[3], lmax_by_orders=[0]).size  # noqa: B018
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().level == level


# --- what python-ace leaves out ----------------------------------------------------------


def theirs(lmax):
    """The largest l that python-ace gives for each correlation order, one element."""
    potential = ACEBasis(("Al",), rcut=5.0, nradmax_by_orders=[1], lmax_by_orders=[0])
    potential = potential.specification["many_body"]
    potential["functions"] = {"ALL": {"nradmax_by_orders": [1] * len(lmax), "lmax_by_orders": lmax}}
    found = {}
    for block in create_multispecies_basis_config(potential).funcspecs_blocks:
        for f in block.funcspecs:
            found[len(f.ns)] = max(found.get(len(f.ns), 0), *f.ls)
    return found


def test_the_limits_are_those_of_python_ace():
    """It gives functions up to the limit, and silently nothing more beyond it."""
    orders = range(1, len(LARGEST_L) + 1)
    assert theirs([LARGEST_L[rank] for rank in orders]) == LARGEST_L
    assert theirs([LARGEST_L[rank] + 3 for rank in orders]) == LARGEST_L
    with pytest.raises(ValueError, match="refuses|too big|white-list"):
        ACEBasis(("Al",), rcut=5.0, nradmax_by_orders=[1] * 6 + [3], lmax_by_orders=[0] * 7).size  # noqa: B018


@pytest.mark.parametrize("rank", [2, 3, 4, 5, 6])
def test_functions_beyond_the_limits_are_refused(rank):
    shape = {"rcut": 5.0, "nradmax_by_orders": [1] * rank}
    lmax = [0] * (rank - 1)
    basis = ACEBasis(("Al",), **shape, lmax_by_orders=[*lmax, LARGEST_L[rank]])
    assert max(max(f.ls) for f in basis.functions) == LARGEST_L[rank]
    with pytest.raises(ValueError, match=f"at most .*, {LARGEST_L[rank]}\\], .*no functions"):
        ACEBasis(("Al",), **shape, lmax_by_orders=[*lmax, LARGEST_L[rank] + 1])


def test_limits_hold_for_total_degrees_and_many_orders():
    ACEBasis.total_degree(("Al",), rcut=5.0, order=2, degree=32)
    with pytest.raises(ValueError, match=r"at most \[0, 10\], .* got \[0, 12\]"):
        ACEBasis.total_degree(("Al",), rcut=5.0, order=2, degree=40)
    with pytest.raises(ValueError, match="up to correlation order 12, got 13"):
        ACEBasis(("Al",), rcut=5.0, nradmax_by_orders=[1] * 13, lmax_by_orders=[0] * 13)


def pacemaker_potential(functions, **bond):
    potential = ACEBasis(
        ("Al", "Ni"), rcut=5.0, nradmax_by_orders=[1], lmax_by_orders=[0]
    ).specification["many_body"]
    potential["functions"] = functions
    potential["bonds"]["ALL"] |= bond
    return potential


@pytest.mark.parametrize(
    ("functions", "message"),
    [
        (
            {"ALL": {"nradmax_by_orders": [3, 1], "lmax_by_orders": [0, 12]}},
            r"functions of Al(-Ni)?: .* at most \[0, 10\]",
        ),
        (
            {
                "UNARY": {"nradmax_by_orders": [3, 1], "lmax_by_orders": [0, 2]},
                "BINARY": {"nradmax_by_orders": [3, 1, 1], "lmax_by_orders": [0, 1, 7]},
            },
            r"functions of Al-Ni: .* at most \[0, 10, 6\]",
        ),
        (
            {
                "ALL": {"nradmax_by_orders": [3, 1], "lmax_by_orders": [0, 2]},
                "Ni": {"nradmax_by_orders": [3, 1, 1], "lmax_by_orders": [0, 1]},
            },
            "functions of Ni: .* one entry for each",
        ),
        (
            {
                "ALL": {"nradmax_by_orders": [3, 1], "lmax_by_orders": [0, 12]},
                "number_of_functions_per_element": 5,
            },
            r"at most \[0, 10\]",
        ),
    ],
)
def test_pacemaker_inputs_get_what_they_ask_for(functions, message):
    with pytest.raises(ValueError, match=message):
        ACEBasis.from_specification(pacemaker_potential(functions))


def test_a_number_of_functions_is_what_is_asked_for():
    functions = {"ALL": {"nradmax_by_orders": [6, 3], "lmax_by_orders": [0, 2]}}
    everything = ACEBasis.from_specification(pacemaker_potential(functions))
    some = ACEBasis.from_specification(
        pacemaker_potential({**functions, "number_of_functions_per_element": 20})
    )
    assert some.size == 40 < everything.size


def test_functions_that_are_missing_are_noticed(monkeypatch):
    """Whatever the reason: what was built is compared with what was asked for."""
    monkeypatch.setattr("ase_hal.ace.specification_checks.LARGEST_L", {1: 0, 2: 99})
    basis = ACEBasis(("Al",), rcut=5.0, nradmax_by_orders=[2, 1], lmax_by_orders=[0, 12])
    with pytest.raises(ValueError, match="order 2: pacemaker builds them up to n = 1 and l = 10"):
        basis.size  # noqa: B018


@pytest.mark.parametrize(
    ("bond", "message"),
    [
        ({"radparameters": []}, "Al-Al: SBessel takes one finite number"),
        ({"rcut": -1.0}, "positive length"),
        ({"dcut": -0.1}, "dcut lies between 0 and rcut"),
        ({"r_cut": 4.0}, "pacemaker would ignore r_cut"),
        ({"r_in": 2.0}, "0 < delta_in <= r_in, got r_in=2.0, delta_in=0.0"),
        ({"r_in": 5.5, "delta_in": 0.1}, "leaves nothing below 5.0 Å"),
        ({"radbase": "ChebLinear"}, "many-body part, Al-Al: energies jump at the cutoff of 5 Å"),
    ],
)
def test_bonds_of_pacemaker_inputs(bond, message):
    functions = {"ALL": {"nradmax_by_orders": [3, 1], "lmax_by_orders": [0, 1]}}
    ACEBasis.from_specification(pacemaker_potential(functions))
    with pytest.raises(ValueError, match=message):
        ACEBasis.from_specification(pacemaker_potential(functions, **bond))


@pytest.mark.parametrize("key", ["radbase", "radparameters", "rcut"])
def test_bonds_of_pacemaker_inputs_are_complete(key):
    """Without a parameter, python-ace ends the process."""
    functions = {"ALL": {"nradmax_by_orders": [3, 1], "lmax_by_orders": [0, 1]}}
    potential = pacemaker_potential(functions)
    del potential["bonds"]["ALL"][key]
    with pytest.raises(ValueError, match=f"Al-Al: {key} is missing"):
        ACEBasis.from_specification(potential)


# --- continuity --------------------------------------------------------------------------


def basis_with(radbase, parameter, **options):
    return ACEBasis(
        ("Al",), rcut=5.0, nradmax_by_orders=[6, 3], lmax_by_orders=[0, 2],
        radbase=radbase, radparameters=[parameter], **options,
    )  # fmt: skip


def dimer(distance):
    return Atoms("Al2", [[0, 0, 0], [0.6 * distance, 0.8 * distance, 0]])


@pytest.mark.parametrize(
    ("radbase", "parameter"),
    [("SBessel", 5.25), ("ChebExpCos", 5.25), ("ChebExpCos", -3.0), ("ChebPow", 2.0),
     ("ChebPow", 1.5), ("ChebPow", 8.0)],
)  # fmt: skip
def test_bases_that_end_smoothly_are_accepted(radbase, parameter):
    basis = basis_with(radbase, parameter, pair=PairPart(6.0, 4, radbase, (parameter,)))
    last, middle = basis.rows(dimer(5.9999)), basis.rows(dimer(3.0))
    assert 0 < np.abs(last.energy).max() < 1e-4 * np.abs(middle.energy).max()
    assert 0 < np.abs(last.forces).max() < 0.1 * np.abs(middle.forces).max()


@pytest.mark.parametrize(
    ("radbase", "parameter", "what"),
    [
        ("ChebLinear", 2.0, "energies"),
        ("ChebPow", -1.0, "energies"),
        ("ChebPow", 0.0, "energies"),
        ("ChebPow", 0.5, "energies"),
        ("ChebPow", 1.0, "forces"),
        ("ChebPow", 1.05, "forces"),
    ],
)
def test_bases_that_jump_at_the_cutoff_are_refused(radbase, parameter, what):
    remedy = f"{what} jump at the cutoff of 5 Å.*radbase {radbase}.*(2 is usual|take SBessel)"
    basis = basis_with(radbase, parameter)
    with pytest.raises(ValueError, match=f"many-body part, Al-Al: {remedy}"):
        LinearFit(basis)
    pair = basis_with("SBessel", 5.25, pair=PairPart(5.0, 4, radbase, (parameter,)))
    with pytest.raises(ValueError, match=f"pair part, Al-Al: {remedy}"):
        pair.rows(dimer(3.0))
    # An inner cutoff, with slopes larger than all others, hides nothing.
    with pytest.raises(ValueError, match=remedy):
        basis.with_inner_cutoff(InnerCutoff(2.0, 0.1)).size  # noqa: B018


@pytest.mark.parametrize("width", [0.01, 0.1, 2.0])
def test_inner_cutoffs_that_the_splines_follow(width):
    assert basis_with("SBessel", 5.25, inner_cutoff=InnerCutoff(2.0, width)).size > 0


@pytest.mark.parametrize(("width", "what"), [(1e-4, "energies"), (0.005, "forces")])
def test_inner_cutoffs_that_are_steps_are_refused(width, what):
    basis = basis_with("SBessel", 5.25, inner_cutoff=InnerCutoff(2.0, width))
    with pytest.raises(ValueError, match=rf"{what} jump at a distance of (2|1\.99\d) Å.*delta_in"):
        basis.size  # noqa: B018


def test_saved_models_of_any_basis_are_read():
    """They have been fitted: what they are is no longer a question."""
    basis = basis_with("SBessel", 5.25)
    specification = basis.specification
    specification["many_body"]["bonds"]["ALL"]["radbase"] = "ChebLinear"
    again = ACEBasis.from_specification(specification, tables=basis.tables)
    assert again.size == basis.size
