"""The JSON, the buffers and the accessors of glTF 2.0 files."""

from __future__ import annotations

import base64
import binascii
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from softmine.checks import leads_out
from softmine.domain import SoftmineError
from softmine.signals.files import check_file
from softmine.signals.shape.polygons import damaged

_GLB = b"glTF"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_MOST_VALUES = 2**28
"""Numbers that may be read in all, some of them again and again; a read by itself counts as some."""
_READ = 1024
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Document:
    """A glTF file: its JSON, and the numbers that it points to.

    Args:
        path: a ``.gltf`` or ``.glb`` file; its content tells which.
        where: how an error begins.

    Attributes:
        json: the object at the top.

    Raises:
        SoftmineError: it is truncated, of another version, or no glTF file.
    """

    def __init__(self, path: Path, where: str) -> None:
        self.path, self.where = path, where
        data = path.read_bytes()
        self._chunk: bytes | None = None
        self._buffers: dict[int, bytes] = {}
        self._files: dict[str, bytes] = {}
        self._own, self._values = len(data), 0
        text = self._open_glb(data) if data.startswith(_GLB) else data
        try:
            self.json: dict[str, Any] = json.loads(text.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            raise self.damaged("its JSON cannot be read") from error
        version = str(self.table(self.json, "asset").get("version", ""))
        if not version.startswith("2."):
            raise SoftmineError(
                f"{where}: it is of glTF version {version or 'unknown'!s:.20}, not 2; convert it to GLB"
            )

    def damaged(self, what: str) -> SoftmineError:
        """An error that says what is wrong with the file."""
        return damaged(self.where, what)

    def table(self, parent: Any, key: str) -> dict[str, Any]:
        """The object under a key, empty where there is none."""
        found = parent.get(key, {}) if isinstance(parent, dict) else None
        if not isinstance(found, dict):
            raise self.damaged(f"{key!r} in its JSON is no object")
        return found

    def rows(self, parent: dict[str, Any], key: str) -> list[Any]:
        """The list under a key, empty where there is none."""
        found = parent.get(key, [])
        if not isinstance(found, list):
            raise self.damaged(f"{key!r} in its JSON is no list")
        return found

    def item(self, key: str, index: Any) -> dict[str, Any]:
        """One object of a list at the top, such as ``meshes``."""
        items = self.rows(self.json, key)
        if not isinstance(index, int) or not 0 <= index < len(items) or not isinstance(items[index], dict):
            raise self.damaged(f"it names {key} {index!s:.20}, which is not there")
        return items[index]

    def integer(self, parent: dict[str, Any], key: str, default: int = 0) -> int:
        """The number under a key, which is not negative."""
        found = parent.get(key, default)
        if not isinstance(found, int) or found < 0:
            raise self.damaged(f"{key!r} in its JSON is {found!s:.20}")
        return found

    def vector(self, parent: dict[str, Any], key: str, default: list[float]) -> np.ndarray:
        """The list of numbers under a key, as long as the default."""
        try:
            found = np.array(parent.get(key, default), np.float64)
        except (TypeError, ValueError) as error:
            raise self.damaged(f"{key!r} in its JSON is no list of numbers") from error
        if found.shape != (len(default),):
            raise self.damaged(f"{key!r} in its JSON has not {len(default)} numbers")
        return found

    def read(self, index: Any, kind: str) -> np.ndarray:
        """The numbers of an accessor, (N, width): of type float64, or int64 where ``kind`` is ``SCALAR``.

        Integers that stand for shares of 1 (``normalized``) become those; values that are stored apart (``sparse``) are
        put in their places.

        Raises:
            SoftmineError: it is of another kind, or leads beyond its buffer.
        """
        accessor = self.item("accessors", index)
        if accessor.get("type") != kind:
            raise self.damaged(f"accessor {index} is {accessor.get('type')!s:.20}, not {kind}")
        count, sparse = self.integer(accessor, "count"), self.table(accessor, "sparse")
        width = _WIDTHS[kind]
        stored = None
        if "bufferView" in accessor:
            stored = self._numbers(accessor, self._type(accessor), count, width)
        elif count > sum(len(self._buffer(each)) for each in range(len(self.rows(self.json, "buffers")))):
            raise self.damaged(f"accessor {index} promises more than its buffers hold")
        changed = self.integer(sparse, "count")
        self._values += (count + changed) * width + _READ
        if self._values > max(_MOST_VALUES, 16 * self.size):
            raise SoftmineError(
                f"{self.where}: its meshes share their numbers so often that they would fill memory; save each as itself"
            )
        values = np.zeros((count, width), self._type(accessor)) if stored is None else stored.copy()
        if sparse:
            places = self.table(sparse, "indices")
            rows = self._numbers(places, self._type(places), changed, 1)[:, 0]
            if changed and rows.max() >= count:
                raise self.damaged(f"accessor {index} changes values that are not there")
            values[rows] = self._numbers(self.table(sparse, "values"), self._type(accessor), changed, width)
        if kind == "SCALAR":
            return values.astype(np.int64)
        if accessor.get("normalized") and values.dtype.kind != "f":
            return np.maximum(values / np.iinfo(values.dtype).max, -1.0)
        return values.astype(np.float64)

    @property
    def size(self) -> int:
        """Bytes of the file and of all that was read of its buffers."""
        return self._own + sum(map(len, self._files.values()))

    def _type(self, parent: dict[str, Any]) -> np.dtype:
        kind = parent.get("componentType")
        if kind not in _TYPES:
            raise self.damaged(f"its numbers are of the unknown type {kind!s:.20}")
        return np.dtype(_TYPES[kind])

    def _numbers(self, parent: dict[str, Any], dtype: np.dtype, count: int, width: int) -> np.ndarray:
        """Numbers (count, width) of a buffer view, from its ``byteOffset`` on; not to be changed."""
        view = self.item("bufferViews", parent.get("bufferView"))
        compressed = [key for key in self.table(view, "extensions") if key.endswith("meshopt_compression")]
        buffer = self._buffer(self.integer(view, "buffer"), compressed)
        start, length = self.integer(view, "byteOffset"), self.integer(view, "byteLength")
        size = dtype.itemsize * width
        stride = (self.integer(view, "byteStride") or size) if count > 1 else size
        offset = self.integer(parent, "byteOffset")
        if offset + ((count - 1) * stride + size if count else 0) > length or start + length > len(buffer):
            raise self.damaged("its numbers lie beyond the end of their buffer")
        return np.ndarray((count, width), dtype, buffer, start + offset, (stride, dtype.itemsize))

    def _buffer(self, index: int, compressed: list[str] | None = None) -> bytes:
        if index not in self._buffers:
            buffer = self.item("buffers", index)
            uri = buffer.get("uri")
            if uri is None and index == 0 and self._chunk is not None and not _is_fallback(buffer):
                self._buffers[index] = self._chunk
            elif uri is None and compressed:
                # What decoders of the extension fill.
                raise compression(self.where, compressed[0])
            elif not isinstance(uri, str):
                raise self.damaged(f"buffer {index} is nowhere")
            else:
                # Buffers may be one file, or the same text, many times.
                if uri not in self._files:
                    self._files[uri] = self._load(uri)
                self._buffers[index] = self._files[uri]
        return self._buffers[index]

    def _load(self, uri: str) -> bytes:
        """What a data URI holds, or a file beside this one."""
        if uri.startswith("data:"):
            head, _, body = uri.partition(",")
            try:
                return base64.b64decode(body) if head.endswith(";base64") else unquote(body).encode("latin-1")
            except (binascii.Error, ValueError) as error:
                raise self.damaged("a buffer in its JSON is no base64") from error
        name = unquote(uri)
        # Names that were never encoded may hold a percent sign.
        files = [self.path.parent / each for each in (name, uri) if "\0" not in each]
        if _ADDRESS.match(uri):
            raise SoftmineError(
                f"{self.where}: its buffer {name[:200]!r} is an address; save it beside the file"
            )
        if any(_leaves(each, self.path.parent) for each in files):
            raise SoftmineError(
                f"{self.where}: its buffer {name[:200]!r} lies outside its folder; put it beside the file"
            )
        found = next((each for each in files if each.exists()), None)
        if found is None:
            raise SoftmineError(f"{self.where}: its buffer {name[:200]!r} is missing; put it beside the file")
        if leads_out(found, self.path.parent):
            raise SoftmineError(
                f"{self.where}: its buffer {name[:200]!r} is a link that leads out of its folder; put the file itself there"
            )
        check_file(found, "buffer", f"{self.where}: its buffer {name[:200]!r}")
        return found.read_bytes()

    def _open_glb(self, data: bytes) -> bytes:
        """The JSON of a binary file, whose other chunk is kept."""
        version, length = (int.from_bytes(data[start : start + 4], "little") for start in (4, 8))
        if version != 2:
            raise SoftmineError(f"{self.where}: it is of GLB version {version}, not 2; convert it")
        if len(data) < length or length < 20:
            raise self.damaged(f"it is {len(data):,} bytes long where its header promises {length:,}")
        chunks: dict[bytes, bytes] = {}
        place = 12
        while place + 8 <= length:
            size, kind = int.from_bytes(data[place : place + 4], "little"), data[place + 4 : place + 8]
            if place + 8 + size > length:
                raise self.damaged("one of its chunks is too long")
            chunks.setdefault(kind, data[place + 8 : place + 8 + size])
            place += 8 + size
        self._chunk = chunks.get(b"BIN\0")
        if b"JSON" not in chunks:
            raise self.damaged("it has no JSON")
        return chunks[b"JSON"]


def compression(where: str, extension: str) -> SoftmineError:
    """What to say of a file whose numbers only a decoder could read."""
    name = "Draco" if "draco" in extension else "meshopt" if "meshopt" in extension else extension
    return SoftmineError(
        f"{where}: it is compressed with {name} ({extension}), which is not read; export it "
        "without, for example from Blender"
    )


def _is_fallback(buffer: dict[str, Any]) -> bool:
    """Whether a buffer has no bytes but those that a decoder would make."""
    extensions = buffer.get("extensions")
    return isinstance(extensions, dict) and any(
        isinstance(each, dict) and bool(each.get("fallback")) for each in extensions.values()
    )


def _leaves(path: Path, folder: Path) -> bool:
    """Whether a path leads out of a folder by its words."""
    try:
        return ".." in path.relative_to(folder).parts
    except ValueError:
        return True
