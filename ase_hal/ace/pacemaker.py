"""The only file that imports python-ace: specifications in, pacemaker's own objects out.

python-ace is imported when a basis is built or exported, never when a saved model is
evaluated. Importing it installs a logging handler on the root logger, which is undone here.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase_hal.ace.specification_checks import check_bonds, check_functions_built

if TYPE_CHECKING:
    from pyace.basis import ACEBBasisSet, BBasisConfiguration

LINEAR_EMBEDDING = {
    "npot": "FinnisSinclair",
    "fs_parameters": [1, 1],
    "ndensity": 1,
    "rho_core_cut": 200000,
    "drho_core_cut": 250,
}

# A thread that looked at the handlers while another imports would put back those of python-ace.
_importing = threading.Lock()

# Pacemaker takes so many of the functions that the other keys allow.
_FUNCTION_LIMIT = "number_of_functions_per_element"


def import_pyace() -> Any:
    """Import python-ace without letting it reconfigure the root logger.

    Raises
    ------
    ImportError
        With what to install, where python-ace is missing.
    """
    with _importing:
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        try:
            import pyace
        except ImportError as error:
            raise ImportError(
                "building or exporting an ACE basis needs python-ace: "
                "pip install 'python-ace>=0.4.0rc1'"
            ) from error
        finally:
            root.handlers[:] = handlers
            root.setLevel(level)
    return pyace


def configuration(
    specification: Mapping[str, Any], keep: Callable[[Any], bool] | None = None
) -> BBasisConfiguration:
    """Build pacemaker's list of functions from its potential specification.

    Parameters
    ----------
    specification : mapping
        The ``potential`` section of a pacemaker input (elements, bonds, functions, ...).
    keep : callable, optional
        Filter on pacemaker's function specifications (``.ns``, ``.ls``, ``.elements``).

    Raises
    ------
    ValueError
        For what pacemaker refuses, and for what it builds otherwise than it was asked for.
    """
    pyace = import_pyace()
    extension = pyace.multispecies_basisextension
    asked = dict(specification)
    check_bonds(
        _accepted(extension.generate_bonds_ext, asked), float(asked.get("deltaSplineBins", 0.001))
    )
    config = _accepted(pyace.create_multispecies_basis_config, asked)
    everything = config
    if _FUNCTION_LIMIT in asked["functions"]:
        functions = {k: v for k, v in asked["functions"].items() if k != _FUNCTION_LIMIT}
        everything = _accepted(
            pyace.create_multispecies_basis_config, {**asked, "functions": functions}
        )
    check_functions_built(
        _accepted(extension.generate_blocks_specifications_dict, asked),
        {tuple(block.block_name.split()): block.funcspecs for block in everything.funcspecs_blocks},
    )
    if keep is not None:
        for block in config.funcspecs_blocks:
            block.funcspecs = [f for f in block.funcspecs if keep(f)]
    return config


def _accepted(build: Callable[[Any], Any], specification: Mapping[str, Any]) -> Any:
    """What one of pacemaker's functions makes of a specification; ValueError where it refuses."""
    try:
        # It may change what it is given.
        return build(deepcopy(dict(specification)))
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise ValueError(f"pacemaker refuses this basis specification: {error}") from error


def read_configuration(path: str | Path) -> BBasisConfiguration:
    """Read a pacemaker ``.yaml`` potential, functions and coefficients."""
    pyace = import_pyace()
    if not Path(path).is_file():
        raise FileNotFoundError(f"no pacemaker potential at {path}")
    return pyace.basis.BBasisConfiguration(str(path))


def basis_set(config: BBasisConfiguration) -> ACEBBasisSet:
    """Turn a configuration into the object that carries radial tables and couplings."""
    return import_pyace().basis.ACEBBasisSet(config)
