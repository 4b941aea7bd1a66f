"""``softmine compare image`` as people run it."""

import json

import numpy as np
import pytest
from PIL import Image as Pillow

from softmine.cli.main import main

TINY = ["--log2-table-size", "8", "--batch-sizes", "64", "--evaluations", "4"]


@pytest.fixture
def picture(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (20, 24, 3), dtype=np.uint8)
    Pillow.fromarray(pixels).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def compare(picture, out, *more):
    code = main(["compare", "image", str(picture), "--out", str(out), *TINY, *more])
    return code, json.loads((out / "results.json").read_text())


def test_results_have_every_run_and_a_summary(picture, tmp_path, capsys):
    out = tmp_path / "out"
    samplers = ["uniform", "langevin", "langevin:alpha=1.0,prior=uniform"]
    code, results = compare(picture, out, "--steps", "40", "--seeds", "2", "--samplers", *samplers)
    assert code == 0
    assert results["schema"] == 1
    assert results["task"] == "image"
    assert results["complete"]
    assert results["signal"] == {"name": "picture", "shape": [20, 24, 3]}
    assert [(run["sampler"], run["seed"]) for run in results["runs"]] == [
        (s, i) for i in range(2) for s in samplers
    ]
    for run in results["runs"]:
        assert run["steps"] == 40
        assert run["train_seconds"] > 0
        assert 0 < run["sampler_ms_median"] < run["step_ms_median"]
        steps = [point["step"] for point in run["curve"]]
        assert steps == sorted(set(steps))
        assert steps[-1] == 40
    assert [line["sampler"] for line in results["summary"]] == samplers
    assert results["summary"][0]["speedup_seconds"] == results["summary"][0]["speedup_steps"] == 1
    for path in results["runs"][1]["images"]["samples"]:
        Pillow.open(out / path).load()
    printed = capsys.readouterr().out
    assert "langevin:alpha=1.0,prior=uniform" in printed
    assert "overhead" in printed
    assert (out / "report.html").exists()


def test_one_seed_starts_all_samplers_from_the_same_field(picture, tmp_path):
    _, results = compare(
        picture, tmp_path / "out", "--steps", "1", "--samplers", "uniform", "uniform:stratified=False"
    )
    first, second = (run["curve"] for run in results["runs"])
    assert [point["psnr"] for point in first] == [point["psnr"] for point in second]


def test_a_time_budget_is_kept(picture, tmp_path):
    _, results = compare(picture, tmp_path / "out", "--seconds", "0.5", "--samplers", "uniform")
    (run,) = results["runs"]
    assert 0.5 <= run["train_seconds"] < 5
    assert results["summary"][0]["overhead"] == 0


def test_divergence_is_told_and_no_success(picture, tmp_path, capsys):
    code, results = compare(picture, tmp_path / "out", "--steps", "20", "--learning-rate", "1e30")
    assert code == 1
    streams = capsys.readouterr()
    assert "the loss diverged with uniform, langevin" in streams.err
    assert "diverged" in streams.out
    assert all(line["psnr_mean"] is None for line in results["summary"])
