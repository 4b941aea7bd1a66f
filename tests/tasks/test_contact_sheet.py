import numpy as np

from softmine.tasks.contact_sheet import GAP, contact_sheet, in_rows


def test_in_rows_fills_gaps_and_the_rest_of_smaller_images():
    images = [np.full((2, 3), 0.1), np.full((1, 3), 0.2), np.full((2, 2), 0.3)]
    sheet = in_rows(images, 2, fill=0.5)
    assert sheet.shape == (2 * 2 + GAP, 2 * 3 + GAP)
    np.testing.assert_allclose(sheet[:2, :3], 0.1)
    np.testing.assert_allclose(sheet[0, 3 + GAP :], 0.2)
    np.testing.assert_allclose(sheet[2 + GAP :, :2], 0.3)
    assert (sheet[1, 3:] == 0.5).all()
    assert (sheet[2 + GAP :, 2:] == 0.5).all()


def test_in_rows_without_gaps_keeps_channels():
    images = [np.full((2, 2, 3), value) for value in (0.0, 0.25, 0.5, 0.75)]
    sheet = in_rows(images, 2, gap=0)
    assert sheet.shape == (4, 4, 3)
    assert (sheet[2:, :2] == 0.5).all()


def test_contact_sheet_is_about_as_wide_as_a_screen():
    assert contact_sheet([np.zeros((10, 10, 3))] * 8).shape == (2 * 10 + GAP, 4 * 10 + 3 * GAP, 3)
