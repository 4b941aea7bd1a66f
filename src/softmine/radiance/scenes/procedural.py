"""A scene that needs no file and no network: a striped ball and a checkered box on a floor, ray-traced here."""

from __future__ import annotations

import functools
import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from softmine.radiance.cameras import Camera, Pose, look_along
from softmine.radiance.scenes.scene import Scene, View, box_bounds

SIZE, TRAIN, TEST = 100, 40, 8
DISTANCE, ANGLE = 4.0, 0.7
"""Of the cameras: distance from the origin, and the angle of their images in radians."""
SAMPLES = 3
"""Rays along each side of a pixel, whose mean it is."""

_BALL, _RADIUS = np.array([-0.48, -0.2, 0.1], np.float32), 0.5
_BOX_LOW, _BOX_HIGH = np.array([0.15, 0.0, -0.4], np.float32), np.array([0.8, 0.65, 0.55], np.float32)
_FLOOR, _FLOOR_RADIUS = -0.4, 1.25
_SUN = np.array([0.45, -0.35, 0.82], np.float32) / np.float32(0.998699)
_AMBIENT, _GLOSS, _SHARPNESS = 0.35, 0.35, 40.0
_BEHIND = 1e-4
_CHUNK = 2**14

Vectors = Float[np.ndarray, "n 3"]
Numbers = Float[np.ndarray, "n"]
Flags = Bool[np.ndarray, "n"]


class Paint(NamedTuple):
    """Surfaces at points: unit normals, colors, and how much they gleam."""

    normal: Vectors
    color: Vectors
    gloss: float


@functools.cache
def procedural(size: int = SIZE, train: int = TRAIN, test: int = TEST) -> Scene:
    """The built-in scene: RGBA views of known geometry from exact poses, in [-1.5, 1.5]^3.

    Cameras stand on the upper half of a sphere and look at its center: those to train on spread evenly along a
    spiral, those to test on along a circle between them. One sun, hard shadows, and a gloss on the ball, whose
    color so depends on the direction it is seen from.

    Args:
        size: pixels along each side of a view.
        train: number of views to train on.
        test: number of views to test on.
    """
    focal = size / 2 / math.tan(ANGLE / 2)
    camera = Camera(size, size, (focal, focal), (size / 2, size / 2))
    views = []
    golden = math.pi * (3 - math.sqrt(5))
    for index in range(train):
        height = 0.08 + 0.87 * (index + 0.5) / train
        views.append(_view("train", index, camera, _look(height, index * golden)))
    for index in range(test):
        height = 0.45 + 0.2 * math.sin(3 * index)
        views.append(_view("test", index, camera, _look(height, 0.3 + index * 2 * math.pi / test)))
    return Scene("still-life", None, tuple(views), box_bounds(views, 1.5, "still-life"), has_alpha=True)


def trace(origins: Vectors, directions: Vectors) -> tuple[Vectors, Numbers]:
    """Colors (N, 3) in [0, 1], black where there is nothing, and opacities (N,) of rays with unit directions."""
    color, opacity = np.zeros(directions.shape, np.float32), np.zeros(len(directions), np.float32)
    distances = np.stack([_ball(origins, directions), _box(origins, directions), _floor(origins, directions)])
    first, distance = distances.argmin(0), distances.min(0)
    for index, surface in enumerate((_paint_ball, _paint_box, _paint_floor)):
        here = np.flatnonzero((first == index) & np.isfinite(distance))
        points = origins[here] + distance[here, None] * directions[here]
        color[here] = _light(surface(points), points, directions[here])
        opacity[here] = 1
    return color, opacity


def _light(paint: Paint, points: Vectors, directions: Vectors) -> Vectors:
    """Colors (N, 3) of surface points (N, 3) seen along unit directions (N, 3): a sun, its shadows and an even sky."""
    above = points + np.float32(1e-3) * paint.normal
    sun = np.broadcast_to(_SUN, points.shape)
    lit = np.minimum(_ball(above, sun), _box(above, sun)) == np.inf
    half = _SUN - directions
    half /= np.sqrt(_dot(half, half))[:, None]
    light = _AMBIENT + (1 - _AMBIENT) * lit * (paint.normal @ _SUN).clip(0, 1)
    gleam = paint.gloss * lit * _dot(paint.normal, half).clip(0, 1) ** _SHARPNESS
    return (paint.color * light[:, None] + gleam[:, None]).clip(0, 1)


def _look(height: float, turn: float) -> Pose:
    """A camera at ``height`` (sine of its elevation) and ``turn`` that looks at the origin, +z of the world up."""
    level = math.sqrt(1 - height * height)
    center = DISTANCE * np.array([level * math.cos(turn), level * math.sin(turn), height])
    return look_along(center, -center / DISTANCE, (0.0, 0.0, 1.0))


