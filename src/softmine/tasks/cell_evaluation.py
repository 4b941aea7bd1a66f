"""How good a reconstruction of a signal on a grid is: PSNR at the centers of its cells, all or a fixed subset."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from softmine.domain import Values
from softmine.runs.task import Evaluation
from softmine.signals import Signal
from softmine.tasks.grids import predict
from softmine.training.evaluation import evaluated_cells, peak_signal_to_noise, values_at

More = Callable[[Values, Values], dict[str, float]]
"""Further measures by name, from a prediction and the signal, (M, C) each, in [0, 1]."""


def _nothing(prediction: Values, target: Values) -> dict[str, float]:
    return {}


class CellEvaluator:
    """Evaluates fields against one signal, always at the centers of the same cells; those without data never count.

    Up to 2^20 cells with data, all of them count; of more, 2^17 drawn once, uniformly, with a fixed seed. The peak of PSNR
    is the range of the signal's values. Predictions are clipped to that range first.

    Args:
        signal: what fields should be like.
        unit: what its cells are called, in the plural: ``voxels``.
        device: where the fields are.
        measures: what is measured, in words.
        more: what is measured besides PSNR.
    """

    def __init__(
        self,
        signal: Signal,
        unit: str,
        device: torch.device,
        *,
        measures: str = "PSNR",
        more: More = _nothing,
    ) -> None:
        self.unit, self.device, self.measures, self.more = unit, device, measures, more
        self.count = signal.domain.valid
        self.cells, _ = evaluated_cells(signal.domain)
        self.subset = len(self.cells) < self.count
        self.coords = signal.domain.centres(self.cells)
        self.target = values_at(signal, self.coords, device)

    def describe(self) -> str:
        """What is measured, in words."""
        all_of_them = f"{self.count:,} {self.unit}"
        where = (
            f"a fixed subset of {len(self.cells):,} of {all_of_them}" if self.subset else f"all {all_of_them}"
        )
        return f"{self.measures} over {where}"

    def __call__(self, field: nn.Module) -> Evaluation:
        """Evaluates ``field``; leaves its parameters and random numbers untouched."""
        prediction = predict(field, self.coords, self.device)
        psnr = peak_signal_to_noise(prediction, self.target)
        return Evaluation(psnr, None, len(self.cells), self.subset, self.more(prediction, self.target))
