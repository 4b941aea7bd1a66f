"""How good a reconstruction of a signal is: PSNR, SSIM and what a kind adds, always at the same coordinates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from softmine.domain import Coords, Values
from softmine.runs.task import Array, Evaluation
from softmine.signals import Signal
from softmine.training.evaluation import decibels, evaluated_cells, peak_signal_to_noise, values_at

WINDOW, GAUSSIAN_WINDOW = 7, 11
"""Pixels across of the windows of SSIM: even weights, and Gaussian ones."""

More = Callable[[Values, Values], dict[str, Any]]
"""Further measures by name, from a prediction and the signal, (M, C) each, in [0, 1]."""


class FieldEvaluator:
    """Evaluates fields against one signal. Predictions are clipped to [0, 1], the range of the signal, first.

    Args:
        coords: where fields are evaluated, (M, D).
        target: the signal there, (M, C), on the CPU.
        words: what is measured.
        device: where the fields are.
        counted: PSNR is over so many of the coordinates, the first; the others are for ``more``. All by default.
        subset: whether those counted are only a part of the signal.
        more: what is measured besides PSNR; ``ssim`` among it becomes that of the ``Evaluation``.
    """

    def __init__(
        self,
        coords: Coords,
        target: Values,
        words: str,
        device: torch.device,
        *,
        counted: int | None = None,
        subset: bool = False,
        more: More | None = None,
    ) -> None:
        self.coords, self.target, self.words, self.device = coords, target, words, device
        self.counted = len(coords) if counted is None else counted
        self.subset, self._more = subset, more

    def describe(self) -> str:
        """What is measured, in words."""
        return self.words

    def __call__(self, field: nn.Module) -> Evaluation:
        """Evaluates ``field``; leaves its parameters, random numbers and mode untouched."""
        prediction = self.predict(field)
        finite = bool(prediction.isfinite().all())
        prediction = prediction.clamp_(0.0, 1.0)
        psnr = peak_signal_to_noise(prediction[: self.counted], self.target[: self.counted])
        more = self.more(field, prediction)
        return Evaluation(
            psnr if finite else math.nan, more.pop("ssim", None), self.counted, self.subset, more
        )

    def predict(self, field: nn.Module) -> Values:
        """Values (M, C) of ``field`` at the coordinates, on the CPU."""
        return values_at(field, self.coords, self.device)

    def more(self, field: nn.Module, prediction: Values) -> dict[str, Any]:
        """What is measured besides PSNR."""
        return self._more(prediction, self.target) if self._more else {}


class CellEvaluator(FieldEvaluator):
    """Evaluates fields at the centers of a signal's cells; those without data never count.

    Up to 2^20 cells with data, all of them count; of more, 2^17 drawn once, uniformly, with a fixed seed.

    Args:
        signal: what fields should be like.
        unit: what its cells are called, in the plural: ``voxels``.
        device: where the fields are.
        measures: what is measured there, in words.
        more: what is measured besides PSNR.
        beside: further coordinates (B, D), for ``more`` alone.
        beside_words: what is measured at those.
    """

    def __init__(
        self,
        signal: Signal,
        unit: str,
        device: torch.device,
        *,
        measures: str = "PSNR",
        more: More | None = None,
        beside: Coords | None = None,
        beside_words: str = "",
    ) -> None:
        domain = signal.domain
        self.cells, _ = evaluated_cells(domain)
        count = len(self.cells)
        all_of_them = f"{domain.valid:,} {unit}"
        where = (
            f"all {all_of_them}" if count == domain.valid else f"a fixed subset of {count:,} of {all_of_them}"
        )
        coords = domain.centers(self.cells)
        if beside is not None:
            coords = torch.cat([coords, beside])
        super().__init__(
            coords,
            values_at(signal, coords, device),
            f"{measures} over {where}{beside_words}",
            device,
            counted=count,
            subset=count < domain.valid,
            more=more,
        )


def psnr(values: Array, target: Array) -> float:
    """PSNR in dB for a peak of 1, of arrays of one shape."""
    return decibels(float(np.square(values - target).mean(dtype=np.float64)))


def ssim(values: Array, target: Array, *, gaussian: bool = False, valid: Array | None = None) -> float | None:
    """Structural similarity of two images (h, w, C) in [0, 1], or None where one is smaller than the window.

    Args:
        values: what is measured.
        target: what it should be.
        valid: which pixels hold data, (h, w), where not all do: the mean is over windows of which every pixel does, and None
            where there is none; what both images hold elsewhere does not matter, as long as it is finite.
        gaussian: with the window of its authors (Wang et al. 2004), as figures published on radiance fields have; else
            with scikit-image's even one.
    """
    from scipy.ndimage import binary_erosion
    from skimage.metrics import structural_similarity

    if min(target.shape[:2]) < (GAUSSIAN_WINDOW if gaussian else WINDOW):
        return None
    window: dict[str, Any] = (
        {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        if gaussian
        else {"win_size": WINDOW}
    )
    window |= {"data_range": 1.0, "channel_axis": -1}
    if valid is None:
        return float(np.asarray(structural_similarity(target, values, **window)))
    side = GAUSSIAN_WINDOW if gaussian else WINDOW
    whole = np.asarray(
        binary_erosion(valid, np.ones((side, side), bool))
    )  # beyond the border there is no data
    if not whole.any():
        return None
    similar: Any = structural_similarity(target, values, full=True, **window)[1]
    return float(similar[whole].mean())
