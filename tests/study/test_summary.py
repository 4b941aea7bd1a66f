import math

import pytest

from softmine.study import summary
from softmine.study.results import RunResult


def summarize(runs, tuned=None):
    return [line.to_json() for line in summary.summarize(list(map(RunResult.parse, runs)), tuned)]


def best_uniform(runs):
    return summary.best_uniform([RunResult.parse(run) for run in runs])


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


def test_lines_are_over_the_same_seeds_where_that_can_be():
    uniform = [run("uniform", [20, psnr], seed=seed) for seed, psnr in enumerate((24, 30, 30))]
    # The first seed is the hardest: over it alone x is ahead, against all it would seem behind.
    first, second = summarize([*uniform, run("x", [21, 25])])
    assert (first["psnr_mean"], second["psnr_mean"]) == (24, 25)
    assert first["seeds"] == second["seeds"] == [0]
    cut = run("x", [21], seed=0, finished=False)
    first, second = summarize([*uniform, cut, run("x", [21, 33], seed=1)])
    assert (first["seeds"], second["seeds"]) == ([1], [1])
    # No seed has all: those in which all runs ended.
    first, second = summarize([*uniform[:2], run("x", [21, 25], seed=2)])
    assert (first["seeds"], second["seeds"]) == ([0, 1], [2])


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


def figures(runs, sampler, batch_size=64, tuned=None):
    (line,) = (
        line
        for line in summarize(runs, tuned)
        if (line["sampler"], line["batch_size"]) == (sampler, batch_size)
    )
    return line


def test_everyone_is_measured_against_the_tuned_uniform_whatever_the_batch_size():
    runs = [
        run("uniform", [20, 22, 24]),
        run("x", [20, 24, 26]),
        run("uniform", [20, 24, 28], batch_size=256),
    ]
    assert figures(runs, "x")["speedup_steps"] == pytest.approx(1.5)
    assert figures(runs, "x", tuned=256)["speedup_steps"] is None
    assert figures(runs, "x", tuned=256)["baseline_batch_size"] == 256
    # 28 dB are what it takes 30 steps to reach; the overhead stays that at equal batch size.
    assert figures(runs, "uniform", tuned=256)["speedup_steps"] is None
    assert figures(runs, "x", tuned=256)["overhead"] == 0


def test_the_best_uniform_had_the_whole_budget_and_ends_highest():
    runs = [
        run("uniform", [20, 22], batch_size=8),
        run("uniform", [20, 26], batch_size=16),
        {**run("uniform", [20, 29], batch_size=32), "shorter": 2.0},
        run("x", [20, 30]),
    ]
    assert best_uniform(runs) == 16
    assert best_uniform(runs[2:]) is None


def test_without_uniform_at_its_own_batch_size_the_highest_uniform_is_the_baseline():
    runs = [
        run("uniform", [20, 22], batch_size=8),
        run("uniform", [20, 26], batch_size=16),
        run("x", [20, 23]),
    ]
    line = figures(runs, "x")
    assert line["baseline_batch_size"] == 16
    assert line["speedup_seconds"] is None
    assert line["overhead"] is None


def test_a_uniform_that_diverged_hides_none_that_did_not():
    gone = run("uniform", [20], finished=False, diverged_at=12)
    healthy = run("uniform", [20, 22, 24], batch_size=8)
    for tuned in (None, 64):
        line = figures([gone, healthy, run("x", [20, 24, 26])], "x", tuned=tuned)
        assert line["baseline_batch_size"] == 8
        assert line["speedup_steps"] == pytest.approx(1.5)
    assert figures([gone, run("x", [20, 24, 26])], "x")["baseline_batch_size"] is None


def test_the_minimum_margin_is_the_deepest_after_the_first_tenth():
    base = [10, *[20.0] * 19]
    other = [1, 20, 19.5, *[20.3] * 17]
    assert figures([run("uniform", base), run("x", other)], "x")["worst_deficit"] == pytest.approx(0.5)
    ahead = [run("uniform", base), run("x", [psnr + 2 for psnr in base])]
    assert figures(ahead, "x")["worst_deficit"] == pytest.approx(-2.0)
    assert figures(ahead, "uniform")["worst_deficit"] == 0


def test_the_minimum_margin_is_at_equal_seconds_not_at_equal_steps():
    slow = run("x", [22, 24, 26, 28])
    for point in slow["curve"]:
        point["seconds"] *= 2
    base = run("uniform", [21, 23, 25, 27])
    # At 2 s uniform is at 27 and the other, half as far, at 24.
    assert figures([base, slow], "x")["worst_deficit"] == pytest.approx(3.0)


def test_the_minimum_margin_is_the_medians_over_seeds():
    runs = [run("uniform", [20, 24, 26], seed=seed) for seed in range(3)]
    runs += [run("x", [20, 24, 26 - dip], seed=seed) for seed, dip in enumerate((9.0, 0.0, 0.2))]
    assert figures(runs, "x")["worst_deficit"] == pytest.approx(0.2)


def test_the_exact_gain_is_shared_at_equal_steps():
    runs = [run("uniform", [20, 24]), run("multinomial", [20, 28]), run("x", [20, 25, 40])]
    # After 20 steps, the last that all have: 1 of 4 dB.
    assert figures(runs, "x")["oracle_share"] == pytest.approx(0.25)
    assert figures(runs, "multinomial")["oracle_share"] == 1
    assert figures(runs, "uniform")["oracle_share"] == 0


