"""``softmine render``: pictures and films of a run, and what is refused."""

import json

import av
import numpy as np
import pytest
from PIL import Image

from scene_files import write_blender, write_llff
from softmine.cli import render
from softmine.cli.main import main
from softmine.tasks.nerf import render_files

TINY = [
    "--log2-table-size",
    "8",
    "--batch-size",
    "16",
    "--steps",
    "2",
    "--evaluations",
    "1",
    "--sampler",
    "uniform",
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    for name, write in (("box", write_blender), ("forward", write_llff)):
        scene = write(folder / f"{name}-scene")
        assert main(["fit", "nerf", str(scene), "--out", str(folder / name), *TINY]) == 0
    return folder


def test_views_of_the_photos(runs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["render", str(runs / "box"), "--out", str(out), "--depth", "--width", "16"]) == 0
    assert "2 views with their depths" in capsys.readouterr().out
    written = json.loads((out / "views.json").read_text())
    assert [entry["view"] for entry in written["views"]] == ["test/r_0.png", "test/r_1.png"]
    for entry in written["views"]:
        assert np.asarray(Image.open(out / entry["file"])).shape == (12, 16, 3)
        depth = np.asarray(Image.open(out / entry["depth_file"]))
        assert depth.dtype == np.uint16
        assert depth.shape == (12, 16)
        assert entry["depth_unit"] > 0
    assert len(list(out.iterdir())) == 7


def test_a_background_shows_through(runs, tmp_path):
    for name, color in (("white", 255), ("black", 0)):
        out = tmp_path / name
        assert (
            main(["render", str(runs / "box"), "--out", str(out), "--views", "train", "--background", name])
            == 0
        )
        assert len(list(out.glob("*.png"))) == 4
        means = [np.asarray(Image.open(path)).mean() for path in out.glob("*.png")]
        assert abs(np.mean(means) - color) < 128


@pytest.mark.parametrize(("name", "views"), [("box", "orbit"), ("forward", "spiral")])
def test_flights(runs, tmp_path, capsys, name, views):
    out = tmp_path / "out"
    words = ["--views", views, "--frames", "5", "--fps", "12.5", "--width", "21", "--depth"]
    assert main(["render", str(runs / name), "--out", str(out), *words]) == 0, capsys.readouterr().err
    assert sorted(path.name for path in out.iterdir()) == [f"{views}.mp4", f"{views}_depth.mp4"]
    for path in out.iterdir():
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = list(container.decode(stream))
            assert len(frames) == 5
            assert float(stream.average_rate) == 12.5
            assert (frames[0].width, frames[0].height) == (20, 16 if name == "box" else frames[0].height)


def test_an_interruption_leaves_nothing(runs, tmp_path, monkeypatch, capsys):
    def interrupted_at_last(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(render_files, "to_bytes", interrupted_at_last)
    out = tmp_path / "deep" / "out"
    assert main(["render", str(runs / "box"), "--out", str(out), "--views", "orbit", "--frames", "3"]) == 130
    assert list(tmp_path.iterdir()) == []
    assert not list(runs.glob("**/.*"))


def test_what_is_refused(runs, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    cases = [
        (["--views", "above"], "--views is above"),
        (["--frames", "0"], "--frames is 0"),
        (["--fps", "nan"], "--fps is nan"),
        (["--width", "1"], "--width is 1"),
        (["--width", "16", "--height", "16"], "give one of them"),
        (["--background", "blue"], "white or black"),
        (["--out", str(tmp_path / "full")], "give another --out"),
        (["--views", "spiral"], "use --views orbit"),
    ]
    for flags, message in cases:
        assert main(["render", str(runs / "box"), *flags]) == 2, flags
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert message in error
    assert main(["render", str(runs / "forward"), "--views", "orbit"]) == 2
    assert "use --views spiral" in capsys.readouterr().err
    assert main(["render", str(tmp_path / "none")]) == 2
    assert not list(runs.glob("*/renders-*"))


def test_other_runs_have_no_views(tmp_path, capsys):
    out = tmp_path / "run"
    words = ["--log2-table-size", "8", "--batch-size", "16", "--steps", "1", "--evaluations", "1"]
    np.save(tmp_path / "a.npy", np.zeros((9, 9, 3), np.uint8))
    assert main(["fit", "image", str(tmp_path / "a.npy"), "--out", str(out), *words]) == 0
    assert main(["render", str(out)]) == 2
    assert "a run of softmine fit image, which has no views to render" in capsys.readouterr().err


def test_help_names_every_view(capsys):
    with pytest.raises(SystemExit):
        main(["render", "--help"])
    text = capsys.readouterr().out
    assert all(view in text for view in render.VIEWS)
