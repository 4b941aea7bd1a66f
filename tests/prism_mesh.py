"""A solid with concave polygons, as files of several formats have it, and how far points are from it."""

import numpy as np

OUTLINE = np.array([[0.0, 0.0], [2.0, 0.0], [2.0, 1.0], [1.0, 1.0], [1.0, 2.0], [0.0, 2.0]])
"""An L, counter-clockwise."""
PRISM = np.array([[x, y, z] for z in (0.0, 1.0) for x, y in OUTLINE])
"""Corners of an L-shaped prism of height 1 and volume 3, (12, 3)."""
PRISM_FACES = [
    [5, 4, 3, 2, 1, 0],
    [6, 7, 8, 9, 10, 11],
    *([i, (i + 1) % 6, (i + 1) % 6 + 6, i + 6] for i in range(6)),
]
"""Its two caps, which are concave, and its six sides, seen counter-clockwise from outside."""


def prism_distance(points):
    """Signed distances (N,) of points (N, 3) to the prism: of two cuboids joined, inside of which no wall counts."""
    x, y, z = points.T
    # To the outline, whose sides run along the axes.
    start, end = OUTLINE, np.roll(OUTLINE, -1, 0)
    along = end - start
    flat = points[:, None, :2] - start
    share = np.einsum("psk,sk->ps", flat, along) / np.square(along).sum(1)
    sideways = np.linalg.norm(flat - share.clip(0, 1)[..., None] * along, axis=-1).min(1)
    within = (x > 0) & (y > 0) & (((x < 2) & (y < 1)) | ((x < 1) & (y < 2)))
    sideways = np.where(within, -sideways, sideways)
    above = np.maximum(-z, z - 1)
    outside = np.hypot(sideways.clip(0), above.clip(0))
    return np.where((sideways < 0) & (above < 0), np.maximum(sideways, above), outside)


def volume(mesh):
    """What a mesh encloses."""
    a, b, c = np.moveaxis(mesh.vertices[mesh.faces], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)
