"""A product of two small matrices, made of tiles that stay in the processor's registers.

A tile's sums are kept in vector registers while the loop runs along the depth, so that each is read and written once.
Which tiles there are is chosen here and not left to the compiler.
"""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from softmine.kernels.cpu.jit import compiled, intrinsic

UNIT = 8
"""Numbers a vector: rows and columns of a product are multiples of it."""


def _tile_of(rows: int, vectors: int):
    """An intrinsic that adds a product of two matrices to a tile of ``rows`` rows, each of ``vectors`` vectors of 8."""

    @intrinsic
    def tile(
        typing, out, out_at, out_row, left, left_at, left_row, left_step, right, right_at, right_row, depth
    ):
        def generate(context, builder, signature, arguments):
            element = context.get_value_type(signature.args[0].dtype)
            align = context.get_abi_sizeof(element)
            vector = ir.VectorType(element, UNIT)
            name = f"llvm.fmuladd.v{UNIT}f{8 * align}"
            multiply_add = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(vector, [vector] * 3), name
            )
            nothing = ir.Constant(vector, ir.Undefined)
            zeros = ir.Constant(ir.VectorType(ir.IntType(32), UNIT), None)

            def place(index, row=0, column=0):
                """Pointer into the matrix whose array, start and stride are the arguments from ``index``."""
                start = context.make_array(signature.args[index])(context, builder, arguments[index]).data
                at = builder.add(
                    arguments[index + 1], builder.mul(ir.Constant(ir.IntType(64), row), arguments[index + 2])
                )
                return builder.gep(start, [builder.add(at, ir.Constant(ir.IntType(64), column))])

            def as_vector(pointer):
                return builder.bitcast(pointer, vector.as_pointer())

            places = [[as_vector(place(0, row, UNIT * v)) for v in range(vectors)] for row in range(rows)]
            # The optimizer turns these variables into registers.
            sums = [[cgutils.alloca_once(builder, vector) for _ in range(vectors)] for _ in range(rows)]
            for row in range(rows):
                for v in range(vectors):
                    builder.store(builder.load(places[row][v], align=align), sums[row][v])
            starts = [place(3, row) for row in range(rows)]
            firsts = [place(7, 0, UNIT * v) for v in range(vectors)]
            with cgutils.for_range(builder, arguments[10]) as loop:
                at = builder.mul(loop.index, arguments[9])
                factors = [builder.load(as_vector(builder.gep(first, [at])), align=align) for first in firsts]
                step = builder.mul(loop.index, arguments[6])
                for row in range(rows):
                    number = builder.load(builder.gep(starts[row], [step]))
                    one = builder.insert_element(nothing, number, ir.Constant(ir.IntType(32), 0))
                    spread = builder.shuffle_vector(one, nothing, zeros)
                    for factor, total in zip(factors, sums[row], strict=True):
                        builder.store(
                            builder.call(multiply_add, [spread, factor, builder.load(total)]), total
                        )
            for row in range(rows):
                for v in range(vectors):
                    builder.store(builder.load(sums[row][v]), places[row][v], align=align)
            return context.get_dummy_value()

        whole = types.int64
        return (
            types.void(out, whole, whole, left, whole, whole, whole, right, whole, whole, whole),
            generate,
        )

    return tile


# Of the sixteen vector registers that most processors have, they use 16, 11 and 10.
_tile_of_3, _tile_of_2, _tile_of_1 = _tile_of(4, 3), _tile_of(4, 2), _tile_of(8, 1)


@compiled
def multiply(
    out, out_at, out_row, left, left_at, left_row, left_step, right, right_at, right_row, rows, columns, depth
):
    """Adds to ``out`` (rows, columns) the product of ``left`` (rows, depth) and ``right`` (depth, columns).

    All are flat arrays, entered at ``*_at``; a row is ``*_row`` further. Rows and columns are multiples of ``UNIT``.
    """
    column = 0
    while column < columns:
        to_go = columns - column
        place, factor = out_at + column, right_at + column
        if to_go == 3 * UNIT or to_go >= 5 * UNIT:
            for row in range(0, rows, 4):
                _tile_of_3(
                    out, place + row * out_row, out_row, left, left_at + row * left_row, left_row, left_step,
                    right, factor, right_row, depth,
                )  # fmt: skip
            column += 3 * UNIT
        elif to_go >= 2 * UNIT:
            for row in range(0, rows, 4):
                _tile_of_2(
                    out, place + row * out_row, out_row, left, left_at + row * left_row, left_row, left_step,
                    right, factor, right_row, depth,
                )  # fmt: skip
            column += 2 * UNIT
        else:
            for row in range(0, rows, 8):
                _tile_of_1(
                    out, place + row * out_row, out_row, left, left_at + row * left_row, left_row, left_step,
                    right, factor, right_row, depth,
                )  # fmt: skip
            column += UNIT
