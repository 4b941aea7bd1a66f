"""Blender's and nerfstudio's files of poses: what is read of them, and what is refused."""

import dataclasses
import json
import re

import numpy as np
import PIL.Image
import pytest
import tifffile
import torch

from scene_files import look, nerfstudio, picture, write_blender, write_json
from softmine import SoftmineError
from softmine.radiance.cameras import Camera
from softmine.radiance.photos import Photos
from softmine.radiance.scenes import read_scene


def test_blender(tmp_path):
    scene = read_scene(write_blender(tmp_path / "toy"))
    assert scene.name == "toy"
    assert scene.has_alpha
    assert scene.bounds.kind == "box"
    assert scene.bounds.low == (-1.5, -1.5, -1.5)
    assert scene.bounds.near < 4 - 1.5
    assert scene.bounds.far > 4 + 1.5
    assert [view.split for view in scene.views] == ["train"] * 4 + ["test"] * 2
    view = scene.views[2]
    assert view.name == "train/r_2.png"
    assert view.image == tmp_path / "toy" / "train" / "r_2.png"
    assert (view.camera.width, view.camera.height, view.camera.center) == (8, 6, (4.0, 3.0))
    assert view.camera.focal == pytest.approx((4 / np.tan(0.4),) * 2)
    np.testing.assert_allclose(view.pose, look(2)[:3] * [1, -1, -1, 1], atol=1e-12)
    np.testing.assert_allclose(view.pose[:, 2], -view.pose[:, 3] / 4, atol=1e-12)  # it looks at the origin


def test_blender_by_its_file_and_downscaled(tmp_path):
    folder = write_blender(tmp_path)
    scene = read_scene(folder / "transforms_train.json", 2)
    camera = scene.views[0].camera
    assert (camera.width, camera.height, scene.downscale) == (4, 3, 2)
    assert camera.focal[0] == pytest.approx(2 / np.tan(0.4))


def test_blender_without_a_file_to_test_holds_out_every_eighth(tmp_path):
    folder = write_blender(tmp_path, train=9)
    (folder / "transforms_test.json").unlink()
    scene = read_scene(folder)
    assert [view.name for view in scene.split("test")] == ["train/r_0.png", "train/r_8.png"]
    assert len(scene.split("train")) == 7
    assert "no transforms_test.json" in scene.notes[0]


def test_blender_tests_on_the_file_to_validate_where_there_is_no_other(tmp_path):
    folder = write_blender(tmp_path)
    (folder / "transforms_test.json").rename(folder / "transforms_val.json")
    scene = read_scene(folder)
    assert [view.name for view in scene.split("test")] == ["test/r_0.png", "test/r_1.png"]
    assert scene.notes == (
        "there is no transforms_test.json, so the views of transforms_val.json are for testing",
    )


def test_blender_photos_both_to_train_and_to_test_are_noted(tmp_path):
    folder = write_blender(tmp_path)
    train, test = (
        json.loads((folder / f"transforms_{split}.json").read_text()) for split in ("train", "test")
    )
    test["frames"].append(train["frames"][1])
    write_json(folder / "transforms_test.json", test)
    assert (
        "1 of the 3 photos to test are also trained on, which says little of new views"
        in read_scene(folder).notes
    )


def test_blender_photos_without_opacity_are_unbounded(tmp_path):
    scene = read_scene(write_blender(tmp_path, channels=3))
    assert not scene.has_alpha
    assert scene.bounds.kind == "unbounded"


