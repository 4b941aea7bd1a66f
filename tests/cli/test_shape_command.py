"""``softmine fit shape`` and ``softmine export``, from the command line; files that cannot be used."""

import json
import sys

import numpy as np
import pytest
import trimesh

from softmine.cli.main import main
from softmine.tasks.shape import task as shape_task

TINY = [
    "--log2-table-size",
    "10",
    "--batch-size",
    "512",
    "--steps",
    "6",
    "--evaluations",
    "1",
    "--device",
    "cpu",
]


@pytest.fixture
def ball(tmp_path, monkeypatch):
    monkeypatch.setattr(shape_task, "OUTPUT_CELLS", 24)
    monkeypatch.setattr(shape_task, "VIEW_CELLS", 24)
    monkeypatch.setattr(shape_task, "VIEW_SIDE", 40)
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=3.0)
    mesh.export(tmp_path / "ball.ply")
    return tmp_path / "ball.ply"


def run(capsys, *words):
    code = main([str(word) for word in words])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def refused(capsys, *words):
    """Runs a command that must be refused; returns its one sentence."""
    code, out, err = run(capsys, *words)
    assert code == 2, out
    assert err.count("\n") == 1, err
    assert err.startswith("softmine: ")
    return err


def test_a_run_measures_iou_and_leaves_pictures_a_mesh_and_a_report(ball, tmp_path, capsys):
    folder = tmp_path / "run"
    code, out, err = run(capsys, "fit", "shape", ball, "--out", folder, "--sampler", "edges", *TINY)
    assert code == 0, err
    assert "1,280 triangles, signed distance" in out
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert 0 <= metrics[-1]["iou"] <= 1
    for file in ("images/target.png", "images/reconstruction.png", "images/error.png", "report.html"):
        assert (folder / file).stat().st_size > 100
    config = json.loads((folder / "config.json").read_text())
    assert config["task"] == "shape"
    assert config["signal"]["closed"] is True
    assert config["options"] == {"target": "distance", "band": 0.1}


def test_export_writes_a_closed_mesh_from_the_last_checkpoint(ball, tmp_path, capsys):
    folder = tmp_path / "run"
    train = ["--steps", "60", "--log2-table-size", "12", "--batch-size", "4096", "--evaluations", "1"]
    code, _, err = run(
        capsys, "fit", "shape", ball, "--out", folder, "--sampler", "uniform", "--device", "cpu", *train
    )
    assert code == 0, err
    for file in ("mesh.ply", "other.obj"):
        path = folder / file
        code, out, err = run(capsys, "export", folder, "--resolution", "32", "--device", "cpu", "--out", path)
        assert code == 0, err
        assert f"{path}: " in out
        mesh = trimesh.load_mesh(path)
        assert mesh.is_watertight
        # Sixty steps are enough for a ball of about the right size, in the units of the file.
        assert np.abs(mesh.bounds).max() == pytest.approx(3, abs=0.6)
    assert "exists" in refused(capsys, "export", folder, "--out", folder / "other.obj")
    assert "--resolution is 1" in refused(capsys, "export", folder, "--resolution", "1")
    assert "must end in ply, obj, glb or stl" in refused(
        capsys, "export", folder, "--out", folder / "mesh.fbx"
    )
    assert "there is no folder" in refused(capsys, "export", folder, "--out", folder / "none" / "mesh.ply")
    ball.rename(tmp_path / "moved.ply")
    assert "is gone" in refused(capsys, "export", folder, "--out", folder / "third.ply")
    moved = ["--path", tmp_path / "moved.ply", "--out", folder / "third.ply", "--resolution", "16"]
    assert run(capsys, "export", folder, *moved)[0] == 0


def test_runs_of_other_kinds_have_no_mesh(tmp_path, capsys):
    code, _, err = run(
        capsys, "fit", "image", "builtin:coins", "--out", tmp_path / "run", "--sampler", "uniform", *TINY
    )
    assert code == 0, err
    assert "which has no mesh to export" in refused(capsys, "export", tmp_path / "run")


def test_what_has_to_be_said_of_a_mesh_is_said(tmp_path, ball, capsys):
    mesh = trimesh.load_mesh(ball)
    mesh.update_faces(np.arange(len(mesh.faces)) > 2)
    mesh.export(tmp_path / "open.ply")
    code, out, err = run(capsys, "fit", "shape", tmp_path / "open.ply", "--out", tmp_path / "run", *TINY)
    assert code == 0, err
    assert "open, with" in out
    assert "winding number" in out


def test_files_that_are_no_meshes_are_refused(tmp_path, ball, capsys):
    whole = ball.read_bytes()
    corners = trimesh.load_mesh(ball).vertices
    stl = trimesh.load_mesh(ball).export(file_type="stl")
    trimesh.PointCloud(corners).export(tmp_path / "points.ply")
    files = {
        "truncated.ply": (whole[: len(whole) // 2], "truncated, damaged"),
        "truncated.stl": (stl[: len(stl) // 2], "truncated, damaged"),
        "empty.obj": (b"", "empty (0 bytes)"),
        "nothing.obj": (b"# a comment\n", "no triangles"),
        "words.obj": (b"these are words, not a mesh\n" * 9, "no triangles"),
        "words.ply": (b"these are words, not a mesh\n" * 9, "truncated, damaged"),
        "words.glb": (b"these are words, not a mesh\n" * 9, "truncated, damaged"),
        "picture.png": (b"\x89PNG", "no mesh format ends in '.png'"),
        "nan.obj": (b"v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "NaN or infinite"),
        "line.obj": (b"v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "none of its 1 triangles has an area"),
        "beyond.obj": (
            b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n",
            "truncated, damaged|vertices that are not there",
        ),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    expected = {name: words for name, (_, words) in files.items()}
    expected |= {
        "points.ply": "only points, no triangles",
        "missing.obj": "there is no such file",
        ".": "is a folder",
    }
    for name, words in expected.items():
        message = refused(capsys, "fit", "shape", tmp_path / name, "--out", tmp_path / "out", *TINY)
        assert any(part in message for part in words.split("|")), (name, message)
        assert not (tmp_path / "out").exists()


def test_meshes_are_read_without_the_library(ball, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "trimesh", None)
    code, _, err = run(capsys, "fit", "shape", ball, "--out", tmp_path / "out", *TINY)
    assert code == 0, err


def test_settings_out_of_range_are_refused(tmp_path, capsys):
    out = tmp_path / "out"
    assert "unknown target 'sdf'" in refused(capsys, "fit", "shape", "--target", "sdf", "--out", out)
    assert "the band is 7" in refused(capsys, "fit", "shape", "--band", "7", "--out", out)
    assert "no built-in shape 'knit'; try knot" in refused(
        capsys, "fit", "shape", "builtin:knit", "--out", out
    )
    assert not out.exists()
