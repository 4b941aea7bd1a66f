"""Small files that would unpack to gigabytes: each under 2 MiB, most far below; and some that are as large as they may be."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from films import write_video
from mutations import png_chunk
from small_files import as_npy

GIBIBYTE = 2**30
SIDE = 2**15 - 2**10


def deflated(size: int) -> bytes:
    """So many zeros, deflated, without header or checksum."""
    block = 2**20
    packer = zlib.compressobj(9, wbits=-15)
    whole = packer.compress(bytes(block)) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, wbits=-15)
    # Blocks that know nothing of each other can be repeated.
    return whole * (size // block) + packer.compress(bytes(size % block)) + packer.flush()


def zeros(size: int) -> bytes:
    """So many zeros as zlib packs them."""
    return b"\x78\xda" + deflated(size) + struct.pack(">HH", size % 65521, 1)


def png(path: Path) -> None:
    """16,384 x 16,384 pixels of RGBA."""
    _png(path, 2**14, 2**14)


def flat_png(path: Path) -> None:
    """12,000 x 8,000 pixels of RGBA, which a plain drawing may have."""
    _png(path, 12_000, 8_000)


def _png(path: Path, width: int, height: int) -> None:
    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)
    chunks = (b"IHDR", header), (b"IDAT", zeros(height * (4 * width + 1))), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks))


def png_profile(path: Path) -> None:
    """A pixel, with a color profile of a gigabyte."""
    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    profile = b"x\0\0" + zeros(GIBIBYTE)
    chunks = (b"IHDR", header), (b"iCCP", profile), (b"IDAT", zlib.compress(b"\0\0")), (b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(*each) for each in chunks))


def gif(path: Path) -> None:
    """A small image on a large screen."""
    screen = struct.pack("<HHBBB", SIDE, SIDE, 0xF0, 0, 0) + bytes(3) + b"\xff\xff\xff"
    image = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    path.write_bytes(b"GIF89a" + screen + 2 * (b"\x21\xf9\x04\0\1\0\0\0" + image) + b"\x3b")


def bmp(path: Path) -> None:
    """Rows of one color, run-length encoded: what is not said is zero."""
    head = struct.pack("<IiiHHIIiiII", 40, SIDE // 2, SIDE // 2, 1, 8, 1, 2, 0, 0, 256, 0)
    path.write_bytes(b"BM" + struct.pack("<IHHI", 1080, 0, 0, 1078) + head + bytes(1024) + b"\0\1")


def tiff_strip(path: Path) -> None:
    """Ten by ten pixels in a strip that unpacks to a gigabyte."""
    _tiff(path, 10, 10, zeros(GIBIBYTE), 8)


def tiff_size(path: Path) -> None:
    """16,384 x 16,384 pixels of RGBA."""
    _tiff(path, 2**14, 2**14, zeros(4 * 2**28), 8, 4)


def tiff_empty(path: Path) -> None:
    """As many pixels, of which none is stored."""
    _tiff(path, 2**14, 2**14, b"", 8, 4)


def tiff_packbits(path: Path) -> None:
    """As many gray pixels, packed by Apple's method."""
    _tiff(path, 2**14, 2**14, b"\x81\0" * 2**19, 32773)


def _tiff(path: Path, width: int, height: int, data: bytes, compression: int, samples: int = 1) -> None:
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, 8),
        (259, 3, compression),
        (262, 3, 2 if samples > 1 else 1),
    ]
    tags += [(273, 4, 8 if data else 0), (277, 3, samples), (278, 4, height), (279, 4, len(data))]
    tags += [(338, 3, 2)] if samples == 4 else []
    entries = b"".join(struct.pack("<HHII", code, kind, 1, value) for code, kind, value in tags)
    start = 8 + len(data)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + data + directory)


