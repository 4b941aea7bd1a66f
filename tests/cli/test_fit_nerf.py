"""``softmine fit nerf`` and ``softmine compare nerf`` from a folder to a run folder, and their refusals."""

import json

import numpy as np
import pytest

from scene_files import nerfstudio, write_blender, write_json, write_llff
from softmine.cli.main import main

TINY = ["--log2-table-size", "8", "--batch-size", "16", "--steps", "4", "--evaluations", "2"]


def write_nerfstudio(folder):
    write_json(folder / "transforms.json", nerfstudio(folder))
    return folder


@pytest.mark.parametrize("write", [write_blender, write_nerfstudio, write_llff])
def test_scenes_of_all_bounds(tmp_path, capsys, write):
    out = tmp_path / "run"
    words = ["fit", "nerf", str(write(tmp_path / "scene")), "--out", str(out), "--sampler", "uniform", *TINY]
    assert main(words) == 0, capsys.readouterr().err
    config = json.loads((out / "config.json").read_text())
    assert config["task"] == "nerf"
    options = {"downscale": 1, "background": "white", "test_views": None, "corrupt": None, "images": None}
    assert config["options"] == options
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 4
    assert np.isfinite(lines[-1]["psnr"])
    status = json.loads((out / "status.json").read_text())
    assert status["state"] == "finished"
    assert np.isfinite(status["psnr_in_all"])
    listed = json.loads((out / "images" / "images.json").read_text())["outputs"]
    assert all((out / "images" / entry["file"]).exists() for entry in listed)
    for picture in ("target", "reconstruction", "error", "depth"):
        assert (out / "images" / f"{picture}.png").exists()
    assert "test views" in (out / "report.html").read_text()
    assert f"over all {config['signal']['measured']['cells']:,} pixels of" in capsys.readouterr().out


def test_a_run_is_resumed(tmp_path, capsys):
    scene, out = write_blender(tmp_path / "scene"), tmp_path / "run"
    words = ["fit", "nerf", str(scene), "--out", str(out), "--sampler", "uniform", "--downscale", "2", *TINY]
    assert main(words) == 0, capsys.readouterr().err
    assert main(["fit", "nerf", "--resume", str(out), "--steps", "6"]) == 0, capsys.readouterr().err
    assert json.loads((out / "metrics.jsonl").read_text().splitlines()[-1])["step"] == 6
    assert main(["fit", "nerf", "--resume", str(out), "--downscale", "1"]) == 2
    assert "keeps its --downscale 2" in capsys.readouterr().err
    write_blender(scene, train=5)
    assert main(["fit", "nerf", "--resume", str(out), "--steps", "8"]) == 2
    assert "other contents" in capsys.readouterr().err


def test_photos_outside_of_the_scene_are_named_once(tmp_path, capsys, monkeypatch):
    content = nerfstudio(tmp_path / "photos")
    for frame in content["frames"]:
        frame["file_path"] = f"../photos/{frame['file_path']}"
    write_json(tmp_path / "scene" / "transforms.json", content)
    out = tmp_path / "run"
    words = ["fit", "nerf", "--out", str(out), "--sampler", "uniform", *TINY]
    monkeypatch.chdir(tmp_path)
    assert main([*words, "scene"]) == 2
    assert "name the folder of the photos with --images" in capsys.readouterr().err
    assert not out.exists()
    assert main([*words, "scene", "--images", "photos"]) == 0, capsys.readouterr().err
    config = json.loads((out / "config.json").read_text())
    assert config["options"]["images"] == str(tmp_path / "photos")
    monkeypatch.chdir(out)
    assert main(["fit", "nerf", "--resume", str(out), "--steps", "6"]) == 0, capsys.readouterr().err
    assert main(["fit", "nerf", "--resume", str(out), "--steps", "7", "--images", "../photos"]) == 0
    assert main(["fit", "nerf", "--resume", str(out), "--images", "/"]) == 2
    assert "keeps its --images" in capsys.readouterr().err
    assert main(["fit", "nerf", "--images", ".", "--out", "other"]) == 2
    assert "--downscale and --images are for photos from files" in capsys.readouterr().err


def test_notes_of_a_scene_are_shown_and_kept(tmp_path, capsys):
    content = nerfstudio(tmp_path / "scene", aabb_scale=4)
    write_json(tmp_path / "scene" / "transforms.json", content)
    out = tmp_path / "run"
    words = ["fit", "nerf", str(tmp_path / "scene"), "--out", str(out), "--sampler", "uniform", *TINY]
    assert main(words) == 0, capsys.readouterr().err
    note = "aabb_scale is not used: the scene is unbounded"
    assert note in " ".join(capsys.readouterr().out.split())
    split = "no split is given: every eighth view (2 of 10) is for testing"
    assert json.loads((out / "config.json").read_text())["signal"]["notes"] == [split, note]


def test_samplers_are_compared(tmp_path, capsys):
    out = tmp_path / "out"
    words = ["--samplers", "uniform", "langevin:prior=edges", "error-map", "auto", "resampling"]
    tiny = [word.replace("--batch-size", "--batch-sizes") for word in TINY]
    scene = str(write_blender(tmp_path / "scene"))
    assert main(["compare", "nerf", scene, "--out", str(out), *words, *tiny]) in (0, 1), (
        capsys.readouterr().err
    )
    results = json.loads((out / "results.json").read_text())
    assert results["complete"]
    assert len(results["runs"]) == 5
    # Steps that are asked for take the place of the seconds that are the default.
    assert results["settings"]["seconds"] is None
    assert all(np.isfinite(run["curve"][-1]["psnr"]) for run in results["runs"])
    assert (out / "report.html").exists()


def bad_scenes(folder):
    """Folders that are no scenes, flags, and words of the sentence about each."""
    (folder / "empty").mkdir()
    write_blender(folder / "lost")
    (folder / "lost" / "test" / "r_0.png").unlink()
    write_blender(folder / "cut")
    file = folder / "cut" / "test" / "r_1.png"
    file.write_bytes(file.read_bytes()[:60])
    write_blender(folder / "json")
    (folder / "json" / "transforms_train.json").write_text("{")
    write_blender(folder / "good")
    return [
        ("empty", [], "it holds no scene"),
        ("missing", [], "no such file"),
        ("lost", [], "missing"),
        ("cut", [], "r_1.png"),
        ("json", [], "not valid JSON"),
        ("good", ["--downscale", "7"], "downscale is 7"),
        ("good", ["--downscale", "0"], "downscale is 0"),
        ("good", ["--field", "siren"], "hashgrid alone"),
        ("good", ["--background", "red"], "white or black"),
        ("good", ["--test-views", "0"], "--test-views is 0"),
    ]


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_bad_scenes_are_refused_in_one_sentence(tmp_path, capsys, command):
    for name, flags, message in bad_scenes(tmp_path):
        out = tmp_path / "out" / "run"
        words = [command, "nerf", str(tmp_path / name), "--out", str(out), "--steps", "1", *flags]
        assert main(words) == 2, (name, flags)
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert error.startswith("softmine: ")
        assert message in error
        assert not (tmp_path / "out").exists()
