"""COLMAP models, binary and text, and what is refused."""

import shutil
import struct

import numpy as np
import PIL.Image
import pytest

from scene_files import COLMAP_CAMERAS, POINTS, picture, write_colmap
from softmine import SoftmineError
from softmine.radiance.cameras import Camera
from softmine.radiance.photos import Photos
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
    fov = (1, 7, "FOV", (9.0, 9.0, 4.0, 3.0, 0.5))
    write_colmap(tmp_path, binary=binary, cameras=[fov, *COLMAP_CAMERAS[1:]])
    with pytest.raises(SoftmineError, match=r"model FOV, but only SIMPLE_PINHOLE.*colmap image_undistorter"):
        read_scene(tmp_path)


@pytest.mark.parametrize("binary", [True, False])
def test_fisheye_and_rational_models(tmp_path, binary):
    cameras = [
        (1, 5, "OPENCV_FISHEYE", (9.0, 9.5, 4.1, 2.9, 0.01, -0.02, 0.03, -0.004)),
        (2, 6, "FULL_OPENCV", (9.0, 9.5, 4.1, 2.9, 0.1, 0.2, 0.003, 0.004, 0.3, 0.04, 0.05, 0.06)),
        (3, 8, "SIMPLE_RADIAL_FISHEYE", (9.0, 4.0, 3.0, 0.01)),
        (4, 9, "RADIAL_FISHEYE", (9.0, 4.0, 3.0, 0.01, -0.002)),
        COLMAP_CAMERAS[4],
    ]
    write_colmap(tmp_path, binary=binary, cameras=cameras)
    scene = read_scene(tmp_path)
    views = {view.name: view.camera for view in scene.views}
    first, second, third, fourth = (views[f"images/0{index}.png"] for index in range(4))
    assert [each.lens for each in (first, second, third, fourth)] == [
        "fisheye",
        "perspective",
        "fisheye",
        "fisheye",
    ]
    assert first == Camera(8, 6, (9.0, 9.5), (4.1, 2.9), (0.01, -0.02, 0.03, -0.004, 0.0, 0.0), "fisheye")
    # In COLMAP's order k1, k2, p1, p2, k3, and k4, k5, k6 below the line.
    assert second.distortion == (0.1, 0.2, 0.3, 0.0, 0.003, 0.004, 0.04, 0.05, 0.06)
    assert (third.focal, third.distortion) == ((9.0, 9.0), (0.01, 0, 0, 0, 0, 0))
    assert fourth.distortion == (0.01, -0.002, 0, 0, 0, 0)


def test_an_unsupported_camera_of_no_image_does_not_matter(tmp_path):
    write_colmap(tmp_path, binary=False, cameras=[*COLMAP_CAMERAS, (6, 7, "FOV", (9.0, 9.0, 4.0, 3.0, 0.5))])
    assert {view.camera.focal for view in read_scene(tmp_path).views} == {(9.0, 9.0), (9.0, 9.5)}


@pytest.mark.parametrize(
    "points",
    ["missing", "1 2 -1", "1 2 -1 3 4 0", "1 2 3 4 5 6 7 8 9 10 11 12", "1.5 2 -1 3 4 0 5 6 1 7 8 2"],
)
def test_images_of_text_are_told_from_lines_of_points(tmp_path, points):
    model, poses = write_colmap(tmp_path, binary=False)
    file = model / "images.txt"
    lines = [line for line in file.read_text().splitlines() if line.endswith(".png")]
    between = "\n" if points == "missing" else f"\n{points}\n"
    file.write_text("".join(line + between for line in lines))
    scene = read_scene(tmp_path)
    assert sorted(view.name for view in scene.views) == [f"images/{index:02d}.png" for index in range(10)]
    for view in scene.views:
        np.testing.assert_allclose(view.pose[:, :3], poses[int(view.name[-6:-4])][:, :3], atol=1e-9)


def test_text_may_begin_with_a_byte_order_mark(tmp_path):
    model, _ = write_colmap(tmp_path, binary=False)
    expected = [(view.name, view.pose.tolist(), view.camera) for view in read_scene(tmp_path).views]
    for file in model.iterdir():
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert [(view.name, view.pose.tolist(), view.camera) for view in read_scene(tmp_path).views] == expected


@pytest.mark.parametrize("binary", [True, False])
def test_two_poses_of_one_photo_are_refused(tmp_path, binary):
    model, _ = write_colmap(tmp_path, binary=binary)
    file = model / f"images.{'bin' if binary else 'txt'}"
    file.write_bytes(file.read_bytes().replace(b"05.png", b"02.png"))
    with pytest.raises(SoftmineError, match=r"images 3 and 6 are two poses of one photo, .*02.png"):
        read_scene(tmp_path)


def moved(folder, place):
    """A scene whose model is in another place."""
    write_colmap(folder)
    target = folder / place
    target.mkdir(parents=True, exist_ok=True)
    for file in (folder / "sparse" / "0").iterdir():
        file.rename(target / file.name)
    return folder


PLACES = [
    "sparse/1", "sparse/12", "sparse", ".", "colmap/sparse/0", "colmap/sparse", "colmap", "dense/sparse", "dense/0/sparse",
]  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_every_place_that_a_model_can_lie_in(tmp_path, place):
    write_colmap(tmp_path / "usual")
    expected = read_scene(tmp_path / "usual")
    found = read_scene(moved(tmp_path / "other", place))
    assert found.notes == ()
    assert [view.camera for view in found.views] == [view.camera for view in expected.views]
    np.testing.assert_array_equal([view.pose for view in found.views], [view.pose for view in expected.views])
    assert len(found.files) == 3
    assert all(file.is_file() for file in found.files)
    assert Photos(found).channels == 3


