"""Functions of somebody else's that a run file names as ``module:function``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ase_hal.runfile.errors import Problems, reason_of


def import_function(
    name: str, directory: Path, *arguments: Any, **parameters: Any
) -> Callable[..., Any]:
    """Import a function that takes some arguments.

    Parameters
    ----------
    name : str
        ``module:function``.
    directory : Path
        Of the run file; modules are looked for there too.
    *arguments, **parameters
        What it is going to be called with.

    Raises
    ------
    Problems
        At ``import``, if there is no such function or it takes other arguments.
    """
    if str(directory) not in sys.path:
        sys.path.append(str(directory))
    module, _, function = name.partition(":")
    try:
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        inspect.signature(found).bind(*arguments, **parameters)
    except Exception as error:  # whatever a module of somebody else's raises
        raise Problems([(("import",), reason_of(error))]) from error
    return found
