"""Polygons as mesh files hold them, and the triangles that fill them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from softmine.domain import SoftmineError
from softmine.formatting import several
from softmine.signals.shape.ear_clipping import EPSILON, MOST_TESTS, TooIntricate, clip

_FLAT = 1e-3
"""Distance from its plane, in its own sizes, up to which a polygon counts as flat."""

_ROUNDED = 1e-14
"""How far corners that were turned and moved may lie from where they should, in their distances from the origin."""


@dataclass(frozen=True)
class Polygons:
    """Polygons of any number of corners.

    Attributes:
        vertices: (V, 3) float64.
        corners: vertices of all polygons, one after another, (K,) int64.
        sizes: corners of each polygon, (P,).
    """

    vertices: Float[np.ndarray, "v 3"]
    corners: Int[np.ndarray, " k"]
    sizes: Int[np.ndarray, " p"]

    @classmethod
    def triangles(cls, vertices: np.ndarray, faces: np.ndarray) -> Polygons:
        """Those that are triangles (F, 3) already."""
        return cls(vertices, faces.reshape(-1), np.full(len(faces), 3))


def damaged(where: str, what: str) -> SoftmineError:
    """An error that says what shows that a file is not whole."""
    return SoftmineError(f"{where}: it is truncated, damaged or no such mesh: {what}; get a complete copy")


def check(polygons: Polygons, where: str) -> None:
    """Refuse polygons whose corners do not exist, or are nowhere.

    Raises:
        SoftmineError: a corner is no vertex, or some coordinate is not finite.
    """
    vertices, corners = polygons.vertices, polygons.corners
    if len(corners) and (corners.min() < 0 or corners.max() >= len(vertices)):
        wrong = corners[(corners < 0) | (corners >= len(vertices))][0]
        count = several(len(vertices), "vertex", "vertices")
        raise SoftmineError(
            f"{where}: its faces name vertices that are not there (number {wrong + (wrong >= 0):,}, counted from 1, where it has {count}); "
            "correct its indices, or get a complete copy"
        )
    if not np.isfinite(vertices[corners]).all():
        raise SoftmineError(f"{where}: some of its coordinates are NaN or infinite; repair it")


def triangulate(polygons: Polygons, where: str, notes: list[str]) -> Int[np.ndarray, "f 3"]:
    """Triangles (F, 3) that fill polygons, concave ones too, in their order and with their orientation.

    All corners are kept, those on a straight edge too, so that neighbors still meet. A fan of the first corner, or of the
    second, is taken where its triangles all face as the polygon does, else ears are clipped.

    Args:
        polygons: what ``check`` lets through.
        where: how an error begins.
        notes: what had to be left out or could not be done well is added, for people.

    Raises:
        SoftmineError: concave polygons have so many corners that it would take minutes.
    """
    vertices, corners, sizes = polygons.vertices, polygons.corners, polygons.sizes
    if len(sizes) and sizes.min() < 3:
        notes.append(f"{(sizes < 3).sum():,} faces of fewer than three corners left out")
        corners, sizes = _keep(corners, sizes, sizes >= 3)
    if not len(sizes) or sizes.max() == 3:
        return corners.reshape(-1, 3)
    corners, sizes = _without_repeats(vertices, corners, sizes, notes)
    starts = np.cumsum(sizes) - sizes
    whole = sizes == 3
    parts, owners = [corners[starts[whole, None] + np.arange(3)]], [np.flatnonzero(whole)]
    bent, crossed, empty, worst, budget = 0, 0, 0, 0.0, np.array([MOST_TESTS])
    for size in np.unique(sizes[~whole]).tolist():
        owner = np.flatnonzero(sizes == size)
        shape = corners[starts[owner, None] + np.arange(size)]
        places, normals, depth, epsilon = _straight(vertices[shape])
        bent, worst = bent + int((depth > _FLAT).sum()), max(worst, float(depth.max()))
        for turn in (0, 1):
            fan = (_fan(size) + turn) % size
            a, b, c = np.moveaxis(places[:, fan], 2, 0)
            doubles = np.einsum("ptk,pk->pt", np.cross(b - a, c - a), normals)
            # Fans of corners that are no fans of the polygon have triangles that face the other way.
            good = (doubles > epsilon[:, None]).all(1)
            parts.append(shape[good][:, fan].reshape(-1, 3))
            owners.append(np.repeat(owner[good], size - 2))
            owner, shape, places, normals = owner[~good], shape[~good], places[~good], normals[~good]
            epsilon = epsilon[~good]
        if len(owner):
            try:
                triangles, wrong = clip(_project(places, normals), epsilon, budget)
            except TooIntricate:
                raise SoftmineError(
                    f"{where}: its polygons, such as one of {size:,} corners, are too intricate; cut them into triangles "
                    "in the program that made it"
                ) from None
            # Those that wind one way as much as the other face no side.
            a, b, c = np.moveaxis(places[:, _fan(size)], 2, 0)
            area = np.linalg.norm(np.cross(b - a, c - a), axis=-1).max(1) > epsilon
            equal = area & (normals == 0).all(1)
            triangles[equal], wrong = _fan(size), wrong | equal
            whole = triangles[..., 0] >= 0
            crossed, empty = crossed + int(wrong.sum()), empty + int((~whole.any(1)).sum())
            taken = np.take_along_axis(shape, triangles.reshape(len(shape), -1).clip(0), 1)
            parts.append(taken.reshape(-1, 3)[whole.reshape(-1)])
            owners.append(np.repeat(owner, whole.sum(1)))
    if empty:
        notes.append(f"{empty:,} polygons without area left out")
    if bent:
        notes.append(
            f"{several(bent, 'polygon is', 'polygons are')} not flat (by up to {worst:.1%} of the size): the triangles are one "
            "choice of several"
        )
    if crossed:
        notes.append(
            f"{several(crossed, 'polygon crosses itself', 'polygons cross themselves')}: the inside is not certain"
        )
    return np.concatenate(parts)[np.concatenate(owners).argsort(kind="stable")]


def _keep(corners: np.ndarray, sizes: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return corners[np.repeat(kept, sizes)], sizes[kept]


def _without_repeats(
    vertices: np.ndarray, corners: np.ndarray, sizes: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Corners and sizes of polygons without corners that lie where the next one does."""
    following = np.arange(1, len(corners) + 1)
    ends = np.cumsum(sizes)
    following[ends - 1] = ends - sizes
    same = (vertices[corners] == vertices[corners[following]]).all(1)
    # What triangles lack is told with all that have no area.
    same &= np.repeat(sizes > 3, sizes)
    if not same.any():
        return corners, sizes
    owner = np.repeat(np.arange(len(sizes)), sizes)
    corners, sizes = corners[~same], np.bincount(owner[~same], minlength=len(sizes))
    if sizes.min() < 3:
        notes.append(f"{(sizes < 3).sum():,} polygons without area left out")
        corners, sizes = _keep(corners, sizes, sizes >= 3)
    return corners, sizes


