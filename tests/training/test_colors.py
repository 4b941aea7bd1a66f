import numpy as np

from softmine.training.colors import DENSITY_RANGE, density_colors, error_colors, to_bytes


def test_to_bytes_rounds_and_clips():
    assert to_bytes(np.array([-1.0, 0.0, 0.5, 1.0, 2.0, np.nan, 0.4 / 255, 0.6 / 255])).tolist() == [
        0, 0, 128, 255, 255, 0, 0, 1,
    ]  # fmt: skip


def test_error_colors_end_at_the_scale():
    colors = error_colors(np.array([[0.0, 0.1, 0.2, 9.0]]), 0.2).astype(int)
    assert colors[0, 0].sum() < 10
    assert (colors[0, 2] == colors[0, 3]).all()
    assert colors[0].sum(-1).tolist() == sorted(colors[0].sum(-1))


def test_density_colors_are_white_at_the_mean():
    colors = density_colors(np.array([[0.0, 1 / DENSITY_RANGE, 1.0, DENSITY_RANGE, 99.0]])).astype(int)[0]
    assert (colors[0] == colors[1]).all()
    assert (colors[3] == colors[4]).all()
    assert colors[2].min() > 240
    assert colors[3][0] > colors[3][2]
    assert colors[0][2] > colors[0][0]
