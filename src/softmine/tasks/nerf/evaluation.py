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

from softmine.domain import Values
from softmine.errors import ArgumentError
from softmine.formatting import several
from softmine.radiance.background import over_background
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import CHUNK, Renderer
from softmine.runs.files import write_json
from softmine.signals.libraries import require
from softmine.tasks.evaluation import FieldEvaluator, ssim
from softmine.tasks.nerf.rendering import render_rays
from softmine.training.evaluation import at_rest, decibels, values_at

RAYS = 2**14
"""Rays of an evaluation, at most, unless there are more views."""
LPIPS_NETWORK, LPIPS_SIDE = "vgg", 16
"""The network of the figures in papers on radiance fields, and pixels a side that its layers leave something of."""


class NerfEvaluator(FieldEvaluator):
    """Measures radiance fields on the test views of one scene, always at the same pixels.

    At most 2^14 of them, spread over every row, column and view alike; all where there are no more. Images with opacity
    are laid over ``background``. The error is averaged over all rays before it becomes a PSNR; what papers report, the
    mean of the views' own PSNR, is measured over whole views when a run ends.

    Args:
        photos: the test views.
        device: where the fields are.
        background: a gray in [0, 1]; 1, white, is the custom of the published figures.
    """

    def __init__(self, photos: Photos, device: torch.device, background: float) -> None:
        self.photos, self.background = photos, background
        coords, total = _spread(photos), photos.domain.valid
        subset = len(coords) < total
        where = f"a fixed subset of {len(coords):,} of {total:,}" if subset else f"all {total:,}"
        target = over_background(values_at(photos, coords, torch.device("cpu")), background)
        words = f"PSNR over {where} rays of {several(len(photos.views), 'test view')}"
        super().__init__(coords, target, words, device, subset=subset)

    @torch.no_grad()
    def predict(self, field: nn.Module) -> Values:
        """Colors (M, 3) that ``field``, a ``Renderer``, shows over the background."""
        assert isinstance(field, Renderer)
        parts = []
        with at_rest(field):
            for part in self.coords.split(CHUNK):
                rays = self.photos.cameras.rays(*self.photos.locate(part))
                seen, _ = render_rays(field, self.photos.scene, rays, self.device)
                parts.append(over_background(seen, self.background))
        return torch.cat(parts)

    def more(self, field: nn.Module, prediction: Values) -> dict[str, float]:
        """What a ray cost in training."""
        assert isinstance(field, Renderer)
        return {"points_per_ray": field.points / len(field.costs)} if len(field.costs) else {}


@dataclass(frozen=True)
class ViewQuality:
    """Of one view: mean squared error over its ``pixels``, and SSIM, or None where it is too small for that."""

    name: str
    error: float
    pixels: int
    ssim: float | None

    @property
    def psnr(self) -> float:
        """In dB."""
        return decibels(self.error)


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
    return ViewQuality(name, error, pixels, ssim(values, target, gaussian=True))


def photo(
    photos: Photos, index: int, background: float, stride: int = 1
) -> tuple[Float[np.ndarray, "h w 3"], np.ndarray | None]:
    """A view (h, w, 3) over ``background``, and which of its pixels count, (h, w), or None for all."""
    values = photos.image(index, stride)
    height, width, channels = values.shape
    target = over_background(values.view(-1, channels), background).view(height, width, 3).numpy()
    return target, photos.valid(index, stride)


def lpips_to(photos: Photos, background: float, device: torch.device) -> Callable[[int, np.ndarray], float]:
    """A function that tells how far an image (h, w, 3) in [0, 1] is from photo ``index`` by LPIPS, 0 and up.

    Pixels that a mask leaves out are taken from the photo. Source: Zhang et al. 2018 (arXiv 1801.03924), by their package
    ``lpips``, with VGG, whose weights it fetches when they are first used. PSNR and SSIM need none of this.

    Raises:
        SoftmineError: the extra ``softmine[lpips]`` is not installed, the weights cannot be fetched, or a photo is too
            small.
    """
    for view in photos.views:
        if min(view.camera.width, view.camera.height) < LPIPS_SIDE:
            raise ArgumentError(
                "{lpips} needs photos of at least {side} pixels a side, but {view} has {width} x {height}",
                side=LPIPS_SIDE,
                view=view.name,
                width=view.camera.width,
                height=view.camera.height,
            )
    package = require("lpips", "lpips", "its network", "cannot measure LPIPS")
    try:
        with warnings.catch_warnings():
            # It calls torchvision the way of years ago.
            warnings.simplefilter("ignore")
            network = package.LPIPS(net=LPIPS_NETWORK, verbose=False)
    except (OSError, RuntimeError) as error:
        raise ArgumentError(
            "cannot fetch the weights that {lpips} (the extra softmine[lpips]) needs: {reason}; once they are in "
            "{folder}, no network is needed",
            reason=(str(error).strip() or type(error).__name__).splitlines()[0],
            folder=torch.hub.get_dir(),
        ) from error
    network.to(device).eval()

    def to_input(image: np.ndarray) -> Tensor:
        return (torch.from_numpy(image).float() * 2 - 1).permute(2, 0, 1)[None].to(device)

    @torch.no_grad()
    def distance(index: int, image: np.ndarray) -> float:
        target, valid = photo(photos, index, background)
        if valid is not None:
            image = np.where(valid[..., None], image, target)
        return float(network(to_input(image), to_input(target)))

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
    return inside if len(inside) else photos.domain.centers(photos.domain.nth_valid(torch.arange(1)))
