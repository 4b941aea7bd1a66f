"""Comparisons that go on: after Ctrl-C, after a kill, and with more to compare."""

import itertools
import json
import multiprocessing
import os
import signal
import time

import numpy as np
import pytest

from softmine.cli.compare import compare_command
from softmine.cli.main import main
from softmine.study import compare

from helpers import run_quietly

TINY = ["--log2-table-size", "8", "--batch-sizes", "64", "--evaluations", "4", "--steps", "20"]


@pytest.fixture
def picture(tmp_path):
    np.save(tmp_path / "picture.npy", np.random.default_rng(0).random((20, 24)).astype(np.float32))
    return tmp_path / "picture.npy"


@pytest.fixture
def finished(picture, tmp_path):
    """A finished comparison of uniform with one seed."""
    out = tmp_path / "out"
    assert main(["compare", "image", str(picture), "--out", str(out), "--samplers", "uniform", *TINY]) == 0
    return out


def read(out):
    return json.loads((out / "results.json").read_text())


def named(results):
    return [(run["sampler"], run["batch_size"], run["seed"], run["race"]) for run in results["runs"]]


def resume(out, *more):
    return main(["compare", "image", "--resume", str(out), *more])


def test_an_interrupted_comparison_says_where_it_stopped(picture, tmp_path, capsys):
    calls = itertools.count()
    words = [
        str(picture),
        "--out",
        str(tmp_path / "run"),
        "--steps",
        "400",
        "--evaluations",
        "4",
        "--seeds",
        "2",
    ]
    words += ["--samplers", "uniform", "shuffled", "--batch-sizes", "64", "--log2-table-size", "8"]
    assert compare_command("image", words, lambda: next(calls) > 150) == 130
    assert "interrupted with 0 of 4 runs finished; continue with --resume" in capsys.readouterr().err


def test_samplers_and_seeds_are_added_and_nothing_is_repeated(finished):
    (first,) = read(finished)["runs"]
    assert resume(finished, "--samplers", "langevin", "--seeds", "2") == 0
    results = read(finished)
    assert results["complete"]
    assert named(results) == [
        ("uniform", 64, 0, 1),
        ("langevin", 64, 0, 2),
        ("uniform", 64, 1, 3),
        ("langevin", 64, 1, 3),
    ]
    assert results["runs"][0] == first
    assert results["settings"]["samplers"] == ["uniform", "langevin"]
    assert len(results["resumed"]) == 1
    # One scale for all error maps, whenever they were drawn.
    scales = {run["images"]["error_scale"] for run in results["runs"] if run["seed"] == 0}
    assert len(scales) == 1


def test_a_shorter_run_is_added_to_a_comparison_of_before_there_were_any(finished):
    results = read(finished)
    for item in results["runs"] + results["summary"]:
        del item["shorter"]
    (finished / "results.json").write_text(json.dumps(results))
    assert resume(finished, "--samplers", "uniform", "uniform/2.5") == 0
    before, results = results, read(finished)
    assert results["complete"]
    assert results["runs"][0] == {**before["runs"][0], "shorter": 1.0}
    (added,) = results["runs"][1:]
    assert (added["sampler"], added["shorter"], added["steps"]) == ("uniform", 2.5, 8)
    assert resume(finished, "--samplers", "uniform/2.5") == 0
    assert read(finished)["runs"] == results["runs"]


def test_resuming_what_is_done_runs_nothing(finished):
    before = read(finished)["runs"]
    assert resume(finished) == 0
    assert read(finished)["runs"] == before


def test_a_batch_size_and_a_tuned_uniform_are_added(finished):
    assert resume(finished, "--samplers", "uniform@32", "--tune-uniform") == 0
    results = read(finished)
    sizes = [run["batch_size"] for run in results["runs"]]
    assert sizes[:2] == [64, 32]
    assert results["tuning"]["batch_size"] in sizes
    searched = results["tuning"]
    assert resume(finished, "--seeds", "2") == 0
    assert read(finished)["tuning"] == searched


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--field", "siren"], "has --field hashgrid: start a new one for --field siren"),
        (["--steps", "30"], "has --steps 20"),
        (["--seconds", "3"], "has --seconds None"),
        (["--schedule", "constant"], "has --schedule cosine"),
        (["--samplers", "uniform@64"], "uniform at batch size 64 twice"),
        (["--samplers", "unifrom"], "unknown sampler 'unifrom'"),
        (["--seeds", "0"], "--seeds is 0"),
        (["--out", "elsewhere"], "leave out --out"),
        (["builtin:cat"], "is not the image"),
    ],
)
def test_what_does_not_fit_is_said_in_a_sentence(finished, capsys, flags, message):
    before = (finished / "results.json").read_bytes()
    capsys.readouterr()
    assert resume(finished, *flags) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert (finished / "results.json").read_bytes() == before


