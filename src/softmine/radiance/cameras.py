"""Cameras: from pixels to rays and back, differentiable in the pixels.

One convention, kept everywhere past the readers:

- pixels are (row, column) from the image's upper left corner; the center of pixel (i, j) is (i + 0.5, j + 0.5);
- a camera looks along its +z, with +x to the right and +y down (the axes of OpenCV and COLMAP). Files with the axes
  of OpenGL (+y up, looking along -z) are turned by their readers, with ``from_opengl``;
- a pose (3, 4) takes points of the camera to the world: [R | center].
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from softmine.domain import PerSample
from softmine.errors import SoftmineError
from softmine.radiance import fisheye, panorama
from softmine.radiance.lens_distortion import distort, folds, undistort

Pose = Float[np.ndarray, "3 4"]
Pixels = Float[Tensor, "n 2"]
Vectors = Float[Tensor, "n 3"]
Views = Int[Tensor, "n"]
Indices = Int[Tensor, "n"]


Lens = Literal["perspective", "fisheye", "equirectangular"]


class Rays(NamedTuple):
    """Rays: origins (N, 3) and directions (N, 3)."""

    origins: Vectors
    directions: Vectors


@dataclass(frozen=True)
class Camera:
    """How an image was taken, but from where.

    Attributes:
        width: pixels across.
        height: pixels down.
        focal: focal length along x and y, in pixels.
        center: principal point (x, y) in pixels from the upper left corner.
        distortion: k1, k2, k3, k4, p1, p2, and for a rational model d1, d2, d3 (see ``softmine.radiance.lens_distortion``);
            of a fisheye k1, k2, k3, k4 (see ``softmine.radiance.fisheye``), then zeros.
        lens: how directions become places in the image; ``equirectangular`` has focal lengths too, in pixels a radian.
        circle: radius around the principal point, in focal lengths, beyond which the image shows nothing.
    """

    width: int
    height: int
    focal: tuple[float, float]
    center: tuple[float, float]
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    lens: Lens = "perspective"
    circle: float = math.inf

    def downscaled(self, factor: int) -> Camera:
        """The camera of the image averaged over blocks of ``factor`` x ``factor`` pixels; a rest is cut off.

        Raises:
            SoftmineError: ``factor`` is below 1, or leaves no pixel.
        """
        if not 1 <= factor <= min(self.width, self.height):
            raise SoftmineError(
                f"downscale is {factor}, but the images are {self.width} x {self.height}: "
                f"give a number from 1 to {min(self.width, self.height)}"
            )
        # Lengths from the corner of the image: nothing is added for the centers of pixels.
        return replace(
            self,
            width=self.width // factor,
            height=self.height // factor,
            focal=(self.focal[0] / factor, self.focal[1] / factor),
            center=(self.center[0] / factor, self.center[1] / factor),
        )

    def resized(self, width: int, height: int) -> Camera:
        """The camera of the whole image scaled to another size."""
        across, down = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            focal=(self.focal[0] * across, self.focal[1] * down),
            center=(self.center[0] * across, self.center[1] * down),
        )

    def image_circle(self) -> Bool[np.ndarray, "h w"] | None:
        """The pixels that lie wholly within the circle that the lens shows, (h, w); None where that is all of them.

        Beyond it a pixel has no ray: a fisheye's polynomial would lead back inwards, or past the point behind it.
        """
        circle = self.circle
        if self.lens == "fisheye":
            circle = min(circle, fisheye.radius_of(self.distortion[:4]))
        if circle == math.inf:
            return None
        down, across = (
            np.maximum(np.abs(np.arange(side) - middle), np.abs(np.arange(1, side + 1) - middle)) / focal
            for side, middle, focal in zip(
                (self.height, self.width), self.center[::-1], self.focal[::-1], strict=True
            )
        )
        inside = np.hypot(down[:, None], across) < circle
        return None if inside.all() else inside


def strided(length: int, stride: int) -> Indices:
    """Every ``stride``-th of ``length`` rows or columns of pixels, from the middle of the first stride; at least one.

    Example:
        >>> strided(10, 4), strided(1, 4)
        (tensor([2, 6]), tensor([0]))
    """
    count = max(1, (length + (stride - 1) // 2) // stride)
    return (torch.arange(count) * stride + stride // 2).clamp(max=length - 1)


def focus(poses: Sequence[Pose]) -> Float[np.ndarray, "3"]:
    """The point nearest to all optical axes in the least-squares sense, drawn to the cameras' mean with a weight of 1%.

    That weight decides where the axes do not: where all are parallel.
    """
    centers = np.stack([pose[:, 3] for pose in poses])
    axes = np.stack([pose[:, 2] for pose in poses])
    mean = centers.mean(0)
    across = np.eye(3) - axes[:, :, None] * axes[:, None, :]
    pulled = (across @ (centers - mean)[:, :, None]).mean(0)[:, 0]
    return mean + np.linalg.solve(across.mean(0) + 0.01 * np.eye(3), pulled)


def look_along(
    center: Float[np.ndarray, "3"],
    forward: Float[np.ndarray, "3"],
    up: Float[np.ndarray, "3"] | Sequence[float],
) -> Pose:
    """The pose of a camera at ``center`` that looks along ``forward``, of length 1, with ``up`` upwards."""
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(forward, right), forward, center), 1)


def from_opengl(pose: Pose) -> Pose:
    """A pose whose camera looks along -z with +y up, for a camera that looks along +z with +y down."""
    return pose * np.array([1.0, -1.0, -1.0, 1.0])


class Cameras(nn.Module):
    """Many cameras at once; each sample names its own.

    Args:
        cameras: V of them.
        poses: where they stand, V arrays (3, 4).
        names: what to call them in errors.

    Raises:
        SoftmineError: a lens folds the image over, so that pixels have no unique ray.

    Example:
        >>> cameras = Cameras([Camera(4, 2, (2.0, 2.0), (2.0, 1.0))], [np.eye(4)[:3]])
        >>> rays = cameras.rays(torch.tensor([0]), torch.tensor([[1.0, 2.0]]))
        >>> rays.directions
        tensor([[0., 0., 1.]])
    """

    focal: Tensor
    center: Tensor
    coefficients: Tensor
    poses: Tensor
    bending: Tensor
    reach: Tensor
    is_fisheye: Tensor
    is_panorama: Tensor

    def __init__(self, cameras: Sequence[Camera], poses: Sequence[Pose], names: Sequence[str] = ()) -> None:
        super().__init__()
        for index, camera in enumerate(cameras):
            flat = camera.lens == "perspective" and any(camera.distortion)
            if flat and camera not in cameras[:index] and _folds(camera):
                name = names[index] if names else f"camera {index}"
                raise SoftmineError(
                    f"the lens distortion of {name} folds its image over, so that some pixels have no unique ray; "
                    "check its coefficients (k1, k2, k3, k4, p1, p2), or undistort the images first"
                )
        self.lenses = {camera.lens for camera in cameras}
        # A camera of another lens has zeros: every lens then gives every camera a finite direction.
        flat = [camera.distortion if camera.lens == "perspective" else () for camera in cameras]
        self.distorted = any(any(each) for each in flat)
        length = 9 if any(any(each[6:]) for each in flat) else 6
        self._keep("focal", [camera.focal for camera in cameras])
        self._keep("center", [camera.center for camera in cameras])
        self._keep("coefficients", [(*each, *(0.0,) * length)[:length] for each in flat])
        self._keep("poses", np.stack(poses))
        if self.lenses == {"perspective"}:
            return
        own = [camera.distortion[:4] if camera.lens == "fisheye" else (0.0,) * 4 for camera in cameras]
        self._keep("bending", own)
        self._keep("reach", [fisheye.reach_of(each) for each in own])
        self._keep("is_fisheye", [camera.lens == "fisheye" for camera in cameras], torch.bool)
        self._keep("is_panorama", [camera.lens == "equirectangular" for camera in cameras], torch.bool)

    def _keep(
        self, name: str, values: Sequence[Any] | np.ndarray, dtype: torch.dtype = torch.float32
    ) -> None:
        self.register_buffer(name, torch.tensor(np.asarray(values), dtype=dtype), persistent=False)

    def rays(self, views: Views, pixels: Pixels) -> Rays:
        """Rays through pixels (N, 2), (row, column), of cameras (N,), in world space; directions have length 1.

        Differentiable in ``pixels``, through every lens.
        """
        points = (pixels.flip(-1) - self.center[views]) / self.focal[views]
        plane = undistort(points, self.coefficients[views]) if self.distorted else points
        local = torch.cat((plane, torch.ones_like(plane[:, :1])), -1)
        if "fisheye" in self.lenses:
            seen = fisheye.unproject(points, self.bending[views], self.reach[views])
            local = torch.where(self.is_fisheye[views, None], seen, local)
        if "equirectangular" in self.lenses:
            local = torch.where(self.is_panorama[views, None], panorama.unproject(points), local)
        poses = self.poses[views]
        directions = (poses[:, :, :3] * local[:, None, :]).sum(-1)
        return Rays(poses[:, :, 3].to(directions.dtype), nn.functional.normalize(directions, dim=-1))

    def project(self, views: Views, points: Vectors) -> tuple[Pixels, PerSample]:
        """Pixels (N, 2), (row, column), where cameras (N,) see world points (N, 3), and depths (N,) along their axes.

        Points behind a camera have a depth below 0, and pixels that mean nothing. A fisheye or a panorama sees sideways
        and backwards too: its depths are distances, below 0 for what the fisheye does not show.
        """
        poses = self.poses[views]
        local = (poses[:, :, :3] * (points - poses[:, :, 3])[:, :, None]).sum(1)
        plane, depth = local[:, :2] / local[:, 2:], local[:, 2]
        if self.distorted:
            plane = distort(plane, self.coefficients[views])
        distance = depth if self.lenses == {"perspective"} else local.norm(dim=-1)
        if "fisheye" in self.lenses:
            reach, here = self.reach[views], self.is_fisheye[views]
            seen, angle = fisheye.project(local, self.bending[views], reach)
            plane = torch.where(here[:, None], seen, plane)
            depth = torch.where(here, torch.where(angle < reach, distance, -distance), depth)
        if "equirectangular" in self.lenses:
            here = self.is_panorama[views]
            plane = torch.where(here[:, None], panorama.project(local), plane)
            depth = torch.where(here, distance, depth)
        return (plane * self.focal[views] + self.center[views]).flip(-1), depth


def to_ndc(rays: Rays, scale: tuple[float, float], near: float) -> Rays:
    """Rays in normalized device coordinates: from the near plane at t = 0 to infinity at t = 1.

    For cameras that all look about along the world's -z, whose +y is up. The plane z = -near becomes z' = -1, infinity
    becomes z' = 1, and what the reference camera at the origin sees lies in [-1, 1]^3. Straight lines stay straight, so a
    ray is still origin + t * direction; directions are not of length 1.

    Args:
        rays: in the world; their directions may have any length, and a z below 0.
        scale: 2 f_x / width and 2 f_y / height of the reference camera.
        near: distance of the near plane.

    Source: Mildenhall et al. 2020 (NeRF), appendix C.
    """
    origins, directions = rays
    origins = origins - ((near + origins[:, 2:]) / directions[:, 2:]) * directions
    across, down = scale
    at_near = origins[:, :2] / origins[:, 2:]
    depth = 2 * near / origins[:, 2:]
    moved = directions[:, :2] / directions[:, 2:] - at_near
    return Rays(
        torch.cat((-across * at_near[:, :1], -down * at_near[:, 1:], 1 + depth), -1),
        torch.cat((-across * moved[:, :1], -down * moved[:, 1:], -depth), -1),
    )


def _folds(camera: Camera) -> bool:
    """Whether the lens folds the plane over within the image, judged along its border."""
    share = torch.linspace(0, 1, 33, dtype=torch.float64)
    zero, one = torch.zeros_like(share), torch.ones_like(share)
    border = torch.cat(
        [torch.stack(side, -1) for side in ((share, zero), (share, one), (zero, share), (one, share))]
    )
    size = border.new_tensor([camera.width, camera.height])
    points = (border * size - border.new_tensor(camera.center)) / border.new_tensor(camera.focal)
    return folds(points, border.new_tensor(camera.distortion).expand(len(points), -1))
