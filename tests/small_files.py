"""Small files of every format that is read, for tests that damage them; each function returns what it wrote."""

from __future__ import annotations

import gzip
import io
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import PIL.features
import PIL.Image
import PIL.PngImagePlugin
import tifffile

from cube_mesh import CUBE, CUBE_FACES
from films import write_video
from gltf_files import Gltf, cube
from scene_files import nerfstudio, write_blender, write_colmap, write_json, write_llff

_RANDOM = np.random.default_rng(0)
GRAY = _RANDOM.integers(0, 256, (12, 10), dtype=np.uint8)
RGBA = _RANDOM.integers(0, 256, (12, 10, 4), dtype=np.uint8)
VOXELS = _RANDOM.integers(0, 256, (5, 6, 7), dtype=np.uint8)


def images(folder: Path) -> list[Path]:
    """PNG, JPEG, WebP, AVIF, BMP, GIF, PPM, QOI, TIFF, EXR and NPY."""
    gray, rgb = PIL.Image.fromarray(GRAY), PIL.Image.fromarray(RGBA[..., :3])
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    said = PIL.PngImagePlugin.PngInfo()
    said.add_text("Title", "x" * 50, zip=True)
    said.add_itxt("XML:com.adobe.xmp", "<x/>", zip=True)
    gray.save(folder / "gray.png")
    rgb.save(folder / "rgb.png", exif=exif, icc_profile=b"x" * 200, pnginfo=said, dpi=(72, 72))
    PIL.Image.fromarray(RGBA).save(folder / "rgba.png")
    gray.convert("1").save(folder / "bits.png")
    rgb.quantize(5).save(folder / "palette.png", transparency=2)
    PIL.Image.fromarray(GRAY.astype(np.uint16) * 257).save(folder / "deep.png")
    gray.save(folder / "key.png", transparency=7)
    rgb.save(folder / "animated.png", save_all=True, append_images=[rgb.rotate(90, expand=False)])
    rgb.save(folder / "photo.jpg", exif=exif, quality=80)
    rgb.save(folder / "progressive.jpg", progressive=True)
    rgb.convert("CMYK").save(folder / "cmyk.jpg")
    gray.save(folder / "gray.jpg")
    rgb.save(folder / "lossy.webp", exif=exif)
    PIL.Image.fromarray(RGBA).save(folder / "exact.webp", lossless=True)
    rgb.save(folder / "moving.webp", save_all=True, append_images=[rgb.rotate(90)])
    if PIL.features.check("avif"):
        rgb.save(folder / "rgb.avif")
    for ending in ("bmp", "gif", "ppm"):
        rgb.save(folder / f"rgb.{ending}")
    gray.save(folder / "gray.pgm")
    (folder / "text.ppm").write_bytes(b"P3\n# by hand\n2 1\n255\n1 2 3 4 5 6\n")
    (folder / "text.pgm").write_bytes(b"P2\n2 2\n15\n1 2 3 4\n")
    pixels = RGBA[..., :3].tobytes()
    qoi = b"".join(b"\xfe" + pixels[start : start + 3] for start in range(0, len(pixels), 3))
    size = (10).to_bytes(4, "big") + (12).to_bytes(4, "big")
    (folder / "rgb.qoi").write_bytes(b"qoif" + size + b"\x03\0" + qoi + b"\0" * 7 + b"\x01")
    _tiffs(folder)
    _exrs(folder)
    np.save(folder / "rgb.npy", RGBA[..., :3])
    np.save(folder / "floats.npy", np.asfortranarray(GRAY.astype(np.float32)))
    np.save(folder / "objects.npy", np.array([[{}, 1]], object), allow_pickle=True)
    np.save(folder / "records.npy", np.zeros((3, 3), [("a", "u1"), ("b", "f4")]))
    return sorted(folder.iterdir())