def test_exact_share_needs_an_exact_gain():
    assert figures([run("uniform", [20, 24]), run("x", [20, 25])], "x")["oracle_share"] is None
    for exact in (24.05, 23.0):
        runs = [run("uniform", [20, 24]), run("multinomial", [20, exact]), run("x", [20, 25])]
        assert figures(runs, "x")["oracle_share"] is None


def test_highest_of_several_exact_samplings_counts():
    exact = [run("multinomial:alpha=1", [20, 26]), run("multinomial:alpha=0", [20, 28])]
    for several in (exact, exact[::-1]):
        runs = [run("uniform", [20, 24]), *several, run("x", [20, 25])]
        assert figures(runs, "x")["oracle_share"] == pytest.approx(0.25)
        assert figures(runs, "multinomial:alpha=1")["oracle_share"] == pytest.approx(0.5)


def test_exact_sampling_of_another_batch_size_does_not_count():
    runs = [run("uniform", [20, 24]), run("multinomial", [20, 28], batch_size=8), run("x", [20, 25])]
    assert figures(runs, "x")["oracle_share"] is None


def shorter(sampler, psnrs, times, **more):
    return {**run(sampler, psnrs, **more), "shorter": times}


def lines_of(runs):
    return {(line["sampler"], line["shorter"]): line for line in summarize(runs)}


def test_shorter_run_that_ends_level_has_its_speedup():
    runs = [run("uniform", [20, 22, 24, 26, 27, 28]), run("x", [21, 23, 25, 27, 28, 29])]
    lines = lines_of(
        [*runs, shorter("x", [24, 28], 3.0), shorter("y", [24, 29], 3.0), shorter("z", [24, 27.9], 3.0)]
    )
    assert lines["x", 1.0]["speedup_seconds"] == pytest.approx(6 / 5)
    assert lines["x", 3.0]["speedup_seconds"] == lines["x", 3.0]["speedup_steps"] == pytest.approx(3.0)
    # 28 dB lie 4 of 5 dB between 10 and 20 steps.
    assert lines["y", 3.0]["speedup_seconds"] == pytest.approx(6 / 1.8)
    assert lines["z", 3.0]["speedup_seconds"] is None
    assert lines["z", 3.0]["psnr_mean"] == pytest.approx(27.9)


def test_the_minimum_margin_of_a_shorter_run_is_while_both_train():
    base = run("uniform", [20, 22, 24, 26, 27, 28])
    # Ahead by a decibel while it trains, and below the baseline's end.
    assert lines_of([base, shorter("x", [21, 23], 3.0)])["x", 3.0]["worst_deficit"] == pytest.approx(-1.0)
    late = shorter("x", [18], 100.0)
    late["curve"][0].update(seconds=0.05, step=1)
    assert lines_of([base, late])["x", 100.0]["worst_deficit"] is None


def test_a_shorter_uniform_is_a_row_and_never_the_baseline():
    runs = [shorter("uniform", [24, 30], 2.0), run("uniform", [20, 24, 26, 28]), run("x", [20, 28, 29, 30])]
    lines = lines_of(runs)
    assert lines["x", 1.0]["speedup_steps"] == pytest.approx(2.0)
    assert lines["uniform", 1.0]["speedup_steps"] == 1
    assert lines["uniform", 2.0]["speedup_steps"] == pytest.approx(40 / (10 + 10 * 4 / 6))
    alone = lines_of([runs[0], runs[2]])
    assert alone["x", 1.0]["baseline_batch_size"] is None
    assert (
        alone["x", 1.0]["speedup_steps"]
        is alone["x", 1.0]["overhead"]
        is alone["x", 1.0]["worst_deficit"]
        is None
    )


def test_a_shorter_run_shares_the_gain_of_exact_sampling_that_had_as_much():
    whole = [run("uniform", [20, 22, 24, 26]), run("multinomial", [20, 24, 28, 30])]
    runs = [*whole, shorter("x", [20, 25], 2.0)]
    assert lines_of(runs)["x", 2.0]["oracle_share"] is None
    runs += [shorter("uniform", [20, 24], 2.0), shorter("multinomial", [20, 28], 2.0)]
    assert lines_of(runs)["x", 2.0]["oracle_share"] == pytest.approx(0.25)
    assert lines_of(runs)["multinomial", 1.0]["oracle_share"] == 1


def test_exact_fits_have_figures_too():
    runs = [run("uniform", [20, math.inf]), run("uniform", [20, 40], seed=1)]
    runs += [run("multinomial", [20, math.inf], seed=seed) for seed in range(2)]
    line = figures(runs, "multinomial")
    assert (line["psnr_mean"], line["psnr_std"]) == (math.inf, None)
    assert line["worst_deficit"] <= 0
    assert line["oracle_share"] is None


def test_what_a_sampler_does_now_and_then_is_in_the_overhead_in_all():
    slow = run("x", [20, 24], step_ms=11.0)
    for point in slow["curve"]:
        point["seconds"] *= 3
    line = figures([run("uniform", [20, 24]), slow], "x")
    assert line["overhead"] == pytest.approx(0.1)
    assert line["overhead_in_all"] == pytest.approx(2.0)
