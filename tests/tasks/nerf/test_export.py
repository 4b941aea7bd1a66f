"""The surface and the visible points of a radiance field, and the measure of renders that needs another package."""

import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from torch import nn

from scene_files import write_llff
from softmine import SoftmineError
from softmine.radiance.compositing import Rendered
from softmine.radiance.field import RadianceField
from softmine.radiance.photos import Photos
from softmine.radiance.renderer import Renderer
from softmine.radiance.scenes import procedural, read_scene
from softmine.radiance.scenes.scene import Bounds
from softmine.tasks.meshing import write_mesh, write_points
from softmine.tasks.nerf import export
from softmine.tasks.nerf.evaluation import lpips_to, photo

CPU = torch.device("cpu")
RADIUS, DENSITY = 0.8, 60.0
CENTER = torch.tensor([0.2, -0.1, 0.1])


class BallField(RadianceField):
    """A ball of even density per unit of the world, soft over a hundredth, red towards +x, and bluer seen from above."""

    radius = RADIUS

    def world(self, unit):
        return (unit - 0.5) * self.side + self.center

    def geometry(self, points):
        place = self.world(points) - CENTER
        density = DENSITY * self.side * ((self.radius - place.norm(dim=-1)) / 0.01).sigmoid()
        return density, place

    def colors(self, geometry, directions, rays):
        red = (geometry[:, 0] > 0).float()
        return torch.stack([red, torch.full_like(red, 0.5), (0.5 - directions[rays, 2] / 2).clamp(0, 1)], -1)


def moved(**changes):
    """The built-in scene as if its file had another center and scale."""
    return replace(procedural(24, 5, 2), center=(10.0, 20.0, 30.0), scale=0.5, **changes)


def ball(scene, radius=RADIUS):
    kwargs = {"log2_table_size": 8}
    if scene.bounds.kind == "unbounded":
        field = BallField(unbounded=True, near=0.05, far=50.0, **kwargs)
    else:
        field = BallField((scene.bounds.low, scene.bounds.high), near=scene.bounds.near, steps=256, **kwargs)
    field.radius = radius
    return Renderer(field, Photos(scene, "train")).eval()


def to_scene(points, scene):
    return (points - np.array(scene.center)) * scene.scale


def test_a_ball_becomes_a_closed_mesh_of_its_size_place_and_colors():
    scene, shares = moved(), []
    renderer = ball(scene).train()
    vertices, faces, colors, level = export.surface(renderer, scene, CPU, 40, report=shares.append)
    assert renderer.training
    # A cell of the scene is 3 / 40 wide, of the file twice that.
    assert 1 - np.exp(-level * 2 * 3 / 40) == pytest.approx(0.5)
    mesh = trimesh.Trimesh(vertices, faces, process=False)
    assert mesh.is_watertight
    outward = to_scene(vertices, scene) - CENTER.numpy()
    distance = np.linalg.norm(outward, axis=-1)
    # The level is a third of the density, so the surface lies a little outside of the radius.
    assert np.abs(distance - RADIUS).max() < 0.5 * 3 / 40
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (2 * RADIUS) ** 3, rel=0.1)
    side = np.abs(outward[:, 0]) > 0.05
    assert ((colors[:, 0] == 255) == (outward[:, 0] > 0))[side].all()
    # Seen against the normal: from above (normal +z) the direction's z is -1, and blue is full.
    off = np.abs(colors[:, 2] / 255 - (0.5 + 0.5 * outward[:, 2] / distance))
    # Slivers among the triangles have normals of their own.
    assert off.mean() < 0.03
    assert off.max() < 0.3
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_the_level_moves_the_surface():
    scene = moved()
    sizes = []
    # Per unit of the file, of which the scene has half: densities are half as high there.
    for level in (0.02 * DENSITY / 2, 0.5 * DENSITY / 2, 0.98 * DENSITY / 2):
        vertices = export.surface(ball(scene), scene, CPU, 64, level=level)[0]
        sizes.append(np.linalg.norm(to_scene(vertices, scene) - CENTER.numpy(), axis=-1).mean())
    assert sizes[0] > sizes[1] > sizes[2]
    assert sizes[1] == pytest.approx(RADIUS, abs=0.01)


