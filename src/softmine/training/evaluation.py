"""How good a picture's reconstruction is: PSNR and SSIM, over all pixels or a fixed subset."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from softmine.domain import Coords, Values
from softmine.signals import Image

ALL_PIXELS = 2**20
SUBSET = 2**17
TILES, TILE = 16, 64
CHUNK = 2**16
SSIM_WINDOW = 7


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: PSNR in dB with a peak of 1, SSIM or None where the picture is too small for it."""

    psnr: float
    ssim: float | None
    pixels: int
    subset: bool


class Evaluator:
    """Evaluates fields against one picture, always on the same pixels.

    Up to 2^20 pixels, all of them count. In a larger picture PSNR is measured on 2^17 pixels drawn once,
    uniformly, with a fixed seed, and SSIM on 16 tiles of 64 x 64. Predictions are clipped to [0, 1] first, like
    the picture that is written.
    """

    def __init__(self, image: Image, device: torch.device) -> None:
        self.image, self.device = image, device
        rows, columns, _ = image.shape
        self.subset = image.domain.cells > ALL_PIXELS
        if self.subset:
            random = torch.Generator().manual_seed(231200075)
            # Distinct pixels without a list of all: twice as many as needed, doubles dropped, in random order.
            drawn = torch.randint(image.domain.cells, (2 * SUBSET,), generator=random).unique()
            self.cells = drawn[torch.randperm(len(drawn), generator=random)[:SUBSET]]
            self.tiles = [
                (
                    int(torch.randint(rows - min(TILE, rows) + 1, (), generator=random)),
                    int(torch.randint(columns - min(TILE, columns) + 1, (), generator=random)),
                )
                for _ in range(TILES)
            ]
        else:
            self.cells = torch.arange(image.domain.cells)
            self.tiles = []
        self.target = values_at(image, image.domain.centres(self.cells), device)
        self._tile_targets = [values_at(image, self._tile(tile), device) for tile in self.tiles]

    def describe(self) -> str:
        """What is measured, in words."""
        if self.subset:
            return (
                f"PSNR over a fixed subset of {SUBSET:,} of {self.image.domain.cells:,} pixels, "
                f"SSIM over {TILES} tiles of {TILE} x {TILE}"
            )
        return f"PSNR and SSIM over all {self.image.domain.cells:,} pixels"

    def __call__(self, field: nn.Module) -> Evaluation:
        """Evaluates ``field``; leaves its parameters and random numbers untouched."""
        prediction = self._predict(field, self.image.domain.centres(self.cells))
        psnr = peak_signal_to_noise(prediction, self.target)
        rows, columns, channels = self.image.shape
        if self.subset:
            scores = []
            for tile, target in zip(self.tiles, self._tile_targets, strict=True):
                shape = (min(TILE, rows), min(TILE, columns), channels)
                scores.append(_ssim(self._predict(field, self._tile(tile)), target, shape))
            known = [score for score in scores if score is not None]
            ssim = sum(known) / len(known) if known else None
        else:
            ssim = _ssim(prediction, self.target, (rows, columns, channels))
        return Evaluation(psnr, ssim, len(self.cells), self.subset)

    def _predict(self, field: nn.Module, coords: Coords) -> Values:
        return values_at(field, coords, self.device).clamp_(0.0, 1.0)

    def _tile(self, corner: tuple[int, int]) -> Coords:
        rows, columns, _ = self.image.shape
        down = torch.arange(corner[0], corner[0] + min(TILE, rows))
        across = torch.arange(corner[1], corner[1] + min(TILE, columns))
        return self.image.domain.centres((down[:, None] * columns + across).flatten())


@torch.no_grad()
def values_at(function: nn.Module, coords: Coords, device: torch.device) -> Values:
    """Values (N, C) on the CPU of a field or signal at coordinates (N, D), a chunk at a time."""
    parts = [function(chunk.to(device)).float().cpu() for chunk in coords.split(CHUNK)]
    return torch.cat(parts)


def peak_signal_to_noise(prediction: Tensor, target: Tensor) -> float:
    """PSNR in dB for a peak of 1: infinite where both are equal, NaN where a prediction is not finite."""
    return decibels((prediction.double() - target.double()).square().mean().item())


def decibels(error: float) -> float:
    """A mean squared error as PSNR in dB for a peak of 1."""
    if not math.isfinite(error):
        return math.nan
    return -10 * math.log10(error) if error > 0 else math.inf


def _ssim(prediction: Tensor, target: Tensor, shape: tuple[int, int, int]) -> float | None:
    if min(shape[:2]) < SSIM_WINDOW:
        return None
    from skimage.metrics import structural_similarity

    score = structural_similarity(
        target.reshape(shape).numpy(),
        prediction.reshape(shape).numpy(),
        win_size=SSIM_WINDOW,
        data_range=1.0,
        channel_axis=-1,
    )
    return float(np.asarray(score))