def _view(split: str, index: int, camera: Camera, pose: Pose) -> View:
    return View(f"{split}/{index:03d}", camera, pose, split, None, None, _render(camera, pose))


def _render(camera: Camera, pose: Pose) -> UInt8[np.ndarray, "h w 4"]:
    count = camera.width * SAMPLES
    steps = (np.arange(count) + 0.5) / SAMPLES
    x, y = np.meshgrid(
        (steps - camera.center[0]) / camera.focal[0], (steps - camera.center[1]) / camera.focal[1]
    )
    local = np.stack((x, y, np.ones_like(x)), -1).reshape(-1, 3)
    directions = local @ pose[:, :3].T
    directions = (directions / np.linalg.norm(directions, axis=-1, keepdims=True)).astype(np.float32)
    center = pose[:, 3].astype(np.float32)
    parts = []
    for start in range(0, len(directions), _CHUNK):
        chunk = directions[start : start + _CHUNK]
        parts.append(np.column_stack(trace(np.broadcast_to(center, chunk.shape), chunk)))
    side = camera.width
    values = np.concatenate(parts).reshape(side, SAMPLES, side, SAMPLES, 4).mean((1, 3))
    # Stored as images are: color not multiplied by opacity.
    values[..., :3] /= np.maximum(values[..., 3:], 1e-9)
    return np.rint(values * 255).clip(0, 255).astype(np.uint8)


def _ball(origins: Vectors, directions: Vectors) -> Numbers:
    away = origins - _BALL
    middle = _dot(away, directions)
    square = middle * middle - _dot(away, away) + _RADIUS**2
    return _ahead(-middle - np.sqrt(square.clip(0)), square > 0)


def _box(origins: Vectors, directions: Vectors) -> Numbers:
    inverse = 1 / np.where(np.abs(directions) < 1e-9, np.float32(1e-9), directions)
    low, high = (_BOX_LOW - origins) * inverse, (_BOX_HIGH - origins) * inverse
    first, last = np.minimum(low, high), np.maximum(low, high)
    near = np.maximum(np.maximum(first[:, 0], first[:, 1]), first[:, 2])
    far = np.minimum(np.minimum(last[:, 0], last[:, 1]), last[:, 2])
    return _ahead(near, near < far)


def _floor(origins: Vectors, directions: Vectors) -> Numbers:
    down = np.where(np.abs(directions[:, 2]) < 1e-9, np.float32(1e-9), directions[:, 2])
    distance = (_FLOOR - origins[:, 2]) / down
    x, y = (origins[:, axis] + distance * directions[:, axis] for axis in (0, 1))
    return _ahead(distance, x * x + y * y < _FLOOR_RADIUS**2)


def _paint_ball(points: Vectors) -> Paint:
    normal = (points - _BALL) / np.float32(_RADIUS)
    stripe = np.sin(9 * normal[:, 2] + 2 * np.sin(3 * np.arctan2(normal[:, 1], normal[:, 0]))) > 0
    return Paint(normal, _two(stripe, (0.85, 0.25, 0.15), (0.95, 0.85, 0.6)), _GLOSS)


def _paint_box(points: Vectors) -> Paint:
    out = (points - (_BOX_LOW + _BOX_HIGH) / 2) / (_BOX_HIGH - _BOX_LOW)
    axis, pick = np.abs(out).argmax(-1), np.arange(len(points))
    normal = np.zeros_like(points)
    normal[pick, axis] = np.sign(out[pick, axis])
    squares = np.floor((points - _BOX_LOW) / np.float32(0.14)).astype(np.int64)
    squares[pick, axis] = 0
    base = np.array([[0.2, 0.55, 0.8], [0.25, 0.7, 0.35], [0.75, 0.7, 0.2]], np.float32)[axis]
    return Paint(normal, np.where((squares.sum(-1) % 2 == 0)[:, None], base, np.float32(0.35) * base), 0.0)


def _paint_floor(points: Vectors) -> Paint:
    normal = np.zeros_like(points)
    normal[:, 2] = 1
    even = np.floor(points[:, :2] / np.float32(0.3)).sum(-1) % 2 == 0
    return Paint(normal, _two(even, (0.9, 0.9, 0.88), (0.3, 0.3, 0.36)), 0.0)


def _two(which: Flags, yes: tuple[float, ...], no: tuple[float, ...]) -> Vectors:
    return np.where(which[:, None], np.array(yes, np.float32), np.array(no, np.float32))


def _dot(left: Vectors, right: Vectors) -> Numbers:
    return np.einsum("ij,ij->i", left, right)


def _ahead(distance: Numbers, met: Flags) -> Numbers:
    return np.where(met & (distance > _BEHIND), distance, np.float32(np.inf))
