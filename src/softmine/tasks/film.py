"""Films as MP4, an image at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from softmine.runs.files import replacing
from softmine.signals.libraries import require

Image = UInt8[np.ndarray, "h w 3"]

MOST_WIDTH = 4096
"""A wider image is reduced: few players show more."""
QUALITY = {"libx264": {"crf": "18", "preset": "fast"}, "mpeg4": {"qmin": "2", "qmax": "4"}}
"""Options of the encoders, at which few people see a difference to the frames themselves."""


@contextmanager
def film(path: Path, size: tuple[int, int], rate: Fraction) -> Iterator[tuple[str, Callable[[Image], None]]]:
    """Writes an MP4, which appears when the block ends well.

    Args:
        path: the file.
        size: width and height of its images.
        rate: images a second.

    Yields:
        What it is encoded with, in words, and a function that takes the next image, uint8 (h, w, 3).

    Raises:
        SoftmineError: the file cannot be written, or PyAV is missing.
    """
    av = require("av", "video", "or writing a video", f"cannot write {path}")
    from av.video.reformatter import Colorspace

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    width, height = size
    reduce = max(1, -(-width // MOST_WIDTH))
    # Colors have half the resolution, so both sides are even.
    even = (width // reduce // 2 * 2 or 2, (height // reduce + 1) // 2 * 2)
    name = "H.264" if codec == "libx264" else "MPEG-4: this FFmpeg has no encoder for H.264"
    with (
        replacing(path) as temporary,
        av.open(str(temporary), "w", format="mp4", options={"movflags": "faststart"}) as container,
    ):
        stream = container.add_stream(codec, rate=_plain_rate(rate), options=QUALITY[codec])
        stream.width, stream.height = even
        stream.pix_fmt = "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = int(Colorspace.ITU709)

        def add(image: Image) -> None:
            if reduce == 1 and even[1] > height:
                image = np.concatenate((image, image[-1:]))
            if reduce == 1:
                image = image[:, : even[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame = frame.reformat(*even, "yuv420p", dst_colorspace=Colorspace.ITU709, interpolation="AREA")
            container.mux(stream.encode(frame))

        yield name if reduce == 1 else f"{name}, reduced to {even[0]} x {even[1]}", add
        container.mux(stream.encode())


def _plain_rate(rate: Fraction) -> Fraction:
    """A frame rate that every MP4 encoder takes: some refuse large denominators."""
    return rate.limit_denominator(1001)
