"""The only file that imports python-ace: specifications in, pacemaker's own objects out.

python-ace is imported when a basis is built or exported, never when a saved model is
evaluated. Importing it installs a logging handler on the root logger, which is undone here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyace.basis import ACEBBasisSet, BBasisConfiguration

LINEAR_EMBEDDING = {
    "npot": "FinnisSinclair",
    "fs_parameters": [1, 1],
    "ndensity": 1,
    "rho_core_cut": 200000,
    "drho_core_cut": 250,
}


def import_pyace() -> Any:
    """Import python-ace without letting it reconfigure the root logger.

    Raises
    ------
    ImportError
        With what to install, where python-ace is missing.
    """
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
    """
    pyace = import_pyace()
    try:
        config = pyace.create_multispecies_basis_config(dict(specification))
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(f"pacemaker refuses this basis specification: {error}") from error
    if keep is not None:
        for block in config.funcspecs_blocks:
            block.funcspecs = [f for f in block.funcspecs if keep(f)]
    return config


def read_configuration(path: str | Path) -> BBasisConfiguration:
    """Read a pacemaker ``.yaml`` potential, functions and coefficients."""
    pyace = import_pyace()
    if not Path(path).is_file():
        raise FileNotFoundError(f"no pacemaker potential at {path}")
    return pyace.basis.BBasisConfiguration(str(path))


def basis_set(config: BBasisConfiguration) -> ACEBBasisSet:
    """Turn a configuration into the object that carries radial tables and couplings."""
    return import_pyace().basis.ACEBBasisSet(config)
