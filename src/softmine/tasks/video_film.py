"""Films to look at, and charts of the quality of their frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from softmine.signals.libraries import require
from softmine.signals.video import Video
from softmine.signals.video.store import Frames
from softmine.training.files import replacing, write_json
from softmine.training.task import Report

Picture = UInt8[np.ndarray, "h w 3"]

MOST_WIDTH = 4096
"""A wider picture is reduced: few players show more."""
QUALITY = {"libx264": {"crf": "18", "preset": "fast"}, "mpeg4": {"qmin": "2", "qmax": "4"}}
"""Options of the encoders, at which few people see a difference to the frames themselves."""


def write_film(video: Video, frames: Frames, path: Path, report: Report) -> str:
    """Writes an MP4 with the original on the left and ``frames`` (F, H, W, 3) on the right, at the video's frame rate.

    Returns:
        What it is encoded with, in words: H.264, or MPEG-4 where the installed FFmpeg has no encoder for that.

    Raises:
        SoftmineError: the file cannot be written.
    """
    count, height, width, _ = video.shape
    with film(path, (2 * width, height), video.rate) as (name, add):
        for index in range(count):
            add(np.concatenate((video.frame(index), frames[index]), 1))
            report((index + 1) / count)
    video.release()
    return name


@contextmanager
def film(
    path: Path, size: tuple[int, int], rate: Fraction
) -> Iterator[tuple[str, Callable[[Picture], None]]]:
    """Writes an MP4, which appears when the block ends well.

    Args:
        path: the file.
        size: width and height of its pictures.
        rate: pictures a second.

    Yields:
        What it is encoded with, in words, and a function that takes the next picture, uint8 (h, w, 3).

    Raises:
        SoftmineError: the file cannot be written, or PyAV is missing.
    """
    av = require("av", "video", "or writing a video", f"cannot write {path}")
    from av.video.reformatter import Colorspace

    codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
    width, height = size
    reduce = max(1, -(-width // MOST_WIDTH))
    # Colours have half the resolution, so both sides are even.
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

        def add(picture: Picture) -> None:
            if reduce == 1 and even[1] > height:
                picture = np.concatenate((picture, picture[-1:]))
            if reduce == 1:
                picture = picture[:, : even[0]]
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = frame.reformat(*even, "yuv420p", dst_colorspace=Colorspace.ITU709, interpolation="AREA")
            container.mux(stream.encode(frame))

        yield name if reduce == 1 else f"{name}, reduced to {even[0]} x {even[1]}", add
        container.mux(stream.encode())


def write_chart(psnr: list[float], path: Path) -> None:
    """Writes a small line chart of PSNR in dB over frames as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 2.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    marker = "o" if len(psnr) <= 40 else ""
    axes.plot(psnr, color="#0072b2", marker=marker, markersize=3, linewidth=1.4)
    mean = float(np.mean(psnr))
    if np.isfinite(mean):
        axes.axhline(mean, color="#4a4f57", linewidth=0.8, linestyle="--")
        axes.annotate(f"mean {mean:.2f}", (1, mean), xycoords=("axes fraction", "data"), xytext=(4, 0),
                      textcoords="offset points", va="center", fontsize=8, color="#4a4f57")  # fmt: skip
    axes.set_xlabel("frame")
    axes.set_ylabel("PSNR (dB)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.01)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png")


def write_frames(psnr: list[float], rate: float, path: Path) -> None:
    """Writes the PSNR in dB of each frame, their mean and their least, as JSON."""
    write_json(
        path, {"frame_rate": rate, "mean": float(np.mean(psnr)), "min": float(np.min(psnr)), "psnr": psnr}
    )


def _plain_rate(rate: Fraction) -> Fraction:
    """A frame rate that every MP4 encoder takes: some refuse large denominators."""
    return rate.limit_denominator(1001)
