"""How good a radiance field is in views that it was not trained on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from softmine.errors import SoftmineError
from softmine.radiance.background import over_background
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.runs.files import write_json
from softmine.runs.task import Evaluation
from softmine.signals.libraries import require
from softmine.tasks.measures import ssim
from softmine.tasks.nerf.rendering import CHUNK, render_rays
from softmine.training.evaluation import at_rest, decibels, peak_signal_to_noise

RAYS = 2**14
"""Rays of an evaluation, at most, unless there are more views."""
LPIPS_NETWORK, LPIPS_SIDE = "vgg", 16
"""The network of the figures in papers on radiance fields, and pixels a side that its layers leave something of."""


class NerfEvaluator:
    """Measures radiance fields on the test views of one scene, always at the same pixels.

    At most 2^14 of them, spread over every row, column and view alike; all where there are no more. Pictures with opacity
    are laid over ``background``. Predictions are clipped to [0, 1]. The error is averaged over all rays before it becomes
    a PSNR; what papers report, the mean of the views' own PSNR, is measured over whole views when a run ends.

    Args:
        photos: the test views.
        device: where the fields are.
        background: a gray in [0, 1]; 1, white, is the custom of the published figures.
    """

    def __init__(self, photos: Photos, device: torch.device, background: float) -> None:
        self.photos, self.device, self.background = photos, device, background
        self.coords = _spread(photos)
        self.subset = len(self.coords) < photos.domain.valid
        with torch.no_grad():
            self.target = torch.cat(
                [over_background(photos(part), background) for part in self.coords.split(2**16)]
            )

    def describe(self) -> str:
        """What is measured, in words."""
        views = f"{len(self.photos.views):,} test views"
        if self.subset:
            return f"PSNR over a fixed subset of {len(self.coords):,} of {self.photos.domain.valid:,} rays of {views}"
        return f"PSNR over all {len(self.coords):,} rays of {views}"

    @torch.no_grad()
    def __call__(self, field: nn.Module) -> Evaluation:
        """Evaluates ``field``, a ``Renderer``; leaves its parameters, random numbers and mode untouched."""
        assert isinstance(field, Renderer)
        parts = []
        with at_rest(field):
            for part in self.coords.split(CHUNK):
                rays = self.photos.cameras.rays(*self.photos.locate(part))
                seen, _ = render_rays(field, self.photos.scene, rays, self.device)
                parts.append(over_background(seen, self.background).clamp_(0, 1))
        more = {}
        if len(field.costs):
            more["points_per_ray"] = field.points / len(field.costs)
        psnr = peak_signal_to_noise(torch.cat(parts), self.target)
        return Evaluation(psnr, None, len(self.coords), self.subset, more)


@dataclass(frozen=True)
class ViewQuality:
    """Of one view: mean squared error over its ``pixels``, PSNR in dB, and SSIM, or None where it is too small for that."""

    name: str
    error: float
    pixels: int
    psnr: float
    ssim: float | None


def measure_view(
    name: str,
    values: Float[np.ndarray, "h w 3"],
    target: Float[np.ndarray, "h w 3"],
    valid: np.ndarray | None,
) -> ViewQuality:
    """How near a rendered view is to its photo; pixels that are not ``valid`` (h, w) do not count.

    SSIM has the Gaussian window of its authors (Wang et al. 2004), 11 pixels across, as published figures have.
    """
    if valid is not None:
        values = np.where(valid[..., None], values, target)
    pixels = target.shape[0] * target.shape[1] if valid is None else int(valid.sum())
    error = float(np.square(values - target).sum(dtype=np.float64)) / max(1, 3 * pixels)
    return ViewQuality(name, error, pixels, decibels(error), ssim(values, target, gaussian=True))


def photo(
    photos: Photos, index: int, background: float, stride: int = 1
) -> tuple[Float[np.ndarray, "h w 3"], np.ndarray | None]:
    """A view (h, w, 3) over ``background``, and which of its pixels count, (h, w), or None for all."""
    values = photos.image(index, stride)
    height, width, channels = values.shape
    target = over_background(values.view(-1, channels), background).view(height, width, 3).numpy()
    return target, photos.valid(index, stride)


def lpips_to(photos: Photos, background: float, device: torch.device) -> Callable[[int, np.ndarray], float]:
    """A function that tells how far a picture (h, w, 3) in [0, 1] is from photo ``index`` by LPIPS, 0 and up.

    Pixels that a mask leaves out are taken from the photo. Source: Zhang et al. 2018 (arXiv 1801.03924), by their package
    ``lpips``, with VGG, whose weights it fetches when they are first used. PSNR and SSIM need none of this.

    Raises:
        SoftmineError: the extra ``softmine[lpips]`` is not installed, the weights cannot be fetched, or a photo is too
            small.
    """
    for view in photos.views:
        if min(view.camera.width, view.camera.height) < LPIPS_SIDE:
            raise SoftmineError(
                f"--lpips needs photos of at least {LPIPS_SIDE} pixels a side, but {view.name} has "
                f"{view.camera.width} x {view.camera.height}"
            )
    package = require("lpips", "lpips", "its network", "cannot measure --lpips")
    try:
        with warnings.catch_warnings():
            # It calls torchvision the way of years ago.
            warnings.simplefilter("ignore")
            network = package.LPIPS(net=LPIPS_NETWORK, verbose=False)
    except (OSError, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise SoftmineError(
            f"cannot fetch the weights that --lpips (the extra softmine[lpips]) needs: {reason}; once they are in "
            f"{torch.hub.get_dir()}, no network is needed"
        ) from error
    network.to(device).eval()

    def to_input(picture: np.ndarray) -> Tensor:
        return (torch.from_numpy(picture).float() * 2 - 1).permute(2, 0, 1)[None].to(device)

    @torch.no_grad()
    def distance(index: int, picture: np.ndarray) -> float:
        target, valid = photo(photos, index, background)
        if valid is not None:
            picture = np.where(valid[..., None], picture, target)
        return float(network(to_input(picture), to_input(target)))

    return distance


def over_all(views: list[ViewQuality]) -> float:
    """PSNR in dB over all pixels of all views."""
    pixels = sum(view.pixels for view in views)
    return decibels(sum(view.error * view.pixels for view in views) / max(1, pixels))


def mean_psnr(views: list[ViewQuality]) -> float:
    """The mean of the views' own PSNR, which is what papers report."""
    return float(np.mean([view.psnr for view in views if view.pixels]))


