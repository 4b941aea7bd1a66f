"""Polygons become triangles that fill them exactly, however they are bent in their plane."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from softmine.errors import SoftmineError
from softmine.signals.shape import ear_clipping, polygons
from softmine.signals.shape.polygons import Polygons, check, triangulate

L_SHAPE = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2.0]])
ARROW = np.array([[0, 0], [2, -1], [0, 2], [-2, -1.0]])
"""A concave quad whose diagonal from corner 1 lies outside."""
KEYHOLE = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [1, 1], [1, 3], [3, 3], [3, 1], [1, 1.0]])
"""A square with a square hole, joined by an edge there and back: area 12."""


def one(outline):
    places = np.column_stack([outline, np.zeros(len(outline))])
    return Polygons(places, np.arange(len(places)), np.array([len(places)]))


def doubles(places, faces):
    """Twice the signed area of triangles of the plane z = 0, (F,)."""
    a, b, c = np.moveaxis(places[faces][..., :2], 1, 0)
    (x, y), (u, v) = (b - a).T, (c - a).T
    return x * v - y * u


def winding(outline, points):
    """How often an outline (N, 2) winds around points (M, 2)."""
    x, y = np.moveaxis(outline[None] - points[:, None], 2, 0)
    turn = np.diff(np.arctan2(y, x), axis=1, append=np.arctan2(y, x)[:, :1])
    return np.round(((turn + np.pi) % (2 * np.pi) - np.pi).sum(1) / (2 * np.pi)).astype(int)


def covered(places, faces, points):
    """How many triangles of the plane z = 0 hold each point (M, 2)."""
    count = np.zeros(len(points), int)
    for a, b, c in places[faces][..., :2]:
        sides = [np.cross(np.append(e - s, 0), np.c_[points - s, np.zeros(len(points))])[:, 2] for s, e in
                 ((a, b), (b, c), (c, a))]  # fmt: skip
        count += (np.array(sides) > 0).all(0)
    return count


def fills(outline, notes=(), without_area=0):
    polygon, said = one(outline), []
    faces = triangulate(polygon, "here", said)
    assert len(faces) == len(outline) - 2 - without_area
    assert (doubles(polygon.vertices, faces) > 0).all()
    low, high = outline.min(0), outline.max(0)
    points = low + (high - low) * np.random.default_rng(0).random((400, 2))
    np.testing.assert_array_equal(covered(polygon.vertices, faces, points), winding(outline, points))
    assert said == list(notes)


@pytest.mark.parametrize("outline", [L_SHAPE, ARROW, KEYHOLE], ids=["L", "arrow", "keyhole"])
@pytest.mark.parametrize("start", range(6))
def test_concave_polygons_are_filled_from_whatever_corner_they_begin(outline, start):
    fills(np.roll(outline, start, 0))


@given(seed=st.integers(0, 10**6), count=st.integers(4, 40))
def test_stars_of_any_shape_are_filled(seed, count):
    random = np.random.default_rng(seed)
    angle = (np.arange(count) + random.random(count) * 0.9) * 2 * np.pi / count
    radius = random.uniform(0.05, 1, count)
    fills(np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1))


@pytest.mark.parametrize("turns", [1, 3])
def test_spirals_are_filled(turns):
    angle = np.linspace(0, 2 * np.pi * turns, 60)
    ways = np.stack([np.cos(angle), np.sin(angle)], -1)
    fills(np.concatenate([ways * (angle + 4)[:, None], (ways * (angle + 2)[:, None])[::-1]]))


def test_corners_on_a_straight_side_stay():
    square = np.array([[0, 0], [1, 0], [2, 0], [2, 1], [2, 2], [1, 2], [0, 2], [0, 1.0]])
    fills(square)
    faces = triangulate(one(square), "here", [])
    assert set(faces.reshape(-1).tolist()) == set(range(8))
    # A quad that is a triangle with one more corner.
    fills(np.array([[0, 0], [1, 0], [2, 0], [0, 2.0]]))


HOURGLASS = np.array([[0, 0], [2, 0], [1, 1], [2, 2], [0, 2], [1, 1.0]])
LEAVES = np.array([[0, 0], [2, -1], [2, 1], [0, 0], [1, 2], [-1, 2], [0, 0], [-2, 1], [-2, -1.0]])
HOLE_AT_A_CORNER = np.array([[0, 0], [1, 2], [2, 2], [2, 1], [0, 0], [4, 0], [4, 4], [0, 4.0]])
SPIKE = np.array([[0, 0], [2, 0], [2, 1], [3, 1], [2, 1], [2, 2], [0, 2.0]])
NOTCH = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 3], [2, 0], [0, 1.0]])
"""Its notch reaches the bottom side between that side's ends."""
BRIDGE = np.array(
    [[0, 0], [3, 0], [3, 1], [2, 1], [2, 2], [4, 2], [4, 1], [3, 1], [3, 0], [6, 0], [6, 3], [0, 3.0]]
)
"""A hole, joined to the middle of a side by an edge there and back."""