def test_what_the_occupancy_grid_leaves_out_is_left_out():
    scene, renderer = moved(), ball(moved())
    renderer.field.rays.occupancy.occupied[:, :, 64:] = False
    vertices = export.surface(renderer, scene, CPU, 32)[0]
    assert to_scene(vertices, scene)[:, 2].max() < 3 / 32
    assert to_scene(vertices, scene)[:, 2].min() == pytest.approx(CENTER[2].item() - RADIUS, abs=0.05)


def test_of_space_without_bounds_the_unit_ball_is_meshed_and_closed():
    scene = moved(bounds=Bounds("unbounded", 0.05, 50.0))
    # The larger ball reaches beyond the part of space that is meshed.
    for radius in (0.5, 0.9):
        vertices, faces, _, _ = export.surface(ball(scene, radius), scene, CPU, 40)
        assert trimesh.Trimesh(vertices, faces, process=False).is_watertight
        place = to_scene(vertices, scene)
        own, whole = np.linalg.norm(place - CENTER.numpy(), axis=-1), np.linalg.norm(place, axis=-1)
        assert np.minimum(np.abs(own - radius), np.abs(whole - 1)).max() < 0.03
        assert whole.max() < 1.01
        assert (whole > 0.99).any() == (radius == 0.9)


def test_no_surface_is_said_with_the_densities_there_are():
    scene = moved()
    with pytest.raises(SoftmineError, match=r"below the level 100 everywhere, from .* to 30: give a level"):
        export.surface(ball(scene), scene, CPU, 16, level=100.0)
    with pytest.raises(SoftmineError, match=r"above the level 1 everywhere, from 30 to 30"):
        export.surface(ball(scene, 9.0), scene, CPU, 16, level=1.0)
    for level in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(SoftmineError, match="level is"):
            export.surface(ball(scene), scene, CPU, 16, level=level)
    broken = ball(scene)
    broken.field.radius = float("nan")
    with pytest.raises(SoftmineError, match="not finite"):
        export.surface(broken, scene, CPU, 16)


def test_the_field_is_asked_in_pieces(monkeypatch):
    scene, renderer, most = moved(), ball(moved()), 0
    monkeypatch.setattr(export, "POINTS", 100)
    whole = renderer.field.density

    def watched(points):
        nonlocal most
        most = max(most, len(points))
        return whole(points)

    renderer.field.density = watched
    export.surface(renderer, scene, CPU, 16)
    assert 0 < most <= 100


def test_specks_can_be_left_out():
    large, small = trimesh.creation.icosphere(2), trimesh.creation.icosphere(0)
    small.apply_translation([3, 0, 0])
    both = trimesh.util.concatenate([small, large])
    vertices, faces = export.large_pieces(np.array(both.vertices), np.array(both.faces), 21)
    assert len(faces) == len(large.faces)
    assert np.array_equal(vertices[faces], large.triangles)
    vertices, faces = export.large_pieces(np.array(both.vertices), np.array(both.faces), 20)
    assert len(faces) == len(both.faces)
    with pytest.raises(SoftmineError, match="the largest piece has 320 triangles"):
        export.large_pieces(np.array(both.vertices), np.array(both.faces), 321)
    with pytest.raises(SoftmineError, match="smallest is -1"):
        export.large_pieces(np.array(both.vertices), np.array(both.faces), -1)


