"""Where a browser's camera stands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from softmine.radiance.cameras import Camera, Pose

Quaternion = tuple[float, float, float, float]
Point = tuple[float, float, float]


@dataclass(frozen=True)
class BrowserCamera:
    """A browser's camera.

    Attributes:
        position: in the scene's world.
        wxyz: rotation from the camera (+x right, +y down, looking along +z) to the world, a unit quaternion.
        fov: vertical angle of view in radians.
        aspect: width over height of the window.
    """

    position: Point
    wxyz: Quaternion
    fov: float
    aspect: float

    def size(self, side: int) -> tuple[int, int]:
        """Width and height of an image whose longer side has ``side`` pixels.

        Example:
            >>> BrowserCamera((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), fov=1.0, aspect=2.0).size(100)
            (100, 50)
        """
        if self.aspect >= 1:
            return side, max(1, round(side / self.aspect))
        return max(1, round(side * self.aspect)), side

    def camera(self, side: int) -> Camera:
        """The pinhole camera of an image whose longer side has ``side`` pixels."""
        width, height = self.size(side)
        # By the exact height, or a coarse image would have another angle than a fine one.
        focal = (side / max(1.0, self.aspect)) / 2 / math.tan(self.fov / 2)
        return Camera(width, height, (focal, focal), (width / 2, height / 2))

    def pose(self) -> Pose:
        """The pose (3, 4), from the camera to the world."""
        x, y, z = self.wxyz[1:]
        matrix = Rotation.from_quat([x, y, z, self.wxyz[0]]).as_matrix()
        return np.concatenate((matrix, np.array(self.position)[:, None]), 1)


def browser_camera_of(camera: Camera, pose: Pose) -> BrowserCamera:
    """The look that sees what a camera of a scene sees, but for its lens distortion and an off-center principal point."""
    x, y, z, w = Rotation.from_matrix(pose[:, :3]).as_quat().tolist()
    fov = 2 * math.atan(camera.height / 2 / camera.focal[1])
    # Pixels need not be square.
    aspect = camera.width / camera.focal[0] * camera.focal[1] / camera.height
    return BrowserCamera(point(pose[:, 3]), (w, x, y, z), fov, aspect)


def upward(poses: Sequence[Pose]) -> Point:
    """The direction that the cameras take for up, on average; a unit vector."""
    mean = -np.mean([pose[:, 1] for pose in poses], axis=0)
    length = float(np.linalg.norm(mean))
    return point(mean / length) if length > 1e-3 else (0.0, 0.0, 1.0)


def point(values: np.ndarray) -> Point:
    """An array (3,) as plain numbers."""
    x, y, z = values.tolist()
    return x, y, z
