"""Comparisons as typed records."""

import json
import math
from pathlib import Path

import pytest

from softmine.study.results import Comparison, Line, RunResult
from softmine.study.summary import summarize

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def run(sampler, psnrs, seed=0):
    points = [{"step": 10 * i, "seconds": 0.5 * i, "psnr": psnr} for i, psnr in enumerate(psnrs, 1)]
    return {"sampler": sampler, "seed": seed, "batch_size": 64, "curve": points, "step_ms_median": 10.0}


def test_lines_survive_the_way_through_json():
    runs = [RunResult.parse(run(name, [20, 24 + seed], seed)) for name in ("uniform", "x") for seed in (0, 1)]
    lines = summarize(runs)
    data = json.loads(json.dumps({"runs": [], "summary": [line.to_json() for line in lines]}))
    assert list(Comparison.parse(data).lines) == lines


def test_committed_results_parse_whole():
    for file in sorted(RESULTS.glob("kodak-*.json")):
        data = json.loads(file.read_text())
        comparison = Comparison.parse(data)
        assert [line.to_json() for line in comparison.lines] == data["summary"]
        assert [len(one.curve) for one in comparison.runs] == [len(one["curve"]) for one in data["runs"]]
        assert comparison.seconds == data["settings"]["seconds"]


def test_exact_fit_is_told_from_a_missing_figure():
    data = {
        "runs": [run("x", [20, None])],
        "summary": [{"sampler": "x", "batch_size": 64, "psnr_mean": None}],
    }
    assert Comparison.parse(data).lines[0].psnr == math.inf
    data["runs"][0]["diverged_at"] = 7
    assert Comparison.parse(data).lines[0].psnr is None


def test_group_without_a_line_has_its_psnr():
    data = {"runs": [run("x", [20, 24]), run("x", [20, 26], seed=1)]}
    (line,) = Comparison.parse(data).lines
    assert (line.psnr, line.deviation) == (25, pytest.approx(math.sqrt(2)))


def test_line_without_a_batch_size_speaks_of_the_only_group():
    data = {"runs": [run("x", [20, 24])], "summary": [{"sampler": "x", "psnr_mean": 23.0}]}
    (line,) = Comparison.parse(data).lines
    assert (line.batch_size, line.psnr) == (64, 23)


def test_occasional_overhead_is_only_told_where_it_is_much():
    assert Line("x", 64, overhead=0.1, overhead_in_all=0.15).occasional_overhead is None
    assert Line("x", 64, overhead=0.1, overhead_in_all=0.35).occasional_overhead == 0.35
    assert Line("x", 64, overhead_in_all=0.35).occasional_overhead is None