def test_points_lie_on_what_is_seen_as_many_of_each_view():
    scene = moved()
    points, colors = export.visible_points(ball(scene), Photos(scene, "train"), CPU, 103)
    assert points.shape == colors.shape == (103, 3)
    outward = to_scene(points, scene) - CENTER.numpy()
    # Light gets some hundredths deep; at the rim, rays pass through less.
    assert np.abs(np.linalg.norm(outward, axis=-1) - RADIUS).max() < 0.1
    assert ((colors[:, 0] > 127) == (outward[:, 0] > 0))[np.abs(outward[:, 0]) > 0.1].all()
    # Without what lies behind: green is half everywhere.
    assert np.abs(colors[:, 1] - 127.5).max() <= 1
    cameras = np.stack([view.pose[:, 3] for view in scene.split("train")])
    first, last = to_scene(points[:20], scene), to_scene(points[-21:], scene)
    for part, camera in ((first, cameras[0]), (last, cameras[-1])):
        towards = (camera - CENTER.numpy()) / np.linalg.norm(camera - CENTER.numpy())
        assert ((part - CENTER.numpy()) @ towards > 0).all()
    again = export.visible_points(ball(scene), Photos(scene, "train"), CPU, 103)
    assert np.array_equal(points, again[0])


def test_no_more_points_than_pixels_that_see_something():
    scene, shares = moved(), []
    photos = Photos(scene, "train")
    points, _ = export.visible_points(ball(scene), photos, CPU, 100_000, shares.append)
    assert 300 < len(points) < photos.domain.valid / 2
    assert len(np.unique(points, axis=0)) == len(points)
    assert shares[-1] == 1
    with pytest.raises(SoftmineError, match="nothing is seen"):
        export.visible_points(ball(scene, -1.0), photos, CPU, 10)
    for count in (0, 10**8):
        with pytest.raises(SoftmineError, match=f"points is {count}"):
            export.visible_points(ball(scene), photos, CPU, count)


def test_nothing_farther_than_the_contraction_resolves_becomes_a_point():
    scene = moved(bounds=Bounds("unbounded", 0.05, 1000.0))
    renderer = ball(scene, 0.5)
    # Opaque: what sees nothing ends somewhere far away.
    renderer.field.opaque = True
    points, _ = export.visible_points(renderer, Photos(scene, "train"), CPU, 10_000)
    assert np.linalg.norm(to_scene(points, scene), axis=-1).max() < export.FARTHEST
    # Some of what ends far away is near enough, and kept.
    assert np.linalg.norm(to_scene(points, scene), axis=-1).max() > 0.5


def test_in_normalized_device_coordinates_there_are_points_alone(tmp_path):
    scene = read_scene(str(write_llff(tmp_path / "scene")))
    assert scene.ndc
    photos = Photos(scene, "train")
    field = RadianceField(
        (scene.bounds.low, scene.bounds.high), unbounded=True, near=0.0, far=1.0, log2_table_size=8
    )
    renderer = Renderer(field, photos).eval()
    with pytest.raises(SoftmineError, match=r"normalized device coordinates.*points N"):
        export.surface(renderer, scene, CPU, 16)

    class Wall(nn.Module):
        """Nothing before z = -4 near, where all is opaque."""

        def forward(self, origins, directions):
            depth = (1 + 2 * scene.ndc.near / (-4 * scene.ndc.near) - origins[:, 2]) / directions[:, 2]
            one = torch.ones(len(origins))
            return Rendered(torch.full((len(origins), 3), 0.25), one, depth, one)

    renderer.field = Wall()
    points, colors = export.visible_points(renderer, photos, CPU, 50)
    assert len(points) == 50
    assert points[:, 2] * scene.scale == pytest.approx(-4 * scene.ndc.near, rel=1e-4)
    assert (colors == 64).all()


