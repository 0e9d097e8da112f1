"""Order parameters on disk, so that the directory of a run stands for itself."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np

from ase_hal.free_energy.lattice import Lattice, Supercell
from ase_hal.free_energy.order_parameters import OrderParameters
from ase_hal.journal import read_json, write_json

_INTEGERS = ("species", "variants", "supercell")


def write_order_parameters(order_parameters: OrderParameters, path: str | Path) -> None:
    """Write everything that belongs to order parameters, as JSON."""
    write_json(
        path,
        {
            "lattice": asdict(order_parameters.supercell.lattice),
            "supercell": order_parameters.supercell.matrix,
            "variants": order_parameters.variants,
            "matrix": order_parameters.matrix,
            "n_trivial": order_parameters.n_trivial,
            "group": order_parameters.group,
        },
    )


def read_order_parameters(path: str | Path) -> OrderParameters:
    """Read what `write_order_parameters` wrote: ``order_parameters.json`` of a run's directory.

    Raises
    ------
    ValueError
        If the file is missing or something else.
    """
    try:
        found = read_json(path)
        lattice = found.pop("lattice")
        tolerance = float(lattice.pop("tolerance"))
        arrays = {
            key: np.array(value, dtype=np.int64 if key in _INTEGERS else float)
            for key, value in (found | lattice).items()
        }
        sites = Lattice(
            arrays["cell"],
            arrays["sites"],
            arrays["framework"].reshape(-1, 3),
            arrays["species"],
            tolerance,
        )
        return OrderParameters(
            Supercell(sites, arrays["supercell"]),
            arrays["variants"],
            arrays["matrix"],
            int(found["n_trivial"]),
            arrays["group"],
        )
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path} holds no order parameters: {error}") from error
