"""A radiance field as a task: what is measured, how it is shown, what is written, and how it goes on."""

import dataclasses
import json
import math

import numpy as np
import PIL.Image
import pytest
import torch

from scene_files import write_blender
from softmine import SoftmineError
from softmine.radiance.background import over_background
from softmine.radiance.cameras import Camera
from softmine.radiance.scenes import procedural
from softmine.radiance.scenes.scene import Scene
from softmine.runs import checkpoint
from softmine.runs.build import build_run
from softmine.runs.task import batch_size_for
from softmine.tasks.nerf import evaluation as nerf_evaluation
from softmine.tasks.nerf.camera_paths import film_camera, look_at, orbit, photo_camera, spiral
from softmine.tasks.nerf.evaluation import measure_view, over_all
from softmine.tasks.nerf.rendering import depth_colors, render_view
from softmine.tasks.nerf.task import NerfTask, Options, pixels_across, read
from softmine.training.settings import FieldSettings, FitSettings

CPU = torch.device("cpu")
SETTINGS = FieldSettings(steps=100, log2_table_size=8)


@pytest.fixture(scope="module")
def task():
    return NerfTask(procedural(16, 4, 2))


def renderer_of(task, seed=0):
    torch.manual_seed(seed)
    field = task.make_field(SETTINGS)
    torch.nn.init.uniform_(field.field.encoding.table, -0.5, 0.5)
    return field


def trainer_of(task, steps, sampler="uniform", batch_size=32):
    return build_run(
        task, FitSettings(steps=steps, log2_table_size=8, sampler=sampler, batch_size=batch_size), CPU
    )


def test_test_views_are_measured_before_the_background(task):
    field = renderer_of(task)
    for background in (1.0, 0.0):
        evaluator = nerf_evaluation.NerfEvaluator(task.test, CPU, background)
        evaluation = evaluator(field)
        field.eval()
        with torch.no_grad():
            field.photos, coords = (
                task.test,
                torch.cat([c for v in range(2) for c in task.test.view_coords(v)]),
            )
            predicted = over_background(field(coords), background).clamp(0, 1)
            target = over_background(task.test(coords), background)
            field.photos = task.signal
        field.train()
        expected = -10 * math.log10((predicted.double() - target.double()).square().mean().item())
        assert evaluation.psnr == pytest.approx(expected, abs=1e-4)
        assert evaluation.samples == 2 * 16 * 16
        assert not evaluation.subset


def test_of_many_rays_some_of_every_view_are_measured(task, monkeypatch):
    monkeypatch.setattr(nerf_evaluation, "RAYS", 60)
    evaluator = task.make_evaluator(CPU)
    assert evaluator.describe() == "PSNR over a fixed subset of 50 of 512 rays of 2 test views"
    views, pixels = task.test.locate(evaluator.coords)
    assert views.bincount().tolist() == [25, 25]
    for axis in range(2):
        found = pixels[:25, axis].unique()
        assert len(found) == 5
        assert (found.diff() == 3).all()
    assert evaluator(renderer_of(task)).subset


