"""Short vectors inside numba functions: eight float32 or four float64 numbers that stay in a register.

numba vectorises a loop only where it can show that arrays do not overlap, which butterflies over run-time strides never let it. These vectors are
loaded from and stored to one-dimensional arrays; + - * / act lane by lane on two vectors, or on a vector and a number.
"""

import operator

import numba
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, models, overload, register_model

BYTES = 32
FLAGS = ("contract", "reassoc", "nsz", "arcp")  # NaN and infinity keep their meaning


class Vector(types.Type):
    """Numbers of one float type, `lanes` of them."""

    def __init__(self, dtype):
        self.dtype, self.lanes = dtype, BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _ir(fe_type))


def _ir(kind):
    return ir.VectorType(ir.FloatType() if kind.dtype == types.float32 else ir.DoubleType(), kind.lanes)


def _index(i):
    return ir.Constant(ir.IntType(32), i)


def _place(context, builder, array_type, array, index):
    data = cgutils.create_struct_proxy(array_type)(context, builder, value=array).data
    return builder.bitcast(builder.gep(data, [index]), _ir(Vector(array_type.dtype)).as_pointer())


def _spread(builder, kind, number):
    one = builder.insert_element(ir.Constant(_ir(kind), ir.Undefined), number, _index(0))
    return builder.shuffle_vector(one, ir.Constant(_ir(kind), ir.Undefined), ir.Constant(ir.VectorType(ir.IntType(32), kind.lanes), [0] * kind.lanes))


