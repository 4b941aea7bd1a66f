"""``softmine study`` as people run it."""

import json

import numpy as np
import pytest

from softmine.cli.main import main
from softmine.registry import SAMPLERS
from softmine.study.matrix import entries
from softmine.study.studies import STUDIES


@pytest.fixture
def picture(tmp_path):
    np.save(tmp_path / "picture.npy", np.random.default_rng(0).random((20, 24)).astype(np.float32))
    return str(tmp_path / "picture.npy")


def test_without_a_name_every_study_is_listed(capsys):
    assert main(["study"]) == 0
    printed = capsys.readouterr().out
    for name, study in STUDIES.items():
        assert f"softmine study {name} " in printed
        assert study.text in printed


def test_an_unknown_name_is_a_sentence(capsys):
    assert main(["study", "alhpa"]) == 2
    assert capsys.readouterr().err == "softmine: unknown study 'alhpa': did you mean alpha?\n"


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_can_be_run_and_has_the_baseline(name):
    settings = STUDIES[name].settings()
    settings.check()
    assert "uniform" in [entry.sampler for entry in entries(settings)]


def test_the_peers_study_has_every_sampler():
    samplers = {entry.sampler for entry in entries(STUDIES["peers"].settings())}
    assert samplers >= set(SAMPLERS)


def test_a_study_writes_the_folder_of_a_comparison_and_resumes(picture, tmp_path):
    out = tmp_path / "out"
    tiny = ["--steps", "5", "--evaluations", "1", "--log2-table-size", "8", "--batch-sizes", "32"]
    assert main(["study", "warmup", picture, "--out", str(out), *tiny]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["settings"]["seconds"] is None
    assert [run["sampler"] for run in results["runs"]] == [
        e.sampler for e in entries(STUDIES["warmup"].settings())
    ]
    assert {run["steps"] for run in results["runs"]} == {5}
    assert results["command"].startswith("softmine study warmup")
    assert (out / "report.html").exists()
    assert main(["study", "warmup", "--resume", str(out), "--seeds", "2"]) == 0
    assert len(json.loads((out / "results.json").read_text())["runs"]) == 2 * len(results["runs"])


def test_a_share_of_the_pixels_is_the_batch_of_the_peers(picture, tmp_path):
    out = tmp_path / "out"
    words = ["--steps", "2", "--evaluations", "1", "--samplers", "uniform"]
    assert main(["study", "peers", picture, "--out", str(out), *words]) == 0
    results = json.loads((out / "results.json").read_text())
    assert results["settings"]["batch_sizes"] == [96]
    assert (results["settings"]["field"], results["settings"]["schedule"]) == ("siren", "constant")
    own = tmp_path / "own"
    assert main(["study", "peers", picture, "--out", str(own), *words, "--batch-sizes", "240"]) == 0
    assert json.loads((own / "results.json").read_text())["settings"]["batch_sizes"] == [240]
