"""How good a video's reconstruction is, frame by frame."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from softmine.domain import Coords, Values
from softmine.signals.video import Video
from softmine.signals.video.store import Frames, FrameStore
from softmine.training.evaluation import decibels, values_at
from softmine.training.task import Report


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
    psnr = []
    try:
        for index in range(count):
            values = frame_values(field, video, index, down, across, device)
            target = video.frame(index).astype(np.float32) / np.float32(255)
            psnr.append(decibels(float(np.square(values - target).mean(dtype=np.float64))))
            store.add((np.nan_to_num(values) * 255 + 0.5).astype(np.uint8))
            report((index + 1) / count)
    except BaseException:
        store.close()
        raise
    return store.finish(), psnr


def frame_values(
    field: nn.Module, video: Video, index: int, rows: np.ndarray, columns: np.ndarray, device: torch.device
) -> Float[np.ndarray, "h w 3"]:
    """A field at the centres of rows (h,) and columns (w,) of one frame, clipped to [0, 1]."""
    count, height, width, _ = video.shape
    coords = _plane(rows, columns, (height, width))
    coords[:, 0] = (index + 0.5) / count
    return values_at(field, coords, device).clamp_(0, 1).numpy().reshape(len(rows), len(columns), 3)


def _plane(rows: np.ndarray, columns: np.ndarray, size: tuple[int, int]) -> Coords:
    """Coordinates (h * w, 3) of pixels' centres, with a time that is still to be filled in."""
    axes: list[Tensor] = [
        torch.from_numpy((index + 0.5) / length).float()
        for index, length in zip((rows, columns), size, strict=True)
    ]
    grid = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([torch.empty_like(grid[0]), *grid], -1).view(-1, 3)
