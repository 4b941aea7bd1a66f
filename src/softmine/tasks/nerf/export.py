"""What a radiance field has learned, for other programs: its surface as a colored mesh, or the points that are seen."""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from softmine.checks import out_of_range
from softmine.errors import ArgumentError, SoftmineError
from softmine.radiance.background import from_channels
from softmine.radiance.bounded_rays import BoundedRays
from softmine.radiance.field import RadianceField
from softmine.radiance.photos import Photos
from softmine.radiance.ray_types import PerPoint
from softmine.radiance.renderer import CHUNK, Renderer
from softmine.radiance.scenes.scene import Scene
from softmine.runs.images import to_bytes
from softmine.runs.task import Report, silent
from softmine.signals.shape.mesh_tree import Faces, Points
from softmine.tasks.meshing import (
    Colors,
    NoSurface,
    check_resolution,
    check_smallest,
    marching_cubes,
)
from softmine.tasks.nerf.rendering import render_rays
from softmine.training.evaluation import at_rest

POINTS = 2**16
"""Points that the field is evaluated at, at a time."""
FARTHEST = 100.0
"""Distance from the scene's center, in its units, past which no point is kept: contracted cells are as wide as that
there."""
MOST_POINTS = 10_000_000
_FADE = 3.0
"""Logarithm of density over level from which it no longer matters: between a wall and nothing the surface lies midway."""


@torch.no_grad()
def surface(
    renderer: Renderer,
    scene: Scene,
    device: torch.device,
    resolution: int,
    *,
    level: float | None = None,
    smallest: int = 0,
    report: Report = silent,
) -> tuple[Points, Faces, Colors, float]:
    """Where a field's density passes ``level``, by marching cubes, in the coordinates of the scene's file.

    A scene in a box is meshed in its cube; of an unbounded one, only the unit ball around what the cameras look at, in
    which space is not contracted, and the surface is closed there. Cells that the occupancy grid leaves out of renders are
    empty. Vertices have the color that is seen from straight above them.

    Args:
        renderer: the field; left in the mode it was in.
        scene: what it was trained on.
        device: where the field is.
        resolution: cells a side of the grid.
        level: density per unit of length of the scene's file; by default that at which a cell of the grid lets half of
            the light through.
        smallest: pieces of fewer triangles are left out.
        report: called with the share done; may raise.

    Returns:
        Vertices (V, 3), outward triangles (F, 3), colors (V, 3) and the level.

    Raises:
        SoftmineError: the scene is in normalized device coordinates, nothing has that density, or a setting is out of
            range.
    """
    check_resolution(resolution)
    if scene.bounds.kind == "ndc":
        raise ArgumentError(
            "{scene} was learned in normalized device coordinates, where density has no unit of length and a mesh would "
            "reach to infinity: write what its cameras see with {points} N",
            scene=scene.name,
        )
    field = renderer.field
    # More than a cell beyond the ball, whose surface the sides of the cube would cut otherwise.
    extent = 2 + 8 / resolution if field.contracts else field.side
    low = torch.full((3,), -extent / 2) if field.contracts else field.center.cpu() - extent / 2
    if level is None:
        level = math.log(2) * resolution * scene.scale / extent
    if not 0 < level < math.inf:
        raise out_of_range("level", level, "give a density above 0")
    least, most, done = math.inf, 0.0, 0
    total = (resolution + 1) ** 2 * (resolution - 1)

    def inside(coords: Tensor) -> Tensor:
        nonlocal least, most, done
        parts = []
        for part in coords.split(POINTS):
            points = low + part * extent
            density = _density(field, points.to(device)).cpu() * (scene.scale / field.side)
            value = (density / level).clamp(min=1e-30).log().clamp(-_FADE, _FADE)
            if field.contracts:
                radius = points.norm(dim=-1)
                value = value.minimum((1 - radius) * (resolution / extent))
                density = density[radius < 1]
            if len(density):
                if not density.isfinite().all():
                    raise SoftmineError(
                        "the field's density is not finite: the run has diverged, train it anew"
                    )
                least, most = min(least, density.min().item()), max(most, density.max().item())
            parts.append(value)
            done += len(part)
            report(0.95 * done / total)
        return torch.cat(parts)

    with at_rest(renderer):
        try:
            vertices, faces = marching_cubes(inside, resolution)
        except NoSurface:
            vertices, faces = np.empty((0, 3)), np.empty((0, 3), np.int64)
        if not len(faces) or least > level:
            side = "below" if most < level else "above"
            raise ArgumentError(
                "there is no surface: the field's density lies {side} the level {given:.3g} everywhere, from {least:.3g} "
                "to {most:.3g}: give a {level} between, or train it for longer",
                side=side,
                given=level,
                least=least,
                most=most,
            )
        vertices, faces = large_pieces(vertices, faces, smallest)
        points = low.double().numpy() + vertices * extent
        colors = _colors(field, points, normals(vertices, faces), device)
    report(1.0)
    return points / scene.scale + np.array(scene.center), faces, colors, level