@intrinsic
def load(typing, array, index):
    """The vector that begins at array[index]; nothing checks bounds."""
    kind = Vector(array.dtype)

    def code(context, builder, signature, args):
        at = context.cast(builder, args[1], signature.args[1], types.intp)
        return builder.load(_place(context, builder, signature.args[0], args[0], at), align=array.dtype.bitwidth // 8)

    return kind(array, index), code


@intrinsic
def store(typing, array, index, vector):
    """Put a vector at array[index] and behind; nothing checks bounds."""

    def code(context, builder, signature, args):
        at = context.cast(builder, args[1], signature.args[1], types.intp)
        builder.store(args[2], _place(context, builder, signature.args[0], args[0], at), align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.none(array, index, vector), code


@intrinsic
def splat(typing, array, value):
    """A vector of the array's type with the same number in each lane."""
    kind = Vector(array.dtype)

    def code(context, builder, signature, args):
        return _spread(builder, kind, context.cast(builder, args[1], signature.args[1], kind.dtype))

    return kind(array, value), code


@intrinsic
def total(typing, vector):
    """The sum of the lanes."""

    def code(context, builder, signature, args):
        lanes = [builder.extract_element(args[0], _index(i)) for i in range(vector.lanes)]
        while len(lanes) > 1:
            lanes = [builder.fadd(a, b, flags=FLAGS) for a, b in zip(lanes[::2], lanes[1::2], strict=True)]
        return lanes[0]

    return vector.dtype(vector), code


@intrinsic
def root(typing, vector):
    """The square root of each lane."""

    def code(context, builder, signature, args):
        name = f"llvm.sqrt.v{vector.lanes}f{vector.dtype.bitwidth}"
        kind = ir.FunctionType(_ir(vector), [_ir(vector)])
        return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)

    return vector(vector), code


@intrinsic
def at_least(typing, vector, least):
    """Each lane, or `least` where that is more; NaN stays."""

    def code(context, builder, signature, args):
        bound = _spread(builder, vector, context.cast(builder, args[1], signature.args[1], vector.dtype))
        return builder.select(builder.fcmp_ordered("<", args[0], bound), bound, args[0])

    return vector(vector, least), code


@intrinsic
def where_negative(typing, sign, instead, otherwise):
    """`instead` in lanes where `sign` is below zero, else `otherwise`."""

    def code(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", args[0], ir.Constant(_ir(sign), None)), args[1], args[2])

    return sign(sign, instead, otherwise), code


@intrinsic
def _exponent(typing, vector):
    """floor(log2 x) of each lane, for positive normal float32."""

    def code(context, builder, signature, args):
        whole = ir.VectorType(ir.IntType(32), vector.lanes)
        bits = builder.lshr(builder.bitcast(args[0], whole), ir.Constant(whole, [23] * vector.lanes))
        return builder.sitofp(builder.sub(bits, ir.Constant(whole, [127] * vector.lanes)), _ir(vector))

    return vector(vector), code


@intrinsic
def _significand(typing, vector):
    """x 2^-floor(log2 x), 1 to 2, of each lane, for positive normal float32."""

    def code(context, builder, signature, args):
        whole = ir.VectorType(ir.IntType(32), vector.lanes)
        low = builder.and_(builder.bitcast(args[0], whole), ir.Constant(whole, [0x007FFFFF] * vector.lanes))
        return builder.bitcast(builder.or_(low, ir.Constant(whole, [0x3F800000] * vector.lanes)), _ir(vector))

    return vector(vector), code


@intrinsic
def _library_log(typing, vector):
    def code(context, builder, signature, args):
        function = builder.module.declare_intrinsic("llvm.log", [_ir(vector).element])
        made = args[0]
        for i in range(vector.lanes):
            made = builder.insert_element(made, builder.call(function, [builder.extract_element(args[0], _index(i))]), _index(i))
        return made

    return vector(vector), code


@numba.njit(inline="always")
def _short_log(x):
    low, high = _significand(x), _exponent(x)
    few, times = where_negative(low - 1.4142135, low, low * 0.5), where_negative(low - 1.4142135, high, high + 1.0)
    z = few - 1.0
    y = z * 7.0376836292e-2 - 1.1514610310e-1
    y = y * z + 1.1676998740e-1
    y = y * z - 1.2420140846e-1
    y = y * z + 1.4249322787e-1
    y = y * z - 1.6668057665e-1
    y = y * z + 2.0000714765e-1
    y = y * z - 2.4999993993e-1
    y = y * z + 3.3333331174e-1
    return z + (y * z * z * z - z * z * 0.5 + times * 0.69314718056)


def log(vector):
    """The natural logarithm of positive lanes; float32 by Cephes' polynomial about 1 (netlib.org/cephes, logf), float64 lane after lane by the
    machine's library."""


@overload(log)
def _log(vector):
    return (lambda vector: _short_log(vector)) if vector.dtype == types.float32 else (lambda vector: _library_log(vector))


@intrinsic
def turn_block(typing, x, start, stride, valid, y, to, out_stride):
    """A square block of as many rows as a vector has lanes, from x to y, transposed; source rows from `valid` on count as zeros."""
    kind = Vector(x.dtype)

    def code(context, builder, signature, args):
        n, whole = kind.lanes, ir.IntType(64)
        at, step, rows, out, out_step = (context.cast(builder, args[i], signature.args[i], types.int64) for i in (1, 2, 3, 5, 6))
        align, lines = x.dtype.bitwidth // 8, []
        for i in range(n):
            index = builder.add(at, builder.mul(step, ir.Constant(whole, i)))
            line = builder.load(_place(context, builder, signature.args[0], args[0], index), align=align)
            lines.append(builder.select(builder.icmp_signed("<", ir.Constant(whole, i), rows), line, ir.Constant(_ir(kind), None)))
        masks = [ir.Constant(ir.VectorType(ir.IntType(32), n), [half + i // 2 + (i % 2) * n for i in range(n)]) for half in (0, n // 2)]
        for _ in range(n.bit_length() - 1):
            pairs = zip(lines[: n // 2], lines[n // 2 :], strict=True)
            lines = [builder.shuffle_vector(a, b, mask) for a, b in pairs for mask in masks]
        for i, line in enumerate(lines):
            index = builder.add(out, builder.mul(out_step, ir.Constant(whole, i)))
            builder.store(line, _place(context, builder, signature.args[4], args[4], index), align=align)
        return context.get_dummy_value()

    return types.none(x, start, stride, valid, y, to, out_stride), code


def _lanewise(name):
    @intrinsic
    def act(typing, a, b):
        kind = a if isinstance(a, Vector) else b

        def code(context, builder, signature, args):
            sides = [value if isinstance(side, Vector) else _spread(builder, kind, context.cast(builder, value, side, kind.dtype))
                     for value, side in zip(args, signature.args, strict=True)]
            return getattr(builder, name)(*sides, flags=FLAGS)

        return kind(a, b), code

    def chosen(a, b):
        return (lambda a, b: act(a, b)) if isinstance(a, Vector) or isinstance(b, Vector) else None

    return chosen


for _operator, _name in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    overload(_operator)(_lanewise(_name))
