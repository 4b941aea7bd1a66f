"""Compiled loops over triangles in a tree of boxes: the closest one, and winding numbers.

The tree is complete: node i has the children 2i + 1 and 2i + 2, and leaf l the triangles from ``starts[l]`` on,
so there are no pointers. Loops share their work as those of ``softmine.kernels`` do (see ``kernels/thread_pool.py``).
"""

from __future__ import annotations

import math

import numpy as np

from softmine.kernels.cpu.jit import compiled, take

POINTS = 64
"""Points a part."""
FACE = 6
"""Feature that is the inside of a triangle; 0 to 2 are its corners, 3 to 5 the edges that begin there."""
FAR = 3.0
"""Radii of a node from which its triangles count as one, for winding numbers."""


@compiled
def _box_distance(x, y, z, box):
    """Squared distance of a point to a box (6,): low x, y, z, high x, y, z."""
    dx = max(box[0] - x, 0.0, x - box[3])
    dy = max(box[1] - y, 0.0, y - box[4])
    dz = max(box[2] - z, 0.0, z - box[5])
    return dx * dx + dy * dy + dz * dz


@compiled
def _closest_in_triangle(x, y, z, triangle):
    """Barycentric weights of corners b and c at the point of a triangle (3, 3) closest to (x, y, z), and its feature.

    By the Voronoi regions of the triangle's corners, edges and inside (Ericson, Real-Time Collision Detection, 5.1.5).
    """
    abx, aby, abz = (
        triangle[1, 0] - triangle[0, 0],
        triangle[1, 1] - triangle[0, 1],
        triangle[1, 2] - triangle[0, 2],
    )
    acx, acy, acz = (
        triangle[2, 0] - triangle[0, 0],
        triangle[2, 1] - triangle[0, 1],
        triangle[2, 2] - triangle[0, 2],
    )
    px, py, pz = x - triangle[0, 0], y - triangle[0, 1], z - triangle[0, 2]
    bb = abx * abx + aby * aby + abz * abz
    bc = abx * acx + aby * acy + abz * acz
    cc = acx * acx + acy * acy + acz * acz
    pb = px * abx + py * aby + pz * abz
    pc = px * acx + py * acy + pz * acz
    if pb <= 0.0 and pc <= 0.0:
        return 0.0, 0.0, 0
    if pb >= bb and pc - bc <= pb - bb:
        return 1.0, 0.0, 1
    if pc >= cc and pb - bc <= pc - cc:
        return 0.0, 1.0, 2
    # Areas opposite the corners, times twice the triangle's.
    of_b = cc * pb - bc * pc
    of_c = bb * pc - bc * pb
    whole = bb * cc - bc * bc
    if of_c <= 0.0 and 0.0 <= pb <= bb:
        return pb / bb, 0.0, 3
    if of_b <= 0.0 and 0.0 <= pc <= cc:
        return 0.0, pc / cc, 5
    along = (pc - bc) - (pb - bb)
    if of_b + of_c >= whole and along >= 0.0 and (pb - bc) - (pc - cc) >= 0.0:
        share = along / (bb - 2.0 * bc + cc)
        return 1.0 - share, share, 4
    return of_b / whole, of_c / whole, FACE


@compiled
def closest(
    queue, points, limit, seeds, boxes, starts, triangles, normals, signed, distances, nearest, places
):
    """The closest point of the surface to each of ``points`` (N, 3).

    Nothing is looked for beyond ``limit``: there ``places`` is -1 and ``distances`` is ``limit``. ``seeds`` (N,) are
    places of triangles that may be near, or -1. With ``signed``, distances are negative on the inner side of
    ``normals`` (T, 7, 3), one for each feature.
    """
    first_leaf = len(boxes) // 2
    waiting = np.empty(64, np.int64)
    waiting_distance = np.empty(64, np.float64)
    count = len(points)
    while True:
        start = take(queue) * POINTS
        if start >= count:
            break
        for n in range(start, min(start + POINTS, count)):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            best = limit * limit
            place, feature = -1, 0
            cx, cy, cz = 0.0, 0.0, 0.0
            seed = seeds[n]
            if seed >= 0:
                b, c, _ = _closest_in_triangle(x, y, z, triangles[seed])
                distance = 0.0
                for axis, p in enumerate((x, y, z)):
                    at = triangles[seed, 0, axis]
                    at += b * (triangles[seed, 1, axis] - triangles[seed, 0, axis])
                    at += c * (triangles[seed, 2, axis] - triangles[seed, 0, axis])
                    distance += (p - at) ** 2
                # A little more, so that the seed itself is found again, with its feature.
                best = min(best, distance * (1.0 + 1e-9) + 1e-30)
            waiting[0], waiting_distance[0] = 0, _box_distance(x, y, z, boxes[0])
            height = 1
            while height > 0:
                height -= 1
                node = waiting[height]
                if waiting_distance[height] >= best:
                    continue
                while 0 <= node < first_leaf:
                    near, far = 2 * node + 1, 2 * node + 2
                    near_distance = _box_distance(x, y, z, boxes[near])
                    far_distance = _box_distance(x, y, z, boxes[far])
                    if far_distance < near_distance:
                        near, far = far, near
                        near_distance, far_distance = far_distance, near_distance
                    if far_distance < best:
                        waiting[height], waiting_distance[height] = far, far_distance
                        height += 1
                    node = near if near_distance < best else -1
                if node < 0:
                    continue
                for t in range(starts[node - first_leaf], starts[node - first_leaf + 1]):
                    triangle = triangles[t]
                    b, c, which = _closest_in_triangle(x, y, z, triangle)
                    a = 1.0 - b - c
                    qx = a * triangle[0, 0] + b * triangle[1, 0] + c * triangle[2, 0]
                    qy = a * triangle[0, 1] + b * triangle[1, 1] + c * triangle[2, 1]
                    qz = a * triangle[0, 2] + b * triangle[1, 2] + c * triangle[2, 2]
                    distance = (x - qx) ** 2 + (y - qy) ** 2 + (z - qz) ** 2
                    if distance < best:
                        best, place, feature = distance, t, which
                        cx, cy, cz = qx, qy, qz
            places[n] = place
            nearest[n, 0], nearest[n, 1], nearest[n, 2] = cx, cy, cz
            if place < 0:
                distances[n] = limit
                continue
            sign = 1.0
            if signed:
                normal = normals[place, feature]
                if (x - cx) * normal[0] + (y - cy) * normal[1] + (z - cz) * normal[2] < 0.0:
                    sign = -1.0
            distances[n] = sign * math.sqrt(best)


