"""Fitting a video."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from softmine.checks import out_of_range
from softmine.domain import Values
from softmine.errors import ArgumentError
from softmine.formatting import several
from softmine.radiance.cameras import strided
from softmine.runs.files import replacing, write_json
from softmine.runs.images import to_bytes
from softmine.runs.task import Output, Reconstruction, Report, mean_error, silent
from softmine.signals.libraries import require
from softmine.signals.video import Video
from softmine.signals.video.store import Frames, FrameStore
from softmine.tasks import builtin_name
from softmine.tasks.contact_sheet import contact_sheet
from softmine.tasks.evaluation import CellEvaluator, psnr
from softmine.tasks.film import film
from softmine.tasks.grids import centers, grid_coords, predict, spread
from softmine.tasks.signal_task import SignalTask, read_signal
from softmine.training.evaluation import decibels

DEFAULT = "discs"
SHEET = 6
TILE, SMALL_TILE = 640, 240
"""Frames on a contact sheet, and their longer side for a run and for a comparison, in pixels."""


@dataclass(frozen=True)
class Options:
    """What only videos take.

    Attributes:
        downscale: divides width and height before training.
        frames: ``A:B``, to train on frames from A up to but without B, counted from 0; either may be left out.
    """

    downscale: int = 1
    frames: str = ""


def read(path: str | None, options: Options, report: Report = silent) -> VideoTask:
    """The video that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None.

    Raises:
        SoftmineError: it cannot be read; or PyAV, which writes the film too, is missing.
    """
    frames = _range(options.frames)
    if builtin_name(path, DEFAULT) is None:
        return VideoTask(Video.read(str(path), options.downscale, frames, report=report))
    if options != Options():
        raise ArgumentError("{downscale} and {frames} are for videos from files: give a PATH")
    require("av", "video", "or writing a video", "cannot fit the built-in clip")
    return VideoTask(read_signal(Video, path, DEFAULT))


def _range(text: str) -> tuple[int, int | None] | None:
    """First frame and the one after the last of ``A:B``; None for all."""
    if not text:
        return None
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if not found:
        raise out_of_range("frames", text, "give A:B, such as 0:100")
    return int(found[1] or 0), int(found[2]) if found[2] else None


@dataclass(frozen=True, kw_only=True)
class Film(Reconstruction):
    """A contact sheet, and every frame of a reconstruction.

    Attributes:
        frames: (F, H, W, 3), uint8, or None in comparisons.
        frame_psnr: of each frame in dB.
    """

    frames: Frames | None
    frame_psnr: list[float]


class VideoTask(SignalTask[Video]):
    """A video to be fitted (see ``runs/task.py``).

    A hash grid's finest level has a cell a frame, as it has a cell a pixel. With a quarter of that, 200 steps gave 6.7 dB
    less on the built-in clip, whose discs move fast; on a large, mostly still film it gave 2 dB more in the first 20
    seconds (one seed each).
    """

    kind = "video"
    unit = "voxels"

    def size(self) -> str:
        """As in ``132 frames of 1280 x 720 at 25 a second``; what reading left out or assumed follows."""
        count, height, width, _ = self.signal.shape
        words = f"{several(count, 'frame')} of {width} x {height} at {float(self.signal.rate):.4g} a second"
        return "; ".join([words, *self.signal.notes])

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its video."""
        return super().describe() | {
            "dtype": "uint8",
            "value_range": [0.0, 255.0],
            "frame_rate": float(self.signal.rate),
            "notes": self.signal.notes,
        }

    def make_evaluator(self, device: torch.device) -> CellEvaluator:
        """PSNR; where every voxel counts, the mean and the lowest PSNR of a frame too."""
        more = functools.partial(frame_quality, self.signal)
        return CellEvaluator(self.signal, self.unit, device, more=more)

    def reconstruct(
        self, field: nn.Module, device: torch.device, *, small: bool = False, report: Report = silent
    ) -> Film:
        """A contact sheet of six frames; unless ``small``, every voxel too, which a film is made of."""
        video = self.signal
        count, height, width, _ = video.shape
        chosen = spread(count, SHEET)
        quality: list[float] = []
        everything: Frames | None = None
        if not small:
            everything, quality = every_frame(field, video, device, report)
            video.release()
        step = max(1, -(-max(height, width) // (SMALL_TILE if small else TILE)))
        rows, columns = (strided(side, step).numpy() for side in (height, width))
        values, targets = [], []
        for index in chosen:
            if everything is None:
                values.append(frame_values(field, video, index, rows, columns, device))
            else:
                values.append(everything[index][rows[:, None], columns] / np.float32(255))
            targets.append(video.frame(index)[rows[:, None], columns] / np.float32(255))
        value, target = contact_sheet(values), contact_sheet(targets)
        names = ", ".join(str(index) for index in chosen)
        shown = f"frame{'s' if len(chosen) > 1 else ''} {names} of {count}, counted from 0"
        note = shown if step == 1 else f"{shown}, at 1/{step} of their width and height"
        error = float(np.mean([10 ** (-each / 10) for each in quality])) if quality else None
        return Film(
            value, target, mean_error(value, target), None if error is None else decibels(error), note,
            frames=everything, frame_psnr=quality,
        )  # fmt: skip

    def write_output(
        self,
        field: nn.Module,
        result: Reconstruction,
        folder: Path,
        device: torch.device,
        report: Report = silent,
    ) -> list[Output]:
        """``video.mp4`` with the original on the left, and each frame's PSNR as a chart and as numbers."""
        del field, device
        if not isinstance(result, Film) or result.frames is None:
            return []
        codec = _write_film(self.signal, result.frames, folder / "video.mp4", report)
        write_chart(result.frame_psnr, folder / "frame_psnr.png")
        mean, worst = float(np.mean(result.frame_psnr)), int(np.argmin(result.frame_psnr))
        least = result.frame_psnr[worst]
        summary = {
            "frame_rate": float(self.signal.rate),
            "mean": mean,
            "min": least,
            "psnr": result.frame_psnr,
        }
        write_json(folder / "frame_psnr.json", summary)
        return [
            Output("video.mp4", f"original and reconstruction side by side ({codec})"),
            Output(
                "frame_psnr.png",
                f"PSNR of each frame: {mean:.2f} dB on average, {least:.2f} dB in the worst, frame {worst}",
            ),
            Output("frame_psnr.json", "PSNR of each frame in numbers"),
        ]


def _write_film(video: Video, frames: Frames, path: Path, report: Report) -> str:
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


def write_chart(quality: list[float], path: Path) -> None:
    """Writes a small line chart of PSNR in dB over frames as a PNG."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8, 2.6), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    marker = "o" if len(quality) <= 40 else ""
    axes.plot(quality, color="#0072b2", marker=marker, markersize=3, linewidth=1.4)
    mean = float(np.mean(quality))
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
