"""Reads the triangles of glTF 2.0 files, as they stand at rest."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from softmine.domain import SoftmineError
from softmine.signals.shape.gltf_buffers import Document, compression
from softmine.signals.shape.polygons import Polygons
from softmine.signals.shape.strips import unroll

_TRIANGLES, _STRIP, _FAN = 4, 5, 6
SHARED_TRIANGLES = 2**20
"""Any file may show so many by showing meshes several times; beyond, not more than it has bytes."""
_INSTANCES = "EXT_mesh_gpu_instancing"
_DRACO = "KHR_draco_mesh_compression"
# What needs nothing, or is done here, where a file cannot do without it.
_KNOWN = (
    "KHR_mesh_quantization",
    _INSTANCES,
    "KHR_node_visibility",
    "KHR_animation_pointer",
    "KHR_xmp_json_ld",
)
_LOOKS = (
    "KHR_materials_",
    "KHR_texture_",
    "KHR_lights_",
    "EXT_texture_",
    "EXT_lights_",
    "MSFT_texture_",
    "ADOBE_materials_",
)


def read(path: Path, where: str, notes: list[str], most: int) -> Polygons:
    """The triangles of the scene that a GLTF or GLB file shows, each mesh where its nodes put it.

    Triangle strips and fans, sparse and quantized values, instances (``EXT_mesh_gpu_instancing``), morph targets at their
    weights at rest, and skins in the pose at rest. Points, lines and other scenes are left out, which is noted.

    Args:
        path: the file.
        where: how an error begins.
        notes: what was chosen or left out is added, for people.
        most: triangles that there may be.

    Raises:
        SoftmineError: it is truncated or damaged, a buffer is missing, or it needs an extension that is not read.
    """
    scene = _Scene(Document(path, where), most)
    for extension in scene.document.rows(scene.document.json, "extensionsRequired"):
        name = str(extension)[:60]
        if "compression" in name:
            raise compression(where, name)
        if name not in _KNOWN and not name.startswith(_LOOKS):
            raise SoftmineError(
                f"{where}: it needs the glTF extension {name!r}, which is not read; export it without"
            )
    for node in scene.shown(notes):
        scene.add(node)
    return scene.finish(notes)


class _Scene:
    """Collects the triangles of nodes."""

    def __init__(self, document: Document, most: int) -> None:
        self.document, self.most = document, most
        self.nodes = document.rows(document.json, "nodes")
        self.parents = self._find_parents()
        self.meshes: dict[int, list[_Part]] = {}
        self.worlds: dict[int, np.ndarray] = {}
        self.skins: dict[int, np.ndarray] = {}
        self.parts: list[tuple[np.ndarray, np.ndarray]] = []
        self.left: Counter[str] = Counter()
        self.made = self.count = 0

    def shown(self, notes: list[str]) -> list[int]:
        """The nodes of the scene that a file shows, or of all where it names none; those that are hidden are left out."""
        document = self.document
        scenes = document.rows(document.json, "scenes")
        held = {index for index, node in enumerate(self.nodes) if "mesh" in document.item("nodes", index)}
        if not scenes:
            roots: list[Any] = [index for index in range(len(self.nodes)) if index not in self.parents]
        else:
            index = document.integer(document.json, "scene")
            roots = document.rows(document.item("scenes", index), "nodes")
            if len(scenes) > 1:
                notes.append(f"scene {index} of its {len(scenes)}, counted from 0")
        found, seen, waiting, hidden, coarser = [], set[int](), list(reversed(roots)), 0, 0
        while waiting:
            index = waiting.pop()
            node = document.item("nodes", index)
            extensions = document.table(node, "extensions")
            coarser += "MSFT_lod" in extensions
            if document.table(extensions, "KHR_node_visibility").get("visible", True) is False:
                hidden += 1
                continue
            if index in seen:
                raise document.damaged(f"node {index} is in the scene twice")
            seen.add(index)
            found.append(index)
            waiting.extend(reversed(document.rows(node, "children")))
        if hidden:
            notes.append(f"{hidden:,} hidden nodes, and all that is in them, left out")
        if coarser:
            notes.append(f"the finest level of detail of {coarser:,} nodes; coarser ones left out")
        elsewhere = len(held - seen)
        if elsewhere and not hidden:
            notes.append(f"{elsewhere:,} nodes with meshes that are not in the scene left out")
        if not self.nodes and document.rows(document.json, "meshes"):
            notes.append("it has no nodes: its meshes are taken where they are")
            meshes = range(len(document.rows(document.json, "meshes")))
            self.nodes = document.json["nodes"] = [{"mesh": mesh} for mesh in meshes]
            return list(range(len(self.nodes)))
        return found

    def add(self, index: int) -> None:
        """Adds the triangles of a node."""
        document = self.document
        node = document.item("nodes", index)
        if "mesh" not in node:
            return
        mesh, skin = document.item("meshes", node["mesh"]), node.get("skin")
        weights = document.rows(node, "weights") or document.rows(mesh, "weights")
        joints = None if skin is None else self._joints(skin)
        transforms = self._instances(node, self._transform(index)) if skin is None else np.eye(4)[None]
        if node["mesh"] not in self.meshes:
            primitives = document.rows(mesh, "primitives")
            parts = self.meshes[node["mesh"]] = []
            for each in primitives:
                if (part := self._part(each)) is not None:
                    self.made += len(part.faces)
                    self._check(self.made)
                    parts.append(part)
        parts = self.meshes[node["mesh"]]
        self.count += sum(len(part.faces) for part in parts) * len(transforms)
        self._check(self.count)
        for part in parts:
            places = part.places(weights, joints)
            # A mirror turns triangles over.
            mirrored = np.linalg.det(transforms[:, :3, :3]) < 0
            faces = np.where(mirrored[:, None, None], part.faces[:, ::-1], part.faces)
            faces = faces + (len(places) * np.arange(len(transforms)))[:, None, None]
            moved = places @ transforms[:, :3, :3].swapaxes(1, 2) + transforms[:, None, :3, 3]
            self.parts.append((moved.reshape(-1, 3), faces.reshape(-1, 3)))

    def _check(self, count: int) -> None:
        """Raises a SoftmineError where there are too many triangles, for anything or for so small a file."""
        shared = max(SHARED_TRIANGLES, self.document.size)
        if count > self.most:
            raise SoftmineError(
                f"{self.document.where}: it has more than {self.most:,} triangles; simplify it"
            )
        if count > shared:
            raise SoftmineError(
                f"{self.document.where}: it shows its meshes so many times that they are more than {shared:,} triangles, more "
                "than it has bytes; save them once each, or simplify it"
            )

    def finish(self, notes: list[str]) -> Polygons:
        """All triangles; what was left out is noted."""
        notes.extend(f"{count:,} {what}" for what, count in self.left.items())
        if self.document.rows(self.document.json, "skins") or any(
            part.targets for parts in self.meshes.values() for part in parts
        ):
            notes.append("skinned or morphed meshes are in their pose at rest")
        elif self.document.rows(self.document.json, "animations"):
            notes.append("its animations left out: all is where it is at rest")
        if not self.parts:
            return Polygons.triangles(np.empty((0, 3)), np.empty((0, 3), np.int64))
        starts = np.cumsum([0, *(len(places) for places, _ in self.parts[:-1])])
        faces = [faces + start for (_, faces), start in zip(self.parts, starts, strict=True)]
        return Polygons.triangles(np.concatenate([places for places, _ in self.parts]), np.concatenate(faces))

    def _part(self, primitive: Any) -> _Part | None:
        """The triangles of a primitive, or None where it has none."""
        document = self.document
        attributes = document.table(primitive, "attributes")
        mode = document.integer(primitive, "mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            self.left[f"{'point clouds' if mode == 0 else 'sets of lines'} left out"] += 1
            return None
        if "POSITION" not in attributes:
            self.left["primitives without positions left out"] += 1
            return None
        accessor = document.item("accessors", attributes["POSITION"])
        if _DRACO in document.table(primitive, "extensions") and "bufferView" not in accessor:
            raise compression(document.where, _DRACO)
        places = document.read(attributes["POSITION"], "VEC3")
        corners = (
            document.read(primitive["indices"], "SCALAR")[:, 0]
            if "indices" in primitive
            else np.arange(len(places))
        )
        if len(corners) and corners.max() >= len(places):
            raise document.damaged("its triangles name vertices that are not there")
        if mode == _STRIP:
            faces = unroll(corners, np.array([len(corners)]))
        elif mode == _FAN:
            faces = np.stack(
                [corners[1:-1], corners[2:], np.repeat(corners[:1], max(len(corners) - 2, 0))], -1
            )
        else:
            if len(corners) % 3:
                self.left["sets of triangles whose last is incomplete"] += 1
            faces = corners[: len(corners) // 3 * 3].reshape(-1, 3)
        part = _Part(document, attributes, document.rows(primitive, "targets"), faces)
        if faces.size < len(places):
            # Primitives may share the vertices of a whole mesh.
            part.used, place = np.unique(faces, return_inverse=True)
            part.faces = place.reshape(-1, 3)
        return part

    def _find_parents(self) -> dict[int, int]:
        document, parents = self.document, {}
        for index in range(len(self.nodes)):
            for child in document.rows(document.item("nodes", index), "children"):
                document.item("nodes", child)
                if child in parents:
                    raise document.damaged(f"node {child} is in two places")
                parents[child] = index
        return parents

    def _transform(self, index: int) -> np.ndarray:
        """From a node to the world, (4, 4)."""
        chain: list[int] = []
        place: int | None = index
        while place is not None and place not in self.worlds:
            chain.append(place)
            place = self.parents.get(place)
            if len(chain) > len(self.nodes):
                raise self.document.damaged("its nodes are in each other")
        found = np.eye(4) if place is None else self.worlds[place]
        for each in reversed(chain):
            found = self.worlds[each] = found @ self._local(self.document.item("nodes", each))
        return found

    def _local(self, node: dict[str, Any]) -> np.ndarray:
        """From a node to its parent, (4, 4)."""
        vector = self.document.vector
        if "matrix" in node:
            return vector(node, "matrix", [0.0] * 16).reshape(4, 4).T
        return _transform(
            vector(node, "translation", [0.0] * 3),
            vector(node, "rotation", [0.0, 0.0, 0.0, 1.0]),
            vector(node, "scale", [1.0] * 3),
        )

    def _instances(self, node: dict[str, Any], transform: np.ndarray) -> np.ndarray:
        """Where the meshes of a node are, once or many times, (I, 4, 4)."""
        document = self.document
        attributes = document.table(
            document.table(document.table(node, "extensions"), _INSTANCES), "attributes"
        )
        columns = [
            document.read(attributes[key], kind) if key in attributes else None
            for key, kind in (("TRANSLATION", "VEC3"), ("ROTATION", "VEC4"), ("SCALE", "VEC3"))
        ]
        counts = {len(each) for each in columns if each is not None}
        if not counts:
            return transform[None]
        if len(counts) > 1:
            raise document.damaged("the instances of a node differ in number")
        rows = [
            np.tile(default, (max(counts), 1)) if each is None else each
            for each, default in zip(columns, ([0.0] * 3, [0.0, 0.0, 0.0, 1.0], [1.0] * 3), strict=True)
        ]
        return transform @ _transform(*rows)

    def _joints(self, index: Any) -> np.ndarray:
        """From a skin's mesh to the world by each of its joints, (J, 4, 4)."""
        skin = self.document.item("skins", index)
        if index not in self.skins:
            self.skins[index] = self._find_joints(skin)
        return self.skins[index]

    def _find_joints(self, skin: dict[str, Any]) -> np.ndarray:
        document = self.document
        joints = np.array([self._transform(joint) for joint in document.rows(skin, "joints")]).reshape(
            -1, 4, 4
        )
        if "inverseBindMatrices" not in skin:
            return joints
        inverse = document.read(skin["inverseBindMatrices"], "MAT4").reshape(-1, 4, 4).transpose(0, 2, 1)
        if len(inverse) < len(joints):
            raise document.damaged("a skin has fewer matrices than joints")
        return joints @ inverse[: len(joints)]


