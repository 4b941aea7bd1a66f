"""Small video files for tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def write_video(
    path: Path, frames: np.ndarray, *, codec="", rate=Fraction(25), pixels="yuv420p", container=None
):
    """Writes frames (F, H, W, 3) as a video at high quality; returns its path. H.264, or MPEG-4 where there is none."""
    codec = codec or ("libx264" if "libx264" in av.codecs_available else "mpeg4")
    options = {"libx264": {"crf": "5"}, "mpeg4": {"qmin": "1", "qmax": "2"}, "libvpx-vp9": {"crf": "5"}}
    with av.open(str(path), "w", options=container or {}) as file:
        stream = file.add_stream(codec, rate=rate, options=options.get(codec, {}))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        for frame in frames:
            file.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        file.mux(stream.encode())
    return path
