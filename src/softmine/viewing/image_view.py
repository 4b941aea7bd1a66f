"""The page of an image's run: the reconstruction, its error, and where the samples fell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as Pillow
from torch import nn

from softmine.runs.checkpoint import Snapshot
from softmine.runs.images import DENSITY_RANGE, density, density_colors, error_colors, error_scale, to_bytes
from softmine.runs.task import Task
from softmine.training.record import SampleRecord
from softmine.viewing.browser_camera import BrowserCamera
from softmine.viewing.frames import Frame, Rgb
from softmine.viewing.server import Page
from softmine.viewing.view import View

PANEL_SIDE = 480
KINDS = ("reconstruction", "target", "error", "samples")
SURROUND = 245


class ImageView(View):
    """Shows one image large, chosen in the panel, and all of them small beside it.

    Args:
        page: where all this appears.
        field: of the run; on ``device``.
        task: whose signal it has learned.
        device: where the field lives.
    """

    def __init__(self, page: Page, field: nn.Module, task: Task, device: torch.device) -> None:
        super().__init__(page, task.signal.name)
        self.field, self.task, self.device = field, task, device
        self.images: dict[str, Rgb] = {}
        gui = page.gui
        self._kind = gui.add_dropdown("show", KINDS)
        self._legend = gui.add_markdown("")
        self._small: dict[str, Any] = {}

        @self._kind.on_update
        def _(_: Any) -> None:
            page.requests.restyle()

    def paint(self, look: BrowserCamera, side: int, stop: Callable[[], bool]) -> Frame | None:
        """The chosen image in the middle of a window; ``look`` says its shape only."""
        width, height = look.size(side)
        image = self.images.get(self._kind.value)
        return Frame(fitted(image, width, height))

    def renew(self, snapshot: Snapshot | None = None) -> None:
        """Makes the images of a new checkpoint."""
        result = self.task.reconstruct(self.field, self.device, small=True)
        scale = error_scale(result)
        images = {"reconstruction": to_colors(result.values)}
        if result.target is not None:
            images["target"] = to_colors(result.target)
        images["error"] = error_colors(result.error, scale)
        if snapshot is not None and snapshot.groups["record"]:
            record = SampleRecord(self.task.signal.domain, torch.device("cpu"))
            record.load(snapshot.groups["record"])
            counts = sum((counts for _, _, counts in record.stretches), torch.zeros(record.grid.shape))
            images["samples"] = density_map(density(counts.numpy(), record.held), result.error.shape)
        self.images = images
        self._legend.content = (
            f"error: bright is {scale:.3g} of the range; samples: red is {DENSITY_RANGE:.0f} x an even spread, blue 1/"
            f"{DENSITY_RANGE:.0f}; {result.note}"
        )
        for name, image in images.items():
            small = reduced(image, PANEL_SIDE)
            if name in self._small:
                self._small[name].image = small
            else:
                self._small[name] = self.page.gui.add_image(small, label=name, format="jpeg", jpeg_quality=90)


def to_colors(values: Float[np.ndarray, "h w c"]) -> Rgb:
    """Values in [0, 1], of 1 to 4 channels (gray, gray and alpha, RGB, RGBA), as 8-bit RGB; what is clear becomes white."""
    values = np.nan_to_num(values)
    colors = values[..., :1] if values.shape[-1] < 3 else values[..., :3]
    if values.shape[-1] in (2, 4):
        colors = 1 - values[..., -1:] * (1 - colors)
    return np.broadcast_to(to_bytes(colors), (*values.shape[:2], 3))


def density_map(relative: Float[np.ndarray, "a b"], shape: tuple[int, ...]) -> Rgb:
    """Samples relative to uniform ones as an image (h, w, 3) of ``shape``, in the colors of ``density_colors``."""
    colors = Pillow.fromarray(density_colors(relative))
    return np.asarray(colors.resize((shape[1], shape[0]), Pillow.Resampling.NEAREST))


def fitted(image: Rgb | None, width: int, height: int) -> Rgb:
    """An image scaled into the middle of a window of so many pixels; nothing but its surroundings for None."""
    window = np.full((height, width, 3), SURROUND, np.uint8)
    if image is None:
        return window
    scale = min(width / image.shape[1], height / image.shape[0])
    way = Pillow.Resampling.NEAREST if scale >= 2 else Pillow.Resampling.BILINEAR
    inner = _scaled(image, scale, Pillow.Resampling.BOX if scale < 1 else way)
    left, top = (width - inner.shape[1]) // 2, (height - inner.shape[0]) // 2
    window[top : top + inner.shape[0], left : left + inner.shape[1]] = inner
    return window


def reduced(image: Rgb, side: int) -> Rgb:
    """An image of at most ``side`` pixels a side."""
    shrink = min(1.0, side / max(image.shape[:2]))
    return image if shrink == 1.0 else _scaled(image, shrink, Pillow.Resampling.BOX)


def _scaled(image: Rgb, scale: float, way: Pillow.Resampling) -> Rgb:
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return np.asarray(Pillow.fromarray(image).resize(size, way))
