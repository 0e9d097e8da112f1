"""A vector of eight doubles for numba: the lanes of every kernel.

numba has no vector type, and loops over eight lanes in arrays are not kept in registers. Here is
one on numba's public extension interface: ``a + b``, ``a - b``, ``a * b``, ``a / b``, ``-a`` and
the functions below. LLVM maps it to what the machine has (one AVX-512 register, two of AVX2, four
of NEON).

Index arguments of `load`, `store` and their kind count vectors of eight from the start of a
contiguous array; nothing is checked.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import operator
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 8
_ir_vector = ir.VectorType(ir.DoubleType(), LANES)
_ir_index = ir.IntType(64)


class _Vector(types.Type):
    def __init__(self) -> None:
        super().__init__(name="float64x8")


vector = _Vector()


@register_model(_Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, frontend_type: Any) -> None:
        super().__init__(manager, frontend_type, _ir_vector)


def _binary(function: Any, instruction: str) -> None:
    @type_callable(function)
    def _type(context: Any) -> Any:
        def typer(a: Any, b: Any) -> Any:
            return vector if a is vector and b is vector else None

        return typer

    @lower_builtin(function, _Vector, _Vector)
    def _lower(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return getattr(builder, instruction)(*args, flags=("contract",))


_binary(operator.add, "fadd")
_binary(operator.sub, "fsub")
_binary(operator.mul, "fmul")
_binary(operator.truediv, "fdiv")


@type_callable(operator.neg)
def _type_neg(context: Any) -> Any:
    def typer(a: Any) -> Any:
        return vector if a is vector else None

    return typer


@lower_builtin(operator.neg, _Vector)
def _lower_neg(context: Any, builder: Any, signature: Any, args: Any) -> Any:
    return builder.fneg(args[0])


def _element_pointer(context: Any, builder: Any, signature: Any, args: Any, scale: int) -> Any:
    """Pointer to element ``scale * index`` of an array, given (array, index, ...)."""
    array_type, index_type = signature.args[:2]
    array = context.make_array(array_type)(context, builder, args[0])
    index = args[1]
    if index_type.bitwidth < 64:
        extend = builder.sext if index_type.signed else builder.zext
        index = extend(index, _ir_index)
    if scale != 1:
        index = builder.mul(index, ir.Constant(_ir_index, scale))
    return builder.gep(array.data, [index])


def _is_array(array: Any, index: Any) -> bool:
    contiguous = isinstance(array, types.Array) and array.layout == "C"
    return contiguous and isinstance(index, types.Integer)


def _splat(builder: Any, scalar: Any) -> Any:
    zero = ir.Constant(ir.IntType(32), 0)
    single = builder.insert_element(ir.Constant(_ir_vector, ir.Undefined), scalar, zero)
    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(single, single, mask)


def _call(builder: Any, name: str, *args: Any, result: Any = _ir_vector) -> Any:
    kind = ir.FunctionType(result, [arg.type for arg in args])
    module = builder.module
    function = module.globals.get(name) or ir.Function(module, kind, name)
    return builder.call(function, args)


@intrinsic
def load(typingctx, array, index):
    """The eight doubles at ``array[8 * index]``."""
    if not _is_array(array, index):
        return None

    def codegen(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args, LANES)
        return builder.load(builder.bitcast(pointer, _ir_vector.as_pointer()), align=8)

    return vector(array, index), codegen


@intrinsic
def load_at(typingctx, array, index):
    """The eight doubles at ``array[index]``."""
    if not _is_array(array, index):
        return None

    def codegen(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args, 1)
        return builder.load(builder.bitcast(pointer, _ir_vector.as_pointer()), align=8)

    return vector(array, index), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Set the eight doubles at ``array[8 * index]``."""
    if not _is_array(array, index) or value is not vector:
        return None

    def codegen(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args, LANES)
        builder.store(args[2], builder.bitcast(pointer, _ir_vector.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def store_at(typingctx, array, index, value):
    """Set the eight doubles at ``array[index]``."""
    if not _is_array(array, index) or value is not vector:
        return None

    def codegen(context, builder, signature, args):
        pointer = _element_pointer(context, builder, signature, args, 1)
        builder.store(args[2], builder.bitcast(pointer, _ir_vector.as_pointer()), align=8)
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def item(typingctx, array, index):
    """``array[index]`` of any contiguous array, counted over all its axes."""
    if not _is_array(array, index):
        return None

    def codegen(context, builder, signature, args):
        value = builder.load(_element_pointer(context, builder, signature, args, 1))
        kind = signature.args[0].dtype
        if kind is types.int32:
            value = builder.sext(value, _ir_index)
        return value

    return (types.int64 if array.dtype is types.int32 else array.dtype)(array, index), codegen


@intrinsic
def put(typingctx, array, index, value):
    """Set ``array[index]`` of any contiguous array, counted over all its axes."""
    if not _is_array(array, index) or value != array.dtype:
        return None

    def codegen(context, builder, signature, args):
        builder.store(args[2], _element_pointer(context, builder, signature, args, 1))
        return context.get_dummy_value()

    return types.void(array, index, value), codegen


@intrinsic
def splat(typingctx, scalar):
    """Eight times the same number."""

    def codegen(context, builder, signature, args):
        return _splat(builder, args[0])

    return vector(types.float64), codegen


@intrinsic
def splat_at(typingctx, array, index):
    """Eight times ``array[index]``."""
    if not _is_array(array, index):
        return None

    def codegen(context, builder, signature, args):
        return _splat(builder, builder.load(_element_pointer(context, builder, signature, args, 1)))

    return vector(array, index), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """``a * b + c``, fused where the machine can."""
    if not a is b is c is vector:
        return None

    def codegen(context, builder, signature, args):
        return _call(builder, "llvm.fmuladd.v8f64", *args)

    return vector(a, b, c), codegen


@intrinsic
def sqrt(typingctx, a):
    """Square root of each lane."""
    if a is not vector:
        return None

    def codegen(context, builder, signature, args):
        return _call(builder, "llvm.sqrt.v8f64", args[0])

    return vector(a), codegen


@intrinsic
def total(typingctx, a):
    """Sum of the lanes."""
    if a is not vector:
        return None

    def codegen(context, builder, signature, args):
        value, width = args[0], LANES
        while width > 1:
            width //= 2
            index = ir.VectorType(ir.IntType(32), width)
            low = builder.shuffle_vector(value, value, ir.Constant(index, list(range(width))))
            high = builder.shuffle_vector(
                value, value, ir.Constant(index, list(range(width, 2 * width)))
            )
            value = builder.fadd(low, high)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float64(a), codegen


@intrinsic
def transpose(typingctx, a, b, c, d, e, f, g, h):
    """The 8 x 8 transpose of eight vectors."""
    if any(row is not vector for row in (a, b, c, d, e, f, g, h)):
        return None
    result = types.UniTuple(vector, LANES)

    def codegen(context, builder, signature, args):
        rows = list(args)
        index = ir.VectorType(ir.IntType(32), LANES)
        for step in (1, 2, 4):
            # swap the off-diagonal blocks of size step between rows r and r + step
            keep = [lane if not lane & step else lane - step + LANES for lane in range(LANES)]
            move = [lane + step if not lane & step else lane + LANES for lane in range(LANES)]
            for r in range(LANES):
                if not r & step:
                    low, high = rows[r], rows[r + step]
                    rows[r] = builder.shuffle_vector(low, high, ir.Constant(index, keep))
                    rows[r + step] = builder.shuffle_vector(low, high, ir.Constant(index, move))
        return context.make_tuple(builder, result, rows)

    return result(a, b, c, d, e, f, g, h), codegen
