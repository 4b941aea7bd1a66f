"""Fitting shapes: measures and views of fields that are known to be right or wrong."""

import numpy as np
import pytest
import torch
import trimesh
from torch import nn

import softmine
from softmine.runs.task import Evaluator, Task
from softmine.signals import Shape
from softmine.signals.shape.files import tidy
from softmine.tasks.shape import task as shape_task
from softmine.tasks.shape import views as shape_views
from softmine.tasks.shape.task import ShapeEvaluator, chamfer
from softmine.training.sampler import make_sampler

CPU = torch.device("cpu")


class Ball(nn.Module):
    """The signed distance of a ball in the unit cube, as a shape of this band has it; perhaps of occupancy."""

    def __init__(self, radius, band=0.1, occupancy=False, offset=0.0):
        super().__init__()
        self.radius, self.band, self.occupancy, self.offset = radius, band, occupancy, offset

    def forward(self, coords):
        distance = (coords - 0.5 - self.offset).norm(dim=-1, keepdim=True) - self.radius
        return (distance < 0).float() if self.occupancy else (0.5 + distance / (2 * self.band)).clamp(0, 1)


def ball_task(target="distance"):
    mesh = trimesh.creation.icosphere(subdivisions=4)
    return shape_task.ShapeTask(Shape(tidy(mesh.vertices, mesh.faces, "here"), "ball", target=target))


def test_it_is_a_task():
    task = ball_task()
    assert isinstance(task, Task)
    assert isinstance(task.make_evaluator(CPU), Evaluator)
    assert task.size() == "5,120 triangles, signed distance"
    assert task.describe()["shape"] == [256, 256, 256, 1]


def test_auto_looks_far_from_the_surface_too_unless_told_otherwise():
    task = ball_task()
    assert make_sampler("auto", task.signal, 1024, seed=0).uniform_share == 0.3
    assert make_sampler("auto:uniform_share=0.1", task.signal, 1024, seed=0).uniform_share == 0.1
    assert make_sampler("quota-map", task.signal, 1024, seed=0).uniform_share == 0.1


def test_signed_distances_of_somebody_elses_loop_get_the_same_auto():
    signal = ball_task().signal
    result = softmine.fit("hashgrid", signal, "auto", steps=2, batch_size=256)
    assert result.sampler.uniform_share == 0.3


@pytest.mark.parametrize("target", ["distance", "occupancy"])
@pytest.mark.parametrize("radius", [0.4, 0.36, 0.3])
def test_iou_is_the_quotient_of_the_volumes(target, radius):
    result = ball_task(target).make_evaluator(CPU)(Ball(radius, occupancy=target == "occupancy"))
    assert result.more["iou"] == pytest.approx((radius / 0.4) ** 3, abs=0.006)
    assert result.ssim is None


def test_iou_counts_what_lies_beside_the_shapes_own_box():
    mesh = trimesh.creation.box([1, 0.1, 0.1])
    evaluator = ShapeEvaluator(Shape(tidy(mesh.vertices, mesh.faces, "here")), CPU)

    class Slab(nn.Module):
        def forward(self, coords):
            inside = ((coords[:, 0] - 0.5).abs() < 0.4) & ((coords[:, 1:] - 0.5).abs() < 0.2).all(-1)
            return 1 - inside.float().unsqueeze(1)

    # The bar is 0.8 x 0.08 x 0.08 of the cube, the slab around it 0.8 x 0.4 x 0.4.
    assert evaluator(Slab()).more["iou"] == pytest.approx(0.04, rel=0.03)


def test_psnr_is_of_the_values_over_the_box():
    task = ball_task()
    good = task.make_evaluator(CPU)(Ball(0.4)).psnr
    wrong = task.make_evaluator(CPU)(Ball(0.39)).psnr
    # A shift of 0.01 in a band of 0.2 where the distance is not cut off: a shell from 0.29 or 0.3 to 0.49 or 0.5.
    share = 4 / 3 * np.pi * (0.495**3 - 0.295**3)
    assert wrong == pytest.approx(-10 * np.log10(0.05**2 * share), abs=0.5)
    assert good > 50


def test_a_field_that_is_not_finite_has_no_psnr():
    class Broken(nn.Module):
        def forward(self, coords):
            return torch.full((len(coords), 1), torch.nan)

    result = ball_task().make_evaluator(CPU)(Broken())
    assert np.isnan(result.psnr)


def test_the_mesh_of_a_field_lies_where_the_field_says_and_chamfer_measures_it():
    task = ball_task()
    for radius, occupancy in ((0.4, False), (0.38, False)):
        vertices, faces = task.mesh(Ball(radius, occupancy=occupancy), CPU, 64)
        assert np.abs(np.linalg.norm(vertices - 0.5, axis=-1) - radius).max() < 0.003
        assert chamfer(task.signal, vertices, faces) == pytest.approx(0.4 - radius, abs=0.001)


def test_views_show_both_surfaces_and_where_they_differ():
    task = ball_task()
    same = task.reconstruct(Ball(0.4), CPU, small=True)
    side = shape_views.ELEVATION and 2 * shape_task.SMALL_SIDE
    assert same.values.shape == same.target.shape == (side, side, 3)
    assert same.error.shape == (side, side)
    assert same.psnr is None
    assert np.abs(same.values - same.target).mean() < 0.02
    assert np.quantile(same.error, 0.99) < 0.01
    moved = task.reconstruct(Ball(0.36), CPU, small=True)
    middle = shape_task.SMALL_SIDE // 2
    assert moved.error[middle, middle] == pytest.approx(0.04 / 0.2, abs=0.01)
    corner = moved.error[:4, :4]
    assert (corner == 0).all()


def test_a_lit_ball_is_brighter_above_than_below():
    task = ball_task()
    (view, *_) = shape_views.views(task.signal, 101)
    picture, depth = shape_views.draw(view, task.signal.vertices, task.signal.faces)
    assert picture[25, 40].mean() > picture[78, 40].mean() + 0.1
    assert np.isfinite(depth[50, 50])
    assert np.isinf(depth[0, 0])
    # The nearest point of the ball is a radius in front of its middle.
    assert view.lift(np.array([[50.5, 50.5, depth[50, 50]]]))[0] == pytest.approx(
        0.5 + 0.4 * view.axes[2], abs=0.003
    )


def test_a_field_without_a_surface_is_shown_as_nothing_and_writes_no_mesh(tmp_path):
    class Empty(nn.Module):
        def forward(self, coords):
            return torch.ones(len(coords), 1)

    task = ball_task()
    result = task.reconstruct(Empty(), CPU, small=True)
    assert result.note == "the field has no surface yet"
    assert result.error.max() == pytest.approx(0.5)
    assert task.write_output(Empty(), result, tmp_path, CPU) == []
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_has_the_units_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(shape_task, "OUTPUT_CELLS", 48)
    mesh = trimesh.creation.icosphere(subdivisions=3, radius=7.0)
    mesh.apply_translation([100, 0, -3])
    task = shape_task.ShapeTask(Shape(tidy(mesh.vertices, mesh.faces, "here")))
    result = task.reconstruct(Ball(0.4), CPU, small=True)
    (output,) = task.write_output(Ball(0.4), result, tmp_path, CPU)
    assert output.file == "mesh.ply"
    assert "Chamfer" in output.label
    written = trimesh.load_mesh(tmp_path / "mesh.ply")
    assert written.bounds.tolist() == [
        pytest.approx([93, -7, -10], abs=0.1),
        pytest.approx([107, 7, 4], abs=0.1),
    ]
