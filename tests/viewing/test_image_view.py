import numpy as np

from softmine.viewing.image_view import SURROUND, density_map, fitted, reduced, to_colors


def test_colors_of_every_number_of_channels():
    values = np.full((2, 3, 4), 0.4, np.float32)
    values[..., 3] = 0.5
    assert (to_colors(values) == 179).all()
    assert (to_colors(values[..., :3]) == 102).all()
    assert (to_colors(values[..., :1]) == 102).all()
    assert (to_colors(values[..., 2:]) == 179).all()
    assert (to_colors(np.full((2, 3, 3), np.nan, np.float32)) == 0).all()


def test_a_picture_lies_in_the_middle_of_its_window():
    picture = np.zeros((10, 20, 3), np.uint8)
    window = fitted(picture, 100, 100)
    assert window.shape == (100, 100, 3)
    assert (window[26:74] == 0).all()
    assert (window[:25] == SURROUND).all()
    assert (window[75:] == SURROUND).all()
    assert (fitted(None, 7, 5) == SURROUND).all()


def test_samples_are_red_where_there_are_many_and_blue_where_there_are_few():
    counts = np.array([[100.0, 1.0], [25.0, 0.0]])
    picture = density_map(counts / counts.mean(), (40, 60)).astype(int)
    assert picture.shape == (40, 60, 3)
    assert picture[5, 5, 0] > picture[5, 5, 2] + 50
    assert picture[35, 55, 2] > picture[35, 55, 0] + 50
    even = density_map(np.ones((2, 2)), (4, 4))
    assert (even > 240).all()


def test_reducing():
    picture = np.zeros((100, 50, 3), np.uint8)
    assert reduced(picture, 10).shape == (10, 5, 3)
    assert reduced(picture, 100) is picture