def _tiffs(folder: Path) -> None:
    write = tifffile.imwrite
    write(folder / "plain.tif", GRAY)
    write(folder / "rgb.tif", RGBA[..., :3], photometric="rgb", compression="zlib", predictor=None)
    write(folder / "rgba.tif", RGBA, photometric="rgb", extrasamples=["unassalpha"])
    write(
        folder / "planar.tif", np.moveaxis(RGBA[..., :3], -1, 0), photometric="rgb", planarconfig="separate"
    )
    write(folder / "tiled.tif", np.tile(GRAY, (3, 3)), tile=(16, 16), compression="zlib")
    nodata = [(42113, 2, 0, "-9999", True)]
    write(folder / "gaps.tif", GRAY.astype(np.float32) - 9999 * (GRAY > 200), extratags=nodata)
    write(folder / "big.tif", GRAY.astype(">u2"), bigtiff=True, byteorder=">")
    write(folder / "white.tif", GRAY, photometric="miniswhite")
    with tifffile.TiffWriter(folder / "nested.tif") as file:
        file.write(GRAY[::4, ::2], subifds=1, subfiletype=1)
        file.write(GRAY, compression="zlib")
    rgb = PIL.Image.fromarray(RGBA[..., :3])
    rgb.save(folder / "lzw.tif", compression="tiff_lzw")
    rgb.save(folder / "packed.tif", compression="packbits")
    rgb.save(folder / "jpeg.tif", compression="jpeg")
    rgb.quantize(5).save(folder / "palette.tif")
    PIL.Image.fromarray(GRAY).convert("1").save(folder / "fax.tif", compression="group4")


def _exrs(folder: Path) -> None:
    import OpenEXR

    for name, kind in (
        ("zip", OpenEXR.ZIP_COMPRESSION),
        ("none", OpenEXR.NO_COMPRESSION),
        ("piz", OpenEXR.PIZ_COMPRESSION),
    ):
        header = {"compression": kind, "type": OpenEXR.scanlineimage}
        channels = {"RGB": RGBA[..., :3].astype(np.float16 if name == "piz" else np.float32) / 255}
        with OpenEXR.File(header, channels) as file:
            file.write(str(folder / f"{name}.exr"))


def volumes(folder: Path) -> list[Path]:
    """NIfTI, packed and not, NPY, NPZ and TIFF stacks."""
    import nibabel

    shorts = VOXELS.astype(np.int16)
    for name, kind, dtype in (
        ("one", nibabel.Nifti1Image, "<i2"),
        ("two", nibabel.Nifti2Image, "<i2"),
        ("big", nibabel.Nifti1Image, ">i2"),
    ):
        volume = kind(shorts.astype(dtype), np.diag([1.0, 2.0, 3.0, 1.0]))
        volume.header.set_data_dtype(dtype)
        if name == "one":
            volume.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"a note"))
        nibabel.save(volume, folder / f"{name}.nii")
        (folder / f"{name}.nii.gz").write_bytes(gzip.compress((folder / f"{name}.nii").read_bytes(), mtime=0))
    np.save(folder / "bytes.npy", VOXELS)
    np.save(folder / "ones.npy", VOXELS[None, ..., None])
    np.savez(folder / "plain.npz", volume=VOXELS)
    np.savez_compressed(folder / "packed.npz", volume=VOXELS.astype(np.float32))
    tifffile.imwrite(folder / "stack.tif", VOXELS, photometric="minisblack")
    tifffile.imwrite(folder / "packed.tif", VOXELS, compression="zlib", photometric="minisblack")
    tifffile.imwrite(folder / "imagej.tif", VOXELS[:, None], imagej=True, metadata={"axes": "ZCYX"})
    tifffile.imwrite(folder / "ome.tif", shorts, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.5})
    return sorted(folder.iterdir())


def slices(folder: Path) -> Path:
    """A folder of numbered images."""
    folder.mkdir()
    for number, each in enumerate(VOXELS[:3]):
        PIL.Image.fromarray(each).save(folder / f"slice-{number}.png")
    return folder


def clips(folder: Path) -> list[Path]:
    """WAV, FLAC, OGG, MP3, AIFF and others."""
    import soundfile

    wave = np.sin(np.arange(600) * 0.3)[:, None] * [0.5, 0.3]
    for name, subtype in (
        *(
            ("a.wav", "PCM_16"),
            ("b.wav", "FLOAT"),
            ("c.wav", "PCM_24"),
            ("d.wav", "ULAW"),
            ("e.wav", "IMA_ADPCM"),
        ),
        *(("a.flac", "PCM_16"), ("a.ogg", "VORBIS"), ("b.ogg", "OPUS"), ("a.mp3", "MPEG_LAYER_III")),
        *(
            ("a.aiff", "PCM_16"),
            ("a.au", "PCM_16"),
            ("a.caf", "PCM_16"),
            ("a.w64", "PCM_16"),
            ("a.voc", "PCM_16"),
        ),
    ):
        soundfile.write(folder / name, wave, 48000, subtype=subtype)
    soundfile.write(folder / "g.wav", wave, 8000, subtype="PCM_16", format="WAVEX")
    return sorted(folder.iterdir())