@compiled
def _solid_angle(x, y, z, triangle):
    """Solid angle of a triangle (3, 3) seen from a point (van Oosterom and Strackee 1983)."""
    ax, ay, az = triangle[0, 0] - x, triangle[0, 1] - y, triangle[0, 2] - z
    bx, by, bz = triangle[1, 0] - x, triangle[1, 1] - y, triangle[1, 2] - z
    cx, cy, cz = triangle[2, 0] - x, triangle[2, 1] - y, triangle[2, 2] - z
    a = math.sqrt(ax * ax + ay * ay + az * az)
    b = math.sqrt(bx * bx + by * by + bz * bz)
    c = math.sqrt(cx * cx + cy * cy + cz * cz)
    volume = ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) + az * (bx * cy - by * cx)
    ab = ax * bx + ay * by + az * bz
    bc = bx * cx + by * cy + bz * cz
    ca = cx * ax + cy * ay + cz * az
    return 2.0 * math.atan2(volume, a * b * c + ab * c + bc * a + ca * b)


@compiled
def winding(queue, points, boxes, starts, triangles, moments, result):
    """Winding number of the surface about each of ``points`` (N, 3): about 1 inside, 0 outside, between at holes.

    ``moments`` (M, 7) are center, sum of area normals and radius of each node.
    """
    first_leaf = len(boxes) // 2
    waiting = np.empty(64, np.int64)
    count = len(points)
    while True:
        start = take(queue) * POINTS
        if start >= count:
            break
        for n in range(start, min(start + POINTS, count)):
            x, y, z = points[n, 0], points[n, 1], points[n, 2]
            total = 0.0
            waiting[0], height = 0, 1
            while height > 0:
                height -= 1
                node = waiting[height]
                moment = moments[node]
                dx, dy, dz = moment[0] - x, moment[1] - y, moment[2] - z
                squared = dx * dx + dy * dy + dz * dz
                if squared > (FAR * moment[6]) ** 2:
                    total += (dx * moment[3] + dy * moment[4] + dz * moment[5]) / (
                        squared * math.sqrt(squared)
                    )
                elif node < first_leaf:
                    waiting[height], waiting[height + 1] = 2 * node + 1, 2 * node + 2
                    height += 2
                else:
                    for t in range(starts[node - first_leaf], starts[node - first_leaf + 1]):
                        total += _solid_angle(x, y, z, triangles[t])
            result[n] = total / (4.0 * math.pi)


@compiled
def rasterize(corners, depth, faces):
    """Draws triangles ``corners`` (T, 3, 3), in (column, row, depth) of pixels, the least depth in front.

    ``depth`` (H, W) begins infinite and ``faces`` (H, W) at -1; both are filled at the centers of pixels.
    """
    height, width = depth.shape
    for t in range(len(corners)):
        ax, ay, az = corners[t, 0]
        bx, by, bz = corners[t, 1]
        cx, cy, cz = corners[t, 2]
        whole = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if whole == 0.0:
            continue
        left = max(0, math.ceil(min(ax, bx, cx) - 0.5))
        right = min(width - 1, math.floor(max(ax, bx, cx) - 0.5))
        top = max(0, math.ceil(min(ay, by, cy) - 0.5))
        bottom = min(height - 1, math.floor(max(ay, by, cy) - 0.5))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                b = ((x - ax) * (cy - ay) - (cx - ax) * (y - ay)) / whole
                c = ((bx - ax) * (y - ay) - (x - ax) * (by - ay)) / whole
                if b < 0.0 or c < 0.0 or b + c > 1.0:
                    continue
                z = az + b * (bz - az) + c * (cz - az)
                if z < depth[row, column]:
                    depth[row, column], faces[row, column] = z, t
