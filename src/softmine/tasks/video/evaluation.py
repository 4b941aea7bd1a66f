"""How good a video's reconstruction is, frame by frame."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from softmine.domain import Values
from softmine.runs.files import replacing, write_json
from softmine.runs.images import to_bytes
from softmine.runs.task import Report
from softmine.signals.video import Video
from softmine.signals.video.store import Frames, FrameStore
from softmine.tasks.grids import centers, grid_coords, predict
from softmine.tasks.measures import psnr
from softmine.training.evaluation import decibels


def frame_quality(video: Video, prediction: Values, target: Values) -> dict[str, float]:
    """Mean and lowest PSNR of a frame in dB, of all voxels (M, 3) in their order; nothing where they are not all."""
    if len(prediction) < video.domain.cells:
        return {}
    errors = (prediction.double() - target.double()).square().view(video.shape[0], -1)
    frames = [decibels(error) for error in errors.mean(1).tolist()]
    return {"frame_psnr_mean": float(np.mean(frames)), "frame_psnr_min": min(frames)}


def every_frame(
    field: nn.Module, video: Video, device: torch.device, report: Report
) -> tuple[Frames, list[float]]:
    """All frames of a field as 8-bit RGB, (F, H, W, 3), and the PSNR in dB of each before it was rounded to that.

    Raises:
        SoftmineError: there is no room for them.
    """
    count, height, width, _ = video.shape
    down, across = np.arange(height), np.arange(width)
    store = FrameStore("cannot write the reconstruction", (height, width), count)
    quality = []
    try:
        for index in range(count):
            values = frame_values(field, video, index, down, across, device)
            target = video.frame(index).astype(np.float32) / np.float32(255)
            quality.append(psnr(values, target))
            store.add(to_bytes(values))
            report((index + 1) / count)
    except BaseException:
        store.close()
        raise
    return store.finish(), quality


def frame_values(
    field: nn.Module, video: Video, index: int, rows: np.ndarray, columns: np.ndarray, device: torch.device
) -> Float[np.ndarray, "h w 3"]:
    """A field at the centers of rows (h,) and columns (w,) of one frame, clipped to [0, 1]."""
    count, height, width, _ = video.shape
    coords = grid_coords(
        centers(count, index, index + 1),
        centers(height)[torch.from_numpy(rows)],
        centers(width)[torch.from_numpy(columns)],
    )
    return predict(field, coords, device).numpy().reshape(len(rows), len(columns), 3)


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