@torch.no_grad()
def visible_points(
    renderer: Renderer, photos: Photos, device: torch.device, count: int, report: Report = silent
) -> tuple[Points, Colors]:
    """Points where the training views' rays meet something, at most ``count``, as many from each view.

    They lie at the mean depth of pixels, drawn at random (always the same), whose opacity is above 0.5; pixels that a mask
    leaves out are not looked through. Where near and far share a pixel the mean lies between them.

    Args:
        renderer: the field; left in the mode it was in.
        photos: the views.
        device: where the field is.
        count: 1 to ten million.
        report: called with the share done; may raise.

    Returns:
        Positions (P, 3) and colors (P, 3). Positions are in the coordinates of the scene's file; for a scene in normalized
        device coordinates in its unit of length, but from the cameras' mean, along the mean camera's right, up and back.

    Raises:
        SoftmineError: ``count`` is out of range, or nothing is seen.
    """
    if not 1 <= count <= MOST_POINTS:
        raise out_of_range("points", count, f"give a number from 1 to {MOST_POINTS:,}")
    scene, views = photos.scene, len(photos.views)
    generator = torch.Generator().manual_seed(0)
    positions, colors = [np.empty((0, 3))], [np.empty((0, 3), np.uint8)]
    with at_rest(renderer):
        for view in range(views):
            wanted = (view + 1) * count // views - view * count // views
            camera = photos.views[view].camera
            places = torch.randperm(camera.height * camera.width, generator=generator)
            valid = photos.valid(view)
            if valid is not None:
                places = places[torch.from_numpy(valid).reshape(-1)[places]]
            start = 0
            while wanted > 0 and start < len(places):
                report(view / views)
                part = places[start : start + min(CHUNK, 2 * wanted + 64)]
                start += len(part)
                pixels = torch.stack([part // camera.width, part % camera.width], -1) + 0.5
                rays = photos.cameras.rays(torch.full_like(part, view), pixels)
                seen, depth = render_rays(renderer, scene, rays, device)
                points = rays.origins + depth[:, None] * rays.directions
                # Comparing with infinity or NaN is false.
                kept = (points.norm(dim=-1) < FARTHEST).nonzero()[:wanted, 0]
                wanted -= len(kept)
                positions.append(points[kept].double().numpy())
                colors.append(to_bytes(_own_color(seen[kept]).numpy()))
            report((view + 1) / views)
    points = np.concatenate(positions) / scene.scale
    if not len(points):
        raise SoftmineError(
            "nothing is seen: no pixel of the training views is half opaque; train it for longer"
        )
    return points if scene.ndc else points + np.array(scene.center), np.concatenate(colors)


def large_pieces(
    vertices: Points, faces: Faces, smallest: int
) -> tuple[Float[np.ndarray, "kept 3"], Int[np.ndarray, "left 3"]]:
    """The pieces of a mesh (V, 3), (F, 3) that have ``smallest`` triangles or more.

    Raises:
        SoftmineError: there is none, or ``smallest`` is below 0.
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    check_smallest(smallest)
    if smallest <= 1:
        return vertices, faces
    edges = faces[:, [0, 1, 1, 2]].reshape(-1, 2)
    graph = coo_matrix((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), (len(vertices),) * 2)
    piece = connected_components(graph, directed=False)[1][faces[:, 0]]
    size = np.bincount(piece)
    kept = size[piece] >= smallest
    if not kept.any():
        raise ArgumentError(
            "{smallest} is {given}, but the largest piece has {most:,} triangles",
            given=smallest,
            most=size.max(),
        )
    used, corners = np.unique(faces[kept], return_inverse=True)
    return vertices[used], corners.reshape(-1, 3)


def normals(vertices: Points, faces: Faces) -> Points:
    """Unit normals (V, 3) of the vertices (V, 3) of triangles (F, 3), which count by their areas."""
    corners = vertices[faces]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    sums = [np.bincount(faces.reshape(-1), np.repeat(across[:, axis], 3), len(vertices)) for axis in range(3)]
    total = np.stack(sums, -1)
    return total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-30)


def _density(field: RadianceField, points: Float[Tensor, "p 3"]) -> PerPoint:
    """Density per side of the cube, (P,), of points (P, 3) of the scene; 0 where renders take it to be."""
    unit = field.to_unit(points).clamp(0, 1 - 2**-24)
    if not isinstance(field.rays, BoundedRays):
        return field.density(unit)
    occupied = field.rays.occupancy.occupied
    x, y, z = (unit * len(occupied)).long().unbind(-1)
    density = unit.new_zeros(len(unit))
    here = occupied[x, y, z].nonzero()[:, 0]
    if len(here):
        density[here] = field.density(unit[here])
    return density


def _colors(field: RadianceField, points: Points, outward: Points, device: torch.device) -> Colors:
    """Colors (V, 3) of points (V, 3) of the scene, seen against their normals (V, 3)."""
    parts = []
    for place, normal in zip(
        torch.from_numpy(points).float().split(POINTS),
        torch.from_numpy(outward).float().split(POINTS),
        strict=True,
    ):
        _, geometry = field.geometry(field.to_unit(place.to(device)).clamp(0, 1 - 2**-24))
        rays = torch.arange(len(place), device=device)
        parts.append(to_bytes(field.colors(geometry, -normal.to(device), rays).numpy(force=True)))
    return np.concatenate(parts)


def _own_color(channels: Float[Tensor, "n c"]) -> Float[Tensor, "n 3"]:
    """The color (N, 3) of what is seen, without what is seen through it."""
    if channels.shape[1] == 3:
        return channels
    premultiplied, opacity = from_channels(channels)
    return premultiplied / opacity[:, None].clamp(min=1e-6)
