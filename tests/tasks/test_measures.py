import numpy as np
import pytest

from softmine.tasks.measures import psnr, ssim


def test_psnr_of_arrays():
    target = np.zeros((4, 5, 3), np.float32)
    assert psnr(target + np.float32(0.1), target) == pytest.approx(20, abs=1e-5)
    assert psnr(target, target) == np.inf
    assert np.isnan(psnr(np.full_like(target, np.nan), target))


@pytest.mark.parametrize(("gaussian", "least"), [(False, 7), (True, 11)])
def test_ssim_needs_room_for_its_window(gaussian, least):
    random = np.random.default_rng(0)
    target = random.random((least, least + 1, 3), np.float32)
    assert ssim(target, target, gaussian=gaussian) == pytest.approx(1)
    assert ssim(1 - target, target, gaussian=gaussian) < 0.5
    assert ssim(target[1:], target[1:], gaussian=gaussian) is None
