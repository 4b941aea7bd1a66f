"""The figures of a study of several comparisons."""

import math

import pytest

from softmine.study.curves import CurvePoint
from softmine.study.results import Comparison, Line, RunResult
from softmine.study.series import Moment, Part, Series, SeriesLine, part_lines, with_lines
from softmine.study.series_table import markdown
from softmine.study.summary import summarize


def run(sampler, seed, levels, batch_size=64, diverged_at=None):
    """A run whose evaluations are spread evenly over 100 steps of a tenth of a second."""
    share = 100 / len(levels)
    curve = tuple(
        CurvePoint(round(share * n), 0.1 * share * n, float(level)) for n, level in enumerate(levels, 1)
    )
    return RunResult(sampler, batch_size, seed=seed, curve=curve, diverged_at=diverged_at)


def comparison(*runs, **settings):
    return Comparison(
        runs=runs, lines=tuple(summarize(runs)), settings={"seconds": None, "steps": None} | settings
    )


RUNS = (
    run("uniform", 0, [10, 20, 30, 40]),
    run("uniform", 1, [12, 22, 32, 42]),
    run("shuffled", 0, [9, 19, 33, 41]),
    run("shuffled", 1, [9, 19, 35, 45]),
    run("auto", 0, [15, 25, 36, 38]),
    run("auto", 1, [18, 26, 38, 39]),
)
BY_STEP = comparison(*RUNS, steps=100)


def line_of(lines, sampler):
    (found,) = (line for line in lines if line.sampler == sampler)
    return found


def test_moments_are_medians_with_their_range():
    auto = line_of(part_lines(Part("clean"), BY_STEP), "auto")
    assert [moment.share for moment in auto.moments] == [0.1, 0.25, 0.5, 1.0, 1.0]
    assert [moment.best for moment in auto.moments] == [False] * 4 + [True]
    assert [moment.psnr for moment in auto.moments] == [16.5, 16.5, 25.5, 38.5, 38.5]
    end = auto.moments[3]
    assert (end.low, end.high) == (38, 39)
    assert auto.seeds == (0, 1)


def test_gains_are_of_pairs_of_one_seed_over_each_baseline():
    half, end = line_of(part_lines(Part("clean"), BY_STEP), "auto").moments[2:4]
    over_uniform, over_shuffled = half.gain("uniform"), half.gain("shuffled")
    assert (over_uniform.median, over_uniform.low, over_uniform.high) == (4.5, 4, 5)
    assert (over_shuffled.median, over_shuffled.level) == (6.5, 19)
    # The better of the two is another at another moment.
    assert half.gain() == over_uniform
    assert end.gain() == end.gain("shuffled")
    assert end.gain().median == -4.5


def test_a_baseline_has_no_gain_over_itself():
    for name, other in (("uniform", "shuffled"), ("shuffled", "uniform")):
        line = line_of(part_lines(Part("clean"), BY_STEP), name)
        assert {gain.baseline for moment in line.moments for gain in moment.gains} == {other}
        assert [found.baseline for found in line.speedups] == [other]


def test_the_best_moment_is_each_runs_own():
    runs = (run("uniform", 0, [10, 30, 20, 10]), run("auto", 0, [10, 20, 35, 30]))
    auto = line_of(part_lines(Part("clean"), comparison(*runs, steps=100)), "auto")
    best = auto.moments[-1]
    assert (best.psnr, best.share) == (35, 0.75)
    assert best.gain("uniform").median == 5


def test_equal_moments_are_of_time_where_the_budget_is_time():
    # At twice the speed, as many steps are made in half of the time.
    fast = RunResult(
        "auto", 64, seed=0, curve=tuple(CurvePoint(n, 0.05 * n, n / 2) for n in range(10, 201, 10))
    )
    slow = RunResult(
        "uniform", 64, seed=0, curve=tuple(CurvePoint(n, 0.1 * n, n / 2) for n in range(10, 101, 10))
    )
    auto = line_of(part_lines(Part("clean"), comparison(fast, slow, seconds=10.0)), "auto")
    assert auto.moments[2].gain("uniform").median == pytest.approx(25)
    assert auto.speedups[0].factor == pytest.approx(2)


def test_of_several_batch_sizes_the_best_is_the_baseline():
    runs = (run("uniform", 0, [1, 2]), run("uniform", 0, [3, 4], batch_size=256), run("auto", 0, [5, 6]))
    auto = line_of(part_lines(Part("clean"), comparison(*runs, steps=100)), "auto")
    assert auto.moments[3].gain("uniform").batch_size == 256
    assert auto.moments[3].gain("uniform").median == 2


def test_exact_fits_are_level_and_diverged_runs_do_not_count():
    runs = (
        run("uniform", 0, [10, math.inf]),
        run("auto", 0, [10, math.inf]),
        run("langevin", 0, [10], diverged_at=50),
    )
    lines = part_lines(Part("clean"), comparison(*runs, steps=100))
    assert line_of(lines, "auto").moments[3].gain("uniform").median == 0
    lost = line_of(lines, "langevin")
    assert (lost.diverged, lost.moments, lost.seeds) == (1, (), ())


def series(**more):
    shared = {"study": "noise", "task": "image", "parts": (Part("clean"), Part("jpeg=30")), "axis": "step"}
    return Series(**shared | more, settings={"steps": 100, "seconds": None, "field": "siren", "seeds": 2})


def test_a_study_reads_back_as_it_was_written():
    found = with_lines(series(), Part("jpeg=30"), BY_STEP)
    assert Series.parse(found.to_json()) == found


def test_lines_keep_the_order_of_the_parts():
    found = with_lines(with_lines(series(), Part("jpeg=30"), BY_STEP), Part("clean"), BY_STEP)
    assert [line.part for line in found.lines] == ["clean"] * 3 + ["jpeg=30"] * 3
    again = with_lines(found, Part("clean"), Comparison(settings={"steps": 100}))
    assert [line.part for line in again.lines] == ["jpeg=30"] * 3


def test_the_table_of_corruptions_shows_the_moments():
    text = markdown(with_lines(series(complete=True), Part("clean"), BY_STEP))
    rows = [row for row in text.splitlines() if row.startswith("|")]
    assert len({len(row) for row in rows}) == 1
    assert [cell.strip() for cell in rows[-1].split("|")[1:-1]] == [
        "clean", "auto, 64", "16.50 ± 1.50 (+5.50)", "16.50 ± 1.50 (+5.50)", "25.50 ± 0.50 (+4.50)",
        "38.50 ± 0.50 (-4.50)", "38.50 ± 0.50 at 100% (-4.50)",
    ]  # fmt: skip
    assert "siren, 100 steps, 2 seeds" in text
    assert "not complete" not in text
    assert "not complete" in markdown(series())


def test_the_table_of_sizes_shows_gains_and_speed_ups():
    found = with_lines(series(study="sizes", parts=(Part("8x8"),)), Part("8x8"), BY_STEP)
    row = [cell.strip() for cell in markdown(found).splitlines()[-3].split("|")[1:-1]]
    assert row == ["8x8", "auto, 64", "38.50 ± 0.50", "-2.50 (-3.00)", "-4.50 (-6.00)", "never", "never"]


def test_a_line_without_figures_is_shown():
    empty = SeriesLine("clean", "auto", 64, diverged=2)
    text = markdown(Series.parse(series().to_json() | {"lines": [empty.to_json()]}))
    assert "auto, 64 (2 diverged)" in text
    assert Moment().gain() is None
    assert part_lines(Part("clean"), Comparison(lines=(Line("auto"),))) == []
