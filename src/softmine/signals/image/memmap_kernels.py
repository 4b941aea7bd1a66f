"""The compiled loop that reads single pixels of a file that is larger than what of it may stay mapped."""

from __future__ import annotations

from llvmlite import ir
from numba.core import cgutils, types

from softmine.kernels.compiling import compiled, intrinsic, take

PIXELS = 256
"""Pixels a part."""
_TRIES = 4
"""Signals may cut a read short; more than a few times in a row they do not."""


@intrinsic
def _pread(typing, file, found, at, size, place):
    """How many bytes the C library's ``pread`` read of ``size`` bytes at ``place`` in ``file``, into ``found[at:]``."""

    def generate(context, builder, signature, arguments):
        file, found, at, size, place = arguments
        number, word = ir.IntType(32), ir.IntType(64)
        data = context.make_array(signature.args[1])(context, builder, found).data
        call = ir.FunctionType(word, [number, data.type, word, word])
        function = cgutils.get_or_insert_function(builder.module, call, "pread")
        return builder.call(function, [builder.trunc(file, number), builder.gep(data, [at]), size, place])

    return types.int64(types.int64, found, types.int64, types.int64, types.int64), generate


@compiled
def look_up(queue, places, order, layout, mapped, kept, extent, lead, file, found, failed):
    """Copies the bytes of the pixels at ``places`` (M,) to ``found``: of extents that are ``kept`` from the map, else by a read.

    ``extent``: bytes of one; the first begins ``lead`` bytes before the map. ``order``: in which turn pixels are read. ``layout``: bytes from one channel to the next, how many runs of bytes a pixel
    is and how long they are. ``failed[0]`` becomes the place of a read that failed.
    """
    deep, runs, size = layout
    count = len(places)
    while True:
        start = take(queue) * PIXELS
        if start >= count:
            break
        for turn in range(start, min(count, start + PIXELS)):
            n = order[turn]
            for run in range(runs):
                place, at = places[n] + run * deep, (n * runs + run) * size
                if kept[(lead + place) // extent] and kept[(lead + place + size - 1) // extent]:
                    for k in range(size):
                        found[at + k] = mapped[place + k]
                    continue
                tries = 0
                while tries < _TRIES and _pread(file, found, at, size, place) != size:
                    tries += 1
                if tries == _TRIES:
                    failed[0] = place
                    return
