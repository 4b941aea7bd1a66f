"""LLFF scenes: frames, scale, NDC, folders of several sizes, and what is refused."""

import numpy as np
import pytest
import torch

from scene_files import look, picture, write_colmap, write_llff
from softmine import SoftmineError
from softmine.radiance.cameras import Cameras, to_ndc
from softmine.radiance.scenes import read_scene


def test_sizes_are_those_of_the_folder_of_pictures(tmp_path):
    scene = read_scene(write_llff(tmp_path / "leaf"))
    assert [view.name for view in scene.split("test")] == ["images_4/00.png", "images_4/08.png"]
    camera = scene.views[0].camera
    assert (camera.width, camera.height, camera.focal, camera.center) == (8, 6, (7.5, 7.5), (4.0, 3.0))
    assert not scene.has_alpha


def test_forward_facing_scenes_are_in_ndc(tmp_path):
    scene = read_scene(write_llff(tmp_path))
    assert scene.bounds.kind == "ndc"
    assert (scene.bounds.near, scene.bounds.far) == (0.0, 1.0)
    assert scene.scale == pytest.approx(4 / 3 / 2.0)
    poses = np.stack([view.pose for view in scene.views])
    np.testing.assert_allclose(poses[:, :, 3].mean(0), 0, atol=1e-9)
    mean = poses.sum(0)
    np.testing.assert_allclose(mean[:, 2] / np.linalg.norm(mean[:, 2]), [0, 0, -1], atol=1e-9)
    assert (poses[:, 1, 1] < -0.9).all()  # down is -y
    assert (poses[:, 0, 0] > 0.9).all()  # right is +x
    # Distances between cameras are those of the file, scaled.
    names = [int(view.name[-6:-4]) for view in scene.views]
    old = np.stack([look(0.02 * index, 0.1 + 0.01 * index)[:3, 3] for index in names])
    np.testing.assert_allclose(
        np.linalg.norm(poses[:, :, 3] - poses[0, :, 3], axis=-1),
        np.linalg.norm(old - old[0], axis=-1) * scene.scale,
        atol=1e-9,
    )


def test_every_ray_in_ndc_lies_in_the_bounds(tmp_path):
    scene = read_scene(write_llff(tmp_path))
    cameras = Cameras([view.camera for view in scene.views], [view.pose for view in scene.views])
    views = torch.arange(900) % len(scene.views)
    at = torch.rand(900, 2, generator=torch.Generator().manual_seed(0)) * torch.tensor([6.0, 8.0])
    assert scene.ndc is not None
    origins, directions = to_ndc(cameras.rays(views, at), scene.ndc.scale, scene.ndc.near)
    points = torch.cat([origins + t * directions for t in (0.0, 0.3, 1.0)])
    assert (points >= torch.tensor(scene.bounds.low) - 1e-4).all()
    assert (points <= torch.tensor(scene.bounds.high) + 1e-4).all()


def test_cameras_that_look_around_are_unbounded(tmp_path):
    scene = read_scene(write_llff(tmp_path, turn=0.7))
    assert scene.bounds.kind == "unbounded"
    assert scene.ndc is None
    assert "not all look one way" in scene.notes[0]
    assert max(np.linalg.norm(view.pose[:, 3]) for view in scene.views) == pytest.approx(1)


def test_downscale_takes_the_smaller_copies(tmp_path):
    write_llff(tmp_path, images="images", size=(32, 24))
    write_llff(tmp_path, images="images_4", size=(8, 6))
    assert read_scene(tmp_path).views[0].name.startswith("images/")
    scene = read_scene(tmp_path, 4)
    assert scene.views[0].name.startswith("images_4/")
    assert (scene.views[0].camera.width, scene.downscale) == (8, 1)
    scene = read_scene(tmp_path, 8)
    assert scene.views[0].name.startswith("images_4/")
    assert (scene.views[0].camera.width, scene.views[0].camera.focal[0], scene.downscale) == (4, 3.75, 2)
    scene = read_scene(tmp_path, 2)
    assert scene.views[0].name.startswith("images/")
    assert (scene.views[0].camera.width, scene.downscale) == (16, 2)


def test_downscale_that_no_folder_serves_is_refused(tmp_path):
    with pytest.raises(SoftmineError, match="at downscale 2: it has images_4 only; give 1"):
        read_scene(write_llff(tmp_path), 2)


def test_colmap_beside_it_goes_first_and_is_noted(tmp_path):
    write_llff(tmp_path, images="images", size=(8, 6))
    _, poses = write_colmap(tmp_path, count=9)
    scene = read_scene(tmp_path)
    assert [view.camera.focal for view in scene.views if view.name == "images/01.png"] == [(9.0, 9.5)]
    assert any(view.camera.distortion[0] for view in scene.views)
    for view in scene.views:
        np.testing.assert_allclose(view.pose[:, :3], poses[int(view.name[-6:-4])][:, :3], atol=1e-9)
    assert scene.notes[0] == (
        "the cameras of COLMAP's model sparse/0 are read, not those of poses_bounds.npy: to read others, name their file "
        "or folder"
    )
    rows = np.load(tmp_path / "poses_bounds.npy")
    rows[:, [4, 9, 14]] = 6, 8, 7.5
    np.save(tmp_path / "poses_bounds.npy", rows)
    named = read_scene(tmp_path / "poses_bounds.npy")
    assert {view.camera.focal for view in named.views} == {(7.5, 7.5)}
    # The run folder keeps this path: by the scene's folder, COLMAP's cameras would be read when a run is resumed.
    assert named.path == tmp_path / "poses_bounds.npy"


def test_smaller_photos_than_the_cameras_are_noted(tmp_path):
    assert read_scene(write_llff(tmp_path)).notes == (
        "the photos are those in images_4, 4 times smaller than full size",
    )


def table(change):
    def act(folder):
        rows = np.load(folder / "poses_bounds.npy")
        np.save(folder / "poses_bounds.npy", change(rows))

    return act


def put(row, column, value):
    def change(rows):
        rows[row, column] = value
        return rows

    return table(change)


BAD = [
    (lambda folder: picture(folder / "images_4" / "more.png"), "has poses for 9 images, but .* holds 10"),
    (lambda folder: (folder / "poses_bounds.npy").write_bytes(b"\x93NUMPY\x01"), "truncated or damaged NPY"),
    (table(lambda rows: rows[:, :16]), r"rows of 17 numbers, but is \(9, 16\)"),
    (put(3, 3, np.nan), "row 3 holds NaN"),
    (put(3, 15, -1.0), "row 3 has the depths -1 to 9"),
    (put(3, 0, 5.0), "row 3 .*the pose scales lengths"),
    (put(3, 14, 0.0), "'focal length' is 0, but must be above 0"),
    (put(3, 9, 16.0), "03.png is 8 x 6 pixels, but .* states 16 x 24, 4 times as much"),
]


@pytest.mark.parametrize(("change", "message"), BAD, ids=[message[:30] for _, message in BAD])
def test_bad_files_are_refused_in_a_sentence(tmp_path, change, message):
    change(write_llff(tmp_path))
    with pytest.raises(SoftmineError, match=message) as caught:
        read_scene(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_scene_without_pictures_is_refused(tmp_path):
    folder = write_llff(tmp_path)
    (folder / "images_4").rename(folder / "photos")
    with pytest.raises(SoftmineError, match="no folder 'images'"):
        read_scene(folder)
