"""Exact distances to the triangles of a mesh, and which side a point is on."""

from __future__ import annotations

import math

import numpy as np
from jaxtyping import Float, Int

from softmine.kernels import thread_pool

LEAF = 4
"""Most triangles in a leaf."""

Points = Float[np.ndarray, "n 3"]
Numbers = Float[np.ndarray, "n"]
Places = Int[np.ndarray, "n"]
Faces = Int[np.ndarray, "f 3"]
Triangles = Float[np.ndarray, "f 3 3"]


class MeshTree:
    """Triangles in a tree of boxes, to find the closest one to a point.

    Distances are exact. Their sign is that of the angle-weighted normal of the closest face, edge or corner
    (Baerentzen and Aanaes 2005), which is right wherever the mesh is closed, manifold and oriented outwards. The
    winding number (Jacobson et al. 2013) defines the inside of other meshes; triangles far away count as one dipole a
    node (Barill et al. 2018, first order, at three radii), which leaves an error of a few hundredths.

    Args:
        vertices: (V, 3) float64.
        faces: corners of each triangle, (F, 3), at least one; none may be without area.

    Example:
        >>> corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=np.float64)
        >>> tree = MeshTree(corners, np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]))
        >>> distances, nearest, places = tree.closest(np.array([[0.2, 0.2, -0.5], [0.2, 0.2, 0.1]]))
        >>> distances.round(3).tolist()
        [0.5, -0.1]
        >>> (tree.winding(np.array([[0.2, 0.2, -0.5], [0.2, 0.2, 0.1]])).round(2) + 0).tolist()
        [0.0, 1.0]
    """

    def __init__(self, vertices: Points, faces: Faces) -> None:
        corners = vertices[faces]
        depth = max(0, math.ceil(math.log2(len(faces) / LEAF)))
        order = _leaf_order(corners.mean(1), depth)
        self.triangles = np.ascontiguousarray(corners[order])
        self._normals = _normals(vertices, faces)[order]
        self._starts = _leaf_starts(len(faces), depth)
        self._boxes = _boxes(self.triangles, depth)
        self._moments: np.ndarray | None = None

    def closest(
        self,
        points: Points,
        *,
        limit: float = np.inf,
        seeds: Places | None = None,
        signed: bool = True,
    ) -> tuple[Numbers, Points, Places]:
        """Distances (N,), closest points of the surface (N, 3), and the places in the tree where they are, (N,).

        Args:
            points: (N, 3).
            limit: where nothing is closer than this the distance is ``limit`` and the place is -1.
            seeds: places of triangles that may be close, (N,), or -1; they make it faster.
            signed: negative distances inside.
        """
        from softmine.signals.shape import mesh_kernels

        points = np.ascontiguousarray(points, np.float64)
        count = len(points)
        seeds = np.full(count, -1) if seeds is None else np.ascontiguousarray(seeds, np.int64)
        distances, nearest, places = np.empty(count), np.empty((count, 3)), np.empty(count, np.int64)
        surface = (self._boxes, self._starts, self.triangles, self._normals, signed)
        arrays = (points, float(limit), seeds, *surface, distances, nearest, places)
        thread_pool.run(mesh_kernels.closest, *arrays, parts=-(-count // mesh_kernels.POINTS))
        return distances, nearest, places

    def winding(self, points: Points) -> Numbers:
        """Winding numbers (N,) about points (N, 3)."""
        from softmine.signals.shape import mesh_kernels

        if self._moments is None:
            self._moments = _moments(self.triangles, self._starts, self._boxes)
        points = np.ascontiguousarray(points, np.float64)
        result = np.empty(len(points))
        arrays = (points, self._boxes, self._starts, self.triangles, self._moments, result)
        thread_pool.run(mesh_kernels.winding, *arrays, parts=-(-len(points) // mesh_kernels.POINTS))
        return result


def _leaf_starts(count: int, level: int) -> Places:
    """Where each of the 2^level nodes of a level begins, and where the last one ends, among ``count`` triangles."""
    return np.arange((1 << level) + 1) * count >> level


def _leaf_order(centers: Points, depth: int) -> Places:
    """Triangles in the order of the tree's leaves.

    Level by level, each node's triangles are split in two halves along the axis on which they spread most.
    """
    order = np.arange(len(centers))
    for level in range(depth):
        starts = _leaf_starts(len(centers), level)
        inside = centers[order]
        spread = np.maximum.reduceat(inside, starts[:-1]) - np.minimum.reduceat(inside, starts[:-1])
        node = np.repeat(np.arange(1 << level), np.diff(starts))
        key = inside[np.arange(len(order)), spread.argmax(-1)[node]]
        order = order[np.lexsort((key, node))]
    return order


def _boxes(triangles: Triangles, depth: int) -> Float[np.ndarray, "m 6"]:
    """Boxes of all nodes, the root first, rounded outwards to float32."""
    starts = _leaf_starts(len(triangles), depth)[:-1]
    low = np.minimum.reduceat(triangles.min(1), starts)
    high = np.maximum.reduceat(triangles.max(1), starts)
    levels = [(low, high)]
    while len(low) > 1:
        low, high = low.reshape(-1, 2, 3).min(1), high.reshape(-1, 2, 3).max(1)
        levels.append((low, high))
    low, high = (np.concatenate(side[::-1]).astype(np.float32) for side in zip(*levels, strict=True))
    return np.concatenate([np.nextafter(low, -np.inf), np.nextafter(high, np.inf)], -1, dtype=np.float32)


def _normals(vertices: Points, faces: Faces) -> Float[np.ndarray, "f 7 3"]:
    """Outward normals of each face's three corners, three edges and inside; their lengths mean nothing."""
    corners = vertices[faces]
    sides = np.roll(corners, -1, 1) - corners
    normal = np.cross(sides[:, 0], sides[:, 1])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    back = -np.roll(sides, 1, 1)
    angle = np.arctan2(np.linalg.norm(np.cross(sides, back), axis=-1), (sides * back).sum(-1))
    of_corner = np.zeros_like(vertices)
    np.add.at(of_corner, faces, angle[..., None] * normal[:, None])
    ends = np.sort(np.stack([faces, np.roll(faces, -1, 1)], -1), -1)
    _, edge = np.unique(ends[..., 0] * len(vertices) + ends[..., 1], return_inverse=True)
    of_edge = np.zeros((edge.max() + 1, 3))
    edge = edge.reshape(faces.shape)
    np.add.at(of_edge, edge, np.repeat(normal[:, None], 3, 1))
    return np.concatenate([of_corner[faces], of_edge[edge], normal[:, None]], 1)


def _moments(
    triangles: Triangles, starts: Places, boxes: Float[np.ndarray, "m 6"]
) -> Float[np.ndarray, "m 7"]:
    """Area-weighted center, sum of area normals, and radius about the center, of every node."""
    vector = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0]) / 2
    area = np.linalg.norm(vector, axis=-1, keepdims=True)
    parts = np.concatenate([area * triangles.mean(1), vector, area], -1)
    level = np.add.reduceat(parts, starts[:-1])
    levels = [level]
    while len(level) > 1:
        level = level.reshape(-1, 2, 7).sum(1)
        levels.append(level)
    moments = np.concatenate(levels[::-1])
    moments[:, :3] /= moments[:, 6:]
    reach = np.maximum(np.abs(boxes[:, :3] - moments[:, :3]), np.abs(boxes[:, 3:] - moments[:, :3]))
    moments[:, 6] = np.linalg.norm(reach, axis=-1)
    return moments
