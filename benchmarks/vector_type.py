"""What the vector type of the kernels is worth, on the stage that takes most of a force call.

    python benchmarks/vector_type.py [--rounds 200]

The adjoint of the products of A (`ase_hal.ace.kernels.products`) is compiled twice from the same
source: with vectors of eight doubles, lanes being eight atoms, and with single doubles, one atom
after the other, which numba and LLVM may vectorise as they can. Both do the work for eight atoms.
CPU time of one thread, best of all rounds, taken in turns. The design keeps scalar code unless
vectors are more than 1.3 times as fast.
"""

from __future__ import annotations

import argparse
import sys
import types
from pathlib import Path
from typing import Any

import numba
import numpy as np
from kernel import best_times, make_basis

from ase_hal.ace.kernels import products, simd
from ase_hal.ace.kernels.layout import LANES, aligned, build_basis
from ase_hal.ace.tables import FunctionTables
from ase_hal.compiled import inlined

REPEATS = 20
OPTIONS = {"fastmath": {"contract"}, "error_model": "numpy", "_nrt": False}


def scalar_lanes() -> types.ModuleType:
    """The functions of `simd` that the stage uses, for one lane."""
    module = types.ModuleType("scalar_lanes")

    def item(array, index):  # type: ignore[no-untyped-def]
        return array[index]

    def store(array, index, value):  # type: ignore[no-untyped-def]
        array[index] = value

    def splat(scalar):  # type: ignore[no-untyped-def]
        return scalar

    def fma(a, b, c):  # type: ignore[no-untyped-def]
        return a * b + c

    names = {
        "item": item, "load": item, "splat_at": item, "store": store, "splat": splat, "fma": fma
    }  # fmt: skip
    for name, function in names.items():
        setattr(module, name, inlined(function))
    return module


def scalar_products() -> types.ModuleType:
    """The module of the stage, compiled for one lane."""
    sys.modules["scalar_lanes"] = scalar_lanes()
    source = Path(str(products.__file__)).read_text().replace(simd.__name__, "scalar_lanes")
    module = types.ModuleType("scalar_products")
    exec(compile(source, "scalar_products", "exec"), module.__dict__)
    return module


def compiled(adjoint: Any, total: Any, lanes: int) -> Any:
    """The stage for eight atoms; lanes of them at once. Returns their energy."""
    steps = LANES // lanes

    @numba.njit(**OPTIONS)
    def run(basis, values, coefficients, z, size):  # type: ignore[no-untyped-def]
        energy = 0.0
        for _ in range(REPEATS):  # else small bases measure the call from Python
            for step in range(steps):
                part = slice(step * size, (step + 1) * size)
                energy += total(adjoint(basis, 0, values[part], 0, coefficients, z[part]))
        return energy

    return run


@inlined
def itself(value):  # type: ignore[no-untyped-def]
    """A scalar is its own sum over lanes."""
    return value


def measure(name: str, n_max: list[int], l_max: list[int], rounds: int) -> None:
    """Time both for one basis of silicon."""
    basis, program = build_basis(FunctionTables.from_pyace(make_basis(["Si"], n_max, l_max)))
    rng = np.random.default_rng(0)
    n = 2 * basis.n_values
    by_atom = rng.normal(size=(LANES, n))
    values, z = aligned(n), aligned(n)
    values[: LANES * n] = by_atom.T.ravel()
    coefficients = rng.normal(size=len(program.partner) + LANES)
    scalar_values, scalar_z = by_atom.ravel().copy(), np.zeros(LANES * n)
    vector = compiled(products.adjoint, simd.total, LANES)
    scalar = compiled(scalar_products().adjoint, itself, 1)

    def run_vector() -> float:
        return vector(basis, values, coefficients, z, LANES * n)

    def run_scalar() -> float:
        return scalar(basis, scalar_values, coefficients, scalar_z, n)

    np.testing.assert_allclose(run_vector(), run_scalar(), rtol=1e-9)
    np.testing.assert_allclose(
        z[: LANES * n].reshape(n, LANES), scalar_z.reshape(LANES, n).T, atol=1e-9
    )
    times = best_times({"vectors": run_vector, "scalars": run_scalar}, rounds)
    vectors, scalars = (1e6 * times[kind] / REPEATS for kind in ("vectors", "scalars"))
    print(
        f"{name}, {len(program.partner)} leaves, eight atoms: vectors {vectors:.2f} us, "
        f"scalars {scalars:.2f} us, ratio {scalars / vectors:.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    measure("Si, 989 functions", [15, 6, 4, 3], [0, 5, 4, 2], given.rounds)
    measure("Si, 58 functions", [8, 4, 2], [0, 3, 1], given.rounds)


if __name__ == "__main__":
    main()
