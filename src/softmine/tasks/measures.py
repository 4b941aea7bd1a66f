"""How far arrays of values are from each other: PSNR, SSIM and the error of each pixel."""

from __future__ import annotations

from typing import Any

import numpy as np

from softmine.runs.task import Array
from softmine.training.evaluation import decibels

WINDOW, GAUSSIAN_WINDOW = 7, 11
"""Pixels across of the windows of SSIM: even weights, and Gaussian ones."""


def psnr(values: Array, target: Array) -> float:
    """PSNR in dB for a peak of 1, of arrays of one shape."""
    return decibels(float(np.square(values - target).mean(dtype=np.float64)))


def ssim(values: Array, target: Array, *, gaussian: bool = False) -> float | None:
    """Structural similarity of two images (h, w, C) in [0, 1], or None where one is smaller than the window.

    Args:
        values: what is measured.
        target: what it should be.
        gaussian: with the window of its authors (Wang et al. 2004), as figures published on radiance fields have; else
            with scikit-image's even one.
    """
    from skimage.metrics import structural_similarity

    if min(target.shape[:2]) < (GAUSSIAN_WINDOW if gaussian else WINDOW):
        return None
    window: dict[str, Any] = (
        {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
        if gaussian
        else {"win_size": WINDOW}
    )
    score = structural_similarity(target, values, data_range=1.0, channel_axis=-1, **window)
    return float(np.asarray(score))
