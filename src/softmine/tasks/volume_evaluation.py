"""How good a volume's reconstruction is: PSNR over voxels that hold data, all or a fixed subset."""

from __future__ import annotations

import torch
from torch import nn

from softmine.signals.volume import Volume
from softmine.training.evaluation import peak_signal_to_noise, values_at
from softmine.training.subset import evaluated_cells
from softmine.training.task import Evaluation


class VolumeEvaluator:
    """Evaluates fields against one volume, always at the centres of the same voxels; those without data never count.

    Up to 2^20 voxels with data, all of them count; of more, 2^17 drawn once, uniformly, with a fixed seed.
    The peak of PSNR is the range of the volume's values. Predictions are clipped to that range first.
    """

    def __init__(self, volume: Volume, device: torch.device) -> None:
        self.volume, self.device = volume, device
        (self.cells, _), self.count = evaluated_cells(volume.domain), volume.domain.valid
        self.target = values_at(volume, volume.domain.centres(self.cells), device)

    def describe(self) -> str:
        """What is measured, in words."""
        kind = "voxels" if self.volume.valid is None else "voxels with data"
        if len(self.cells) < self.count:
            return f"PSNR over a fixed subset of {len(self.cells):,} of {self.count:,} {kind}"
        return f"PSNR over all {self.count:,} {kind}"

    def __call__(self, field: nn.Module) -> Evaluation:
        """Evaluates ``field``; leaves its parameters and random numbers untouched."""
        prediction = values_at(field, self.volume.domain.centres(self.cells), self.device).clamp_(0.0, 1.0)
        psnr = peak_signal_to_noise(prediction, self.target)
        return Evaluation(psnr, None, len(self.cells), len(self.cells) < self.count)
