"""How good a picture's reconstruction is: PSNR and SSIM, over all pixels or a fixed subset."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from softmine.domain import Coords
from softmine.runs.task import Evaluation
from softmine.signals import Image
from softmine.tasks.grids import predict
from softmine.tasks.measures import ssim
from softmine.training.evaluation import evaluated_cells, peak_signal_to_noise, values_at

TILES, TILE = 16, 64


class ImageEvaluator:
    """Evaluates fields against one picture, always on the same pixels.

    Up to 2^20 pixels, all of them count. In a larger picture PSNR is measured on 2^17 pixels drawn once,
    uniformly, with a fixed seed, and SSIM on 16 tiles of 64 x 64. Predictions are clipped to [0, 1] first, like
    the picture that is written.
    """

    def __init__(self, image: Image, device: torch.device) -> None:
        self.image, self.device = image, device
        rows, columns, _ = image.shape
        self.cells, random = evaluated_cells(image.domain)
        self.subset = len(self.cells) < image.domain.valid
        self.tiles: list[tuple[int, int]] = []
        if self.subset:
            self.tiles = [
                (
                    int(torch.randint(rows - min(TILE, rows) + 1, (), generator=random)),
                    int(torch.randint(columns - min(TILE, columns) + 1, (), generator=random)),
                )
                for _ in range(TILES)
            ]
        self.target = values_at(image, image.domain.centres(self.cells), device)
        self._tile_targets = [values_at(image, self._tile(tile), device) for tile in self.tiles]

    def describe(self) -> str:
        """What is measured, in words."""
        if self.subset:
            return (
                f"PSNR over a fixed subset of {len(self.cells):,} of {self.image.domain.cells:,} pixels, "
                f"SSIM over {TILES} tiles of {TILE} x {TILE}"
            )
        return f"PSNR and SSIM over all {self.image.domain.cells:,} pixels"

    def __call__(self, field: nn.Module) -> Evaluation:
        """Evaluates ``field``; leaves its parameters and random numbers untouched."""
        prediction = predict(field, self.image.domain.centres(self.cells), self.device)
        psnr = peak_signal_to_noise(prediction, self.target)
        rows, columns, channels = self.image.shape
        if self.subset:
            scores = []
            for tile, target in zip(self.tiles, self._tile_targets, strict=True):
                shape = (min(TILE, rows), min(TILE, columns), channels)
                scores.append(_ssim(predict(field, self._tile(tile), self.device), target, shape))
            known = [score for score in scores if score is not None]
            similarity = sum(known) / len(known) if known else None
        else:
            similarity = _ssim(prediction, self.target, (rows, columns, channels))
        return Evaluation(psnr, similarity, len(self.cells), self.subset)

    def _tile(self, corner: tuple[int, int]) -> Coords:
        rows, columns, _ = self.image.shape
        down = torch.arange(corner[0], corner[0] + min(TILE, rows))
        across = torch.arange(corner[1], corner[1] + min(TILE, columns))
        return self.image.domain.centres((down[:, None] * columns + across).flatten())


def _ssim(prediction: Tensor, target: Tensor, shape: tuple[int, int, int]) -> float | None:
    return ssim(prediction.reshape(shape).numpy(), target.reshape(shape).numpy())
