import math

import pytest

from softmine.study.curves import psnr_at, time_to


def curve(psnrs):
    return [{"step": 10 * i, "seconds": 0.5 * i, "psnr": float(psnr)} for i, psnr in enumerate(psnrs, 1)]


def test_between_points_curves_are_straight():
    assert psnr_at(curve([20, 24]), 15.0, "step") == 22
    assert psnr_at(curve([20, 24]), 0.625, "seconds") == 21
    assert time_to(curve([20, 24]), 22.0, "seconds") == pytest.approx(0.75)


def test_beyond_its_ends_a_curve_stays_level():
    assert psnr_at(curve([20, 24]), 1.0, "step") == 20
    assert psnr_at(curve([20, 24]), 99.0, "step") == 24


def test_an_exact_fit_is_reached_at_once_and_never_a_nan():
    exact = curve([20, math.inf])
    assert time_to(exact, 30.0, "step") == 20
    assert time_to(exact, math.inf, "step") == 20
    assert psnr_at(exact, 15.0, "step") == 20
    assert psnr_at(exact, 20.0, "step") == math.inf
    assert psnr_at(curve([math.inf, 20]), 15.0, "step") == math.inf
