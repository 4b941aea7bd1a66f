"""Links that lead out of a folder that was named are refused, and nothing is read or written through them."""

import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest

from gltf_files import cube
from scene_files import nerfstudio, write_blender, write_colmap, write_json, write_llff
from softmine.cli.main import main
from softmine.errors import SoftmineError
from softmine.radiance.photos import Photos
from softmine.radiance.scenes import read_scene
from softmine.reports import write_fit_report
from softmine.runs.files import write_text
from softmine.runs.run_folder import RunFolder
from softmine.signals.shape import Shape
from softmine.signals.video import Video
from softmine.signals.volume import Volume
from softmine.signals.volume import files as volume_files

OUT = "is a link that leads out of"


def move_out(path, outside):
    """Puts a file or folder outside, and a link in its place."""
    outside.mkdir(exist_ok=True)
    shutil.move(path, outside / path.name)
    path.symlink_to(outside / path.name)


def write_nerfstudio(folder):
    write_json(folder / "transforms.json", nerfstudio(folder, 9))


@pytest.mark.parametrize(
    ("write", "names"),
    [
        (write_nerfstudio, ("images/03.png", "images", "transforms.json")),
        (write_llff, ("images_4/03.png", "images_4", "poses_bounds.npy")),
        (write_colmap, ("images/03.png", "images", "sparse", "sparse/0", "sparse/0/images.bin")),
    ],
)
def test_scene_refuses_links_that_lead_out(tmp_path, write, names):
    for name in names:
        scene = tmp_path / name.replace("/", "-") / "scene"
        write(scene)
        read_scene(scene)
        move_out(scene / name, scene.parent / "outside")
        with pytest.raises(SoftmineError, match=OUT) as caught:
            read_scene(scene)
        photos = name.startswith("images")
        assert ("which holds the files themselves, with images" in str(caught.value)) == photos
        assert ("if its photos are links into" in str(caught.value)) != photos
        assert "cp -rL" in str(caught.value)


def store(scene, blobs, nested):
    """Moves each file of a scene into a store, under a hash without an ending, and puts a link in its place."""
    for number, path in enumerate(sorted(path for path in scene.rglob("*") if path.is_file())):
        blob = blobs / (f"{number % 7:02x}" if nested else "") / f"{number:040x}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(path, blob)
        path.symlink_to(os.path.relpath(blob, path.parent))


@pytest.mark.parametrize("write", [write_nerfstudio, write_llff, write_colmap, write_blender])
@pytest.mark.parametrize("nested", [False, True])
def test_scene_of_links_into_a_store_is_read_where_that_is_named(tmp_path, write, nested):
    scene, blobs = tmp_path / "snapshots" / "1" / "scene", tmp_path / "blobs"
    write(scene)
    if write is write_colmap:
        (scene / "masks").mkdir()
        shutil.copy(scene / "images" / "03.png", scene / "masks")
    expected = read_scene(scene)
    before = Photos(expected)
    store(scene, blobs, nested)
    with pytest.raises(SoftmineError, match=OUT) as caught:
        read_scene(scene)
    assert str(blobs) in str(caught.value)
    found = read_scene(scene, images=blobs)
    assert [view.name for view in found.views] == [view.name for view in expected.views]
    assert found.notes == expected.notes
    after = Photos(found)
    assert (after.pixels == before.pixels).all()
    assert after.fingerprint == before.fingerprint
    # A link that leads elsewhere is refused as before.
    path = found.views[0].image
    moved = tmp_path / "secret.png"
    shutil.copy(path, moved)
    path.unlink()
    path.symlink_to(moved)
    with pytest.raises(SoftmineError, match=rf"{OUT}|(is|are) missing"):
        read_scene(scene, images=blobs)


def test_naming_a_folder_of_links_itself_says_which_one_to_name(tmp_path):
    scene = tmp_path / "scene"
    write_nerfstudio(scene)
    for path in sorted((scene / "images").iterdir()):
        move_out(path, tmp_path / "photos")
    with pytest.raises(
        SoftmineError, match=rf"{OUT} {scene}, to .*: name {tmp_path / 'photos'}, which holds"
    ):
        read_scene(scene, images=scene / "images")
    assert len(read_scene(scene, images=tmp_path / "photos").views) == 9


