"""Writes tiny scenes in other programs' formats."""

import json
import math
import struct

import numpy as np
import PIL.Image


def look(turn, height=0.5, distance=4.0):
    """Camera to world (4, 4), OpenGL axes, from a circle towards the origin, +z up."""
    level = math.sqrt(1 - height**2)
    center = distance * np.array([level * math.cos(turn), level * math.sin(turn), height])
    back = center / distance
    right = np.cross([0.0, 0.0, 1.0], back)
    right /= np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3] = np.stack((right, np.cross(back, right), back, center), 1)
    return pose


def picture(path, width=8, height=6, channels=3, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    PIL.Image.fromarray(random.integers(0, 256, (height, width, channels), dtype=np.uint8)).save(path)


def write_json(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def write_blender(folder, train=4, test=2, channels=4):
    for split, count in (("train", train), ("test", test)):
        frames = []
        for index in range(count):
            picture(folder / split / f"r_{index}.png", 8, 6, channels, index)
            pose = look(index + 0.5 * (split == "test")).tolist()
            frames.append({"file_path": f"./{split}/r_{index}", "transform_matrix": pose})
        write_json(folder / f"transforms_{split}.json", {"camera_angle_x": 0.8, "frames": frames})
    return folder


def nerfstudio(folder, count=10, **more):
    """What goes into ``transforms.json``; writes the pictures."""
    frames = []
    for index in range(count):
        picture(folder / "images" / f"{index:02d}.png", seed=index)
        frames.append(
            {"file_path": f"images/{index:02d}.png", "transform_matrix": look(0.6 * index).tolist()}
        )
    return {"fl_x": 9.0, "fl_y": 9.5, "cx": 4.1, "cy": 2.9, "w": 8, "h": 6, "frames": frames, **more}


def write_llff(folder, count=9, turn=0.0, images="images_4", size=(8, 6)):
    rows = []
    for index in range(count):
        picture(folder / images / f"{index:02d}.png", *size, seed=index)
        pose = look(turn * index + 0.02 * index, 0.1 + 0.01 * index)[:3]
        down_right_back = np.stack((-pose[:, 1], pose[:, 0], pose[:, 2], pose[:, 3]), 1)
        rows.append([*np.column_stack((down_right_back, [24.0, 32.0, 30.0])).ravel(), 2.0 + 0.1 * index, 9.0])
    np.save(folder / "poses_bounds.npy", np.array(rows))
    return folder


COLMAP_CAMERAS = [  # number, model's number, model, parameters
    (1, 0, "SIMPLE_PINHOLE", (9.0, 4.0, 3.0)),
    (2, 1, "PINHOLE", (9.0, 9.5, 4.1, 2.9)),
    (3, 2, "SIMPLE_RADIAL", (9.0, 4.0, 3.0, 0.01)),
    (4, 3, "RADIAL", (9.0, 4.0, 3.0, 0.01, -0.002)),
    (5, 4, "OPENCV", (9.0, 9.5, 4.1, 2.9, 0.01, -0.002, 0.003, 0.004)),
]


def colmap_images(count=10):
    """(number, quaternion, translation, camera, name), and the poses that they stand for, in OpenCV axes."""
    images, poses = [], []
    for index in range(count):
        pose = look(0.6 * index)[:3] * [1, -1, -1, 1]
        rotation, center = pose[:, :3].T, pose[:, 3]
        values, vectors = np.linalg.eigh(_quaternion_form(rotation))
        quaternion = vectors[:, values.argmax()]
        images.append((index + 1, quaternion, -rotation @ center, index % 5 + 1, f"{index:02d}.png"))
        poses.append(pose)
    return images, poses


def _quaternion_form(rotation):
    """The symmetric matrix whose largest eigenvector is the quaternion (w, x, y, z)."""
    (a, b, c), (d, e, f), (g, h, i) = rotation
    return np.array(
        [
            [a + e + i, h - f, c - g, d - b],
            [h - f, a - e - i, b + d, c + g],
            [c - g, b + d, e - a - i, f + h],
            [d - b, c + g, f + h, i - a - e],
        ]
    )


POINTS = np.array([[0.1, 0.2, 0.3], [-0.5, 0.4, 0.0], [0.3, -0.6, -0.2]])


def write_colmap(folder, count=10, binary=True, cameras=COLMAP_CAMERAS):
    model = folder / "sparse" / "0"
    model.mkdir(parents=True)
    images, poses = colmap_images(count)
    for image in images:
        picture(folder / "images" / image[4], seed=image[0])
    if binary:
        data = struct.pack("<Q", len(cameras))
        for number, kind, _, parameters in cameras:
            data += struct.pack(f"<iiQQ{len(parameters)}d", number, kind, 8, 6, *parameters)
        (model / "cameras.bin").write_bytes(data)
        data = struct.pack("<Q", count)
        for number, quaternion, translation, camera, name in images:
            data += struct.pack("<i7di", number, *quaternion, *translation, camera) + name.encode() + b"\0"
            data += struct.pack("<Q", 2) + struct.pack("<ddqddq", 1.0, 2.0, 1, 3.0, 4.0, -1)
        (model / "images.bin").write_bytes(data)
        data = struct.pack("<Q", len(POINTS))
        for number, point in enumerate(POINTS):
            data += struct.pack("<Q3d3BdQ", number, *point, 1, 2, 3, 0.5, 2) + struct.pack(
                "<iiii", 1, 0, 2, 0
            )
        (model / "points3D.bin").write_bytes(data)
    else:
        lines = ["# cameras"]
        lines += [f"{number} {name} 8 6 {' '.join(map(repr, values))}" for number, _, name, values in cameras]
        (model / "cameras.txt").write_text("\n".join(lines) + "\n")
        lines = ["# images"]
        for number, quaternion, translation, camera, name in images:
            numbers = " ".join(repr(float(value)) for value in (*quaternion, *translation))
            lines += [f"{number} {numbers} {camera} {name}", "" if number % 2 else "1.0 2.0 1 3.0 4.0 -1"]
        (model / "images.txt").write_text("\n".join(lines) + "\n")
        lines = [f"{number} {' '.join(map(str, point))} 1 2 3 0.5 1 0" for number, point in enumerate(POINTS)]
        (model / "points3D.txt").write_text("# points\n" + "\n".join(lines) + "\n")
    return model, poses
