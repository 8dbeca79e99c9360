"""`kernel`, `bare`, `inlined`: how functions of this folder are compiled."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from almenara._compiled import njit

_options: dict[str, Any] = {"cache": True, "nogil": True, "error_model": "numpy"}
#: Compiled on first use and kept on disk; division by zero gives inf, which no kernel here lets happen.
kernel = njit(**_options, _nrt=True)
#: The same for what makes no arrays: without counting references to parts of a slot, which costs a call each.
bare = njit(**_options, _nrt=False)
#: The same for what every row passes through: put into its caller, not called. Results are the same bits.
inlined = njit(**_options, _nrt=False, inline="always")
#: The same, left to the compiler of machine code, which does it in less time.
within = njit(**_options, _nrt=False, forceinline=True)
#: The same for what few rows need: it stays out of the way of the others, and is optimised once.
apart = njit(**_options, _nrt=False, apart=True)

#: Bytes that a processor fetches at once.
LINE = 64


def only_read(array: Any, dtype: Any) -> np.ndarray:
    """A column as compiled functions take it in: contiguous, and not to be written. Columns from a store cannot be
    written and those of a batch can, which to the compiler are two kinds, and it would do everything twice."""
    column = np.ascontiguousarray(array, dtype).view()
    column.flags.writeable = False
    return column


@intrinsic
def prefetch(_typing, array, index, size):  # type: ignore[no-untyped-def]
    """Begin to fetch the first `size` bytes (a constant) of array[index], of one axis, to be written soon. A
    slot that was not used for a while is waited for longer than its row is judged."""
    if not isinstance(size, types.IntegerLiteral):
        return None

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        step = context.get_abi_sizeof(context.get_data_type(signature.args[0].dtype))
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        at = builder.mul(arguments[1], ir.Constant(arguments[1].type, step))
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        call = builder.module.declare_intrinsic("llvm.prefetch", [byte], kind)
        for offset in range(0, size.literal_value, LINE):
            where = builder.gep(builder.bitcast(data, byte), [builder.add(at, ir.Constant(at.type, offset))])
            builder.call(call, [where, word(1), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(array, types.intp, size), generate