def test_nerfstudio(tmp_path):
    content = nerfstudio(tmp_path, k1=0.01, p2=-0.002, camera_model="OPENCV")
    content["frames"][3].update(fl_x=8.0, k1=0.02, mask_path="masks/3.png")
    picture(tmp_path / "masks" / "3.png")
    picture(tmp_path / "images" / "blurred.png")
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    assert [view.name for view in scene.split("test")] == ["images/00.png", "images/08.png"]
    views = {view.name: view for view in scene.views}
    assert len(views) == 10
    assert views["images/01.png"].camera.distortion == (0.01, 0.0, 0.0, 0.0, 0.0, -0.002)
    assert views["images/01.png"].camera.focal == (9.0, 9.5)
    assert views["images/01.png"].camera.center == (4.1, 2.9)
    assert views["images/03.png"].camera.distortion == (0.02, 0.0, 0.0, 0.0, 0.0, -0.002)
    assert views["images/03.png"].camera.focal == (8.0, 9.5)
    assert views["images/03.png"].mask == tmp_path / "masks" / "3.png"
    assert len(scene.notes) == 1
    assert re.match(r"1 of the 11 images in .* the first is blurred.png", scene.notes[0])


def test_unbounded_scenes_are_moved_to_what_the_cameras_look_at(tmp_path):
    content = nerfstudio(tmp_path)
    for frame in content["frames"]:
        pose = np.array(frame["transform_matrix"])
        pose[:3, 3] += [5, -3, 2]
        frame["transform_matrix"] = pose.tolist()
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    # All axes meet in (5, -3, 2); a hundredth of the weight draws it to the cameras' mean.
    np.testing.assert_allclose(scene.center, [5, -3, 2], atol=0.1)
    centers = np.stack([view.pose[:, 3] for view in scene.views])
    assert np.linalg.norm(centers, axis=-1).max() == pytest.approx(1)
    for view in scene.views:
        index = int(view.name[-6:-4])
        old = view.pose[:, 3] / scene.scale + np.array(scene.center)
        np.testing.assert_allclose(old, look(0.6 * index)[:3, 3] + [5, -3, 2], atol=1e-9)


def test_lists_of_splits(tmp_path):
    names = [f"images/{index:02d}.png" for index in range(10)]
    lists = {"train_filenames": names[:7], "test_filenames": names[7:9]}
    write_json(tmp_path / "transforms.json", nerfstudio(tmp_path, **lists))
    scene = read_scene(tmp_path / "transforms.json")
    assert [view.name for view in scene.split("train")] == names[:7]
    assert [view.name for view in scene.split("test")] == names[7:9]


@pytest.mark.parametrize(
    ("lists", "train", "test"),
    [
        ({"test_filenames": [8, 9]}, range(8), [8, 9]),
        ({"val_filenames": [0]}, range(1, 10), [0]),
        ({"val_filenames": [0], "test_filenames": [1]}, range(2, 10), [1]),
        ({"train_filenames": range(9)}, range(9), [9]),
    ],
)
def test_views_that_a_list_holds_back_are_not_trained_on(tmp_path, lists, train, test):
    names = [f"images/{index:02d}.png" for index in range(10)]
    given = {key: [names[index] for index in chosen] for key, chosen in lists.items()}
    write_json(tmp_path / "transforms.json", nerfstudio(tmp_path, **given))
    scene = read_scene(tmp_path / "transforms.json")
    assert [view.name for view in scene.split("train")] == [names[index] for index in train]
    assert [view.name for view in scene.split("test")] == [names[index] for index in test]


@pytest.mark.parametrize(
    ("shared", "own", "across", "down"),
    [
        ({"fl_x": 5.0}, {"camera_angle_x": 1.0}, 4 / np.tan(0.5), 4 / np.tan(0.5)),
        ({"camera_angle_x": 1.0}, {"fl_x": 5.0}, 5.0, 5.0),
        ({"fl_x": 5.0, "camera_angle_y": 1.0}, {"fl_y": 6.0}, 5.0, 6.0),
        ({"fl_x": 5.0, "fl_y": 6.0}, {"camera_angle_y": 1.0}, 5.0, 3 / np.tan(0.5)),
        ({"fl_x": 5.0, "camera_angle_x": 1.0}, {}, 5.0, 5.0),
        ({"fl_x": None, "camera_angle_x": 1.0, "k1": None, "w": None}, {}, 4 / np.tan(0.5), 4 / np.tan(0.5)),
        ({"fl_x": 5.0}, {"fl_x": None, "camera_angle_x": None}, 5.0, 5.0),
        ({"camera_angle_y": 1.0}, {}, 3 / np.tan(0.5), 3 / np.tan(0.5)),
        ({"fl_y": 6.0}, {}, 6.0, 6.0),
    ],
)
def test_a_frames_own_focal_length_goes_before_that_of_all_by_any_name(tmp_path, shared, own, across, down):
    content = nerfstudio(tmp_path)
    for key in ("fl_x", "fl_y"):
        del content[key]
    content.update(shared)
    content["frames"][2].update(own)
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    views = {view.name: view for view in scene.views}
    assert views["images/02.png"].camera.focal == pytest.approx((across, down))
    twice = "fl_x" in content and "camera_angle_x" in content and not own and content["fl_x"]
    assert scene.notes == (
        ("camera_angle_x is not used: it says another focal length than fl_x",) if twice else ()
    )


