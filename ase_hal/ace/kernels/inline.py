"""How kernels are compiled.

`inlined` functions become part of the kernels that call them. A `kernel` is what Python calls; it
is kept in numba's cache on disk. That cache looks at the file of the kernel only, so that a change
in another file would go unnoticed: kernels are therefore made inside functions, as closures over
`FINGERPRINT`, which numba does look at.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

_LOGGER = logging.getLogger(__name__)

_OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}

FINGERPRINT = hashlib.sha256(
    b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
).hexdigest()


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a function into each of its callers."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a function to be called from Python, and keep the result on disk."""
    if FINGERPRINT not in [cell.cell_contents for cell in function.__closure__ or ()]:
        raise TypeError(f"{function.__name__} must be a closure over FINGERPRINT")
    try:
        return numba.njit(cache=True, **_OPTIONS)(function)
    except RuntimeError as error:  # numba finds no directory to write to
        _LOGGER.warning("compiled kernels cannot be kept: %s", error)
        return numba.njit(**_OPTIONS)(function)