def tuned(out, **changes):
    """Puts a search into a finished comparison that chose batch size 128 for uniform."""
    results = read(out)
    line = {"race": 1, "batch_size": 128, "steps": 3, "psnr": 20.0}
    results["tuning"] = {"batch_size": 128, "steps": 15, "seconds": 1234.5, "runs": [line], **changes}
    results["settings"]["tune_uniform"] = True
    (out / "results.json").write_text(json.dumps(results))


@pytest.mark.parametrize("flags", [["--samplers", "uniform@128"], ["--batch-sizes", "64", "128"]])
def test_a_tuned_uniform_has_as_many_steps_in_every_seed(finished, capsys, flags):
    tuned(finished)
    before = (finished / "results.json").read_bytes()
    assert resume(finished, *flags, "--seeds", "2") == 2
    error = capsys.readouterr().err
    assert "with 15 steps instead of 20: leave it out" in error
    assert error.count("\n") == 1
    assert (finished / "results.json").read_bytes() == before
    assert resume(finished, "--samplers", "langevin@128", "--seeds", "2") == 0
    assert "1,230 s of training each" in capsys.readouterr().out
    steps = {(run["sampler"], run["batch_size"]): set() for run in read(finished)["runs"]}
    for run in read(finished)["runs"]:
        steps[run["sampler"], run["batch_size"]].add(run["steps"])
    assert steps == {("uniform", 64): {20}, ("uniform", 128): {15}, ("langevin", 128): {20}}


def test_a_tuned_uniform_with_the_steps_of_all_may_be_named(finished):
    tuned(finished, steps=20)
    assert resume(finished, "--samplers", "uniform@128") == 0


def test_a_resumption_has_its_versions_where_it_trains(finished, monkeypatch):
    monkeypatch.setattr("softmine.training.devices.versions", lambda: {"softmine": "9.9"})
    assert resume(finished) == 0
    assert "resumed" not in read(finished)
    assert resume(finished, "--seeds", "2") == 0
    command = f"softmine compare image --resume {finished} --seeds 2"
    assert read(finished)["resumed"] == [{"command": command, "versions": {"softmine": "9.9"}}]
    assert ", then 9.9" in (finished / "report.html").read_text(encoding="utf-8")


def test_seeds_do_not_become_fewer_nor_the_tuning_undone(finished, capsys):
    assert resume(finished, "--seeds", "2", "--tune-uniform") == 0
    assert resume(finished, "--seeds", "1") == 2
    assert "has 2: give at least that" in capsys.readouterr().err
    assert resume(finished, "--no-tune-uniform") == 2
    assert "has --tune-uniform" in capsys.readouterr().err


@pytest.mark.parametrize("content", ["", "[]", "{", '{"schema": 1}', '{"schema": 2, "runs": []}'])
def test_what_is_no_comparison_is_refused(tmp_path, capsys, content):
    assert resume(tmp_path / "nowhere") == 2
    assert "does not exist" in capsys.readouterr().err
    assert resume(tmp_path) == 2
    assert "holds no results.json" in capsys.readouterr().err
    (tmp_path / "results.json").write_text(content)
    assert resume(tmp_path) == 2
    assert "cannot be resumed" in capsys.readouterr().err


@pytest.mark.parametrize(
    "key", ["signal", "settings", "runs", "device", "curve", "psnr", "field", "samplers"]
)
def test_damaged_results_are_refused(finished, capsys, key):
    results = read(finished)
    places = {"curve": results["runs"][0], "psnr": results["runs"][0]["curve"][0]}
    place = places.get(key, results["settings"] if key in results["settings"] else results)
    if key in results["settings"]:
        place[key] = 7
    else:
        del place[key]
    (finished / "results.json").write_text(json.dumps(results))
    assert resume(finished) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("runs", 0, "race"), "first"),
        (("runs", 0, "shorter"), "much"),
        (("runs", 0, "shorter"), 0),
        (("runs", 0, "step_ms_median"), "fast"),
        (("runs", 0, "curve", -1, "seconds"), None),
        (("runs", 0, "curve", -1, "step"), 0),
        (("tuning", "batch_size"), "large"),
        (("tuning", "runs", 0, "psnr"), "high"),
    ],
)
def test_values_of_another_kind_are_refused(finished, capsys, path, value):
    results = read(finished)
    line = {"race": 1, "batch_size": 64, "steps": 3, "psnr": 20.0}
    results["tuning"] = {"batch_size": 64, "steps": 20, "seconds": 0.1, "runs": [line]}
    results["settings"]["tune_uniform"] = True
    place = results
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (finished / "results.json").write_text(json.dumps(results))
    capsys.readouterr()
    assert resume(finished, "--seeds", "2") == 2
    error = capsys.readouterr().err
    assert "damaged" in error
    assert error.count("\n") == 1