@pytest.mark.parametrize(
    "place",
    ["colmap_text", "distorted/sparse/0", "0", "sparse_txt", "sparse/geo", "text", "model", "out/sfm"],
)
def test_unusual_places_of_a_model_are_noted(tmp_path, place):
    write_colmap(tmp_path / "usual")
    expected = read_scene(tmp_path / "usual")
    found = read_scene(moved(tmp_path / "other", place))
    assert found.notes == (f"COLMAP's model is that in {place}",)
    assert [view.camera for view in found.views] == [view.camera for view in expected.views]
    np.testing.assert_array_equal([view.pose for view in found.views], [view.pose for view in expected.views])
    # Where there is a usual place, models elsewhere may be of photos that were undistorted since.
    write_colmap(tmp_path / "third", count=4)
    shutil.copytree(tmp_path / "third" / "sparse", tmp_path / "other" / "sparse", dirs_exist_ok=True)
    both = read_scene(tmp_path / "other")
    assert len(both.views) == 4
    assert both.files[0].parent == tmp_path / "other" / "sparse" / "0"


def test_a_folder_without_a_scene_is_told_that_a_model_may_be_named(tmp_path):
    model, _ = write_colmap(tmp_path)
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for file in model.iterdir():
        file.rename(deep / file.name)
    with pytest.raises(
        SoftmineError, match=r"it holds no scene.*its own folder, that of cameras.bin, is named"
    ):
        read_scene(tmp_path)
    assert len(read_scene(deep).views) == 10


def test_photos_are_those_nearest_to_the_model(tmp_path):
    folder = moved(tmp_path, "dense/sparse")
    for index in range(10):
        picture(folder / "dense" / "images" / f"{index:02d}.png", seed=index)
    assert read_scene(folder).views[0].image == folder / "dense" / "images" / "01.png"


def test_the_largest_model_is_read_and_another_by_its_folder(tmp_path):
    write_colmap(tmp_path, count=3)
    (tmp_path / "sparse" / "0").rename(tmp_path / "sparse" / "7")
    write_colmap(tmp_path, count=10, binary=False)
    (tmp_path / "sparse" / "0").rename(tmp_path / "sparse" / "8")
    (tmp_path / "sparse" / "9").mkdir()
    (tmp_path / "sparse" / "9" / "cameras.bin").write_bytes(b"broken")
    scene = read_scene(tmp_path)
    assert len(scene.views) == 10
    assert scene.notes == (
        "COLMAP's model sparse/8 with 10 images is read, not sparse/7 with 3 images or sparse/9, which is damaged: "
        "to read another, name its folder",
    )
    other = read_scene(tmp_path / "sparse" / "7")
    assert len(other.views) == 3
    assert other.name == tmp_path.name
    assert other.views[0].image == tmp_path / "images" / "01.png"


def test_a_model_both_binary_and_text_is_read_as_binary(tmp_path):
    model, _ = write_colmap(tmp_path)
    (model / "cameras.txt").write_text("1 PINHOLE 8 6 1.0 1.0 4.0 3.0\n")
    scene = read_scene(tmp_path)
    assert {view.camera.focal[0] for view in scene.views} == {9.0}
    assert "cameras.bin, not from" in scene.notes[0]


@pytest.mark.parametrize("name", ["a  b (0).png", "a # b.png", "two   three  four.png"])
def test_the_rest_of_a_line_of_text_is_the_name(tmp_path, name):
    model, _ = write_colmap(tmp_path, binary=False)
    (tmp_path / "images" / "04.png").rename(tmp_path / "images" / name)
    file = model / "images.txt"
    file.write_text(file.read_text().replace(" 04.png", f" {name}"))
    assert f"images/{name}" in {view.name for view in read_scene(tmp_path).views}


def test_incomplete_smaller_copies_are_not_used(tmp_path):
    write_colmap(tmp_path)
    picture(tmp_path / "images_2" / "00.png", 4, 3)
    scene = read_scene(tmp_path, 2)
    assert {view.image.parent.name for view in scene.views} == {"images"}
    assert scene.downscale == 2
    assert scene.notes == ("images_2 lacks 9 of the photos, so those in images are used",)
    (tmp_path / "images" / "03.png").unlink()
    with pytest.raises(
        SoftmineError, match=r"9 of its 10 images are missing, the first is .*images_2/01.png"
    ):
        read_scene(tmp_path, 2)


def test_masks_in_the_folder_of_colmap_are_used(tmp_path):
    write_colmap(tmp_path)
    (tmp_path / "masks").mkdir()
    mask = np.zeros((6, 8), np.uint8)
    mask[:, 3:] = 1
    PIL.Image.fromarray(mask).save(tmp_path / "masks" / "01.png.png")
    PIL.Image.fromarray(mask * 255).save(tmp_path / "masks" / "02.png")
    scene = read_scene(tmp_path)
    assert "2 masks in" in scene.notes[0]
    photos = Photos(scene)
    for index, view in enumerate(photos.views):
        valid = photos.valid(index)
        if view.name in ("images/01.png", "images/02.png"):
            np.testing.assert_array_equal(valid, mask > 0)
        else:
            assert valid is None


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
    (rewrite("images", "04.png", "44.png"), "1 of its 10 images is missing, the first is .*44.png"),
    (
        lambda model: (model / "images.txt").write_text("1 1e300 0 0 0 0 0 0 1 00.png\n\n"),
        "00.png.*: its pose holds .* more than 1e.15",
    ),
    (rewrite("points3D", "0.3", "1e99"), "a point's position is NaN, infinite or more than 1e.15"),
    (rewrite("points3D", "0.3", "inf"), "points3D.txt: a point's position is NaN, infinite"),
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
