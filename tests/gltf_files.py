"""Small glTF files for tests."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np

from cube_mesh import CUBE, CUBE_FACES

TYPES = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
KINDS = {1: "SCALAR", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Gltf:
    """Collects arrays in one buffer; ``json`` may be changed before it is written."""

    def __init__(self, **top: Any) -> None:
        self.data = b""
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "accessors": [], "bufferViews": [], **top}

    def view(self, array: np.ndarray) -> int:
        """Adds an array to the buffer; its view."""
        self.data += b"\0" * (-len(self.data) % 4)
        self.json["bufferViews"].append(
            {"buffer": 0, "byteOffset": len(self.data), "byteLength": array.nbytes}
        )
        self.data += array.tobytes()
        return len(self.json["bufferViews"]) - 1

    def add(self, array: np.ndarray, **more: Any) -> int:
        """Adds numbers (N,) or (N, width) to the buffer; their accessor."""
        width = 1 if array.ndim == 1 else array.shape[1]
        self.json["accessors"].append(
            {
                "bufferView": self.view(array),
                "componentType": TYPES[array.dtype.name],
                "count": len(array),
                "type": KINDS[width],
                **more,
            }
        )
        return len(self.json["accessors"]) - 1

    def write(self, path: Path, uri: str | None = None) -> Path:
        """Writes GLB, or GLTF with the buffer in it, or at ``uri`` (which is not written)."""
        content = dict(self.json)
        if path.suffix == ".gltf":
            inside = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
            content.setdefault("buffers", [{"byteLength": len(self.data), "uri": uri or inside}])
            path.write_text(json.dumps(content))
            return path
        content.setdefault("buffers", [{"byteLength": len(self.data)}])
        text = json.dumps(content).encode()
        text += b" " * (-len(text) % 4)
        body = self.data + b"\0" * (-len(self.data) % 4)
        chunks = b"".join(
            len(part).to_bytes(4, "little") + kind + part
            for kind, part in ((b"JSON", text), (b"BIN\0", body))
        )
        path.write_bytes(
            b"glTF" + (2).to_bytes(4, "little") + (12 + len(chunks)).to_bytes(4, "little") + chunks
        )
        return path


def cube(**node: Any) -> Gltf:
    """The unit cube in a scene of one node, which has further properties."""
    file = Gltf(scene=0, scenes=[{"nodes": [0]}], nodes=[{"mesh": 0, **node}])
    places, corners = file.add(CUBE.astype(np.float32)), file.add(CUBE_FACES.reshape(-1).astype(np.uint16))
    file.json["meshes"] = [{"primitives": [{"attributes": {"POSITION": places}, "indices": corners}]}]
    return file
