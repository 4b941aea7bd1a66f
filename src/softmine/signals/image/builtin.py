"""Pictures that need no file and no network: those that scikit-image carries in its wheel, and one that is computed."""

from __future__ import annotations

import numpy as np

from softmine.signals.synthetic import fractal
from softmine.signals.synthetic.fractal import Fractal
from softmine.signals.synthetic.names import unknown

NAMES = {
    "astronaut": "astronaut",
    "brick": "brick",
    "camera": "camera",
    "cat": "cat",
    "coffee": "coffee",
    "coins": "coins",
    "grass": "grass",
    "gravel": "gravel",
    "hubble": "hubble_deep_field",
    "moon": "moon",
    "page": "page",
    "retina": "retina",
    "rocket": "rocket",
    "text": "text",
}
"""Our names, and theirs in ``skimage.data``."""


def load(name: str) -> np.ndarray | Fractal:
    """The built-in picture ``name``, shape (H, W) or (H, W, C), uint8; ``fractal-WIDTHxHEIGHT`` stays uncomputed.

    Raises:
        SoftmineError: there is none of that name, or not of that size.
    """
    computed = Fractal.named(name)
    if computed is not None:
        return computed
    if name not in NAMES:
        raise unknown("picture", name, [*NAMES, fractal.NAME])
    import skimage.data

    return getattr(skimage.data, NAMES[name])()
