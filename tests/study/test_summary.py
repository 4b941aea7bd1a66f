import math

import pytest

from softmine.study.summary import summarize, time_to


def run(sampler, psnrs, seed=0, step_ms=10.0, finished=True, diverged_at=None, batch_size=64):
    curve = [{"step": 10 * i, "seconds": 0.5 * i, "psnr": float(psnr)} for i, psnr in enumerate(psnrs, 1)]
    return {
        "sampler": sampler,
        "seed": seed,
        "batch_size": batch_size,
        "step_ms_median": step_ms,
        "finished": finished,
        "diverged_at": diverged_at,
        "curve": curve,
    }


def test_speed_up_is_the_baselines_time_over_the_time_to_its_final_psnr():
    uniform, other = summarize([run("uniform", [20, 22, 24]), run("x", [22, 26, 27], step_ms=12.0)])
    assert uniform["speedup_seconds"] == uniform["speedup_steps"] == 1
    # 24 dB lie halfway between 10 and 20 steps; uniform took 30.
    assert other["speedup_steps"] == pytest.approx(2.0)
    assert other["overhead"] == pytest.approx(0.2)
    assert other["psnr_mean"] == 27


def test_uniform_is_as_fast_as_itself_even_when_its_curve_falls():
    lines = summarize([run("uniform", [20, 27, 25]), run("uniform", [20, 24, 26], seed=1)])
    assert lines[0]["speedup_steps"] == 1


def test_never_and_no_baseline_are_none():
    assert summarize([run("uniform", [20, 24]), run("x", [19, 23])])[1]["speedup_seconds"] is None
    (alone,) = summarize([run("x", [19, 23])])
    assert alone["speedup_seconds"] is None
    assert alone["overhead"] is None


def test_a_seed_that_was_cut_short_does_not_count():
    runs = [run("uniform", [20, 24]), run("x", [21, 25])]
    runs += [run("uniform", [9], seed=1, finished=False), run("x", [21, 25], seed=1)]
    uniform, other = summarize(runs)
    assert (uniform["psnr_mean"], other["psnr_mean"]) == (24, 25)


def test_an_interrupted_first_seed_is_compared_at_common_evaluations():
    runs = [run("uniform", [20, 24, 26], finished=False), run("x", [21, 25], finished=False)]
    uniform, other = summarize(runs)
    assert (uniform["psnr_mean"], other["psnr_mean"]) == (24, 25)
    assert summarize([run("uniform", [20], finished=False), run("x", [], finished=False)]) == []


def test_divergence_is_counted_and_never_flattered():
    runs = [run("uniform", [20, 24]), run("x", [30], finished=False, diverged_at=15)]
    runs += [run("uniform", [20, 24], seed=1), run("x", [21, 26], seed=1)]
    runs += [run("uniform", [20, 24], seed=2), run("x", [], finished=False, diverged_at=3, seed=2)]
    other = summarize(runs)[1]
    assert other["diverged"] == 2
    assert other["psnr_mean"] == 26
    assert other["speedup_steps"] is None


def test_an_exact_fit_is_reached():
    curve = run("x", [20, math.inf])["curve"]
    assert time_to(curve, 30.0, "step") == 20
    assert time_to(curve, math.inf, "step") == 20