@pytest.mark.parametrize("start", range(6))
@pytest.mark.parametrize(
    ("outline", "without_area"),
    [(HOURGLASS, 2), (LEAVES, 4), (HOLE_AT_A_CORNER, 0), (SPIKE, 2), (NOTCH, 1), (BRIDGE, 0)],
    ids=["hourglass", "leaves", "hole", "spike", "notch", "bridge"],
)
def test_polygons_that_touch_themselves_are_filled(outline, without_area, start):
    fills(np.roll(outline, start, 0), without_area=without_area)


def polyomino(random, size):
    """The outline of squares of side 1 that form one piece: concave, with corners on straight sides."""
    while True:
        squares = {(0, 0)}
        while len(squares) < size:
            (x, y), (right, up) = (
                random.choice(sorted(squares)),
                random.choice([(1, 0), (-1, 0), (0, 1), (0, -1)]),
            )
            squares.add((int(x + right), int(y + up)))
        following = {}
        for x, y in squares:
            around = [(x, y), (x + 1, y), (x + 1, y + 1), (x, y + 1)]
            beside = [(x, y - 1), (x + 1, y), (x, y + 1), (x - 1, y)]
            for start, end, other in zip(around, around[1:] + around[:1], beside, strict=True):
                if other not in squares:
                    following.setdefault(start, []).append(end)
        if any(len(ends) > 1 for ends in following.values()):
            continue
        outline = [min(following)]
        while (end := following[outline[-1]][0]) != outline[0]:
            outline.append(end)
        if len(outline) == len(following):
            return np.array(outline, float)


@pytest.mark.parametrize("seed", range(40))
def test_corners_on_straight_sides_up_to_rounding_are_on_them(seed):
    random = np.random.default_rng(seed)
    outline = polyomino(random, random.integers(3, 16))
    frame = np.linalg.qr(random.normal(size=(3, 3)))[0]
    frame *= np.sign(np.linalg.det(frame))
    places = np.column_stack([outline, np.zeros(len(outline))]) @ frame.T + 5 * random.normal(size=3)
    notes = []
    polygon = Polygons(places, np.arange(len(outline)), np.array([len(outline)]))
    faces = triangulate(polygon, "here", notes)
    assert notes == []
    assert len(faces) == len(outline) - 2
    found = doubles(np.column_stack([outline, np.zeros(len(outline))]), faces)
    # On a lattice twice an area is a whole number, so none is a sliver.
    np.testing.assert_allclose(found, np.rint(found).clip(1), atol=1e-9)
    (x, y), (u, v) = outline.T, np.roll(outline, -1, 0).T
    area = (x * v - y * u).sum()
    assert found.sum() == pytest.approx(area)


