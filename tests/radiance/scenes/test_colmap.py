"""COLMAP models, binary and text, and what is refused."""

import struct

import numpy as np
import pytest

from scene_files import COLMAP_CAMERAS, POINTS, picture, write_colmap
from softmine import SoftmineError
from softmine.radiance.scenes import read_scene


@pytest.mark.parametrize("binary", [True, False])
def test_model(tmp_path, binary):
    _, poses = write_colmap(tmp_path, binary=binary)
    scene = read_scene(tmp_path)
    assert len(scene.split("train")) == 8
    assert [view.name for view in scene.split("test")] == ["images/00.png", "images/08.png"]
    assert scene.bounds.kind == "unbounded"
    for view in scene.views:
        index = int(view.name[-6:-4])
        np.testing.assert_allclose(view.pose[:, :3], poses[index][:, :3], atol=1e-9)
        old = view.pose[:, 3] / scene.scale + np.array(scene.center)
        np.testing.assert_allclose(old, poses[index][:, 3], atol=1e-9)
    views = {view.name: view.camera for view in scene.views}
    assert views["images/00.png"].focal == (9.0, 9.0)
    assert views["images/01.png"].focal == (9.0, 9.5)
    assert views["images/01.png"].center == (4.1, 2.9)
    assert views["images/02.png"].distortion == (0.01, 0.0, 0.0, 0.0, 0.0, 0.0)
    assert views["images/03.png"].distortion == (0.01, -0.002, 0.0, 0.0, 0.0, 0.0)
    assert views["images/04.png"].distortion == (0.01, -0.002, 0.0, 0.0, 0.003, 0.004)
    assert scene.points is not None
    np.testing.assert_allclose(scene.points / scene.scale + np.array(scene.center), POINTS, atol=1e-9)
    depths = [(pose[:, 2] * (POINTS - pose[:, 3])).sum(-1).min() * scene.scale for pose in poses]
    assert scene.bounds.near == pytest.approx(0.5 * min(depths), rel=0.01)


def test_smaller_copies(tmp_path):
    write_colmap(tmp_path)
    for index in range(10):
        picture(tmp_path / "images_2" / f"{index:02d}.png", 4, 3, seed=index)
    scene = read_scene(tmp_path, 2)
    assert scene.views[0].name == "images_2/01.png"
    assert (scene.views[0].camera.width, scene.views[0].camera.focal, scene.downscale) == (4, (4.5, 4.75), 1)


def test_blank_lines_where_an_image_is_due_do_not_matter(tmp_path):
    model, _ = write_colmap(tmp_path, binary=False)
    expected = [(view.name, view.pose.tolist()) for view in read_scene(tmp_path).views]
    file = model / "images.txt"
    file.write_text("# by hand\n\n\n" + file.read_text() + "\n\n")
    assert [(view.name, view.pose.tolist()) for view in read_scene(tmp_path).views] == expected


@pytest.mark.parametrize("name", ["cameras", "images", "points3D"])
def test_truncated_at_any_byte_or_too_long_is_refused(tmp_path, name):
    model, _ = write_colmap(tmp_path, count=2)
    path = model / f"{name}.bin"
    data = path.read_bytes()
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(SoftmineError, match=f"{name}.bin: it is truncated or damaged"):
            read_scene(tmp_path)
    path.write_bytes(data + b"\0")
    with pytest.raises(SoftmineError, match=f"{name}.bin: it is truncated or damaged"):
        read_scene(tmp_path)


def test_absurd_counts_are_refused_at_once(tmp_path):
    model, _ = write_colmap(tmp_path)
    (model / "points3D.bin").write_bytes(struct.pack("<Q", 2**63) + bytes(100))
    with pytest.raises(SoftmineError, match="truncated or damaged"):
        read_scene(tmp_path)


@pytest.mark.parametrize("binary", [True, False])
def test_unsupported_models_are_refused_by_name(tmp_path, binary):
    fisheye = (1, 5, "OPENCV_FISHEYE", (9.0, 9.0, 4.0, 3.0, 0.0, 0.0, 0.0, 0.0))
    write_colmap(tmp_path, binary=binary, cameras=[fisheye, *COLMAP_CAMERAS[1:]])
    with pytest.raises(
        SoftmineError, match="camera 1 is of the model OPENCV_FISHEYE, but only SIMPLE_PINHOLE"
    ):
        read_scene(tmp_path)


def rewrite(name, old, new):
    def change(model):
        path = model / f"{name}.txt"
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


BAD = [
    (rewrite("cameras", "PINHOLE 8 6 9.0 9.5", "PINHOLE 8 6 9.0 wide"), "cameras.txt: line 3 is not"),
    (
        rewrite("cameras", "9.0 9.5 4.1 2.9\n", "9.0 9.5 4.1\n"),
        "camera 2 has 3 parameters, but PINHOLE has 4",
    ),
    (rewrite("cameras", "PINHOLE 8 6 9.0 9.5", "PINHOLE 8 6 9.0 nan"), "camera 2: 'fy' is NaN"),
    (rewrite("cameras", "PINHOLE 8 6 9.0 9.5", "PINHOLE 8 9 9.0 9.5"), "01.png is 8 x 6 pixels, but .*8 x 9"),
    (rewrite("images", "5 04.png", "9 04.png"), "'04.png' names camera 9"),
    (rewrite("images", "04.png", "../../04.png"), "'../../04.png': its name .*leads out"),
    (rewrite("images", "04.png", "44.png"), "1 of its 10 images are missing, the first is .*44.png"),
    (rewrite("points3D", "0.3", "inf"), "points3D.txt: a point's position is NaN or infinite"),
    (lambda model: (model / "images.txt").unlink(), "neither images.bin nor images.txt"),
    (lambda model: (model / "images.txt").write_text("# none\n"), "no image with a pose"),
    (
        lambda model: (model / "images.txt").write_text("1 0 0 0 0 0 0 0 1 00.png\n\n"),
        "a quaternion of zeros",
    ),
    (lambda model: (model / "cameras.txt").write_bytes(b"\xff\xfe"), "cameras.txt: it is not text"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_files_are_refused_in_a_sentence(tmp_path, change, message):
    model, _ = write_colmap(tmp_path, binary=False)
    change(model)
    with pytest.raises(SoftmineError, match=message) as caught:
        read_scene(tmp_path)
    assert "\n" not in str(caught.value)
