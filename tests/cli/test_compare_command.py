"""``softmine compare image`` as people run it."""

import io
import json
import re

import numpy as np
import pytest
from PIL import Image as Pillow

from softmine.cli.compare import _print_summary
from softmine.cli.console import PlainConsole
from softmine.cli.main import main
from softmine.optim import cosine_decay
from softmine.runs.build import build_run

TINY = ["--log2-table-size", "8", "--batch-sizes", "64", "--evaluations", "4"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


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
    assert (results["signal"]["name"], results["signal"]["shape"]) == ("picture", [20, 24, 3])
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
    assert [run["race"] for run in results["runs"]] == [1, 1, 1, 2, 2, 2]
    for path in results["runs"][1]["images"]["samples"]:
        Pillow.open(out / path).load()
    printed = capsys.readouterr().out
    assert "langevin:alpha=1.0,prior=uniform" in printed
    assert "overhead" in printed
    assert (out / "report.html").exists()


def test_a_comparison_says_of_its_signal_what_a_fit_says(tmp_path, capsys):
    heights = np.linspace(0, 4080, 40 * 30, dtype=np.uint16).reshape(40, 30)
    heights[:15, :15] = 65535
    np.save(tmp_path / "dem.npy", heights)
    options = [str(tmp_path / "dem.npy"), "--crop", "20x30", "--nodata", "65535", "--steps", "4"]
    pages, lines = [], []
    for command, size in (("fit", "--batch-size"), ("compare", "--batch-sizes")):
        out = tmp_path / command
        more = ["--samplers", "uniform"] if command == "compare" else ["--sampler", "uniform"]
        assert main([command, "image", *options, "--out", str(out), size, "75", *more, *TINY[:2]]) == 0
        lines += [
            line.partition("  ->  ") for line in capsys.readouterr().out.splitlines() if "  ->  " in line
        ]
        page = (out / "report.html").read_text()
        pages.append(page[page.index("<h3>Signal</h3>") : page.index("<h3>Environment</h3>")])
    (one, _, folder), (other, _, place) = lines
    assert one == other
    assert (folder, place) == (str(tmp_path / "fit"), str(tmp_path / "compare"))
    for words in (
        "30 x 20 gray uint16, 12% without data",
        "the middle 30 x 20 of 30 x 40 pixels",
        "no data where a value is 65535",
    ):
        assert words in one, words
    assert pages[0] == pages[1]
    assert "the middle 30 x 20 of 30 x 40 pixels; no data where a value is 65535" in pages[0]


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


def test_samplers_run_at_batch_sizes_of_their_own(picture, tmp_path, capsys):
    samplers = ["uniform", "uniform@16", "multinomial", "langevin@32"]
    _, results = compare(picture, tmp_path / "out", "--steps", "20", "--samplers", *samplers)
    lines = {(line["sampler"], line["batch_size"]): line for line in results["summary"]}
    assert list(lines) == [("uniform", 64), ("uniform", 16), ("multinomial", 64), ("langevin", 32)]
    assert lines["langevin", 32]["overhead"] is None
    assert lines["langevin", 32]["baseline_batch_size"] in (16, 64)
    assert lines["uniform", 16]["overhead"] == 0
    assert all("worst_deficit" in line and "oracle_share" in line for line in lines.values())
    assert "100%" in capsys.readouterr().out


def test_a_shorter_run_ends_its_schedule_within_its_own_budget(picture, tmp_path, capsys, monkeypatch):
    trained = []
    monkeypatch.setattr(
        "softmine.study.compare.build_run",
        lambda *words, **more: trained.append(build_run(*words, **more)) or trained[-1],
    )
    out = tmp_path / "out"
    samplers = ["uniform", "uniform/2.5", "langevin:alpha=0.8@32/4"]
    code, results = compare(picture, out, "--steps", "40", "--samplers", *samplers)
    assert code == 0
    assert [(run["sampler"], run["batch_size"], run["shorter"]) for run in results["runs"]] == [
        ("uniform", 64, 1.0),
        ("uniform", 64, 2.5),
        ("langevin:alpha=0.8", 32, 4.0),
    ]
    assert [run["steps"] for run in results["runs"]] == [40, 16, 10]
    assert [trainer.progress for trainer in trained] == [1.0, 1.0, 1.0]
    for trainer, steps in zip(trained, (40, 16, 10), strict=True):
        group = trainer.optimizer.param_groups[0]
        # The rate of the last step, before which all others were done.
        assert group["lr"] / group["initial_lr"] == pytest.approx(cosine_decay(1 - 1 / steps))
    for run in results["runs"]:
        assert [point["step"] for point in run["curve"]][-1] == run["steps"]
        # Four evaluations and the early ones, as far as those fall into steps of their own.
        assert len(run["curve"]) >= 4
    files = [path for run in results["runs"] for path in (run["images"]["error"], *run["images"]["samples"])]
    assert len(set(files)) == len(files)
    for path in files:
        Pillow.open(out / path).load()
    printed = capsys.readouterr().out
    for words in ("uniform/2.5", "langevin:alpha=0.8/4", "a budget that many times shorter"):
        assert words in printed
    assert "uniform/2.5 (16 steps)" in (out / "report.html").read_text(encoding="utf-8")


def test_uniform_gets_its_own_batch_size(picture, tmp_path, capsys):
    out = tmp_path / "out"
    code, results = compare(
        picture, out, "--seconds", "0.3", "--tune-uniform", "--samplers", "uniform", "langevin"
    )
    assert code == 0
    tuning = results["tuning"]
    assert tuning["seconds"] == pytest.approx(0.05)
    assert tuning["start"] == 64
    tried = {run["batch_size"] for run in tuning["runs"]}
    assert tuning["batch_size"] in tried
    # 20 x 24 pixels: no batch has more samples than that.
    assert tried <= {64, 128, 256}
    assert {64, 256} <= tried
    for run in tuning["runs"]:
        assert 0.05 <= run["train_seconds"] < 2
    ends = {
        run["batch_size"]: run["curve"][-1]["psnr"] for run in results["runs"] if run["sampler"] == "uniform"
    }
    assert tuning["batch_size"] in ends
    # The search is short, and the whole runs know better.
    assert {line["baseline_batch_size"] for line in results["summary"]} == {max(ends, key=ends.__getitem__)}
    assert "the search chose batch size" in capsys.readouterr().out


def test_with_steps_the_tuned_uniform_is_given_as_much_time_not_as_many_steps(picture, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "softmine.study.tuning.climb", lambda measure, start, *_: (measure([start, 256]), 256)[1]
    )
    _, results = compare(
        picture, tmp_path / "out", "--steps", "30", "--tune-uniform", "--samplers", "uniform"
    )
    given, tuned = results["runs"]
    step_ms = {run["batch_size"]: run["step_ms_median"] for run in results["tuning"]["runs"]}
    assert (given["batch_size"], given["steps"]) == (64, 30)
    assert tuned["batch_size"] == 256
    assert tuned["steps"] == max(1, round(30 * step_ms[64] / step_ms[256]))


@pytest.mark.parametrize("width", [40, 50, 60, 80])
def test_a_narrow_terminal_cuts_no_number(width):
    line = {
        "sampler": "uniform", "batch_size": 65_536, "shorter": 1.0, "baseline_batch_size": 65_536, "psnr_mean": 32.768,
        "psnr_std": 0.123, "speedup_seconds": 1.0, "speedup_steps": None, "worst_deficit": 0.0, "overhead": 0.25,
        "overhead_in_all": 1.75, "oracle_share": 0.42, "diverged": 0,
    }  # fmt: skip
    out = Terminal()
    console = PlainConsole(file=out, force_terminal=True, width=width, color_system=None)
    _print_summary({"summary": [line]}, console)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())
    for word in ("65,536", "32.77", "\u00b10.12", "1.00x", "never", "+25%", "+0.00", "42%", "overhead"):
        assert word in printed.split() or f"({word}" in printed
    assert "\u2026" not in printed


def test_no_memory_for_the_first_trainer_leaves_no_folder(picture, tmp_path, capsys, monkeypatch):
    def build(*words, **more):
        raise MemoryError

    monkeypatch.setattr("softmine.study.compare.build_run", build)
    out = tmp_path / "parent" / "out"
    assert main(["compare", "image", str(picture), "--out", str(out), *TINY, "--steps", "2"]) == 2
    assert "out of memory" in capsys.readouterr().err
    assert not out.parent.exists()


@pytest.mark.parametrize(
    ("samplers", "message"),
    [
        (["resampling:candidates=2000000"], "candidates for each of 64 samples are more than"),
        (["auto", "auto@1024"], "names auto@1024 twice"),
        (["auto/2.5", "auto@1024/2.5"], "names auto@1024/2.5 twice"),
        (["uniform", "auto/1"], "sampler 'auto/1': what follows the / says how many times shorter"),
    ],
)
def test_a_sampler_that_its_batch_size_rules_out_leaves_no_folder(
    picture, tmp_path, capsys, samplers, message
):
    out = tmp_path / "parent" / "out"
    words = ["compare", "image", str(picture), "--out", str(out), *TINY]
    assert main([*words, "--steps", "2", "--samplers", *samplers]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not out.parent.exists()