def test_scene_follows_links_within_it_and_to_named_photos(tmp_path):
    scene = tmp_path / "scene"
    write_nerfstudio(scene)
    before = Photos(read_scene(scene)).pixels
    move_out(scene / "images" / "03.png", scene / "elsewhere")
    assert (Photos(read_scene(scene)).pixels == before).all()
    move_out(scene / "images", tmp_path / "photos")
    (tmp_path / "photos" / "images" / "03.png").unlink()
    shutil.copy(scene / "elsewhere" / "03.png", tmp_path / "photos" / "images")
    named = read_scene(scene, images=tmp_path / "photos" / "images")
    assert (Photos(named).pixels == before).all()


def test_scene_may_itself_be_a_link(tmp_path):
    write_nerfstudio(tmp_path / "scene")
    (tmp_path / "link").symlink_to("scene")
    assert len(read_scene(tmp_path / "link").views) == 9


def test_gltf_refuses_a_buffer_that_lies_outside(tmp_path):
    (tmp_path / "in").mkdir()
    file = cube()
    path = file.write(tmp_path / "in" / "cube.gltf", uri="data.bin")
    (tmp_path / "data.bin").write_bytes(file.data)
    (tmp_path / "in" / "data.bin").symlink_to("../data.bin")
    with pytest.raises(SoftmineError, match=r"its buffer 'data\.bin' is a link that leads out of its folder"):
        Shape.read(path)


def test_slices_that_lie_outside_are_refused(tmp_path):
    folder = tmp_path / "stack"
    folder.mkdir()
    for number in range(3):
        PIL.Image.fromarray(np.full((4, 5), number, np.uint8)).save(folder / f"{number}.png")
    assert volume_files.read(folder).array[:, 0, 0].tolist() == [0, 1, 2]
    move_out(folder / "1.png", tmp_path / "outside")
    with pytest.raises(SoftmineError, match=r"1\.png is a link that leads out of the folder"):
        Volume.read(folder)


PLAYLISTS = {
    "hls.mp4": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1.2,\n../secret.ts\n#EXT-X-ENDLIST\n",
    "concat.mp4": "ffconcat version 1.0\nfile ../secret.ts\n",
    "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period/></MPD>',
}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs a pipe, which whoever opens it waits for")
@pytest.mark.parametrize("name", [*PLAYLISTS, "hls.m3u8"])
def test_playlists_open_nothing(tmp_path, name):
    os.mkfifo(tmp_path / "secret.ts")
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / name
    path.write_text(PLAYLISTS.get(name, PLAYLISTS["hls.mp4"]))
    with pytest.raises(
        SoftmineError, match="it is no video but a playlist, which only names some; name one of those"
    ):
        Video.read(path)


def make_run(path):
    signal = {"name": "picture", "path": None, "fingerprint": "0"}
    return RunFolder.create(path, {"schema": 1, "task": "image", "settings": {}, "signal": signal})


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl", "status.json", "images", "checkpoints"])
def test_run_folder_refuses_links_that_lead_out(tmp_path, name, capsys):
    run = make_run(tmp_path / "run")
    (run.path / "metrics.jsonl").write_text("")
    (run.path / "status.json").write_text("{}")
    move_out(run.path / name, tmp_path / "outside")
    with pytest.raises(SoftmineError, match=OUT):
        RunFolder.open(run.path)
    with pytest.raises(SoftmineError, match=OUT):
        write_fit_report(run.path)
    assert main(["fit", "image", "--resume", str(run.path)]) == 2
    assert OUT in capsys.readouterr().err
    assert not (run.path / "report.html").exists()


def test_checkpoint_that_lies_outside_is_refused(tmp_path):
    run = make_run(tmp_path / "run")
    run.checkpoint_path(3).write_bytes(b"")
    move_out(run.checkpoint_path(3), tmp_path / "outside")
    with pytest.raises(SoftmineError, match=OUT):
        RunFolder.open(run.path)


def test_nothing_is_written_through_a_link_of_a_temporary_name(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("mine")
    run = make_run(tmp_path / "run")
    (run.path / ".report.html.tmp").symlink_to(precious)
    (run.path / "report.html").symlink_to(precious)
    write_fit_report(run.path)
    assert precious.read_text() == "mine"
    assert not (run.path / "report.html").is_symlink()
    (tmp_path / ".x.json.tmp").symlink_to(precious)
    write_text(tmp_path / "x.json", json.dumps(1))
    assert precious.read_text() == "mine"