class _Part:
    """The triangles of a primitive.

    Attributes:
        attributes: accessors by name.
        targets: morph targets.
        faces: (F, 3).
        used: the vertices of the accessors that faces count; None for all.
    """

    def __init__(
        self, document: Document, attributes: dict[str, Any], targets: list[Any], faces: np.ndarray
    ) -> None:
        self.document, self.attributes, self.targets, self.faces = document, attributes, targets, faces
        self.used: np.ndarray | None = None
        self.rest: np.ndarray | None = None

    def column(self, accessor: Any, kind: str) -> np.ndarray:
        """An attribute of the used vertices, (V, width)."""
        values = self.document.read(accessor, kind)
        if self.used is None:
            return values
        if len(self.used) and self.used[-1] >= len(values):
            raise self.document.damaged("its attributes are of different numbers of vertices")
        return values[self.used]

    def places(self, weights: list[Any], joints: np.ndarray | None) -> np.ndarray:
        """Positions (V, 3): with each morph target by its weight, and then where the joints of a skin bring them."""
        if self.rest is None:
            self.rest = self.column(self.attributes["POSITION"], "VEC3")
        places = self.rest
        for weight, target in zip(weights, self.targets, strict=False):
            if not isinstance(weight, int | float):
                raise self.document.damaged("the weight of a morph target is no number")
            if weight and isinstance(target, dict) and "POSITION" in target:
                moved = self.column(target["POSITION"], "VEC3")
                if moved.shape != places.shape:
                    raise self.document.damaged("a morph target has another number of vertices than its mesh")
                places = places + weight * moved
        return places if joints is None else self._skinned(places, joints)

    def _skinned(self, places: np.ndarray, joints: np.ndarray) -> np.ndarray:
        """Positions (V, 3) where joints (J, 4, 4) bring them: the mean of theirs, by weight."""
        blend, total = np.zeros((len(places), 4, 4)), np.zeros(len(places))
        for index in range(len(self.attributes)):
            names = f"JOINTS_{index}", f"WEIGHTS_{index}"
            if not all(name in self.attributes for name in names):
                break
            which, weights = (self.column(self.attributes[name], "VEC4") for name in names)
            which = which.astype(np.int64)
            if not len(which) == len(weights) == len(places) or (which.size and which.max() >= len(joints)):
                raise self.document.damaged("a mesh names joints that its skin has not")
            for each, weight in zip(which.T, weights.T, strict=True):
                blend += weight[:, None, None] * joints[each]
                total += weight
        if not total.all():
            raise self.document.damaged("some vertices of a skinned mesh belong to no joint")
        moved = np.einsum("vij,vj->vi", blend[:, :3, :3], places) + blend[:, :3, 3]
        return moved / total[:, None]


def _transform(translation: np.ndarray, rotation: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """First scaled (..., 3), then turned by a quaternion (..., 4) (x, y, z, w), then moved (..., 3): (..., 4, 4)."""
    from scipy.spatial.transform import Rotation

    turns = np.linalg.norm(rotation, axis=-1, keepdims=True) > 1e-30
    found = np.zeros((*translation.shape[:-1], 4, 4))
    found[..., :3, :3] = Rotation.from_quat(np.where(turns, rotation, [0.0, 0.0, 0.0, 1.0])).as_matrix()
    found[..., :3, :3] *= scale[..., None, :]
    found[..., :3, 3], found[..., 3, 3] = translation, 1.0
    return found
