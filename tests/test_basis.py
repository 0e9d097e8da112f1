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
        ({"radbase": "Fourier"}, "radbase"),
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
