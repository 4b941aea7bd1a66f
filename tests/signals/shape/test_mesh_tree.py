"""Distances to triangles, their sign, and winding numbers, against brute force and formulas."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from cube_mesh import CUBE, CUBE_FACES
from softmine.signals.shape.files import tidy
from softmine.signals.shape.mesh_tree import MeshTree
from softmine.signals.synthetic.formulas import SURFACES


def surface(name):
    return tidy(*SURFACES[name](), name)


def box_distance(points):
    """Signed distance to the unit cube, by its formula."""
    beyond = np.abs(points - 0.5) - 0.5
    return np.linalg.norm(beyond.clip(0), axis=-1) + beyond.max(-1).clip(max=0)


def test_signed_distance_to_a_cube_is_that_of_the_formula():
    points = np.random.default_rng(0).uniform(-1, 2, (5000, 3))
    distances, nearest, _ = MeshTree(CUBE, CUBE_FACES).closest(points)
    np.testing.assert_allclose(distances, box_distance(points), atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(points - nearest, axis=-1), np.abs(distances), atol=1e-12)
    np.testing.assert_allclose(box_distance(nearest), 0, atol=1e-12)


def test_the_closest_point_of_one_triangle_is_that_of_an_optimiser():
    random = np.random.default_rng(1)
    for _ in range(20):
        corners, point = random.normal(size=(3, 3)), random.normal(size=3) * 2

        def squared(weights, corners=corners, point=point):
            return ((weights @ corners - point) ** 2).sum()

        best = min(
            minimize(
                squared, start, bounds=[(0, 1)] * 3, constraints={"type": "eq", "fun": lambda w: w.sum() - 1}
            ).fun
            for start in ([1, 0, 0], [0, 1, 0], [0, 0, 1], [1 / 3] * 3)
        )
        distance = MeshTree(corners, np.array([[0, 1, 2]])).closest(point[None], signed=False)[0][0]
        assert distance**2 == pytest.approx(best, abs=1e-5)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 63, 64, 65, 1000])
def test_the_tree_finds_what_a_search_through_all_triangles_finds(count):
    random = np.random.default_rng(count)
    vertices = random.random((3 * count, 3))
    faces = np.arange(3 * count).reshape(-1, 3)
    points = random.uniform(-0.5, 1.5, (200, 3))
    found = MeshTree(vertices, faces).closest(points, signed=False)[0]
    alone = [MeshTree(vertices[face], np.array([[0, 1, 2]])) for face in faces]
    every = np.min([tree.closest(points, signed=False)[0] for tree in alone], axis=0)
    np.testing.assert_allclose(found, every, atol=1e-12)


def test_many_equal_triangles_do_not_slow_it_down_to_a_full_search_or_change_the_answer():
    mesh = surface("ball")
    vertices, faces = mesh.vertices, mesh.faces
    points = np.random.default_rng(2).normal(size=(500, 3))
    once = MeshTree(vertices, faces).closest(points)[0]
    twice = MeshTree(vertices, np.concatenate([faces, faces])).closest(points)[0]
    np.testing.assert_allclose(once, twice, atol=1e-12)


def test_limits_cut_off_and_seeds_change_nothing():
    ball = surface("ball")
    tree = MeshTree(ball.vertices, ball.faces)
    points = np.random.default_rng(3).uniform(-2, 2, (2000, 3))
    distances, nearest, places = tree.closest(points)
    limited, _, known = tree.closest(points, limit=0.3)
    near = np.abs(distances) < 0.3
    assert ((known >= 0) == near).all()
    np.testing.assert_array_equal(limited[near], distances[near])
    assert (limited[~near] == 0.3).all()
    seeds = np.random.default_rng(4).integers(-1, len(ball.faces), len(points))
    for these in (seeds, places):
        again, where, _ = tree.closest(points, seeds=these)
        np.testing.assert_allclose(again, distances, atol=1e-12)
        assert (where == nearest).all(-1).mean() > 0.99


def test_winding_numbers_tell_the_inside_as_the_sign_does():
    knot = surface("knot")
    tree = MeshTree(knot.vertices, knot.faces)
    points = np.random.default_rng(5).uniform(knot.vertices.min(0), knot.vertices.max(0), (3000, 3))
    inside = tree.closest(points)[0] < 0
    winding = tree.winding(points)
    assert 300 < inside.sum() < 2700
    np.testing.assert_array_equal(winding > 0.5, inside)
    assert np.abs(winding - inside).max() < 0.1


def test_a_closed_cube_without_its_lid_has_half_a_winding_number_in_its_opening():
    tree = MeshTree(CUBE, CUBE_FACES[2:])  # x = 0 is open
    winding = tree.winding(np.array([[1e-9, 0.5, 0.5], [0.9, 0.5, 0.5], [-3.0, 0.5, 0.5]]))
    assert winding[0] == pytest.approx(0.5, abs=0.01)
    assert winding[1] > 0.9
    assert abs(winding[2]) < 0.02


def test_threads_do_not_change_the_answer():
    ball = surface("ball")
    tree = MeshTree(ball.vertices, ball.faces)
    points = np.random.default_rng(6).uniform(-1, 1, (1000, 3))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 4):
            torch.set_num_threads(count)
            results.append(tree.closest(points)[0])
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_array_equal(*results)