def videos(folder: Path) -> list[Path]:
    """MP4, MOV, MKV, WebM, AVI, GIF, and an MP4 that begins with its index."""
    frames = np.broadcast_to(np.arange(4, dtype=np.uint8)[:, None, None, None] * 50, (4, 16, 32, 3)).copy()
    frames[:, :8, :, 1] = 200
    write_video(folder / "a.mp4", frames)
    write_video(folder / "b.mp4", frames, codec="mpeg4", container={"movflags": "faststart"})
    write_video(folder / "c.mp4", frames, codec="mpeg4", container={"movflags": "frag_keyframe+empty_moov"})
    write_video(folder / "a.mov", frames, codec="mjpeg", pixels="yuvj420p")
    write_video(folder / "a.mkv", frames, codec="ffv1")
    write_video(folder / "a.webm", frames, codec="libvpx", rate=Fraction(10))
    write_video(folder / "a.avi", frames, codec="mpeg4")
    write_video(folder / "a.gif", frames, codec="gif", pixels="rgb8")
    write_video(folder / "a.ts", frames, codec="mpeg4")
    write_video(folder / "a.flv", frames, codec="flv")
    (folder / "playlist.mp4").write_bytes(
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\na.ts\n#EXT-X-ENDLIST\n"
    )
    return sorted(folder.iterdir())


