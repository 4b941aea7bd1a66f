"""The box of an object: the same photographs in any unit, at any place, of objects of any size."""

import json

import numpy as np
import PIL.Image
import pytest
import torch

from scene_files import look, write_json
from softmine.radiance.scenes import procedural, read_scene
from softmine.runs.build import build_run
from softmine.tasks.nerf.task import NerfTask
from softmine.training.settings import FitSettings

GL = np.array([1.0, -1.0, -1.0, 1.0])


def write_still_life(folder, unit=1.0, shift=(0.0, 0.0, 0.0), side=24, **more):
    """The built-in scene as Blender's files, in another unit and moved."""
    scene = procedural(side, 12, 3)
    for split in ("train", "test"):
        frames = []
        for index, view in enumerate(scene.split(split)):
            pose = view.pose * GL
            pose[:, 3] = pose[:, 3] * unit + shift
            (folder / split).mkdir(parents=True, exist_ok=True)
            PIL.Image.fromarray(view.pixels).save(folder / split / f"{index}.png")
            rows = [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]]
            frames.append({"file_path": f"{split}/{index}", "transform_matrix": rows})
        write_json(folder / f"transforms_{split}.json", {"camera_angle_x": 0.7, "frames": frames, **more})
    return folder


def write_ball(folder, radius, distance=4.0, focal=64.0, side=64, center=(0.0, 0.0, 0.0)):
    """Views of the outline of a ball around the origin, or cut off by the frame."""
    frames = []
    axis = (np.arange(side) + 0.5 - side / 2) / focal
    x, y = np.meshgrid(axis, axis)
    rays = np.stack((x, -y, -np.ones_like(x)), -1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    for index in range(12):
        pose = look(index, 0.2 + 0.04 * index, distance)
        away = pose[:3, 3] @ (pose[:3, :3] @ rays[..., None])[..., 0].transpose(2, 0, 1).reshape(3, -1)
        hit = (distance**2 - away**2 < radius**2).reshape(side, side)
        pixels = np.full((side, side, 4), 200, np.uint8)
        pixels[..., 3] = hit * 255
        (folder / "train").mkdir(parents=True, exist_ok=True)
        PIL.Image.fromarray(pixels).save(folder / "train" / f"{index}.png")
        pose[:3, 3] += center
        frames.append({"file_path": f"train/{index}", "transform_matrix": pose.tolist()})
    write_json(folder / "transforms_train.json", {"fl_x": focal, "frames": frames})
    return folder


def half_side(scene):
    """Half the side of the box in the unit of the file."""
    assert (scene.bounds.low, scene.bounds.high) == ((-1.5,) * 3, (1.5,) * 3)
    return 1.5 / scene.scale


def psnr(scene):
    torch.manual_seed(0)
    task = NerfTask(scene)
    settings = FitSettings(steps=40, log2_table_size=10, sampler="uniform", batch_size=256)
    trainer = build_run(task, settings, torch.device("cpu"))
    trainer.advance(lambda: False)
    return task.make_evaluator(torch.device("cpu"))(trainer.field).psnr


def test_the_unit_and_the_place_of_a_world_do_not_matter(tmp_path):
    plain = read_scene(write_still_life(tmp_path / "1"))
    assert (plain.scale, plain.center, plain.notes) == (1.0, (0.0, 0.0, 0.0), ())
    expected = psnr(plain)
    assert expected > 10
    for scale in (3.0, 100.0, 0.01):
        scene = read_scene(write_still_life(tmp_path / str(scale), scale))
        assert half_side(scene) == pytest.approx(1.5 * scale)
        assert (
            f"reaches {1.5 * scale:.4g} each way from the origin, which follows the cameras" in scene.notes[0]
        )
        for one, other in zip(scene.views, plain.views, strict=True):
            np.testing.assert_allclose(one.pose, other.pose, atol=1e-9)
        assert scene.bounds.near == pytest.approx(plain.bounds.near)
        assert psnr(scene) == pytest.approx(expected, abs=0.2)
    moved = read_scene(write_still_life(tmp_path / "moved", 3.0, (50.0, -20.0, 10.0)))
    np.testing.assert_allclose(moved.center, [50, -20, 10], atol=0.5)
    assert half_side(moved) == pytest.approx(4.5, rel=0.1)
    old = moved.views[3].pose[:, 3] / moved.scale + np.array(moved.center)
    np.testing.assert_allclose(old, plain.views[3].pose[:, 3] * 3 + [50, -20, 10], atol=1e-9)


@pytest.mark.parametrize(
    ("radius", "distance", "focal", "half"),
    [
        (1.2, 4.0, 64.0, 1.5),  # within what NeRF-Synthetic's cameras would see
        (0.8, 4.0, 64.0, 1.5),
        (1.7, 4.0, 64.0, 1.1 * 1.7),  # reaches out of it
        (2.4, 4.0, 32.0, 1.1 * 2.4),
        (0.4, 4.0, 64.0, 1.1 * 0.4),  # fills too little of it
        (2.0, 30.0, 400.0, 1.1 * 2.0),  # seen from afar
    ],
)
def test_the_box_follows_what_the_photos_show(tmp_path, radius, distance, focal, half):
    for scale in (1.0, 7.0):
        scene = read_scene(write_ball(tmp_path / str(scale), radius * scale, distance * scale, focal))
        assert half_side(scene) == pytest.approx(half * scale, rel=0.04)
        assert scene.center == (0.0, 0.0, 0.0)


def test_an_object_that_the_frame_cuts_off_gets_what_the_frame_shows(tmp_path):
    assert half_side(read_scene(write_ball(tmp_path / "a", 1.75, focal=90.0))) == pytest.approx(1.5)
    wide = read_scene(write_ball(tmp_path / "b", 3.2, focal=32.0))
    assert half_side(wide) == pytest.approx(1.1 * 4 * np.sin(np.pi / 4), rel=0.04)


def test_single_stray_pixels_do_not_make_the_box_larger(tmp_path):
    folder = write_ball(tmp_path, 1.2, focal=32.0)
    path = folder / "train" / "0.png"
    pixels = np.array(PIL.Image.open(path))
    pixels[1, 1, 3] = 255
    PIL.Image.fromarray(pixels).save(path)
    assert half_side(read_scene(folder)) == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("stated", "center", "half"),
    [
        ({"aabb_scale": 1}, [0, 0, 0], 0.5 / 0.33),
        ({"aabb_scale": 4}, [0, 0, 0], 2 / 0.33),
        ({"aabb_scale": 2, "scale": 0.5, "offset": [0.5, 0.25, 1.0]}, [0, 0.5, -1], 2.0),
    ],
)
def test_aabb_scale_goes_before_what_cameras_and_photos_say(tmp_path, stated, center, half):
    scene = read_scene(write_still_life(tmp_path, **stated))
    assert half_side(scene) == pytest.approx(half)
    np.testing.assert_allclose(scene.center, center)
    assert "as its aabb_scale says" in scene.notes[0]
    assert "cut off" not in scene.notes[0]
    small = read_scene(write_still_life(tmp_path / "small", 3.0, aabb_scale=1))
    assert "though the photos show it reach" in small.notes[0]


def test_cameras_that_look_several_ways_have_no_box(tmp_path):
    folder = write_still_life(tmp_path)
    file = folder / "transforms_train.json"
    content = json.loads(file.read_text())
    for frame in content["frames"][:8]:
        frame["transform_matrix"] = (np.array(frame["transform_matrix"]) * [-1, 1, -1, 1]).tolist()
    file.write_text(json.dumps(content))
    scene = read_scene(folder)
    assert (scene.bounds.kind, scene.has_alpha) == ("unbounded", True)
    assert "the cameras do not look at one place" in scene.notes[0]


def test_box_of_photos_as_narrow_as_a_line(tmp_path):
    write_still_life(tmp_path)
    for split in ("train", "test"):
        for path in (tmp_path / split).iterdir():
            PIL.Image.new("RGBA", (1, 600), (9, 9, 9, 0)).save(path)
    path = tmp_path / "train" / "0.png"
    PIL.Image.new("RGBA", (1, 600), (9, 9, 9, 255)).save(path)
    assert half_side(read_scene(tmp_path)) > 0
