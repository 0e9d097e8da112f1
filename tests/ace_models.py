"""Small bases of every kind the kernels distinguish, as python-ace objects."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from pyace import create_multispecies_basis_config
from pyace.basis import ACEBBasisSet


def configuration(
    elements: tuple[str, ...],
    n_max: list[int],
    l_max: list[int],
    bonds: dict[str, dict[str, Any]] | None = None,
    embedding: dict[str, Any] | None = None,
    **bond: Any,
) -> Any:
    """``BBasisConfiguration`` with all functions up to n_max and l_max of each rank."""
    everywhere = {
        "radbase": "SBessel",
        "radparameters": [5.25],
        "rcut": 5.0,
        "dcut": 0.01,
        "NameOfCutoffFunction": "cos",
        **bond,
    }
    linear = {"npot": "FinnisSinclair", "fs_parameters": [1, 1], "ndensity": 1}
    return create_multispecies_basis_config(
        {
            "deltaSplineBins": 0.002,
            "elements": list(elements),
            "embeddings": {"ALL": {**linear, **(embedding or {})}},
            "bonds": {"ALL": everywhere}
            | {pair: {**everywhere, **special} for pair, special in (bonds or {}).items()},
            "functions": {"ALL": {"nradmax_by_orders": n_max, "lmax_by_orders": l_max}},
        }
    )


def randomise_radial(config: Any, seed: int) -> Any:
    """Random coefficients of R_nl in g_k, other than delta_nk."""
    of_pair: dict[tuple[str, ...], Any] = {}
    rng = np.random.default_rng(seed)
    for block in config.funcspecs_blocks:
        pair = tuple(sorted(set(block.elements_vec)))
        shape = np.shape(block.radcoefficients)
        block.radcoefficients = of_pair.setdefault(pair, rng.normal(size=shape).tolist())
    return config


_PAIRS = {
    "AlAl": {"rcut": 5.2},
    "SiSi": {"rcut": 4.1, "radbase": "ChebExpCos", "radparameters": [3.0]},
    "AlSi": {"rcut": 4.6, "radbase": "ChebPow", "radparameters": [2.0]},
}
_INNER = {"r_in": 2.7, "delta_in": 0.4, "inner_cutoff_type": "distance"}


@lru_cache
def basis(name: str) -> ACEBBasisSet:
    """A basis by name; tests must not rely on its coefficients."""
    match name:
        case "one element":
            config = configuration(("Si",), [9, 3, 2, 1, 1], [0, 3, 2, 2, 1])
        case "rank 6":
            config = configuration(("Si",), [4, 2, 1, 1, 1, 1], [0, 2, 1, 1, 1, 1])
        case "three elements":
            config = configuration(("Al", "Cu", "Si"), [4, 2, 1], [0, 2, 1])
        case "pair dependent":
            config = configuration(("Al", "Si"), [4, 3, 2], [0, 3, 1], _PAIRS)
        case "random radial":
            config = configuration(("Al", "Si"), [5, 3, 2], [0, 2, 1], _PAIRS)
            config = randomise_radial(config, seed=3)
        case "many radial":
            config = configuration(("Si",), [18, 10], [0, 4])
        case "inner cutoff":
            config = configuration(("Al", "Si"), [4, 3, 2], [0, 3, 1], **_INNER)
        case "pair part":
            config = configuration(("Al", "Si"), [6], [0], rcut=6.5)
        case _:
            raise KeyError(name)
    return ACEBBasisSet(config)