def test_polygons_in_any_plane_keep_their_side_and_order():
    random = np.random.default_rng(1)
    vertices, corners = [], []
    for _ in range(30):
        frame = np.linalg.qr(random.normal(size=(3, 3)))[0]
        frame *= np.sign(np.linalg.det(frame)) * 10 ** random.uniform(-6, 6)
        places = np.column_stack([L_SHAPE, np.zeros(6)]) @ frame.T + random.normal(size=3)
        corners.append(len(vertices) * 6 + np.arange(6))
        vertices.append(places)
    polygon = Polygons(np.concatenate(vertices), np.concatenate(corners), np.full(30, 6))
    faces = triangulate(polygon, "here", [])
    assert (np.repeat(np.arange(30), 4) == faces[:, 0] // 6).all()
    for places, part in zip(vertices, faces.reshape(30, 4, 3), strict=True):
        a, b, c = np.moveaxis(polygon.vertices[part], 1, 0)
        whole = np.cross(places, np.roll(places, -1, 0)).sum(0)
        crosses = np.cross(b - a, c - a)
        size = np.linalg.norm(crosses, axis=1)
        assert size.sum() == pytest.approx(np.linalg.norm(np.cross(places - places[0], np.roll(places, -1, 0) - places[0]).sum(0)), rel=1e-6)  # fmt: skip
        assert (crosses @ whole > 0).all() or np.abs(places).max() > 1e3 * size.max()


def test_a_convex_polygon_is_a_fan_of_its_first_corner():
    angle = np.arange(7) * 2 * np.pi / 7
    faces = triangulate(one(np.stack([np.cos(angle), np.sin(angle)], -1)), "here", [])
    assert faces.tolist() == [[0, i, i + 1] for i in range(1, 6)]


def test_repeated_corners_are_no_corners():
    twice = L_SHAPE[[0, 0, 1, 2, 3, 3, 3, 4, 5]]
    polygon = one(twice)
    faces = triangulate(polygon, "here", [])
    assert len(faces) == 4
    assert doubles(polygon.vertices, faces).sum() == pytest.approx(6)


def test_what_has_no_area_or_too_few_corners_is_left_out_and_said():
    places = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0.0]])
    notes = []
    polygon = Polygons(places, np.array([0, 1, 0, 1, 2, 0, 0, 1, 1]), np.array([2, 3, 4]))
    assert triangulate(polygon, "here", notes).tolist() == [[0, 1, 2]]
    assert notes == [
        "1 faces of fewer than three corners left out",
        "1 polygons without area left out",
    ]


def test_a_polygon_that_crosses_itself_is_said():
    notes = []
    faces = triangulate(one(np.array([[0, 0], [1, 1], [1, 0], [0, 1.0]])), "here", notes)
    assert faces.shape == (2, 3)
    assert notes == ["1 polygon crosses itself: the inside is not certain"]


def test_a_polygon_on_a_line_has_no_area():
    notes = []
    line = Polygons(np.arange(5)[:, None] * np.array([1.0, 2, 3]), np.arange(5), np.array([5]))
    assert triangulate(line, "here", notes).shape == (0, 3)
    assert notes == ["1 polygons without area left out"]


def test_polygons_that_are_not_flat_are_said():
    notes = []
    bent = Polygons(np.array([[0, 0, 0], [1, 0, 0.2], [1, 1, 0], [0, 1, 0.2]]), np.arange(4), np.array([4]))
    assert len(triangulate(bent, "here", notes)) == 2
    assert len(notes) == 1
    assert notes[0].startswith("1 polygon is not flat (by up to 20.0% of the size)")


def test_what_would_take_minutes_is_refused(monkeypatch):
    monkeypatch.setattr(polygons, "MOST_TESTS", 10)
    angle = np.linspace(0, 6, 60)
    ways = np.stack([np.cos(angle), np.sin(angle)], -1)
    outline = np.concatenate([ways * 4, (ways * 2)[::-1]])
    with pytest.raises(SoftmineError, match="such as one of 120 corners, are too intricate"):
        triangulate(one(outline), "here", [])
    assert ear_clipping.MOST_TESTS > 10**8


@pytest.mark.parametrize(
    ("corner", "place", "words"),
    [(3, 0, "number 4, counted from 1, where it has 3 vertices"), (-1, 0, "number -1"), (2, np.nan, "NaN")],
)
def test_corners_that_are_nowhere_are_refused(corner, place, words):
    places = np.array([[place, 0, 0], [1, 0, 0], [0, 1, 0.0]])
    with pytest.raises(SoftmineError, match=words):
        check(Polygons(places, np.array([0, 1, corner]), np.array([3])), "here")
