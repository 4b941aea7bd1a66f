"""Small files that claim, or unpack to, gigabytes: refused in a sentence, soon, and without taking the memory."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from bombs import BOMBS
from films import write_video
from softmine.errors import ArgumentError
from softmine.signals.video import Video
from softmine.signals.video import files as video_files

READ = """
import importlib, json, sys, time
from pathlib import Path
from softmine.errors import SoftmineError
kinds = {kind: getattr(importlib.import_module(f"softmine.signals.{kind}"), kind.capitalize()) for kind in ("image", "volume", "shape", "video")}
linux = Path("/proc/self/clear_refs").exists()  # others do not tell how much memory was in use at most
def status(key):
    return 0 if not linux else next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))
found = {}
for path in sorted(Path(sys.argv[1]).glob("*/*")):
    if linux:
        Path("/proc/self/clear_refs").write_text("5")
    before, started = status("VmRSS"), time.process_time()
    try:
        kinds[path.parent.name].read(path)
        said = ""
    except SoftmineError as error:
        said = str(error)
    found[f"{path.parent.name}/{path.name}"] = said, (status("VmHWM") - before) // 1024, time.process_time() - started
print(json.dumps(found))
"""
SAID = {
    "image/rgba.png": "claim to unpack to 1.0 GiB of pixels, more than a file so small is trusted with; if that is right, ",
    "image/profile.png": "truncated or damaged PNG",
    "image/screen.gif": "31744 x 31744 pixels",
    "image/runs.bmp": "claim to unpack to 0.9 GiB of pixels",
    "image/strip.tif": "",  # its ten by ten pixels, and no more
    "image/size.tif": "claim to unpack to 1.0 GiB of pixels",
    "image/empty.tif": "its 134 bytes claim to unpack to 1.0 GiB of pixels",
    "image/packbits.tif": "TIFF data is truncated or damaged",
    "image/zeros.exr": "GiB of pixels",
    "image/flat.png": "",
    "image/blank.webp": "claim to unpack to 1.0 GiB of pixels",
    "volume/strip.tif": "it has 2 axes",
    "volume/deflate.npz": "claim to unpack to 0.9 GiB of voxels",
    "volume/lzma.npz": "its archive is packed in an unusual way",
    "volume/voxels.nii.gz": "claim to unpack to 0.9 GiB of voxels",
    "volume/tail.nii.gz": "it holds 268,435,456 bytes or more after its voxels",
    "volume/labels.nii.gz": "",
    "volume/extension.nii.gz": "its NIfTI header is truncated or damaged",
    "shape/nodes.glb": "shows its meshes so many times that they are more than 1,048,576 triangles",
    "shape/instances.glb": "more than 50,000,000 triangles",
    "shape/primitives.glb": "shows its meshes so many times",
    "shape/chain.glb": "",  # 15,001 triangles
    "shape/targets.glb": "its meshes share their numbers so often that they would fill memory",
    "shape/polygon.obj": "too intricate",
    "video/frame.mp4": "its frames of 5120 x 4992 pixels would take over 256 times as much memory as the file",
    "video/screen.gif": "truncated or damaged",
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What reading each bomb said, the MiB it took at most, and CPU seconds; all in one process of its own."""
    folder = tmp_path_factory.mktemp("bombs")
    for kind, makers in BOMBS.items():
        (folder / kind).mkdir()
        for name, make in makers.items():
            make(folder / kind / name)
            assert (folder / kind / name).stat().st_size < 2 * 2**20
    result = subprocess.run([sys.executable, "-c", READ, str(folder)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert {f"{kind}/{name}" for kind, names in BOMBS.items() for name in names} == SAID.keys()
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", SAID)
def test_small_files_take_little_memory(outcomes, name):
    said, memory, seconds = outcomes[name]
    assert SAID[name] in said
    assert bool(said) == bool(SAID[name])
    assert memory < 1024
    assert seconds < 10


def test_many_frames_of_a_small_file_are_refused(tmp_path, monkeypatch):
    path = write_video(tmp_path / "many.mp4", np.broadcast_to(np.uint8(0), (40, 16, 32, 3)))
    assert Video.read(path).shape[0] == 40
    monkeypatch.setattr(video_files, "FRAMES_BYTES", 20_000)
    monkeypatch.setattr(video_files, "FRAMES_RATIO", 2)
    decoded = []
    with pytest.raises(ArgumentError, match=r"its frames take 0\.0 GB or more, over 2 times") as caught:
        Video.read(path, report=decoded.append)
    assert not decoded  # the header says how many there are
    assert "with --frames or smaller ones with --downscale" in caught.value.naming(lambda name: f"--{name}")
    assert Video.read(path, frames=(0, 10)).shape[0] == 10


def test_frames_may_not_grow_beyond_what_the_header_says(tmp_path):
    small = np.zeros((1, 16, 32, 3), np.uint8)
    path = write_video(tmp_path / "a.avi", small, codec="mjpeg", pixels="yuvj420p")
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xc0")
    data[start + 5 : start + 9] = (15_000).to_bytes(2, "big") * 2
    path.write_bytes(data)
    with pytest.raises(Exception, match="truncated or damaged"):
        Video.read(path)