def npz(path: Path) -> None:
    """A volume of 1,000^3 zeros."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "|u1", "fortran_order": False, "shape": (1000, 1000, 1000)}
    )
    start = header.getvalue()
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(start) + packer.flush(zlib.Z_FULL_FLUSH) + deflated(10**9)
    name, size = b"volume.npy", len(start) + 10**9
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, 0, len(packed), size, len(name), 0)
    local = b"PK\3\4" + common + name + packed
    central = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    path.write_bytes(local + central + end)


def npz_lzma(path: Path) -> None:
    """A volume packed by LZMA, which unpacks all at once and to any size."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("volume.npy", as_npy(np.zeros((64, 64, 64), np.uint8)))


def nifti(path: Path) -> None:
    """1,000^3 voxels of zeros, in gzip."""
    _nifti(path, 352, (1000, 1000, 1000), 352 + 10**9)


def nifti_tail(path: Path) -> None:
    """Eight voxels, and a gigabyte after them."""
    _nifti(path, 352, (2, 2, 2), GIBIBYTE)


def nifti_extension(path: Path) -> None:
    """Eight voxels after an extension of a gigabyte."""
    _nifti(path, 2**30, (2, 2, 2), GIBIBYTE + 352, extension=2**30 - 352)


def labels(path: Path) -> None:
    """300 MiB of float64 that are all 0, as masks of scans nearly are."""
    _nifti(path, 352, (340, 340, 340), 352 + 8 * 340**3, kind=64)


def _nifti(
    path: Path, offset: int, shape: tuple[int, ...], size: int, extension: int = 0, kind: int = 2
) -> None:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *shape, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, kind, max(8, kind))
    struct.pack_into("<8f", header, 76, *[1.0] * 8)
    struct.pack_into("<f", header, 108, float(offset))
    header[344:348] = b"n+1\0"
    more = b""
    if extension:
        header[348] = 1
        more = struct.pack("<ii", extension, 6)
    packer = zlib.compressobj(9, wbits=-15)
    packed = packer.compress(bytes(header) + more) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += deflated(size - len(header) - len(more))
    check = 0
    if kind == 64:  # what is read to its end is checked
        check = zlib.crc32(bytes(size - len(header) - len(more)), zlib.crc32(bytes(header) + more))
    path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + packed + struct.pack("<II", check, size % 2**32))


def exr(path: Path) -> None:
    """16,000 x 6,600 pixels of zeros, 400 MiB as floats, of which reading needs two."""
    import OpenEXR

    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Y": np.zeros((16_000, 6_600), np.float16)}) as file:
        file.write(str(path))


def webp(path: Path) -> None:
    """A canvas of 16,384 x 16,384 pixels, with nothing on it."""
    side = (2**14 - 1).to_bytes(3, "little")
    body = (
        b"WEBPVP8X"
        + struct.pack("<I", 10)
        + bytes(4)
        + side
        + side
        + b"VP8L"
        + struct.pack("<I", 6)
        + b"\x2f"
        + bytes(5)
    )
    path.write_bytes(b"RIFF" + struct.pack("<I", len(body)) + body)


def glb_nodes(path: Path) -> None:
    """A mesh of 20,000 triangles in 5,000 places."""
    corners = np.arange(60_000, dtype=np.uint16)
    file = _mesh(
        np.random.default_rng(0).random((60_000, 3), np.float32).astype(np.float32)[:20_000], corners % 20_000
    )
    file["nodes"] = [{"mesh": 0, "translation": [number, 0, 0]} for number in range(5000)]
    file["scenes"] = [{"nodes": list(range(5000))}]
    _glb(path, file)


def glb_instances(path: Path) -> None:
    """The same by instances, whose places are stored nowhere."""
    corners = np.arange(60_000, dtype=np.uint16)
    file = _mesh(np.random.default_rng(0).random((20_000, 3), np.float32), corners % 20_000)
    file["accessors"].append({"componentType": 5126, "count": 100_000, "type": "VEC3"})
    many = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": 2}}}
    file["nodes"] = [{"mesh": 0, "extensions": many}]
    _glb(path, file)