def mean_ssim(views: list[ViewQuality]) -> float | None:
    """The mean of the views' SSIM."""
    known = [view.ssim for view in views if view.ssim is not None]
    return float(np.mean(known)) if known else None


def write_views(quality: list[ViewQuality], background: float, path: Path) -> None:
    """Writes PSNR and SSIM of each view, their means, and the PSNR over all pixels, as JSON."""
    views = [{"name": view.name, "psnr": view.psnr, "ssim": view.ssim} for view in quality]
    write_json(
        path,
        {
            "background": background,
            "psnr_mean": mean_psnr(quality),
            "ssim_mean": mean_ssim(quality),
            "psnr_in_all": over_all(quality),
            "views": views,
        },
    )


def _spread(photos: Photos) -> Float[Tensor, "n 3"]:
    """Coordinates of at most ``RAYS`` pixels, or one of each view: of every stride-th row and column."""
    count = len(photos.views)
    stride = 1
    while sum(math.prod(photos.view_shape(view, stride)) for view in range(count)) > max(RAYS, count):
        stride += 1
    coords = torch.cat([part for view in range(count) for part in photos.view_coords(view, stride)])
    inside = coords[photos.domain.contains(coords)]
    # Masks may leave out all that is spread so far apart.
    return inside if len(inside) else photos.domain.centres(photos.domain.nth_valid(torch.arange(1)))
