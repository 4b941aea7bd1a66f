"""Shapes that need no file and no library: closed surfaces made from formulas."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np


def knot() -> tuple[np.ndarray, np.ndarray]:
    """A grooved tube along the (2, 3) torus knot, 76,800 triangles."""
    along, around = 1200, 32
    t = np.arange(along) * (2 * np.pi / along)
    path = np.stack(
        [(2 + np.cos(3 * t)) * np.cos(2 * t), (2 + np.cos(3 * t)) * np.sin(2 * t), 1.5 * np.sin(3 * t)], -1
    )
    tangent = np.roll(path, -1, 0) - np.roll(path, 1, 0)
    tangent /= np.linalg.norm(tangent, axis=-1, keepdims=True)
    # Frames that lean on the torus close by themselves, whereas those of the curve's bend would twist.
    middle = np.stack([2 * np.cos(2 * t), 2 * np.sin(2 * t), 0 * t], -1)
    side = path - middle
    side -= (side * tangent).sum(-1, keepdims=True) * tangent
    side /= np.linalg.norm(side, axis=-1, keepdims=True)
    third = np.cross(tangent, side)
    angle = np.arange(around) * (2 * np.pi / around)
    # Grooves wind along the tube, and beads follow one another.
    twist = angle[None] + 9 * t[:, None]
    radius = 0.42 + 0.05 * np.cos(4 * twist) + 0.04 * np.cos(60 * t[:, None])
    ring = np.cos(angle)[None, :, None] * side[:, None] + np.sin(angle)[None, :, None] * third[:, None]
    return (path[:, None] + radius[..., None] * ring).reshape(-1, 3), _grid_faces(along, around)


def _grid_faces(rows: int, columns: int) -> np.ndarray:
    """Triangles of a grid of vertices that closes in both directions."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    below, right = (row + 1) % rows, (column + 1) % columns
    a, b = row * columns + column, below * columns + column
    c, d = below * columns + right, row * columns + right
    return np.stack([np.stack([a, c, b], -1), np.stack([a, d, c], -1)], 2).reshape(-1, 3)


def ball() -> tuple[np.ndarray, np.ndarray]:
    """A sphere with bumps in three directions, 12,288 triangles."""
    steps = 32
    line = np.tan(np.linspace(-np.pi / 4, np.pi / 4, steps + 1))
    vertices, faces = [], []
    for axis, sign in product(range(3), (-1, 1)):
        u, v = np.meshgrid(line, line, indexing="ij")
        face = np.roll(np.stack([np.full_like(u, sign), u, v], -1), axis, -1).round(12)
        square = np.arange(steps)[:, None] * (steps + 1) + np.arange(steps) + len(vertices) * (steps + 1) ** 2
        a, b, c, d = square, square + steps + 1, square + steps + 2, square + 1
        quads = np.stack([a, b, c, a, c, d], -1).reshape(-1, 3)
        vertices.append(face.reshape(-1, 3))
        faces.append(quads if sign > 0 else quads[:, ::-1])
    direction = np.concatenate(vertices)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    bumps = np.cos(9 * direction).sum(-1, keepdims=True) / 3
    return direction * (1 + 0.12 * bumps), np.concatenate(faces)


SURFACES: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {"knot": knot, "ball": ball}
"""Makers of vertices (V, 3) and triangles (F, 3), by name."""