def _straight(places: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Polygons (P, N, 3), at the origin and of size 1, and three things of each, (P, ...).

    Returns:
        The polygons; their unit normals (P, 3), which are Newell's: the sum of the cross products of neighboring corners, zero
        where that is no more than rounding; how far they are from flat, (P,); and twice the area up to which a triangle has
        none, (P,): far from the origin, coordinates are rounded more.
    """
    far = np.abs(places).max((1, 2))
    places = places - places[:, :1]
    size = np.ptp(places, axis=1).max(1)
    places = places / np.where(size > 0, size, 1)[:, None, None]
    epsilon = EPSILON + _ROUNDED * far / np.where(size > 0, size, np.inf)
    normals = np.cross(places, np.roll(places, -1, 1)).sum(1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = np.where(length > epsilon[:, None], normals / np.where(length > 0, length, 1), 0.0)
    depth = np.ptp(np.einsum("pnk,pk->pn", places, normals), axis=1)
    return places, normals, depth, epsilon


def _project(places: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """Polygons (P, N, 3) as their normals (P, 3) see them, counter-clockwise, (P, N, 2)."""
    axis = np.eye(3)[np.abs(normals).argmin(1)]
    right = np.cross(axis, normals)
    right /= np.maximum(np.linalg.norm(right, axis=1, keepdims=True), 1e-300)
    return np.stack([np.einsum("pnk,pk->pn", places, each) for each in (right, np.cross(normals, right))], -1)


def _fan(size: int) -> np.ndarray:
    """Triangles (N - 2, 3) of the first corner of a polygon of ``size`` corners."""
    second = np.arange(1, size - 1)
    return np.stack([np.zeros_like(second), second, second + 1], -1)
