"""Where on the training views a sampler puts its rays."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable

import matplotlib
import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter
from torch import nn

from softmine.domain import Box, Coords, PerSample, Values
from softmine.radiance.photos import Photos
from softmine.runs.images import to_bytes
from softmine.sampling import Sampler
from softmine.tasks.nerf.evaluation import photo
from softmine.training.evaluation import at_rest
from softmine.training.probe import FieldProbe
from softmine.viewing.frames import Rgb

CELLS = 32
"""Cells of a map along a view's longer side."""
A_CELL = 2
"""Rays that a cell should hold on average, if the sampler may be asked for so many."""
LEAST_SIGMA, MOST_SIGMA = 0.7, 3.0
"""Standard deviation of the smoothing, in cells;"""
TOGETHER = 8.0
"""between them, as wide as this many rays of an even spread."""
MOST_RAYS = 2**17
MOST_SECONDS = 2.0
MOST_PROBES = 2**18
"""Rays that a sampler may look at before it chooses; more would keep a person waiting."""
HOT = 4.0
"""Times as many rays as evenly spread ones would be, which gets the brightest color."""


class TooManyProbes(Exception):
    """The sampler looks at more rays than a viewer can wait for."""


class RayMap:
    """Counts rays on coarse grids, one a view.

    Args:
        photos: the training views.

    Example:
        >>> from softmine.radiance.scenes.procedural import procedural
        >>> heat = RayMap(Photos(procedural(size=16, train=3, test=1)))
        >>> heat.add(torch.tensor([[0.5, 0.5, 0.5]]))
        >>> heat.share(1)
        3.0
    """

    def __init__(self, photos: Photos) -> None:
        self.photos = photos
        self.counts = [np.zeros(_grid(view.camera.height, view.camera.width)) for view in photos.views]
        valid = [view.camera.height * view.camera.width for view in photos.views]
        self._even = np.array(valid) / sum(valid)

    def add(self, coords: Coords) -> None:
        """Counts rays at (view, row, column) coordinates (N, 3)."""
        views, pixels = self.photos.locate(coords.detach().cpu())
        for view in views.unique().tolist():
            camera, counts = self.photos.views[view].camera, self.counts[view]
            places = pixels[views == view].numpy() / [camera.height, camera.width]
            cells = (places * counts.shape).astype(np.int64).clip(0, np.array(counts.shape) - 1)
            np.add.at(counts, tuple(cells.T), 1.0)

    def fade(self, share: float = 0.5) -> None:
        """Lets what was counted so far count less."""
        for counts in self.counts:
            counts *= share

    @property
    def rays(self) -> float:
        """Rays counted, faded ones in part."""
        return float(sum(counts.sum() for counts in self.counts))

    def share(self, view: int) -> float:
        """Rays on a view over those it would get if they were spread evenly over all pixels; 0 where none are counted."""
        return float(self.counts[view].sum() / max(self.rays * self._even[view], 1e-9))

    def relative(self, view: int) -> Float[np.ndarray, "h w"]:
        """The map of a view: rays in a cell over those of an even spread, smoothed; the wider, the fewer rays there are."""
        counts = self.counts[view]
        even = max(self.rays * self._even[view] / counts.size, 1e-9)
        # A Gaussian averages over about 4 pi sigma^2 cells.
        sigma = min(max(LEAST_SIGMA, math.sqrt(TOGETHER / (4 * math.pi * even))), MOST_SIGMA)
        return gaussian_filter(counts, sigma, mode="nearest") / even

    def image(self, view: int, side: int, mode: str) -> Rgb:
        """A view for people.

        Args:
            view: its number.
            side: pixels along its longer side, about.
            mode: ``photo``; ``rays``, the map alone, from none (black) to four times an even spread (bright); or
                ``rays over photo``, which is in gray then.
        """
        camera = self.photos.views[view].camera
        stride = max(1, -(-max(camera.width, camera.height) // side))
        image, _ = photo(self.photos, view, 1.0, stride)
        enlarge = max(1, side // max(image.shape))
        image = image.repeat(enlarge, 0).repeat(enlarge, 1)
        if mode != "photo":
            relative = torch.from_numpy(self.relative(view))[None, None]
            fine = nn.functional.interpolate(relative, image.shape[:2], mode="bilinear", align_corners=False)[
                0, 0
            ]
            colors = matplotlib.colormaps["inferno"]((fine / HOT).clamp(0, 1).numpy())[..., :3]
            gray = image.mean(-1, keepdims=True) * 0.55
            image = colors if mode == "rays" else 1 - (1 - gray) * (1 - colors * 0.8)
        return to_bytes(image)


def draw_batches(
    sampler: Sampler,
    field: nn.Module,
    photos: Photos,
    *,
    snap: bool = False,
    most: int = MOST_RAYS,
    stop: Callable[[], bool] = lambda: False,
) -> list[Coords]:
    """The rays that a sampler would train on next, a batch (N, 3) each; neither it nor the field is changed.

    A copy of the sampler is taken through its steps with the field as it is: drawn from, told the error, moved on. One that
    walks by the gradient gives its next batch only, because the field is not trained here.

    Args:
        sampler: on the photos' domain.
        field: coordinates (N, 3) to values (N, C).
        photos: what it learns.
        snap: whether rays are trained at pixel centers.
        most: rays to draw, about; fewer for small scenes.
        stop: asked after every batch whether to give up.

    Raises:
        TooManyProbes: the sampler looks at more than 262,144 rays first.
    """
    # The domain holds the masks, which are large and never change.
    twin = copy.deepcopy(sampler, {id(sampler.domain): sampler.domain})
    probe = _CountedProbe(field, photos, snap)
    cells = sum(_grid(view.camera.height, view.camera.width)[0] * CELLS for view in photos.views)
    wanted, started = min(most, A_CELL * cells), time.monotonic()
    batches, drawn = [], 0
    with at_rest(field):
        while True:
            batch = twin.draw(probe if twin.needs_probe else None)
            walks = batch.coords.requires_grad
            batches.append(batch.coords.detach())
            drawn += len(batch)
            if walks or drawn >= wanted or time.monotonic() - started > MOST_SECONDS or stop():
                return batches
            twin.update(batch, probe.error(batches[-1]))


class _CountedProbe(FieldProbe):
    """Evaluates the field for a sampler, as in training, but not for ever."""

    def __init__(self, field: nn.Module, photos: Photos, snap: bool) -> None:
        super().__init__(field, photos, photos.domain if snap else None)
        self.left = MOST_PROBES

    def residual(self, coords: Coords) -> Values:
        """Field minus signal (N, C)."""
        self._spend(len(coords))
        return super().residual(coords)

    def influence(self, domain: Box) -> PerSample:
        """See ``FieldProbe``."""
        self._spend(domain.valid)
        return super().influence(domain)

    def error(self, coords: Coords) -> PerSample:
        """The same, uncounted: of what the sampler has chosen."""
        return super().residual(coords).abs().mean(-1)

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise TooManyProbes


def _grid(height: int, width: int) -> tuple[int, int]:
    longest = max(height, width)
    return max(1, round(CELLS * height / longest)), max(1, round(CELLS * width / longest))
