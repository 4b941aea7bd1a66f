import math

import pytest

from softmine.study.curves import CurvePoint, median_psnr_at, parse_curve, psnr_at, spread, time_to


def curve(psnrs):
    return [CurvePoint(10 * i, 0.5 * i, float(psnr)) for i, psnr in enumerate(psnrs, 1)]


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


def test_median_psnr_interpolates_every_curve():
    runs = [curve([20, 24]), curve([20, 26]), curve([20, 40])]
    assert median_psnr_at(runs, 15.0, "step") == 23
    assert median_psnr_at([], 15.0, "step") is None


def test_spread_has_median_and_range():
    runs = [curve([20 + i, 22 + i, 24 + i]) for i in (0, 1, 5)]
    middle = spread([*runs, []], "step")
    assert middle is not None
    assert middle.x[-1] == 30
    assert (middle.low[-1], middle.median[-1], middle.high[-1]) == (24, 25, 29)
    assert spread([], "step") is None
    assert spread([curve([math.inf])], "seconds") is None


def test_parsed_curve_leaves_damaged_points_out():
    whole = {"step": 20, "seconds": 1.0, "psnr": 25.0, "ssim": 0.5, "iou": 0.75}
    damaged = [{"step": 1}, None, {**whole, "step": "x"}, {**whole, "step": 3, "psnr": math.nan}]
    found = parse_curve([whole, *damaged, {"step": 10, "seconds": 0.5, "psnr": None}])
    assert found == (CurvePoint(10, 0.5, math.inf), CurvePoint(20, 1.0, 25.0, 0.5, {"iou": 0.75}))
