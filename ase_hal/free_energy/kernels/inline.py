"""How kernels are compiled.

`inlined` functions become part of the kernels that call them. A `kernel` is what Python calls; it
is kept in numba's cache on disk. That cache notices changes in the file of the kernel only:
kernels carry a fingerprint of all files in their names, and with it in those of the cache files.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_LOGGER = logging.getLogger(__name__)

# Arrays are borrowed from the caller, not counted: numba would count them with atomic operations
# in the inner loops. No kernel makes arrays.
_OPTIONS: dict[str, Any] = {
    "fastmath": {"contract"},
    "error_model": "numpy",
    "nogil": True,
    "_nrt": False,
}

_FINGERPRINT = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()[:16]


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into each of its callers."""
    options = {"forceinline": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    return numba.njit(**(options | _OPTIONS))(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function to be called from Python, and keep the result on disk."""
    function.__qualname__ += f"_{_FINGERPRINT}"
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:  # numba finds no directory to write to
        _LOGGER.warning("compiled kernels cannot be kept: %s", error)
        return numba.njit(**_OPTIONS)(function)
