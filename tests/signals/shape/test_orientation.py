"""Which side of a mesh is out: parts, cavities, sheets."""

import numpy as np
import pytest

from cube_mesh import CUBE, CUBE_FACES
from softmine.signals.shape.files import orient, tidy


def volume(mesh):
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def together(*parts):
    """One mesh of several cubes: corners (V, 3) and triangles (F, 3)."""
    sizes = np.cumsum([0, *(len(vertices) for vertices, _ in parts)])
    faces = [faces + size for (_, faces), size in zip(parts, sizes, strict=False)]
    return np.concatenate([vertices for vertices, _ in parts]), np.concatenate(faces)


def test_a_part_that_is_inside_out_is_turned():
    mesh = tidy(*together((CUBE, CUBE_FACES), (CUBE / 2 + 4, CUBE_FACES[:, ::-1])), "here")
    assert volume(mesh) == pytest.approx(1 + 1 / 8)
    assert mesh.closed
    assert mesh.apart
    assert mesh.notes == ["1 of 2 parts were inside out and have been turned"]


def test_a_cavity_stays_one():
    for whole in (1, -1):
        outer, inner = (CUBE, CUBE_FACES[:, ::whole]), (CUBE / 2 + 0.25, CUBE_FACES[:, ::-whole])
        mesh = tidy(*together(outer, inner), "here")
        assert volume(mesh) == pytest.approx(1 - 1 / 8)
        assert mesh.closed
        assert not mesh.apart
        assert "2 parts, which may overlap" in mesh.notes[-1]


@pytest.mark.parametrize("first", [0, 11])
def test_the_triangles_that_are_fewer_are_turned(first):
    # The wrong one of a cavity, though the volume of all would not tell.
    faces = CUBE_FACES[:, ::-1].copy()
    faces[first] = faces[first, ::-1]
    mesh = tidy(*together((CUBE, CUBE_FACES), (CUBE / 2 + 0.25, faces)), "here")
    assert volume(mesh) == pytest.approx(1 - 1 / 8)


def test_triangles_of_many_parts_are_turned_without_a_look_at_all_for_each():
    count = 20_000  # of which each would take longer than all do
    part = np.arange(count)[:, None, None]
    right = CUBE_FACES + 8 * part
    # Of each part another number, at most 5 of 12, in one piece or several.
    turned = np.arange(12)[:, None] * 5 % 12 < part % 6
    faces = np.where(turned, right[..., ::-1], right)
    notes = []
    found, closed, _ = orient((CUBE + [2.0, 0.0, 0.0] * part).reshape(-1, 3), faces.reshape(-1, 3), notes)
    np.testing.assert_array_equal(found.reshape(right.shape), right)
    assert closed
    assert notes[0] == "triangles turned to face one way"


def test_a_part_that_is_turned_takes_its_cavity_along():
    whole, hollow = (3 * CUBE, CUBE_FACES), (CUBE + 5, CUBE_FACES[:, ::-1])
    mesh = tidy(*together(whole, hollow, (CUBE / 2 + 5.25, CUBE_FACES)), "here")
    assert volume(mesh) == pytest.approx(27 + 1 - 1 / 8)
    assert "2 of 3 parts were inside out" in mesh.notes[0]


@pytest.mark.parametrize("side", [1, -1])
def test_which_side_of_a_sheet_is_out_its_file_says(side):
    # A bowl or a hill, up and down.
    x, y = (axis.reshape(-1) for axis in np.meshgrid(*[np.linspace(-1, 1, 9)] * 2, indexing="ij"))
    corner = np.arange(64) + np.arange(64) // 8
    faces = np.concatenate(
        [np.stack([corner, corner + 9, corner + 10], -1), np.stack([corner, corner + 10, corner + 1], -1)]
    )[:, ::side]
    for height in (x**2 + y**2, -(x**2 + y**2), 0 * x):
        mesh = tidy(np.stack([x, y, height], -1), faces, "here")
        a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
        assert (np.sign(np.cross(b - a, c - a)[:, 2]) == side).all()


def test_an_open_mesh_that_is_inside_out_is_turned():
    mesh = tidy(CUBE, CUBE_FACES[2:, ::-1], "here")
    assert not mesh.closed
    assert "it was inside out and has been turned" in mesh.notes
    np.testing.assert_array_equal(mesh.faces, tidy(CUBE, CUBE_FACES[2:], "here").faces)
