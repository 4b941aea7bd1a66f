"""``softmine export`` of radiance fields, and what ``softmine render`` measures with another package."""

import json
import sys
import types

import numpy as np
import pytest
import torch
import trimesh

from scene_files import picture, write_blender, write_llff
from softmine.cli.main import main
from softmine.runs import files
from softmine.tasks.nerf import evaluation as nerf_evaluation
from softmine.tasks.nerf import task as nerf
from softmine.tasks.shape import task as shape_task

TINY = ["--log2-table-size", "12", "--evaluations", "1", "--sampler", "uniform", "--device", "cpu"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short run of the built-in scene: enough for a lump where its things stand."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = [*TINY, "--batch-size", "512", "--steps", "150", "--test-views", "1"]
    assert main(["fit", "nerf", "--out", str(folder), *words]) == 0
    return folder


def refused(capsys, *words):
    """Runs a command that must be refused; returns its one sentence."""
    capsys.readouterr()
    assert main([str(word) for word in words]) == 2
    streams = capsys.readouterr()
    assert streams.err.count("\n") == 1, streams.err
    assert streams.err.startswith("softmine: ")
    return streams.err


def test_a_mesh_with_colors(run, tmp_path, capsys):
    for ending in ("ply", "glb", "obj"):
        out = tmp_path / f"mesh.{ending}"
        assert main(["export", str(run), "--resolution", "48", "--out", str(out), "--device", "cpu"]) == 0
        assert "triangles where the density is" in capsys.readouterr().out
        mesh = trimesh.load_mesh(out)
        assert mesh.visual.kind == "vertex"
        assert len(np.unique(mesh.visual.vertex_colors, axis=0)) > 20
        # The scene lies in [-1.5, 1.5]^3, and its floor is 2 wide.
        assert np.abs(mesh.bounds).max() <= 1.5
        assert (mesh.extents[:2] > 1).all()
    whole = len(trimesh.load_mesh(tmp_path / "mesh.ply").faces)
    words = ["--resolution", "48", "--smallest", "50", "--out", str(tmp_path / "clean.ply")]
    assert main(["export", str(run), *words]) == 0
    pieces = trimesh.load_mesh(tmp_path / "clean.ply").split(only_watertight=False)
    assert min(len(piece.faces) for piece in pieces) >= 50
    assert sum(len(piece.faces) for piece in pieces) <= whole


def test_points_are_where_the_mesh_is(run, capsys):
    assert main(["export", str(run), "--points", "500", "--device", "cpu"]) == 0
    assert f"{run / 'points.ply'}: 500 points" in capsys.readouterr().out
    cloud = trimesh.load(run / "points.ply")
    assert cloud.vertices.shape == (500, 3)
    assert len(np.unique(cloud.colors[:, :3], axis=0)) > 20
    assert np.abs(cloud.vertices).max() < 1.5


def test_an_interruption_leaves_nothing(run, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    # When all is written beside, just before it takes its name.
    monkeypatch.setattr(files.os, "fsync", interrupted)
    for name in ("mesh.ply", "mesh.glb"):
        assert main(["export", str(run), "--resolution", "16", "--out", str(tmp_path / name)]) == 130
    assert main(["export", str(run), "--points", "9", "--out", str(tmp_path / "points.ply")]) == 130
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_missing_is_missed_before_the_work(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    monkeypatch.setattr(nerf, "surface", None)
    message = refused(capsys, "export", run, "--out", tmp_path / "mesh.glb")
    assert "softmine[shape]" in message


def test_what_is_refused(run, tmp_path, capsys):
    out = ["--out", tmp_path / "out.ply"]
    for flags, message in (
        (["--level", "1e30", "--resolution", "16", *out], "below the level 1e+30 everywhere, from "),
        (["--level", "-1", *out], "--level is -1.0: give a density above 0"),
        (["--points", "0", *out], "--points is 0"),
        (["--smallest", "-1", "--resolution", "16", *out], "--smallest is -1"),
        (["--smallest", "1000000", "--resolution", "16", *out], "the largest piece has"),
        (["--points", "9", "--level", "1", *out], "leave them out beside --points"),
        (["--points", "9", "--out", tmp_path / "out.obj"], "its name must end in ply"),
        (["--points", "9", "--out", tmp_path / "none" / "out.ply"], "there is no folder"),
    ):
        assert message in refused(capsys, "export", run, *flags)
    assert not list(tmp_path.iterdir())


def test_a_forward_scene_has_points_alone(tmp_path, capsys):
    write_llff(tmp_path / "scene")
    words = ["--batch-size", "64", "--steps", "2"]
    assert main(["fit", "nerf", str(tmp_path / "scene"), "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    assert "--points N" in refused(capsys, "export", tmp_path / "run", "--resolution", "16")
    assert main(["export", str(tmp_path / "run"), "--points", "20"]) == 0
    assert "of the mean camera" in capsys.readouterr().out


def test_flags_of_radiance_fields_are_refused_for_shapes(tmp_path, capsys, monkeypatch):
    for name, value in (("OUTPUT_CELLS", 16), ("VIEW_CELLS", 16), ("VIEW_SIDE", 20)):
        monkeypatch.setattr(shape_task, name, value)
    words = ["--batch-size", "64", "--steps", "1", *TINY]
    assert main(["fit", "shape", "builtin:ball", "--out", str(tmp_path / "run"), *words]) == 0
    for flag, value in (("--level", "1"), ("--points", "9"), ("--smallest", "9")):
        assert f"{flag} is for runs of softmine fit nerf" in refused(
            capsys, "export", tmp_path / "run", flag, value, "--out", tmp_path / "out.ply"
        )


def test_export_and_render_name_each_other(capsys):
    for command, other in (("export", "softmine render"), ("render", "softmine export")):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert other in " ".join(capsys.readouterr().out.split())


class Network(torch.nn.Module):
    """Stands in for LPIPS: the mean absolute difference, which is easily checked."""

    def __init__(self, net, verbose):
        super().__init__()

    def forward(self, first, second):
        assert first.shape == second.shape == (1, 3, 18, 24)
        return (first - second).abs().mean().reshape(1, 1, 1, 1)


@pytest.fixture
def photos_run(tmp_path):
    scene = write_blender(tmp_path / "scene")
    for split, count in (("train", 4), ("test", 2)):
        for index in range(count):
            picture(scene / split / f"r_{index}.png", 24, 18, 4, index)
    words = ["--batch-size", "64", "--steps", "2"]
    assert main(["fit", "nerf", str(scene), "--out", str(tmp_path / "run"), *TINY, *words]) == 0
    return tmp_path / "run"


def test_lpips_stands_beside_the_views(photos_run, monkeypatch, capsys):
    package = types.ModuleType("lpips")
    package.LPIPS = Network
    monkeypatch.setitem(sys.modules, "lpips", package)
    for split, count in (("test", 2), ("train", 4)):
        assert main(["render", str(photos_run), "--views", split, "--lpips", "--background", "black"]) == 0
        written = json.loads((photos_run / f"renders-{split}" / "views.json").read_text())
        values = [entry["lpips"] for entry in written["views"]]
        assert len(values) == count
        assert len(set(values)) == count
        assert all(0 < value < 2 for value in values)
        assert written["lpips_mean"] == pytest.approx(np.mean(values))
        assert written["lpips_network"] == "vgg"
        assert written["background"] == 0
        assert f"LPIPS {np.mean(values):.4f} on average" in capsys.readouterr().out


def test_lpips_refused(photos_run, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lpips", None)
    assert "pip install 'softmine[lpips]'" in refused(capsys, "render", photos_run, "--lpips")
    words = ["--views", "orbit"]
    assert "--views orbit has none" in refused(capsys, "render", photos_run, "--lpips", *words)
    assert "leave out --width" in refused(capsys, "render", photos_run, "--lpips", "--width", "12")
    monkeypatch.setattr(nerf_evaluation, "LPIPS_SIDE", 20)
    assert "but test/r_0.png has 24 x 18" in refused(capsys, "render", photos_run, "--lpips")
    assert not list(photos_run.glob("renders-*"))
