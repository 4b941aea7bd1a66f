"""Pictures that need no file and no network: those that scikit-image carries in its wheel."""

from __future__ import annotations

import difflib

import numpy as np

from softmine.domain import SoftmineError

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


def load(name: str) -> np.ndarray:
    """The built-in picture ``name``, shape (H, W) or (H, W, C), uint8.

    Raises:
        SoftmineError: there is none of that name.
    """
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES) or list(NAMES)
        raise SoftmineError(f"there is no built-in picture {name!r}; try {', '.join(near)}")
    import skimage.data

    return getattr(skimage.data, NAMES[name])()
