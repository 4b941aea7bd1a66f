"""Mesh files: what is read, what is put in order, what is refused, and in which words."""

import numpy as np
import pytest
import trimesh

from cube_mesh import CUBE, CUBE_FACES
from softmine.errors import SoftmineError
from softmine.signals.shape import files as mesh_files
from softmine.signals.shape.files import tidy


def write(path, vertices=CUBE, faces=CUBE_FACES):
    trimesh.Trimesh(vertices, faces, process=False).export(path)
    return path


def volume(mesh):
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


@pytest.mark.parametrize("ending", ["obj", "ply", "stl", "off", "glb", "OBJ"])
def test_formats_give_the_same_solid(tmp_path, ending):
    path = tmp_path / f"cube.{ending}"
    write(tmp_path / f"cube.{ending.lower()}").rename(path)
    mesh = mesh_files.read(path)
    assert mesh.closed
    assert mesh.vertices.shape == (8, 3)
    assert mesh.faces.shape == (12, 3)
    assert volume(mesh) == pytest.approx(1)
    assert mesh.notes == []


def test_squares_become_triangles(tmp_path):
    lines = [f"v {x} {y} {z}" for x, y, z in CUBE]
    lines += ["f 1 2 4 3", "f 5 7 8 6", "f 1 5 6 2", "f 3 4 8 7", "f 1 3 7 5", "f 2 6 8 4"]
    (tmp_path / "cube.obj").write_text("\n".join(lines))
    mesh = mesh_files.read(tmp_path / "cube.obj")
    assert len(mesh.faces) == 12
    assert mesh.closed
    assert volume(mesh) == pytest.approx(1)


def test_several_parts_of_a_scene_are_one_shape_each_at_its_place(tmp_path):
    scene = trimesh.Scene()
    scene.add_geometry(trimesh.creation.box())
    scene.add_geometry(
        trimesh.creation.box(), transform=trimesh.transformations.translation_matrix([5, 0, 0])
    )
    scene.export(tmp_path / "two.glb")
    mesh = mesh_files.read(tmp_path / "two.glb")
    assert len(mesh.faces) == 24
    assert np.ptp(mesh.vertices, axis=0).tolist() == pytest.approx([6, 1, 1])
    assert mesh.closed


def test_split_vertices_are_joined():
    mesh = tidy(CUBE[CUBE_FACES].reshape(-1, 3), np.arange(36).reshape(-1, 3), "here")
    assert mesh.closed
    assert len(mesh.vertices) == 8


def test_triangles_without_area_and_repeated_ones_are_left_out_and_said():
    line = np.array([[0, 0, 1], [3, 3, 3]])
    mesh = tidy(CUBE, np.concatenate([CUBE_FACES, line, CUBE_FACES[:1, [1, 2, 0]]]), "here")
    assert mesh.closed
    assert len(mesh.faces) == 12
    assert mesh.notes == ["2 triangles without area left out", "1 repeated triangles left out"]


def test_a_mesh_that_is_inside_out_is_turned():
    mesh = tidy(CUBE, CUBE_FACES[:, ::-1], "here")
    assert volume(mesh) == pytest.approx(1)
    assert mesh.notes == ["it was inside out and has been turned"]


def test_triangles_that_face_different_ways_are_made_to_agree():
    faces = CUBE_FACES.copy()
    faces[::3] = faces[::3, ::-1]
    mesh = tidy(CUBE, faces, "here")
    assert mesh.closed
    assert volume(mesh) == pytest.approx(1)
    assert "triangles turned to face one way" in mesh.notes


def test_open_and_unmanifold_meshes_are_said_to_be():
    opened = tidy(CUBE, CUBE_FACES[2:], "here")
    assert not opened.closed
    assert "open, with 4 edges at holes" in opened.notes[0]
    both = tidy(
        np.concatenate([CUBE, CUBE + np.array([1, 1, 0])]),
        np.concatenate([CUBE_FACES, CUBE_FACES + 8]),
        "here",
    )
    assert not both.closed
    assert "not manifold, with 1 edges of three triangles or more" in both.notes[0]


def test_a_moebius_strip_glued_shut_cannot_agree():
    # The projective plane with six vertices: closed, and without an outside.
    vertices = np.random.default_rng(0).random((6, 3))
    faces = [
        [0, 1, 2],
        [0, 2, 3],
        [0, 3, 4],
        [0, 4, 5],
        [0, 5, 1],
        [1, 2, 4],
        [2, 3, 5],
        [3, 4, 1],
        [4, 5, 2],
        [5, 1, 3],
    ]
    mesh = tidy(vertices, np.array(faces), "here")
    assert not mesh.closed
    assert "cannot agree on an outside" in mesh.notes[0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: np.where(v == 0, np.nan, v), "NaN or infinite"),
        (lambda v: np.where(v == 0, np.inf, v), "NaN or infinite"),
        (lambda v: v * 1e200, "beyond 1e100"),
        (lambda v: v * [1, 0, 0], "none of its 12 triangles has an area"),
        (lambda v: v * 0, "none of its 12 triangles has an area"),
    ],
)
def test_meshes_that_cannot_be_used_are_refused(change, words):
    with pytest.raises(SoftmineError, match=words):
        tidy(change(CUBE), CUBE_FACES, "cannot read it")


def test_huge_coordinates_are_no_trouble_as_long_as_they_are_told_apart():
    mesh = tidy(CUBE * 1e30, CUBE_FACES, "here")
    assert mesh.closed
    with pytest.raises(SoftmineError, match="check its units and its precision"):
        tidy(CUBE + 1e17, CUBE_FACES, "here")