def frame(**changes):
    def change(content):
        content["frames"][2].update(changes)

    return change


def top(**changes):
    return lambda content: content.update(changes)


def matrix(row, column, value):
    def change(content):
        content["frames"][2]["transform_matrix"][row][column] = value

    return change


def scaled(content):
    rows = np.array(content["frames"][2]["transform_matrix"])
    rows[:3, :3] *= 2
    content["frames"][2]["transform_matrix"] = rows.tolist()


def mirrored(content):
    rows = np.array(content["frames"][2]["transform_matrix"])
    rows[:3, 0] *= -1
    content["frames"][2]["transform_matrix"] = rows.tolist()


BAD = [
    (lambda content: content.pop("frames"), "transforms.json: it has no list of 'frames'"),
    (top(frames=[]), "'frames' is empty"),
    (lambda content: content.update(frames=content["frames"][:1]), "has 1 view"),
    (lambda content: content["frames"][2].pop("transform_matrix"), "frame 2 .*no 'transform_matrix'"),
    (lambda content: content["frames"][2].pop("file_path"), "'file_path' of frame 2 is null"),
    (lambda content: (content.pop("fl_x"), content.pop("fl_y")), "neither 'fl_x' nor 'camera_angle_x'"),
    (top(fl_x=-1), "'fl_x' is -1, but must be above 0"),
    (top(fl_x="wide"), "'fl_x' is \"wide\", but must be a finite number"),
    (top(fl_x=10**400), "'fl_x' is 10{50,}.*, but must be a finite number"),
    (top(fl_x=True), "'fl_x' is true, but must be a finite number"),
    (matrix(0, 3, 10**400), "'transform_matrix' is not a matrix of 4 x 4 numbers"),
    (top(k1=float("nan")), "'k1' is NaN"),
    (top(k1=1e20), "'k1' is 1e.20, but must be a finite number, at most 1e.15"),
    (matrix(0, 3, 1e200), "'transform_matrix' holds 1e.200, more than 1e.15"),
    (frame(file_path="a" * 5000), "'file_path' of frame 2 is \"aaa.*, but must be a file's path"),
    (top(w=7.5), "'w' is 7.5, but must be a number of pixels"),
    (top(w=16), r"00.png is 8 x 6 pixels, but .*states 16 x 6"),
    (top(camera_model="FOV"), "camera model is FOV, but only .*undistort the images first"),
    (
        top(camera_type="ORTHOGRAPHIC"),
        "camera model is ORTHOGRAPHIC.*its rays are parallel.*perspective camera",
    ),
    (top(camera_model="orthophoto"), "camera model is orthophoto.*its rays are parallel"),
    (top(orthographic=True), "camera model is ORTHOGRAPHIC"),
    (top(camera_model="EQUIRECTANGULAR"), "it is 8 x 6 pixels and a whole panorama is twice as wide"),
    (top(camera_model="VR180_L"), "two fisheye images in one"),
    (top(ftheta_p0=1.0), "camera model is FTHETA.*NVIDIA"),
    (top(camera_model="OPENCV_FISHEYE", p1=0.1), "a fisheye has no 'p1'"),
    (
        lambda content: content.update(camera_model="FISHEYE", camera_angle_x=1.0, fl_x=None),
        "'camera_angle_x' says no focal length of a fisheye.*give 'fl_x' in pixels",
    ),
    (
        lambda content: content.update(is_fisheye=True, camera_angle_y=1.0, fl_y=None),
        "'camera_angle_y' says no focal length of a fisheye",
    ),
    (frame(file_path="./images/01.png"), "frames 1 and 2 are two poses of one photo, .*01.png"),
    (top(k5=0.1), "'k5' and 'k6', which only FULL_OPENCV has"),
    (
        frame(file_path="../secret.png"),
        'frame 2 is "../secret.png", which leads out of .* with images, or move',
    ),
    (frame(file_path="/etc/passwd"), "which leads out"),
    (
        frame(mask_path="images/none.png"),
        "1 of its 1 masks is missing, .*; get a complete copy, or remove them from the file",
    ),
    (frame(transform_matrix=[[1, 2], [3, 4]]), "'transform_matrix' is not a matrix of 4 x 4 numbers"),
    (frame(transform_matrix="eye"), "'transform_matrix' is not a matrix of 4 x 4 numbers"),
    (matrix(0, 3, float("nan")), "frame 2 .*'transform_matrix' holds NaN"),
    (matrix(3, 3, 2.0), "as its last row, not 0 0 0 1"),
    (frame(transform_matrix=np.diag([1.0, 1, 0, 1]).tolist()), "'transform_matrix' is singular"),
    (scaled, "scales lengths by 2, but"),
    (mirrored, "mirrors"),
    (top(train_filenames=["images/77.png"]), "name images/77.png, which no frame has"),
    (top(train_filenames=["images/01.png"], test_filenames=["images/01.png"]), "both to train and to test"),
    (top(train_filenames=[]), "leave no view to train"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_files_are_refused_in_a_sentence(tmp_path, change, message):
    content = nerfstudio(tmp_path)
    change(content)
    write_json(tmp_path / "transforms.json", content)
    with pytest.raises(SoftmineError, match=message) as caught:
        read_scene(tmp_path)
    assert "\n" not in str(caught.value)


def test_broken_json_is_refused_with_its_line(tmp_path):
    (tmp_path / "transforms.json").write_text('{"fl_x": 9.0,\n "frames": [')
    with pytest.raises(SoftmineError, match=r"transforms.json: it is not valid JSON at line 2"):
        read_scene(tmp_path)
    (tmp_path / "transforms.json").write_text("[]")
    with pytest.raises(SoftmineError, match="holds a list, not one JSON object"):
        read_scene(tmp_path)


def test_missing_pictures_are_counted_and_the_first_is_named(tmp_path):
    folder = write_blender(tmp_path)
    for index in (1, 3):
        (folder / "train" / f"r_{index}.png").unlink()
    with pytest.raises(SoftmineError, match=r"2 of its 4 images are missing, the first is .*train/r_1"):
        read_scene(folder)


def test_a_picture_that_is_none_is_refused(tmp_path):
    folder = write_blender(tmp_path)
    (folder / "train" / "r_1.png").write_bytes(b"no picture")
    with pytest.raises(SoftmineError, match=r"r_1.png: it is not an image"):
        read_scene(folder)


def test_cameras_in_one_point_are_refused(tmp_path):
    content = nerfstudio(tmp_path)
    for each in content["frames"]:
        each["transform_matrix"] = look(0.0).tolist()
    write_json(tmp_path / "transforms.json", content)
    with pytest.raises(SoftmineError, match="all cameras stand at one point"):
        read_scene(tmp_path)


def test_blender_cameras_that_look_away_are_refused(tmp_path):
    folder = write_blender(tmp_path, test=1)
    for split in ("train", "test"):
        path = folder / f"transforms_{split}.json"
        content = json.loads(path.read_text())
        for each in content["frames"]:  # OpenCV's axes where OpenGL's should be
            each["transform_matrix"] = (np.array(each["transform_matrix"]) * [1, -1, -1, 1]).tolist()
        path.write_text(json.dumps(content))
    with pytest.raises(SoftmineError, match="no camera looks at the origin"):
        read_scene(folder)


def test_what_is_no_scene_is_refused(tmp_path):
    with pytest.raises(SoftmineError, match="there is no such file"):
        read_scene(tmp_path / "nowhere")
    with pytest.raises(SoftmineError, match=r"it holds no scene; there should be a transforms_train.json"):
        read_scene(tmp_path)
    picture(tmp_path / "photo.png")
    with pytest.raises(SoftmineError, match=r"a scene is a folder, a transforms.json"):
        read_scene(tmp_path / "photo.png")
    with pytest.raises(SoftmineError, match="downscale is 0"):
        read_scene(write_blender(tmp_path / "toy"), 0)


def test_opacity_is_found_in_palettes_too(tmp_path):
    folder = write_blender(tmp_path, channels=3)
    image = PIL.Image.open(folder / "train" / "r_0.png").convert("P")
    used = int(np.array(image)[0, 0])
    image.save(folder / "train" / "r_0.png", transparency=used)
    assert read_scene(folder).has_alpha
    image.save(
        folder / "train" / "r_0.png", transparency=next(i for i in range(256) if i not in image.tobytes())
    )
    assert not read_scene(folder).has_alpha


@pytest.mark.parametrize("kind", ["RGBA", "LA", "16-bit RGBA", "palette"])
def test_opacity_that_is_opaque_everywhere_is_none(tmp_path, kind):
    plain = write_blender(tmp_path / "plain", channels=3)
    opaque = write_blender(tmp_path / "opaque", channels=3)
    for path in [*opaque.glob("*/*.png"), *(plain.glob("*/*.png") if kind in ("LA", "palette") else [])]:
        image = PIL.Image.open(path)
        if kind == "LA":
            gray = image.convert("L")
            gray.save(path) if plain in path.parents else gray.convert("LA").save(path)
        elif kind == "palette":
            made = image.convert("P")
            made.save(path, transparency=b"\xff" * 256) if opaque in path.parents else made.save(path)
        elif kind == "RGBA":
            image.convert("RGBA").save(path)
        else:
            pixels = np.dstack((np.array(image).astype(np.uint16) * 257, np.full((6, 8), 65535, np.uint16)))
            tifffile.imwrite(path.with_suffix(".tif"), pixels, photometric="rgb", extrasamples=["unassalpha"])
            path.unlink()
    scene = read_scene(opaque)
    assert not scene.has_alpha
    assert scene.bounds == read_scene(plain).bounds
    assert scene.notes == ("the opacity of the photos is not used: all 6 that have it are opaque",)
    assert torch.equal(Photos(scene).pixels, Photos(read_scene(plain)).pixels)
    if kind == "16-bit RGBA":
        assert Photos(scene).notes == ("4 photos of 16 bits to train are rounded to 8",)


@pytest.mark.parametrize("key", ["camera_model", "camera_type", "is_fisheye"])
def test_fisheye_cameras(tmp_path, key):
    lens = {"k1": 0.01, "k2": 0.002, "k3": -0.001, "k4": 0.0001}
    content = nerfstudio(tmp_path, **lens, **{key: True if key == "is_fisheye" else "opencv_fisheye"})
    content["frames"][4]["fisheye_crop_radius"] = 3.0
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    views = {view.name: view.camera for view in scene.views}
    expected = Camera(8, 6, (9.0, 9.5), (4.1, 2.9), (*lens.values(), 0.0, 0.0), "fisheye")
    assert views["images/03.png"] == expected
    assert views["images/04.png"] == dataclasses.replace(expected, circle=3.0 / 9.0)
    photos = Photos(scene)
    assert photos.notes == ("pixels beyond the circle that the lens shows do not count, in 1 view to train",)
    index = [view.name for view in photos.views].index("images/04.png")
    valid = photos.valid(index)
    rows, columns = np.mgrid[:6, :8] + 0.5
    assert valid is not None
    assert not valid[np.hypot((rows - 2.9) / 9.5, (columns - 4.1) / 9.0) > 3 / 9].any()
    assert valid[2:4, 3:5].all()


def test_rational_and_panoramic_cameras(tmp_path):
    lens = {"k1": 0.1, "k2": 0.2, "k3": 0.3, "k4": 0.04, "k5": 0.05, "k6": 0.06, "p1": 0.003, "p2": 0.004}
    content = nerfstudio(tmp_path, camera_model="FULL_OPENCV", **lens)
    write_json(tmp_path / "transforms.json", content)
    camera = read_scene(tmp_path).views[0].camera
    assert camera.distortion == (0.1, 0.2, 0.3, 0.0, 0.003, 0.004, 0.04, 0.05, 0.06)
    content = nerfstudio(tmp_path, camera_model="EQUIRECTANGULAR", w=12)
    for each in content["frames"]:
        picture(tmp_path / each["file_path"], 12, 6)
    write_json(tmp_path / "transforms.json", content)
    camera = read_scene(tmp_path).views[0].camera
    assert (camera.lens, camera.center) == ("equirectangular", (6.0, 3.0))
    assert camera.focal == pytest.approx((6 / np.pi, 6 / np.pi))


def test_what_a_file_says_and_is_not_used_is_noted(tmp_path):
    content = nerfstudio(tmp_path, aabb_scale=16, rolling_shutter=[0, 0, 0, 0], white_transparent=True)
    for index, each in enumerate(content["frames"]):
        each["time"] = index / 10
    write_json(tmp_path / "transforms.json", content)
    (tmp_path / "poses_bounds.npy").write_bytes(b"")
    notes = read_scene(tmp_path, 4).notes
    assert [note.split(" ")[0:3] for note in notes] == [
        ["the", "cameras", "of"], ["the", "times", "of"], ["white_transparent", "is", "not"], ["rows", "or", "columns"],
        ["aabb_scale", "is", "not"],
    ]  # fmt: skip
    assert notes[0].startswith("the cameras of transforms.json are read, not those of poses_bounds.npy")


def test_what_instant_ngp_would_use_is_noted(tmp_path):
    box = {"scale": 0.5, "offset": [0.5, 0.5, 0.4], "render_aabb": [[0, 0, 0], [1, 1, 1]]}
    content = nerfstudio(tmp_path, enable_depth_loading=True, n_extra_learnable_dims=4, **box)
    content["frames"][4]["depth_path"] = "depth/4.png"
    write_json(tmp_path / "transforms.json", content)
    assert read_scene(tmp_path).notes == (
        "depth images (depth_path) are not used",
        "n_extra_learnable_dims is not used: colors do not depend on the photo",
        "render_aabb is not used: nothing is cut out of what is shown",
        "scale is not used: the scene is unbounded",
        "offset is not used: the scene is unbounded",
    )
    folder = write_blender(tmp_path / "object")
    file = folder / "transforms_train.json"
    before = read_scene(folder)
    write_json(file, {**json.loads(file.read_text()), "scale": 0.5})
    scene = read_scene(folder)
    assert scene.notes == (*before.notes, "scale is not used: there is no aabb_scale")
    assert scene.bounds == before.bounds


def test_cameras_of_mitsuba_look_along_their_own_axes(tmp_path):
    content = nerfstudio(tmp_path)
    write_json(tmp_path / "transforms.json", content)
    expected = read_scene(tmp_path)
    for each in content["frames"]:  # x left, y up, z forward, where OpenGL has right, up, backward
        each["transform_matrix"] = (np.array(each["transform_matrix"]) * [-1, 1, -1, 1]).tolist()
    write_json(tmp_path / "transforms.json", {**content, "from_mitsuba": True})
    scene = read_scene(tmp_path)
    assert "from_mitsuba" in scene.notes[0]
    for one, other in zip(scene.views, expected.views, strict=True):
        np.testing.assert_allclose(one.pose, other.pose, atol=1e-12)


@pytest.mark.parametrize("least", [250, 254])
@pytest.mark.parametrize("where", [np.s_[:], np.s_[:1], np.s_[2:3, 4:5]])
def test_opacity_that_is_nearly_opaque_is_none(tmp_path, least, where):
    plain = write_blender(tmp_path / "plain", channels=3)
    nearly = write_blender(tmp_path / "nearly", channels=3)
    for path in nearly.glob("*/*.png"):
        alpha = np.full((6, 8), 255, np.uint8)
        alpha[where] = least
        PIL.Image.fromarray(np.dstack((np.array(PIL.Image.open(path)), alpha))).save(path)
    scene = read_scene(nearly)
    assert not scene.has_alpha
    assert scene.bounds == read_scene(plain).bounds
    assert re.fullmatch(r"the opacity .* all 6 that have it are opaque up to (2.0|0.4)%", scene.notes[0])
    assert torch.equal(Photos(scene).pixels, Photos(read_scene(plain)).pixels)


def opaque_but(folder, **alphas):
    """A Blender scene of opaque photos, but for those named."""
    write_blender(folder)
    for path in folder.glob("*/*.png"):
        pixels = np.array(PIL.Image.open(path))
        pixels[..., 3] = alphas.get(path.stem, 255)
        PIL.Image.fromarray(pixels).save(path)
    return read_scene(folder)


def test_views_without_an_object_or_all_of_one_are_noted(tmp_path):
    scene = opaque_but(tmp_path / "some", r_1=0, r_2=0, r_3=100)
    assert scene.has_alpha
    photos = Photos(scene)
    assert photos.notes == (
        "opacity leaves nothing of 2 of the 4 views to train, the first is train/r_1.png",
        "1 of the 4 views to train are opaque everywhere, as if the object filled them, the first is train/r_0.png",
    )
    assert [photos.image(view)[..., 3].unique().tolist() for view in (0, 1)] == [[0.5], [0.0]]  # half of it
    with pytest.raises(
        SoftmineError, match="are transparent everywhere in all 4 views to train; save them with"
    ):
        Photos(opaque_but(tmp_path / "clear", r_0=0, r_1=0, r_2=0, r_3=0))


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint32"])
@pytest.mark.parametrize("compression", [None, "zlib"])
def test_photos_of_floats_are_refused_as_such(tmp_path, dtype, compression):
    content = nerfstudio(tmp_path)
    content["frames"][2]["file_path"] = "images/f.tif"
    pixels = (100 * np.random.default_rng(0).random((6, 8, 3))).astype(dtype)
    tifffile.imwrite(tmp_path / "images" / "f.tif", pixels, photometric="rgb", compression=compression)
    write_json(tmp_path / "transforms.json", content)
    with pytest.raises(
        SoftmineError, match=f"f.tif: its values are {dtype}; save it with 8 or 16 bits a color"
    ):
        read_scene(tmp_path)


def test_tiff_photos_that_only_tifffile_reads(tmp_path):
    content = nerfstudio(tmp_path)
    content["frames"][2]["file_path"] = "images/f.tif"
    pixels = np.random.default_rng(0).integers(0, 2**16, (6, 8, 2)).astype(np.uint16)
    pixels[..., 1] = 65535
    tifffile.imwrite(
        tmp_path / "images" / "f.tif", pixels, photometric="minisblack", extrasamples=["unassalpha"]
    )
    write_json(tmp_path / "transforms.json", content)
    scene = read_scene(tmp_path)
    assert "the opacity of the photos is not used: all 1 that have it are opaque" in scene.notes
    photos = Photos(scene)
    index = [view.name for view in photos.views].index("images/f.tif")
    gray = np.rint(pixels[..., :1] / 257).repeat(3, -1)
    np.testing.assert_allclose(photos.image(index) * 255, gray, atol=1e-4)


def test_views_in_no_list_are_noted(tmp_path):
    names = [f"images/{index:02d}.png" for index in range(10)]
    lists = {"train_filenames": names[:5], "test_filenames": names[5:7], "val_filenames": names[7:]}
    write_json(tmp_path / "transforms.json", nerfstudio(tmp_path, **lists))
    scene = read_scene(tmp_path)
    assert len(scene.views) == 7
    assert scene.notes == ("3 views are not used: neither to train nor in test_filenames",)