@pytest.mark.parametrize("ending", ["ply", "obj", "glb"])
def test_files_hold_colors(tmp_path, ending):
    mesh = trimesh.creation.box()
    colors = np.random.default_rng(0).integers(0, 256, (8, 3), dtype=np.uint8)
    write_mesh(tmp_path / f"mesh.{ending}", np.array(mesh.vertices), np.array(mesh.faces), colors)
    found = trimesh.load_mesh(tmp_path / f"mesh.{ending}", process=False)
    order = [int(np.linalg.norm(found.vertices - corner, axis=-1).argmin()) for corner in mesh.vertices]
    expected = colors.astype(float)
    if ending == "glb":
        # glTF multiplies light: a code of 188 is half of it.
        expected = np.where(
            colors / 255 <= 0.04045, colors / 12.92, 255 * ((colors / 255 + 0.055) / 1.055) ** 2.4
        )
    assert np.abs(np.asarray(found.visual.vertex_colors)[order, :3] - expected).max() <= 1
    assert found.is_watertight


def test_a_file_of_points(tmp_path):
    points = np.arange(12.0).reshape(4, 3)
    colors = np.arange(12, dtype=np.uint8).reshape(4, 3)
    write_points(tmp_path / "points.ply", points, colors)
    cloud = trimesh.load(tmp_path / "points.ply")
    assert np.array_equal(cloud.vertices, points)
    assert np.array_equal(cloud.colors[:, :3], colors)


@pytest.fixture
def stand_in(monkeypatch):
    """A package ``lpips`` that keeps what it is given, and answers with the mean absolute difference."""
    given = []

    class LPIPS(nn.Module):
        def __init__(self, net, verbose):
            super().__init__()
            given.append((net, verbose))

        def forward(self, first, second):
            given.append((first, second))
            return (first - second).abs().mean().reshape(1, 1, 1, 1)

    module = types.ModuleType("lpips")
    module.LPIPS = LPIPS
    monkeypatch.setitem(sys.modules, "lpips", module)
    return given


def test_lpips_is_given_what_it_expects(stand_in):
    photos = Photos(procedural(24, 5, 2), "test")
    distance = lpips_to(photos, 1.0, CPU)
    target, _ = photo(photos, 1, 1.0)
    assert distance(1, target) == 0
    black = np.zeros_like(target)
    assert distance(1, black) == pytest.approx(2 * target.mean(), rel=1e-5)
    assert stand_in[0] == ("vgg", False)
    first, second = stand_in[2]
    assert first.shape == second.shape == (1, 3, 24, 24)
    assert first.dtype == torch.float32
    assert (first == -1).all()
    # The corner of the photo is its white background; channels come first.
    assert (second[0, :, 0, 0] == 1).all()
    assert np.allclose(second[0].permute(1, 2, 0).numpy(), 2 * target - 1, atol=1e-6)


def test_lpips_leaves_masked_pixels_out(stand_in):
    photos = Photos(procedural(24, 5, 2), "test")
    left = np.zeros((24, 24), bool)
    left[:, :12] = True
    photos._masks[0] = left
    distance = lpips_to(photos, 1.0, CPU)
    target, _ = photo(photos, 0, 1.0)
    wrong = target.copy()
    wrong[:, 12:] = 0
    assert distance(0, wrong) == 0
    wrong[:, :12] = 0
    assert distance(0, wrong) > 0.1


def test_lpips_without_its_package_its_weights_or_enough_pixels(monkeypatch, stand_in):
    photos = Photos(procedural(24, 5, 2), "test")

    def offline(*args, **options):
        raise OSError("<urlopen error no address>")

    sys.modules["lpips"].LPIPS = offline
    with pytest.raises(SoftmineError, match=r"weights.*softmine\[lpips\].*no address"):
        lpips_to(photos, 1.0, CPU)
    monkeypatch.setitem(sys.modules, "lpips", None)
    with pytest.raises(SoftmineError, match=r"pip install 'softmine\[lpips\]'"):
        lpips_to(photos, 1.0, CPU)
    with pytest.raises(SoftmineError, match="at least 16 pixels a side"):
        lpips_to(Photos(procedural(12, 5, 2), "test"), 1.0, CPU)
