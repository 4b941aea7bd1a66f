"""What the commands' tests fit and compare."""

import numpy as np
import pytest
from PIL import Image as Pillow


@pytest.fixture
def picture(tmp_path):
    """The file of a small image of noise."""
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(path)
    return path