def test_evaluations_and_probes_disturb_no_training(task):
    trainer = trainer_of(task, 10, "resampling")
    trainer.advance(lambda: trainer.step >= 2)
    field = trainer.field
    assert field.training
    before = {name: value.clone() for name, value in field.state_dict().items()}
    random, costs = torch.get_rng_state(), field.costs.clone()
    coords = torch.rand(50, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(trainer.probe(coords), trainer.probe(coords))
    evaluator = task.make_evaluator(CPU)
    assert evaluator(field) == evaluator(field)
    task.reconstruct(field, CPU)
    assert field.training
    assert all(module.training for module in field.modules())
    assert torch.equal(torch.get_rng_state(), random)
    assert torch.equal(field.costs, costs)
    assert field.costs.shape == (32,)
    for name, value in field.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("sampler", ["uniform", "langevin"])
def test_a_run_goes_on_as_if_it_had_not_stopped(task, tmp_path, sampler):
    whole = trainer_of(task, 100, sampler)
    # Beyond the first look into the occupancy grid, and between two of the others.
    whole.advance(lambda: whole.step >= 70)
    checkpoint.save(tmp_path / "step.safetensors", whole)
    whole.advance(lambda: whole.step >= 90)
    assert whole.field.field.rays.occupancy.share < 1
    again = trainer_of(task, 100, sampler)
    checkpoint.load(tmp_path / "step.safetensors", again)
    again.advance(lambda: again.step >= 90)
    state = again.field.state_dict()
    for name, value in whole.field.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_training_learns_the_scene(task):
    trainer, evaluator = trainer_of(task, 80, batch_size=256), task.make_evaluator(CPU)
    before = evaluator(trainer.field).psnr
    trainer.advance(lambda: False)
    after = evaluator(trainer.field)
    assert after.psnr > before + 0.5
    assert after.more["points_per_ray"] > 0


def test_views_are_shown_measured_and_written(task, tmp_path):
    field = renderer_of(task)
    result = task.reconstruct(field, CPU)
    assert result.values.shape == result.target.shape == result.depth.shape
    assert result.error.shape == result.values.shape[:2]
    view = task.test.views[1]
    shot = render_view(field, task.scene, view.camera, view.pose, background=1.0, device=CPU)
    np.testing.assert_array_equal(result.shots[1][1].color, shot.color)
    np.testing.assert_array_equal(result.values[:16, :16], result.shots[0][1].color)
    np.testing.assert_array_equal(result.values[-16:, -16:], shot.color)
    assert result.psnr == pytest.approx(task.make_evaluator(CPU)(field).psnr, abs=1e-4)
    outputs = task.write_output(field, result, tmp_path, CPU)
    assert [output.file for output in outputs] == [
        "depth.png",
        "test_000.png",
        "test_001.png",
        "test_views.json",
    ]
    written = json.loads((tmp_path / "test_views.json").read_text())
    assert [view["name"] for view in written["views"]] == ["test/000", "test/001"]
    assert written["psnr_mean"] == pytest.approx(np.mean([view["psnr"] for view in written["views"]]))
    assert written["psnr_in_all"] == pytest.approx(result.psnr)
    assert -1 < written["ssim_mean"] < 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(output.file for output in outputs)
    small = task.reconstruct(field, CPU, small=True)
    assert small.psnr is None
    assert task.write_output(field, small, tmp_path / "none", CPU) == []


def test_a_view_is_measured_where_it_counts():
    target = np.random.default_rng(0).random((20, 20, 3)).astype(np.float32)
    valid = np.zeros((20, 20), bool)
    valid[:10] = True
    wrong = np.where(valid[..., None], target + np.float32(0.1), 5)
    view = measure_view("a", wrong.astype(np.float32), target, valid)
    assert view.psnr == pytest.approx(20, abs=1e-3)
    assert view.pixels == 200
    whole = measure_view("b", target + np.float32(0.01), target, None)
    assert whole.psnr == pytest.approx(40, abs=1e-3)
    assert over_all([view, whole]) == pytest.approx(
        -10 * math.log10((200 * 0.01 + 400 * 1e-4) / 600), abs=1e-3
    )
    assert measure_view("c", target[:5], target[:5], None).ssim is None
    assert measure_view("d", target, target, None).ssim == pytest.approx(1)


def test_depth_is_the_distance_of_what_is_seen(task):
    """A field that is opaque at once shows the distance to its box."""

    def opaque(points):
        geometry = points.new_zeros(len(points), 16)
        return points.new_full((len(points),), 1e4), geometry

    field = renderer_of(task)
    field.field.geometry = opaque
    camera, pose = (
        Camera(3, 3, (30.0, 30.0), (1.5, 1.5)),
        look_at(np.array([4.0, 0, 0]), np.zeros(3), np.eye(3)[2]),
    )
    shot = render_view(field, task.scene, camera, pose, background=1.0, device=CPU)
    # From x = 4 to x = 1.5, where the box begins; the first step lies behind that.
    assert shot.depth[1, 1] == pytest.approx(2.5, abs=0.05)
    away = render_view(
        field, task.scene, camera, look_at(np.array([4.0, 0, 0]), np.array([8.0, 0, 0]), np.eye(3)[2]),
        background=1.0, device=CPU,
    )  # fmt: skip
    assert np.isinf(away.depth).all()
    np.testing.assert_allclose(away.color, 1, atol=1e-6)


def test_near_and_far_have_different_colors_and_nothing_is_white():
    near, far, nothing = depth_colors([np.array([[1.0, 4.0, np.inf]])])[0][0]
    assert near[0] > 0.9 > far[0]
    assert far[2] > near[2]
    assert (nothing == 1).all()


def test_an_orbit_keeps_height_and_distance_and_looks_at_the_center(task):
    poses = orbit(task.scene, 8)
    centers = np.stack([pose[:, 3] for pose in poses])
    cameras = np.stack([view.pose[:, 3] for view in task.scene.split("train")])
    np.testing.assert_allclose(centers[:, 2], cameras[:, 2].mean(), atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(centers, axis=-1), np.linalg.norm(cameras, axis=-1).mean(), atol=1e-6
    )
    for pose in poses:
        np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(np.cross(pose[:, 2], pose[:, 3]), 0, atol=1e-6)
        assert pose[2, 1] < 0
    with pytest.raises(SoftmineError, match="use views orbit"):
        spiral(task.scene, 8, 1.0)


def test_a_spiral_stays_among_the_cameras_and_looks_at_one_point(task):
    views = [
        look_at(np.array([x, y, 0.1 * x]), np.array([0.0, 0.0, -5.0]), np.eye(3)[1])
        for x in (-1.0, 0, 1)
        for y in (-0.5, 0.5)
    ]
    template = task.scene.views[0]
    views = tuple(
        type(template)(str(i), template.camera, pose, "train", None, None, template.pixels)
        for i, pose in enumerate(views)
    )
    scene = Scene("wall", None, views, task.scene.bounds)
    poses = spiral(scene, 30, 4.0)
    for pose in poses:
        np.testing.assert_allclose(pose[:, :3] @ pose[:, :3].T, np.eye(3), atol=1e-9)
        assert np.abs(pose[:, 3]).max() < 1.2
        assert pose[2, 2] < -0.9
    # All optical axes meet at one distance before the middle.
    middle = np.mean([view.pose[:, 3] for view in views], 0)
    for pose in poses:
        to_target = middle - [0, 0, 4.0] - pose[:, 3]
        assert np.linalg.norm(np.cross(pose[:, 2], to_target)) < 0.2


def test_sizes_of_renders():
    camera = Camera(100, 50, (80.0, 80.0), (49.0, 26.0), (0.1, 0.0, 0.0, 0.0, 0.0, 0.0))
    film = film_camera(camera, 41, None)
    assert (film.width, film.height) == (40, 20)
    assert film.focal == (32.0, 32.0)
    assert not any(film.distortion)
    photo = photo_camera(camera, None, 25)
    assert (photo.width, photo.height) == (50, 25)
    assert photo.center == (24.5, 13.0)
    assert photo.distortion == camera.distortion
    assert photo_camera(camera, None, None) is camera
    with pytest.raises(SoftmineError, match="give one of them"):
        photo_camera(camera, 50, 50)


def test_what_a_run_says_of_its_scene(task, tmp_path):
    assert task.size() == "4 views of 16 x 16 RGBA, 2 to test on"
    about = task.describe()
    assert about["shape"] == [4, 16, 16, 4]
    assert about["path"] is None
    assert about["measured"] == {"cells": 512, "unit": "pixels of 2 test views"}
    other = read(str(write_blender(tmp_path / "a")), Options(downscale=2))
    assert other.describe()["path"] == str(tmp_path / "a")
    assert other.signal.domain.shape == (4, 3, 4)
    assert batch_size_for(task, "auto") == batch_size_for(task, "uniform") == NerfTask.batch_size
    assert read("builtin:still-life", Options()).scene is read(None, Options()).scene


def test_cells_and_steps_are_as_fine_as_pixels(task):
    # A field of view of 0.7 radians at a distance of 4 sees 2.92 of the 3 units of the box.
    assert pixels_across(task.scene) == pytest.approx(16 * 3 / 2.92, rel=0.01)
    fine, coarse = (NerfTask(procedural(size, 1, 1)).make_field(SETTINGS).field for size in (200, 16))
    assert fine.encoding.resolutions[-1].max() > coarse.encoding.resolutions[-1].max()
    assert fine.rays.step < coarse.rays.step


def test_masked_pixels_have_no_error(tmp_path):
    scene = procedural(16, 4, 1)
    mask = np.full((16, 16), 255, np.uint8)
    mask[:, :5] = 0
    PIL.Image.fromarray(mask).save(tmp_path / "mask.png")
    views = tuple(dataclasses.replace(view, mask=tmp_path / "mask.png") for view in scene.views)
    task = NerfTask(dataclasses.replace(scene, views=views))
    assert task.describe()["valid"] == 4 * 16 * 11
    assert "masks of 5 views are used, and leave out 31% of all pixels" in task.notes
    shown = task.reconstruct(renderer_of(task), CPU, small=True)
    np.testing.assert_array_equal(np.isnan(shown.error), mask == 0)


def test_some_test_views_are_enough():
    assert read(None, Options(test_views=3)).notes[-1] == "measured on 3 of 8 test views"
    few = read(None, Options(test_views=3)).test.views
    assert [view.name for view in few] == ["test/001", "test/004", "test/006"]
    assert len(read(None, Options(test_views=99)).test.views) == 8


@pytest.mark.parametrize(
    ("path", "options", "words"),
    [
        (None, {"background": "pink"}, "choose white or black"),
        (None, {"downscale": 2}, "give a PATH"),
        ("builtin:teapot", {}, "there is no built-in scene .teapot.; try still-life"),
        ("missing", {}, "no such file"),
    ],
)
def test_what_is_refused(path, options, words):
    with pytest.raises(SoftmineError, match=words):
        read(path, Options(**options))


def test_only_a_hash_grid_learns_radiance(task):
    with pytest.raises(SoftmineError, match="hashgrid alone"):
        task.make_field(FieldSettings(steps=1, field="siren"))
