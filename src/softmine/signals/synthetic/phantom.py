"""Volumes that need no file and no network: made here, the same every time."""

from __future__ import annotations

import numpy as np


def phantom() -> np.ndarray:
    """A soft body with a hard shell, a sponge in one half and a thin coil in the other, (64, 64, 48) uint8.

    Smooth regions, sharp borders and fine detail in one volume, so that samplers have something to choose between.
    """
    axes = [(np.arange(n) + 0.5) / n * 2 - 1 for n in (64, 64, 48)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.75) ** 2 + (z / 0.9) ** 2)
    inside = 1 / (1 + np.exp((radius - 0.9) * 60))
    shell = np.exp(-(((radius - 0.92) / 0.04) ** 2))
    value = 0.35 * inside * (1 - 0.5 * radius) + 0.75 * shell
    # A gyroid: sin a cos b + sin b cos c + sin c cos a = 0 cuts space into two equal labyrinths.
    a, b, c = 17 * x, 17 * y, 17 * z
    labyrinth = np.sin(a) * np.cos(b) + np.sin(b) * np.cos(c) + np.sin(c) * np.cos(a)
    sponge = (x < -0.05) & (radius < 0.75)
    value = value + 0.35 * sponge / (1 + np.exp(-labyrinth * 8))
    coil = (x - 0.38 - 0.2 * np.cos(11 * z)) ** 2 + (y - 0.3 * np.sin(11 * z)) ** 2
    value = value + 0.6 * np.exp(-coil / 0.05**2) * (radius < 0.8)
    return np.rint(np.clip(value, 0, 1) * 255).astype(np.uint8)
