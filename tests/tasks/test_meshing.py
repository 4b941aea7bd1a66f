"""Marching cubes in slabs, and mesh files."""

import numpy as np
import pytest
import torch
import trimesh

from softmine.errors import SoftmineError
from softmine.tasks import meshing


def wavy_ball(coords):
    return 0.3 - (coords - 0.5).norm(dim=-1) + 0.02 * (coords * 40).sin().sum(-1)


def box(coords):
    return ((coords - 0.5).abs().amax(-1) < 0.25).float() - 0.5


@pytest.mark.parametrize("resolution", [16, 33, 48])
@pytest.mark.parametrize("inside", [wavy_ball, box])
def test_slabs_join_to_one_closed_outward_surface(inside, resolution):
    mesh = trimesh.Trimesh(*meshing.marching_cubes(inside, resolution), process=False)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    line = (torch.arange(96) + 0.5) / 96
    grid = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    expected = (inside(grid) > 0).double().mean().item()
    # A box's sides lie up to half a cell beside the last corner that is inside.
    assert mesh.volume == pytest.approx(expected, rel=(1 if inside is wavy_ball else 12) / resolution)


def test_the_thickness_of_slabs_changes_nothing(monkeypatch):
    thin = meshing.marching_cubes(wavy_ball, 40)
    monkeypatch.setattr(meshing, "SLAB", 64)
    whole = meshing.marching_cubes(wavy_ball, 40)
    assert len(thin[0]) == len(whole[0])
    assert len(thin[1]) == len(whole[1])
    for one, other in zip(thin[0][thin[1]].min((0, 1)), whole[0][whole[1]].min((0, 1)), strict=True):
        assert one == pytest.approx(other, abs=1e-6)


def test_the_field_is_never_asked_for_more_than_a_plane_and_progress_ends_at_one():
    most, shares = 0, []

    def watched(coords):
        nonlocal most
        most = max(most, len(coords))
        return wavy_ball(coords)

    meshing.marching_cubes(watched, 40, shares.append)
    assert most == 41**2
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_what_touches_the_sides_of_the_cube_is_closed_there():
    mesh = trimesh.Trimesh(*meshing.marching_cubes(lambda coords: coords[:, 0] - 0.5, 20), process=False)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(0.5, abs=0.06)


def test_a_field_without_a_surface_and_sizes_out_of_range_are_refused():
    with pytest.raises(SoftmineError, match="has no surface"):
        meshing.marching_cubes(lambda coords: -torch.ones(len(coords)), 8)
    for resolution in (1, 4096):
        with pytest.raises(SoftmineError, match=f"resolution is {resolution}"):
            meshing.marching_cubes(wavy_ball, resolution)


@pytest.mark.parametrize("ending", meshing.FORMATS)
def test_files_hold_the_mesh(tmp_path, ending):
    vertices, faces = meshing.marching_cubes(wavy_ball, 16)
    meshing.write_mesh(tmp_path / f"mesh.{ending}", vertices, faces)
    mesh = trimesh.load_mesh(tmp_path / f"mesh.{ending}")
    mesh.merge_vertices()
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(trimesh.Trimesh(vertices, faces).volume, rel=1e-4)
    assert [path.name for path in tmp_path.iterdir()] == [f"mesh.{ending}"]


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(SoftmineError, match="must end in ply, obj, glb or stl"):
        meshing.write_mesh(tmp_path / "mesh.fbx", np.zeros((3, 3)), np.array([[0, 1, 2]]))