def meshes(folder: Path) -> list[Path]:
    """OBJ, PLY, OFF, STL, GLTF and GLB."""
    rows = "\n".join("v " + " ".join(map(str, each)) for each in CUBE)
    faces = "\n".join("f " + " ".join(f"{corner + 1}/1/1" for corner in each) for each in CUBE_FACES)
    (folder / "cube.obj").write_text(f"# a cube\no cube\n{rows}\nvt 0 0\nvn 0 0 1\ns off\n{faces}\n")
    (folder / "bent.obj").write_text(
        "v 0 0 0\nv 4 0 0\nv 4 4 0\nv 1 1 0\nv 0 0 3\nf -5 -4 -3 -2\nf 1 2 5\nl 1 2\n"
    )
    corners = "\n".join(" ".join(map(str, each)) for each in CUBE)
    triangles = "\n".join(f"3 {' '.join(map(str, each))}" for each in CUBE_FACES)
    (folder / "cube.off").write_text(f"OFF\n{len(CUBE)} {len(CUBE_FACES)} 0\n{corners}\n{triangles}\n")
    head = (
        f"comment by hand\nelement vertex {len(CUBE)}\nproperty float x\nproperty float y\nproperty float z\n"
        f"element face {len(CUBE_FACES)}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    (folder / "text.ply").write_text(f"ply\nformat ascii 1.0\n{head}{corners}\n{triangles}\n")
    for name, order in (("little", "<"), ("big", ">")):
        body = CUBE.astype(f"{order}f4").tobytes()
        for each in CUBE_FACES:
            body += b"\x03" + each.astype(f"{order}i4").tobytes()
        (folder / f"{name}.ply").write_bytes(f"ply\nformat binary_{name}_endian 1.0\n{head}".encode() + body)
    strips = head.replace(f"element face {len(CUBE_FACES)}", "element tristrips 1")
    (folder / "strip.ply").write_text(f"ply\nformat ascii 1.0\n{strips}{corners}\n6 0 1 2 3 -1 4\n")
    row = np.zeros(len(CUBE_FACES), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
    row["corners"] = CUBE[CUBE_FACES]
    (folder / "bytes.stl").write_bytes(b"\0" * 80 + len(row).to_bytes(4, "little") + row.tobytes())
    facets = "".join(
        "facet normal 0 0 0\nouter loop\n"
        + "".join(f"vertex {' '.join(map(str, CUBE[corner]))}\n" for corner in each)
        + "endloop\nendfacet\n"
        for each in CUBE_FACES
    )
    (folder / "text.stl").write_text(f"solid cube\n{facets}endsolid cube\n")
    cube().write(folder / "cube.gltf")
    cube(translation=[1, 2, 3], children=[]).write(folder / "cube.glb")
    file = cube()
    file.write(folder / "apart.gltf", uri="buffer.bin")
    (folder / "buffer.bin").write_bytes(file.data)
    _intricate().write(folder / "intricate.glb")
    return sorted(folder.iterdir())


def _intricate() -> Gltf:
    """A file with instances, a skin, a morph target, sparse values and a strip."""
    file = cube(children=[1, 2])
    json_ = file.json
    places = json_["meshes"][0]["primitives"][0]["attributes"]["POSITION"]
    joints = file.add(np.zeros((len(CUBE), 4), np.uint8))
    weights = file.add(np.tile(np.array([1, 0, 0, 0], np.float32), (len(CUBE), 1)))
    inverse = file.add(np.eye(4, dtype=np.float32).reshape(1, 16))
    moved = file.add(CUBE.astype(np.float32) * 0.1)
    rows, values = file.view(np.array([0, 3], np.uint8)), file.view(np.ones((2, 3), np.float32))
    json_["accessors"][moved]["sparse"] = {
        "count": 2,
        "indices": {"bufferView": rows, "componentType": 5121},
        "values": {"bufferView": values},
    }
    where = file.add(np.arange(6, dtype=np.float32).reshape(2, 3))
    json_["skins"] = [{"joints": [0], "inverseBindMatrices": inverse}]
    attributes = {"POSITION": places, "JOINTS_0": joints, "WEIGHTS_0": weights}
    strip = file.add(np.arange(6, dtype=np.uint8))
    json_["meshes"].append(
        {"primitives": [{"attributes": attributes, "targets": [{"POSITION": moved}]}], "weights": [0.5]}
    )
    json_["meshes"].append(
        {"primitives": [{"attributes": {"POSITION": places}, "indices": strip, "mode": 5}]}
    )
    instances = {"EXT_mesh_gpu_instancing": {"attributes": {"TRANSLATION": where}}}
    json_["nodes"] += [{"mesh": 1, "skin": 0}, {"mesh": 2, "extensions": instances}]
    return file


def scenes(folder: Path) -> dict[str, list[Path]]:
    """Folders with scenes by format, and in each the files that say where cameras are."""
    masked = folder / "nerfstudio"
    content = nerfstudio(masked, 9)
    for index in range(2):
        mask = np.full((6, 8), 255, np.uint8)
        mask[:2] = 0
        (masked / "masks").mkdir(exist_ok=True)
        PIL.Image.fromarray(mask).save(masked / "masks" / f"{index:02d}.png")
        content["frames"][index]["mask_path"] = f"masks/{index:02d}.png"
    content |= {"camera_model": "OPENCV", "k1": 0.01, "aabb_scale": 4, "train_filenames": None}
    write_json(masked / "transforms.json", content)
    write_blender(folder / "blender")
    fisheye = nerfstudio(folder / "fisheye", 9, camera_model="OPENCV_FISHEYE", k1=0.01, k2=0.001)
    write_json(folder / "fisheye" / "transforms.json", fisheye)
    write_llff(folder / "llff")
    write_colmap(folder / "colmap_bin")
    write_colmap(folder / "colmap_txt", binary=False)
    bins = [f"sparse/0/{name}" for name in ("cameras", "images", "points3D")]
    found = {
        "nerfstudio": ["transforms.json", "images/00.png", "masks/00.png"],
        "blender": ["transforms_train.json", "transforms_test.json", "train/r_0.png"],
        "fisheye": ["transforms.json"],
        "llff": ["poses_bounds.npy", "images_4/00.png"],
        "colmap_bin": [f"{name}.bin" for name in bins],
        "colmap_txt": [f"{name}.txt" for name in bins],
    }
    return {name: [folder / name / file for file in files] for name, files in found.items()}


def as_npy(array: np.ndarray) -> bytes:
    """An NPY file."""
    result = io.BytesIO()
    np.save(result, array)
    return result.getvalue()


def as_json(value: object) -> bytes:
    """A JSON file."""
    return json.dumps(value).encode()