def test_another_machine_is_refused(finished, capsys):
    results = read(finished)
    results["device"]["name"] = "another processor"
    (finished / "results.json").write_text(json.dumps(results))
    assert resume(finished, "--seeds", "2") == 2
    assert "their times do not compare" in capsys.readouterr().err


def test_what_was_cut_short_starts_again_and_the_rest_stays(finished):
    assert resume(finished, "--seeds", "2") == 0
    results = read(finished)
    first, second = results["runs"]
    second.update(finished=False, curve=second["curve"][:1])
    # An exact fit, as JSON keeps it.
    first["curve"][-1]["psnr"] = None
    results["complete"] = False
    (finished / "results.json").write_text(json.dumps(results))
    assert resume(finished) == 0
    results = read(finished)
    assert results["runs"][0] == first
    assert results["runs"][1]["finished"]
    assert len(results["runs"]) == 2
    assert results["complete"]


def test_what_was_cut_short_stays_until_there_is_more(finished, monkeypatch):
    results = read(finished)
    (cut,) = results["runs"]
    cut.update(finished=False, curve=cut["curve"][:2])
    results["complete"] = False
    (finished / "results.json").write_text(json.dumps(results))

    def at(share):
        """Ctrl-C at a share of the run."""

        def interleave_until(compared, *words):
            (one,) = compared
            interleave(compared, *words[:-1], lambda: one.trainer.progress >= share)
            os.kill(os.getpid(), signal.SIGINT)

        interleave = compare.interleave
        return interleave_until

    for share in (0.0, 0.005):
        with monkeypatch.context() as patch:
            patch.setattr(compare, "interleave", at(share))
            assert resume(finished) == 130
        assert read(finished)["runs"] == [cut]
        assert read(finished)["summary"]
    with monkeypatch.context() as patch:
        patch.setattr(compare, "interleave", at(0.9))
        assert resume(finished) == 130
    (further,) = read(finished)["runs"]
    assert len(further["curve"]) > len(cut["curve"])
    assert not further["finished"]
    assert resume(finished) == 0
    (whole,) = read(finished)["runs"]
    assert whole["finished"]


def test_what_was_trained_is_kept_when_its_pictures_cannot_be_written(picture, tmp_path, monkeypatch, capsys):
    def full(*args):
        raise OSError(28, "No space left on device")

    out = tmp_path / "out"
    words = ["compare", "image", str(picture), "--out", str(out), "--samplers", "uniform", "langevin", *TINY]
    with monkeypatch.context() as patch:
        patch.setattr(compare, "_write_images", full)
        assert main(words) == 2
    assert "no space left" in capsys.readouterr().err
    kept = read(out)["runs"]
    assert [run["sampler"] for run in kept] == ["uniform", "langevin"]
    assert resume(out) == 0
    assert read(out)["runs"] == kept
    assert "langevin" in (out / "report.html").read_text()


def test_a_killed_comparison_goes_on_from_its_last_seed(picture, tmp_path):
    out = tmp_path / "out"
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["softmine.cli.compare", "softmine.cli.main", "helpers"])
    words = ["compare", "image", str(picture), "--out", str(out), "--samplers", "uniform", "langevin"]
    words += ["--seeds", "40", *TINY]
    process = context.Process(target=run_quietly, args=(words,))
    process.start()
    started = time.monotonic()
    while not (out / "results.json").exists() or len(read(out)["runs"]) < 2:
        assert process.is_alive()
        assert time.monotonic() - started < 120
        time.sleep(0.002)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    before = read(out)["runs"]
    assert 2 <= len(before) < 80
    assert resume(out) == 0
    results = read(out)
    assert results["runs"][: len(before)] == before
    assert len(results["runs"]) == 80
    assert results["complete"]
    assert not list(out.rglob(".*"))
