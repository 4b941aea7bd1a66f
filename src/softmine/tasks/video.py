"""Fitting a video."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn
from tyro.conf import arg

from softmine import fields
from softmine.errors import SoftmineError
from softmine.signals.libraries import require
from softmine.signals.video import Video
from softmine.signals.video.store import Frames
from softmine.tasks.builtin import builtin_name
from softmine.tasks.cell_evaluation import CellEvaluator
from softmine.tasks.contact_sheet import contact_sheet
from softmine.tasks.video_evaluation import every_frame, frame_quality, frame_values
from softmine.tasks.video_film import write_chart, write_film, write_frames
from softmine.training.evaluation import decibels
from softmine.training.settings import FieldSettings
from softmine.training.task import Output, Reconstruction, Report, mean_error, silent

DEFAULT = "discs"
SHEET = 6
TILE, SMALL_TILE = 640, 240
"""Frames on a contact sheet, and their longer side for a run and for a comparison, in pixels."""


@dataclass(frozen=True)
class Options:
    """Flags that only videos take."""

    downscale: Annotated[int, arg(metavar="N")] = 1
    """Divide width and height by this before training."""
    frames: Annotated[str, arg(metavar="A:B", help_behavior_hint="(default: all)")] = ""
    """Frames to train on, from A up to but without B, counted from 0; either may be left out."""


def read(path: str | None, options: Options) -> VideoTask:
    """The video that a PATH names: a file, ``builtin:NAME``, or the default built-in one for None.

    Raises:
        SoftmineError: it cannot be read; or PyAV, which writes the film too, is missing.
    """
    frames = _range(options.frames)
    name = builtin_name(path, DEFAULT)
    if name is not None:
        if options != Options():
            raise SoftmineError("--downscale and --frames are for videos from files: give a PATH")
        require("av", "video", "or writing a video", "cannot fit the built-in clip")
        return VideoTask(Video.builtin(name))
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("decoding", total=1.0)
        return VideoTask(
            Video.read(
                str(path),
                options.downscale,
                frames,
                report=lambda share: progress.update(bar, completed=share),
            )
        )


def _range(text: str) -> tuple[int, int | None] | None:
    """First frame and the one after the last of ``A:B``; None for all."""
    if not text:
        return None
    found = re.fullmatch(r"(\d*):(\d*)", text)
    if not found:
        raise SoftmineError(f"--frames is {text}: give A:B, such as 0:100")
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


class VideoTask:
    """A video to be fitted (see ``training/task.py``)."""

    kind = "video"
    unit = "voxels"
    snaps = True
    batch_size = None

    def __init__(self, video: Video) -> None:
        self.signal = video

    def size(self) -> str:
        """As in ``132 frames of 1280 x 720 at 25 a second``."""
        count, height, width, _ = self.signal.shape
        return f"{count} frames of {width} x {height} at {float(self.signal.rate):.4g} a second"

    def describe(self) -> dict[str, Any]:
        """What a run must remember of its video."""
        video = self.signal
        return {
            "name": video.name,
            "path": str(video.path) if video.path else None,
            "shape": list(video.shape),
            "dtype": "uint8",
            "fingerprint": video.fingerprint,
            "value_range": [0.0, 255.0],
            "frame_rate": float(video.rate),
        }

    def make_field(self, settings: FieldSettings) -> nn.Module:
        """An untrained field over frames, rows and columns.

        A hash grid's finest level has a cell a frame, as it has a cell a pixel. With a quarter of that, 200 steps gave
        6.7 dB less on the built-in clip, whose discs move fast; on a large, mostly still film it gave 2 dB more in
        the first 20 seconds (one seed each).
        """
        return fields.create(
            settings.field, self.signal.shape[:3], 3, log2_table_size=settings.log2_table_size
        )

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
        chosen = sorted({(2 * place + 1) * count // (2 * SHEET) for place in range(SHEET)})
        psnr: list[float] = []
        everything: Frames | None = None
        if not small:
            everything, psnr = every_frame(field, video, device, report)
            video.release()
        step = max(1, -(-max(height, width) // (SMALL_TILE if small else TILE)))
        rows, columns = np.arange(step // 2, height, step), np.arange(step // 2, width, step)
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
        error = float(np.mean([10 ** (-each / 10) for each in psnr])) if psnr else None
        return Film(
            value, target, mean_error(value, target), None if error is None else decibels(error), note,
            frames=everything, frame_psnr=psnr,
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
        codec = write_film(self.signal, result.frames, folder / "video.mp4", report)
        write_chart(result.frame_psnr, folder / "frame_psnr.png")
        write_frames(result.frame_psnr, float(self.signal.rate), folder / "frame_psnr.json")
        worst = int(np.argmin(result.frame_psnr))
        return [
            Output("video.mp4", f"original and reconstruction side by side ({codec})"),
            Output(
                "frame_psnr.png",
                f"PSNR of each frame: {np.mean(result.frame_psnr):.2f} dB on average, "
                f"{result.frame_psnr[worst]:.2f} dB in the worst, frame {worst}",
            ),
            Output("frame_psnr.json", "PSNR of each frame in numbers"),
        ]
