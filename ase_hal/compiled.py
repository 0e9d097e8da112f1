"""How kernels are compiled.

`inlined` functions become part of the kernels that call them. A `kernel` is what Python calls; it
is kept in numba's cache on disk. That cache notices changes in the file of the kernel only, not in
those it takes inlined functions from: kernels therefore carry a fingerprint of all files in their
folder, and of this one, in their names, and with it in those of the cache files.
"""

from __future__ import annotations

import hashlib
import inspect
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba

_LOGGER = logging.getLogger(__name__)

_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}

# Arrays are borrowed from the caller, not counted: numba would count each of the dozens of arrays
# a kernel holds with an atomic operation in every inner loop, which took ten times as long as the
# arithmetic. Kernels that make arrays need the counting.
_BORROWING: dict[str, Any] = _OPTIONS | {"_nrt": False}


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into each of its callers."""
    # no wrappers for calls from Python, which take half the time of compilation
    options = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**(options | _BORROWING))(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function to be called from Python, and keep the result on disk.

    It makes no arrays.
    """
    return _kept(function, _BORROWING)


def making_kernel(function: Callable[..., Any]) -> Any:
    """Like `kernel`, for a function that makes arrays."""
    return _kept(function, _OPTIONS)


def _kept(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    function.__qualname__ += f"_{_fingerprint(Path(inspect.getfile(function)).parent)}"
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError as error:  # numba finds no directory to write to
        _LOGGER.warning("compiled kernels cannot be kept: %s", error)
        return numba.njit(**options)(function)


@cache
def _fingerprint(folder: Path) -> str:
    files = [*sorted(folder.glob("*.py")), Path(__file__)]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()[:16]