def glb_primitives(path: Path) -> None:
    """A mesh that names the same triangles 10,000 times."""
    corners = np.arange(60_000, dtype=np.uint16)
    file = _mesh(np.random.default_rng(0).random((20_000, 3), np.float32), corners % 20_000)
    file["meshes"][0]["primitives"] *= 10_000
    file["nodes"] = [{"mesh": 0}]
    _glb(path, file)


def glb_chain(path: Path) -> None:
    """Nodes in each other, 15,000 deep, each with a triangle."""
    file = _mesh(np.eye(3, dtype=np.float32), np.arange(3, dtype=np.uint16))
    file["nodes"] = [{"mesh": 0, "children": [number + 1]} for number in range(15_000)] + [{"mesh": 0}]
    file["scenes"] = [{"nodes": [0]}]
    _glb(path, file)


def glb_targets(path: Path) -> None:
    """A mesh of one triangle among 20,000 vertices, with 10,000 morph targets, in 5,000 places."""
    file = _mesh(np.random.default_rng(0).random((20_000, 3), np.float32), np.arange(3, dtype=np.uint16))
    file["meshes"][0]["primitives"][0]["targets"] = [{"POSITION": 0}] * 10_000
    file["meshes"][0]["weights"] = [1] * 10_000
    file["nodes"] = [{"mesh": 0}] * 5000
    _glb(path, file)


def _mesh(places: np.ndarray, corners: np.ndarray) -> dict:
    data = places.astype(np.float32).tobytes() + corners.tobytes()
    return {
        "asset": {"version": "2.0"},
        "bufferViews": [
            {"buffer": 0, "byteLength": places.nbytes},
            {"buffer": 0, "byteOffset": places.nbytes, "byteLength": corners.nbytes},
        ],
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": len(places), "type": "VEC3"},
            {"bufferView": 1, "componentType": 5123, "count": len(corners), "type": "SCALAR"},
        ],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1}]}],
        "data": data,
    }


def _glb(path: Path, file: dict) -> None:
    data = file.pop("data")
    data += bytes(-len(data) % 4)
    text = json.dumps({**file, "buffers": [{"byteLength": len(data)}]}).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I", len(text)) + b"JSON" + text + struct.pack("<I", len(data)) + b"BIN\0" + data
    path.write_bytes(b"glTF" + struct.pack("<II", 2, 12 + len(chunks)) + chunks)


def obj_polygon(path: Path) -> None:
    """A face of 60,000 corners that zigzag."""
    rows = "\n".join(f"v {number} {number % 2 * (1 + number % 7)} 0" for number in range(60_000))
    path.write_text(f"{rows}\nf {' '.join(map(str, range(1, 60_001)))}\n")


def mp4(path: Path) -> None:
    """A frame of 5,120 x 4,992 pixels."""
    write_video(path, np.broadcast_to(np.uint8(0), (1, 4992, 5120, 3)))


BOMBS: dict[str, dict[str, Callable[[Path], None]]] = {
    "image": {
        "rgba.png": png, "profile.png": png_profile, "screen.gif": gif, "runs.bmp": bmp, "strip.tif": tiff_strip,
        "size.tif": tiff_size, "empty.tif": tiff_empty, "packbits.tif": tiff_packbits, "zeros.exr": exr, "blank.webp": webp,
        "flat.png": flat_png,
    },
    "volume": {
        "strip.tif": tiff_strip, "deflate.npz": npz, "lzma.npz": npz_lzma, "voxels.nii.gz": nifti, "tail.nii.gz": nifti_tail,
        "extension.nii.gz": nifti_extension, "labels.nii.gz": labels,
    },
    "shape": {
        "nodes.glb": glb_nodes, "instances.glb": glb_instances, "primitives.glb": glb_primitives, "chain.glb": glb_chain,
        "targets.glb": glb_targets, "polygon.obj": obj_polygon,
    },
    "video": {"frame.mp4": mp4, "screen.gif": gif},
}  # fmt: skip
"""By what reads them."""
